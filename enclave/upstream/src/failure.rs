//! What went wrong, in words of our own: nothing of the server's insides leaves.

use std::fmt;

use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use serde::Deserialize;

use crate::request::is_field;

/// Why there is no answer, or no more of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The server is not there, or not ready.
    Unreachable,
    /// It has no place.
    Busy {
        /// 429 or 503.
        status: u16,
        /// When to ask again, in seconds.
        retry_after: u32,
    },
    /// It refuses the request.
    Refused {
        /// For what field, where it names one that the client may write.
        param: Option<String>,
    },
    /// The prompt does not fit.
    TooLong,
    /// It broke, or says what makes no sense.
    Broken,
    /// It took too long.
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the engine is not ready",
            Self::Busy { .. } => "the engine has no place",
            Self::Refused { .. } => "the engine refuses the request",
            Self::TooLong => "the prompt does not fit",
            Self::Broken => "the engine broke",
            Self::TimedOut => "the engine took too long",
        })
    }
}

impl std::error::Error for Failure {}

/// Reads an answer that is no success.
pub(crate) async fn read(response: Response<Incoming>) -> Failure {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = after.and_then(|value| value.trim().parse().ok()).unwrap_or(1);
    match status {
        429 | 503 => Failure::Busy { status, retry_after: retry_after.clamp(1, RETRY_AFTER_MAX) },
        400 | 413 | 422 => {
            let body = Limited::new(response.into_body(), BODY_LEN_MAX).collect().await;
            body.map_or(Failure::Refused { param: None }, |body| refusal(&body.to_bytes()))
        }
        _ => Failure::Broken,
    }
}

/// The refusal that an event is, if it is one.
pub(crate) fn refused(event: &[u8]) -> Option<Failure> {
    let Wrapped { error } = serde_json::from_slice(event).ok()?;
    Some(match error.code.as_ref().and_then(serde_json::Value::as_u64) {
        Some(400 | 413 | 422) => refusal(event),
        Some(status @ (429 | 503)) => {
            Failure::Busy { status: u16::try_from(status).unwrap_or(503), retry_after: 1 }
        }
        _ => Failure::Broken,
    })
}

/// vLLM and llama-server wrap the error, older `SGLang` does not.
fn refusal(json: &[u8]) -> Failure {
    let told = serde_json::from_slice::<Wrapped>(json).map(|wrapped| wrapped.error);
    let told = told.or_else(|_| serde_json::from_slice::<Told>(json));
    let Ok(Told { message, kind, param, .. }) = told else {
        return Failure::Refused { param: None };
    };
    let message = message.unwrap_or_default();
    if kind.as_deref() == Some("exceed_context_size_error")
        || TOO_LONG.iter().any(|words| message.contains(words))
    {
        return Failure::TooLong;
    }
    let field = |name: &String| is_field(name.split(['.', '[']).next().unwrap_or_default());
    let plain = |name: &String| {
        name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'[' | b']'))
    };
    Failure::Refused { param: param.filter(field).filter(plain) }
}

#[derive(Deserialize)]
struct Wrapped {
    error: Told,
}

#[derive(Deserialize)]
struct Told {
    message: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    param: Option<String>,
    /// A status, or a name.
    code: Option<serde_json::Value>,
}

/// What vLLM and `SGLang` say of a prompt that does not fit.
const TOO_LONG: [&str; 4] = [
    "maximum context length",
    "longer than the model's context length",
    "longer than the maximum model length",
    "exceeds the maximum allowed length",
];
/// Seconds for which a client is sent away.
const RETRY_AFTER_MAX: u32 = 3600;
/// Octets of an error that are read.
const BODY_LEN_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_field_of_the_client_s_and_nothing_else() {
        let param = |name: &str| Failure::Refused { param: Some(name.to_owned()) };
        let none = Failure::Refused { param: None };
        for (json, expected) in [
            (
                r#"{"error":{"message":"/opt/x.py","type":"BadRequestError","param":"top_p","code":400}}"#,
                param("top_p"),
            ),
            (
                r#"{"object":"error","message":"m","type":"BadRequest","param":"messages[0].content","code":400}"#,
                param("messages[0].content"),
            ),
            (r#"{"error":{"message":"m","param":"cache_salt"}}"#, none.clone()),
            (r#"{"error":{"message":"m","param":"tools./etc/passwd"}}"#, none.clone()),
            (
                r#"{"error":{"message":"This model's maximum context length is 9 tokens."}}"#,
                Failure::TooLong,
            ),
            (
                r#"{"error":{"code":400,"message":"m","type":"exceed_context_size_error","n_ctx":9}}"#,
                Failure::TooLong,
            ),
            (
                r#"{"error":{"message":"The decoder prompt (length 9) is longer than the maximum model length of 8."}}"#,
                Failure::TooLong,
            ),
            ("<html>", none),
        ] {
            assert_eq!(refusal(json.as_bytes()), expected, "{json}");
        }
    }
}
