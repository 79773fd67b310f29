//! The lying operator: a router in front of the router, who changes what passes.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::{Router, serve};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::failure::Failure;

/// What passes between a client and the router, once it is there as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) path: String,
    pub(crate) status: StatusCode,
    pub(crate) media_type: HeaderValue,
    pub(crate) answer: Vec<u8>,
}

/// What a liar does.
pub(crate) struct Tricks {
    /// Changes an answer before the client gets it.
    pub(crate) answer: Box<dyn Fn(&mut Exchange) + Send + Sync>,
    /// Changes a path before the router gets it.
    pub(crate) path: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Sends every sealed request a second time, and keeps what comes of it.
    pub(crate) replay: Replay,
}

/// Whether sealed requests are sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replay {
    /// Each is.
    Each,
    /// None is.
    None,
}

/// A status and a body.
type Told = (u16, Vec<u8>);

impl Tricks {
    /// Honest so far.
    pub(crate) fn none() -> Self {
        Self { answer: Box::new(|_| {}), path: Box::new(str::to_owned), replay: Replay::None }
    }

    /// Changes answers alone.
    pub(crate) fn on_answers(answer: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), ..Self::none() }
    }
}

/// A liar at work. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Liar {
    url: String,
    task: JoinHandle<()>,
    replayed: Arc<Mutex<Vec<Told>>>,
}

struct Relay {
    router: String,
    tricks: Tricks,
    replayed: Arc<Mutex<Vec<Told>>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Liar {
    /// Stands before `router` with its `tricks`.
    pub(crate) async fn stand(router: &str, tricks: Tricks) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::unavailable("listen", format!("cannot listen: {error}"), "run it again")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let replayed = Arc::default();
        let relay = Arc::new(Relay {
            router: router.to_owned(),
            tricks,
            replayed: Arc::clone(&replayed),
            client: Client::builder(TokioExecutor::new()).build_http(),
        });
        let app = Router::new().fallback(move |request| {
            let relay = Arc::clone(&relay);
            async move { relay.pass(request).await }
        });
        // It fails only with its listener, and the client notices.
        let task = tokio::spawn(async move { drop(serve(listener, app).await) });
        Ok(Self { url, task, replayed })
    }

    /// Where it stands.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the enclave said to the replays.
    pub(crate) fn replayed(&self) -> Vec<Told> {
        self.replayed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    async fn pass(&self, request: Request) -> Response {
        self.try_pass(request).await.unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response())
    }

    async fn try_pass(&self, request: Request) -> Option<Response> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, LEN_MAX).await.ok()?;
        let path = (self.tricks.path)(head.uri.path());
        let mut exchange = self.forward(&head.method, &path, &head.headers, &body).await?;
        if self.tricks.replay == Replay::Each && path.ends_with("/ohttp") {
            let again = self.forward(&head.method, &path, &head.headers, &body).await?;
            let mut replayed = self.replayed.lock().unwrap_or_else(PoisonError::into_inner);
            replayed.push((again.status.as_u16(), again.answer));
        }
        (self.tricks.answer)(&mut exchange);
        let mut response = Response::new(Body::from(exchange.answer));
        *response.status_mut() = exchange.status;
        response.headers_mut().insert(header::CONTENT_TYPE, exchange.media_type);
        Some(response)
    }

    async fn forward(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Option<Exchange> {
        let mut request = http::Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = format!("{}{path}", self.router).parse().ok()?;
        for name in [header::CONTENT_TYPE, HeaderName::from_static("incremental")] {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        let answer = body.collect().await.ok()?.to_bytes().to_vec();
        let media_type = head.headers.get(header::CONTENT_TYPE);
        let media_type = media_type.cloned().unwrap_or(HeaderValue::from_static("text/plain"));
        Some(Exchange { path: path.to_owned(), status: head.status, media_type, answer })
    }
}

/// More than any message of a demonstration.
const LEN_MAX: usize = 16 << 20;
