use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, each once, with their values as they were written.
pub(crate) struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(crate) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.get()).filter(|value| *value != "null")
    }

    /// A member's value as such a type; none where it is absent, null or another.
    pub(crate) fn typed<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?).ok()
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    if members.len() >= KEYS_MAX || members.iter().any(|(have, _)| *have == key) {
                        return Err(de::Error::custom("a key twice, or too many"));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes members one by one.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// With room for so many octets: what grows leaves copies behind.
    pub(crate) fn new(room: usize) -> Self {
        let mut octets = Vec::with_capacity(room);
        octets.push(b'{');
        Self(octets)
    }

    /// A member whose value is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.extend_from_slice(quoted(name).as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(json.as_bytes());
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.raw(name, &quoted(text));
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

/// Members of an object.
const KEYS_MAX: usize = 64;
