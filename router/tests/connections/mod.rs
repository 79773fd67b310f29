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
    fed,
    support::{NODE, Served, enclave, raw_head, text},
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
