//! `SentencePiece`: a text's characters are joined, the pair with the best score first.
//!
//! Spaces are written as U+2581. A character that is no token is spelled in bytes, each of which
//! has a token.

use core::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use zeroize::Zeroizing;

use crate::gguf::{Gguf, LoadError};

/// What a vocabulary with scores needs besides its texts.
#[derive(Debug)]
pub(super) struct Pieces {
    scores: Vec<f32>,
    bytes: Vec<u32>,
    /// A space is put before a text, and before one that follows a special token.
    adds_space: bool,
    longest: usize,
}

impl Pieces {
    /// Reads the scores; `ids` has the vocabulary, whose longest text is so long.
    pub(super) fn read(
        file: &Gguf<'_>,
        ids: &HashMap<String, u32>,
        longest: usize,
    ) -> Result<Self, LoadError> {
        let scores = file.floats(SCORES)?;
        if scores.len() < ids.len() {
            return Err(LoadError::unfit(SCORES, "must be as long as the token list"));
        }
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(LoadError::unfit(SCORES, "must be finite numbers"));
        }
        let bytes = (0_u8..=255).map(|byte| {
            let name = format!("<0x{byte:02X}>");
            ids.get(&name).copied().ok_or_else(|| LoadError::missing(&name))
        });
        Ok(Self {
            // Zero is added so that there is one zero only: -0.0 would come before it.
            scores: scores.iter().map(|score| score + 0.0).collect(),
            bytes: bytes.collect::<Result<_, _>>()?,
            adds_space: file.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            longest,
        })
    }

    /// Appends the tokens of `text`; `find` knows the tokens that text can give.
    pub(super) fn encode(
        &self,
        text: &str,
        after_special: bool,
        find: impl Fn(&str) -> Option<u32>,
        tokens: &mut Vec<u32>,
    ) {
        let spaces = text.bytes().filter(|byte| *byte == b' ').count();
        let room = text.len().saturating_add(spaces.saturating_mul(2)).saturating_add(3);
        let mut escaped = Zeroizing::new(String::with_capacity(room));
        if self.adds_space && after_special {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|letter| if letter == ' ' { SPACE } else { letter }));

        let mut joining = Joining { text: &escaped, symbols: Vec::new(), heap: BinaryHeap::new() };
        for (at, letter) in escaped.char_indices() {
            let number = joining.symbols.len();
            joining.symbols.push(Symbol {
                start: at,
                end: at.saturating_add(letter.len_utf8()),
                previous: number.checked_sub(1),
                next: number.checked_add(1),
            });
        }
        let offer = |joining: &mut Joining<'_>, left| {
            let Some((right, text)) = joining.pair(left) else { return };
            let token = if text.len() <= self.longest { find(text) } else { None };
            let score = token.and_then(|token| self.scores.get(usize::try_from(token).ok()?));
            if let Some(score) = score.copied() {
                let length = text.len();
                joining.heap.push(Candidate { score, left, right, length });
            }
        };
        for left in 0..joining.symbols.len() {
            offer(&mut joining, left);
        }
        while let Some(candidate) = joining.heap.pop() {
            if joining.join(&candidate) {
                let left = candidate.left;
                if let Some(previous) = joining.symbols.get(left).and_then(|left| left.previous) {
                    offer(&mut joining, previous);
                }
                offer(&mut joining, left);
            }
        }
        for symbol in joining.symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            let text = escaped.get(symbol.start..symbol.end).unwrap_or_default();
            match find(text) {
                Some(token) => tokens.push(token),
                None => tokens.extend(
                    text.bytes().filter_map(|byte| self.bytes.get(usize::from(byte)).copied()),
                ),
            }
        }
    }
}

struct Joining<'t> {
    text: &'t str,
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Candidate>,
}

/// A part of the text; empty once it was joined to the one before.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl<'t> Joining<'t> {
    /// The symbol after that at `left`, and what both are together.
    fn pair(&self, left: usize) -> Option<(usize, &'t str)> {
        let left = self.symbols.get(left).filter(|left| left.start < left.end)?;
        let next = left.next?;
        let right = self.symbols.get(next)?;
        Some((next, self.text.get(left.start..right.end)?))
    }

    /// Joins two symbols, if neither was joined to anything since.
    fn join(&mut self, candidate: &Candidate) -> bool {
        let still = self.pair(candidate.left).is_some_and(|(right, text)| {
            (right, text.len()) == (candidate.right, candidate.length)
        });
        let Some(right) = self.symbols.get_mut(candidate.right).filter(|_| still) else {
            return false;
        };
        let (end, after) = (right.end, right.next);
        right.end = right.start;
        if let Some(left) = self.symbols.get_mut(candidate.left) {
            left.end = end;
            left.next = after;
        }
        if let Some(after) = after.and_then(|after| self.symbols.get_mut(after)) {
            after.previous = Some(candidate.left);
        }
        true
    }
}

/// Two neighbours that are a token together.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Candidate {
    /// The best score first, and of equals the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// The byte that a token like `<0x0A>` stands for.
pub(super) fn byte(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// What is written for a space.
pub(super) const SPACE: char = '\u{2581}';

const SCORES: &str = "tokenizer.ggml.scores";
