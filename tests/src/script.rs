//! What the hostile operator does: one script at a time.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::framing::Framed;

/// Changes octets.
pub type Edit = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// Makes an answer, octet by octet, of the body of the honest one.
pub type Answer = Arc<dyn Fn(&[u8]) -> Vec<Step> + Send + Sync>;

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
    /// Changes method, path and headers of sealed requests and nothing else.
    RequestHead {
        /// The method.
        method: Method,
        /// Makes the path that is asked for of the one that was.
        path: Arc<dyn Fn(&str) -> String + Send + Sync>,
        /// Headers that replace or join those of the request.
        headers: Vec<(&'static str, &'static str)>,
    },
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
    /// Writes answers itself, octet by octet: status line, headers and all. What it is given is the body of the honest one.
    Raw {
        /// To which requests.
        on: On,
        /// The answer, and how it comes.
        answer: Answer,
    },
}

/// What a raw script is about; everything else passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The fleet.
    Fleet,
    /// Evidence.
    Evidence,
    /// Sealed requests.
    Sealed,
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
    /// These octets, again and again, until nobody listens any more.
    Endless {
        /// What is repeated.
        octets: Vec<u8>,
        /// How long after each time.
        pause: Duration,
    },
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
        Self::bundle(move |bundle| bundle[member][1] = Value::String(encoded.clone()))
    }

    /// Takes a member of evidence bundles from another bundle.
    pub fn take_member(member: &'static str, other: &[u8]) -> Self {
        let other = json(other);
        let taken = other[member].clone();
        Self::bundle(move |bundle| bundle[member] = taken.clone())
    }

    /// Tells clients that every enclave serves `model`.
    pub fn rename_models(model: &'static str) -> Self {
        Self::fleet(move |fleet| {
            for node in fleet["nodes"].as_array_mut().into_iter().flatten() {
                node["models"] = serde_json::json!([model]);
            }
        })
    }

    /// Writes the answers to sealed requests itself.
    pub fn raw(answer: impl Fn(&[u8]) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::raw_on(On::Sealed, answer)
    }

    /// Writes the answers to some requests itself.
    pub fn raw_on(on: On, answer: impl Fn(&[u8]) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::Raw { on, answer: Arc::new(answer) }
    }

    /// Changes bundles as JSON.
    pub fn bundle(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Evidence(Arc::new(move |bytes| edited(bytes, &edit)))
    }

    /// Changes the fleet as JSON.
    pub fn fleet(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Fleet(Arc::new(move |bytes| edited(bytes, &edit)))
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

/// Octets as a bundle's members have them.
pub fn base64url(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// The octets of a bundle's member.
pub fn unbase64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("a member is base64url")
}

/// Bundles and fleets are JSON; anything else is a mistake of the test's.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the relay was asked to edit JSON")
}

fn edited(bytes: &[u8], edit: &impl Fn(&mut Value)) -> Vec<u8> {
    let mut value = json(bytes);
    edit(&mut value);
    value.to_string().into_bytes()
}

/// One bit of the octet at `position` is another, or of the last octet.
pub fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
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
            Self::RequestHead { .. } => "RequestHead",
            Self::Raw { .. } => "Raw",
        })
    }
}
