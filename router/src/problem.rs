//! The router's own errors: one constant problem+json body per type, nothing of the request in it (docs/protocol.md §5.9).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    body::Reply,
    limits::{Limit, Limited},
};

/// Why the router answers itself instead of relaying.
///
/// These answers are unauthenticated; clients treat them as hints (docs/protocol.md §5.6). The status tells a client whether the
/// request can have run: 421 and 503 mean that it was never sent to an enclave, 502 and 504 that it may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No such path.
    NotFound,
    /// Evidence was asked of an enclave that the fleet does not have.
    UnknownNode,
    /// A request was sealed to an enclave that the fleet does not have (any more).
    Misdirected,
    /// The path exists, the method does not; carries the `Allow` header.
    MethodNotAllowed(&'static str),
    /// HTTP before 1.1, in which a cut answer looks like a whole one.
    Version,
    /// The body is not of the type that the path takes.
    MediaType,
    /// The body is longer than the limit.
    TooLarge,
    /// The body did not arrive in time.
    UploadSlow,
    /// No key, or none that counts; which of the two is not said.
    Unauthorized,
    /// The key, or the address, has used what it may.
    Limited(Limited),
    /// All streams are taken.
    Busy,
    /// The router is stopping.
    Draining,
    /// The enclave is known and not serving.
    NotReady,
    /// No connection to the enclave; the request was never sent.
    Unreachable,
    /// The enclave's connection died, or its answer was not HTTP, after the request was sent.
    Broke,
    /// The enclave did not answer in time.
    TimedOut,
}

impl Problem {
    /// The stable name.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::UnknownNode => "unknown-node",
            Self::Misdirected => "misdirected",
            Self::MethodNotAllowed(_) => "method-not-allowed",
            Self::Version => "http-version",
            Self::MediaType => "media-type",
            Self::TooLarge => "body-too-large",
            Self::UploadSlow => "upload-too-slow",
            Self::Unauthorized => "unauthorized",
            Self::Limited(Limited { limit, .. }) => limit.code(),
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::NotReady => "node-not-ready",
            Self::Unreachable => "node-unreachable",
            Self::Broke => "node-broke",
            Self::TimedOut => "node-timed-out",
        }
    }

    /// The status of the answer.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NotFound | Self::UnknownNode => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UploadSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Draining | Self::NotReady | Self::Unreachable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Broke => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What happened and what to do, for people.
    const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "There is nothing at this path.",
            Self::UnknownNode => "The fleet has no such enclave; ask /v1/fleet again.",
            Self::Misdirected => {
                "The fleet has no such enclave any more; verify another one and seal to it."
            }
            Self::MethodNotAllowed(_) => "This path does not take this method; see Allow.",
            Self::Version => "This path takes HTTP/1.1; an earlier one cannot mark a cut.",
            Self::MediaType => "The content type is not the one that this path takes.",
            Self::TooLarge => "The body is longer than this router takes.",
            Self::UploadSlow => "The body did not arrive in time.",
            Self::Unauthorized => "This path needs an API key that counts, as a bearer token.",
            Self::Limited(Limited { limit, .. }) => limit.title(),
            Self::Busy => "All streams are taken; retry later.",
            Self::Draining => "This router is stopping; retry elsewhere or later.",
            Self::NotReady => "The enclave is not serving now; choose another one or retry later.",
            Self::Unreachable => {
                "The enclave cannot be reached; choose another one or retry later."
            }
            Self::Broke => "The enclave's connection broke; the request may have run.",
            Self::TimedOut => "The enclave did not answer in time; the request may have run.",
        }
    }

    /// Seconds after which a retry makes sense, where one does.
    const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Busy | Self::NotReady | Self::Unreachable | Self::Broke | Self::TimedOut => {
                Some(1)
            }
            Self::Draining => Some(5),
            Self::Limited(Limited { retry_after_secs, .. }) => Some(retry_after_secs),
            Self::NotFound
            | Self::UnknownNode
            | Self::Misdirected
            | Self::MethodNotAllowed(_)
            | Self::Version
            | Self::MediaType
            | Self::TooLarge
            | Self::UploadSlow
            | Self::Unauthorized => None,
        }
    }

    /// The whole answer.
    pub(crate) fn response(self) -> Response<Reply> {
        let status = self.status();
        let text = format!(
            "{{\"type\":\"urn:veritee:problem:{}\",\"title\":\"{}\",\"status\":{}}}",
            self.code(),
            self.title(),
            status.as_u16()
        );
        let mut response = Response::new(Reply::fixed(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self == Self::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::MethodNotAllowed(allow) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl Limit {
    const fn code(self) -> &'static str {
        match self {
            Self::Requests => "key-requests-limit",
            Self::Streams => "key-streams-limit",
            Self::Failures => "key-failures-limit",
            Self::Unauthorized => "address-unauthorized-limit",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Requests => "This key has made the requests of a minute; see Retry-After.",
            Self::Streams => "This key has as many requests in flight as it may.",
            Self::Failures => "Too many requests of this key could not be opened; see Retry-After.",
            Self::Unauthorized => "Too many requests without a good key; see Retry-After.",
        }
    }
}
