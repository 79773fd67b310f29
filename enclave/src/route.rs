//! The resources that the enclave has (`docs/protocol.md` §5).

use std::sync::Arc;

use attestation::Challenge;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use bytes::Bytes;
use channel::names::MEDIA_KEYS;
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::boot::State;
use crate::event::Event;
use crate::ohttp;
use crate::problem::Problem;

/// Everything that the enclave answers.
pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/evidence", get(cached).post(fresh))
        .route("/v1/ohttp", post(ohttp::handle))
        .route("/.well-known/ohttp-gateway", get(keys))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        // Bodies are bounded where they are read, by limits of the configuration.
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

/// Evidence that answers no challenge, made once per epoch.
async fn cached(Shared(state): Shared<Arc<State>>) -> Response<Body> {
    respond(StatusCode::OK, MEDIA_EVIDENCE, state.epochs.current().cached())
}

/// Evidence that answers the caller's challenge.
async fn fresh(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    if !state.is_ready() {
        return Err(Problem::Busy);
    }
    let media = request.headers().get(header::CONTENT_TYPE);
    if !media.is_some_and(|media| media.as_bytes().eq_ignore_ascii_case(b"application/json")) {
        return Err(Problem::MediaType);
    }
    let body = Limited::new(request.into_body(), CHALLENGE_LEN_MAX).collect();
    let body = timeout(state.config.limits.header, body).await.map_err(|_| Problem::TooSlow)?;
    let body = body.map_err(|_| Problem::BadRequest)?.to_bytes();
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| Problem::BadRequest)?;
    let challenge: Challenge = asked.challenge.parse().map_err(|_| Problem::BadRequest)?;
    // Only now: who sends slowly keeps nobody else from asking.
    let _place = state.evidence.try_acquire().map_err(|_| Problem::Busy)?;
    match state.epochs.answer(challenge).await {
        Ok(bundle) => {
            state.metrics.evidence();
            Ok(respond(StatusCode::OK, MEDIA_EVIDENCE, bundle.into()))
        }
        Err(error) => {
            state.metrics.evidence_failed();
            let failed = Event::EvidenceFailed { reason: error.code() };
            state.refusals.tell(failed, Instant::now());
            Err(Problem::Busy)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    challenge: String,
}

/// The key configuration, where RFC 9540 §3 puts it. Nothing vouches for it here: our client takes
/// keys from evidence alone.
async fn keys(Shared(state): Shared<Arc<State>>) -> Response<Body> {
    respond(StatusCode::OK, MEDIA_KEYS, state.epochs.current().ohttp_keys())
}

/// The process lives.
async fn healthz() -> Response<Body> {
    respond(StatusCode::OK, "application/json", Bytes::from_static(br#"{"status":"ok"}"#))
}

/// Whether requests are taken, and what the router may hint to clients.
async fn readyz(Shared(state): Shared<Arc<State>>) -> Response<Body> {
    let (code, status) = if state.is_ready() && !state.backend.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "no-engine")
    } else if state.is_ready() {
        (StatusCode::OK, "ready")
    } else if state.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no-evidence")
    };
    let ready = Ready {
        status,
        node_id: state.node_id.to_string(),
        spki: state.tls.spki().to_string(),
        models: &state.names,
        not_after: state.epochs.current().not_after().to_string(),
    };
    // Strings always serialise.
    respond(code, "application/json", serde_json::to_vec(&ready).unwrap_or_default().into())
}

#[derive(Serialize)]
struct Ready<'a> {
    status: &'static str,
    node_id: String,
    spki: String,
    models: &'a [String],
    not_after: String,
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response<Body> {
    let shown = state.metrics.shown();
    respond(StatusCode::OK, "text/plain; version=0.0.4", Bytes::copy_from_slice(shown.as_bytes()))
}

fn respond(status: StatusCode, media: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Media type of an evidence bundle (RFC 9999: a CMW collection in JSON).
const MEDIA_EVIDENCE: &str = "application/cmw+json";
/// `{"challenge":"<64 hex>"}` and some white space.
const CHALLENGE_LEN_MAX: usize = 1024;
