//! The connections to an enclave: kept, dropped, never confused, and never a place to pile up answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    echo, fed,
    support::{NODE, PATIENCE, Served, enclave, raw_head, rest, text},
};

/// What happens to a connection after an answer to a sealed request.
#[derive(Clone, Copy)]
enum After {
    /// It stays open.
    Open,
    /// It is closed without a word.
    Closed,
    /// The same octets came with more, which nobody had asked for.
    Unasked(&'static str),
}

/// An enclave that says all it has to say octet for octet, and counts its connections.
async fn counting(answer: &'static str, after: After) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, SeqCst);
            tokio::spawn(converse(stream, answer, after));
        }
    });
    (address, connections)
}

async fn converse(mut stream: TcpStream, answer: &'static str, after: After) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        if buffer.starts_with(b"GET /readyz") {
            let ready = format!("{{\"node_id\":\"{NODE}\"}}");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ready.len());
            stream.write_all(format!("{head}{ready}").as_bytes()).await.unwrap();
            continue;
        }
        match after {
            After::Open => stream.write_all(answer.as_bytes()).await.unwrap(),
            After::Closed => return stream.write_all(answer.as_bytes()).await.unwrap(),
            After::Unasked(more) => {
                stream.write_all(format!("{answer}{more}").as_bytes()).await.unwrap();
            }
        }
    }
}

const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_connection_is_used_again() {
    for (answer, body) in [(SIZED, "one"), (CHUNKED, "one"), (EMPTY, "")] {
        let (enclave, connections) = counting(answer, After::Open).await;
        let served = Served::start(enclave, |_| {}).await;
        for _ in 0..8 {
            assert_eq!(text(served.seal(b"x").await).await, body);
        }
        // One for the requests, and one for the looks that go on meanwhile.
        assert!(connections.load(SeqCst) <= 2, "{answer:?}: {connections:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_request() {
    let (enclave, _) = counting(SIZED, After::Closed).await;
    let served = Served::start(enclave, |_| {}).await;
    for _ in 0..8 {
        let response = served.seal(b"x").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "one");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Response splitting: what comes behind an answer must not become the next one's.
#[tokio::test]
async fn what_nobody_asked_for_answers_nobody() {
    let split = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nsplit";
    for (answer, more) in
        [(SIZED, split), (CHUNKED, split), (EMPTY, split), (SIZED, "x"), (CHUNKED, "\r\n\r\n")]
    {
        let (enclave, _) = counting(answer, After::Unasked(more)).await;
        let served = Served::start(enclave, |_| {}).await;
        for _ in 0..8 {
            let response = served.seal(b"x").await;
            assert_eq!(response.status(), StatusCode::OK, "{answer:?} {more:?}");
            assert_ne!(text(response).await, "split", "{answer:?} {more:?}");
        }
    }
}

#[tokio::test]
async fn an_interim_answer_is_no_answer() {
    let interim = "HTTP/1.1 103 Early Hints\r\nset-cookie: a=b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                   HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none";
    let (enclave, _) = counting(interim, After::Open).await;
    let served = Served::start(enclave, |_| {}).await;
    let response = served.seal(b"x").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(text(response).await, "one");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_enclave() {
    const PIECE: usize = 1 << 20;
    // Far more than kernels buffer for two connections on loopback.
    const TOO_MUCH: usize = 64;
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let _stream = served.raw(&raw_head("content-length: 0")).await;
    let feed = arrived.recv().await.unwrap();
    let piece = Bytes::from(vec![0; PIECE]);
    let mut taken = 0_usize;
    while let Ok(sent) = timeout(Duration::from_secs(1), feed.send(Ok(piece.clone()))).await {
        sent.unwrap();
        taken = taken.saturating_add(1);
        assert!(taken < TOO_MUCH, "nothing holds the enclave back");
    }
}

/// A trailer would be a header that came around the list of those that pass.
#[tokio::test]
async fn trailers_pass_in_neither_direction() {
    let trailing = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-veritee-verdict\r\n\r\n\
                    3\r\none\r\n0\r\nx-veritee-verdict: accepted\r\n\r\n";
    let (trailing, _) = counting(trailing, After::Open).await;
    let served = Served::start(trailing, |_| {}).await;
    let request = raw_head("te: trailers\r\nconnection: close\r\ncontent-length: 0");
    let seen = rest(served.raw(&request).await).await;
    assert!(seen.ends_with("3\r\none\r\n0\r\n\r\n"), "{seen}");

    let (heads, mut arrived) = tokio::sync::mpsc::channel(1);
    let answer = move |request: axum::extract::Request| {
        let heads = heads.clone();
        async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
            let trailers = body.trailers().is_some_and(|trailers| !trailers.is_empty());
            heads.send((trailers, body.to_bytes())).await.unwrap();
            http::Response::new(axum::body::Body::empty())
        }
    };
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let framing = "connection: close\r\ntrailer: authorization\r\ntransfer-encoding: chunked";
    let request = format!("{}3\r\none\r\n0\r\nauthorization: Bearer x\r\n\r\n", raw_head(framing));
    assert!(rest(served.raw(&request).await).await.starts_with("HTTP/1.1 200"));
    assert_eq!(arrived.recv().await.unwrap(), (false, Bytes::from_static(b"one")));
}

/// Request smuggling: whatever a client says of its body's length, an enclave is told one length, which is true.
#[tokio::test]
async fn an_enclave_sees_one_framing_whatever_the_client_sent() {
    let (heads, mut arrived) = tokio::sync::mpsc::channel(4);
    let answer = move |request: axum::extract::Request| {
        let heads = heads.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            heads.send((head.headers, body)).await.unwrap();
            http::Response::new(axum::body::Body::empty())
        }
    };
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let smuggled = "POST /v1/ohttp HTTP/1.1\r\nhost: e\r\ncontent-length: 0\r\n\r\n";
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        let request = format!("{}{chunk}", raw_head(&format!("connection: close\r\n{framing}")));
        let seen = rest(served.raw(&request).await).await;
        if seen.starts_with("HTTP/1.1 400") {
            continue;
        }
        let (headers, body) = arrived.recv().await.unwrap();
        assert_eq!(body, smuggled, "one request, and that is its body");
        let framings = ["content-length", "transfer-encoding"];
        assert_eq!(framings.iter().filter(|name| headers.contains_key(**name)).count(), 1);
    }
    assert!(arrived.try_recv().is_err(), "no second request");
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let served = Served::start(enclave(echo).await, |config| {
        config.limits.connections_per_address_max = 2;
    })
    .await;
    // The client that waited for readiness keeps one.
    let _second = served.raw("GET ").await;
    let mut third = served.raw("GET ").await;
    let mut buffer = [0; 16];
    let cut = timeout(PATIENCE, third.read(&mut buffer)).await.unwrap();
    assert!(matches!(cut, Ok(0) | Err(_)), "{cut:?}");
    let metrics = text(served.get("/metrics").await).await;
    assert!(metrics.contains("veritee_router_connections_refused_total 1"), "{metrics}");
}
