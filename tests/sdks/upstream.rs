//! Both SDKs, through the whole stack, of a server that answers in the engine's place.
//!
//! A server of the story's own always runs; a real llama-server where `VERITEE_PEERS` has what `make peers` builds.

use std::{path::PathBuf, process::Stdio};

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Value, json};
use tests::fleet::{Fleet, MODEL, Plan, Upstream};
use tokio::{net::UnixListener, process::Command};

use crate::{Local, Sdk, chat};

/// A folder that goes when the story ends.
struct Folder(PathBuf);

impl Folder {
    fn new(story: &str) -> Self {
        let path = std::env::temp_dir().join(format!("veritee-{story}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn upstream(&self, kind: &'static str) -> Upstream {
        Upstream { kind, socket: self.0.join("s.sock"), model: self.0.join("model.gguf") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The function that the scripted server calls, in pieces that split what JSON escapes.
const ARGUMENTS: &str = r#"{"city": "Zü🦀\"}", "days": 2}"#;

/// Says a word and calls a function, in the shapes of vLLM; with a tool's result, says that instead.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a server that cannot go on fails its story"
)]
async fn scripted(Json(asked): Json<Value>) -> ([(&'static str, &'static str); 1], String) {
    assert_eq!(asked["model"], MODEL);
    let told = asked["messages"].as_array().unwrap().iter().filter(|one| one["role"] == "tool");
    let told: Vec<&str> = told.filter_map(|one| one["content"].as_str()).collect();
    let (text, finish) = if told.is_empty() { ("Well.", "tool_calls") } else { (told[0], "stop") };
    let usage = |said: usize| json!({"prompt_tokens": 9, "total_tokens": 9 + said, "completion_tokens": said});
    if asked["stream"] != true {
        let call = json!([{"id": "call_0a", "type": "function", "function": {"name": "get_sky", "arguments": ARGUMENTS}}]);
        let calls = if told.is_empty() { call } else { json!([]) };
        let message = json!({"role": "assistant", "content": text, "tool_calls": calls});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish, "stop_reason": null});
        let whole = json!({"id": "theirs", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage(4), "prompt_logprobs": null});
        return ([("content-type", "application/json")], whole.to_string());
    }
    let mut deltas = vec![json!({"role": "assistant", "content": ""}), json!({"content": text})];
    if told.is_empty() {
        let begun = json!({"id": "call_0a", "type": "function", "index": 0, "function": {"name": "get_sky", "arguments": ""}});
        deltas.push(json!({"tool_calls": [begun]}));
        deltas.extend(ARGUMENTS.chars().map(|letter| {
            json!({"tool_calls": [{"index": 0, "function": {"arguments": letter.to_string()}}]})
        }));
    }
    let said = deltas.len();
    let event = |choices: Value, said: usize| {
        let event = json!({"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices, "usage": usage(said)});
        format!("data: {event}\n\n")
    };
    let mut body = String::new();
    for (at, delta) in deltas.into_iter().enumerate() {
        body += &event(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
            at,
        );
    }
    body += &event(
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish, "stop_reason": null}]),
        said,
    );
    body += &event(json!([]), said);
    body += "data: [DONE]\n\n";
    ([("content-type", "text/event-stream; charset=utf-8")], body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scripted_server_s_calls_reach_the_helpers_of_both_sdks() {
    let folder = Folder::new("sdk-front");
    let upstream = folder.upstream("vllm");
    std::fs::write(&upstream.model, "weights").unwrap();
    let router = Router::new()
        .route("/health", get(async || ""))
        .route("/v1/chat/completions", post(scripted));
    let listener = UnixListener::bind(&upstream.socket).unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    for config in ["", "padding = \"p2\""] {
        let upstream = Some(upstream.clone());
        let fleet = Fleet::start(Plan { upstream, config, ..Plan::default() }).await;
        let proxy = Local::before(&fleet).await;
        for sdk in Sdk::ALL {
            let mut session = sdk.at(&proxy);
            let params = chat("How is it?", json!({"stream_options": {"include_usage": true}}));
            let call = json!({"do": "helper-stream", "params": params, "tools": true});
            let seen = session.call(call).await;
            assert_eq!(seen["done"], json!([[0, "get_sky", ARGUMENTS]]), "{seen}");
            assert_eq!((&seen["text"], &seen["finish"]), (&json!("Well."), &json!("tool_calls")));
            let pieces: Vec<String> = serde_json::from_value(seen["pieces"]["0"].clone()).unwrap();
            assert_eq!(pieces.concat(), ARGUMENTS);
            let said = 3 + ARGUMENTS.chars().count();
            assert_eq!(seen["usage"], json!([9, said, 9 + said]));
            let path = format!("/receipts/{}", seen["id"].as_str().unwrap());
            let receipt = session.call(json!({"do": "get", "path": path})).await;
            assert_eq!(receipt["claims"]["finish_reason"], "stop", "{receipt}");
            let results = json!({"get_sky": "Sonne 🌞.", "off": ""});
            let params = chat("How is it?", json!({}));
            let call = json!({"do": "run", "params": params, "tools": true, "results": results});
            let seen = session.call(call).await;
            assert_eq!(seen["text"], "Sonne 🌞.", "{seen}");
            assert_eq!(seen["made"], json!([["get_sky", {"city": "Zü🦀\"}", "days": 2}]]));
        }
    }
    server.abort();
}

#[expect(clippy::print_stderr, reason = "says what it did not do")]
#[tokio::test(flavor = "multi_thread")]
async fn a_real_llama_server_answers_both_sdks() {
    let program = std::env::var_os("VERITEE_PEERS").map(PathBuf::from);
    let Some(program) =
        program.map(|peers| peers.join("bin/llama-server")).filter(|program| program.exists())
    else {
        return eprintln!(
            "SKIPPED: VERITEE_PEERS has no llama-server (`make peers`): no SDK asked one"
        );
    };
    let folder = Folder::new("sdk-llama");
    let upstream = folder.upstream("llama-server");
    std::fs::write(&upstream.model, engine::tiny::model(engine::TensorType::F32)).unwrap();
    let _server = Command::new(&program)
        .arg("-m")
        .arg(&upstream.model)
        .args(["--alias", MODEL, "--no-cache-prompt", "--cache-ram", "0", "--no-slots"])
        .args(["-t", "1", "-c", "4096", "-np", "2", "--host"])
        .arg(&upstream.socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let fleet = Fleet::start(Plan { upstream: Some(upstream), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut session = sdk.at(&proxy);
        let asked = |more: Value| {
            chat(
                "Say something.",
                crate::with(json!({"seed": 5, "temperature": 0, "max_tokens": 8}), more),
            )
        };
        let whole = session.call(json!({"do": "chat", "params": asked(json!({}))})).await;
        assert!(whole["error"].is_null(), "{whole}");
        let more =
            json!({"stream": true, "stream_options": {"include_usage": true}, "logprobs": true});
        let streamed = session.call(json!({"do": "chat", "params": asked(more)})).await;
        assert!(streamed["error"].is_null(), "{streamed}");
        assert_eq!((&streamed["text"], &streamed["finish"]), (&whole["text"], &whole["finish"]));
        assert_eq!(streamed["usage"], whole["usage"]);
        assert!(streamed["usage"][1].as_u64().unwrap() > 0, "{streamed}");
        assert!(!streamed["logprobs"].as_array().unwrap().is_empty(), "{streamed}");
        let path = format!("/receipts/{}", streamed["id"].as_str().unwrap());
        let receipt = session.call(json!({"do": "get", "path": path})).await;
        assert_eq!(receipt["claims"]["finish_reason"], streamed["finish"], "{receipt}");
    }
}
