//! What an SDK raises, and whether it asks again on its own.

use std::{sync::Arc, time::Duration};

use engine::EchoEngine;
use http::StatusCode;
use serde_json::{Value, json};
use tests::{
    fleet::{Fleet, Plan},
    script::Script,
};

use crate::{Local, PROMPT, Sdk, Session, chat, engines::Breaking, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_told_what_is_wrong_with_it_and_is_sent_once() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let image =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    let unsupported = "unsupported_parameter";
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        for (more, code, param) in [
            (json!({"temperature": 3}), "invalid_value", "temperature"),
            (json!({"max_tokens": -1}), "invalid_type", "max_tokens"),
            (json!({"messages": []}), "invalid_value", "messages"),
            (json!({"messages": image}), unsupported, "messages[0].content[0].type"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "invalid_value", "stop"),
            (json!({"n": 9}), "invalid_value", "n"),
            (json!({"logprobs": true, "top_logprobs": 21}), "invalid_value", "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": -1}), "invalid_value", "top_logprobs"),
            (json!({"top_logprobs": 2}), "invalid_value", "top_logprobs"),
            // An echo has no probabilities, and makes none up.
            (json!({"logprobs": true}), "invalid_value", "logprobs"),
            (json!({"tools": 1}), "invalid_type", "tools"),
            (
                json!({"response_format": {"type": "json_object"}}),
                "invalid_value",
                "response_format",
            ),
        ] {
            for stream in [false, true] {
                let before = fleet.relay.sealed().len();
                let params = chat(PROMPT, crate::with(json!({"stream": stream}), more.clone()));
                let seen =
                    session.call(json!({"do": "chat", "retries": 2, "params": params})).await;
                let expected = ("BadRequestError", json!(400), json!(code), json!(param));
                assert_error(&seen, expected);
                assert_eq!(seen["error"]["type"], "invalid_request_error");
                assert_eq!(fleet.relay.until_sealed(before + 1).await.len(), before + 1, "{more}");
            }
        }
        let missing = json!({"model": "no-such-model"});
        let seen = session.chat(PROMPT, missing).await;
        let expected = ("NotFoundError", json!(404), json!("model-not-allowed"), json!("model"));
        assert_error(&seen, expected);
        let long = session.chat(&"x".repeat(3 << 20), json!({})).await;
        let expected = (sdk.other(), json!(413), json!("request-too-large"), Value::Null);
        assert_error(&long, expected);
        let params = json!({"model": tests::fleet::MODEL, "input": "x"});
        let seen = session.call(json!({"do": "embedding", "params": params})).await;
        // An echo has no vectors.
        let expected = ("BadRequestError", json!(400), json!("invalid_value"), json!("input"));
        assert_error(&seen, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_that_it_was_too_much_waits_as_told_and_asks_again() {
    for sdk in Sdk::ALL {
        let fleet = Fleet::start(Plan::default()).await;
        let proxy = Local::before(&fleet).await;
        let mut session = sdk.at(&proxy);
        let busy = Script::Head {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: vec![("retry-after", "1")],
        };
        fleet.relay.play(busy);
        let seen = session.chat(PROMPT, json!({})).await;
        let expected = ("RateLimitError", json!(429), json!("too-many-requests"), Value::Null);
        assert_error(&seen, expected);
        assert_eq!(seen["error"]["retry_after"], "1");
        let before = fleet.relay.sealed().len();
        session
            .begin(&json!({"do": "chat", "retries": 2, "params": chat(PROMPT, json!({}))}))
            .await;
        until("the first attempt", || fleet.relay.sealed().len() > before).await;
        fleet.relay.play(Script::Honest);
        let seen = session.seen().await;
        assert_eq!((&seen["text"], &seen["error"]), (&json!(PROMPT), &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_wants_a_key_is_an_authentication_error() {
    let file = std::env::temp_dir().join(format!("veritee-sdks-keys-{}.toml", std::process::id()));
    let limits =
        router::KeyLimits { requests_per_minute: 100, streams_max: 10, failures_per_minute: 10 };
    let keys = router::Keys {
        file: file.clone(),
        reload: Duration::from_secs(1),
        limits,
        unauthorized_per_minute: 100,
        metrics: router::KeyMetrics::Together,
    };
    router::KeysFile::change(&file, |_| Ok(())).unwrap();
    let fleet = Fleet::start(Plan { keys: Some(keys), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let seen = sdk.at(&proxy).chat(PROMPT, json!({})).await;
        let expected = ("AuthenticationError", json!(401), json!("unauthorized"), Value::Null);
        assert_error(&seen, expected);
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_enclave_is_asked_again_and_a_broken_one_is_an_error() {
    for sdk in Sdk::ALL {
        let full = Arc::new(EchoEngine::new(8, Duration::from_millis(1)).with_slots(0));
        let seen = asked_twice(sdk, Plan { engine: full, ..Plan::default() }).await;
        let expected = ("InternalServerError", json!(503), json!("engine_busy"), Value::Null);
        assert_error(&seen, expected);
        assert_eq!(seen["error"]["retry_after"], "1");

        let broken = Arc::new(Breaking::after(3));
        let seen = asked_twice(sdk, Plan { engine: broken.clone(), ..Plan::default() }).await;
        let expected = ("InternalServerError", json!(500), json!("internal_error"), Value::Null);
        assert_error(&seen, expected);

        let fleet = Fleet::start(Plan { engine: broken, ..Plan::default() }).await;
        let proxy = Local::before(&fleet).await;
        let seen = sdk.at(&proxy).chat(PROMPT, json!({"stream": true})).await;
        assert_eq!(seen["text"], "almost almost almost ");
        let expected = ("APIError", Value::Null, json!("answer-aborted"), Value::Null);
        assert_error(&seen, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_carried_out_is_not_asked_again() {
    for sdk in Sdk::ALL {
        let fleet = Fleet::start(Plan::default()).await;
        let proxy = Local::before(&fleet).await;
        let mut session = sdk.at(&proxy);
        fleet.relay.play(Script::Answer {
            status: StatusCode::BAD_GATEWAY,
            media_type: "application/problem+json",
            body: b"{}".to_vec(),
        });
        let seen = again(&mut session, &fleet, 1).await;
        let expected = ("InternalServerError", json!(503), json!("enclave-broke"), Value::Null);
        assert_error(&seen, expected);
        fleet.relay.play(Script::cut_after(2, None));
        let seen = again(&mut session, &fleet, 1).await;
        let expected =
            ("InternalServerError", json!(502), json!("response-truncated"), Value::Null);
        assert_error(&seen, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_enclave_is_a_verdict_with_its_code() {
    for sdk in Sdk::ALL {
        let fleet = Fleet::start(Plan::default()).await;
        let proxy = Local::before(&fleet).await;
        let keys = attestation::SealingKey::new(0, &[9; 1216]).encode();
        fleet.relay.play(Script::swap_member("ohttp_keys", &keys));
        let mut session = sdk.at(&proxy);
        let seen = again(&mut session, &fleet, 0).await;
        let expected = ("PermissionDeniedError", json!(403), json!("member-mismatch"), Value::Null);
        assert_error(&seen, expected);
        assert_eq!(seen["error"]["type"], "veritee_rejected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_a_connection_error() {
    let fleet = Fleet::start(Plan::default()).await;
    for sdk in Sdk::ALL {
        let proxy = Local::before(&fleet).await;
        let mut session = sdk.at(&proxy);
        drop(proxy);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seen = session.chat(PROMPT, json!({})).await;
        let expected = ("APIConnectionError", Value::Null, Value::Null, Value::Null);
        assert_error(&seen, expected);
    }
}

/// What an SDK sees that may ask twice more, and does.
async fn asked_twice(sdk: Sdk, plan: Plan) -> Value {
    let fleet = Fleet::start(plan).await;
    let proxy = Local::before(&fleet).await;
    again(&mut sdk.at(&proxy), &fleet, 3).await
}

/// What an SDK sees that may ask twice more, after so many sealed requests in all.
async fn again(session: &mut Session, fleet: &Fleet, asked: usize) -> Value {
    let before = fleet.relay.sealed().len();
    let call = json!({"do": "chat", "retries": 2, "params": chat(PROMPT, json!({}))});
    let seen = session.call(call).await;
    let expected = before.saturating_add(asked);
    let carried = fleet.relay.until_sealed(expected).await.len();
    assert_eq!(carried, expected, "{seen}");
    seen
}

/// Fails unless `seen` is this error: its class, status, code and parameter.
fn assert_error(seen: &Value, expected: (&str, Value, Value, Value)) {
    let error = &seen["error"];
    let (class, status, code, param) = expected;
    assert_eq!(
        (&error["class"], &error["status"], &error["code"], &error["param"]),
        (&json!(class), &status, &code, &param),
        "{seen}"
    );
    assert!(seen["finish"].is_null() && seen["usage"].is_null(), "{seen}");
}

impl Sdk {
    /// The class of an error whose status has none of its own.
    const fn other(self) -> &'static str {
        match self {
            Self::Python => "APIStatusError",
            Self::Node => "APIError",
        }
    }
}
