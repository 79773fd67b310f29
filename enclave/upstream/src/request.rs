//! What is forwarded of a request, and what is set.

use crate::object::{Object, Writer};
use crate::{Kind, Question, Route, Settings};

/// The request as the server gets it; none if the client's is no object.
pub(crate) fn write(settings: &Settings, question: &Question, salt: &str) -> Option<Vec<u8>> {
    let object = Object::read(question.body.expose())?;
    let room = question.body.expose().len().saturating_add(settings.model.len());
    let mut writer = Writer::new(room.saturating_add(SET_LEN));
    writer.text("model", &settings.model);
    for (name, value) in &object.0 {
        // Null is what is not there, but not to every server.
        if FORWARDED.contains(&name.as_ref()) && value.get() != "null" {
            writer.raw(name, value.get());
        }
    }
    if question.route == Route::Completions && object.get("max_tokens").is_none() {
        writer.raw("max_tokens", COMPLETION_TOKENS);
    }
    writer.raw("stream", if question.stream { "true" } else { "false" });
    match settings.kind {
        Kind::Vllm | Kind::Sglang => writer.text("cache_salt", salt),
        Kind::LlamaServer => writer.raw("cache_prompt", "false"),
    }
    if question.stream {
        // Counts with every event: an answer that breaks off is receipted too.
        match settings.kind {
            Kind::Vllm | Kind::Sglang => writer
                .raw("stream_options", r#"{"include_usage":true,"continuous_usage_stats":true}"#),
            Kind::LlamaServer => {
                writer.raw("stream_options", r#"{"include_usage":true}"#);
                writer.raw("timings_per_token", "true");
            }
        }
    }
    Some(writer.finish())
}

/// What a client may say to the server. Everything else is dropped here, whatever was let pass before.
const FORWARDED: [&str; 20] = [
    "messages",
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
    "max_completion_tokens",
    "stop",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];
/// Tokens of a completion that names no limit (`OpenAI`'s API reference); llama-server's own default is none.
const COMPLETION_TOKENS: &str = "16";
/// Room for what is set here.
const SET_LEN: usize = 512;

/// Whether an error of the server may name this field to the client.
pub(crate) fn is_field(name: &str) -> bool {
    FORWARDED.contains(&name)
}
