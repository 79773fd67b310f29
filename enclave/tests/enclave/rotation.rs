//! Key epochs on a clock that the tests turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use attestation::{ReportData, UnixTime};
use axum::http::StatusCode;
use collect::CollectError;
use enclave::{Boot, Clock, Serving};
use engine::EchoEngine;

use crate::support::{self, NOW, Peer, collect, config, get, platform, post, user};

/// Time that moves only by `advance`: tokio's does not run on by itself while a blocking task runs.
struct Frozen(#[expect(dead_code, reason = "the task ends when this is dropped")] mpsc::Sender<()>);

fn freeze() -> Frozen {
    tokio::time::pause();
    let (hold, released) = mpsc::channel();
    tokio::task::spawn_blocking(move || released.recv().is_err());
    Frozen(hold)
}

/// Moves time on and lets everything settle that it wakes, on this thread and the platform's.
async fn advance(minutes: u64, seconds: u64) {
    tokio::time::advance(Duration::from_mins(minutes)).await;
    tokio::time::advance(Duration::from_secs(seconds)).await;
    for _ in 0..40 {
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits, while time stands still, for what other threads make true.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..5000 {
        if condition().await {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came true");
}

async fn serve(
    top: &str,
    end: &str,
    attester: impl FnMut(&ReportData) -> Result<collect::PlatformEvidence, CollectError>
    + Send
    + 'static,
) -> Serving {
    let engine = Arc::new(EchoEngine::new(1, Duration::ZERO));
    let start = tokio::time::Instant::now();
    let clock = Clock::new(move || UnixTime::from_secs(NOW).saturating_add(start.elapsed()));
    let boot = Boot::new(config(engine.as_ref(), top, end), clock);
    let loaded = boot.make_keys(Box::new(attester), None).unwrap().load(engine).unwrap();
    let serving = loaded.attest().await.unwrap();
    let background = serving.clone();
    tokio::spawn(async move { background.run().await });
    serving
}

async fn status(serving: &Serving, peer: &Peer) -> StatusCode {
    post(serving, peer.seal_chat(&user("hi", "")).body).await.status()
}

#[tokio::test]
async fn key_is_replaced_before_its_epoch_ends_and_accepted_for_a_grace() {
    let _frozen = freeze();
    let serving = serve("", "", platform).await;
    let first = Peer::of(&serving).await;
    assert_eq!(first.key.key_id(), 0);
    advance(58, 0).await;
    assert_eq!(Peer::of(&serving).await.key, first.key, "no earlier than needed");
    advance(1, 30).await;
    until(async || Peer::of(&serving).await.key.key_id() == 1).await;
    let second = Peer::of(&serving).await;
    assert_eq!(second.key.key_id(), 1);
    assert_ne!(second.statement.binding_id(), first.statement.binding_id());
    assert_eq!(second.statement.node_id, first.statement.node_id);
    let promoted = UnixTime::from_secs(NOW).saturating_add(Duration::from_mins(59));
    // The window opens a minute before the epoch.
    let starts = second.statement.not_before.saturating_add(Duration::from_mins(1));
    assert!(starts >= promoted);

    // Both are answered, each under its own binding.
    for peer in [&first, &second] {
        let sealed = peer.seal_chat(&user("hi", ""));
        let response = post(&serving, sealed.body.clone()).await;
        peer.open(sealed, &collect(response).await);
    }
    // A binding of another epoch than the key's is told inside.
    let mut mixed = Peer::of(&serving).await;
    mixed.statement = first.statement.clone();
    let sealed = mixed.seal_chat(&user("hi", ""));
    let response = post(&serving, sealed.body.clone()).await;
    let answer = support::open(sealed.reply, &sealed.blinds, &collect(response).await);
    assert_eq!(answer.status, 421);

    advance(10, 0).await;
    assert_eq!(status(&serving, &first).await, StatusCode::OK, "the last moment of the grace");
    advance(1, 0).await;
    assert_eq!(status(&serving, &first).await, StatusCode::BAD_REQUEST, "zeroised");
    assert_eq!(status(&serving, &second).await, StatusCode::OK);
}

#[tokio::test]
async fn without_evidence_no_new_key_is_offered_and_readiness_says_so() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    let _frozen = freeze();
    let serving = serve("epoch = \"10m\"", "", |data: &ReportData| {
        if BROKEN.load(Ordering::Relaxed) { Err(CollectError::Busy) } else { platform(data) }
    })
    .await;
    let first = Peer::of(&serving).await;
    BROKEN.store(true, Ordering::Relaxed);
    advance(9, 30).await;
    assert_eq!(Peer::of(&serving).await.key, first.key);
    assert_eq!(get(&serving, "/readyz").await.status(), StatusCode::OK);
    advance(1, 0).await;
    assert_eq!(get(&serving, "/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&serving, &first).await, StatusCode::OK, "in its grace");
    BROKEN.store(false, Ordering::Relaxed);
    advance(0, 10).await;
    until(async || get(&serving, "/readyz").await.status() == StatusCode::OK).await;
    assert_eq!(Peer::of(&serving).await.key.key_id(), 1);
}

#[tokio::test]
async fn full_key_ends_and_the_next_is_offered() {
    let _frozen = freeze();
    let serving = serve("", "[limits]\nrequests_per_key = 2", platform).await;
    let first = Peer::of(&serving).await;
    let again = first.seal_chat(&user("hi", "")).body;
    assert_eq!(post(&serving, again.clone()).await.status(), StatusCode::OK);
    assert_eq!(status(&serving, &first).await, StatusCode::OK);
    let full = post(&serving, first.seal_chat(&user("hi", "")).body).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers()["retry-after"], "1");
    assert_eq!(post(&serving, again).await.status(), StatusCode::BAD_REQUEST, "still a replay");
    advance(0, 3).await;
    until(async || Peer::of(&serving).await.key.key_id() == 1).await;
    let second = Peer::of(&serving).await;
    assert_eq!(status(&serving, &second).await, StatusCode::OK);
    advance(0, 3).await;
    until(async || status(&serving, &first).await == StatusCode::BAD_REQUEST).await;
}
