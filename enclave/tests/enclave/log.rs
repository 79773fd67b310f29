//! The log says what it may and nothing that a client sealed.

use std::sync::Arc;
use std::time::Duration;

use channel::{Suite, names};
use engine::{EchoEngine, EngineError, GenerationEvent};

use crate::captured::Captured;
use crate::support::{self, Peer, Played, delta, get, post, seal, start_with, user};

type Edit = fn(&mut channel::Request);

const CANARY: &str = "canary-7f3a";

#[tokio::test]
async fn no_event_holds_what_a_client_sealed() {
    let captured = Captured::default();
    // Everything that any crate says, at any level.
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);

    let serving = start_with(Arc::new(EchoEngine::new(3, Duration::ZERO)), "", "").await;
    let peer = Peer::of(&serving).await;
    for json in [
        user(CANARY, ""),
        user(CANARY, r#","stream":true"#),
        user(CANARY, &format!(r#","{CANARY}":1"#)),
        user("x", &format!(r#","stop":"{CANARY}","user":"{CANARY}","top_k":"{CANARY}""#)),
        format!(r#"{{"model":"{CANARY}","messages":[{{"role":"{CANARY}","content":"x"}}]}}"#),
        format!(r#"{{"{CANARY}"#),
    ] {
        let answer = peer.ask(&serving, &json).await;
        assert_ne!(answer.status, 500);
    }
    let edits: [Edit; 4] = [
        |r| r.path = format!("/v1/{CANARY}"),
        |r| r.authority = CANARY.into(),
        |r| r.method = CANARY.to_uppercase(),
        |r| r.fields.push(names::TENANT, CANARY).unwrap(),
    ];
    for edit in edits {
        let mut request = peer.chat(&user(CANARY, ""));
        edit(&mut request);
        let sealed = peer.seal(&request);
        let response = post(&serving, sealed.body.clone()).await;
        peer.open(sealed, &support::collect(response).await);
    }
    // What is no message at all, and what does not authenticate.
    let garbage = seal(&peer.key, Suite::XWingAes256Gcm, CANARY.as_bytes()).body;
    support::collect(post(&serving, garbage).await).await;
    support::collect(post(&serving, CANARY).await).await;

    // Answers that break off.
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    for crash in [true, false] {
        let response =
            post(&serving, peer.seal_chat(&user(CANARY, r#","stream":true"#)).body).await;
        let (_, events) = stage.recv().await.unwrap();
        events.send(delta(CANARY, 1)).await.unwrap();
        if crash {
            events.send(GenerationEvent::Failed(EngineError::Crashed)).await.unwrap();
            support::collect(response).await;
        } else {
            drop(response);
            events.closed().await;
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;

    let log = captured.text();
    assert!(!log.contains(CANARY), "{log}");
    let hex = hex::encode(CANARY);
    assert!(!log.contains(&hex), "{log}");
    assert!(!log.contains("abababab"), "the tenant: {log}");
    let mut seen = Vec::new();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["target"] != "veritee_enclave" {
            continue;
        }
        let fields = line["fields"].as_object().unwrap();
        let event = fields["event"].as_str().unwrap().to_owned();
        let expected: &[&str] = match event.as_str() {
            "opened" => &["event", "request", "sealed"],
            "refused" => &["event", "request", "reason"],
            "untold" => &["event", "refusals"],
            "answered" => &["event", "request", "outcome", "took"],
            other => panic!("an event that is not in the vocabulary: {other}"),
        };
        let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{event}");
        seen.push((event, fields.get("outcome").cloned().unwrap_or_default()));
    }
    for outcome in ["finished", "error", "aborted", "abandoned"] {
        let expected = ("answered".to_owned(), outcome.into());
        assert!(seen.contains(&expected), "{outcome} in {seen:?}");
    }
    let metrics = support::text(get(&serving, "/metrics").await).await;
    assert!(!metrics.contains(CANARY));
}
