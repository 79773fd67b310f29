//! One question, one bounded answer.

use std::time::Duration;

use attestation::UnixTime;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;

use crate::error::Why;
use crate::item::Question;
use crate::tls::Dialer;

/// Asks questions.
pub(crate) struct Http {
    client: Client<Dialer, Full<Bytes>>,
    answer: Duration,
}

/// A body of a successful answer, and the head.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(dialer: Dialer, answer: Duration) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(1);
        // Intel's chains of certificates in a header have two kilobytes.
        builder.http1_max_buf_size(HEAD_LEN_MAX);
        Self { client: builder.build(dialer), answer }
    }

    /// Asks once; `now` is for what the answer says of time.
    pub(crate) async fn ask(&self, question: &Question, now: UnixTime) -> Result<Answer, Why> {
        timeout(self.answer, self.exchange(question, now)).await.map_err(|_| Why::TimedOut)?
    }

    async fn exchange(&self, question: &Question, now: UnixTime) -> Result<Answer, Why> {
        let response =
            self.client.request(request(question)?).await.map_err(|error| broken(&error))?;
        let headers = response.headers();
        match response.status() {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let until = retry_after(headers, now).unwrap_or(now.saturating_add(WAIT_UNTOLD));
                return Err(Why::RateLimited { until });
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let told = retry_after(headers, now);
                return Err(told.map_or(Why::Status(503), |until| Why::RateLimited { until }));
            }
            StatusCode::NOT_FOUND => return Err(Why::NotFound),
            status if status.is_redirection() => return Err(Why::Redirected(status.as_u16())),
            status => return Err(Why::Status(status.as_u16())),
        }
        check_type(headers)?;
        let headers = headers.clone();
        Ok(Answer { headers, body: read(response).await? })
    }
}

fn request(question: &Question) -> Result<Request<Full<Bytes>>, Why> {
    let refused = |_| Why::Unreachable("the address is none".to_owned());
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = question.url.parse::<Uri>().map_err(refused)?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("veritee"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(body) = &question.post {
        let kind = HeaderValue::from_static("application/ocsp-request");
        headers.insert(header::CONTENT_TYPE, kind);
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(body.clone().into());
    }
    Ok(request)
}

/// A page is no document, and nothing here is compressed.
fn check_type(headers: &HeaderMap) -> Result<(), Why> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(kind) = text(header::CONTENT_TYPE).filter(|kind| kind.starts_with("text/html")) {
        return Err(Why::MediaType(kind.to_owned()));
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("identity") => Ok(()),
        Some(encoding) => Err(Why::MediaType(format!("{encoding}-encoded"))),
    }
}

async fn read(response: Response<Incoming>) -> Result<Vec<u8>, Why> {
    let mut body = response.into_body();
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Why::CutOff)?;
        if let Some(data) = frame.data_ref() {
            if out.len().saturating_add(data.len()) > BODY_LEN_MAX {
                return Err(Why::TooLong { limit: BODY_LEN_MAX });
            }
            out.extend_from_slice(data);
        }
    }
    Ok(out)
}

/// `Retry-After`, in seconds or as a date (RFC 9110 §10.2.3); an hour is the most that is believed.
fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<UnixTime> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let until = if let Ok(secs) = text.parse() {
        now.saturating_add(Duration::from_secs(secs))
    } else {
        let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        UnixTime::from_secs(u64::try_from(date.unix_timestamp()).ok()?)
    };
    Some(until.min(now.saturating_add(HOLD_MAX)))
}

/// The innermost cause, which says more than "client error".
fn broken(error: &hyper_util::client::legacy::Error) -> Why {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_connect() { Why::Unreachable(cause.to_string()) } else { Why::CutOff }
}

/// Longest head of an answer.
const HEAD_LEN_MAX: usize = 64 << 10;

/// Longest body: the largest manifests have half of it.
const BODY_LEN_MAX: usize = 1 << 20;

/// The wait where a service does not say how long.
const WAIT_UNTOLD: Duration = Duration::from_secs(10);

/// The longest that a service is left alone for what it said once.
pub(crate) const HOLD_MAX: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_in_seconds_or_as_dates() {
        let now: UnixTime = "2026-11-23T11:00:00Z".parse().unwrap();
        for (told, expected) in [
            ("5", Some("2026-11-23T11:00:05Z")),
            ("Mon, 23 Nov 2026 11:00:30 GMT", Some("2026-11-23T11:00:30Z")),
            ("999999999", Some("2026-11-23T12:00:00Z")),
            ("Tue, 23 Nov 2027 11:00:30 GMT", Some("2026-11-23T12:00:00Z")),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(told));
            let until = retry_after(&headers, now).map(|until| until.to_string());
            assert_eq!(until.as_deref(), expected, "{told}");
        }
    }
}
