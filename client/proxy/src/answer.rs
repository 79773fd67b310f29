//! One request of an SDK, sealed, and its answer.

use std::sync::Arc;
use std::time::Duration;

use attestation::{NodeId, Secret};
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use client::{Answer, AnswerStream, Endpoint, Request, WholeAnswer};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::Shared;
use crate::problem::Problem;

/// Seals the body of `request` for `endpoint` of a verified enclave, and answers with what comes.
///
/// Only the body is sealed: what an SDK says of itself in headers stays here.
pub(crate) async fn ask(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let mut body = request.into_body();
    let read = match timeout(UPLOAD_TIME_MAX, read(&mut body)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::TooSlow),
    };
    if matches!(read, Err(Problem::TooLarge)) {
        // Many clients listen only after they have spoken.
        drop(timeout(DISCARD_TIME_MAX, discard(&mut body)).await);
    }
    let body = read?;
    let request = Request::new(endpoint, Secret::new(body.to_vec()))?;
    match shared.client.send(&request).await? {
        Answer::Whole(answer) => Ok(whole(&shared, &answer)),
        Answer::Stream(stream) => Ok(streamed(&shared, *stream)),
    }
}

/// All of a body, or nothing of one that says that it is too long.
async fn read(body: &mut Body) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).unwrap_or(usize::MAX) > BODY_LEN_MAX {
        return Err(Problem::TooLarge);
    }
    let read = Limited::new(body, BODY_LEN_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { Problem::TooLarge } else { Problem::BodyBroke }
    })?;
    Ok(read.to_bytes())
}

async fn discard(body: &mut Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn whole(shared: &Shared, answer: &WholeAnswer) -> Response {
    if let Some(id) = answer.id() {
        shared.receipts.keep(id, answer.closing());
    }
    let mut response = Response::new(Body::from(answer.body().to_vec()));
    *response.status_mut() =
        StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    if let Some(secs) = answer.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    describe(response.headers_mut(), shared, answer.closing().node_id(), "application/json");
    response
}

fn streamed(shared: &Arc<Shared>, answer: AnswerStream) -> Response {
    let node = answer.enclave().node_id();
    let relay = Relay { shared: Arc::clone(shared), answer, kept: false };
    // Dropping the body drops the answer, and with it the generation.
    let body = stream::unfold(Step::Next(Box::new(relay)), Step::take);
    let mut response = Response::new(Body::from_stream(body));
    describe(response.headers_mut(), shared, node, "text/event-stream");
    response
}

struct Relay {
    shared: Arc<Shared>,
    answer: AnswerStream,
    kept: bool,
}

/// What a stream does next.
enum Step {
    Next(Box<Relay>),
    /// The error event is out; now the connection breaks, without `[DONE]`.
    Break,
    End,
}

/// Ends the connection where an end would be taken for a whole answer.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke")
    }
}

impl std::error::Error for Broken {}

impl Step {
    async fn take(self) -> Option<(Result<Bytes, Broken>, Self)> {
        let mut relay = match self {
            Self::Next(relay) => relay,
            // Time for the event to leave: hyper drops what it has not sent when a body fails.
            Self::Break => {
                tokio::time::sleep(BREAK_PAUSE).await;
                return Some((Err(Broken), Self::End));
            }
            Self::End => return None,
        };
        match relay.answer.next().await {
            Ok(Some(event)) => {
                relay.keep_receipt();
                Some((Ok(sse(event.data())), Self::Next(relay)))
            }
            Ok(None) => None,
            Err(error) => {
                let object = Problem::from(error).object().to_string();
                Some((Ok(sse(object.as_bytes())), Self::Break))
            }
        }
    }
}

impl Relay {
    /// The receipt is there before the events that say that the answer is finished.
    fn keep_receipt(&mut self) {
        if !self.kept
            && let (Some(id), Some(closing)) = (self.answer.id(), self.answer.closing())
        {
            self.shared.receipts.keep(id, closing);
            self.kept = true;
        }
    }
}

fn sse(data: &[u8]) -> Bytes {
    [b"data: ", data, b"\n\n"].concat().into()
}

/// The proxy's own words about the answer; nothing of a header from elsewhere is among them.
fn describe(headers: &mut HeaderMap, shared: &Shared, node: NodeId, media_type: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-veritee-verdict", HeaderValue::from_static(shared.client.verdict()));
    if let Ok(node) = HeaderValue::from_str(&node.to_string()) {
        headers.insert("x-veritee-node", node);
    }
}

/// Longest request (`docs/protocol.md` §5.4).
const BODY_LEN_MAX: usize = 2 << 20;

/// Longest upload (`docs/protocol.md` §5.4).
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(30);

/// How long octets that are too many are taken, so that who sends them hears why.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// How long an error event may take to leave before the connection breaks.
const BREAK_PAUSE: Duration = Duration::from_millis(50);
