//! What the hostile operator does: one script at a time.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::Value;

use crate::framing::Framed;

/// Changes octets.
pub type Edit = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// What the relay does, from the next request on.
#[derive(Clone)]
pub enum Script {
    /// Carries everything unchanged and unbuffered.
    Honest,
    /// Changes the answer of `/v1/fleet`.
    Fleet(Edit),
    /// Changes evidence.
    Evidence(Edit),
    /// Fetches the evidence of this node, whichever was asked for.
    EvidenceOf(String),
    /// Answers every request for evidence with the first evidence that it ever carried.
    StaleEvidence,
    /// Changes sealed requests.
    Request(Edit),
    /// Delivers sealed requests to this node.
    Misdeliver(String),
    /// Delivers each sealed request twice, and answers with the second answer.
    ReplayRequest,
    /// Answers a sealed request with the response to an earlier one, without asking anybody.
    ReplayResponse,
    /// Takes sealed responses apart and sends what comes out.
    Response(Arc<dyn Fn(Framed) -> Vec<Step> + Send + Sync>),
    /// Answers sealed requests by itself.
    Answer {
        /// The status line.
        status: StatusCode,
        /// The content type.
        media_type: &'static str,
        /// The body.
        body: Vec<u8>,
    },
    /// Changes status and headers of sealed responses and nothing else.
    Head {
        /// The status line.
        status: StatusCode,
        /// Headers that replace or join those of the response.
        headers: Vec<(&'static str, &'static str)>,
    },
}

/// One thing that a client sees of a response body. After the last step the body ends cleanly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These octets.
    Send(Vec<u8>),
    /// Nothing, for this long.
    Stall(Duration),
    /// The connection dies.
    Abort,
}

impl Script {
    /// Flips one bit of the octet at `position` of evidence, counted from the end if the evidence is shorter.
    pub fn flip_evidence(position: usize) -> Self {
        Self::Evidence(Arc::new(move |bytes| flipped(bytes, position)))
    }

    /// Flips one bit of the octet at `position` of sealed requests.
    pub fn flip_request(position: usize) -> Self {
        Self::Request(Arc::new(move |bytes| flipped(bytes, position)))
    }

    /// Replaces a member of evidence bundles by other octets.
    pub fn swap_member(member: &'static str, octets: &[u8]) -> Self {
        let encoded = URL_SAFE_NO_PAD.encode(octets);
        Self::Evidence(Arc::new(move |bytes| {
            let mut bundle: Value = json(bytes);
            bundle[member][1] = Value::String(encoded.clone());
            bundle.to_string().into_bytes()
        }))
    }

    /// Takes a member of evidence bundles from another bundle.
    pub fn take_member(member: &'static str, other: &[u8]) -> Self {
        let other = json(other);
        let taken = other[member].clone();
        Self::Evidence(Arc::new(move |bytes| {
            let mut bundle: Value = json(bytes);
            bundle[member] = taken.clone();
            bundle.to_string().into_bytes()
        }))
    }

    /// Tells clients that every enclave serves `model`.
    pub fn rename_models(model: &'static str) -> Self {
        Self::Fleet(Arc::new(move |bytes| {
            let mut fleet: Value = json(bytes);
            for node in fleet["nodes"].as_array_mut().into_iter().flatten() {
                node["models"] = serde_json::json!([model]);
            }
            fleet.to_string().into_bytes()
        }))
    }

    /// Sends what `tamper` makes of a sealed response's parts.
    pub fn response(tamper: impl Fn(Framed) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::Response(Arc::new(tamper))
    }

    /// Sends the parts that `tamper` leaves, and ends cleanly.
    pub fn reframed(tamper: impl Fn(&mut Framed) + Send + Sync + 'static) -> Self {
        Self::response(move |mut framed| {
            tamper(&mut framed);
            framed.pieces().into_iter().map(Step::Send).collect()
        })
    }

    /// Sends the first `pieces` pieces of a response, the head being the first, and then does `ending`.
    pub fn cut_after(pieces: usize, ending: Option<Step>) -> Self {
        Self::response(move |framed| {
            let kept = framed.pieces().into_iter().take(pieces).map(Step::Send);
            kept.chain(ending.clone()).collect()
        })
    }

    /// Sends the first `octets` octets of a response and ends cleanly.
    pub fn cut_at(octets: usize) -> Self {
        Self::response(move |framed| {
            let mut body = framed.encode();
            body.truncate(octets);
            vec![Step::Send(body)]
        })
    }

    /// Flips one bit of the octet at `position` of a response.
    pub fn flip_response(position: usize) -> Self {
        Self::response(move |framed| vec![Step::Send(flipped(&framed.encode(), position))])
    }
}

/// Everything that can be done to one response at its chunks, each with a name: cuts, swaps, repetitions, omissions,
/// flips, false endings, and chunks of `other`, a response to another request.
pub fn every_tampering(response: &Framed, other: &Framed) -> Vec<(String, Script)> {
    let chunks = response.chunks.len();
    let pieces = response.pieces().len();
    let mut all = Vec::new();
    for kept in 0..pieces {
        all.push((format!("ends cleanly after {kept} pieces"), Script::cut_after(kept, None)));
        all.push((format!("dies after {kept} pieces"), Script::cut_after(kept, Some(Step::Abort))));
    }
    for at in 0..chunks {
        all.push((
            format!("chunk {at} twice"),
            Script::reframed(move |framed| framed.chunks.insert(at, framed.chunks[at].clone())),
        ));
        all.push((
            format!("without chunk {at}"),
            Script::reframed(move |framed| drop(framed.chunks.remove(at))),
        ));
        all.push((
            format!("chunk {at} flipped"),
            Script::reframed(move |framed| framed.chunks[at][0] ^= 1),
        ));
        all.push((
            format!("an empty chunk as {at}, sealed by nobody"),
            Script::reframed(move |framed| framed.chunks.insert(at, vec![0; 16])),
        ));
        all.push((
            format!("chunk {at} as the last"),
            Script::reframed(move |framed| {
                framed.last = Some(framed.chunks[at].clone());
                framed.chunks.truncate(at);
            }),
        ));
        if let Some(foreign) = other.chunks.get(at).cloned() {
            all.push((
                format!("chunk {at} of another response"),
                Script::reframed(move |framed| framed.chunks[at].clone_from(&foreign)),
            ));
        }
        for later in at.saturating_add(1)..chunks.min(at.saturating_add(3)) {
            all.push((
                format!("chunks {at} and {later} swapped"),
                Script::reframed(move |framed| framed.chunks.swap(at, later)),
            ));
        }
    }
    let foreign = other.clone();
    all.push((
        "another response's nonce".to_owned(),
        Script::reframed(move |framed| framed.head.clone_from(&foreign.head)),
    ));
    let foreign = other.last.clone();
    all.push((
        "another response's end".to_owned(),
        Script::reframed(move |framed| framed.last.clone_from(&foreign)),
    ));
    let foreign = other.clone();
    all.push((
        "another response".to_owned(),
        Script::reframed(move |framed| framed.clone_from(&foreign)),
    ));
    all.push((
        "the end flipped".to_owned(),
        Script::reframed(|framed| framed.last.iter_mut().for_each(|last| last[0] ^= 1)),
    ));
    all.push((
        "the end cut short".to_owned(),
        Script::reframed(|framed| {
            framed.last.iter_mut().for_each(|last| last.truncate(last.len().saturating_sub(1)));
        }),
    ));
    all.push((
        "octets after the end".to_owned(),
        Script::reframed(|framed| framed.last.iter_mut().for_each(|last| last.push(0))),
    ));
    all.push(("nothing".to_owned(), Script::cut_at(0)));
    all
}

/// Bundles and fleets are JSON; anything else is a mistake of the test's.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the relay was asked to edit JSON")
}

fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(end) = bytes.len().checked_sub(1) {
        bytes[position.min(end)] ^= 1;
    }
    bytes
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Honest => "Honest",
            Self::Fleet(_) => "Fleet",
            Self::Evidence(_) => "Evidence",
            Self::EvidenceOf(_) => "EvidenceOf",
            Self::StaleEvidence => "StaleEvidence",
            Self::Request(_) => "Request",
            Self::Misdeliver(_) => "Misdeliver",
            Self::ReplayRequest => "ReplayRequest",
            Self::ReplayResponse => "ReplayResponse",
            Self::Response(_) => "Response",
            Self::Answer { .. } => "Answer",
            Self::Head { .. } => "Head",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tampering_differs_from_the_response() {
        let framed = |octet| Framed {
            head: vec![octet; 32],
            chunks: vec![vec![octet, 1], vec![octet, 2], vec![octet, 3]],
            last: Some(vec![octet, 9]),
        };
        let honest: Vec<Step> = framed(7).pieces().into_iter().map(Step::Send).collect();
        let all = every_tampering(&framed(7), &framed(8));
        assert!(all.len() > 30, "{}", all.len());
        for (name, script) in all {
            let Script::Response(tamper) = script else { panic!("{name}") };
            let steps = tamper(framed(7));
            assert_ne!(steps, honest, "{name}");
        }
    }
}
