use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::openai::ApiError;

/// The keys of a JSON object, each once, with their values as they were written.
pub(super) struct Object<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// An object that may have so many keys. Errs with whether it has too many, or one twice.
    pub(super) fn of_many(json: &'a str, keys_max: usize) -> Result<Self, bool> {
        let mut json = serde_json::Deserializer::from_str(json);
        let mut many = false;
        let keys = Keys { keys_max, many: &mut many };
        let entries = json.deserialize_map(keys);
        entries.map_err(|_| many)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        value.filter(|value| value.get().trim() != "null")
    }

    pub(super) fn optional<T: Deserialize<'a>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        let parse = |value: &'a RawValue| serde_json::from_str(value.get());
        self.get(name).map(parse).transpose().map_err(|_| ApiError::invalid_type(name, expected))
    }

    pub(super) fn required<T: Deserialize<'a>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<T, ApiError> {
        self.optional(name, expected)?.ok_or_else(|| ApiError::missing(name))
    }

    pub(super) fn nested<T: DeserializeOwned>(
        &self,
        name: &str,
        at: impl Fn() -> String,
        expected: &str,
    ) -> Result<T, ApiError> {
        let value = self.get(name).ok_or_else(|| ApiError::missing(at()))?;
        serde_json::from_str(value.get()).map_err(|_| ApiError::invalid_type(at(), expected))
    }

    pub(super) fn number(&self, name: &str, min: f64, max: f64) -> Result<Option<f64>, ApiError> {
        let number: Option<f64> = self.optional(name, "a number")?;
        match number {
            Some(number) if !(min..=max).contains(&number) => {
                let message = format!("'{name}' must be between {min} and {max}.");
                Err(ApiError::invalid_value(name, message))
            }
            Some(_) | None => Ok(number),
        }
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.optional(name, "a positive integer")? {
            Some(0) => Err(ApiError::invalid_value(name, format!("'{name}' must be at least 1."))),
            count => Ok(count),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys { keys_max: KEYS_MAX, many: &mut false })
    }
}

/// Reads so many keys at most.
struct Keys<'m> {
    keys_max: usize,
    many: &'m mut bool,
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut entries: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if entries.len() >= self.keys_max || entries.iter().any(|(have, _)| *have == key) {
                *self.many = true;
                return Err(de::Error::custom("a key twice, or too many"));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Object(entries))
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a value is null or means the same as one of `neutral`, however it is written.
///
/// A long value is neither, and is not built to find out: in memory it is many times its text.
pub(super) fn is_neutral(value: &RawValue, neutral: &[&str]) -> bool {
    if value.get().len() > NEUTRAL_LEN_MAX {
        return false;
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(value.get()) else { return false };
    let is = |text: &&str| serde_json::from_str(text).is_ok_and(|n: serde_json::Value| n == value);
    value.is_null() || neutral.iter().any(is)
}

/// A name from outside, cut so that an error message fits its place.
pub(super) fn cut(name: &str) -> &str {
    name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(at, _)| name.get(..at).unwrap_or(""))
}

/// Most keys in an object: `OpenAI`'s API has some forty.
const KEYS_MAX: usize = 64;
/// Octets of a value that asks for nothing: the longest has 15, and may be written with blanks.
const NEUTRAL_LEN_MAX: usize = 256;
/// Characters of an unknown name that are repeated in an error.
pub(super) const NAME_CHARS_MAX: usize = 64;
