//! A server of the same machine behind the seal: one of the test's own, and a real llama-server where there is one.
//!
//! `VERITEE_PEERS` is the folder that `make peers` fills; where it is not, the second story says so.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use attestation::receipt::{FinishReason, Usage};
use attestation::{Sha256, UnixTime};
use axum::Json;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use enclave::files::VerifiedFiles;
use enclave::{Boot, Clock, Config, Serving};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::{NOW, Peer, platform, user};

/// An enclave before a server at `socket`, whose model is `model`, with `top` before the tables and `end` after them.
pub(crate) async fn before(
    kind: &str,
    socket: &Path,
    model: &Path,
    top: &str,
    end: &str,
) -> (Serving, JoinHandle<()>) {
    let sha256 = Sha256::of(&std::fs::read(model).unwrap());
    let (socket, path) = (socket.display(), model.display());
    let text = format!(
        "{top}\n[platform]\nkind = \"socket\"\npath = \"unused\"\n[model]\npath = \"{path}\"\nsha256 = \"{sha256}\"\nnames = [\"echo-1\"]\n[upstream]\nkind = \"{kind}\"\naddress = \"unix:{socket}\"\nmodel = \"served\"\n{end}\n"
    );
    let config = Config::parse(&text).unwrap();
    let files = VerifiedFiles::read(&config.model, Path::new("")).unwrap();
    let boot = Boot::new(config, Clock::new(|| UnixTime::from_secs(NOW)));
    let keyed = boot.make_keys(Box::new(platform), None).unwrap();
    let serving = keyed.front(&files).unwrap().attest().await.unwrap();
    let running = serving.clone();
    (serving, tokio::spawn(async move { running.run().await }))
}

pub(crate) fn folder(story: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("veritee-{story}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) async fn until_ready(serving: &Serving, ready: bool) {
    for _ in 0..600 {
        if (crate::support::get(serving, "/readyz").await.status() == 200) == ready {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the server did not become so");
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[tokio::test]
async fn a_server_answers_behind_the_seal_and_only_what_it_may_be_asked() {
    let folder = folder("front");
    let (socket, model) = (folder.join("s"), folder.join("model"));
    std::fs::write(&model, "weights").unwrap();
    let (serving, watching) = before("vllm", &socket, &model, "", "").await;
    let peer = Peer::of(&serving).await;
    let answer = peer.ask(&serving, &user("hi", "")).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (503, Some("engine_unavailable"))
    );
    assert_eq!(answer.fields.only("retry-after").unwrap(), Some(&b"1"[..]));

    let (heard, mut requests) = mpsc::unbounded_channel();
    let chat = move |Json(asked): Json<Value>| async move {
        let broken = asked["seed"] == 1;
        heard.send(asked).unwrap();
        let chunk = |choices: Value, usage: Value| {
            let event = json!({"id": "theirs", "object": "chat.completion.chunk", "model": "served", "choices": choices, "usage": usage});
            format!("data: {event}\n\n")
        };
        let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        let mut body = chunk(
            json!([{"index": 0, "delta": call, "logprobs": {"content": []}, "finish_reason": null}]),
            Value::Null,
        );
        if !broken {
            body += &chunk(
                json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
                Value::Null,
            );
            body += &chunk(
                json!([]),
                json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
            );
            body += "data: [DONE]\n\n";
        }
        ([("content-type", "text/event-stream")], body).into_response()
    };
    let router = axum::Router::new()
        .route("/health", get(async || ""))
        .route("/v1/chat/completions", post(chat));
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    until_ready(&serving, true).await;

    let answer = peer.ask(&serving, &user("hi", r#","stream":true"#)).await;
    let events = answer.chunks_json();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"], "f");
    assert_eq!(events[0]["model"], "echo-1");
    assert!(events[0]["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer.receipt.finish, FinishReason::Stop);
    assert_eq!(answer.receipt.usage, Usage { prompt: 3, completion: 4, cached: 0 });
    let asked = requests.recv().await.unwrap();
    assert_eq!(
        (asked["model"].as_str(), asked["cache_salt"].as_str().map(str::len)),
        (Some("served"), Some(64))
    );

    // What breaks off in the middle says so inside the seal.
    let answer = peer.ask(&serving, &user("hi", r#","stream":true,"seed":1"#)).await;
    assert_eq!(answer.receipt.finish, FinishReason::Aborted);
    assert!(answer.events().last().unwrap().contains("engine_failed"));
    assert_eq!(answer.receipt.usage, Usage { prompt: 0, completion: 1, cached: 0 });
    requests.recv().await.unwrap();

    // What names caches, slots and other requests is refused by name, and nothing of theirs is asked for.
    for field in [
        "cache_salt",
        "cache_prompt",
        "id_slot",
        "slot_id",
        "priority",
        "kv_transfer_params",
        "request_id",
        "rid",
        "extra_key",
    ] {
        let answer = peer.ask(&serving, &user("hi", &format!(r#","{field}":1"#))).await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(field)));
    }
    for path in [
        "/slots",
        "/props",
        "/metrics",
        "/health",
        "/lora-adapters",
        "/models/load",
        "/tools",
        "/infill",
        "/v1/load_lora_adapter",
        "/reset_prefix_cache",
        "/sleep",
        "/collective_rpc",
        "/flush_cache",
        "/update_weights_from_disk",
        "/get_server_info",
        "/v1/chat/completions/control",
    ] {
        let mut request = peer.chat(&user("hi", ""));
        request.path = path.to_owned();
        let sealed = peer.seal(&request);
        let response = crate::support::post(&serving, sealed.body.clone()).await;
        let answer = peer.open(sealed, &crate::support::collect(response).await);
        assert_eq!(answer.status, 404, "{path}");
    }
    assert!(requests.try_recv().is_err(), "the server heard of it");

    server.abort();
    std::fs::remove_file(&socket).unwrap();
    until_ready(&serving, false).await;
    watching.abort();
    std::fs::remove_dir_all(folder).unwrap();
}

/// A program that ends with the story.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[expect(clippy::print_stderr, reason = "says what it did not do")]
#[tokio::test]
async fn llama_server_answers_dies_and_comes_back() {
    let Some(program) = std::env::var_os("VERITEE_PEERS")
        .map(|peers| PathBuf::from(peers).join("bin/llama-server"))
        .filter(|program| program.exists())
    else {
        return eprintln!("VERITEE_PEERS has no llama-server: nothing was asked of one");
    };
    let folder = folder("llama");
    let (socket, model) = (folder.join("l.sock"), folder.join("tiny.gguf"));
    std::fs::write(&model, engine::tiny::model(engine::TensorType::F32)).unwrap();
    let start = || {
        drop(std::fs::remove_file(&socket));
        let mut command = Command::new(&program);
        command
            .arg("-m")
            .arg(&model)
            .args([
                "--alias",
                "served",
                "--no-cache-prompt",
                "--cache-ram",
                "0",
                "--no-slots",
                "-t",
                "1",
                "-c",
                "4096",
                "-np",
                "2",
                "--host",
            ])
            .arg(&socket);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let (serving, watching) = before("llama-server", &socket, &model, "", "").await;
    let peer = Peer::of(&serving).await;
    for _ in 0..2 {
        let running = start();
        until_ready(&serving, true).await;
        let json = user(
            "hello",
            r#","max_tokens":6,"temperature":0,"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2"#,
        );
        let answer = peer.ask(&serving, &json).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.content));
        let events = answer.chunks_json();
        let told = events.iter().filter(|event| {
            event["choices"][0]["logprobs"]["content"][0]["top_logprobs"].is_array()
        });
        assert!(told.count() > 0, "{events:?}");
        let usage = &events.last().unwrap()["usage"];
        assert_eq!(usage["completion_tokens"], answer.receipt.usage.completion);
        assert!(answer.receipt.usage.prompt > 0 && answer.receipt.usage.completion > 0);
        let answer = peer.ask(&serving, &user("hello", r#","max_tokens":6,"stream":true"#)).await;
        assert!(answer.chunks_json().iter().all(|event| event.get("usage").is_none()));
        let answer = peer.ask(&serving, &user("hello", r#","max_tokens":6"#)).await;
        assert_eq!(answer.json()["usage"]["prompt_tokens"], answer.receipt.usage.prompt);
        // Killed in the middle of an answer: a sealed error, and then one that says when to come back.
        let sealed = peer.seal_chat(&user(
            "hello",
            r#","max_tokens":3900,"temperature":0,"stream":true,"logit_bias":{"2":-100}"#,
        ));
        let response = crate::support::post(&serving, sealed.body.clone()).await;
        drop(running);
        let broken = peer.open(sealed, &crate::support::collect(response).await);
        assert!(
            matches!(broken.receipt.finish, FinishReason::Aborted | FinishReason::Error),
            "{:?}",
            broken.receipt.finish
        );
        let said = broken.events().iter().filter(|event| event.contains("\"content\"")).count();
        let counted = usize::try_from(broken.receipt.usage.completion).unwrap();
        assert!(counted >= said.saturating_sub(1), "{counted} tokens counted in {said} events");
        assert!(said < 2 || broken.receipt.usage.prompt > 0);
        until_ready(&serving, false).await;
        assert_eq!(peer.ask(&serving, &user("hi", "")).await.status, 503);
    }
    watching.abort();
    std::fs::remove_dir_all(folder).unwrap();
}
