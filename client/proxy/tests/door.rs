//! Who gets past the proxy's door, and what the others are told.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use attestation::UnixTime;
use axum::body::{Body, to_bytes};
use client::{Client, Clock};
use http::{Request, Response, StatusCode};
use proxy::{Options, app};
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
