//! JSON schemas as clients write them: bounded, and refused where they could not be held to.
//!
//! The grammar library honours most of JSON Schema exactly. What it would only approach is refused
//! here by name, so that an answer that ends by itself is valid.

use serde_json::{Map, Value, json};

/// Why a schema is refused.
pub(crate) type Refused = &'static str;

/// Reads a schema and makes it one that the grammar library holds to exactly.
pub(crate) fn prepare(text: &str) -> Result<Value, Refused> {
    if text.len() > LEN_MAX {
        return Err("must have at most 64 KiB");
    }
    let mut schema: Value =
        serde_json::from_str(text).map_err(|_| "must be JSON, nested not too deep")?;
    if !schema.is_object() {
        return Err("must be an object");
    }
    let mut nodes = 0_usize;
    let mut waiting: Vec<(&mut Value, usize)> = vec![(&mut schema, 0)];
    while let Some((schema, depth)) = waiting.pop() {
        nodes = nodes.saturating_add(1);
        if depth > DEPTH_MAX {
            return Err("must nest at most 24 deep");
        }
        if nodes > NODES_MAX {
            return Err("must have at most 1000 parts");
        }
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(_) => continue,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err("must have objects or booleans where schemas belong");
            }
        };
        spell_out(keywords)?;
        let deeper = depth.saturating_add(1);
        for (keyword, value) in keywords.iter_mut() {
            match (keyword.as_str(), value) {
                (
                    "properties" | "$defs" | "definitions" | "patternProperties",
                    Value::Object(named),
                ) => waiting.extend(named.values_mut().map(|schema| (schema, deeper))),
                ("items" | "additionalProperties" | "additionalItems", value)
                    if !value.is_array() =>
                {
                    waiting.push((value, deeper));
                }
                ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(all)) => {
                    waiting.extend(all.iter_mut().map(|schema| (schema, deeper)));
                }
                ("enum", Value::Array(all)) if all.len() > CHOICES_MAX => {
                    return Err("must have at most 1000 values in an `enum`");
                }
                ("minItems" | "maxItems" | "minProperties" | "maxProperties", count)
                    if count.as_u64().is_none_or(|count| count > COUNT_MAX) =>
                {
                    return Err("must count at most 1000 items or properties");
                }
                ("minLength" | "maxLength", count)
                    if count.as_u64().is_none_or(|count| count > LENGTH_MAX) =>
                {
                    return Err("must bound lengths by at most 10000");
                }
                ("pattern", Value::String(pattern)) if pattern.len() > PATTERN_MAX => {
                    return Err("must have patterns of at most 512 octets");
                }
                _ => {}
            }
        }
    }
    // One form, which ends: with free blanks an answer may consist of them.
    if let Value::Object(keywords) = &mut schema {
        keywords.insert(
            OPTIONS.to_owned(),
            json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    Ok(schema)
}

/// Refuses what cannot be held to, and replaces what can be by what is.
fn spell_out(keywords: &mut Map<String, Value>) -> Result<(), Refused> {
    for (keyword, why) in UNSUPPORTED {
        let neutral = |value: &Value| keyword == "uniqueItems" && *value == Value::Bool(false);
        if keywords.get(keyword).is_some_and(|value| !neutral(value)) {
            return Err(why);
        }
    }
    keywords.remove("uniqueItems");
    let Some(format) = keywords.remove("format") else { return Ok(()) };
    let format = format.as_str().unwrap_or_default().to_owned();
    let pattern = match format.as_str() {
        "date" => format!("^{DATE}$"),
        "date-time" => format!("^{DATE}T{TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"),
        "time" => format!("^{TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"),
        "uuid" => "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$".to_owned(),
        "ipv4" => format!("^{OCTET}(\\.{OCTET}){{3}}$"),
        "email" => EMAIL.to_owned(),
        // Annotations of numbers' sizes (OpenAPI), which say nothing of texts.
        "int32" | "int64" | "float" | "double" => return Ok(()),
        _ => return Err("uses a `format` that cannot be enforced"),
    };
    let pattern = Value::String(pattern);
    if !keywords.contains_key("pattern") {
        keywords.insert("pattern".to_owned(), pattern);
        return Ok(());
    }
    // Both hold (zod writes its own pattern beside a format); the library meets all of an `allOf` at once.
    let all = keywords.entry("allOf").or_insert_with(|| json!([]));
    let all = all.as_array_mut().ok_or("must have a list in `allOf`")?;
    all.push(json!({"pattern": pattern}));
    Ok(())
}

/// What a schema may hold that only the grammar library may say.
const OPTIONS: &str = "x-guidance";
/// Keywords that JSON Schema knows and nothing here holds to.
const UNSUPPORTED: [(&str, Refused); 19] = [
    (OPTIONS, "uses `x-guidance`, which is not its to use"),
    ("not", "uses `not`, which cannot be enforced"),
    ("if", "uses `if`, which cannot be enforced"),
    ("then", "uses `then`, which cannot be enforced"),
    ("else", "uses `else`, which cannot be enforced"),
    ("uniqueItems", "uses `uniqueItems`, which cannot be enforced"),
    ("contains", "uses `contains`, which cannot be enforced"),
    ("minContains", "uses `minContains`, which cannot be enforced"),
    ("maxContains", "uses `maxContains`, which cannot be enforced"),
    ("dependencies", "uses `dependencies`, which cannot be enforced"),
    ("dependentRequired", "uses `dependentRequired`, which cannot be enforced"),
    ("dependentSchemas", "uses `dependentSchemas`, which cannot be enforced"),
    ("propertyNames", "uses `propertyNames`, which cannot be enforced"),
    ("unevaluatedProperties", "uses `unevaluatedProperties`, which cannot be enforced"),
    ("unevaluatedItems", "uses `unevaluatedItems`, which cannot be enforced"),
    ("$dynamicRef", "uses `$dynamicRef`, which cannot be enforced"),
    ("$recursiveRef", "uses `$recursiveRef`, which cannot be enforced"),
    ("$id", "uses `$id`, which cannot be enforced"),
    ("id", "uses `id`, which cannot be enforced"),
];
/// Days that there are (RFC 3339), from year 1000 on.
const DATE: &str = concat!(
    r"([1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])",
    r"|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
    r"|([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)-02-29)"
);
const TIME: &str = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?";
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// Addresses that every mail server takes (RFC 5321 has more, and stranger ones), parts and names not too long.
const EMAIL: &str = concat!(
    r"^[A-Za-z0-9_+-]{1,20}(\.[A-Za-z0-9_+-]{1,20}){0,2}",
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){1,4}[A-Za-z]{2,18}$"
);
const LEN_MAX: usize = 64 * 1024;
/// `OpenAI`'s limit is 10 for the schemas that it enforces.
const DEPTH_MAX: usize = 24;
const NODES_MAX: usize = 1000;
const CHOICES_MAX: usize = 1000;
const COUNT_MAX: u64 = 1000;
const LENGTH_MAX: u64 = 10_000;
const PATTERN_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_held_to_is_refused_wherever_it_is() {
        for (keyword, why) in UNSUPPORTED {
            for schema in [
                json!({keyword: {}}),
                json!({"type": "object", "properties": {"a": {keyword: {}}}}),
                json!({"$defs": {"a": {"items": {keyword: 1}}}}),
                json!({"anyOf": [true, {"prefixItems": [{keyword: true}]}]}),
            ] {
                assert_eq!(prepare(&schema.to_string()), Err(why), "{schema}");
            }
            // As a name and as a value it is nobody's keyword.
            let named = json!({"properties": {keyword: true}, "enum": [{keyword: 1}]});
            assert!(prepare(&named.to_string()).is_ok(), "{named}");
        }
        assert!(prepare(r#"{"uniqueItems":false}"#).is_ok());
        for (schema, why) in [
            ("", "must be JSON, nested not too deep"),
            ("[]", "must be an object"),
            ("true", "must be an object"),
            (r#"{"items":1}"#, "must have objects or booleans where schemas belong"),
            (r#"{"format":"hostname"}"#, "uses a `format` that cannot be enforced"),
            (r#"{"format":"hostname","pattern":"x"}"#, "uses a `format` that cannot be enforced"),
            (r#"{"format":"date","pattern":"x","allOf":{}}"#, "must have a list in `allOf`"),
            (r#"{"maxItems":1001}"#, "must count at most 1000 items or properties"),
            (r#"{"minLength":-1}"#, "must bound lengths by at most 10000"),
        ] {
            assert_eq!(prepare(schema), Err(why), "{schema}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let nested =
            |depth: usize| format!("{}true{}", r#"{"items":"#.repeat(depth), "}".repeat(depth));
        assert!(prepare(&nested(24)).is_ok());
        assert_eq!(prepare(&nested(25)), Err("must nest at most 24 deep"));
        assert!(prepare(&nested(100_000)).is_err());
        let wide = |count: usize| {
            let all: Vec<String> = (0..count).map(|n| format!(r#""p{n}":true"#)).collect();
            format!(r#"{{"properties":{{{}}}}}"#, all.join(","))
        };
        assert!(prepare(&wide(999)).is_ok());
        assert_eq!(prepare(&wide(1000)), Err("must have at most 1000 parts"));
        let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(LEN_MAX));
        assert_eq!(prepare(&long), Err("must have at most 64 KiB"));
        let pattern = format!(r#"{{"pattern":"{}"}}"#, "x".repeat(513));
        assert_eq!(prepare(&pattern), Err("must have patterns of at most 512 octets"));
        let many = json!({"enum": (0..1001).collect::<Vec<_>>()});
        assert_eq!(prepare(&many.to_string()), Err("must have at most 1000 values in an `enum`"));
    }

    #[test]
    fn days_are_those_that_there_are() {
        let date = fancy_regex::Regex::new(&format!("^{DATE}$")).unwrap();
        for (text, expected) in [
            ("2024-02-29", true),
            ("2000-02-29", true),
            ("2023-02-29", false),
            ("1900-02-29", false),
            ("2023-02-28", true),
            ("2023-04-31", false),
            ("2023-12-31", true),
            ("2023-13-01", false),
            ("0000-01-01", false),
            ("2023-01-00", false),
        ] {
            assert_eq!(date.is_match(text).unwrap(), expected, "{text}");
        }
    }
}
