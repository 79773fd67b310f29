//! The answers that are not sealed: one constant body per kind (`docs/protocol.md` §5.9).

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use channel::Outer;

/// An answer outside the seal. Whoever carries it can read and forge it, so it says nothing else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Problem {
    /// 400: the body is not what this resource takes.
    BadRequest,
    /// 400: key and request do not go together (RFC 9458 §5.3); fetch evidence and seal anew.
    Key,
    /// 404: no such resource.
    NotFound,
    /// 405: the resource has no such method.
    MethodNotAllowed,
    /// 408: the upload took too long.
    TooSlow,
    /// 413: the request is larger than the limit.
    TooLarge,
    /// 415: the resource takes another media type.
    MediaType,
    /// 503: every place is taken, or the enclave does not serve now.
    Busy,
}

impl Problem {
    /// The status code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::Key => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The constant body.
    pub const fn body(self) -> &'static str {
        match self {
            Self::Key => Outer::Key.body(),
            Self::TooLarge => Outer::TooLarge.body(),
            Self::Busy => Outer::Busy.body(),
            Self::BadRequest => r#"{"type":"about:blank","title":"bad request","status":400}"#,
            Self::NotFound => r#"{"type":"about:blank","title":"not found","status":404}"#,
            Self::MethodNotAllowed => {
                r#"{"type":"about:blank","title":"method not allowed","status":405}"#
            }
            Self::TooSlow => r#"{"type":"about:blank","title":"request timeout","status":408}"#,
            Self::MediaType => {
                r#"{"type":"about:blank","title":"unsupported media type","status":415}"#
            }
        }
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status();
        let mut set = |name: HeaderName, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_TYPE, "application/problem+json");
        set(header::CACHE_CONTROL, "no-store");
        if self == Self::Busy {
            set(header::RETRY_AFTER, "1");
        }
        response
    }
}

impl From<Outer> for Problem {
    fn from(outer: Outer) -> Self {
        match outer {
            Outer::Key => Self::Key,
            Outer::TooLarge => Self::TooLarge,
            Outer::Busy => Self::Busy,
        }
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_states_its_status() {
        for problem in [
            Problem::BadRequest,
            Problem::Key,
            Problem::NotFound,
            Problem::MethodNotAllowed,
            Problem::TooSlow,
            Problem::TooLarge,
            Problem::MediaType,
            Problem::Busy,
        ] {
            let body: serde_json::Value = serde_json::from_str(problem.body()).unwrap();
            assert_eq!(body["status"], problem.status().as_u16(), "{problem:?}");
        }
        assert_eq!(Problem::Busy.into_response().headers()["retry-after"], "1");
    }
}
