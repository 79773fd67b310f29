//! The router against enclaves and clients that behave and that do not.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod connections;
mod operating;
mod secured;
mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use support::{
    NODE, PATIENCE, SEALED, Served, enclave, enclave_as, evidence, names, next, ohttp, problem,
    raw_head, rest, scripted, streamed, text,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

const SHORT: Duration = Duration::from_millis(150);

async fn echo(request: axum::extract::Request) -> Response<Body> {
    let length = request.headers().get("content-length").cloned();
    let body = request
        .into_body()
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let mut response = Response::new(Body::from(body));
    if let Some(length) = length {
        response.headers_mut().insert("cache-control", length);
    }
    response
}

/// Hands the streams that the test feeds to the requests that arrive.
fn fed() -> (mpsc::Receiver<Feed>, impl Fn(axum::extract::Request) -> Answer + Clone) {
    let (feeds, arrived) = mpsc::channel(4);
    let answer = move |_| -> Answer {
        let feeds = feeds.clone();
        Box::pin(async move {
            let (sender, response) = streamed();
            feeds.send(sender).await.unwrap();
            response
        })
    };
    (arrived, answer)
}

type Feed = mpsc::Sender<Result<Bytes, std::io::Error>>;

type Answer = std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

#[tokio::test]
async fn the_fleet_follows_what_enclaves_say() {
    let node = Arc::new(Mutex::new(NODE.to_owned()));
    let served = Served::start(enclave_as(Arc::clone(&node), echo).await, |_| {}).await;
    let fleet = || async {
        serde_json::from_str::<serde_json::Value>(&text(served.get("/v1/fleet").await).await)
            .unwrap()
    };
    let expected = serde_json::json!({"nodes": [
        {"id": NODE, "path": format!("/v1/nodes/{NODE}"), "models": ["m"], "not_after": 9, "ready": true}
    ]});
    assert_eq!(fleet().await, expected);

    let other = NODE.replace("00", "ff");
    node.lock().unwrap().clone_from(&other);
    served.until(&evidence(&other), StatusCode::OK).await;
    assert_eq!(problem(served.get(&evidence(NODE)).await).await, "unknown-node");
    assert_eq!(
        problem(served.seal(b"x").await).await,
        "misdirected",
        "sealed to an enclave that is gone"
    );

    node.lock().unwrap().clear();
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(fleet().await["nodes"][0]["ready"], false);
    let refused =
        served.ask(Method::POST, &ohttp(&other), &[("content-type", SEALED)], Bytes::new()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused).await, "node-not-ready");
}

#[tokio::test]
async fn a_response_is_not_buffered() {
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let (mut response, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    let feed = feed.unwrap();
    for piece in ["one", "two", "three"] {
        feed.send(Ok(Bytes::from(piece))).await.unwrap();
        assert_eq!(
            next(&mut response).await.unwrap().unwrap(),
            piece,
            "before the next one exists"
        );
    }
    drop(feed);
    assert!(next(&mut response).await.is_none());
    let metrics = text(served.get("/metrics").await).await;
    assert!(metrics.contains("streams_total{ending=\"complete\"} 1"), "{metrics}");
    assert!(metrics.contains("veritee_router_streams_open 0"), "{metrics}");
}

#[tokio::test]
async fn a_request_is_not_buffered() {
    let (seen, mut pieces) = mpsc::channel(4);
    let answer = move |request: axum::extract::Request| {
        let seen = seen.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                seen.send(frame.into_data().unwrap()).await.unwrap();
            }
            Response::new(Body::empty())
        }
    };
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let (feed, mut taken) = mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::poll_fn(move |cx| {
        taken.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    });
    let request = http::Request::post(format!("http://{}{}", served.address, ohttp(NODE)))
        .header("content-type", SEALED)
        .body(http_body_util::combinators::BoxBody::new(StreamBody::new(stream)))
        .unwrap();
    let answered = tokio::spawn(served.client.request(request));
    for piece in ["one", "two"] {
        feed.send(Bytes::from(piece)).await.unwrap();
        assert_eq!(timeout(PATIENCE, pieces.recv()).await.unwrap().unwrap(), piece);
    }
    drop(feed);
    assert_eq!(answered.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn only_the_listed_headers_pass() {
    let (heads, mut seen) = mpsc::channel(4);
    let answer = move |request: axum::extract::Request| {
        let heads = heads.clone();
        async move {
            heads.send((request.uri().clone(), request.headers().clone())).await.unwrap();
            let mut response = Response::new(Body::from("ok"));
            for name in [
                "set-cookie",
                "server",
                "x-veritee-verdict",
                "veritee-x",
                "content-encoding",
                "retry-after",
            ] {
                response.headers_mut().insert(name, http::HeaderValue::from_static("1"));
            }
            response.headers_mut().insert(
                "content-type",
                http::HeaderValue::from_static("message/ohttp-chunked-res"),
            );
            response.headers_mut().insert("incremental", http::HeaderValue::from_static("?1"));
            response
        }
    };
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let headers = [
        ("authorization", "Bearer secret"),
        ("cookie", "a=b"),
        ("content-type", SEALED),
        ("incremental", "?1"),
        ("user-agent", "me"),
        ("x-forwarded-for", "192.0.2.1"),
        ("veritee-tenant", "me"),
    ];
    let path = format!("{}?who=me", ohttp(NODE));
    let response = served.ask(Method::POST, &path, &headers, Bytes::from_static(b"abc")).await;
    let (uri, head) = seen.recv().await.unwrap();
    assert_eq!(uri, "/v1/ohttp", "no query");
    assert_eq!(names(&head), ["content-length", "content-type", "host", "incremental"]);
    assert_eq!(
        names(response.headers()),
        ["content-length", "content-type", "date", "incremental", "retry-after"]
    );
}

#[tokio::test]
async fn a_known_length_stays_known_both_ways() {
    let served = Served::start(enclave(echo).await, |_| {}).await;
    let response = served.seal(b"four").await;
    assert_eq!(response.headers()["content-length"], "4");
    assert_eq!(response.headers()["cache-control"], "4", "what the enclave saw");
    assert_eq!(text(response).await, "four");
}

#[tokio::test]
async fn a_client_that_goes_away_mid_stream_cancels_the_enclave() {
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let stream = served.raw(&raw_head("content-length: 0")).await;
    let feed = arrived.recv().await.unwrap();
    feed.send(Ok(Bytes::from("one"))).await.unwrap();
    assert!(!feed.is_closed());
    drop(stream);
    timeout(PATIENCE, feed.closed()).await.unwrap();
    let ended = async {
        while !text(served.get("/metrics").await).await.contains("ending=\"abandoned\"} 1") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_head_cancels_the_enclave() {
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (arrived, cancelled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (here, gone) = (Arc::clone(&arrived), Arc::clone(&cancelled));
    let answer = move |_| {
        let (here, gone) = (Arc::clone(&here), Arc::clone(&gone));
        async move {
            let _tell = Tell(gone);
            here.notify_one();
            std::future::pending().await
        }
    };
    let served = Served::start(enclave(answer).await, |_| {}).await;
    let stream = served.raw(&raw_head("content-length: 0")).await;
    timeout(PATIENCE, arrived.notified()).await.unwrap();
    drop(stream);
    timeout(PATIENCE, cancelled.notified()).await.unwrap();
}

#[tokio::test]
async fn a_cut_upstream_is_never_a_clean_end() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    let sized = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none";
    for script in [chunked, sized] {
        let served = Served::start(scripted(script).await, |_| {}).await;
        let mut response = served.seal(b"x").await;
        assert_eq!(next(&mut response).await.unwrap().unwrap(), "one", "{script}");
        assert!(next(&mut response).await.unwrap().is_err(), "{script}");
    }
    let served = Served::start(scripted(chunked).await, |_| {}).await;
    let seen = rest(served.raw(&raw_head("content-length: 0")).await).await;
    assert!(seen.ends_with("3\r\none\r\n"), "no last chunk: {seen}");
}

#[tokio::test]
async fn an_answer_that_could_be_cut_without_a_trace_is_refused() {
    for script in [
        "HTTP/1.1 200 OK\r\n\r\none",
        "HTTP/1.0 200 OK\r\n\r\none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: 9\r\n\r\none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\none",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\none",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\none",
        "garbage\r\n\r\n",
        "",
    ] {
        let served = Served::start(scripted(script).await, |_| {}).await;
        let response = served.seal(b"x").await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{script:?}");
        assert_eq!(problem(response).await, "node-broke", "{script:?}");
    }
}

/// Before HTTP/1.1 an answer ends where its connection does, so a cut would look like an end.
#[tokio::test]
async fn a_client_that_could_not_tell_a_cut_is_refused() {
    let served = Served::start(enclave(echo).await, |_| {}).await;
    let old = raw_head("content-length: 0").replace("HTTP/1.1", "HTTP/1.0");
    let seen = rest(served.raw(&old).await).await;
    assert!(seen.starts_with("HTTP/1.0 505") && seen.contains("problem:http-version"), "{seen}");
    // What the router answers itself has a length, and probes are often old.
    let seen = rest(served.raw("GET /healthz HTTP/1.0\r\n\r\n").await).await;
    assert!(seen.starts_with("HTTP/1.0 200"), "{seen}");
}

#[tokio::test]
async fn a_request_whose_length_is_unclear_is_refused() {
    let served = Served::start(enclave(echo).await, |_| {}).await;
    for framing in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: +1",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
    ] {
        let seen = rest(served.raw(&format!("{}xx", raw_head(framing))).await).await;
        assert!(seen.starts_with("HTTP/1.1 400"), "{framing}: {seen}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_framed() {
    let served =
        Served::start(enclave(echo).await, |config| config.limits.body_bytes_max = 2048).await;
    let body = "x".repeat(2049);
    assert_eq!(problem(served.seal(body.clone().leak().as_bytes()).await).await, "body-too-large");
    let chunked = format!(
        "{}801\r\n{body}\r\n0\r\n\r\n",
        raw_head("connection: close\r\ntransfer-encoding: chunked")
    );
    let seen = rest(served.raw(&chunked).await).await;
    assert!(seen.starts_with("HTTP/1.1 413"), "{seen}");
    assert_eq!(
        served.seal(body[..2048].to_owned().leak().as_bytes()).await.status(),
        StatusCode::OK
    );

    let json = [("content-type", "application/json")];
    let challenge =
        served.ask(Method::POST, &evidence(NODE), &json, Bytes::from("x".repeat(1025))).await;
    assert_eq!(problem(challenge).await, "body-too-large");
}

#[tokio::test]
async fn every_refusal_has_its_type() {
    let served = Served::start(enclave(echo).await, |_| {}).await;
    let unknown = "f".repeat(32);
    for (method, path, media_type, status, expected) in [
        (Method::GET, "/nowhere".to_owned(), "", 404, "not-found"),
        (Method::GET, "/v1/nodes/zz/evidence".to_owned(), "", 404, "not-found"),
        (Method::GET, evidence(&unknown), "", 404, "unknown-node"),
        (Method::POST, ohttp(&unknown), SEALED, 421, "misdirected"),
        (Method::GET, ohttp(NODE), "", 405, "method-not-allowed"),
        (Method::DELETE, evidence(NODE), "", 405, "method-not-allowed"),
        (Method::POST, "/v1/fleet".to_owned(), "", 405, "method-not-allowed"),
        (Method::POST, ohttp(NODE), "application/json", 415, "media-type"),
        (Method::POST, ohttp(NODE), "", 415, "media-type"),
        (Method::POST, ohttp(NODE), "message/ohttp-req", 415, "media-type"),
        (Method::POST, evidence(NODE), SEALED, 415, "media-type"),
    ] {
        let response =
            served.ask(method.clone(), &path, &[("content-type", media_type)], Bytes::new()).await;
        assert_eq!(response.status(), status, "{method} {path} {media_type}");
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        assert_eq!(problem(response).await, expected, "{method} {path} {media_type}");
    }
}

#[tokio::test]
async fn a_slow_enclave_is_504() {
    let answer = |_| async { std::future::pending().await };
    let served =
        Served::start(enclave(answer).await, |config| config.timeouts.response_head = SHORT).await;
    let response = served.seal(b"x").await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(problem(response).await, "node-timed-out");
}

#[tokio::test]
async fn a_silent_enclave_is_a_cut() {
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |config| config.timeouts.idle = SHORT).await;
    let (mut response, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    let feed = feed.unwrap();
    feed.send(Ok(Bytes::from("one"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "one");
    assert!(next(&mut response).await.unwrap().is_err());
    timeout(PATIENCE, feed.closed()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_on() {
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |config| config.timeouts.idle = SHORT).await;
    let _stream = served.raw(&raw_head("content-length: 0")).await;
    let feed = arrived.recv().await.unwrap();
    let piece = Bytes::from(vec![0; 1 << 20]);
    let pump = async { while feed.send(Ok(piece.clone())).await.is_ok() {} };
    timeout(PATIENCE, pump).await.unwrap();
}

#[tokio::test]
async fn a_slow_client_is_given_up_on() {
    let served = Served::start(enclave(echo).await, |config| {
        config.timeouts.upload = SHORT;
        config.timeouts.request_head = SHORT;
    })
    .await;
    let seen = rest(served.raw(&format!("{}one", raw_head("content-length: 9"))).await).await;
    assert!(seen.starts_with("HTTP/1.1 408"), "{seen}");
    let seen = rest(served.raw("POST / HTTP/1.1\r\nhost: ").await).await;
    assert!(!seen.starts_with("HTTP/1.1 2"), "{seen}");
}

#[tokio::test]
async fn an_enclave_that_went_away_is_503_and_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Ready once, then gone.
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        let body = format!("{{\"node_id\":\"{NODE}\"}}");
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    });
    let served =
        Served::start(address, |config| config.timeouts.poll = Duration::from_mins(1)).await;
    let response = served.seal(b"x").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem(response).await, "node-unreachable");
    // Found out by the request: the next look comes long before its turn.
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
}

#[tokio::test]
async fn streams_are_bounded_and_come_back() {
    let (mut arrived, answer) = fed();
    let served = Served::start(enclave(answer).await, |config| config.limits.streams_max = 1).await;
    let (first, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    let refused = served.seal(b"x").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused).await, "busy");
    drop(feed);
    assert_eq!(text(first).await, "");
    let (again, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    assert_eq!(again.status(), StatusCode::OK);
    drop(feed);
}

#[tokio::test]
async fn draining_refuses_new_work_and_finishes_the_old() {
    let (mut arrived, answer) = fed();
    let mut served = Served::start(enclave(answer).await, |_| {}).await;
    let (mut response, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    let feed = feed.unwrap();
    served.tell_to_stop();
    served.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    let refused = served.seal(b"x").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem(refused).await, "draining");
    feed.send(Ok(Bytes::from("last words"))).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap().unwrap(), "last words");
    drop(feed);
    assert!(next(&mut response).await.is_none(), "a clean end");
    let address = served.address;
    served.stopped().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let (mut arrived, answer) = fed();
    let mut served =
        Served::start(enclave(answer).await, |config| config.timeouts.drain = SHORT).await;
    let (mut response, feed) = tokio::join!(served.seal(b"x"), arrived.recv());
    served.tell_to_stop();
    served.stopped().await;
    assert!(next(&mut response).await.unwrap().is_err(), "cut, not ended");
    drop(feed);
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let config = router::Config::on_loopback(&["http://127.0.0.1:1"]).unwrap();
    let refused =
        timeout(PATIENCE, router::serve(listener, config, std::future::pending())).await.unwrap();
    assert!(refused.unwrap_err().to_string().contains("TLS"));
}
