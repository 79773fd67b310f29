//! What form an answer is to have.

use attestation::Secret;
use engine::Format;
use serde_json::value::RawValue;

use crate::openai::ApiError;
use crate::openai::object::{Object, cut};

/// `response_format`: text, a JSON object, or JSON under a schema.
pub(super) fn read(object: &Object<'_>) -> Result<Format, ApiError> {
    let Some(value) = object.get(NAME) else { return Ok(Format::Text) };
    let at = |field: &str| format!("{NAME}.{field}");
    let format = self::object(value, NAME)?;
    let kind: String = format.nested("type", || at("type"), "a string")?;
    only(&format, &["type", SCHEMA], NAME)?;
    match (kind.as_str(), format.get(SCHEMA)) {
        ("text", None) => Ok(Format::Text),
        ("json_object", None) => Ok(Format::Object),
        ("json_schema", Some(described)) => schema(described),
        ("json_schema", None) => Err(ApiError::missing(at(SCHEMA))),
        ("text" | "json_object", Some(_)) => {
            let message = "'json_schema' belongs to the type 'json_schema' alone.";
            Err(ApiError::invalid_value(at(SCHEMA), message))
        }
        _ => {
            let message = "The type must be one of 'text', 'json_object', 'json_schema'.";
            Err(ApiError::invalid_value(at("type"), message))
        }
    }
}

fn schema(described: &RawValue) -> Result<Format, ApiError> {
    const AT: &str = "response_format.json_schema";
    let at = |field: &str| format!("{AT}.{field}");
    let described = object(described, AT)?;
    only(&described, &["name", "description", "schema", "strict"], AT)?;
    let name: String = described.nested("name", || at("name"), "a string")?;
    if !is_name(&name) {
        let message = "A name has 1 to 64 letters, digits, '_' or '-'.";
        return Err(ApiError::invalid_value(at("name"), message));
    }
    if let Some(strict) = described.get("strict") {
        // What is held to is held to either way.
        serde_json::from_str::<bool>(strict.get())
            .map_err(|_| ApiError::invalid_type(at("strict"), "a boolean"))?;
    }
    let schema = described.get("schema").ok_or_else(|| ApiError::missing(at("schema")))?;
    Ok(Format::Schema(Secret::new(schema.get().to_owned())))
}

/// An object below the request, named by `at` where it is none.
pub(super) fn object<'a>(value: &'a RawValue, at: &str) -> Result<Object<'a>, ApiError> {
    serde_json::from_str(value.get()).map_err(|_| ApiError::invalid_type(at, "an object"))
}

/// Refuses every key but these.
pub(super) fn only(object: &Object<'_>, known: &[&str], at: &str) -> Result<(), ApiError> {
    match object.0.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
        Some((name, _)) => Err(ApiError::unknown(format!("{at}.{}", cut(name)))),
        None => Ok(()),
    }
}

/// Whether a schema or a function may be called so (`OpenAI`'s API reference).
pub(super) fn is_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

const NAME: &str = "response_format";
const SCHEMA: &str = "json_schema";
