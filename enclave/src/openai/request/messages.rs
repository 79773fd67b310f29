//! The conversation of a request.

use attestation::Secret;
use engine::{Message, Role, ToolCall};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::format::{is_name, object, only};
use crate::openai::ApiError;
use crate::openai::object::{Object, cut, is_neutral};

pub(super) fn read(object: &Object<'_>) -> Result<Vec<Message>, ApiError> {
    let items: Vec<&RawValue> = object.required("messages", "an array of messages")?;
    if items.is_empty() {
        let message = "Invalid 'messages': empty array. Expected at least one message.";
        return Err(ApiError::invalid_value("messages", message));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let message = message(index, item.get())?;
        if let Some(id) = &message.answers {
            let is_asked = |have: &Message| have.calls.iter().any(|call| call.id == *id);
            if !messages.iter().rev().take(ANSWERS_AFTER).any(is_asked) {
                let message = "No call of an earlier message has this id.";
                return Err(ApiError::invalid_value(
                    format!("messages[{index}].tool_call_id"),
                    message,
                ));
            }
        }
        messages.push(message);
    }
    Ok(messages)
}

fn message(index: usize, json: &str) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let object: Object<'_> = serde_json::from_str(json)
        .map_err(|_| ApiError::invalid_type(format!("messages[{index}]"), "an object"))?;
    let role: String = object.nested("role", || at("role"), "a string")?;
    let role = match (Role::parse(&role), role.as_str()) {
        (Some(role), _) => role,
        (None, "function") => return Err(ApiError::unsupported(at("role"))),
        (None, _) => {
            let message =
                "The role must be one of 'system', 'developer', 'user', 'assistant', 'tool'.";
            return Err(ApiError::invalid_value(at("role"), message));
        }
    };
    for (name, value) in &object.0 {
        match (name.as_ref(), role) {
            // What is said is not looked at here: to parse it is to copy it where nobody wipes it.
            ("role" | "content", _)
            | ("tool_calls" | PARSED, Role::Assistant)
            | ("tool_call_id", Role::Tool) => {}
            (
                "name" | "tool_calls" | "tool_call_id" | "function_call" | "refusal" | "audio"
                | "annotations",
                _,
            ) => {
                if !is_neutral(value, &["[]"]) {
                    return Err(ApiError::unsupported(at(name)));
                }
            }
            _ => return Err(ApiError::unknown(at(cut(name)))),
        }
    }
    let calls = match object.get("tool_calls").filter(|_| role == Role::Assistant) {
        Some(calls) => self::calls(calls, &at("tool_calls"))?,
        None => Vec::new(),
    };
    let content = match object.get("content") {
        Some(content) => text(content.get(), &at("content"))?,
        // Who calls need say nothing.
        None if !calls.is_empty() => Secret::new(String::new()),
        None => return Err(ApiError::missing(at("content"))),
    };
    let mut message = Message::new(role, content);
    message.calls = calls;
    if role == Role::Tool {
        let id: String = object.nested("tool_call_id", || at("tool_call_id"), "a string")?;
        message.answers = Some(id);
    }
    Ok(message)
}

/// The calls that an earlier answer made.
fn calls(value: &RawValue, at: &str) -> Result<Vec<ToolCall>, ApiError> {
    let calls: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| ApiError::invalid_type(at, "an array of calls"))?;
    if calls.len() > CALLS_MAX {
        return Err(ApiError::invalid_value(at, "A message has at most 128 calls."));
    }
    calls
        .iter()
        .enumerate()
        .map(|(index, call)| self::call(call, &format!("{at}[{index}]")))
        .collect()
}

fn call(value: &RawValue, at: &str) -> Result<ToolCall, ApiError> {
    let field = |name: &str| format!("{at}.{name}");
    let call = object(value, at)?;
    // Streams number calls, and some programs send that back.
    only(&call, &["id", "type", "function", "index"], at)?;
    let kind: String = call.nested("type", || field("type"), "a string")?;
    if kind != "function" {
        return Err(ApiError::unsupported(field("type")));
    }
    let id: String = call.nested("id", || field("id"), "a string")?;
    if id.is_empty() || id.len() > ID_LEN_MAX {
        return Err(ApiError::invalid_value(field("id"), "An id has 1 to 128 octets."));
    }
    let at = field("function");
    let field = |name: &str| format!("{at}.{name}");
    let function = call.get("function").ok_or_else(|| ApiError::missing(at.clone()))?;
    let function = object(function, &at)?;
    only(&function, &["name", "arguments", PARSED_ARGUMENTS], &at)?;
    let name: String = function.nested("name", || field("name"), "a string")?;
    if !is_name(&name) {
        let message = "A name has 1 to 64 letters, digits, '_' or '-'.";
        return Err(ApiError::invalid_value(field("name"), message));
    }
    let arguments =
        Secret::new(function.nested::<String>("arguments", || field("arguments"), "a string")?);
    let is_json = serde_json::from_str::<IgnoredAny>(arguments.expose()).is_ok();
    if !is_json || !arguments.expose().trim_start().starts_with('{') {
        let message = "The arguments must be a JSON object.";
        return Err(ApiError::invalid_value(field("arguments"), message));
    }
    Ok(ToolCall { id, name, arguments })
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

/// What Python's SDK makes of an answer's content, and sends back beside it with the conversation.
const PARSED: &str = "parsed";
/// The same of a call's arguments.
const PARSED_ARGUMENTS: &str = "parsed_arguments";
/// Calls in one message; an answer has 16 at most, those of others may have more.
const CALLS_MAX: usize = 128;
/// Octets of a call's id.
const ID_LEN_MAX: usize = 128;
/// Messages after which a call is answered at the latest: the results of all its message's calls.
const ANSWERS_AFTER: usize = CALLS_MAX + 1;
