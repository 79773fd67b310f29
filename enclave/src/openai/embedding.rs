//! `/v1/embeddings`: texts in, vectors out.

use std::fmt;

use attestation::Secret;
use attestation::receipt::Usage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Embedding, EmbeddingInput};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::openai::ApiError;
use crate::openai::object::Object;
use crate::openai::request::{object, refuse_unsupported};

/// Texts that are wanted as vectors, as they were asked for.
pub struct EmbeddingRequest {
    /// The model.
    pub model: String,
    /// The texts.
    pub inputs: Vec<EmbeddingInput>,
    /// How the vectors are written.
    pub encoding: Encoding,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// As a list of numbers.
    Float,
    /// As base64 of its numbers, four octets each, little endian.
    Base64,
}

impl EmbeddingRequest {
    /// Reads the JSON of a request.
    ///
    /// # Errors
    /// What `OpenAI`'s API would answer, with the field's name where it is about one.
    pub fn parse(json: &[u8]) -> Result<Self, ApiError> {
        let object = object(json)?;
        refuse_unsupported(&object, &SUPPORTED, &UNSUPPORTED)?;
        let model: String = object.required("model", "a string")?;
        let inputs = inputs(&object)?;
        let encoding = match object.optional::<String>("encoding_format", "a string")?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => {
                let why = "'encoding_format' must be 'float' or 'base64'.";
                return Err(ApiError::invalid_value("encoding_format", why));
            }
        };
        Ok(Self { model, inputs, encoding })
    }
}

impl fmt::Debug for EmbeddingRequest {
    /// Shows no client's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddingRequest({} inputs)", self.inputs.len())
    }
}

/// A text, tokens, or a list of either.
fn inputs(object: &Object<'_>) -> Result<Vec<EmbeddingInput>, ApiError> {
    let value = object.get("input").ok_or_else(|| ApiError::missing("input"))?;
    if let Some(input) = input(value) {
        return Ok(vec![input]);
    }
    let bad = || ApiError::invalid_type("input", "a string, tokens, or an array of either");
    let values: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| bad())?;
    if values.is_empty() || values.len() > Embedding::INPUTS_MAX {
        let why = "'input' must have 1 to 2048 entries.";
        return Err(ApiError::invalid_value("input", why));
    }
    values.into_iter().map(|value| input(value).ok_or_else(bad)).collect()
}

/// One text, or the tokens of one. None: neither.
fn input(value: &RawValue) -> Option<EmbeddingInput> {
    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
        return Some(EmbeddingInput::Text(Secret::new(text)));
    }
    let tokens: Vec<u32> = serde_json::from_str(value.get()).ok()?;
    (!tokens.is_empty()).then(|| EmbeddingInput::Tokens(Secret::new(tokens)))
}

/// The answer: a vector for each text, in order.
#[derive(Debug)]
pub struct Embeddings<'a> {
    /// The model's name, as it was asked for.
    pub model: &'a str,
    /// The vectors.
    pub vectors: &'a [Secret<Vec<f32>>],
    /// How they are written.
    pub encoding: Encoding,
    /// What was read.
    pub usage: Usage,
}

impl Embeddings<'_> {
    /// The JSON of the answer.
    pub fn json(&self) -> Secret<Vec<u8>> {
        let encoding = self.encoding;
        let data = (0..).zip(self.vectors).map(|(index, vector)| {
            let embedding = Vector { numbers: vector.expose(), encoding };
            Entry { object: "embedding", index, embedding }
        });
        let tokens = self.usage.prompt;
        let counts = Counts { prompt_tokens: tokens, total_tokens: tokens };
        let data = data.collect();
        let list = List { object: "list", data, model: self.model, usage: counts };
        // Finite numbers and plain strings always serialise. What grows is wiped by the allocator.
        Secret::new(serde_json::to_vec(&list).unwrap_or_default())
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: Counts,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: u32,
    embedding: Vector<'a>,
}

struct Vector<'a> {
    numbers: &'a [f32],
    encoding: Encoding,
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.encoding {
            Encoding::Float => self.numbers.serialize(to),
            Encoding::Base64 => {
                let octets = self.numbers.iter().flat_map(|number| number.to_le_bytes());
                let octets: Zeroizing<Vec<u8>> = Zeroizing::new(octets.collect());
                to.serialize_str(&Zeroizing::new(STANDARD.encode(&*octets)))
            }
        }
    }
}

/// A text that is read is not continued.
#[derive(Serialize)]
struct Counts {
    prompt_tokens: u32,
    total_tokens: u32,
}

const SUPPORTED: [&str; 3] = ["model", "input", "encoding_format"];
/// A model has as many numbers as it has: none of those served was trained to be cut.
const UNSUPPORTED: [(&str, &[&str]); 1] = [("dimensions", &[])];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<EmbeddingRequest, ApiError> {
        EmbeddingRequest::parse(format!(r#"{{"model":"m",{rest}}}"#).as_bytes())
    }

    #[test]
    fn texts_and_tokens_come_alone_and_in_lists() {
        let lens = |rest: &str| {
            let inputs = parse(rest).unwrap().inputs;
            let len = |input: &EmbeddingInput| match input {
                EmbeddingInput::Text(text) => format!("text {}", text.expose()),
                EmbeddingInput::Tokens(tokens) => format!("tokens {:?}", tokens.expose()),
            };
            inputs.iter().map(len).collect::<Vec<_>>()
        };
        assert_eq!(lens(r#""input":"a""#), ["text a"]);
        assert_eq!(lens(r#""input":["a","b"]"#), ["text a", "text b"]);
        assert_eq!(lens(r#""input":[1,2]"#), ["tokens [1, 2]"]);
        assert_eq!(lens(r#""input":[[1,2],[3]]"#), ["tokens [1, 2]", "tokens [3]"]);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let many = format!(r#""input":[{}"a"]"#, r#""a","#.repeat(Embedding::INPUTS_MAX));
        let cases = [
            (r#""encoding_format":"float""#, "input"),
            (r#""input":[]"#, "input"),
            (r#""input":[[]]"#, "input"),
            (r#""input":7"#, "input"),
            (r#""input":[-1]"#, "input"),
            (r#""input":["a",{}]"#, "input"),
            (many.as_str(), "input"),
            (r#""input":"a","dimensions":64"#, "dimensions"),
            (r#""input":"a","encoding_format":"hex""#, "encoding_format"),
            (r#""input":"a","messages":[]"#, "messages"),
        ];
        for (rest, field) in cases {
            let error = parse(rest).unwrap_err();
            assert_eq!((error.status, error.param()), (400, Some(field)), "{rest:.60}");
        }
        assert!(parse(r#""input":"a","user":"u","dimensions":null"#).is_ok());
    }

    #[test]
    fn vectors_are_written_in_order_both_ways() {
        let vectors = [vec![0.5, -1.0], vec![0.0, 1.0]].map(Secret::new);
        let usage = Usage { prompt: 3, completion: 0, cached: 0 };
        let json = |encoding| {
            let answer = Embeddings { model: "m", vectors: &vectors, encoding, usage };
            String::from_utf8(answer.json().expose().clone()).unwrap()
        };
        let expected = |first: &str, second: &str| {
            let entry = |index: u32, vector: &str| {
                format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
            };
            format!(
                r#"{{"object":"list","data":[{},{}],"model":"m","usage":{{"prompt_tokens":3,"total_tokens":3}}}}"#,
                entry(0, first),
                entry(1, second)
            )
        };
        assert_eq!(json(Encoding::Float), expected("[0.5,-1.0]", "[0.0,1.0]"));
        assert_eq!(json(Encoding::Base64), expected(r#""AAAAPwAAgL8=""#, r#""AAAAAAAAgD8=""#));
    }
}
