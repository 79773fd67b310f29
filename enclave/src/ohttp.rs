//! `POST /v1/ohttp`: from sealed octets to an opened request (`docs/protocol.md` §5.4, §5.5).
//!
//! Whatever is wrong with the seal gets one constant answer, after the whole body was read, so that
//! neither the answer nor its moment tells why. What is wrong inside the seal is answered inside.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use bytes::Bytes;
use channel::chunks::CHUNKS_MAX;
use channel::names::{MEDIA_REQUEST, MEDIA_RESPONSE};
use channel::{HEADER_LEN, Limit, Opened, Recipient, Refused, RequestHeader, RequestOpener};
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{self, Job};
use crate::boot::State;
use crate::epochs::Epoch;
use crate::event::{Event, RequestId, SizeBucket};
use crate::limits::Lease;
use crate::pipe::pipe;
use crate::problem::Problem;

/// Opens a sealed request and starts its answer.
pub(crate) async fn handle(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    let id = RequestId::random();
    let (head, body) = request.into_parts();
    let mut upload = Upload {
        body: body.into_data_stream(),
        left: wire_limit(&state),
        lease: state.budget.lease(),
    };
    let now = Instant::now();
    let until = now.checked_add(state.config.limits.upload).unwrap_or(now);
    let too_slow = Refusal { problem: Problem::TooSlow, reason: "upload-slow" };
    let admitted = timeout_at(until, admit(&state, &head.headers, &mut upload)).await;
    let mut admitted = admitted.unwrap_or(Err(too_slow));
    if let Err(refusal) = &admitted {
        // What is refused is not kept, and so is no part of what all requests may keep together.
        upload.lease = state.budget.lease();
        match refusal.problem {
            Problem::TooSlow => {}
            Problem::Key => {
                if timeout_at(until, upload.discard()).await.is_err() {
                    admitted = Err(too_slow);
                }
            }
            // The moment of these tells nothing of the seal. They are read on for a while because many
            // clients listen only after they have spoken.
            Problem::BadRequest
            | Problem::NotFound
            | Problem::MethodNotAllowed
            | Problem::TooLarge
            | Problem::MediaType
            | Problem::Busy => drop(timeout(DISCARD_TIME_MAX, upload.discard()).await),
        }
    }
    match admitted {
        Ok(Admitted { opened, epoch, place }) => {
            state.metrics.opened();
            let octets = wire_limit(&state).saturating_sub(upload.left);
            Event::Opened { request: id, sealed: SizeBucket::of(octets) }.emit();
            let (sender, body) = pipe(state.config.limits.stall);
            let lease = upload.lease;
            tokio::spawn(answer::answer(Job { id, state, epoch, opened, lease, place }, sender));
            sealed(Body::new(body))
        }
        Err(Refusal { problem, reason }) => {
            if problem == Problem::Busy {
                state.metrics.busy();
            } else {
                state.metrics.refused();
            }
            state.refusals.tell(Event::Refused { request: id, reason }, Instant::now());
            problem.into_response()
        }
    }
}

/// A request that may be acted on.
struct Admitted {
    opened: Opened,
    epoch: Arc<Epoch>,
    place: OwnedSemaphorePermit,
}

/// Why a request is not answered inside the seal.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    problem: Problem,
    /// For the log.
    reason: &'static str,
}

async fn admit(
    state: &State,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<Admitted, Refusal> {
    let refusal = |problem, reason| Err(Refusal { problem, reason });
    // A key in its grace is accepted even while the platform gives no evidence for the next.
    if state.is_draining() {
        return refusal(Problem::Busy, "draining");
    }
    let media = headers.get(header::CONTENT_TYPE);
    if !media.is_some_and(|media| media.as_bytes().eq_ignore_ascii_case(MEDIA_REQUEST.as_bytes())) {
        return refusal(Problem::MediaType, "media-type");
    }
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > upload.left) {
        // Nobody waits for octets that are over the limit anyway.
        upload.left = 0;
        return refusal(Problem::TooLarge, "too-large");
    }
    if state.requests.available_permits() == 0 {
        return refusal(Problem::Busy, "requests-full");
    }
    let (opener, epoch) = receive(state, upload).await?;
    // Only now: who sends slowly, or sends what cannot be opened, keeps nobody else from asking. And
    // before the request enters the replay set, because a refused one was not accepted.
    let Ok(place) = Arc::clone(&state.requests).try_acquire_owned() else {
        return refusal(Problem::Busy, "requests-full");
    };
    Ok(Admitted { opened: opener.finish()?, epoch, place })
}

/// Reads the body to its end. Nothing is acted on before its final chunk has authenticated too.
async fn receive(
    state: &State,
    upload: &mut Upload,
) -> Result<(RequestOpener, Arc<Epoch>), Refusal> {
    let mut head = Vec::with_capacity(HEADER_LEN);
    let rest = loop {
        let Some(octets) = upload.next().await? else { return Err(Refused::Length.into()) };
        let missing = HEADER_LEN.saturating_sub(head.len());
        let (front, rest) = octets.split_at_checked(missing).unwrap_or((&octets, &[]));
        head.extend_from_slice(front);
        if head.len() == HEADER_LEN {
            break octets.slice_ref(rest);
        }
    };
    let header = RequestHeader::parse(&head)?;
    let (key, epoch) = state.epochs.lookup(header.key_id())?;
    let mut opener = begin(state, key, header).await?;
    opener.push(&rest)?;
    while let Some(octets) = upload.next().await? {
        opener.push(&octets)?;
    }
    Ok((opener, epoch))
}

async fn begin(
    state: &State,
    key: Arc<Recipient>,
    header: RequestHeader,
) -> Result<RequestOpener, Refusal> {
    let limit = Limit { bytes_max: state.config.limits.request_bytes };
    let full = Refusal { problem: Problem::Busy, reason: "decapsulations-full" };
    let begun = state.decapsulator.begin(key, header, limit).await.map_err(|_| full)?;
    Ok(begun?)
}

/// A body on its way in.
struct Upload {
    body: BodyDataStream,
    /// Octets that may still come.
    left: usize,
    lease: Lease,
}

impl Upload {
    /// The next octets; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let refusal = |problem, reason| Err(Refusal { problem, reason });
        let Some(octets) = self.body.next().await else { return Ok(None) };
        let Ok(octets) = octets else { return refusal(Problem::BadRequest, "upload-broken") };
        let Some(left) = self.left.checked_sub(octets.len()) else {
            return refusal(Problem::TooLarge, "too-large");
        };
        self.left = left;
        if self.lease.grow(octets.len()) {
            Ok(Some(octets))
        } else {
            refusal(Problem::Busy, "buffers-full")
        }
    }

    /// Reads what is left and keeps none of it.
    async fn discard(&mut self) {
        while self.left > 0 {
            let Some(Ok(octets)) = self.body.next().await else { return };
            self.left = self.left.saturating_sub(octets.len());
        }
    }
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        Self { problem: why.outer().into(), reason: why.code() }
    }
}

/// The outer answer (`docs/protocol.md` §5.7).
fn sealed(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, MEDIA_RESPONSE);
    set(HeaderName::from_static("incremental"), "?1");
    set(header::CACHE_CONTROL, "no-store");
    response
}

/// How long the rest of a body is read that is refused for another reason than its seal.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// Octets of a sealed body: the plaintext, the header, and the framing of as many chunks as a
/// request may have, at most 8 octets of length and 16 of tag each.
fn wire_limit(state: &State) -> usize {
    const CHUNK_FRAMING_MAX: usize = 8 + channel::TAG_LEN;
    let chunks = usize::try_from(CHUNKS_MAX).unwrap_or(usize::MAX);
    let framing = chunks.saturating_mul(CHUNK_FRAMING_MAX);
    state.config.limits.request_bytes.saturating_add(HEADER_LEN).saturating_add(framing)
}
