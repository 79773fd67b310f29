use std::borrow::Cow;
use std::fmt;

use attestation::Secret;
use attestation::receipt::Parameters;
use engine::{Message, Role, Sampling};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::openai::ApiError;

/// A chat completion as it was asked for.
#[derive(Debug)]
pub struct ChatRequest {
    /// The conversation.
    pub messages: Vec<Message>,
    /// How tokens are chosen; without a `seed`, the seed is the caller's to draw.
    pub sampling: Sampling,
    /// Whether the request named a seed.
    pub seeded: bool,
    /// The most tokens to generate.
    pub max_tokens: Option<u32>,
    /// How the answer is delivered.
    pub delivery: Delivery,
    /// What was asked for, as the receipt's `par_mac` commits to it.
    pub parameters: Parameters,
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// As one JSON object.
    Whole,
    /// As server-sent events.
    Stream(Usage),
}

/// Whether a stream ends with the counts of tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// `stream_options.include_usage` is true.
    Included,
    /// It is not.
    Omitted,
}

impl ChatRequest {
    /// Reads the JSON of a request.
    ///
    /// # Errors
    /// What `OpenAI`'s API would answer, with the field's name where it is about one.
    pub fn parse(json: &[u8]) -> Result<Self, ApiError> {
        let object: Object<'_> = serde_json::from_slice(json).map_err(|_| {
            ApiError::invalid("The request body is not a JSON object, or repeats a key.")
        })?;
        refuse_unsupported(&object)?;
        let model: String = object.required("model", "a string")?;
        let messages = messages(&object)?;
        let temperature = object.number("temperature", 0.0, 2.0)?;
        let top_p = object.number("top_p", 0.0, 1.0)?;
        let top_k = object.count("top_k")?;
        let seed: Option<i64> = object.optional("seed", "an integer")?;
        let max_tokens = max_tokens(&object)?;
        let stop = stop(&object)?;
        let delivery = delivery(&object)?;
        let sampling = Sampling {
            temperature: narrow(temperature.unwrap_or(1.0)),
            top_p: narrow(top_p.unwrap_or(1.0)),
            top_k: top_k.map(|k| u32::try_from(k).unwrap_or(u32::MAX)),
            seed: u64::from_ne_bytes(seed.unwrap_or(0).to_ne_bytes()),
        };
        Ok(Self {
            messages,
            sampling,
            seeded: seed.is_some(),
            max_tokens: max_tokens.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
            delivery,
            parameters: Parameters {
                model,
                temperature,
                top_p,
                top_k,
                seed,
                max_tokens,
                stop,
                stream: delivery != Delivery::Whole,
            },
        })
    }
}

/// Fields of `OpenAI`'s API that this enclave does not support, with the values that ask for nothing.
fn refuse_unsupported(object: &Object<'_>) -> Result<(), ApiError> {
    for (name, value) in &object.0 {
        if SUPPORTED.contains(&name.as_ref()) || IGNORED.contains(&name.as_ref()) {
            continue;
        }
        let Some((_, neutral)) = UNSUPPORTED.iter().find(|(field, _)| field == name) else {
            return Err(ApiError::unknown(cut(name)));
        };
        if !is_neutral(value, neutral) {
            return Err(ApiError::unsupported(name.as_ref()));
        }
    }
    Ok(())
}

/// Whether a value is null or means the same as one of `neutral`, however it is written.
fn is_neutral(value: &RawValue, neutral: &[&str]) -> bool {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(value.get()) else { return false };
    let is = |text: &&str| serde_json::from_str(text).is_ok_and(|n: serde_json::Value| n == value);
    value.is_null() || neutral.iter().any(is)
}

fn messages(object: &Object<'_>) -> Result<Vec<Message>, ApiError> {
    let items: Vec<&RawValue> = object.required("messages", "an array of messages")?;
    if items.is_empty() {
        let message = "Invalid 'messages': empty array. Expected at least one message.";
        return Err(ApiError::invalid_value("messages", message));
    }
    items.iter().enumerate().map(|(index, item)| message(index, item.get())).collect()
}

fn message(index: usize, json: &str) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let object: Object<'_> = serde_json::from_str(json)
        .map_err(|_| ApiError::invalid_type(format!("messages[{index}]"), "an object"))?;
    for (name, value) in &object.0 {
        let neutral = is_neutral(value, &["[]"]);
        match name.as_ref() {
            "role" | "content" => {}
            "name" | "tool_calls" | "tool_call_id" | "function_call" | "refusal" | "audio" => {
                if !neutral {
                    return Err(ApiError::unsupported(at(name)));
                }
            }
            _ => return Err(ApiError::unknown(at(cut(name)))),
        }
    }
    let role: String = object.nested("role", || at("role"), "a string")?;
    let role = match (Role::parse(&role), role.as_str()) {
        (Some(role), _) => role,
        (None, "tool" | "function") => return Err(ApiError::unsupported(at("role"))),
        (None, _) => {
            let message = "The role must be one of 'system', 'developer', 'user', 'assistant'.";
            return Err(ApiError::invalid_value(at("role"), message));
        }
    };
    let content = object.get("content").ok_or_else(|| ApiError::missing(at("content")))?;
    Ok(Message { role, content: text(content.get(), &at("content"))? })
}

/// A string, or an array of text parts.
fn text(json: &str, at: &str) -> Result<Secret<String>, ApiError> {
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return Ok(Secret::new(text));
    }
    let parts: Vec<&RawValue> = serde_json::from_str(json)
        .map_err(|_| ApiError::invalid_type(at, "a string or an array of text parts"))?;
    let mut whole = Secret::new(String::with_capacity(json.len()));
    for (index, part) in parts.iter().enumerate() {
        let at = |field: &str| format!("{at}[{index}].{field}");
        let object: Object<'_> = serde_json::from_str(part.get())
            .map_err(|_| ApiError::invalid_type(at("type"), "an object with a type"))?;
        let kind: String = object.nested("type", || at("type"), "a string")?;
        if kind != "text" {
            return Err(ApiError::unsupported(at("type")));
        }
        if let Some((name, _)) =
            object.0.iter().find(|(name, _)| !matches!(name.as_ref(), "type" | "text"))
        {
            return Err(ApiError::unknown(at(cut(name))));
        }
        let text = Secret::new(object.nested::<String>("text", || at("text"), "a string")?);
        whole.expose_mut().push_str(text.expose());
    }
    Ok(whole)
}

fn max_tokens(object: &Object<'_>) -> Result<Option<u64>, ApiError> {
    let (old, new) = (object.count("max_tokens")?, object.count("max_completion_tokens")?);
    if old.is_some() && new.is_some() && old != new {
        let message = "'max_tokens' and 'max_completion_tokens' disagree; give one of them.";
        return Err(ApiError::invalid_value("max_tokens", message));
    }
    Ok(new.or(old))
}

fn stop(object: &Object<'_>) -> Result<Vec<String>, ApiError> {
    const STOPS: &str = "a string or an array of strings";
    let Some(value) = object.get("stop") else { return Ok(Vec::new()) };
    let stops = if let Ok(one) = serde_json::from_str::<String>(value.get()) {
        vec![one]
    } else {
        object.optional::<Vec<String>>("stop", STOPS)?.unwrap_or_default()
    };
    if stops.len() > STOPS_MAX || stops.iter().any(|s| s.is_empty() || s.len() > STOP_LEN_MAX) {
        let message = "'stop' takes at most 4 texts, of 1 to 1024 bytes each.";
        return Err(ApiError::invalid_value("stop", message));
    }
    Ok(stops)
}

fn delivery(object: &Object<'_>) -> Result<Delivery, ApiError> {
    let stream = object.optional("stream", "a boolean")?.unwrap_or(false);
    let options: Option<StreamOptions> =
        object.optional("stream_options", "an object with 'include_usage'")?;
    match (stream, options) {
        (true, Some(StreamOptions { include_usage: Some(true), .. })) => {
            Ok(Delivery::Stream(Usage::Included))
        }
        (true, _) => Ok(Delivery::Stream(Usage::Omitted)),
        (false, None) => Ok(Delivery::Whole),
        (false, Some(_)) => Err(ApiError::invalid_value(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    /// `OpenAI`'s own padding; ours is below the API and cannot be turned off.
    #[serde(rename = "include_obfuscation")]
    _include_obfuscation: Option<bool>,
}

/// The keys of a JSON object, each once, with their values as they were written.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        value.filter(|value| value.get().trim() != "null")
    }

    fn optional<T: Deserialize<'a>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        let parse = |value: &'a RawValue| serde_json::from_str(value.get());
        self.get(name).map(parse).transpose().map_err(|_| ApiError::invalid_type(name, expected))
    }

    fn required<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<T, ApiError> {
        self.optional(name, expected)?.ok_or_else(|| ApiError::missing(name))
    }

    fn nested<T: DeserializeOwned>(
        &self,
        name: &str,
        at: impl Fn() -> String,
        expected: &str,
    ) -> Result<T, ApiError> {
        let value = self.get(name).ok_or_else(|| ApiError::missing(at()))?;
        serde_json::from_str(value.get()).map_err(|_| ApiError::invalid_type(at(), expected))
    }

    fn number(&self, name: &str, min: f64, max: f64) -> Result<Option<f64>, ApiError> {
        let number: Option<f64> = self.optional(name, "a number")?;
        match number {
            Some(number) if !(min..=max).contains(&number) => {
                let message = format!("'{name}' must be between {min} and {max}.");
                Err(ApiError::invalid_value(name, message))
            }
            Some(_) | None => Ok(number),
        }
    }

    fn count(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.optional(name, "a positive integer")? {
            Some(0) => Err(ApiError::invalid_value(name, format!("'{name}' must be at least 1."))),
            count => Ok(count),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    if entries.len() >= KEYS_MAX || entries.iter().any(|(have, _)| *have == key) {
                        return Err(de::Error::custom("a key twice, or too many"));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A key that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A name from outside, cut so that an error message fits its place.
fn cut(name: &str) -> &str {
    name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(at, _)| name.get(..at).unwrap_or(""))
}

/// The engine computes in `f32`.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "rounds; in range")]
const fn narrow(number: f64) -> f32 {
    number as f32
}

/// Most keys in an object: `OpenAI`'s API has some forty.
const KEYS_MAX: usize = 64;
/// Characters of an unknown name that are repeated in an error.
const NAME_CHARS_MAX: usize = 64;
/// Stop texts in a request (`OpenAI`'s API reference).
const STOPS_MAX: usize = 4;
/// Octets of a stop text: the engine holds back as much of an answer.
const STOP_LEN_MAX: usize = 1024;

const SUPPORTED: [&str; 11] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "stream",
    "stream_options",
];
/// Names of the caller for the API's operator, and hints for caches: they do not change the answer.
const IGNORED: [&str; 3] = ["user", "safety_identifier", "prompt_cache_key"];
/// What `OpenAI`'s API has and this enclave has not, with the values that leave the answer as it is.
const UNSUPPORTED: [(&str, &[&str]); 23] = [
    ("audio", &[]),
    ("frequency_penalty", &["0", "0.0"]),
    ("function_call", &["\"none\""]),
    ("functions", &["[]"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("metadata", &["{}"]),
    ("modalities", &["[\"text\"]"]),
    ("moderation", &[]),
    ("n", &["1"]),
    ("parallel_tool_calls", &["true", "false"]),
    ("prediction", &[]),
    ("presence_penalty", &["0", "0.0"]),
    ("prompt_cache_retention", &[]),
    ("reasoning_effort", &["\"none\""]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("store", &["false"]),
    ("tool_choice", &["\"none\""]),
    ("tools", &["[]"]),
    ("top_logprobs", &["0"]),
    ("verbosity", &["\"medium\""]),
    ("web_search_options", &[]),
];
