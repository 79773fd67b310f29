//! What the SDKs build on top of the API: classes as schemas, functions as tools, loops of calls, events of streams.

use std::sync::Arc;

use engine::{EmbeddedEngine, EngineOptions, VerifiedModel};
use serde_json::{Value, json};
use tests::fleet::{Fleet, Plan};

use crate::{Local, Sdk, chat, engines::Calling, tool, with};

/// The calls that the scripted engine makes: text of every width, in pieces of one character.
const CALLS: [(&str, &str); 2] =
    [("get_sky", r#"{"city": "Zü🦀\"}\u00e9", "days": 2}"#), ("off", "{}")];

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_streamed_to_the_helpers_as_they_are_made() {
    for config in ["", "padding = \"p2\""] {
        let engine = Arc::new(Calling::new(&CALLS));
        let fleet = Fleet::start(Plan { engine, config, ..Plan::default() }).await;
        let proxy = Local::before(&fleet).await;
        for sdk in Sdk::ALL {
            let mut sdk = sdk.at(&proxy);
            let params = chat("How is it?", json!({"stream_options": {"include_usage": true}}));
            let call = json!({"do": "helper-stream", "params": params, "tools": true});
            let seen = sdk.call(call).await;
            let done: Vec<Value> = (0..)
                .zip(CALLS)
                .map(|(index, (name, arguments))| json!([index, name, arguments]))
                .collect();
            assert_eq!(seen["done"], json!(done), "{seen}");
            assert_eq!((&seen["text"], &seen["deltas"]), (&json!("Well."), &json!("Well.")));
            assert_eq!(seen["finish"], "tool_calls");
            for (at, (name, arguments)) in CALLS.iter().enumerate() {
                let call = &seen["calls"][at];
                assert_eq!((&call["name"], &call["arguments"]), (&json!(name), &json!(arguments)));
                assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
                let pieces: Vec<String> =
                    serde_json::from_value(seen["pieces"][at.to_string()].clone()).unwrap();
                assert_eq!(pieces.concat(), *arguments);
                // Paced, what has accumulated comes together.
                assert!(!config.is_empty() || pieces.len() >= arguments.chars().count());
            }
            assert_ne!(seen["calls"][0]["id"], seen["calls"][1]["id"]);
            assert_eq!(seen["usage"][2], seen["usage"][1].as_u64().unwrap() + 1);
            let path = format!("/receipts/{}", seen["id"].as_str().unwrap());
            let receipt = sdk.call(json!({"do": "get", "path": path})).await;
            assert_eq!(receipt["claims"]["finish_reason"], "stop", "to call is to end by itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_of_calls_and_results_reaches_its_end() {
    let engine = Arc::new(Calling::new(&CALLS));
    let fleet = Fleet::start(Plan { engine, ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let results = json!({"get_sky": "Sonne 🌞.", "off": "Dunkel."});
        let params = chat("How is it?", json!({}));
        let call = json!({"do": "run", "params": params, "tools": true, "results": results});
        let seen = sdk.at(&proxy).call(call).await;
        assert_eq!(seen["text"], "Sonne 🌞. Dunkel.", "{seen}");
        let made = json!([["get_sky", {"city": "Zü🦀\"}é", "days": 2}], ["off", {}]]);
        assert_eq!((&seen["made"], &seen["finish"]), (&made, &json!("stop")));
        if sdk == Sdk::Node {
            let roles = json!(["user", "assistant", "tool", "tool", "assistant"]);
            assert_eq!(seen["messages"], roles);
            let counts = json!({"functionToolCall": 2, "functionToolCallResult": 2, "content": 2});
            assert_eq!(seen["counts"], counts);
        }
    }
}

/// The default model: its answers are held to what is asked for, whatever it makes of it.
fn smollm() -> Arc<EmbeddedEngine> {
    let path = tool("model/SmolLM2-135M-Instruct.Q4_1.gguf");
    let bytes = std::fs::read(path).unwrap();
    let digest = attestation::Sha256::of(&bytes).0;
    let model = VerifiedModel::check(bytes, digest).unwrap();
    let options = EngineOptions {
        threads: 2,
        slots: 8,
        queue: 64,
        context: 2048,
        ..EngineOptions::default()
    };
    Arc::new(EmbeddedEngine::load(model, options).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_s_answers_are_what_the_helpers_expect() {
    let fleet = Fleet::start(Plan { engine: smollm(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        let asked = |more: Value| {
            let usual = json!({"seed": 5, "temperature": 0, "max_completion_tokens": 200});
            chat("Describe Ada, who is 36, as JSON.", with(usual, more))
        };
        let person = |how: &str, more| json!({"do": how, "params": asked(more), "person": true});
        let parsed = session.call(person("parse", json!({}))).await;
        assert_person(sdk, &parsed);
        let streamed = session.call(person("helper-stream", json!({"logprobs": true}))).await;
        assert_person(sdk, &streamed);
        assert_eq!(streamed["text"], parsed["text"]);
        assert_eq!(streamed["deltas"], parsed["text"]);
        for kind in ["chunk", "content.delta", "content.done", "logprobs.content.delta"] {
            assert!(streamed["kinds"][kind].as_u64().is_some_and(|count| count > 0), "{kind}");
        }
        // An answer that is cut off is told as such, not parsed.
        let cut = session.call(person("parse", json!({"max_completion_tokens": 3}))).await;
        assert_eq!(cut["error"]["class"], "LengthFinishReasonError", "{cut}");
        let object = json!({"response_format": {"type": "json_object"}});
        let object = session.call(json!({"do": "chat", "params": asked(object)})).await;
        let text = object["text"].as_str().unwrap();
        if object["finish"] == "stop" {
            assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
        }
        assert!(text.starts_with('{'), "{object}");
    }
}

/// Fails unless the answer is a person, and was made one.
fn assert_person(sdk: Sdk, seen: &Value) {
    assert!(seen["error"].is_null(), "{seen}");
    let text: Value = serde_json::from_str(seen["text"].as_str().unwrap()).unwrap();
    let expected = match sdk {
        Sdk::Python => json!(["Person", text]),
        Sdk::Node => text,
    };
    assert_eq!((&seen["parsed"], &seen["finish"]), (&expected, &json!("stop")), "{seen}");
}
