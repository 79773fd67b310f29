//! Byte-level byte-pair encoding.
//!
//! Each fragment is split into words by the pre-tokenizer that `tokenizer.ggml.pre` names, and the
//! bytes of each word are merged in the order of the merge list. Bytes that the vocabulary has no
//! token for are left out, as llama.cpp does: the default model lacks a few control characters and
//! bytes that occur in no UTF-8 text.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use zeroize::Zeroizing;

use super::split::Splitter;
use crate::gguf::{Gguf, LoadError};

/// What byte-pair encoding needs besides the vocabulary.
#[derive(Debug)]
pub(super) struct BytePairs {
    /// The token of each single byte, if there is one.
    letters: Vec<Option<u32>>,
    /// A pair of tokens, and what it merges to, with the merge's rank.
    merges: HashMap<(u32, u32), Merge>,
    splitter: Splitter,
}

#[derive(Clone, Copy, Debug)]
struct Merge {
    rank: u32,
    merged: u32,
}

impl BytePairs {
    /// Reads the merges; `ids` has the vocabulary.
    pub(super) fn read(file: &Gguf<'_>, ids: &HashMap<String, u32>) -> Result<Self, LoadError> {
        let splitter = match file.value(PRE) {
            None => Splitter::named("default")?,
            Some(_) => Splitter::named(file.text(PRE)?)?,
        };
        let letters = byte_letters()
            .iter()
            .map(|letter| ids.get(letter.to_string().as_str()).copied())
            .collect();
        Ok(Self { letters, merges: read_merges(file, ids)?, splitter })
    }

    /// Whether a text begins with its token, where the file does not say.
    pub(super) const fn adds_bos(&self) -> bool {
        self.splitter.adds_bos
    }

    /// Appends the tokens of `text`; `find` knows the tokens that text can give as a whole.
    pub(super) fn encode(
        &self,
        text: &str,
        find: impl Fn(&str) -> Option<u32>,
        tokens: &mut Vec<u32>,
    ) {
        let letters = if self.splitter.whole_words { byte_letters() } else { Vec::new() };
        for word in self.splitter.split(text) {
            if self.splitter.whole_words {
                let room = word.len().saturating_mul(2); // A byte's letter has one or two bytes.
                let mut spelled = Zeroizing::new(String::with_capacity(room));
                spelled.extend(word.bytes().filter_map(|byte| letters.get(usize::from(byte))));
                if let Some(token) = find(&spelled) {
                    tokens.push(token);
                    continue;
                }
            }
            self.encode_word(word.as_bytes(), tokens);
        }
    }

    /// Merges the bytes of one word: the lowest rank first, and of equals the leftmost.
    fn encode_word(&self, word: &[u8], tokens: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = word
            .iter()
            .enumerate()
            .map(|(at, byte)| Symbol {
                token: self.letters.get(usize::from(*byte)).copied().flatten(),
                alive: true,
                previous: at.checked_sub(1),
                next: at.checked_add(1).filter(|next| *next < word.len()),
            })
            .collect();
        let mut heap = BinaryHeap::new();
        for left in 0..symbols.len() {
            self.offer(&symbols, left, &mut heap);
        }
        while let Some(Reverse((rank, left, merged))) = heap.pop() {
            let Some((right, current)) = self.pair(&symbols, left) else { continue };
            if current.rank != rank || current.merged != merged {
                continue; // One side was merged into something else meanwhile.
            }
            let after = symbols.get_mut(right).and_then(|right| {
                right.alive = false;
                right.next
            });
            if let Some(symbol) = symbols.get_mut(left) {
                symbol.token = Some(merged);
                symbol.next = after;
            }
            if let Some(symbol) = after.and_then(|after| symbols.get_mut(after)) {
                symbol.previous = Some(left);
            }
            self.offer(&symbols, left, &mut heap);
            if let Some(previous) = symbols.get(left).and_then(|symbol| symbol.previous) {
                self.offer(&symbols, previous, &mut heap);
            }
        }
        tokens
            .extend(symbols.iter().filter(|symbol| symbol.alive).filter_map(|symbol| symbol.token));
    }

    /// The merge of the symbol at `left` with its right neighbour, if both live and merge.
    fn pair(&self, symbols: &[Symbol], left: usize) -> Option<(usize, Merge)> {
        let symbol = symbols.get(left).filter(|symbol| symbol.alive)?;
        let right = symbol.next?;
        let merge = self.merges.get(&(symbol.token?, symbols.get(right)?.token?))?;
        Some((right, *merge))
    }

    fn offer(
        &self,
        symbols: &[Symbol],
        left: usize,
        heap: &mut BinaryHeap<Reverse<(u32, usize, u32)>>,
    ) {
        if let Some((_, merge)) = self.pair(symbols, left) {
            heap.push(Reverse((merge.rank, left, merge.merged)));
        }
    }
}

struct Symbol {
    /// The token so far; none for a byte that the vocabulary lacks.
    token: Option<u32>,
    alive: bool,
    previous: Option<usize>,
    next: Option<usize>,
}

/// The letter that stands for each byte in a byte-level vocabulary.
pub(crate) fn byte_letters() -> Vec<char> {
    let mut next = 256_u32;
    (0_u8..=255)
        .map(|byte| {
            if matches!(byte, 33..=126 | 161..=172 | 174..=255) {
                return char::from(byte);
            }
            let letter = char::from_u32(next).unwrap_or(char::REPLACEMENT_CHARACTER);
            next = next.saturating_add(1);
            letter
        })
        .collect()
}

fn read_merges(
    file: &Gguf<'_>,
    ids: &HashMap<String, u32>,
) -> Result<HashMap<(u32, u32), Merge>, LoadError> {
    let lines = file.texts(MERGES)?;
    let mut merges = HashMap::with_capacity(lines.len());
    for (line, rank) in lines.iter().zip(0_u32..) {
        // The separator is the first space after the first letter: a part may not be empty.
        let pair =
            line.char_indices().skip(1).find(|(_, letter)| *letter == ' ').and_then(|(at, _)| {
                let (left, right) = line.split_at(at);
                Some((left, right.get(1..)?))
            });
        let Some((left, right)) = pair else {
            return Err(LoadError::unfit(MERGES, "holds a line that is not two parts"));
        };
        let whole = format!("{left}{right}");
        let found = ids.get(left).zip(ids.get(right)).zip(ids.get(&whole));
        let Some(((left, right), whole)) = found else {
            return Err(LoadError::unfit(MERGES, "merges what is not in the vocabulary"));
        };
        merges.entry((*left, *right)).or_insert(Merge { rank, merged: *whole });
    }
    Ok(merges)
}

const PRE: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";
