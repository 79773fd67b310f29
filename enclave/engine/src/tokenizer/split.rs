//! Pre-tokenizers: the rules that cut a text into words, by the names that llama.cpp gives them.
//!
//! No pattern has look-around, so that matching is linear and cannot fail. What the originals write
//! as `\s+(?!\S)` is done by [`Rule::split`].

use fancy_regex::Regex;

use crate::gguf::LoadError;

/// The rules that cut a text into words, applied one after the other.
#[derive(Debug)]
pub(super) struct Splitter {
    rules: Vec<Rule>,
    /// A word that is a token is not merged from its bytes.
    pub(super) whole_words: bool,
    /// Whether the family's tokenizers begin a text with its token, where the file does not say.
    pub(super) adds_bos: bool,
}

#[derive(Debug)]
struct Rule {
    /// What it finds is a word, and so is what lies between.
    pattern: Regex,
    spaces: Spaces,
}

/// What becomes of the last of several spaces before a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spaces {
    /// It stays with the others.
    Stay,
    /// It belongs to what follows.
    Leave,
    /// The same, but a line break stays.
    LeaveButBreaks,
}

impl Splitter {
    pub(super) fn named(name: &str) -> Result<Self, LoadError> {
        let (patterns, whole_words, adds_bos): (&[(&str, Spaces)], bool, bool) = match name {
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
            | "modern-bert" | "mellum" | "a.x-4.0" => (&[(GPT2, Spaces::Leave)], false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" => (&[(DIGIT, Spaces::Stay), (GPT2, Spaces::Leave)], false, false),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" => (&[(LLAMA3, Spaces::LeaveButBreaks)], true, true),
            "dbrx" | "smaug-bpe" => (&[(LLAMA3, Spaces::LeaveButBreaks)], false, false),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "stablelm2" | "megrez"
            | "hunyuan" | "solar-open" => (&[(QWEN2, Spaces::LeaveButBreaks)], false, false),
            "tekken" => (&[(TEKKEN, Spaces::LeaveButBreaks)], true, true),
            "gpt-4o" | "llama4" | "kanana2" => (&[(GPT4O, Spaces::LeaveButBreaks)], false, false),
            "falcon" => (
                &[
                    (r"[\p{P}\$\+<=>\^~\|`]+", Spaces::Stay),
                    (GPT2, Spaces::Leave),
                    ("[0-9][0-9][0-9]", Spaces::Stay),
                ],
                false,
                false,
            ),
            "default" => (
                &[
                    (r"[\p{P}\$\+<=>\^~\|]+", Spaces::Stay),
                    (GPT2, Spaces::Leave),
                    (r"\p{N}+", Spaces::Stay),
                    ("[0-9][0-9][0-9]", Spaces::Stay),
                ],
                false,
                false,
            ),
            _ => return Err(LoadError::unsupported("pre-tokenizer", name)),
        };
        let rules = patterns.iter().map(|(pattern, spaces)| {
            let pattern = Regex::new(pattern);
            let pattern = pattern.map_err(|_| LoadError::unsupported("pre-tokenizer", name))?;
            Ok(Rule { pattern, spaces: *spaces })
        });
        Ok(Self { rules: rules.collect::<Result<_, LoadError>>()?, whole_words, adds_bos })
    }

    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut words = vec![text];
        for rule in &self.rules {
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
        let mut from = 0;
        while let Ok(Some(found)) = self.pattern.find_from_pos(text, from) {
            if found.start() > from {
                words.extend(text.get(from..found.start()));
            }
            let mut end = found.end();
            if self.spaces != Spaces::Stay && end < text.len() {
                let mut letters = found.as_str().char_indices();
                if let Some((last, letter)) = letters.next_back()
                    && last > 0
                    && letter.is_whitespace()
                    && (self.spaces == Spaces::Leave || !matches!(letter, '\r' | '\n'))
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

const DIGIT: &str = r"\p{N}";

/// GPT-2's pattern; of `\s+(?!\S)|\s+` only `\s+` is written here and below.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";

const LLAMA3: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

const QWEN2: &str = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

/// Words of capitals and small letters; beyond ASCII every letter is both, as in llama.cpp.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_llama_cpp_splits_them() {
        let cases: [(&str, &str, &[&str]); 16] = [
            ("gpt-2", "Hello  world's 42!\n", &["Hello", " ", " world", "'s", " 42", "!", "\n"]),
            ("gpt-2", "a\t\tb   ", &["a", "\t", "\t", "b", "   "]),
            ("gpt-2", "a \nb", &["a", " ", "\n", "b"]),
            ("smollm", "v1 23\r\nx", &["v", "1", " ", "2", "3", "\r", "\n", "x"]),
            ("smollm", "٣ Ⅷ", &["٣", " ", "Ⅷ"]),
            ("default", "a,b 1234 ", &["a", ",", "b", " ", "123", "4", " "]),
            ("gpt-2", "हिन्दी", &["ह", "ि", "न", "्", "द", "ी"]),
            ("gpt-2", " ", &[" "]),
            ("llama-bpe", "It'S 12345\n\n x", &["It", "'S", " ", "123", "45", "\n\n", " x"]),
            ("llama-bpe", "a   b  \n", &["a", "  ", " b", "  \n"]),
            ("llama-bpe", "x=(y);\n\nz", &["x", "=(", "y", ");\n\n", "z"]),
            ("qwen2", "a 12 \t b", &["a", " ", "1", "2", " \t", " b"]),
            ("qwen2", "ſs 'ſ", &["ſs", " '", "ſ"]),
            (
                "tekken",
                "camelCase ABCdef 12//\n",
                &["camel", "Case", " ABCdef", " ", "1", "2", "//\n"],
            ),
            ("tekken", "ÉCOLE école", &["É", "COLE", " école"]),
            ("gpt-4o", "don't 1234", &["don't", " ", "123", "4"]),
        ];
        for (name, text, expected) in cases {
            assert_eq!(Splitter::named(name).unwrap().split(text), expected, "{name} {text:?}");
        }
    }

    #[test]
    fn an_unknown_pre_tokenizer_is_refused_by_name() {
        assert_eq!(
            Splitter::named("kimi-k2").unwrap_err(),
            LoadError::unsupported("pre-tokenizer", "kimi-k2")
        );
    }
}
