//! One request to one enclave and its response back, streaming both ways.
//!
//! A body is never held whole, a request is never sent twice, and only the headers named here pass.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::{
    body::{Download, Reply, Upload},
    config::{Config, Limits, Timeouts},
    limits::Place,
    metrics::Metrics,
    pool::Slot,
    problem::Problem,
    upstream::{Arriving, Lost, Outgoing, Upstream},
};

/// The way to all enclaves, and its bounds.
#[derive(Debug)]
pub(crate) struct Relay {
    limits: Limits,
    timeouts: Timeouts,
    streams: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// What a request may be, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Cached evidence: no body.
    CachedEvidence,
    /// Fresh evidence: a challenge as JSON.
    FreshEvidence,
    /// A sealed request.
    Sealed,
}

impl Errand {
    /// What the metrics call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CachedEvidence | Self::FreshEvidence => "evidence",
            Self::Sealed => "ohttp",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::CachedEvidence | Self::FreshEvidence => "/v1/evidence",
            Self::Sealed => "/v1/ohttp",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::CachedEvidence => Method::GET,
            Self::FreshEvidence | Self::Sealed => Method::POST,
        }
    }

    const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::CachedEvidence => None,
            Self::FreshEvidence => Some("application/json"),
            Self::Sealed => Some("message/ohttp-chunked-req"),
        }
    }

    fn body_bytes_max(self, limits: &Limits) -> u64 {
        match self {
            Self::CachedEvidence => 0,
            Self::FreshEvidence => CHALLENGE_BYTES_MAX.min(limits.body_bytes_max),
            Self::Sealed => limits.body_bytes_max,
        }
    }
}

impl Relay {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let permits = usize::try_from(config.limits.streams_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            streams: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            metrics,
        }
    }

    /// Carries `request` to the enclave at `slot`; `place` is given up when the response has ended.
    pub(crate) async fn carry(
        &self,
        slot: &Slot,
        errand: Errand,
        request: Request<Incoming>,
        place: Option<Place>,
    ) -> Result<Response<Reply>, Problem> {
        let (head, body) = request.into_parts();
        let bytes_max = errand.body_bytes_max(&self.limits);
        if let Err(problem) = admissible(errand, head.version, &head.headers, &body, bytes_max) {
            discard(body);
            return Err(problem);
        }
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            discard(body);
            return Err(Problem::Busy);
        };

        let (upload, fault, sent) =
            Upload::new(body, bytes_max, self.timeouts.upload, Arc::clone(&self.metrics));
        let upstream = slot.upstream();
        let mut outgoing =
            upstream.request(errand.method(), errand.path(), Either::Left(Box::new(upload)));
        pass(&REQUEST_HEADERS, &head.headers, outgoing.headers_mut());

        let answer = self.send(upstream, outgoing, sent).await;
        // The client's fault is no sign of the enclave's.
        if let (Err(_) | Ok(Err(_)), Some(problem)) = (&answer, fault.problem()) {
            return Err(problem);
        }
        let incoming = match answer {
            Ok(Ok((incoming, waited))) => {
                self.metrics.first_byte(errand, waited);
                incoming
            }
            Ok(Err(Lost::Unreachable(error))) => {
                tracing::debug!(enclave = slot.name(), %error, "no connection");
                slot.suspect();
                return Err(Problem::Unreachable);
            }
            Ok(Err(Lost::Broke(error))) => {
                tracing::debug!(enclave = slot.name(), %error, "no response");
                slot.suspect();
                return Err(Problem::Broke);
            }
            Err(Waited) => return Err(Problem::TimedOut),
        };
        let (head, body) = incoming.into_parts();
        if !has_marked_end(head.status, &head.headers) {
            return Err(Problem::Broke);
        }
        // Nothing inside the seal is answered 400: this one could not be opened, which costs the enclave and pays nobody
        // (docs/protocol.md §5.9).
        if let (StatusCode::BAD_REQUEST, Some(place)) = (head.status, &place) {
            place.failed(Instant::now());
        }

        let (metrics, name, start) =
            (Arc::clone(&self.metrics), slot.name().to_owned(), Instant::now());
        let status = head.status;
        let download =
            Download::new(body, self.timeouts.idle, Arc::clone(&metrics), move |ending| {
                metrics.ended(ending);
                let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                metrics.lines.ended(errand, status).tell(Instant::now(), |untold| {
                    tracing::info!(
                        enclave = name,
                        ending = ending.name(),
                        ms,
                        untold,
                        "stream ended"
                    );
                });
                drop((permit, place));
            });
        let mut response = Response::new(Reply::Relayed(Box::new(download)));
        *response.status_mut() = head.status;
        pass(&RESPONSE_HEADERS, &head.headers, response.headers_mut());
        Ok(response)
    }

    /// Requests in flight.
    pub(crate) fn streams_open(&self) -> usize {
        usize::try_from(self.limits.streams_max)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.streams.available_permits())
    }

    /// Requests that may be in flight.
    pub(crate) const fn streams_max(&self) -> u32 {
        self.limits.streams_max
    }

    /// Returns once no stream is open; none can be opened while it waits.
    pub(crate) async fn drained(&self) {
        // The error says that the semaphore was closed, which nobody does.
        drop(self.streams.acquire_many(self.limits.streams_max).await);
    }

    /// Sends, waiting first for the upload and then for the head of the response: the two have limits of their own. With the
    /// head comes how long the enclave took for it.
    async fn send(
        &self,
        upstream: &Arc<Upstream>,
        request: Request<Outgoing>,
        sent: tokio::sync::oneshot::Receiver<()>,
    ) -> Result<Result<(Response<Arriving>, Duration), Lost>, Waited> {
        let start = Instant::now();
        let mut answer = pin!(upstream.send(request));
        let until_sent = async {
            tokio::select! {
                biased;
                answer = &mut answer => Some(answer),
                _ = sent => None,
            }
        };
        // The upload's own clock runs out first where the client is the slow one; this one is for an enclave that does not read.
        let first = timeout(self.timeouts.upload.saturating_add(UPLOAD_MARGIN), until_sent).await;
        match first {
            Ok(Some(answer)) => Ok(answer.map(|answer| (answer, start.elapsed()))),
            Ok(None) => {
                let sent = Instant::now();
                let answer = timeout(self.timeouts.response_head, answer).await;
                answer
                    .map(|answer| answer.map(|answer| (answer, sent.elapsed())))
                    .map_err(|_| Waited)
            }
            Err(_) => Err(Waited),
        }
    }
}

/// The enclave took longer than it may.
struct Waited;

/// What can be told from the head is told before anything is sent.
fn admissible(
    errand: Errand,
    version: Version,
    headers: &HeaderMap,
    body: &Incoming,
    bytes_max: u64,
) -> Result<(), Problem> {
    // Towards such a client an answer of unknown length ends with its connection, cut or not.
    if version < Version::HTTP_11 {
        return Err(Problem::Version);
    }
    if let Some(expected) = errand.media_type() {
        let found =
            headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if !found.eq_ignore_ascii_case(expected.as_bytes()) {
            return Err(Problem::MediaType);
        }
    }
    if body.size_hint().lower() > bytes_max {
        return Err(Problem::TooLarge);
    }
    Ok(())
}

/// Copies the headers of the list and no other.
fn pass(list: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in list {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

/// Whether the response says where it ends. One that ends with its connection could be cut without a trace.
fn has_marked_end(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => true,
        status if status.is_informational() => false,
        // Where there is a transfer coding the length counts for nothing, and only the last one of
        // all can be the one that marks an end (RFC 9112 §6.3).
        _ => match headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
            Some(codings) => codings
                .as_bytes()
                .rsplit(|octet| *octet == b',')
                .next()
                .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked")),
            None => headers.contains_key(header::CONTENT_LENGTH),
        },
    }
}

/// Reads a refused body for a little while: closing on unread octets would reset the connection under the refusal.
pub(crate) fn discard(body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(DISCARD_TIME_MAX, async move {
        let mut body = pin!(body);
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                break;
            };
            left = rest;
        }
    }));
}

/// Request headers that reach an enclave; `Authorization` is the router's alone (docs/protocol.md §5.4).
const REQUEST_HEADERS: [HeaderName; 2] =
    [header::CONTENT_TYPE, HeaderName::from_static("incremental")];

/// Response headers that reach a client (docs/protocol.md §5.7, §5.9).
const RESPONSE_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("incremental"),
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
];

/// A challenge is 32 octets in hex; the rest is room for white space.
const CHALLENGE_BYTES_MAX: u64 = 1024;

/// How much later than the upload's limit an enclave that does not read is given up on.
const UPLOAD_MARGIN: Duration = Duration::from_secs(1);

/// What is read of a body that has been refused.
const DISCARD_BYTES_MAX: usize = 8 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
