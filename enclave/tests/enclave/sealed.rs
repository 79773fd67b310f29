//! The way in: what is refused, how, and what may be acted on.

use std::sync::Arc;
use std::time::Duration;

use attestation::keys::XWING_PUBLIC_LEN;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use channel::{HEADER_LEN, Recipient, Suite};
use engine::EchoEngine;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::{self, Peer, Played, open, post, seal, start, start_with, user};

type Edit = fn(&mut channel::Request);

/// Status, headers and body, as far as a client could tell two answers apart.
async fn seen(response: Response<Body>) -> (StatusCode, String, Bytes) {
    let headers = format!("{:?}", response.headers());
    let status = response.status();
    (status, headers, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn every_failure_of_the_seal_gets_the_same_octets() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let good = peer.seal_chat(&user("hi", "")).body;
    let replayed = good.clone();
    assert_eq!(post(&serving, good.clone()).await.status(), StatusCode::OK);

    let fresh = || peer.seal_chat(&user("hi", "")).body;
    let edited = |at: usize, with: u8| {
        let mut body = fresh();
        body[at] = with;
        body
    };
    let flipped = |at: usize| {
        let mut body = fresh();
        body[at] ^= 1;
        body
    };
    let other = Recipient::generate(peer.key.key_id(), 1);
    let mut cases = vec![
        ("replay", replayed),
        ("empty", Vec::new()),
        ("short header", fresh()[..HEADER_LEN - 1].to_vec()),
        ("no chunk", fresh()[..HEADER_LEN].to_vec()),
        ("another key id", edited(0, peer.key.key_id().wrapping_add(1))),
        ("another kem", edited(2, 0x20)),
        ("another kdf", edited(4, 2)),
        ("another aead", edited(6, 3)),
        ("a flip in enc", flipped(HEADER_LEN - 1)),
        ("a flip in the final chunk", flipped(HEADER_LEN + 5)),
        ("a stranger's key", seal(other.public(), Suite::XWingAes256Gcm, b"x").body),
        ("an empty chunk", [&fresh()[..HEADER_LEN], &[16], &[0; 16], &[0], &[0; 16]].concat()),
        ("trailing octets", [fresh(), vec![0]].concat()),
    ];
    for cut in [1, 10, 20] {
        let mut body = fresh();
        body.truncate(body.len() - cut);
        cases.push(("truncated", body));
    }
    let expected = seen(post(&serving, Vec::new()).await).await;
    assert_eq!(expected.0, StatusCode::BAD_REQUEST);
    let body: serde_json::Value = serde_json::from_slice(&expected.2).unwrap();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#ohttp-key");
    for (name, body) in cases {
        assert_eq!(seen(post(&serving, body).await).await, expected, "{name}");
    }
    assert_eq!(peer.key.public().len(), XWING_PUBLIC_LEN);
}

#[tokio::test]
async fn request_may_arrive_in_any_pieces_and_in_both_suites() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    for piece in [1, 7, HEADER_LEN, HEADER_LEN + 1, 100_000] {
        let sealed = peer.seal_chat(&user(&"long ".repeat(5000), ""));
        let pieces: Vec<_> = sealed
            .body
            .chunks(piece)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let response = post(&serving, Body::from_stream(stream::iter(pieces))).await;
        let answer = peer.open(sealed, &support::collect(response).await);
        assert_eq!(answer.status, 200, "pieces of {piece}");
    }
    let message = peer.chat(&user("hi", "")).encode().expose().clone();
    let sealed = seal(&peer.key, Suite::XWingAes128Gcm, &message);
    let response = post(&serving, sealed.body.clone()).await;
    let answer = peer.open(sealed, &support::collect(response).await);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hi");
}

#[tokio::test]
async fn of_two_copies_in_flight_one_is_answered() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user("hi", "")).body;
    let (front, last) = body.split_at(body.len() - 1);
    // Both begin, so both pass the look-up; then both end.
    let halves = |rest: tokio::sync::oneshot::Receiver<()>| {
        let (front, last) = (Bytes::copy_from_slice(front), Bytes::copy_from_slice(last));
        let first = stream::once(async { Ok::<_, std::io::Error>(front) });
        let second = stream::once(async move {
            rest.await.unwrap();
            Ok(last)
        });
        Body::from_stream(futures_util::StreamExt::chain(first, second))
    };
    let (mut gates, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (gate, rest) = tokio::sync::oneshot::channel();
        gates.push(gate);
        let (serving, body) = (serving.clone(), halves(rest));
        copies.push(tokio::spawn(async move { post(&serving, body).await.status() }));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for gate in gates {
        gate.send(()).unwrap();
    }
    let mut statuses = vec![copies.remove(0).await.unwrap(), copies.remove(0).await.unwrap()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::BAD_REQUEST]);
    stage.recv().await.unwrap();
    assert!(stage.try_recv().is_err(), "the engine was asked once");
}

#[tokio::test]
async fn nothing_is_acted_on_before_the_final_chunk() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    let sealed = peer.seal_chat(&user("hi", ""));
    let mut cut = sealed.body.clone();
    cut.truncate(cut.len() - 1);
    assert_eq!(post(&serving, cut).await.status(), StatusCode::BAD_REQUEST);
    assert!(stage.try_recv().is_err());
    // What did not finish was not accepted, so the whole request still is.
    assert_eq!(post(&serving, sealed.body).await.status(), StatusCode::OK);
    stage.recv().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_inside_is_told_inside() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let cases: [(Edit, u16, &str); 7] = [
        (|r| r.path = "/admin".into(), 404, "not_found"),
        (|r| r.path = "/v1/embeddings".into(), 400, "unknown_parameter"),
        (|r| r.method = "PUT".into(), 405, "method_not_allowed"),
        (|r| r.authority = "x".into(), 421, "misdirected_request"),
        (|r| r.fields = channel::Fields::new(), 421, "binding_mismatch"),
        (
            |r| *r.content.expose_mut() = user("x", r#","store":true"#).into_bytes(),
            400,
            "unsupported_parameter",
        ),
        (
            |r| {
                *r.content.expose_mut() =
                    br#"{"model":"other","messages":[{"role":"user","content":"x"}]}"#.to_vec();
            },
            404,
            "model_not_found",
        ),
    ];
    for (edit, status, code) in cases {
        let mut request = peer.chat(&user("hi", ""));
        edit(&mut request);
        let sealed = peer.seal(&request);
        let response = post(&serving, sealed.body.clone()).await;
        assert_eq!(response.status(), StatusCode::OK, "the outside learns nothing");
        let answer = peer.open(sealed, &support::collect(response).await);
        assert_eq!(answer.status, status, "{code}");
        assert_eq!(answer.json()["error"]["code"], code);
        assert_eq!(answer.receipt.bound, status != 421, "{code}");
    }
}

#[tokio::test]
async fn unbound_request_is_answered_only_where_the_configuration_says() {
    let engine = Arc::new(EchoEngine::new(1, Duration::ZERO));
    let serving = start_with(engine, "allow_unbound = true", "").await;
    let peer = Peer::of(&serving).await;
    let mut request = peer.chat(&user("hi", ""));
    request.fields = channel::Fields::new().with("content-type", "application/json").unwrap();
    let sealed = peer.seal(&request);
    let response = post(&serving, sealed.body.clone()).await;
    let answer = peer.open(sealed, &support::collect(response).await);
    assert_eq!(answer.status, 200);
    assert!(!answer.receipt.bound);
}

#[tokio::test]
async fn garbage_that_authenticates_is_answered_inside() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let sealed = seal(&peer.key, Suite::XWingAes256Gcm, &[0xff; 300]);
    let response = post(&serving, sealed.body.clone()).await;
    let answer = open(sealed.reply, &sealed.blinds, &support::collect(response).await);
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn outer_head_is_the_same_for_every_answer() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let mut heads = Vec::new();
    for json in [user("hi", ""), user("hi", r#","stream":true"#), "{".to_owned()] {
        let response = post(&serving, peer.seal_chat(&json).body).await;
        let headers = response.headers();
        assert_eq!(headers["content-type"], "message/ohttp-chunked-res");
        assert_eq!(headers["incremental"], "?1");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(!headers.contains_key("content-length"));
        heads.push(format!("{:?}", response.headers()));
    }
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn other_media_types_methods_and_paths_are_typed_problems() {
    let serving = start(1).await;
    let send = |method: &str, path: &str, media: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        serving.router().oneshot(request.body(Body::empty()).unwrap())
    };
    for (method, path, media, status) in [
        ("POST", "/v1/ohttp", None, 415),
        ("POST", "/v1/ohttp", Some("message/ohttp-req"), 415),
        ("POST", "/v1/ohttp", Some("application/json"), 415),
        ("GET", "/v1/ohttp", None, 405),
        ("POST", "/healthz", None, 405),
        ("GET", "/v1/chat/completions", None, 404),
        ("POST", "/v1/chat/completions", Some("application/json"), 404),
    ] {
        let response = send(method, path, media).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(&support::text(response).await).unwrap();
        assert_eq!(body["status"], status);
    }
}
