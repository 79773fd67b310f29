//! The local proxy: the `OpenAI` API on this machine, so that any SDK works unchanged.
//!
//! It listens on loopback, verifies enclaves, seals every request to one of them and checks every
//! receipt. It is no open door: it answers to a loopback `Host` alone, which stops DNS rebinding,
//! refuses every `Origin` that it was not told of and whatever a browser says comes from another
//! site, which stops web pages, and takes JSON alone, which stops forms.
//!
//! No header of a request is sealed, and none of a sealed answer comes out but its content type, so
//! a copy of `x-veritee-*` from outside never passes; the proxy's own describe the evidence verdict.
//!
//! - `guard`: who is answered at all;
//! - `answer`: one request, sealed, and its answer;
//! - `problem`: every failure as an error of the `OpenAI` API with a stable code;
//! - `receipts`: the receipts of the latest answers;
//! - `inspect`: models, verdicts and receipts;
//! - `serve`: connections, and their bounds; `patience`: callers who take no data.
#![forbid(unsafe_code)]

mod answer;
mod guard;
mod inspect;
mod problem;
mod receipts;
mod serve;

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::{get, post};
use client::{Client, Endpoint};
use tokio::net::TcpListener;

use crate::guard::Guard;
use crate::problem::Problem;
use crate::receipts::Receipts;

/// What a proxy may be told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Origins of web pages that may use the proxy, exactly as a browser writes them.
    pub allowed_origins: Vec<String>,
}

/// What every request shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) receipts: Receipts,
}

/// Serves on `listener` until `shutdown` resolves, then lets open answers end for a while.
///
/// # Errors
/// A listener that is not on loopback.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::other("the proxy listens on loopback only: it speaks plain HTTP"));
    }
    serve::run(listener, app(client, options), shutdown).await;
    Ok(())
}

/// The proxy without its listener.
pub fn app(client: Client, options: Options) -> Router {
    let shared = Arc::new(Shared { client, receipts: Receipts::default() });
    let guard = Arc::new(Guard::new(options.allowed_origins));
    let ask = |endpoint| {
        let shared = Arc::clone(&shared);
        post(move |request: Request| answer::ask(shared, endpoint, request))
    };
    Router::new()
        .route("/v1/chat/completions", ask(Endpoint::ChatCompletions))
        .route("/v1/completions", ask(Endpoint::Completions))
        .route("/v1/embeddings", ask(Endpoint::Embeddings))
        .route("/v1/models", get(inspect::models))
        .route("/v1/models/{model}", get(inspect::model))
        .route("/v1/verification", get(inspect::verification))
        .route("/v1/receipts/{id}", get(inspect::receipt))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .with_state(shared)
        .layer(middleware::from_fn(move |request, next| {
            guard::check(Arc::clone(&guard), request, next)
        }))
}
