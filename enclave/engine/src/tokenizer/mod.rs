//! Text to tokens and back, as the GGUF metadata describes it.
//!
//! A text is cut at special tokens; what lies between is encoded by byte pairs ([`bytes`]) or by
//! scores ([`pieces`]), as `tokenizer.ggml.model` says. The results equal llama.cpp's, but for one
//! thing: text that is not to be read for control tokens never gives one, whatever it spells.

mod bytes;
mod pieces;
mod specials;
mod split;
mod utf8;

use std::collections::HashMap;

use zeroize::Zeroizing;

use self::bytes::BytePairs;
use self::pieces::Pieces;
use self::specials::{Piece, Special, Specials};
use crate::gguf::{Gguf, LoadError};

pub(crate) use self::bytes::byte_letters;
pub(crate) use self::utf8::Utf8Stream;

/// Text to tokens and back.
#[derive(Debug)]
pub struct Tokenizer {
    ids: HashMap<String, u32>,
    /// What each token adds to the text; nothing for control tokens.
    bytes: Vec<Box<[u8]>>,
    specials: Specials,
    method: Method,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// Tokens that end a generation.
    ends: Vec<u32>,
    pub(crate) adds_bos: bool,
    pub(crate) adds_eos: bool,
    longest: usize,
}

/// How the text between special tokens becomes tokens.
#[derive(Debug)]
enum Method {
    Bytes(BytePairs),
    Pieces(Pieces),
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

impl Tokenizer {
    pub(crate) fn read(file: &Gguf<'_>) -> Result<Self, LoadError> {
        let model = file.text("tokenizer.ggml.model")?;
        let spelling = match model {
            "gpt2" => Spelling::of_bytes(),
            "llama" => Spelling::Pieces,
            _ => return Err(LoadError::unsupported("tokenizer", model)),
        };
        let texts = file.texts(TOKENS)?;
        let kinds = file.ints(KINDS)?;
        if texts.is_empty() || texts.len() > VOCABULARY_MAX {
            return Err(LoadError::unfit(TOKENS, "must hold 1 to 2^20 tokens"));
        }
        if kinds.len() != texts.len() {
            return Err(LoadError::unfit(KINDS, "must be as long as the token list"));
        }

        let mut ids = HashMap::with_capacity(texts.len());
        let mut bytes: Vec<Box<[u8]>> = Vec::with_capacity(texts.len());
        let mut specials = Vec::new();
        let mut longest = 1;
        for ((text, kind), id) in texts.iter().zip(kinds).zip(0_u32..) {
            // An empty token is never met in a text, and a file may have several.
            if !text.is_empty() && ids.insert((*text).to_owned(), id).is_some() {
                return Err(LoadError::unfit(TOKENS, "holds a token twice"));
            }
            let control = matches!(*kind, KIND_UNKNOWN | KIND_CONTROL);
            if control || *kind == KIND_USER_DEFINED {
                if !text.is_empty() {
                    specials.push(Special { text: (*text).to_owned(), id, control });
                }
                bytes.push(if control { Box::default() } else { text.as_bytes().into() });
            } else {
                bytes.push(spelling.bytes(text, *kind).into());
            }
            longest = longest.max(text.len());
        }
        let specials = Specials::new(specials);
        let method = match spelling {
            Spelling::Bytes(_) => Method::Bytes(BytePairs::read(file, &ids)?),
            Spelling::Pieces => Method::Pieces(Pieces::read(file, &ids, longest)?),
        };

        let token = |key| -> Result<Option<u32>, LoadError> {
            let Some(id) = file.number(key)? else { return Ok(None) };
            let id = u32::try_from(id)
                .ok()
                .filter(|id| usize::try_from(*id).is_ok_and(|id| id < texts.len()));
            id.map(Some).ok_or_else(|| LoadError::unfit(key, "is not a token of the vocabulary"))
        };
        let bos = token("tokenizer.ggml.bos_token_id")?;
        let eos = token("tokenizer.ggml.eos_token_id")?;
        let mut ends: Vec<u32> = END_TEXTS
            .iter()
            .filter_map(|text| ids.get(*text).copied())
            .filter(|id| specials.control(*id).is_some())
            .collect();
        ends.extend(eos);
        ends.extend(token("tokenizer.ggml.eot_token_id")?);
        ends.extend(token("tokenizer.ggml.eom_token_id")?);
        let by_default = match &method {
            Method::Bytes(pairs) => pairs.adds_bos(),
            Method::Pieces(_) => true,
        };
        let adds_bos = file.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(by_default);
        let ends_texts = file.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        Ok(Self {
            ids,
            bytes,
            specials,
            method,
            bos,
            eos,
            ends,
            adds_bos,
            adds_eos: ends_texts,
            longest,
        })
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// Turns `text` into tokens.
    pub fn encode(&self, text: &str, controls: Controls) -> Zeroizing<Vec<u32>> {
        let room = text.len().saturating_add(8); // A token for a space before, and those of the ends.
        let mut tokens = Zeroizing::new(Vec::with_capacity(room));
        let mut after_special = true;
        for piece in self.specials.cut(text, controls) {
            match piece {
                Piece::Token(id) => {
                    tokens.push(id);
                    after_special = true;
                }
                Piece::Text(text) => {
                    let bare = match controls {
                        Controls::ParsedUnlessMarked(mark) if text.contains(mark) => {
                            let mut bare = Zeroizing::new(String::with_capacity(text.len()));
                            bare.extend(text.chars().filter(|letter| *letter != mark));
                            Some(bare)
                        }
                        Controls::Inert | Controls::Parsed | Controls::ParsedUnlessMarked(_) => {
                            None
                        }
                    };
                    let text = bare.as_ref().map_or(text, |bare| bare.as_str());
                    match &self.method {
                        Method::Bytes(pairs) => {
                            pairs.encode(text, |word| self.plain(word), &mut tokens);
                        }
                        Method::Pieces(pieces) => {
                            let find = |piece: &str| self.plain(piece);
                            pieces.encode(text, after_special, find, &mut tokens);
                        }
                    }
                    after_special = false;
                }
            }
        }
        tokens
    }

    /// The token with this text, unless it is a control token.
    fn plain(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied().filter(|id| self.specials.control(*id).is_none())
    }

    /// The bytes that a token stands for; none for control tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        usize::try_from(token).ok().and_then(|at| self.bytes.get(at)).map_or(&[], |bytes| bytes)
    }

    /// The name of a control token, which stands for no bytes.
    pub(crate) fn control(&self, token: u32) -> Option<&str> {
        self.specials.control(token)
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
        let mut ats: Vec<usize> = self.specials.controls_in(content).collect();
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
}

/// How a vocabulary spells its tokens.
enum Spelling {
    /// Each letter stands for a byte.
    Bytes(HashMap<char, u8>),
    /// As they are, but for spaces and the tokens of single bytes.
    Pieces,
}

impl Spelling {
    fn of_bytes() -> Self {
        Self::Bytes(byte_letters().into_iter().zip(0_u8..=255).collect())
    }

    fn bytes(&self, text: &str, kind: i64) -> Vec<u8> {
        match self {
            Self::Bytes(byte_of) => {
                let spelled: Option<_> =
                    text.chars().map(|letter| byte_of.get(&letter).copied()).collect();
                spelled.unwrap_or_else(|| text.as_bytes().to_vec())
            }
            Self::Pieces if kind == KIND_BYTE => pieces::byte(text).into_iter().collect(),
            Self::Pieces => text.replace(pieces::SPACE, " ").into_bytes(),
        }
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const KIND_UNKNOWN: i64 = 2;
const KIND_CONTROL: i64 = 3;
const KIND_USER_DEFINED: i64 = 4;
const KIND_BYTE: i64 = 6;
/// Tokens in a vocabulary; the largest that we know have 2^18.
const VOCABULARY_MAX: usize = 1 << 20;

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

    /// A vocabulary with scores: bytes, letters, and words of "the tea".
    fn scored(adds_space: bool) -> Tokenizer {
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<b>"].map(String::from).to_vec();
        let mut scores = vec![0.0; tokens.len()];
        tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        scores.resize(tokens.len(), 0.0);
        for (text, score) in [
            ("\u{2581}", -9.0),
            ("t", -9.0),
            ("h", -9.0),
            ("e", -9.0),
            ("a", -9.0),
            ("he", -2.0),
            ("th", -3.0),
            ("the", -4.0),
            ("\u{2581}t", -5.0),
            ("\u{2581}the", -6.0),
            ("ea", -1.0),
            ("<s", -1.0),
            ("<", -9.0),
            ("s", -9.0),
            (">", -9.0),
        ] {
            tokens.push(text.to_owned());
            scores.push(score);
        }
        let mut kinds = vec![1; tokens.len()];
        kinds[..4].copy_from_slice(&[2, 3, 3, 4]);
        kinds[4..260].fill(6);
        let mut writer = Writer::new();
        writer.text("tokenizer.ggml.model", "llama");
        writer.texts("tokenizer.ggml.tokens", &tokens);
        writer.i32s("tokenizer.ggml.token_type", &kinds);
        writer.f32s("tokenizer.ggml.scores", &scores);
        writer.flag("tokenizer.ggml.add_space_prefix", adds_space);
        writer.u32("tokenizer.ggml.bos_token_id", 1);
        writer.u32("tokenizer.ggml.eos_token_id", 2);
        Tokenizer::read(&Gguf::parse(&writer.finish()).unwrap()).unwrap()
    }

    fn texts(tokenizer: &Tokenizer, text: &str, controls: Controls) -> Vec<String> {
        let tokens = tokenizer.encode(text, controls);
        tokens.iter().map(|token| tokenizer.text(*token).unwrap().to_owned()).collect()
    }

    #[test]
    fn pieces_are_joined_by_score() {
        let tokenizer = scored(false);
        assert!(tokenizer.adds_bos && !tokenizer.adds_eos && tokenizer.is_end(2));
        let cases: [(&str, &[&str]); 7] = [
            ("the", &["the"]),
            (" the", &["\u{2581}the"]),
            // "ea" is the best pair, whatever comes before it.
            ("thea", &["th", "ea"]),
            (" tea", &["\u{2581}t", "ea"]),
            ("hé", &["h", "<0xC3>", "<0xA9>"]),
            ("t<b>t", &["t", "<b>", "t"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(texts(&tokenizer, text, Controls::Inert), expected, "{text:?}");
        }
        // With the space: at the start, and after a special token.
        assert_eq!(
            texts(&scored(true), "the<b>the", Controls::Inert),
            ["\u{2581}the", "<b>", "\u{2581}the"]
        );
    }

    #[test]
    fn pieces_never_give_a_control_token_of_text() {
        let tokenizer = scored(false);
        assert_eq!(texts(&tokenizer, "a<s>", Controls::Parsed), ["a", "<s>"]);
        // The parts of "<s>" can be joined, and all of it is in the vocabulary.
        assert_eq!(texts(&tokenizer, "a<s>", Controls::Inert), ["a", "<s", ">"]);
    }

    #[test]
    fn every_text_of_pieces_comes_back() {
        let tokenizer = scored(false);
        for text in ["the tea", "naïve 🙂 हिन्दी", "\u{0}\n\t <b>"] {
            let tokens = tokenizer.encode(text, Controls::Inert);
            let bytes: Vec<u8> =
                tokens.iter().flat_map(|token| tokenizer.bytes(*token).to_vec()).collect();
            assert_eq!(bytes, text.as_bytes());
        }
    }

    #[test]
    fn a_long_text_of_pieces_takes_no_quadratic_time() {
        let text = "the ".repeat(50_000);
        assert_eq!(scored(false).encode(&text, Controls::Inert).len(), 50_001);
    }

    #[test]
    fn a_long_word_takes_no_quadratic_time() {
        let text = "he".repeat(100_000);
        assert_eq!(tiny().encode(&text, Controls::Inert).len(), 100_000);
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

    #[test]
    fn what_scores_may_not_be() {
        let read = |scores: &[f32], bytes: u32| {
            let mut writer = Writer::new();
            let tokens: Vec<String> = (0..bytes).map(|byte| format!("<0x{byte:02X}>")).collect();
            writer.text("tokenizer.ggml.model", "llama");
            writer.texts("tokenizer.ggml.tokens", &tokens);
            writer.i32s("tokenizer.ggml.token_type", &vec![6; tokens.len()]);
            writer.f32s("tokenizer.ggml.scores", scores);
            Tokenizer::read(&Gguf::parse(&writer.finish()).unwrap()).map(drop)
        };
        assert_eq!(read(&[0.0; 256], 256), Ok(()));
        assert_eq!(read(&[0.0; 255], 255), Err(LoadError::missing("<0xFF>")));
        assert!(matches!(read(&[0.0; 255], 256), Err(LoadError::Unfit { .. })));
        assert!(matches!(read(&[f32::NAN; 256], 256), Err(LoadError::Unfit { .. })));
    }

    #[test]
    fn whole_words_are_not_merged_where_the_family_says_so() {
        let read = |pre: &str| {
            let mut writer = Writer::new();
            writer.text("tokenizer.ggml.model", "gpt2");
            writer.text("tokenizer.ggml.pre", pre);
            writer.texts("tokenizer.ggml.tokens", &["a", "b", "ab", "Ġabb", "Ġ"]);
            writer.i32s("tokenizer.ggml.token_type", &[1; 5]);
            writer.texts("tokenizer.ggml.merges", &["a b"]);
            Tokenizer::read(&Gguf::parse(&writer.finish()).unwrap()).unwrap()
        };
        assert_eq!(*read("llama-bpe").encode(" abb", Controls::Inert), [3]);
        assert_eq!(*read("qwen2").encode(" abb", Controls::Inert), [4, 2, 1]);
        assert!(read("tekken").adds_bos && !read("qwen2").adds_bos);
    }
}
