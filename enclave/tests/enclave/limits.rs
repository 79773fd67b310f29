//! What strangers can cause is bounded, and who is turned away is told so.

use std::sync::Arc;
use std::time::Duration;

use attestation::receipt::FinishReason;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use engine::{EchoEngine, GenerationEvent};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tower::ServiceExt as _;

use crate::support::{self, Peer, Played, post, sealed_request, start, start_with, user};

fn echo() -> Arc<EchoEngine> {
    Arc::new(EchoEngine::new(1, Duration::ZERO))
}

/// A body that stops after `front`, until it is dropped.
fn stalled(front: &[u8]) -> Body {
    let front = Bytes::copy_from_slice(front);
    let first = stream::once(async { Ok::<_, std::io::Error>(front) });
    Body::from_stream(first.chain(stream::pending()))
}

#[tokio::test]
async fn larger_request_is_413_by_its_length_and_by_its_octets() {
    let serving = start_with(echo(), "", "[limits]\nrequest_bytes = 2048").await;
    let peer = Peer::of(&serving).await;
    assert_eq!(
        post(&serving, peer.seal_chat(&user(&"a".repeat(500), "")).body).await.status(),
        200
    );
    let large = peer.seal_chat(&user(&"a".repeat(4000), "")).body;
    assert_eq!(post(&serving, large).await.status(), StatusCode::PAYLOAD_TOO_LARGE, "plaintext");

    let mut declared = sealed_request(Body::empty());
    declared.headers_mut().insert("content-length", "3000000".parse().unwrap());
    let response = serving.router().oneshot(declared).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "declared");

    // A valid header, then a chunk that never ends and never grows over a chunk's limit.
    let header = peer.seal_chat(&user("", "")).body[..channel::HEADER_LEN].to_vec();
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 16])));
    let first = stream::once(async { Ok(Bytes::from(header)) });
    let response = post(&serving, Body::from_stream(first.chain(endless))).await;
    assert!(response.status().is_client_error(), "{}", response.status());
}

#[tokio::test]
async fn requests_in_progress_are_bounded() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "[limits]\nrequests = 1").await;
    let peer = Peer::of(&serving).await;
    let sealed = peer.seal_chat(&user("a", ""));
    let first = post(&serving, sealed.body.clone()).await;
    let (_, events) = stage.recv().await.unwrap();
    let second = post(&serving, peer.seal_chat(&user("b", "")).body).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");
    let reason = engine::FinishReason::Stop;
    events.send(GenerationEvent::Finished { reason, completion_tokens: 0 }).await.unwrap();
    peer.open(sealed, &support::collect(first).await);
    let third = post(&serving, peer.seal_chat(&user("c", "")).body).await;
    assert_eq!(third.status(), StatusCode::OK);
}

#[tokio::test]
async fn octets_of_arriving_requests_are_bounded_together() {
    let end = "[limits]\nrequest_bytes = 4096\nbuffered_bytes = 7000";
    let serving = start_with(echo(), "", end).await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user(&"a".repeat(2000), "")).body;
    let other = serving.clone();
    let half = stalled(&body[..3000]);
    let hog = tokio::spawn(async move { post(&other, half).await.status() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(post(&serving, body.clone()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    hog.abort();
    assert!(hog.await.unwrap_err().is_cancelled());
    assert_eq!(post(&serving, body).await.status(), StatusCode::OK, "the share came back");
}

/// Who is told to come back is told so before the end of the upload, and what was sent is not kept.
#[tokio::test]
async fn refused_upload_is_answered_soon_and_keeps_nothing() {
    let end = "[limits]\nrequest_bytes = 4096\nbuffered_bytes = 7000\nrequests = 1";
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", end).await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user(&"a".repeat(2000), "")).body;
    let answered = post(&serving, peer.seal_chat(&user("first", "")).body).await;
    let (_, events) = stage.recv().await.unwrap();
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let refused = post(&serving, stalled(&body[..body.len() - 1])).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(before.elapsed().as_secs(), 1);

    // Its size says enough: no octet is waited for.
    let mut declared = sealed_request(stalled(&[]));
    declared.headers_mut().insert("content-length", "3000000".parse().unwrap());
    let before = tokio::time::Instant::now();
    let refused = serving.router().oneshot(declared).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(before.elapsed().is_zero());
    drop((answered, events));
}

/// A body that could not be opened is read to its end, but no part of the budget any more.
#[tokio::test]
async fn refused_upload_gives_its_share_back() {
    let end = "[limits]\nrequest_bytes = 4096\nbuffered_bytes = 7000";
    let serving = start_with(echo(), "", end).await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user(&"a".repeat(2000), "")).body;
    let (other, garbage) = (serving.clone(), [vec![0; 7], vec![9; 5000]].concat());
    let hog = tokio::spawn(async move { post(&other, stalled(&garbage)).await.status() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!hog.is_finished(), "it is still at it");
    assert_eq!(post(&serving, body).await.status(), StatusCode::OK);
    hog.abort();
}

#[tokio::test]
async fn upload_has_a_time_limit_whatever_was_sent() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user("a", "")).body;
    tokio::time::pause();
    for front in [&[][..], &[9; 100], &[9; 2000], &body[..body.len() - 1]] {
        let before = tokio::time::Instant::now();
        let response = post(&serving, stalled(front)).await;
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(before.elapsed().as_secs(), 30);
    }
}

/// Who sends slowly, or nothing that can be opened, takes no place from who is answered.
#[tokio::test]
async fn slow_uploads_take_no_place_of_a_request() {
    let serving = start_with(echo(), "", "[limits]\nrequests = 1").await;
    let peer = Peer::of(&serving).await;
    let body = peer.seal_chat(&user("a", "")).body;
    let mut slow = Vec::new();
    for front in [&[][..], &body[..100], &body[..2000], &body[..body.len() - 1]] {
        let (other, half) = (serving.clone(), stalled(front));
        slow.push(tokio::spawn(async move { post(&other, half).await.status() }));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(post(&serving, vec![7; 3000]).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(post(&serving, body).await.status(), StatusCode::OK);
    assert!(slow.iter().all(|slow| !slow.is_finished()), "they are still at it");
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

/// One that is refused because all places are taken was not accepted: it may come again.
#[tokio::test]
async fn request_that_found_no_place_is_no_replay() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "[limits]\nrequests = 1").await;
    let peer = Peer::of(&serving).await;
    let late = peer.seal_chat(&user("late", "")).body;
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let (front, end) = late.split_at(2000);
    let (front, end) = (Bytes::copy_from_slice(front), Bytes::copy_from_slice(end));
    let first = stream::once(async { Ok::<_, std::io::Error>(front) });
    let held = first.chain(stream::once(async move {
        drop(receiver.await);
        Ok(end)
    }));
    let other = serving.clone();
    let late_one = tokio::spawn(async move { post(&other, Body::from_stream(held)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answered = post(&serving, peer.seal_chat(&user("first", "")).body).await;
    let (_, events) = stage.recv().await.unwrap();
    sender.send(()).unwrap();
    let refused = late_one.await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let reason = engine::FinishReason::Stop;
    events.send(GenerationEvent::Finished { reason, completion_tokens: 0 }).await.unwrap();
    support::collect(answered).await;
    assert_eq!(post(&serving, late).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn queue_for_decapsulation_is_bounded() {
    let serving = start_with(echo(), "", "[limits]\ndecapsulations = 1").await;
    let peer = Peer::of(&serving).await;
    let bodies: Vec<_> = (0..20).map(|_| peer.seal_chat(&user("a", "")).body).collect();
    let statuses = join_all(bodies.into_iter().map(|body| async {
        let response = post(&serving, body).await;
        (response.status(), response.headers().contains_key("retry-after"))
    }))
    .await;
    let count = |expected| statuses.iter().filter(|each| **each == expected).count();
    let (served, busy) =
        (count((StatusCode::OK, false)), count((StatusCode::SERVICE_UNAVAILABLE, true)));
    assert!(served >= 1 && busy >= 1 && served.saturating_add(busy) == 20, "{statuses:?}");
}

#[tokio::test]
async fn slow_challengers_keep_nobody_from_asking() {
    let serving = start_with(echo(), "", "[limits]\nevidence_requests = 1").await;
    let ask = |body: Body| {
        let request = Request::post("/v1/evidence").header("content-type", "application/json");
        serving.router().oneshot(request.body(body).unwrap())
    };
    let slow = tokio::spawn(ask(stalled(b"{\"challenge\":")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let body = format!(r#"{{"challenge":"{}"}}"#, "aa".repeat(32));
    assert_eq!(ask(Body::from(body)).await.unwrap().status(), StatusCode::OK);
    assert!(!slow.is_finished(), "it is still at it");
    slow.abort();
}

#[tokio::test]
async fn challengers_are_bounded() {
    let serving = start_with(echo(), "", "[limits]\nevidence_requests = 1").await;
    let ask = |digits: &str| {
        let request = Request::post("/v1/evidence").header("content-type", "application/json");
        let body = format!(r#"{{"challenge":"{}"}}"#, digits.repeat(32));
        serving.router().oneshot(request.body(Body::from(body)).unwrap())
    };
    let (a, b) = tokio::join!(ask("aa"), ask("bb"));
    let mut statuses = [a.unwrap().status(), b.unwrap().status()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!(ask("cc").await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn answer_has_a_deadline_and_its_generation_is_cancelled_then() {
    for padding in ["p1", "p2"] {
        for stream in [false, true] {
            let (engine, mut stage) = Played::new();
            let top = format!("padding = \"{padding}\"");
            let serving = start_with(engine, &top, "[limits]\nanswer_s = 1").await;
            let peer = Peer::of(&serving).await;
            let sealed = peer.seal_chat(&user("x", &format!(r#","stream":{stream}"#)));
            let asked = tokio::spawn({
                let (serving, body) = (serving.clone(), sealed.body.clone());
                async move { support::collect(post(&serving, body).await).await }
            });
            // It speaks, and then says no more.
            let (_, events) = stage.recv().await.unwrap();
            events.send(support::delta("a", 1)).await.unwrap();
            events.closed().await;
            let answer = peer.open(sealed, &asked.await.unwrap());
            if stream {
                let last = answer.events().pop().unwrap();
                let last: serde_json::Value = serde_json::from_str(&last).unwrap();
                assert_eq!(last["error"]["code"], "engine_timeout");
                assert_eq!(answer.receipt.finish, FinishReason::Aborted);
            } else {
                assert_eq!(answer.status, 504);
                assert_eq!(answer.json()["error"]["code"], "engine_timeout");
                assert_eq!(answer.receipt.finish, FinishReason::Error);
            }
        }
    }
}
