//! The conversation of a request.

use attestation::Secret;
use engine::{Message, Role};
use serde_json::value::RawValue;

use crate::openai::ApiError;
use crate::openai::object::{Object, cut, is_neutral};

pub(super) fn read(object: &Object<'_>) -> Result<Vec<Message>, ApiError> {
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
    Ok(Message::new(role, text(content.get(), &at("content"))?))
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
