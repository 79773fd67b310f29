//! Byte-level byte-pair encoding, as the GGUF metadata describes it.
//!
//! A text is cut at special tokens, each fragment is split into words by the pre-tokenizer that
//! `tokenizer.ggml.pre` names, and the bytes of each word are merged in the order of the merge
//! list. The results equal llama.cpp's, whose splitting rules these are.
//!
//! Bytes that the vocabulary has no token for are left out, as llama.cpp does: the default model
//! lacks a few control characters and bytes that occur in no UTF-8 text.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use fancy_regex::Regex;
use zeroize::Zeroizing;

use crate::gguf::{Gguf, LoadError};

/// Text to tokens and back.
#[derive(Debug)]
pub struct Tokenizer {
    ids: HashMap<String, u32>,
    /// What each token adds to the text; nothing for control tokens.
    bytes: Vec<Box<[u8]>>,
    /// The token of each single byte, if there is one.
    letters: Vec<Option<u32>>,
    /// A pair of tokens, and what it merges to, with the merge's rank.
    merges: HashMap<(u32, u32), Merge>,
    /// Tokens that are found in text as a whole, the longest first.
    specials: Vec<Special>,
    splitter: Splitter,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// Tokens that end a generation.
    ends: Vec<u32>,
    pub(crate) adds_bos: bool,
    longest: usize,
}

/// Whether control tokens are recognised in a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Controls {
    /// The text is text, whatever it says.
    Inert,
    /// Control tokens are recognised.
    Parsed,
    /// Control tokens are recognised, except right after this mark, which is itself dropped.
    ParsedUnlessMarked(char),
}

#[derive(Clone, Copy, Debug)]
struct Merge {
    rank: u32,
    merged: u32,
}

#[derive(Debug)]
struct Special {
    text: String,
    id: u32,
    /// A control token (or the unknown token): recognised on demand only. Others always are.
    control: bool,
}

impl Tokenizer {
    pub(crate) fn read(file: &Gguf<'_>) -> Result<Self, LoadError> {
        let model = file.text("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(LoadError::unsupported("tokenizer", model));
        }
        let splitter = match file.value("tokenizer.ggml.pre") {
            None => Splitter::named("default")?,
            Some(_) => Splitter::named(file.text("tokenizer.ggml.pre")?)?,
        };
        let texts = file.texts(TOKENS)?;
        let kinds = file.ints(KINDS)?;
        if texts.is_empty() || texts.len() > VOCABULARY_MAX {
            return Err(LoadError::unfit(TOKENS, "must hold 1 to 2^20 tokens"));
        }
        if kinds.len() != texts.len() {
            return Err(LoadError::unfit(KINDS, "must be as long as the token list"));
        }

        let byte_of: HashMap<char, u8> = byte_letters().into_iter().zip(0_u8..=255).collect();
        let mut ids = HashMap::with_capacity(texts.len());
        let mut bytes = Vec::with_capacity(texts.len());
        let mut specials = Vec::new();
        let mut longest = 1;
        for ((text, kind), id) in texts.iter().zip(kinds).zip(0_u32..) {
            if ids.insert((*text).to_owned(), id).is_some() {
                return Err(LoadError::unfit(TOKENS, "holds a token twice"));
            }
            let control = matches!(*kind, KIND_UNKNOWN | KIND_CONTROL);
            if control || *kind == KIND_USER_DEFINED {
                if !text.is_empty() {
                    specials.push(Special { text: (*text).to_owned(), id, control });
                }
                bytes.push(if control { Box::default() } else { text.as_bytes().into() });
            } else {
                let spelled: Option<Vec<u8>> =
                    text.chars().map(|letter| byte_of.get(&letter).copied()).collect();
                bytes.push(spelled.map_or_else(|| text.as_bytes().into(), Vec::into_boxed_slice));
            }
            longest = longest.max(text.len());
        }
        specials.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        let letters = byte_letters()
            .iter()
            .map(|letter| ids.get(letter.to_string().as_str()).copied())
            .collect();
        let merges = read_merges(file, &ids)?;

        let token = |key| -> Result<Option<u32>, LoadError> {
            let Some(id) = file.number(key)? else { return Ok(None) };
            let id = u32::try_from(id)
                .ok()
                .filter(|id| usize::try_from(*id).is_ok_and(|id| id < texts.len()));
            id.map(Some).ok_or_else(|| LoadError::unfit(key, "is not a token of the vocabulary"))
        };
        let bos = token("tokenizer.ggml.bos_token_id")?;
        let eos = token("tokenizer.ggml.eos_token_id")?;
        let mut ends: Vec<u32> = specials
            .iter()
            .filter(|special| special.control && END_TEXTS.contains(&special.text.as_str()))
            .map(|special| special.id)
            .collect();
        ends.extend(eos);
        ends.extend(token("tokenizer.ggml.eot_token_id")?);
        ends.extend(token("tokenizer.ggml.eom_token_id")?);
        let adds_bos = file.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        Ok(Self {
            ids,
            bytes,
            letters,
            merges,
            specials,
            splitter,
            bos,
            eos,
            ends,
            adds_bos,
            longest,
        })
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// Turns `text` into tokens.
    pub fn encode(&self, text: &str, controls: Controls) -> Zeroizing<Vec<u32>> {
        let mut tokens = Zeroizing::new(Vec::with_capacity(text.len()));
        for piece in self.cut(text, controls) {
            match piece {
                Piece::Token(id) => tokens.push(id),
                Piece::Text(text) => match controls {
                    Controls::ParsedUnlessMarked(mark) if text.contains(mark) => {
                        let mut bare = Zeroizing::new(String::with_capacity(text.len()));
                        bare.extend(text.chars().filter(|letter| *letter != mark));
                        self.encode_text(&bare, &mut tokens);
                    }
                    Controls::Inert | Controls::Parsed | Controls::ParsedUnlessMarked(_) => {
                        self.encode_text(text, &mut tokens);
                    }
                },
            }
        }
        tokens
    }

    /// The bytes that a token stands for; none for control tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        usize::try_from(token).ok().and_then(|at| self.bytes.get(at)).map_or(&[], |bytes| bytes)
    }

    /// The name of a control token, which stands for no bytes.
    pub(crate) fn control(&self, token: u32) -> Option<&str> {
        let special = self.specials.iter().find(|special| special.control && special.id == token);
        special.map(|special| special.text.as_str())
    }

    /// Whether `token` ends a generation.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// A lower bound of the number of tokens that so many bytes of text give.
    pub(crate) fn tokens_at_least(&self, bytes: usize) -> usize {
        bytes.checked_div(self.longest).unwrap_or(bytes)
    }

    /// The text of a token, control tokens included.
    pub(crate) fn text(&self, token: u32) -> Option<&str> {
        self.ids.iter().find(|(_, id)| **id == token).map(|(text, _)| text.as_str())
    }

    /// Puts `mark` before every control token's text in `content`, so that it stays text.
    ///
    /// Returns nothing where there is no such text.
    pub(crate) fn mark_controls(&self, content: &str, mark: char) -> Option<Zeroizing<String>> {
        let mut ats: Vec<usize> = Vec::new();
        for special in self.specials.iter().filter(|special| special.control) {
            let mut from = 0;
            while let Some(found) = content.get(from..).and_then(|rest| rest.find(&special.text)) {
                let at = from.saturating_add(found);
                ats.push(at);
                let step = content
                    .get(at..)
                    .and_then(|rest| rest.chars().next())
                    .map_or(1, char::len_utf8);
                from = at.saturating_add(step);
            }
        }
        if ats.is_empty() {
            return None;
        }
        ats.sort_unstable();
        ats.dedup();
        let room = content.len().saturating_add(ats.len().saturating_mul(mark.len_utf8()));
        let mut marked = Zeroizing::new(String::with_capacity(room));
        let mut from = 0;
        for at in ats {
            marked.push_str(content.get(from..at).unwrap_or_default());
            marked.push(mark);
            from = at;
        }
        marked.push_str(content.get(from..).unwrap_or_default());
        Some(marked)
    }

    /// Cuts `text` at special tokens: the longest special first, over all of the text.
    fn cut<'t>(&self, text: &'t str, controls: Controls) -> Vec<Piece<'t>> {
        let mark = match controls {
            Controls::ParsedUnlessMarked(mark) => Some(mark),
            Controls::Inert | Controls::Parsed => None,
        };
        let mut pieces = vec![Piece::Text(text)];
        for special in &self.specials {
            if (special.control && controls == Controls::Inert) || !text.contains(&special.text) {
                continue;
            }
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                match piece {
                    Piece::Token(_) => cut.push(piece),
                    Piece::Text(text) => cut_at(text, special, mark, &mut cut),
                }
            }
            pieces = cut;
        }
        pieces
    }

    fn encode_text(&self, text: &str, tokens: &mut Vec<u32>) {
        for word in self.splitter.split(text) {
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

/// Joins the bytes of tokens to text, and gives out whole characters only.
#[derive(Default)]
pub(crate) struct Utf8Stream {
    held: Zeroizing<Vec<u8>>,
}

impl Utf8Stream {
    /// Appends to `text` what `bytes` completes; bytes that can never be UTF-8 become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.held.extend(bytes);
        let mut rest = self.held.as_slice();
        loop {
            match core::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(core::str::from_utf8(valid).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        rest = after; // The start of a character: wait for more.
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(bad..).unwrap_or_default();
                }
            }
        }
        let used = self.held.len().saturating_sub(rest.len());
        drop(self.held.drain(..used));
    }

    /// Whether the last byte is of a character that is not whole.
    pub(crate) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// Ends the text: a character that was never completed becomes U+FFFD.
    pub(crate) fn finish(&mut self, text: &mut String) {
        if !self.held.is_empty() {
            self.held.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

enum Piece<'t> {
    Token(u32),
    Text(&'t str),
}

fn cut_at<'t>(text: &'t str, special: &Special, mark: Option<char>, cut: &mut Vec<Piece<'t>>) {
    let mut rest = text;
    let mut searched = 0;
    while let Some(found) = rest.get(searched..).and_then(|tail| tail.find(&special.text)) {
        let at = searched.saturating_add(found);
        let (before, tail) = rest.split_at(at);
        if special.control && mark.is_some_and(|mark| before.ends_with(mark)) {
            searched = at.saturating_add(tail.chars().next().map_or(1, char::len_utf8));
            continue;
        }
        if !before.is_empty() {
            cut.push(Piece::Text(before));
        }
        cut.push(Piece::Token(special.id));
        rest = tail.get(special.text.len()..).unwrap_or_default();
        searched = 0;
    }
    if !rest.is_empty() {
        cut.push(Piece::Text(rest));
    }
}

struct Symbol {
    /// The token so far; none for a byte that the vocabulary lacks.
    token: Option<u32>,
    alive: bool,
    previous: Option<usize>,
    next: Option<usize>,
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

/// The rules that cut a text into words, applied one after the other.
#[derive(Debug)]
struct Splitter(Vec<Rule>);

#[derive(Debug)]
enum Rule {
    /// What the pattern finds is a word, and so is what lies between.
    Pattern(Regex),
    /// The same, for GPT-2's pattern: a run of white space leaves its last one to the word that follows.
    Gpt2(Regex),
}

impl Splitter {
    fn named(name: &str) -> Result<Self, LoadError> {
        let compile = |pattern: &str| {
            Regex::new(pattern).map_err(|_| LoadError::unsupported("pre-tokenizer", name))
        };
        Ok(Self(match name {
            "gpt-2" => vec![Rule::Gpt2(compile(GPT2)?)],
            "smollm" => vec![Rule::Pattern(compile(r"\p{N}")?), Rule::Gpt2(compile(GPT2)?)],
            "default" => vec![
                Rule::Pattern(compile(r"[\p{P}\$\+<=>\^~\|]+")?),
                Rule::Gpt2(compile(GPT2)?),
                Rule::Pattern(compile(r"\p{N}+")?),
                Rule::Pattern(compile("[0-9][0-9][0-9]")?),
            ],
            _ => return Err(LoadError::unsupported("pre-tokenizer", name)),
        }))
    }

    fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut words = vec![text];
        for rule in &self.0 {
            let mut split = Vec::with_capacity(words.len());
            for word in words {
                rule.split(word, &mut split);
            }
            words = split;
        }
        words
    }
}

impl Rule {
    fn split<'t>(&self, text: &'t str, words: &mut Vec<&'t str>) {
        let (Self::Pattern(pattern) | Self::Gpt2(pattern)) = self;
        let mut from = 0;
        // The patterns have no look-around, so that matching is linear and cannot fail.
        while let Ok(Some(found)) = pattern.find_from_pos(text, from) {
            if found.start() > from {
                words.extend(text.get(from..found.start()));
            }
            let mut end = found.end();
            if matches!(self, Self::Gpt2(_)) && end < text.len() {
                // What GPT-2 writes as `\s+(?!\S)`: the last of several spaces belongs to what follows.
                let mut letters = found.as_str().char_indices();
                if let Some((last, letter)) = letters.next_back()
                    && last > 0
                    && letter.is_whitespace()
                {
                    end = found.start().saturating_add(last);
                }
            }
            if end <= from {
                break; // No pattern matches the empty text; this keeps the loop finite without that knowledge.
            }
            words.extend(text.get(found.start()..end));
            from = end;
        }
        if from < text.len() {
            words.extend(text.get(from..));
        }
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const KIND_UNKNOWN: i64 = 2;
const KIND_CONTROL: i64 = 3;
const KIND_USER_DEFINED: i64 = 4;
/// Tokens in a vocabulary; the largest that we know have 2^18.
const VOCABULARY_MAX: usize = 1 << 20;

/// GPT-2's pattern with a plain `\s+` in place of `\s+(?!\S)|\s+`; [`Rule::split`] does the rest.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

/// Control tokens that end a turn in some family of models (llama.cpp's list).
const END_TEXTS: [&str; 9] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "</s>",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::TensorType;
    use crate::tiny::{self, Writer};

    fn tiny() -> Tokenizer {
        Tokenizer::read(&Gguf::parse(&tiny::model(TensorType::Q8_0)).unwrap()).unwrap()
    }

    #[test]
    fn merges_go_by_rank() {
        // Ids: 3 + the byte, then the merges: Ġt 259, he 260, Ġthe 261, in 262.
        let letter = |byte: u8| 3 + u32::from(byte);
        for (text, expected) in [
            (" the", vec![261]),
            ("the", vec![letter(b't'), 260]),
            (" thin", vec![259, letter(b'h'), 262]),
            ("é", vec![letter(0xc3), letter(0xa9)]),
            ("", vec![]),
            ("  the", vec![letter(b' '), 261]),
        ] {
            assert_eq!(*tiny().encode(text, Controls::Inert), expected, "{text:?}");
        }
    }

    #[test]
    fn words_are_split_as_llama_cpp_splits_them() {
        let cases: [(&str, &str, &[&str]); 7] = [
            ("gpt-2", "Hello  world's 42!\n", &["Hello", " ", " world", "'s", " 42", "!", "\n"]),
            ("gpt-2", "a\t\tb   ", &["a", "\t", "\t", "b", "   "]),
            ("smollm", "v1 23\r\nx", &["v", "1", " ", "2", "3", "\r", "\n", "x"]),
            ("smollm", "٣ Ⅷ", &["٣", " ", "Ⅷ"]),
            ("default", "a,b 1234 ", &["a", ",", "b", " ", "123", "4", " "]),
            ("gpt-2", "हिन्दी", &["ह", "ि", "न", "्", "द", "ी"]),
            ("gpt-2", " ", &[" "]),
        ];
        for (name, text, expected) in cases {
            assert_eq!(Splitter::named(name).unwrap().split(text), expected, "{name} {text:?}");
        }
    }

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        assert_eq!(
            Splitter::named("qwen2").unwrap_err(),
            LoadError::unsupported("pre-tokenizer", "qwen2")
        );
    }

    #[test]
    fn controls_are_tokens_only_where_they_may_be() {
        let tokenizer = tiny();
        let text = "a<|im_end|>b";
        assert_eq!(tokenizer.encode(text, Controls::Parsed).as_slice(), [3 + 97, 2, 3 + 98]);
        let inert = tokenizer.encode(text, Controls::Inert);
        assert!(inert.len() > 10 && !inert.contains(&2));
        let marked = tokenizer.mark_controls(text, '\u{fdd0}').unwrap();
        assert_eq!(tokenizer.encode(&marked, Controls::ParsedUnlessMarked('\u{fdd0}')), inert);
        assert_eq!(
            tokenizer.encode("<|im_end|>", Controls::ParsedUnlessMarked('\u{fdd0}')).as_slice(),
            [2]
        );
        assert!(tokenizer.mark_controls("harmless <|im_", '\u{fdd0}').is_none());
    }

    #[test]
    fn every_text_comes_back() {
        let tokenizer = tiny();
        for text in ["Hello, world", "  \n\t ", "naïve 🙂 हिन्दी", "\u{0}\u{7f}"] {
            let tokens = tokenizer.encode(text, Controls::Inert);
            let bytes: Vec<u8> =
                tokens.iter().flat_map(|token| tokenizer.bytes(*token).to_vec()).collect();
            assert_eq!(bytes, text.as_bytes());
        }
    }

    #[test]
    fn a_long_word_takes_no_quadratic_time() {
        let text = "he".repeat(100_000);
        assert_eq!(tiny().encode(&text, Controls::Inert).len(), 100_000);
    }

    #[test]
    fn characters_are_given_out_whole() {
        let mut stream = Utf8Stream::default();
        let mut pieces = vec![];
        for byte in "é🙂".bytes().chain([0xff, b'a', 0xf0, 0x9f]) {
            let mut text = String::new();
            stream.push(&[byte], &mut text);
            pieces.push(text);
        }
        let mut text = String::new();
        stream.finish(&mut text);
        pieces.push(text);
        assert_eq!(pieces, ["", "é", "", "", "", "🙂", "\u{fffd}", "a", "", "", "\u{fffd}"]);
    }

    #[test]
    fn what_a_tokenizer_may_not_be() {
        type Write = fn(&mut Writer);
        let cases: [(Write, &str); 4] = [
            (
                |w| w.texts("tokenizer.ggml.merges", &["a z"]),
                "merges what is not in the vocabulary",
            ),
            (|w| w.texts("tokenizer.ggml.merges", &["ab"]), "not two parts"),
            (
                |w| {
                    w.texts("tokenizer.ggml.merges", &["a b"]);
                    w.u32("tokenizer.ggml.eos_token_id", 3);
                },
                "not a token",
            ),
            (|_| (), "lacks `tokenizer.ggml.merges`"),
        ];
        for (write, expected) in cases {
            let mut writer = Writer::new();
            writer.text("tokenizer.ggml.model", "gpt2");
            writer.texts("tokenizer.ggml.tokens", &["a", "b", "ab"]);
            writer.i32s("tokenizer.ggml.token_type", &[1, 1, 1]);
            write(&mut writer);
            let error =
                Tokenizer::read(&Gguf::parse(&writer.finish()).unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }
}
