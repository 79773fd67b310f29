//! Requests, read strictly.

mod format;
mod messages;
mod sampling;
#[cfg(test)]
mod tests;
mod tools;

use std::fmt;

use attestation::Secret;
use attestation::receipt::Parameters;
use engine::{Message, Order, Tools};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::openai::ApiError;
use crate::openai::object::{Object, cut, is_neutral};

/// A chat completion as it was asked for.
pub struct ChatRequest {
    /// The conversation.
    pub messages: Vec<Message>,
    /// The functions that the answer may call.
    pub tools: Tools,
    /// What is wanted of the answer, but for whose it is.
    pub order: Order,
    /// What else was asked for.
    pub asked: Asked,
}

/// A text to continue as it was asked for: the older of `OpenAI`'s two APIs for text.
pub struct CompletionRequest {
    /// The text.
    pub prompt: Secret<String>,
    /// What is wanted of the answer, but for whose it is.
    pub order: Order,
    /// What else was asked for.
    pub asked: Asked,
}

/// What an engine need not know.
#[derive(Clone)]
pub struct Asked {
    /// Where the draws start; without it, that is the caller's to draw.
    pub seed: Option<u64>,
    /// How many answers are wanted.
    pub choices: u32,
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
        let messages = messages::read(&object)?;
        let tools = tools::read(&object)?;
        let max_tokens = sampling::max_tokens(&object)?;
        let (mut order, mut asked) = common(&object, model, max_tokens)?;
        order.max_tokens = clamp(max_tokens);
        order.format = format::read(&object)?;
        order.logprobs = sampling::logprobs(&object, &mut asked.parameters)?;
        Ok(Self { messages, tools, order, asked })
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
        let (mut order, mut asked) = common(&object, model, max_tokens)?;
        order.max_tokens = Some(clamp(max_tokens).unwrap_or(COMPLETION_TOKENS));
        order.logprobs = sampling::legacy_logprobs(&object, &mut asked.parameters)?;
        Ok(Self { prompt, order, asked })
    }
}

/// What all requests for text have in common.
fn common(
    object: &Object<'_>,
    model: String,
    max_tokens: Option<u64>,
) -> Result<(Order, Asked), ApiError> {
    let mut parameters = Parameters { model, max_tokens, ..Parameters::default() };
    let sampling = sampling::read(object, &mut parameters)?;
    let bias = sampling::bias(object)?;
    let choices = sampling::choices(object, &mut parameters)?;
    let stop = sampling::stop(object)?;
    let delivery = delivery(object)?;
    parameters.stop.clone_from(&stop);
    parameters.stream = delivery != Delivery::Whole;
    let seed = parameters.seed.map(|seed| u64::from_ne_bytes(seed.to_ne_bytes()));
    let order = Order { sampling, bias, stop, ..Order::default() };
    Ok((order, Asked { seed, choices, delivery, parameters }))
}

/// More tokens than a context has room for are as many as it has.
fn clamp(max_tokens: Option<u64>) -> Option<u32> {
    max_tokens.map(|max| u32::try_from(max).unwrap_or(u32::MAX))
}

pub(super) fn object(json: &[u8]) -> Result<Object<'_>, ApiError> {
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

impl fmt::Debug for Asked {
    /// Shows no stop text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} choices, {:?})", self.choices, self.delivery)
    }
}

/// Fields of `OpenAI`'s API that this enclave does not support, with the values that ask for nothing.
pub(super) fn refuse_unsupported(
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

const SUPPORTED: [&str; 22] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "n",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];
/// Names of the caller for the API's operator, and hints for caches: they do not change the answer.
const IGNORED: [&str; 3] = ["user", "safety_identifier", "prompt_cache_key"];
/// What `OpenAI`'s API has and this enclave has not, with the values that leave the answer as it is.
const UNSUPPORTED: [(&str, &[&str]); 13] = [
    ("audio", &[]),
    ("function_call", &["\"none\""]),
    ("functions", &["[]"]),
    ("metadata", &["{}"]),
    ("modalities", &["[\"text\"]"]),
    ("moderation", &[]),
    ("prediction", &[]),
    ("prompt_cache_retention", &[]),
    ("reasoning_effort", &["\"none\""]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("store", &["false"]),
    ("verbosity", &["\"medium\""]),
    ("web_search_options", &[]),
];

/// Tokens of a completion that names no limit (`OpenAI`'s API reference).
const COMPLETION_TOKENS: u32 = 16;
const COMPLETION_SUPPORTED: [&str; 16] = [
    "model",
    "prompt",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "n",
    "seed",
    "max_tokens",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
];
/// As [`UNSUPPORTED`], of a completion.
const COMPLETION_UNSUPPORTED: [(&str, &[&str]); 3] =
    [("best_of", &["1"]), ("echo", &["false"]), ("suffix", &["\"\""])];
