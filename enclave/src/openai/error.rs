use std::borrow::Cow;

use engine::EngineError;
use serde::Serialize;
use upstream::Failure;

/// An error as `OpenAI`'s API words it, which travels sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// The status of the sealed response.
    pub status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: Cow<'static, str>,
    retry_after: Option<u32>,
}

impl ApiError {
    /// The JSON of the error object.
    pub fn body(&self) -> Vec<u8> {
        let Self { status: _, kind, code, param, message, retry_after: _ } = self;
        let param = param.as_deref();
        // Plain strings always serialise.
        serde_json::to_vec(&Envelope { error: Inner { message, kind, param, code: *code } })
            .unwrap_or_default()
    }

    /// The stable code, where there is one.
    pub const fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// The field that the error is about, where there is one.
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// 400 about the whole request.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::request(400, None, None, message.into())
    }

    /// 400 about one field's value.
    pub fn invalid_value(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::request(400, Some("invalid_value"), Some(param.into()), message.into())
    }

    /// 400: a field has a value of the wrong type.
    pub fn invalid_type(param: impl Into<String>, expected: &str) -> Self {
        let param = param.into();
        let message = format!("Invalid type for '{param}': expected {expected}.");
        Self::request(400, Some("invalid_type"), Some(param), message.into())
    }

    /// 400: a field must be given.
    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Missing required parameter: '{param}'.");
        Self::request(400, Some("missing_required_parameter"), Some(param), message.into())
    }

    /// 400: `OpenAI`'s API has the field, this enclave does not support it yet.
    pub fn unsupported(param: impl Into<String>) -> Self {
        let param = param.into();
        let message =
            format!("Unsupported parameter: '{param}' is not supported by this enclave yet.");
        Self::request(400, Some("unsupported_parameter"), Some(param), message.into())
    }

    /// 400: nobody has such a field.
    pub fn unknown(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Unknown parameter: '{param}'.");
        Self::request(400, Some("unknown_parameter"), Some(param), message.into())
    }

    /// 404: the enclave does not serve this model.
    pub fn model_not_found() -> Self {
        let message = "The requested model is not served by this enclave.".into();
        Self::request(404, Some("model_not_found"), Some("model".to_owned()), message)
    }

    /// 404: no such resource inside the seal.
    pub fn not_found() -> Self {
        let message = "No such resource. This enclave answers POST /v1/chat/completions, POST /v1/completions, POST /v1/embeddings and GET /v1/models.";
        Self::request(404, Some("not_found"), None, message.into())
    }

    /// 404: `OpenAI`'s API has the resource, this engine does not.
    pub fn resource_unsupported(path: &'static str) -> Self {
        let message = format!("{path} is not supported by this enclave yet.");
        Self::request(404, Some("unsupported_resource"), None, message.into())
    }

    /// 405: the resource has no such method.
    pub fn method_not_allowed() -> Self {
        Self::request(405, Some("method_not_allowed"), None, "Method not allowed.".into())
    }

    /// 415: the resource takes JSON.
    pub fn media_type() -> Self {
        let message = "The content type must be application/json.".into();
        Self::request(415, Some("unsupported_media_type"), None, message)
    }

    /// 421: the request names another enclave.
    pub fn misdirected() -> Self {
        let message = "The request is addressed to another enclave.".into();
        Self::request(421, Some("misdirected_request"), None, message)
    }

    /// 421: the request names a binding that is not live for its key, or none where it must.
    pub fn binding(message: &'static str) -> Self {
        Self::request(421, Some("binding_mismatch"), None, message.into())
    }

    /// 500: our defect.
    pub fn internal() -> Self {
        Self::server(500, "internal_error", "The enclave failed; the request may be sent again.")
    }

    /// When to ask again, in seconds, where that makes sense.
    pub const fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The same of a request that has in `field` what a conversation has in `messages`.
    #[must_use]
    pub fn with_text_in(mut self, field: &str) -> Self {
        if self.param.as_deref() == Some("messages") {
            self.param = Some(field.to_owned());
        }
        self
    }

    /// Whether asking again, at this enclave or another, makes sense.
    pub const fn is_busy(&self) -> bool {
        self.status == 503
    }

    fn request(
        status: u16,
        code: Option<&'static str>,
        param: Option<String>,
        message: Cow<'static, str>,
    ) -> Self {
        Self { status, kind: "invalid_request_error", code, param, message, retry_after: None }
    }

    const fn server(status: u16, code: &'static str, message: &'static str) -> Self {
        let message = Cow::Borrowed(message);
        let retry_after = if status == 503 { Some(1) } else { None };
        Self { status, kind: "server_error", code: Some(code), param: None, message, retry_after }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy { retry_after_s } => Self {
                retry_after: Some(retry_after_s),
                ..Self::server(503, "engine_busy", "Every place is taken; ask again.")
            },
            EngineError::TenantBusy { retry_after_s } => Self {
                kind: "requests",
                retry_after: Some(retry_after_s),
                ..Self::request(
                    429,
                    Some("rate_limit_exceeded"),
                    None,
                    "Too many of your requests wait; ask again.".into(),
                )
            },
            EngineError::Stopping => {
                Self::server(503, "engine_stopping", "The enclave is shutting down; ask another.")
            }
            EngineError::ContextTooLong { prompt_tokens, limit } => {
                let message = format!(
                    "This model's maximum context length is {limit} tokens. However, your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
                );
                let param = Some("messages".to_owned());
                Self::request(400, Some("context_length_exceeded"), param, message.into())
            }
            EngineError::Template(_) => Self::invalid_value("messages", error.to_string()),
            EngineError::BadRequest { field, .. } => Self::invalid_value(field, error.to_string()),
            EngineError::Crashed => Self::internal(),
            EngineError::OutOfTime => Self::server(
                504,
                "engine_timeout",
                "The answer took longer than it may; ask for less.",
            ),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let server = |status, code, message| Self::server(status, code, message);
        match failure {
            Failure::Unreachable => {
                server(503, "engine_unavailable", "The engine is not ready; ask again.")
            }
            Failure::Busy { status, retry_after } => Self {
                retry_after: Some(retry_after),
                ..server(status, "engine_busy", "Every place is taken; ask again.")
            },
            Failure::Refused { param } => {
                let message = match &param {
                    Some(param) => format!("The engine refuses the value of '{param}'."),
                    None => "The engine refuses the request.".to_owned(),
                };
                Self::request(400, Some("invalid_value"), param, message.into())
            }
            Failure::TooLong => {
                let message = "The request does not fit the model's context.".into();
                let param = Some("messages".to_owned());
                Self::request(400, Some("context_length_exceeded"), param, message)
            }
            Failure::Broken => {
                server(502, "engine_failed", "The engine failed; the request may be sent again.")
            }
            Failure::TimedOut => {
                server(504, "engine_timeout", "The engine did not answer in time.")
            }
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_objects_have_openai_s_shape() {
        let body = ApiError::unsupported("tools").body();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"error":{"message":"Unsupported parameter: 'tools' is not supported by this enclave yet.","type":"invalid_request_error","param":"tools","code":"unsupported_parameter"}}"#
        );
        let body = ApiError::invalid("x").body();
        assert!(String::from_utf8(body).unwrap().ends_with(r#""param":null,"code":null}}"#));
    }

    #[test]
    fn engine_errors_keep_their_meaning() {
        for (error, status, code) in [
            (EngineError::Busy { retry_after_s: 1 }, 503, "engine_busy"),
            (EngineError::Stopping, 503, "engine_stopping"),
            (EngineError::Crashed, 500, "internal_error"),
            (
                EngineError::ContextTooLong { prompt_tokens: 9, limit: 8 },
                400,
                "context_length_exceeded",
            ),
            (EngineError::BadRequest { field: "top_p", why: "x" }, 400, "invalid_value"),
        ] {
            let api = ApiError::from(error);
            assert_eq!((api.status, api.code()), (status, Some(code)), "{error:?}");
        }
    }
}
