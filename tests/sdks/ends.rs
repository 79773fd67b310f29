//! Answers that do not reach their end: left, timed out, cut.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tests::{
    fleet::{Fleet, Plan},
    script::{Script, Step},
};
use tokio::runtime::Handle;

use crate::{Local, PROMPT, Sdk, chat, engines::Endless, until};

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_ends_the_generation_and_leaves_nothing_behind() {
    let engine = Arc::new(Endless::new());
    let fleet = Fleet::start(Plan { engine: engine.clone(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    let leave = json!({"do": "chat", "take": 3, "params": chat("go on", json!({"stream": true}))});
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        let alive = || Handle::current().metrics().num_alive_tasks();
        let mut before = None;
        for _ in 0..10 {
            let seen = session.call(leave.clone()).await;
            assert_eq!((&seen["text"], &seen["error"]), (&json!("and and and "), &Value::Null));
            assert_eq!((&seen["finish"], &seen["usage"]), (&Value::Null, &Value::Null));
            until("the engine stops while the SDK lives", || engine.running() == 0).await;
            // The first call opens connections that stay.
            match before {
                None => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    before = Some(alive());
                }
                Some(before) => until("the call's tasks end", || alive() <= before).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_times_out_and_ends_the_generation() {
    let engine = Arc::new(Endless::new());
    let fleet = Fleet::start(Plan { engine: engine.clone(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        assert_eq!(session.call(json!({"do": "models"})).await, json!([tests::fleet::MODEL]));
        let params = chat("go on", json!({}));
        let call = json!({"do": "chat", "timeout": 0.5, "params": params});
        let seen = session.call(call).await;
        let class = match sdk {
            Sdk::Python => "APITimeoutError",
            Sdk::Node => "APIConnectionTimeoutError",
        };
        assert_eq!((&seen["error"]["class"], &seen["text"]), (&json!(class), &json!("")));
        until("the engine stops while the SDK lives", || engine.running() == 0).await;
        // It is as good as before.
        let leave = json!({"do": "chat", "take": 1, "params": chat("x", json!({"stream": true}))});
        assert!(session.call(leave).await["error"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_never_taken_for_whole() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        let mut stories = Vec::new();
        for less in 1..12 {
            for ending in [None, Some(Step::Abort)] {
                let story = format!("{less} pieces less, then {ending:?}");
                let script = Script::response(move |framed| {
                    let pieces = framed.pieces();
                    let kept = pieces.len().saturating_sub(less).max(1);
                    let kept = pieces.into_iter().take(kept).map(Step::Send);
                    kept.chain(ending.clone()).collect()
                });
                stories.push((story, script));
            }
        }
        // Everything but the receipt's chunk: every word is there, and nothing vouches for the end.
        stories.push(("no end".to_owned(), Script::reframed(|framed| framed.last = None)));
        let flipped = |framed: &mut tests::framing::Framed| {
            framed.last.iter_mut().for_each(|last| last[0] ^= 1);
        };
        stories.push(("another end".to_owned(), Script::reframed(flipped)));
        for (story, script) in stories {
            fleet.relay.play(script);
            let options = json!({"stream": true, "stream_options": {"include_usage": true}});
            for options in [options, json!({})] {
                let seen = session.chat(PROMPT, options).await;
                assert!(seen["error"]["class"].is_string(), "{sdk:?}, {story}: {seen}");
                let ends = (&seen["finish"], &seen["usage"]);
                assert_eq!(ends, (&Value::Null, &Value::Null), "{sdk:?}, {story}");
                let text = seen["text"].as_str().unwrap();
                assert!(PROMPT.starts_with(text), "{sdk:?}, {story}: {text}");
            }
        }
    }
}
