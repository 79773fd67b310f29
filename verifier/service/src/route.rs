//! Which path does what.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::appraise;
use crate::metrics::Gauges;
use crate::problem::Problem;
use crate::state::Service;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// All paths of the service.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/appraise", post(appraise::post))
        .route("/v1/policies", get(policies))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&service), counted))
        .with_state(service)
}

async fn policies(State(service): State<Arc<Service>>) -> Response {
    let body = Json(json!({ "policies": service.policies() }));
    ([(header::CACHE_CONTROL, NO_STORE)], body).into_response()
}

/// RFC 7517 §5 and §8.5.
async fn jwks(State(service): State<Arc<Service>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")),
        // As long as a token lives: who has none of a token's key asks again.
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, service.keys().jwks.clone()).into_response()
}

async fn readyz(State(service): State<Arc<Service>>) -> Response {
    let (status, text) = if service.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if service.policies.count() == 0 {
        (StatusCode::SERVICE_UNAVAILABLE, "no-policy\n")
    } else if service.keys().signing.is_ephemeral() {
        (StatusCode::OK, "ready ephemeral-key\n")
    } else {
        (StatusCode::OK, "ready\n")
    };
    (status, [(header::CACHE_CONTROL, NO_STORE)], text).into_response()
}

/// For those on the same machine: how much others ask, and what comes of it, is theirs.
async fn metrics(
    State(service): State<Arc<Service>>,
    peer: Option<Extension<Peer>>,
) -> Result<Response, Problem> {
    if !peer.is_some_and(|Extension(Peer(address))| address.to_canonical().is_loopback()) {
        return Err(Problem::NotFound);
    }
    let gauges = Gauges {
        draining: service.is_draining(),
        policies: service.policies(),
        requests: service
            .config
            .limits
            .requests_max
            .saturating_sub(service.places.available_permits()),
        requests_max: service.config.limits.requests_max,
        ephemeral: service.keys().signing.is_ephemeral(),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4")),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, service.metrics.render(&gauges)).into_response())
}

async fn counted(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let route = known(request.uri().path());
    let response = next.run(request).await;
    service.metrics.answered(route, response.status());
    response
}

/// A label of our making, whatever the path is.
fn known(path: &str) -> &'static str {
    PATHS.into_iter().find(|known| *known == path).unwrap_or("other")
}

const PATHS: [&str; 6] =
    ["/v1/appraise", "/v1/policies", "/.well-known/jwks.json", "/healthz", "/readyz", "/metrics"];

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
