//! A router in process and the enclaves it looks at: small servers that do exactly what a test says.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests fails its test"
)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, body::Body, extract::Request, routing};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use router::Config;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

pub(crate) const NODE: &str = "00112233445566778899aabbccddeeff";
pub(crate) const SEALED: &str = "message/ohttp-chunked-req";

/// No step of any test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type HttpClient = Client<HttpConnector, BoxBody<Bytes, Infallible>>;

/// A router that serves until it is told to stop.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) client: HttpClient,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Starts with defaults that `adjust` may change, and waits until an enclave is ready.
    pub(crate) async fn start(enclave: SocketAddr, adjust: impl FnOnce(&mut Config)) -> Self {
        let served = Self::start_blind(enclave, adjust).await;
        served.until("/readyz", StatusCode::OK).await;
        served
    }

    /// The same, without waiting.
    pub(crate) async fn start_blind(enclave: SocketAddr, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::on_loopback(&[&format!("http://{enclave}")]).unwrap();
        config.timeouts.poll = Duration::from_millis(20);
        adjust(&mut config);
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let task = tokio::spawn(router::serve(listener, config, shutdown));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, client, stop: Some(stop), task }
    }

    /// Waits until `path` answers with `status`.
    pub(crate) async fn until(&self, path: &str, status: StatusCode) {
        let asked = async {
            while self.get(path).await.status() != status {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap();
    }

    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(self) {
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> http::Response<Incoming> {
        self.ask(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn seal(&self, body: &'static [u8]) -> http::Response<Incoming> {
        self.ask(Method::POST, &ohttp(NODE), &[("content-type", SEALED)], Bytes::from_static(body))
            .await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request =
            http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body).boxed()).unwrap();
        timeout(PATIENCE, self.client.request(request)).await.unwrap().unwrap()
    }

    /// A connection of one's own, to say things that no client library says.
    pub(crate) async fn raw(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

pub(crate) fn ohttp(node: &str) -> String {
    format!("/v1/nodes/{node}/ohttp")
}

pub(crate) fn evidence(node: &str) -> String {
    format!("/v1/nodes/{node}/evidence")
}

/// The head of a sealed request, for [`Served::raw`].
pub(crate) fn raw_head(framing: &str) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: r\r\ncontent-type: {SEALED}\r\n{framing}\r\n\r\n",
        ohttp(NODE)
    )
}

/// Everything until the connection closes; an error counts as a close.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(length @ 1..)) = timeout(PATIENCE, stream.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The next data frame of a response.
pub(crate) async fn next(
    response: &mut http::Response<Incoming>,
) -> Option<Result<Bytes, hyper::Error>> {
    let frame = timeout(PATIENCE, response.body_mut().frame()).await.unwrap();
    frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}

pub(crate) async fn text(response: http::Response<Incoming>) -> String {
    let body = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// The `type` of a problem+json answer, after checking that it is one.
pub(crate) async fn problem(response: http::Response<Incoming>) -> String {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["status"], status);
    body["type"].as_str().unwrap().strip_prefix("urn:veritee:problem:").unwrap().to_owned()
}

/// An enclave that is ready and answers `/v1/ohttp` with `answer`.
pub(crate) async fn enclave<F, Fut>(answer: F) -> SocketAddr
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = http::Response<Body>> + Send + 'static,
{
    enclave_as(Arc::new(Mutex::new(NODE.to_owned())), answer).await
}

/// The same, with an id that the test may change.
pub(crate) async fn enclave_as<F, Fut>(node: Arc<Mutex<String>>, answer: F) -> SocketAddr
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = http::Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app(node, answer)).await.unwrap() });
    address
}

/// What an enclave answers: that it is ready under an id, and everything else by `answer`.
pub(crate) fn app<F, Fut>(node: Arc<Mutex<String>>, answer: F) -> Router
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = http::Response<Body>> + Send + 'static,
{
    let ready = move || {
        let id = node.lock().unwrap().clone();
        async move {
            let serving = StatusCode::from_u16(if id.is_empty() { 503 } else { 200 }).unwrap();
            (
                serving,
                Json(
                    serde_json::json!({"status":"ready","node_id":id,"models":["m"],"not_after":9}),
                ),
            )
        }
    };
    Router::new()
        .route("/readyz", routing::get(ready))
        .route("/v1/ohttp", routing::post(answer.clone()))
        .route("/v1/evidence", routing::get(answer.clone()).post(answer))
}

/// An enclave that is ready and answers everything else with `bytes`, octet for octet, and then closes.
pub(crate) async fn scripted(bytes: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let length = stream.read(&mut buffer).await.unwrap();
                if buffer[..length].starts_with(b"GET /readyz") {
                    let body = format!("{{\"node_id\":\"{NODE}\"}}");
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                    );
                    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                } else {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                    sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    address
}

/// A response whose body the test sends piece by piece.
pub(crate) fn streamed()
-> (tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>, http::Response<Body>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let mut response = http::Response::new(Body::from_stream(stream));
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("message/ohttp-chunked-res"));
    (sender, response)
}

/// The names of all headers, sorted.
pub(crate) fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}
