//! How an answer's tokens are chosen, counted and told.

use attestation::receipt::Parameters;
use engine::{Sampling, TokenLogprobs};

use crate::openai::ApiError;
use crate::openai::object::Object;

/// The numbers, which go into the receipt as they were written.
pub(super) fn read(object: &Object<'_>, parameters: &mut Parameters) -> Result<Sampling, ApiError> {
    let temperature = object.number("temperature", 0.0, 2.0)?;
    let top_p = object.number("top_p", 0.0, 1.0)?;
    let min_p = object.number("min_p", 0.0, 1.0)?;
    let frequency_penalty = object.number("frequency_penalty", -2.0, 2.0)?;
    let presence_penalty = object.number("presence_penalty", -2.0, 2.0)?;
    let top_k = object.count("top_k")?;
    let seed: Option<i64> = object.optional("seed", "an integer")?;
    let number = |given: Option<f64>, default| given.map_or(default, narrow);
    let sampling = Sampling {
        temperature: number(temperature, 1.0),
        top_p: number(top_p, 1.0),
        top_k: top_k.map(|k| u32::try_from(k).unwrap_or(u32::MAX)),
        min_p: number(min_p, 0.0),
        frequency_penalty: number(frequency_penalty, 0.0),
        presence_penalty: number(presence_penalty, 0.0),
        seed: u64::from_ne_bytes(seed.unwrap_or(0).to_ne_bytes()),
    };
    *parameters = Parameters {
        temperature,
        top_p,
        top_k,
        seed,
        min_p,
        frequency_penalty,
        presence_penalty,
        ..core::mem::take(parameters)
    };
    Ok(sampling)
}

/// `logit_bias`: tokens by their numbers.
pub(super) fn bias(object: &Object<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let bad = |message: &'static str| ApiError::invalid_value(NAME, message);
    let Some(map) = object.get(NAME) else { return Ok(Vec::new()) };
    let map = Object::of_many(map.get(), BIASES_MAX).map_err(|many| {
        if many {
            bad("'logit_bias' takes at most 300 tokens, each once.")
        } else {
            ApiError::invalid_type(NAME, "an object of tokens and numbers")
        }
    })?;
    let mut biases = Vec::with_capacity(map.0.len());
    for (token, bias) in &map.0 {
        let plain = token.bytes().all(|digit| digit.is_ascii_digit());
        let token = token.parse::<u32>().ok().filter(|_| plain);
        let token = token.ok_or_else(|| bad("The keys of 'logit_bias' must be token numbers."))?;
        if biases.iter().any(|(have, _)| *have == token) {
            return Err(bad("'logit_bias' names a token twice."));
        }
        let bias: f64 = serde_json::from_str(bias.get())
            .map_err(|_| ApiError::invalid_type(NAME, "an object of tokens and numbers"))?;
        if !(-100.0..=100.0).contains(&bias) {
            return Err(bad("The values of 'logit_bias' must be between -100 and 100."));
        }
        biases.push((token, narrow(bias)));
    }
    Ok(biases)
}

/// How many answers are wanted.
pub(super) fn choices(object: &Object<'_>, parameters: &mut Parameters) -> Result<u32, ApiError> {
    parameters.n = object.count("n")?;
    let choices = u32::try_from(parameters.n.unwrap_or(1)).ok();
    choices
        .filter(|choices| *choices <= CHOICES_MAX)
        .ok_or_else(|| ApiError::invalid_value("n", "'n' must be between 1 and 8."))
}

pub(super) fn max_tokens(object: &Object<'_>) -> Result<Option<u64>, ApiError> {
    let (old, new) = (object.count("max_tokens")?, object.count("max_completion_tokens")?);
    if old.is_some() && new.is_some() && old != new {
        let message = "'max_tokens' and 'max_completion_tokens' disagree; give one of them.";
        return Err(ApiError::invalid_value("max_tokens", message));
    }
    Ok(new.or(old))
}

pub(super) fn stop(object: &Object<'_>) -> Result<Vec<String>, ApiError> {
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
pub(super) fn logprobs(
    object: &Object<'_>,
    parameters: &mut Parameters,
) -> Result<Option<u32>, ApiError> {
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

/// As [`logprobs`], of a completion: so many alternatives, and the receipt says as much.
pub(super) fn legacy_logprobs(
    object: &Object<'_>,
    parameters: &mut Parameters,
) -> Result<Option<u32>, ApiError> {
    let count: Option<i64> = object.optional("logprobs", "an integer")?;
    let Some(count) = count else { return Ok(None) };
    let Some(count) = u32::try_from(count).ok().filter(|count| *count <= LEGACY_LOGPROBS_MAX)
    else {
        return Err(ApiError::invalid_value("logprobs", "'logprobs' must be between 0 and 5."));
    };
    parameters.logprobs = true;
    parameters.top_logprobs = Some(count.into());
    Ok(Some(count))
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
/// Answers to one request: each takes a place of its own.
const CHOICES_MAX: u32 = 8;
/// Tokens in `logit_bias` (`OpenAI`'s API takes as many).
const BIASES_MAX: usize = 300;
/// Alternatives of a completion's `logprobs` (`OpenAI`'s API reference).
const LEGACY_LOGPROBS_MAX: u32 = 5;
