//! How requests and what comes of them are written, for an engine in a process of its own.
//!
//! A [`Secret`] is never written by accident: each field that holds one names the way that it goes.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// A word of the program's own. (By this name, derived code does not take it for the reader's text.)
pub(crate) type Word = &'static str;

/// Words of the program's own, such as names of fields: the reader has one copy of each.
pub(crate) mod word {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(word: &str, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(word)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<&'static str, D::Error> {
        let word = String::deserialize(from)?;
        super::known(word).ok_or_else(|| de::Error::custom("more words than the program has"))
    }
}

/// A client's text.
pub(crate) mod text {
    use attestation::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        text: &Secret<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret<String>, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// What a client's text became: tokens, or the numbers of a vector.
pub(crate) mod numbers {
    use attestation::Secret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroize;

    pub(crate) fn serialize<N: Serialize, S: Serializer>(
        numbers: &Secret<Vec<N>>,
        to: S,
    ) -> Result<S::Ok, S::Error>
    where
        Vec<N>: Zeroize,
    {
        numbers.expose().serialize(to)
    }

    pub(crate) fn deserialize<'de, N: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret<Vec<N>>, D::Error>
    where
        Vec<N>: Zeroize,
    {
        Vec::deserialize(from).map(Secret::new)
    }
}

/// A client's text, or none.
pub(crate) mod some_text {
    use attestation::Secret;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "what derived code hands over")]
    pub(crate) fn serialize<S: Serializer>(
        text: &Option<Secret<String>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Secret::expose).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret<String>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

/// The program's copy of a word. None: there are more, or longer ones, than any program of ours has.
fn known(word: String) -> Option<&'static str> {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word.as_str()) {
        return Some(known);
    }
    if words.len() >= WORDS_MAX || word.len() > WORD_LEN_MAX {
        return None;
    }
    // So many at most: what is kept for good is bounded.
    let kept: &'static str = Box::leak(word.into_boxed_str());
    words.insert(kept);
    Some(kept)
}

const WORDS_MAX: usize = 1024;
const WORD_LEN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_strangers_are_bounded() {
        let kept = known("a word".to_owned()).unwrap();
        assert!(core::ptr::eq(kept, known("a word".to_owned()).unwrap()));
        assert_eq!(known("x".repeat(WORD_LEN_MAX + 1)), None);
        let taken = (0..=WORDS_MAX).filter(|number| known(number.to_string()).is_some()).count();
        assert!(taken < WORDS_MAX);
        assert!(core::ptr::eq(kept, known("a word".to_owned()).unwrap()));
    }
}
