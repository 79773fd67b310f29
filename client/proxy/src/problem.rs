//! Every failure as an error object of the `OpenAI` API, with a stable code.

use axum::response::{IntoResponse, Response};
use client::{Error, Family};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Why a request has no answer of an enclave's.
#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// The `Host` is not this machine's.
    Host,
    /// The `Origin` was not allowed.
    Origin,
    /// A browser asks for a page of another site.
    CrossSite,
    /// The body is not JSON.
    MediaType,
    /// The body is too long.
    TooLarge,
    /// The body did not arrive.
    BodyBroke,
    /// The body did not arrive in time.
    TooSlow,
    /// No such path.
    NotFound,
    /// The path takes another method.
    MethodNotAllowed,
    /// No such model among the attested ones.
    NoModel(String),
    /// No receipt of that answer is kept.
    NoReceipt,
    /// The client has no verified answer.
    Client(Box<Error>),
}

impl PartialEq for Problem {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Client(Box::new(error))
    }
}

impl Problem {
    /// The stable name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Host => "host-not-loopback",
            Self::Origin => "origin-not-allowed",
            Self::CrossSite => "cross-site",
            Self::MediaType => "content-type-not-json",
            Self::TooLarge => "request-too-large",
            Self::BodyBroke => "request-broke-off",
            Self::TooSlow => "request-too-slow",
            Self::NotFound => "path-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NoModel(_) => "model-not-allowed",
            Self::NoReceipt => "receipt-not-found",
            Self::Client(error) => error.code(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroke => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::NoModel(_) | Self::NoReceipt => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Client(error) => status_of(error),
        }
    }

    /// The `error` object, also as the data of the event that ends a broken stream.
    pub(crate) fn object(&self) -> Value {
        let (kind, param) = match self {
            Self::NoModel(_) => ("invalid_request_error", Some("model")),
            Self::Client(error) => match (&**error, error.family()) {
                (Error::ModelNotAllowed { .. }, _) => ("invalid_request_error", Some("model")),
                (_, Family::Usage) => ("invalid_request_error", None),
                (_, Family::Rejected) => ("veritee_rejected", None),
                (_, Family::Malformed) => ("veritee_malformed", None),
                (_, Family::Unavailable) => ("veritee_unavailable", None),
                (_, Family::Bug) => ("veritee_bug", None),
            },
            Self::Host | Self::Origin | Self::CrossSite => ("permission_error", None),
            Self::MediaType
            | Self::TooLarge
            | Self::BodyBroke
            | Self::TooSlow
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::NoReceipt => ("invalid_request_error", None),
        };
        json!({"error": {"message": self.message(), "type": kind, "param": param, "code": self.code()}})
    }

    fn message(&self) -> String {
        match self {
            Self::Host => "This proxy answers to a loopback host only, 127.0.0.1 say.".to_owned(),
            Self::Origin => {
                "This web page may not use the proxy; allow its origin with --allow-origin."
                    .to_owned()
            }
            Self::CrossSite => {
                "A page of another site may not use the proxy; allow its origin with --allow-origin \
                 and let it use fetch."
                    .to_owned()
            }
            Self::TooSlow => "The request did not arrive within 30 seconds.".to_owned(),
            Self::MediaType => "Send content-type application/json, not compressed.".to_owned(),
            Self::TooLarge => "The request is longer than 2 MiB.".to_owned(),
            Self::BodyBroke => "The request broke off before its end.".to_owned(),
            Self::NotFound => {
                "There is nothing here; the API is below /v1, at /v1/chat/completions say."
                    .to_owned()
            }
            Self::MethodNotAllowed => "This path takes another method.".to_owned(),
            Self::NoModel(model) => format!("No verified enclave serves {model:?}."),
            Self::NoReceipt => {
                "No receipt of that answer is kept: it is not finished, or it was long ago."
                    .to_owned()
            }
            Self::Client(error) => format!("{error}. Next: {}.", error.next_step()),
        }
    }

    /// Whether the request was certainly not carried out and may be by asking again. SDKs of the
    /// `OpenAI` API retry on their own unless they are told not to (`docs/protocol.md` §5.6).
    fn may_be_retried(&self) -> bool {
        let Self::Client(error) = self else { return false };
        matches!(
            &**error,
            Error::Outer { status: 421 | 429 | 503, .. }
                | Error::Outer { status: 400, code: "ohttp-key", .. }
                | Error::NoEnclaves { .. }
                | Error::Expired { .. }
        )
    }
}

fn status_of(error: &Error) -> StatusCode {
    if matches!(error, Error::ModelNotAllowed { .. }) {
        return StatusCode::NOT_FOUND;
    }
    if let Error::Outer { status: status @ (401 | 402 | 413 | 429), .. } = error {
        return StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    }
    match error.family() {
        Family::Usage => StatusCode::BAD_REQUEST,
        Family::Rejected => StatusCode::FORBIDDEN,
        Family::Malformed => StatusCode::BAD_GATEWAY,
        Family::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Family::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.object().to_string();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let retry = if self.may_be_retried() { "true" } else { "false" };
        headers.insert("x-should-retry", HeaderValue::from_static(retry));
        if let Self::Client(error) = &self
            && let Error::Outer { retry_after: Some(secs), .. } = **error
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_status_and_its_shape() {
        let outer = |status| Error::Outer { status, code: "x", retry_after: Some(3) };
        for (problem, status, code, retry) in [
            (Problem::Host, 403, "host-not-loopback", "false"),
            (Problem::CrossSite, 403, "cross-site", "false"),
            (Problem::TooSlow, 408, "request-too-slow", "false"),
            (Problem::MediaType, 415, "content-type-not-json", "false"),
            (Problem::NotFound, 404, "path-not-found", "false"),
            (Error::Request("x").into(), 400, "request-invalid", "false"),
            (Error::NoKeys.into(), 403, "no-keys", "false"),
            (Error::ConnectionDied.into(), 503, "connection-died", "false"),
            (Error::Bug("x").into(), 500, "bug", "false"),
            (outer(503).into(), 503, "x", "true"),
            (outer(429).into(), 429, "x", "true"),
            (outer(401).into(), 401, "x", "false"),
            // Whatever it was, nobody said that it was the key.
            (outer(400).into(), 503, "x", "false"),
            (
                Error::Outer { status: 400, code: "ohttp-key", retry_after: None }.into(),
                503,
                "ohttp-key",
                "true",
            ),
            (
                Error::ModelNotAllowed { model: "m".to_owned(), available: vec![] }.into(),
                404,
                "model-not-allowed",
                "false",
            ),
            (Error::Broken { code: "b", why: "w".to_owned() }.into(), 502, "b", "false"),
        ] {
            let object = problem.object();
            let error = object.get("error").unwrap();
            assert_eq!(error.get("code").unwrap(), code);
            for member in ["message", "type", "param"] {
                assert!(error.get(member).is_some(), "{code}: {member}");
            }
            let response = problem.into_response();
            assert_eq!(response.status().as_u16(), status, "{code}");
            assert_eq!(response.headers().get("x-should-retry").unwrap(), retry, "{code}");
        }
    }
}
