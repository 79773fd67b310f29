//! Who gets past the proxy's door, and what the others are told.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use attestation::UnixTime;
use axum::body::{Body, to_bytes};
use client::{Client, Clock};
use http::{Request, Response, StatusCode};
use proxy::{Options, app};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt as _;
use verifier::Policy;

const POLICY: &str = r#"
schema = 1
name = "test"
version = 1
purpose = "evaluation"
[sev-snp]
"#;

/// A proxy whose router nobody listens at.
async fn ask(request: Request<Body>) -> Response<Body> {
    let policy = Policy::parse(POLICY, &|_: &str| Err("no files".to_owned())).unwrap();
    let clock = Clock::new(|| UnixTime::from_secs(1_800_000_000));
    let client = Client::builder("http://127.0.0.1:1", policy, clock).build().unwrap();
    let options = Options { allowed_origins: vec!["http://localhost:3000".to_owned()] };
    app(client, options).oneshot(request).await.unwrap()
}

async fn code(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let error = value.get("error").expect("an error object");
    assert!(error.get("message").unwrap().is_string() && error.get("type").unwrap().is_string());
    (status, error.get("code").unwrap().as_str().unwrap().to_owned())
}

fn chat() -> http::request::Builder {
    Request::post("/v1/chat/completions")
        .header("host", "127.0.0.1:8700")
        .header("content-type", "application/json")
}

const BODY: &str = r#"{"model":"m","messages":[]}"#;

#[tokio::test]
async fn strangers_are_refused_before_anything_is_read() {
    let json = ("content-type", "application/json");
    for (name, headers, status, expected) in [
        ("rebinding", vec![("host", "evil.example"), json], 403, "host-not-loopback"),
        ("no host", vec![json], 403, "host-not-loopback"),
        (
            "web page",
            vec![("host", "localhost"), json, ("origin", "https://evil.example")],
            403,
            "origin-not-allowed",
        ),
        (
            "file page",
            vec![("host", "localhost"), json, ("origin", "null")],
            403,
            "origin-not-allowed",
        ),
        (
            "script tag",
            vec![("host", "localhost"), json, ("sec-fetch-site", "cross-site")],
            403,
            "cross-site",
        ),
        (
            "form",
            vec![("host", "localhost"), ("content-type", "text/plain")],
            415,
            "content-type-not-json",
        ),
        ("nothing said", vec![("host", "localhost")], 415, "content-type-not-json"),
    ] {
        let mut request = Request::post("/v1/chat/completions");
        for (header, value) in headers {
            request = request.header(header, value);
        }
        let answer = code(ask(request.body(Body::from(BODY)).unwrap()).await).await;
        assert_eq!(answer, (StatusCode::from_u16(status).unwrap(), expected.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_with_a_code() {
    let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(2 << 20));
    for (body, status, expected) in [
        ("", 400, "request-invalid"),
        ("{}", 400, "request-invalid"),
        ("[1]", 400, "request-invalid"),
        (long.as_str(), 413, "request-too-large"),
        (BODY, 503, "unreachable"),
    ] {
        let answer = code(ask(chat().body(Body::from(body.to_owned())).unwrap()).await).await;
        assert_eq!(answer, (StatusCode::from_u16(status).unwrap(), expected.to_owned()));
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_errors_of_the_api_too() {
    for (method, path, status, expected) in [
        ("GET", "/", 404, "path-not-found"),
        ("GET", "/v1/chat/completions", 405, "method-not-allowed"),
        ("DELETE", "/v1/models", 405, "method-not-allowed"),
        ("GET", "/v1/receipts/none", 404, "receipt-not-found"),
        ("GET", "/v1/models", 503, "unreachable"),
    ] {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let answer = code(ask(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(answer, (StatusCode::from_u16(status).unwrap(), expected.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn an_allowed_page_may_ask_and_nobody_elses_headers_come_back() {
    let preflight = Request::options("/v1/chat/completions")
        .header("host", "localhost")
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST");
    let response = ask(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let origin = response.headers().get("access-control-allow-origin").unwrap();
    assert_eq!(origin, "http://localhost:3000");

    let forged = chat().header("x-veritee-verdict", "accepted").header("x-veritee-node", "forged");
    let response = ask(forged.body(Body::from(BODY)).unwrap()).await;
    assert!(!response.headers().keys().any(|name| name.as_str().contains("veritee")));
}

#[tokio::test]
async fn verification_says_why_nobody_is_verified() {
    let request = Request::get("/v1/verification").header("host", "localhost");
    let response = ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(value.pointer("/policy/name").unwrap(), "test");
    assert_eq!(value.pointer("/error/code").unwrap(), "unreachable");
    assert_eq!(value.pointer("/nodes").unwrap(), &serde_json::json!([]));
}

/// What a browser gets may be used by no page that was not allowed to.
#[tokio::test]
async fn every_answer_is_for_its_own_site_alone() {
    for (host, path) in [
        ("localhost", "/v1/verification"),
        ("localhost", "/v1/models"),
        ("localhost", "/nowhere"),
        ("evil.example", "/v1/models"),
    ] {
        let request = Request::get(path).header("host", host);
        let response = ask(request.body(Body::empty()).unwrap()).await;
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

/// A page that may not ask cannot keep those out who may, by keeping every connection.
#[tokio::test]
async fn strangers_keep_no_connection() {
    let address = serving().await;
    for stranger in ["host: evil.example", "host: localhost\r\norigin: https://evil.example"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /v1/models HTTP/1.1\r\n{stranger}\r\n\r\n");
        stream.write_all(head.repeat(2).as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // The second request may reset the connection, after the first was answered.
        let ended = timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        let said = String::from_utf8_lossy(&said);
        assert!(ended.is_ok(), "{stranger}: it is kept: {said}");
        assert_eq!(said.matches("HTTP/1.1 403").count(), 1, "{stranger}: {said}");
    }
}

/// A listener on loopback that serves a proxy whose router nobody listens at.
async fn serving() -> std::net::SocketAddr {
    let policy = Policy::parse(POLICY, &|_: &str| Err("no files".to_owned())).unwrap();
    let clock = Clock::new(|| UnixTime::from_secs(1_800_000_000));
    let client = Client::builder("http://127.0.0.1:1", policy, clock).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(proxy::serve(listener, client, Options::default(), std::future::pending()));
    address
}

/// All that comes before the connection ends.
async fn to_the_end(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let ended = timeout(Duration::from_mins(5), stream.read_to_end(&mut said)).await;
    assert!(ended.is_ok(), "the connection was never closed");
    String::from_utf8_lossy(&said).into_owned()
}

/// The clock of the test jumps to the next thing that waits, so slow callers are cut off at once.
#[tokio::test(start_paused = true)]
async fn a_caller_that_is_slow_is_cut_off() {
    let address = serving().await;
    for part in ["", "POST /v1/chat", "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(part.as_bytes()).await.unwrap();
        let said = to_the_end(stream).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{part:?}: {said}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = to_the_end(stream).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("request-too-slow"), "{said}");
}

/// One that asks on and on and takes no answer holds its place for a while, and no longer.
#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_answer_is_cut_off() {
    let mut stream = TcpStream::connect(serving().await).await.unwrap();
    let asked = b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let cut_off = async { while stream.write_all(&asked).await.is_ok() {} };
    let ended = timeout(Duration::from_hours(1), cut_off).await;
    assert!(ended.is_ok(), "the connection was never closed");
}

/// Before a single octet of it has come.
#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_waited_for() {
    let mut stream = TcpStream::connect(serving().await).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 2097153\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let read = timeout(Duration::from_secs(20), stream.read_exact(&mut start)).await;
    assert!(read.is_ok() && &start == b"HTTP/1.1 413", "{read:?} {start:?}");
}

#[tokio::test]
async fn a_caller_with_too_long_a_head_is_cut_off() {
    let address = serving().await;
    for flood in ["x: y\r\n".repeat(200), format!("x: {}\r\n", "y".repeat(1 << 20))] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{flood}\r\n");
        // It may be closed before everything was written.
        drop(stream.write_all(head.as_bytes()).await);
        let mut start = [0; 12];
        let read = stream.read(&mut start).await;
        // Whatever was not read of the head, closing on it may reset the connection under the answer.
        let closed = matches!(read, Ok(0) | Err(_));
        assert!(closed || &start == b"HTTP/1.1 431", "{read:?} {start:?}");
    }
}
