//! The functions that an answer may call.

use attestation::Secret;
use engine::{Tool, ToolChoice, Tools};
use serde_json::value::RawValue;

use super::format::{is_name, object, only};
use crate::openai::ApiError;
use crate::openai::object::Object;

/// `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn read(request: &Object<'_>) -> Result<Tools, ApiError> {
    let given: Option<Vec<&RawValue>> = request.optional("tools", "an array of tools")?;
    let given = given.unwrap_or_default();
    if given.len() > TOOLS_MAX {
        return Err(ApiError::invalid_value("tools", "'tools' takes at most 128 functions."));
    }
    let mut offered: Vec<Tool> = Vec::with_capacity(given.len());
    for (index, value) in given.into_iter().enumerate() {
        let at = format!("tools[{index}]");
        let tool = tool(value, &at)?;
        if offered.iter().any(|have| have.name == tool.name) {
            let message = "Two functions have the same name.";
            return Err(ApiError::invalid_value(format!("{at}.function.name"), message));
        }
        offered.push(tool);
    }
    let parallel = request.optional(PARALLEL, "a boolean")?;
    let choice = choice(request)?;
    if offered.is_empty() {
        let needless = match &choice {
            Some(choice) if *choice != ToolChoice::None => Some(CHOICE),
            _ => None,
        };
        if let Some(field) = needless {
            let message = "It is only allowed where 'tools' are given.";
            return Err(ApiError::invalid_value(field, message));
        }
    }
    if let Some(ToolChoice::Named(name)) = &choice
        && !offered.iter().any(|tool| tool.name == *name)
    {
        let message = "'tools' has no function of this name.";
        return Err(ApiError::invalid_value("tool_choice.function.name", message));
    }
    Ok(Tools { offered, choice: choice.unwrap_or_default(), parallel: parallel.unwrap_or(true) })
}

fn tool(value: &RawValue, at: &str) -> Result<Tool, ApiError> {
    let tool = object(value, at)?;
    let field = |name: &str| format!("{at}.{name}");
    let kind: String = tool.nested("type", || field("type"), "a string")?;
    if kind != "function" {
        return Err(ApiError::unsupported(field("type")));
    }
    only(&tool, &["type", "function"], at)?;
    let at = field("function");
    let field = |name: &str| format!("{at}.{name}");
    let function = tool.get("function").ok_or_else(|| ApiError::missing(at.clone()))?;
    let function = object(function, &at)?;
    only(&function, &["name", "description", "parameters", "strict"], &at)?;
    let name: String = function.nested("name", || field("name"), "a string")?;
    if !is_name(&name) {
        let message = "A name has 1 to 64 letters, digits, '_' or '-'.";
        return Err(ApiError::invalid_value(field("name"), message));
    }
    let mut description = None;
    if function.get("description").is_some() {
        let text: String = function.nested("description", || field("description"), "a string")?;
        description = Some(Secret::new(text));
    }
    if function.get("strict").is_some() {
        // What is held to is held to either way.
        function.nested::<bool>("strict", || field("strict"), "a boolean")?;
    }
    let parameters = function.get("parameters").map_or(NO_PARAMETERS, RawValue::get).to_owned();
    if parameters.len() > PARAMETERS_MAX {
        let message = "The parameters have more than 64 KiB.";
        return Err(ApiError::invalid_value(field("parameters"), message));
    }
    Ok(Tool { name, description, parameters: Secret::new(parameters) })
}

fn choice(request: &Object<'_>) -> Result<Option<ToolChoice>, ApiError> {
    const WORDS: &str = "'none', 'auto', 'required' or an object that names a function";
    let Some(value) = request.get(CHOICE) else { return Ok(None) };
    if let Ok(word) = serde_json::from_str::<String>(value.get()) {
        return match word.as_str() {
            "none" => Ok(Some(ToolChoice::None)),
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => Err(ApiError::invalid_value(CHOICE, format!("It must be {WORDS}."))),
        };
    }
    let named: Object<'_> =
        serde_json::from_str(value.get()).map_err(|_| ApiError::invalid_type(CHOICE, WORDS))?;
    let at = |name: &str| format!("{CHOICE}.{name}");
    let kind: String = named.nested("type", || at("type"), "a string")?;
    if kind != "function" {
        return Err(ApiError::unsupported(at("type")));
    }
    only(&named, &["type", "function"], CHOICE)?;
    let function = named.get("function").ok_or_else(|| ApiError::missing(at("function")))?;
    let function = object(function, &at("function"))?;
    only(&function, &["name"], &at("function"))?;
    let name: String = function.nested("name", || at("function.name"), "a string")?;
    Ok(Some(ToolChoice::Named(name)))
}

const CHOICE: &str = "tool_choice";
const PARALLEL: &str = "parallel_tool_calls";
/// A function without parameters (`OpenAI`'s API reference).
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
const TOOLS_MAX: usize = 128;
const PARAMETERS_MAX: usize = 64 * 1024;
