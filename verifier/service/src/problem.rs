//! Refusals of the service itself: problem+json (RFC 9457), one constant body per code but for the
//! sentence that says what is wrong with a request. A verdict is never one of these.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is not JSON by its type.
    MediaType,
    /// None of the types that the caller takes is one that we give.
    NotAcceptable,
    /// The body is longer than the limit.
    TooLarge,
    /// The body did not arrive in time.
    UploadSlow,
    /// The body broke off, or is not what the path takes.
    Request(String),
    /// What was given beside the evidence cannot be read.
    Endorsements(String),
    /// No policy of that name.
    UnknownPolicy,
    /// As many requests are under way as may be.
    Busy,
    /// The service is stopping.
    Draining,
    /// We are wrong.
    Bug,
}

impl Problem {
    /// The stable name.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::MediaType => "media-type",
            Self::NotAcceptable => "not-acceptable",
            Self::TooLarge => "body-too-large",
            Self::UploadSlow => "upload-too-slow",
            Self::Request(_) => "request-malformed",
            Self::Endorsements(_) => "endorsements-malformed",
            Self::UnknownPolicy => "unknown-policy",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Bug => "bug",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownPolicy => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UploadSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Request(_) | Self::Endorsements(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(&self) -> &str {
        match self {
            Self::NotFound => "There is nothing at this path.",
            Self::MethodNotAllowed => "This path does not take this method; see Allow.",
            Self::MediaType => "The body must be application/json.",
            Self::NotAcceptable => "This path gives application/json or application/eat+jwt.",
            Self::TooLarge => "The body is longer than this service takes.",
            Self::UploadSlow => "The body did not arrive in time.",
            Self::Request(why) | Self::Endorsements(why) => why,
            Self::UnknownPolicy => "There is no policy of this name; see /v1/policies.",
            Self::Busy => "As many requests are under way as may be; retry later.",
            Self::Draining => "This service is stopping; retry elsewhere or later.",
            Self::Bug => "The service is at fault; please report this.",
        }
    }

    /// Seconds after which a retry makes sense, where one does.
    const fn retry_after(&self) -> Option<&'static str> {
        match self {
            Self::Busy => Some("1"),
            Self::Draining => Some("5"),
            Self::NotFound
            | Self::MethodNotAllowed
            | Self::MediaType
            | Self::NotAcceptable
            | Self::TooLarge
            | Self::UploadSlow
            | Self::Request(_)
            | Self::Endorsements(_)
            | Self::UnknownPolicy
            | Self::Bug => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("#{}", self.code()),
            "title": self.title(),
            "status": self.status().as_u16(),
        });
        let mut response = (self.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        // What is still to come of the body is not waited for.
        if matches!(self, Self::TooLarge | Self::UploadSlow) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
