//! What is refused before anything is judged, and how the service ends.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{get, post};
use crate::running::{Running, accepting, asked};

const PATIENCE: Duration = Duration::from_secs(30);

fn to_appraise(body: &Value) -> Request<Full<Bytes>> {
    post("/v1/appraise", body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_that_is_none_is_refused_for_its_reason() {
    let (world, _folder, running) = accepting().await;
    let good = asked(&world);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        to_appraise(&body)
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        to_appraise(&body)
    };
    let typed = |content_type: &str| {
        let mut request = to_appraise(&good);
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request
    };
    let accepting = |accept: &str| {
        let mut request = to_appraise(&good);
        request.headers_mut().insert("accept", accept.parse().unwrap());
        request
    };
    let cases = [
        (post("/v1/appraise", "{"), 400, "request-malformed"),
        (post("/v1/appraise", "[]"), 400, "request-malformed"),
        (post("/v1/appraise", "[".repeat(100_000)), 400, "request-malformed"),
        (with("polices", json!("checks")), 400, "request-malformed"),
        (without("policy"), 400, "request-malformed"),
        (without("evidence"), 400, "request-malformed"),
        (with("evidence", json!(7)), 400, "request-malformed"),
        (with("evidence", json!(null)), 400, "request-malformed"),
        (with("challenge", json!("00")), 400, "request-malformed"),
        (with("report_data", json!("00")), 400, "request-malformed"),
        (with("endorsements", json!("none")), 400, "request-malformed"),
        (with("endorsements", json!(["none"])), 400, "endorsements-malformed"),
        (with("endorsements", json!([{"a": 1}])), 400, "endorsements-malformed"),
        (with("endorsements", json!(vec![""; 512])), 400, "endorsements-malformed"),
        (with("endorsements", json!(vec![""; 513])), 400, "request-malformed"),
        (with("policy", json!("other")), 404, "unknown-policy"),
        (with("policy", json!("../checks")), 404, "unknown-policy"),
        (typed("text/plain"), 415, "media-type"),
        (accepting("text/html"), 406, "not-acceptable"),
        (get("/v1/appraise"), 405, "method-not-allowed"),
        (post("/v1/policies", ""), 405, "method-not-allowed"),
        (get("/v1/appraise/"), 404, "not-found"),
        (get("/"), 404, "not-found"),
    ];
    for (request, status, code) in cases {
        let shown = format!("{} {}", request.method(), request.uri());
        let answer = running.connect().await.send(request).await;
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        assert_eq!(answer.code(), code, "{shown}");
    }
    let typed = running.connect().await.send(typed("Application/JSON; charset=utf-8")).await;
    assert_eq!(typed.status, 200);
}

/// Evidence that cannot be read is a verdict, not an error of the request.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_is_none_is_judged_malformed() {
    let (world, _folder, running) = accepting().await;
    for evidence in [json!("no evidence"), json!({"a": 1}), json!([]), json!("")] {
        let mut body = asked(&world);
        body["evidence"] = evidence.clone();
        let answer = running.appraise(&body).await;
        assert_eq!(answer.status, 200, "{evidence}");
        assert_eq!(answer.json()["report"]["verdict"], "malformed", "{evidence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_not_read() {
    let (_world, folder, _running) = accepting().await;
    let mut config = folder.config();
    config.limits.body_bytes_max = 70_000;
    let running = Running::start(config).await;
    // Announced: refused before a single octet of it.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v1/appraise HTTP/1.1\r\nhost: v\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: 70001\r\n\r\n").as_bytes()).await.unwrap();
    assert!(answer_of(stream).await.starts_with("HTTP/1.1 413 "));
    // Unannounced: refused as soon as it is too long.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000));
    stream.write_all(chunk.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("#body-too-large"), "{answer}");
}

/// The whole answer on a connection that the service closes.
async fn answer_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is how a body that nobody reads ends.
    drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap());
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request whose body has not come holds the only place.
async fn begun(running: &Running, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v1/appraise HTTP/1.1\r\nhost: v\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    running
        .until("/metrics", |answer| answer.text().contains("\nveritee_verifier_requests 1\n"))
        .await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_be_are_told_to_come_again() {
    let (world, folder, _running) = accepting().await;
    let mut config = folder.config();
    config.limits.requests_max = 1;
    let running = Running::start(config).await;
    let body = asked(&world).to_string();
    let mut first = begun(&running, &body).await;
    let busy = running.appraise(&asked(&world)).await;
    assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (503, "1"));
    assert_eq!(busy.code(), "busy");
    // Those who only look are answered.
    assert_eq!(running.get("/healthz").await.status, 200);
    first.write_all(body.as_bytes()).await.unwrap();
    assert!(answer_of(first).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(running.appraise(&asked(&world)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_holds_no_place() {
    let (world, folder, _running) = accepting().await;
    let mut config = folder.config();
    config.limits.requests_max = 1;
    config.timeouts.upload = Duration::from_millis(100);
    let running = Running::start(config).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /v1/appraise HTTP/1.1\r\nhost: v\r\ncontent-type: application/json\r\n";
    stream.write_all(format!("{head}content-length: 9\r\n\r\n[").as_bytes()).await.unwrap();
    let answer = answer_of(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(running.appraise(&asked(&world)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_and_nothing_new_begins() {
    let (world, _folder, mut running) = accepting().await;
    let body = asked(&world).to_string();
    let mut kept = running.connect().await;
    assert_eq!(kept.send(get("/readyz")).await.status, 200);
    let mut first = begun(&running, &body).await;
    running.stop();
    let draining = |answer: &crate::http::Answer| answer.text() == "draining\n";
    let ready = running.until("/readyz", draining).await;
    assert_eq!(ready.status, 503);
    let refused = kept.send(to_appraise(&asked(&world))).await;
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("draining", "5"));
    first.write_all(body.as_bytes()).await.unwrap();
    assert!(answer_of(first).await.starts_with("HTTP/1.1 200 "));
    timeout(PATIENCE, &mut running.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err(), "it listens on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_under_names_of_ours() {
    let (mut world, _folder, running) = accepting().await;
    running.appraise(&asked(&world)).await;
    world.report.vmpl = 1;
    running.appraise(&asked(&world)).await;
    running.get("/%3Cscript%3E").await;
    let metrics = running.get("/metrics").await.text();
    for line in [
        "verdicts_total{platform=\"sev-snp\",verdict=\"accepted\",code=\"none\"} 1",
        "verdicts_total{platform=\"sev-snp\",verdict=\"rejected\",code=\"vmpl-not-allowed\"} 1",
        "answers_total{route=\"/v1/appraise\",status=\"200\"} 2",
        "answers_total{route=\"other\",status=\"404\"} 1",
        "appraise_seconds_count 2",
        "policies{standing=\"current\"} 1",
        "requests_max 64",
    ] {
        let line = format!("veritee_verifier_{line}");
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains("script"));
}
