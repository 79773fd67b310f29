//! How likely the tokens of an answer were, and what else could have been said.
//!
//! Said is the distribution that the model gives, before temperature and cuts. It is computed of
//! plain operations in a fixed order, so that its bits are the same everywhere.

use core::f64::consts::{LN_2, SQRT_2};
use core::fmt;
use std::collections::VecDeque;

use attestation::Secret;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::kernels::{Isa, exponentials};
use crate::sampler::likeliest_first;

/// A token of the answer and what else was likely in its place.
#[derive(Deserialize)]
#[serde(try_from = "Written")]
pub struct TokenLogprobs {
    octets: Zeroizing<Vec<u8>>,
    /// Of each candidate where its octets end, whether it is a control token, and how likely it was.
    candidates: Zeroizing<Vec<(usize, bool, f32)>>,
}

/// A token that was chosen, or could have been.
#[derive(Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// The octets that the token stands for; the name of a control token.
    pub octets: &'a [u8],
    /// Whether it is a control token, which stands for no octets of text.
    pub control: bool,
    /// The logarithm of its probability; at least [`LOGPROB_MIN`](TokenLogprobs::LOGPROB_MIN), at most 0.
    pub logprob: f32,
}

impl TokenLogprobs {
    /// What is said of a token that is all but impossible.
    pub const LOGPROB_MIN: f32 = -9999.0;
    /// The most alternatives that may be asked for.
    pub const ALTERNATIVES_MAX: u32 = 20;

    /// Of a token and its alternatives, the likeliest first.
    pub fn new<'a>(chosen: Candidate<'a>, others: impl IntoIterator<Item = Candidate<'a>>) -> Self {
        let all: Vec<Candidate<'a>> = core::iter::once(chosen).chain(others).collect();
        let mut octets = Zeroizing::new(Vec::with_capacity(
            all.iter().map(|candidate| candidate.octets.len()).fold(0, usize::saturating_add),
        ));
        let mut candidates = Zeroizing::new(Vec::with_capacity(all.len()));
        for Candidate { octets: more, control, logprob } in all {
            octets.extend_from_slice(more);
            let logprob = if logprob.is_nan() { Self::LOGPROB_MIN } else { logprob };
            candidates.push((octets.len(), control, logprob.clamp(Self::LOGPROB_MIN, 0.0)));
        }
        Self { octets, candidates }
    }

    /// The token that is part of the answer, and then the alternatives, the likeliest first.
    ///
    /// The alternatives are the likeliest tokens of all: the one that was chosen is mostly one of them.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let mut start = 0;
        self.candidates.iter().map(move |(end, control, logprob)| {
            let octets = self.octets.get(start..*end).unwrap_or_default();
            start = *end;
            Candidate { octets, control: *control, logprob: *logprob }
        })
    }
}

/// The same as it is written, which a stranger may have done.
#[derive(Deserialize)]
struct Written(Vec<u8>, Vec<(usize, bool, f32)>);

impl TryFrom<Written> for TokenLogprobs {
    type Error = &'static str;

    /// Takes what [`TokenLogprobs::new`] makes, and nothing else.
    fn try_from(Written(octets, candidates): Written) -> Result<Self, &'static str> {
        let (octets, candidates) = (Zeroizing::new(octets), Zeroizing::new(candidates));
        let ends = candidates.iter().map(|(end, ..)| *end);
        let likely = Self::LOGPROB_MIN..=0.0;
        let whole = ends.clone().is_sorted()
            && ends.clone().next_back() == Some(octets.len())
            && candidates.iter().all(|(.., logprob)| likely.contains(logprob));
        if whole {
            Ok(Self { octets, candidates })
        } else {
            Err("not a token and its alternatives")
        }
    }
}

impl Serialize for TokenLogprobs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.octets.as_slice(), self.candidates.as_slice()).serialize(to)
    }
}

impl fmt::Debug for TokenLogprobs {
    /// Shows nothing of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenLogprobs(..)")
    }
}

impl fmt::Debug for Candidate<'_> {
    /// Shows nothing of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate(..)")
    }
}

/// The log probabilities of `chosen` and then of the `alternatives` likeliest tokens; overwrites `logits`.
///
/// They are the logarithm of the softmax, shifted by the greatest logit. Among equals the lower
/// token comes first; a logit that is no number is as good as none.
pub(crate) fn ranked(
    isa: Isa,
    logits: &mut [f32],
    chosen: u32,
    alternatives: usize,
) -> Vec<(u32, f32)> {
    for logit in &mut *logits {
        // Zero is added so that there is one zero: equals are ordered by their token.
        *logit = if logit.is_finite() { *logit + 0.0 } else { f32::NEG_INFINITY };
    }
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = usize::try_from(chosen).ok().and_then(|at| logits.get(at).copied());
    let mut likeliest = Zeroizing::new(Vec::new());
    if alternatives > 0 {
        likeliest.extend(logits.iter().copied().zip(0_u32..));
        likeliest_first(&mut likeliest, alternatives);
        likeliest.truncate(alternatives);
    }
    exponentials(isa, logits, greatest, 1.0);
    let shift = f64::from(greatest) + ln(logits.iter().copied().map(f64::from).sum());
    let own = (own.unwrap_or(f32::NEG_INFINITY), chosen);
    let logprob = |logit: f32| narrow(f64::from(logit) - shift).max(TokenLogprobs::LOGPROB_MIN);
    core::iter::once(&own)
        .chain(&*likeliest)
        .map(|(logit, token)| (*token, logprob(*logit)))
        .collect()
}

/// Entries that wait for their text to be given out.
#[derive(Default)]
pub(crate) struct Withheld {
    /// Each with how many octets of text are before the first of its own.
    waiting: VecDeque<(usize, TokenLogprobs)>,
    /// Octets of text that have come of tokens.
    made: usize,
    /// Octets of text that have been given out.
    given: usize,
}

impl Withheld {
    /// Keeps the entry of a token whose text begins so many octets after what has been made.
    pub(crate) fn keep(&mut self, start: usize, entry: TokenLogprobs) {
        self.waiting.push_back((self.made.saturating_add(start), entry));
    }

    /// Counts text that has come of tokens.
    pub(crate) fn made(&mut self, len: usize) {
        self.made = self.made.saturating_add(len);
    }

    /// Takes the text that is given out, and cuts it into pieces with the entries of the tokens that
    /// begin in them: few in a piece, for an event has its limits.
    pub(crate) fn give(&mut self, text: &str) -> Vec<(Secret<String>, Vec<TokenLogprobs>)> {
        let before = self.given;
        self.given = before.saturating_add(text.len());
        let piece =
            |from: usize, to: usize| Secret::new(text.get(from..to).unwrap_or_default().to_owned());
        let (mut pieces, mut entries, mut from, mut last) = (Vec::new(), Vec::new(), 0, 0);
        while let Some((start, entry)) = self.waiting.pop_front_if(|(start, _)| *start < self.given)
        {
            let at = start.saturating_sub(before);
            if entries.len() >= ENTRIES_MAX && at > last {
                pieces.push((piece(from, at), core::mem::take(&mut entries)));
                from = at;
            }
            last = at;
            entries.push(entry);
        }
        pieces.push((piece(from, text.len()), entries));
        pieces
    }
}

/// The natural logarithm of a number that is at least 1. A library's differs by machine.
fn ln(x: f64) -> f64 {
    let (mut x, mut twos) = (x, 0.0);
    while x > SQRT_2 && x.is_finite() {
        x *= 0.5;
        twos += 1.0;
    }
    // ln x = 2 artanh((x - 1) / (x + 1)), whose argument is below 0.172 here.
    let s = (x - 1.0) / (x + 1.0);
    let mut series = 0.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * (s * s) + 1.0 / odd;
    }
    2.0 * s * series + twos * LN_2
}

/// Answers are in `f32`, as the logits are.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "rounds")]
const fn narrow(number: f64) -> f32 {
    number as f32
}

/// Entries in a piece of text after which it is cut.
const ENTRIES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorType;
    use crate::gguf::Gguf;
    use crate::kernels::{Instructions, Team};
    use crate::model::{Cache, Model, Row, Scratch};
    use crate::tiny;

    /// The same by the book: double precision, a library's functions, everything sorted.
    fn by_the_book(logits: &[f32], chosen: usize, alternatives: usize) -> Vec<(usize, f64)> {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let all: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) - sum.ln()).collect();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*b].partial_cmp(&all[*a]).unwrap().then(a.cmp(b)));
        let first = core::iter::once(&chosen).chain(&order[..alternatives.min(all.len())]);
        first.map(|at| (*at, all[*at])).collect()
    }

    fn logits_of_the_tiny_model() -> Vec<f32> {
        let bytes = tiny::model(TensorType::Q8_0);
        let model = Model::read(&mut Gguf::parse(&bytes).unwrap(), 64).unwrap();
        let mut scratch = Scratch::new(&model.shape(), 4, 1);
        let rows = [Row { sequence: 0, position: 0, token: 9, wants_logits: true }];
        let isa = Isa::new(Instructions::best()).unwrap();
        model.step(isa, &mut Team::new(1).unwrap(), &mut scratch, &mut [Cache::default()], &rows);
        scratch.logits[..model.shape().vocabulary].to_vec()
    }

    #[test]
    fn they_are_the_logarithm_of_the_softmax_on_all_instructions() {
        let logits = logits_of_the_tiny_model();
        for alternatives in [0, 1, 5, 20, logits.len()] {
            for chosen in [0, 77, logits.len() - 1] {
                let expected = by_the_book(&logits, chosen, alternatives);
                let mut first: Option<Vec<(u32, f32)>> = None;
                for instructions in Instructions::available() {
                    let isa = Isa::new(instructions).unwrap();
                    let chosen = u32::try_from(chosen).unwrap();
                    let got = ranked(isa, &mut logits.clone(), chosen, alternatives);
                    assert_eq!(got.len(), expected.len());
                    for ((token, logprob), (other, exact)) in got.iter().zip(&expected) {
                        assert_eq!(usize::try_from(*token).unwrap(), *other);
                        assert!((f64::from(*logprob) - exact).abs() < 2e-6, "{logprob} {exact}");
                    }
                    assert_eq!(*first.get_or_insert_with(|| got.clone()), got, "{instructions:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_said_in_numbers() {
        let isa = Isa::new(Instructions::best()).unwrap();
        let mut logits = [f32::NAN, 3.0, f32::INFINITY, f32::NEG_INFINITY, 3.0, -0.0, 0.0, -3e38];
        let got = ranked(isa, &mut logits, 1, 8);
        let tokens: Vec<u32> = got.iter().map(|(token, _)| *token).collect();
        // Equals by their token; nothing before what is impossible.
        assert_eq!(tokens, [1, 1, 4, 5, 6, 7, 0, 2, 3]);
        assert!(got.iter().all(|(_, logprob)| (-9999.0..=0.0).contains(logprob)), "{got:?}");
        assert!(got[5..].iter().all(|(_, logprob)| *logprob <= -9999.0));
        let odd = Candidate { octets: b"x", control: false, logprob: f32::NAN };
        let one = TokenLogprobs::new(odd, [Candidate { logprob: f32::INFINITY, ..odd }]);
        let said: Vec<f32> = one.candidates().map(|candidate| candidate.logprob).collect();
        assert_eq!(said, [-9999.0, 0.0]);
        assert!(!format!("{one:?}{odd:?}").contains('x'));
    }

    #[test]
    fn a_logarithm_is_as_good_as_a_library_s() {
        for x in [1.0, 1.0 + 1e-9, 1.4, 1.5, 2.0, 3.7, 1000.0, 131_072.0, 1e300] {
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().max(1.0), "{x}");
        }
    }

    #[test]
    fn an_entry_leaves_with_the_first_octet_of_its_text() {
        let entry = |name: &'static str| {
            TokenLogprobs::new(
                Candidate { octets: name.as_bytes(), control: false, logprob: -1.0 },
                [],
            )
        };
        let mut withheld = Withheld::default();
        for name in ["ab", "cd", "ef"] {
            withheld.keep(0, entry(name));
            withheld.made(2);
        }
        let mut given = |text: &str| -> Vec<(String, Vec<String>)> {
            let name = |entry: &TokenLogprobs| {
                String::from_utf8(entry.candidates().next().unwrap().octets.to_vec()).unwrap()
            };
            let pieces = withheld.give(text);
            pieces
                .iter()
                .map(|(text, entries)| (text.expose().clone(), entries.iter().map(name).collect()))
                .collect()
        };
        assert_eq!(given("a"), [("a".to_owned(), vec!["ab".to_owned()])]);
        assert_eq!(given("b"), [("b".to_owned(), vec![])]);
        assert_eq!(given("cde"), [("cde".to_owned(), vec!["cd".to_owned(), "ef".to_owned()])]);
    }

    #[test]
    fn much_text_at_once_is_cut_where_a_token_begins() {
        let mut withheld = Withheld::default();
        let text: String = ('a'..='z').chain('A'..='Z').collect();
        for letter in text.chars() {
            // Two tokens a letter: neither may leave without it.
            for _ in 0..2 {
                let octets = &*letter.to_string();
                let octets = octets.as_bytes();
                let one = Candidate { octets, control: false, logprob: -1.0 };
                withheld.keep(0, TokenLogprobs::new(one, []));
            }
            withheld.made(1);
        }
        let pieces = withheld.give(&text);
        assert_eq!(pieces.len(), 7);
        for (text, entries) in &pieces {
            let said: Vec<u8> = entries
                .iter()
                .flat_map(|entry| entry.candidates().next().unwrap().octets.to_vec())
                .collect();
            let twice: Vec<u8> = text.expose().bytes().flat_map(|octet| [octet; 2]).collect();
            assert_eq!(said, twice);
        }
    }
}
