//! Every lie that the hostile operator tells, each with the code that a client has to say: one line each.
//!
//! A code of [`ACCEPTED`] means that the operator changed what nobody relies on: the answer has to be the enclave's, whole.

mod around;
mod evidence;

use std::sync::Arc;

use crate::{
    framing::{Framed, long},
    script::{Script, Step, flipped},
};

pub use self::{
    around::{about_heads, about_requests, about_stalls},
    evidence::{about_evidence, about_fleets},
};

/// One lie.
#[derive(Clone, Debug)]
pub struct Lie {
    /// What the operator does, in words.
    pub story: String,
    /// The same as a script.
    pub script: Script,
    /// What a client has to say of it, streaming or not.
    pub code: &'static str,
}

/// The code of what is no lie in the end.
pub const ACCEPTED: &str = "accepted";

/// Makes the octets of a sealed body from its parts.
pub type Make = Arc<dyn Fn(&Framed) -> Vec<u8> + Send + Sync>;

/// Changes the parts of a sealed body.
type Change = Arc<dyn Fn(&mut Framed) + Send + Sync>;

/// One way to put a sealed body together wrongly, and what a client says of an answer that is.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a closure has none")]
pub struct Reframing {
    /// What is done, in words.
    pub story: String,
    /// Does it.
    pub make: Make,
    /// The client's code.
    pub code: &'static str,
}

impl Lie {
    fn new(story: impl Into<String>, script: Script, code: &'static str) -> Self {
        Self { story: story.into(), script, code }
    }

    fn raw(
        story: &str,
        code: &'static str,
        answer: impl Fn(&[u8]) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::new(story, Script::raw(answer), code)
    }
}

/// Everything that can be done to a sealed body of so many chunks without its key; `other` is one of another exchange in the
/// same direction, `reflected` one of the same exchange in the other direction.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn reframings(framed: &Framed, other: &Framed, reflected: &Framed) -> Vec<Reframing> {
    let mut all = Vec::new();
    let mut add = |story: String, code, make: Make| {
        all.push(Reframing { story, make, code });
    };
    let edit = |edit: Change| {
        move |framed: &Framed| {
            let mut framed = framed.clone();
            edit(&mut framed);
            framed.encode()
        }
    };
    let chunks = framed.chunks.len();
    for at in 0..chunks {
        let mut change = |story: String, change: Change| {
            add(story, FORGED, Arc::new(edit(change)));
        };
        change(
            format!("chunk {at} twice"),
            Arc::new(move |framed| framed.chunks.insert(at, framed.chunks[at].clone())),
        );
        change(
            format!("without chunk {at}"),
            Arc::new(move |framed| drop(framed.chunks.remove(at))),
        );
        change(
            format!("chunk {at} flipped at its start"),
            Arc::new(move |framed| framed.chunks[at][0] ^= 1),
        );
        change(
            format!("chunk {at} flipped in its tag"),
            Arc::new(move |framed| framed.chunks[at] = flipped(&framed.chunks[at], usize::MAX)),
        );
        change(
            format!("chunk {at} as the last"),
            Arc::new(move |framed| {
                framed.last = Some(framed.chunks[at].clone());
                framed.chunks.truncate(at);
            }),
        );
        change(
            format!("the last as chunk {at}"),
            Arc::new(move |framed| framed.chunks[at] = framed.last.clone().unwrap_or_default()),
        );
        for (whose, from) in [("another exchange", other), ("the other direction", reflected)] {
            if let Some(foreign) = from.chunks.get(at).or(from.last.as_ref()).cloned() {
                change(
                    format!("chunk {at} of {whose}"),
                    Arc::new(move |framed| framed.chunks[at].clone_from(&foreign)),
                );
            }
        }
        for later in at.saturating_add(1)..chunks {
            change(
                format!("chunks {at} and {later} swapped"),
                Arc::new(move |framed| framed.chunks.swap(at, later)),
            );
        }
        add(
            format!("an empty chunk as {at}, sealed by nobody"),
            FRAMING,
            Arc::new(edit(Arc::new(move |framed| framed.chunks.insert(at, vec![0; 16])))),
        );
        let rest: usize = framed.pieces().iter().skip(at.saturating_add(1)).map(Vec::len).sum();
        add(
            format!("the mark of the last chunk before {at}"),
            if rest > (16 << 10) + 16 { FRAMING } else { FORGED },
            Arc::new(edit(Arc::new(move |framed| {
                let rest = Framed { head: Vec::new(), ..framed.clone() };
                let rest = Framed { chunks: rest.chunks[at..].to_vec(), ..rest }.encode();
                framed.chunks.truncate(at);
                framed.last = Some(rest);
            }))),
        );
        for (story, length, code) in [
            ("2^62 - 1", (1 << 62) - 1, FRAMING),
            ("16 KiB and a tag and one", (16 << 10) + 17, FRAMING),
            ("a tag", 16, FRAMING),
            ("less than a tag", 1, FRAMING),
        ] {
            add(
                format!("chunk {at} said to have the length {story}"),
                code,
                Arc::new(move |framed: &Framed| {
                    framed.spelled(|index, honest| {
                        let honest = u64::try_from(honest).expect("a length");
                        long(if index == at { length } else { honest }, 8)
                    })
                }),
            );
        }
    }
    add(
        "a chunk of 16 KiB and one".to_owned(),
        FRAMING,
        Arc::new(edit(Arc::new(|framed| framed.chunks.insert(0, vec![7; (16 << 10) + 17])))),
    );
    for octets in [4, 8] {
        add(
            format!("every length in {octets} octets"),
            ACCEPTED,
            Arc::new(move |framed: &Framed| {
                framed.spelled(|_, honest| long(u64::try_from(honest).expect("a length"), octets))
            }),
        );
    }
    for (whose, from) in [("another exchange", other), ("the other direction", reflected)] {
        let (head, end, whole) = (from.clone(), from.last.clone(), from.clone());
        add(
            format!("the head of {whose}"),
            FORGED,
            Arc::new(edit(Arc::new(move |framed| {
                framed.head = head.head[..framed.head.len().min(head.head.len())].to_vec();
            }))),
        );
        add(
            format!("the end of {whose}"),
            FORGED,
            Arc::new(edit(Arc::new(move |framed| framed.last.clone_from(&end)))),
        );
        add(
            format!("all chunks of {whose} after this head"),
            FORGED,
            Arc::new(move |framed: &Framed| {
                Framed { head: framed.head.clone(), ..whole.clone() }.encode()
            }),
        );
    }
    let foreign = other.encode();
    add("all of another exchange".to_owned(), FORGED, Arc::new(move |_| foreign.clone()));
    let end = |end: fn(&mut Vec<u8>)| {
        edit(Arc::new(move |framed: &mut Framed| framed.last.iter_mut().for_each(end)))
    };
    add("the end flipped".to_owned(), FORGED, Arc::new(end(|last| last[0] ^= 1)));
    add(
        "the end cut short".to_owned(),
        FORGED,
        Arc::new(end(|last| last.truncate(last.len().saturating_sub(1)))),
    );
    add("no octet but the mark of the end".to_owned(), TRUNCATED, Arc::new(end(Vec::clear)));
    add("an octet after the end".to_owned(), FORGED, Arc::new(end(|last| last.push(0))));
    add(
        "16 KiB after the end".to_owned(),
        FRAMING,
        Arc::new(end(|last| last.extend(vec![0; (16 << 10) + 17]))),
    );
    all
}

/// What is done to the sealed octets of an answer, piece by piece.
pub fn about_chunks(answer: &Framed, other: &Framed, request: &Framed) -> Vec<Lie> {
    let mut all: Vec<Lie> = reframings(answer, other, request)
        .into_iter()
        .map(|Reframing { story, make, code }| {
            Lie::new(story, Script::response(move |framed| vec![Step::Send(make(&framed))]), code)
        })
        .collect();
    for kept in 0..answer.pieces().len() {
        all.push(Lie::new(
            format!("ends cleanly after {kept} pieces"),
            Script::cut_after(kept, None),
            TRUNCATED,
        ));
        all.push(Lie::new(
            format!("dies after {kept} pieces"),
            Script::cut_after(kept, Some(Step::Abort)),
            DIED,
        ));
    }
    all.push(Lie::new(
        "dies when everything has been sent",
        Script::cut_after(usize::MAX, Some(Step::Abort)),
        DIED,
    ));
    all.push(Lie::new(
        "octet by octet",
        Script::response(|framed| {
            framed.encode().into_iter().map(|octet| Step::Send(vec![octet])).collect()
        }),
        ACCEPTED,
    ));
    all
}

/// What is done to single octets of an answer: cuts and flips at those of `positions`.
pub fn about_octets(answer: &Framed, positions: impl Iterator<Item = usize>) -> Vec<Lie> {
    let borders = answer.borders();
    let end = borders.iter().rev().nth(1).copied().unwrap_or_default();
    let mut all = Vec::new();
    for at in positions {
        // In the last chunk what is there is believed to be all, and does not authenticate.
        let code = if at > end.saturating_add(16) { FORGED } else { TRUNCATED };
        all.push(Lie::new(format!("cut at {at}"), Script::cut_at(at), code));
        // A flipped length or mark may be any other: what follows is then misframed, missing or not authentic.
        let is_length =
            borders.iter().skip(1).any(|border| (*border..border.saturating_add(2)).contains(&at));
        let code = if is_length { ANY_BREAK } else { FORGED };
        all.push(Lie::new(format!("octet {at} flipped"), Script::flip_response(at), code));
    }
    all
}

/// Which octets of a sealed body to try: all around the borders, and every so many between.
pub fn positions(framed: &Framed, step: usize) -> Vec<usize> {
    let length = framed.encode().len();
    let borders = framed.borders();
    let mut chosen: Vec<usize> = borders
        .into_iter()
        .flat_map(|border| border.saturating_sub(2)..border.saturating_add(3))
        .chain((0..length).step_by(step))
        .filter(|at| *at < length)
        .collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

const FORGED: &str = "response-not-authentic";
const FRAMING: &str = "response-framing";
const TRUNCATED: &str = "response-truncated";
/// Any of the three above: a flipped length may lead to each of them.
pub const ANY_BREAK: &str = "response-*";
const DIED: &str = "connection-died";
const SILENT: &str = "unreachable";
const UNSEALED: &str = "response-not-sealed";
const KEY: &str = "ohttp-key";
const ODD: &str = "unexpected-status";
const JUNK: &str = "evidence-malformed";
