use std::fmt;

use attestation::Secret;
use attestation::receipt::Parameters;
use engine::{Message, Role, Sampling, TokenLogprobs};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::ApiError;
use crate::openai::object::{Object, cut, is_neutral};

/// A chat completion as it was asked for.
pub struct ChatRequest {
    /// The conversation.
    pub messages: Vec<Message>,
    /// How tokens are chosen; without a `seed`, the seed is the caller's to draw.
    pub sampling: Sampling,
    /// Whether the request named a seed.
    pub seeded: bool,
    /// The most tokens to generate.
    pub max_tokens: Option<u32>,
    /// Whether to tell how likely each token was, beside how many others.
    pub logprobs: Option<u32>,
    /// How the answer is delivered.
    pub delivery: Delivery,
    /// What was asked for, as the receipt's `par_mac` commits to it.
    pub parameters: Parameters,
}

/// A text to continue as it was asked for: the older of `OpenAI`'s two APIs for text.
pub struct CompletionRequest {
    /// The text.
    pub prompt: Secret<String>,
    /// How tokens are chosen; without a `seed`, the seed is the caller's to draw.
    pub sampling: Sampling,
    /// Whether the request named a seed.
    pub seeded: bool,
    /// The most tokens to generate.
    pub max_tokens: u32,
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
        let object = object(json)?;
        refuse_unsupported(&object, &SUPPORTED, &UNSUPPORTED)?;
        let model: String = object.required("model", "a string")?;
        let messages = messages(&object)?;
        let max_tokens = max_tokens(&object)?;
        let Common { sampling, seeded, delivery, mut parameters } =
            Common::read(&object, model, max_tokens)?;
        let logprobs = logprobs(&object, &mut parameters)?;
        let max_tokens = clamp(max_tokens);
        Ok(Self { messages, sampling, seeded, max_tokens, logprobs, delivery, parameters })
    }
}

impl CompletionRequest {
    /// Reads the JSON of a request.
    ///
    /// # Errors
    /// What `OpenAI`'s API would answer, with the field's name where it is about one.
    pub fn parse(json: &[u8]) -> Result<Self, ApiError> {
        let object = object(json)?;
        refuse_unsupported(&object, &COMPLETION_SUPPORTED, &COMPLETION_UNSUPPORTED)?;
        let model: String = object.required("model", "a string")?;
        let prompt = prompt(&object)?;
        let max_tokens = object.count("max_tokens")?;
        let Common { sampling, seeded, delivery, parameters } =
            Common::read(&object, model, max_tokens)?;
        let max_tokens = clamp(max_tokens).unwrap_or(COMPLETION_TOKENS);
        Ok(Self { prompt, sampling, seeded, max_tokens, delivery, parameters })
    }
}

/// What all requests for text have in common.
struct Common {
    sampling: Sampling,
    seeded: bool,
    delivery: Delivery,
    parameters: Parameters,
}

impl Common {
    fn read(object: &Object<'_>, model: String, max_tokens: Option<u64>) -> Result<Self, ApiError> {
        let temperature = object.number("temperature", 0.0, 2.0)?;
        let top_p = object.number("top_p", 0.0, 1.0)?;
        let top_k = object.count("top_k")?;
        let seed: Option<i64> = object.optional("seed", "an integer")?;
        let stop = stop(object)?;
        let delivery = delivery(object)?;
        let sampling = Sampling {
            temperature: narrow(temperature.unwrap_or(1.0)),
            top_p: narrow(top_p.unwrap_or(1.0)),
            top_k: top_k.map(|k| u32::try_from(k).unwrap_or(u32::MAX)),
            seed: u64::from_ne_bytes(seed.unwrap_or(0).to_ne_bytes()),
        };
        let stream = delivery != Delivery::Whole;
        let parameters = Parameters {
            model,
            temperature,
            top_p,
            top_k,
            seed,
            max_tokens,
            stop,
            stream,
            ..Parameters::default()
        };
        Ok(Self { sampling, seeded: seed.is_some(), delivery, parameters })
    }
}

/// More tokens than a context has room for are as many as it has.
fn clamp(max_tokens: Option<u64>) -> Option<u32> {
    max_tokens.map(|max| u32::try_from(max).unwrap_or(u32::MAX))
}

fn object(json: &[u8]) -> Result<Object<'_>, ApiError> {
    serde_json::from_slice(json)
        .map_err(|_| ApiError::invalid("The request body is not a JSON object, or repeats a key."))
}

impl fmt::Debug for CompletionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompletionRequest(..)")
    }
}

impl fmt::Debug for ChatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatRequest(..)")
    }
}

/// Fields of `OpenAI`'s API that this enclave does not support, with the values that ask for nothing.
fn refuse_unsupported(
    object: &Object<'_>,
    supported: &[&str],
    unsupported: &[(&str, &[&str])],
) -> Result<(), ApiError> {
    for (name, value) in &object.0 {
        if supported.contains(&name.as_ref()) || IGNORED.contains(&name.as_ref()) {
            continue;
        }
        let Some((_, neutral)) = unsupported.iter().find(|(field, _)| field == name) else {
            return Err(ApiError::unknown(cut(name)));
        };
        if !is_neutral(value, neutral) {
            return Err(ApiError::unsupported(name.as_ref()));
        }
    }
    Ok(())
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
        match name.as_ref() {
            // What is said is not looked at here: to parse it is to copy it where nobody wipes it.
            "role" | "content" => {}
            "name" | "tool_calls" | "tool_call_id" | "function_call" | "refusal" | "audio" => {
                if !is_neutral(value, &["[]"]) {
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
        whole.append(text.expose());
    }
    Ok(whole)
}

/// A text, or a list of one: several would be several answers.
fn prompt(object: &Object<'_>) -> Result<Secret<String>, ApiError> {
    let value = object.get("prompt").ok_or_else(|| ApiError::missing("prompt"))?;
    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
        return Ok(Secret::new(text));
    }
    let mut texts: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| ApiError::invalid_type("prompt", "a string"))?;
    match (texts.pop(), texts.is_empty()) {
        (Some(text), true) => serde_json::from_str(text.get())
            .map(Secret::new)
            .map_err(|_| ApiError::invalid_type("prompt", "a string, not tokens")),
        (Some(_), false) => Err(ApiError::unsupported("prompt[1]")),
        (None, _) => Err(ApiError::invalid_value("prompt", "Invalid 'prompt': empty array.")),
    }
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

/// Whether log probabilities are wanted, and of how many alternatives.
fn logprobs(object: &Object<'_>, parameters: &mut Parameters) -> Result<Option<u32>, ApiError> {
    const TOP: &str = "top_logprobs";
    let wanted = object.optional("logprobs", "a boolean")?.unwrap_or(false);
    let top: Option<i64> = object.optional(TOP, "an integer")?;
    if top.is_some() && !wanted {
        let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
        return Err(ApiError::invalid_value(TOP, message));
    }
    let count = u32::try_from(top.unwrap_or(0)).ok();
    let Some(count) = count.filter(|count| *count <= TokenLogprobs::ALTERNATIVES_MAX) else {
        return Err(ApiError::invalid_value(TOP, "'top_logprobs' must be between 0 and 20."));
    };
    parameters.logprobs = wanted;
    parameters.top_logprobs = top.map(|_| count.into());
    Ok(wanted.then_some(count))
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

/// The engine computes in `f32`.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "rounds; in range")]
const fn narrow(number: f64) -> f32 {
    number as f32
}

/// Stop texts in a request (`OpenAI`'s API reference).
const STOPS_MAX: usize = 4;
/// Octets of a stop text: the engine holds back as much of an answer.
const STOP_LEN_MAX: usize = 1024;

const SUPPORTED: [&str; 13] = [
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
    "logprobs",
    "top_logprobs",
];
/// Names of the caller for the API's operator, and hints for caches: they do not change the answer.
const IGNORED: [&str; 3] = ["user", "safety_identifier", "prompt_cache_key"];
/// What `OpenAI`'s API has and this enclave has not, with the values that leave the answer as it is.
const UNSUPPORTED: [(&str, &[&str]); 21] = [
    ("audio", &[]),
    ("frequency_penalty", &["0", "0.0"]),
    ("function_call", &["\"none\""]),
    ("functions", &["[]"]),
    ("logit_bias", &["{}"]),
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
    ("verbosity", &["\"medium\""]),
    ("web_search_options", &[]),
];

/// Tokens of a completion that names no limit (`OpenAI`'s API reference).
const COMPLETION_TOKENS: u32 = 16;
const COMPLETION_SUPPORTED: [&str; 10] = [
    "model",
    "prompt",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_tokens",
    "stop",
    "stream",
    "stream_options",
];
/// As [`UNSUPPORTED`], of a completion.
const COMPLETION_UNSUPPORTED: [(&str, &[&str]); 8] = [
    ("best_of", &["1"]),
    ("echo", &["false"]),
    ("frequency_penalty", &["0", "0.0"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &[]),
    ("n", &["1"]),
    ("presence_penalty", &["0", "0.0"]),
    ("suffix", &["\"\""]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::object::NAME_CHARS_MAX;

    fn parse(more: &str) -> Result<ChatRequest, ApiError> {
        let json =
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
        ChatRequest::parse(json.as_bytes())
    }

    #[test]
    fn defaults_are_openai_s() {
        let request = parse("").unwrap();
        assert_eq!(
            request.sampling,
            Sampling { temperature: 1.0, top_p: 1.0, top_k: None, seed: 0 }
        );
        assert!(!request.seeded && request.max_tokens.is_none());
        assert_eq!(request.delivery, Delivery::Whole);
        assert_eq!(request.parameters, Parameters { model: "m".into(), ..Parameters::default() });
    }

    #[test]
    fn what_is_given_is_taken() {
        let request = parse(
            r#","temperature":0.5,"top_p":0.25,"top_k":7,"seed":-2,"max_completion_tokens":9,"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#,
        )
        .unwrap();
        let seed = u64::MAX.wrapping_sub(1);
        let expected = Sampling { temperature: 0.5, top_p: 0.25, top_k: Some(7), seed };
        assert_eq!(request.sampling, expected);
        assert_eq!(request.delivery, Delivery::Stream(Usage::Included));
        assert_eq!((request.seeded, request.max_tokens), (true, Some(9)));
        let parameters = Parameters {
            model: "m".into(),
            temperature: Some(0.5),
            top_p: Some(0.25),
            top_k: Some(7),
            seed: Some(-2),
            max_tokens: Some(9),
            stop: vec!["a".into(), "b".into()],
            stream: true,
            ..Parameters::default()
        };
        assert_eq!(request.parameters, parameters);
        assert_eq!(parse(r#","stop":"a""#).unwrap().parameters.stop, ["a"]);
        assert_eq!(parse(r#","max_tokens":99999999999"#).unwrap().max_tokens, Some(u32::MAX));
    }

    #[test]
    fn values_that_change_nothing_are_taken() {
        for more in [
            r#","n":1,"logprobs":false,"top_logprobs":null,"logit_bias":{},"presence_penalty":0"#,
            r#","frequency_penalty":0.0,"tools":[ ],"tool_choice":"none","parallel_tool_calls":true"#,
            r#","response_format":{ "type": "text" },"service_tier":"auto","store":false,"metadata":{}"#,
            r#","modalities":["text"],"user":"someone","safety_identifier":"x","prompt_cache_key":"k""#,
            r#","temperature":null,"stop":null,"stream":null,"seed":null,"tools":null,"audio":null"#,
        ] {
            let request = parse(more).unwrap();
            assert_eq!(request.parameters, parse("").unwrap().parameters, "{more}");
        }
    }

    #[test]
    fn log_probabilities_are_asked_for_and_committed_to() {
        for (more, wanted, top) in [
            ("", None, None),
            (r#","logprobs":null"#, None, None),
            (r#","logprobs":false"#, None, None),
            (r#","logprobs":true"#, Some(0), None),
            (r#","logprobs":true,"top_logprobs":null"#, Some(0), None),
            (r#","logprobs":true,"top_logprobs":0"#, Some(0), Some(0)),
            (r#","logprobs":true,"top_logprobs":20"#, Some(20), Some(20)),
        ] {
            let request = parse(more).unwrap();
            let Parameters { logprobs, top_logprobs, .. } = request.parameters;
            assert_eq!(
                (request.logprobs, logprobs, top_logprobs),
                (wanted, wanted.is_some(), top),
                "{more}"
            );
        }
        for (more, code, param) in [
            (r#","logprobs":1"#, "invalid_type", "logprobs"),
            (r#","logprobs":"true""#, "invalid_type", "logprobs"),
            (r#","top_logprobs":0"#, "invalid_value", "top_logprobs"),
            (r#","top_logprobs":1"#, "invalid_value", "top_logprobs"),
            (r#","logprobs":false,"top_logprobs":1"#, "invalid_value", "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":21"#, "invalid_value", "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":-1"#, "invalid_value", "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":4294967296"#, "invalid_value", "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":1.5"#, "invalid_type", "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":true"#, "invalid_type", "top_logprobs"),
        ] {
            let error = parse(more).unwrap_err();
            assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{more}");
        }
    }

    #[test]
    fn a_long_value_is_refused_without_being_built() {
        // As values a hundred times as large as its text.
        let maps = vec![r#"{"a":0}"#; 1000].join(",");
        let blank = " ".repeat(1000);
        for value in [format!("[{maps}]"), format!("[{blank}]")] {
            let error = parse(&format!(",\"tools\":{value}")).unwrap_err();
            assert_eq!(
                (error.code(), error.param()),
                (Some("unsupported_parameter"), Some("tools"))
            );
        }
        assert!(parse(&format!(",\"tools\":[{}]", " ".repeat(100))).is_ok());
    }

    #[test]
    fn every_unsupported_field_is_refused_by_its_name() {
        for (field, value) in [
            ("audio", "{}"),
            ("frequency_penalty", "0.5"),
            ("function_call", "\"auto\""),
            ("functions", "[{}]"),
            ("logit_bias", "{\"1\":2}"),
            ("metadata", "{\"a\":\"b\"}"),
            ("modalities", "[\"text\",\"audio\"]"),
            ("moderation", "{}"),
            ("n", "2"),
            ("parallel_tool_calls", "1"),
            ("prediction", "{}"),
            ("presence_penalty", "-1"),
            ("prompt_cache_retention", "\"24h\""),
            ("reasoning_effort", "\"high\""),
            ("response_format", "{\"type\":\"json_object\"}"),
            ("service_tier", "\"flex\""),
            ("store", "true"),
            ("tool_choice", "\"auto\""),
            ("tools", "[{\"type\":\"function\"}]"),
            ("verbosity", "\"low\""),
            ("web_search_options", "{}"),
        ] {
            let error = parse(&format!(",\"{field}\":{value}")).unwrap_err();
            let seen = (error.status, error.code(), error.param());
            assert_eq!(seen, (400, Some("unsupported_parameter"), Some(field)));
        }
        assert_eq!(UNSUPPORTED.len(), 21, "a new field needs a row above");
    }

    #[test]
    fn every_bad_value_is_refused_by_its_field() {
        for (more, code, param) in [
            (r#","temperature":2.1"#, "invalid_value", "temperature"),
            (r#","temperature":-0.1"#, "invalid_value", "temperature"),
            (r#","temperature":"1""#, "invalid_type", "temperature"),
            (r#","top_p":1.5"#, "invalid_value", "top_p"),
            (r#","top_k":0"#, "invalid_value", "top_k"),
            (r#","top_k":-1"#, "invalid_type", "top_k"),
            (r#","seed":1.5"#, "invalid_type", "seed"),
            (r#","max_tokens":0"#, "invalid_value", "max_tokens"),
            (r#","max_tokens":-1"#, "invalid_type", "max_tokens"),
            (r#","max_tokens":1,"max_completion_tokens":2"#, "invalid_value", "max_tokens"),
            (r#","stop":["a","b","c","d","e"]"#, "invalid_value", "stop"),
            (r#","stop":"""#, "invalid_value", "stop"),
            (r#","stop":[1]"#, "invalid_type", "stop"),
            (r#","stream":1"#, "invalid_type", "stream"),
            (r#","stream_options":{"include_usage":true}"#, "invalid_value", "stream_options"),
            (r#","stream":true,"stream_options":{"x":1}"#, "invalid_type", "stream_options"),
            (r#","min_p":0.1"#, "unknown_parameter", "min_p"),
        ] {
            let error = parse(more).unwrap_err();
            assert_eq!(
                (error.status, error.code(), error.param()),
                (400, Some(code), Some(param)),
                "{more}"
            );
        }
        let error = parse(&format!(",\"{}\":1", "k".repeat(500))).unwrap_err();
        assert_eq!(error.param().map(str::len), Some(NAME_CHARS_MAX));
    }

    #[test]
    fn messages_are_read_strictly() {
        let parse = |messages: &str| {
            ChatRequest::parse(format!(r#"{{"model":"m","messages":{messages}}}"#).as_bytes())
        };
        for (messages, code, param) in [
            ("[]", "invalid_value", "messages"),
            ("null", "missing_required_parameter", "messages"),
            ("{}", "invalid_type", "messages"),
            ("[1]", "invalid_type", "messages[0]"),
            (r#"[{"content":"x"}]"#, "missing_required_parameter", "messages[0].role"),
            (r#"[{"role":"user"}]"#, "missing_required_parameter", "messages[0].content"),
            (
                r#"[{"role":"user","content":null}]"#,
                "missing_required_parameter",
                "messages[0].content",
            ),
            (r#"[{"role":"user","content":1}]"#, "invalid_type", "messages[0].content"),
            (r#"[{"role":"robot","content":"x"}]"#, "invalid_value", "messages[0].role"),
            (r#"[{"role":"tool","content":"x"}]"#, "unsupported_parameter", "messages[0].role"),
            (
                r#"[{"role":"user","content":"x","name":"n"}]"#,
                "unsupported_parameter",
                "messages[0].name",
            ),
            (r#"[{"role":"user","content":"x","odd":1}]"#, "unknown_parameter", "messages[0].odd"),
            (
                r#"[{"role":"assistant","content":"x","tool_calls":[{}]}]"#,
                "unsupported_parameter",
                "messages[0].tool_calls",
            ),
            (
                r#"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#,
                "unsupported_parameter",
                "messages[0].content[0].type",
            ),
            (
                r#"[{"role":"user","content":[{"text":"x"}]}]"#,
                "missing_required_parameter",
                "messages[0].content[0].type",
            ),
            (
                r#"[{"role":"user","content":[{"type":"text"}]}]"#,
                "missing_required_parameter",
                "messages[0].content[0].text",
            ),
            (
                r#"[{"role":"user","content":[{"type":"text","text":"x","odd":1}]}]"#,
                "unknown_parameter",
                "messages[0].content[0].odd",
            ),
            (
                r#"[{"role":"user","content":"x"},{"role":"x","content":"x"}]"#,
                "invalid_value",
                "messages[1].role",
            ),
        ] {
            let error = parse(messages).unwrap_err();
            assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{messages}");
        }
        let whole = parse(
            r#"[{"role":"developer","content":"s"},{"role":"assistant","content":"a","tool_calls":[],"refusal":null},{"role":"user","content":[{"type":"text","text":"x\u00e4"},{"type":"text","text":"y"}]}]"#,
        )
        .unwrap();
        let said: Vec<_> =
            whole.messages.iter().map(|m| (m.role, m.content.expose().as_str())).collect();
        assert_eq!(said, [(Role::System, "s"), (Role::Assistant, "a"), (Role::User, "xäy")]);
    }

    #[test]
    fn a_completion_is_read_as_strictly() {
        let parse = |more: &str| {
            CompletionRequest::parse(format!(r#"{{"model":"m","prompt":"hi"{more}}}"#).as_bytes())
        };
        let plain = parse("").unwrap();
        assert_eq!((plain.prompt.expose().as_str(), plain.max_tokens), ("hi", 16));
        let default = Parameters { model: "m".into(), ..Parameters::default() };
        assert_eq!(plain.parameters, default);
        let neutral = r#","n":1,"best_of":1,"echo":false,"logprobs":null,"suffix":"","user":"u""#;
        assert_eq!(parse(neutral).unwrap().parameters, default);
        let given = parse(r#","max_tokens":7,"seed":1,"stop":"x","stream":true"#).unwrap();
        assert_eq!((given.max_tokens, given.seeded), (7, true));
        assert_eq!(given.delivery, Delivery::Stream(Usage::Omitted));
        assert_eq!(given.parameters.max_tokens, Some(7));
        for (more, code, param) in [
            (r#","best_of":2"#, "unsupported_parameter", "best_of"),
            (r#","echo":true"#, "unsupported_parameter", "echo"),
            (r#","frequency_penalty":1"#, "unsupported_parameter", "frequency_penalty"),
            (r#","logit_bias":{"1":2}"#, "unsupported_parameter", "logit_bias"),
            (r#","logprobs":1"#, "unsupported_parameter", "logprobs"),
            (r#","n":2"#, "unsupported_parameter", "n"),
            (r#","presence_penalty":1"#, "unsupported_parameter", "presence_penalty"),
            (r#","suffix":"x""#, "unsupported_parameter", "suffix"),
            (r#","max_tokens":0"#, "invalid_value", "max_tokens"),
            (r#","temperature":3"#, "invalid_value", "temperature"),
            (r#","messages":[]"#, "unknown_parameter", "messages"),
            (r#","max_completion_tokens":1"#, "unknown_parameter", "max_completion_tokens"),
        ] {
            let error = parse(more).unwrap_err();
            assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{more}");
        }
        for (prompt, code, param) in [
            ("[]", "invalid_value", "prompt"),
            ("null", "missing_required_parameter", "prompt"),
            ("1", "invalid_type", "prompt"),
            ("[1,2]", "unsupported_parameter", "prompt[1]"),
            ("[1]", "invalid_type", "prompt"),
            (r#"["a","b"]"#, "unsupported_parameter", "prompt[1]"),
        ] {
            let json = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
            let error = CompletionRequest::parse(json.as_bytes()).unwrap_err();
            assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{prompt}");
        }
        let one = CompletionRequest::parse(br#"{"model":"m","prompt":["one"]}"#).unwrap();
        assert_eq!(one.prompt.expose(), "one");
        assert!(!format!("{one:?}").contains("one"));
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for json in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "{\"a\":1}x",
            r#"{"model":"m","model":"m","messages":[]}"#,
            r#"{"model":"m","mo\u0064el":"m","messages":[]}"#,
        ] {
            let error = ChatRequest::parse(json.as_bytes()).unwrap_err();
            assert_eq!((error.status, error.param()), (400, None), "{json:.60}");
        }
        assert!(ChatRequest::parse(&[b'{', 0xff, b'}']).is_err());
        // Depth costs no stack.
        for field in ["messages", "tools", "stop", "odd"] {
            let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
            let deep = format!(r#"{{"model":"m","{field}":{open}{close}}}"#);
            assert_eq!(ChatRequest::parse(deep.as_bytes()).unwrap_err().status, 400, "{field}");
        }
    }

    #[test]
    fn debug_shows_no_content() {
        let request = ChatRequest::parse(
            br#"{"model":"m","messages":[{"role":"user","content":"canary"}],"stop":"canary"}"#,
        );
        assert!(!format!("{:?}", request.unwrap()).contains("canary"));
    }
}
