//! A server of the test's own, which says what vLLM, `SGLang` and llama-server say.
//!
//! The events here are made up, in the shapes of those projects' protocol definitions; `recorded` has
//! the shapes of what was seen on the wire, `hostile` what none of them says.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::format_collect,
    reason = "a test that cannot go on fails"
)]

mod hostile;
mod recorded;

use std::time::Duration;

use attestation::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use upstream::{
    Events, Failure, Finish, Kind, Names, Question, Reply, Route, Settings, Tokens, Upstream,
};

/// What came in one request: its first line and its body.
struct Asked {
    line: String,
    body: Value,
    stream: TcpStream,
}

struct Server(TcpListener);

impl Server {
    async fn new(kind: Kind) -> (Self, Upstream) {
        Self::with(kind, Duration::from_secs(20)).await
    }

    /// For whose answers there is so much time.
    async fn with(kind: Kind, answer: Duration) -> (Self, Upstream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            kind,
            address: listener.local_addr().unwrap().to_string().parse().unwrap(),
            model: "served".to_owned(),
            connect: Duration::from_secs(5),
            first: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            answer,
        };
        (Self(listener), Upstream::new(settings, &Secret::new([7; 32])))
    }

    async fn next(&self) -> Asked {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut octets = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&octets).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let len = head.lines().find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if body.len() >= len.unwrap_or(0) {
                    let line = head.lines().next().unwrap().to_owned();
                    let body = serde_json::from_str(body).unwrap_or_default();
                    return Asked { line, body, stream };
                }
            }
            assert!(stream.read_buf(&mut octets).await.unwrap() > 0);
        }
    }

    /// Says that it is well, until that is known.
    async fn well(&self, upstream: &Upstream) {
        let watch = upstream.watch(drop);
        let say = async {
            let mut asked = self.next().await;
            assert_eq!(asked.line, "GET /health HTTP/1.1");
            asked.say(200, "text/plain", "").await;
            drop(asked);
            while !upstream.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = watch => {}, () = say => {} }
    }
}

impl Asked {
    async fn say(&mut self, status: u16, media: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {media}\r\nretry-after: 9\r\nconnection: close\r\n\r\n{body}"
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    async fn events(&mut self, events: &[&str]) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        self.say(200, "text/event-stream; charset=utf-8", &body).await;
    }
}

fn question(more: &Value, tenant: u8) -> Question {
    let mut body = json!({"model": "asked", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    Question {
        route: Route::Chat,
        body: Secret::new(serde_json::to_vec(&body).unwrap()),
        tenant: [tenant; 32],
        stream: more["stream"] == true,
        usage: more["stream_options"]["include_usage"] == true,
        choices: u32::try_from(more["n"].as_u64().unwrap_or(1)).unwrap(),
        names: Names {
            id: "ours".into(),
            model: "asked".into(),
            created: 5,
            fingerprint: "fp_x".into(),
        },
    }
}

async fn all(events: &mut Events) -> Result<Vec<Value>, Failure> {
    let mut said = Vec::new();
    while let Some(event) = events.next().await? {
        said.push(serde_json::from_slice(&event).unwrap());
    }
    Ok(said)
}

async fn streamed(more: Value, script: &[&str]) -> Result<(Vec<Value>, Events), Failure> {
    let (server, upstream) = Server::new(Kind::Vllm).await;
    server.well(&upstream).await;
    let mut more = more;
    more["stream"] = json!(true);
    let say = async {
        let mut asked = server.next().await;
        let options = json!({"include_usage": true, "continuous_usage_stats": true});
        assert_eq!(asked.body["stream_options"], options);
        asked.events(script).await;
    };
    let (reply, ()) = tokio::join!(upstream.ask(question(&more, 1)), say);
    let Reply::Events(mut events) = reply? else { panic!("no stream") };
    Ok((all(&mut events).await?, *events))
}

const CALL: &str = r#"{"id":"theirs","object":"chat.completion.chunk","created":1,"model":"served","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]},"logprobs":{"content":[{"token":"x","logprob":-1.50,"bytes":[120],"top_logprobs":[]}]},"finish_reason":null}],"vendor":{"k":1.50}}"#;
const END: &str = r#"{"id":"theirs","object":"chat.completion.chunk","created":1,"model":"served","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"kv_transfer_params":{"host":"10.0.0.1"}}"#;
const COUNTS: &str = r#"{"id":"theirs","object":"chat.completion.chunk","created":1,"model":"served","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}}"#;

#[tokio::test]
async fn calls_likelihoods_and_unknown_members_pass_and_names_do_not() {
    let (said, events) = streamed(json!({}), &[CALL, END, COUNTS, "[DONE]"]).await.unwrap();
    let mut expected: Value = serde_json::from_str(CALL).unwrap();
    for (key, value) in [
        ("id", json!("ours")),
        ("model", json!("asked")),
        ("created", json!(5)),
        ("system_fingerprint", json!("fp_x")),
    ] {
        expected[key] = value;
    }
    assert_eq!(said[0], expected);
    // Nobody asked for counts: two events, and none of them counts. They are known all the same.
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|event| event.get("usage").is_none()));
    assert!(said[1].get("kv_transfer_params").is_none());
    let end = events.end().unwrap();
    assert_eq!(
        (end.finish, end.tokens),
        (Finish::Stop, Tokens { prompt: 3, completion: 4, cached: 2 })
    );
    let asked = json!({"stream_options": {"include_usage": true}});
    let (said, _) = streamed(asked, &[CALL, END, COUNTS, "[DONE]"]).await.unwrap();
    assert_eq!(said[2]["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn counts_in_the_last_choice_become_an_event_where_they_were_asked_for() {
    let last = END.replace(
        r#""kv_transfer"#,
        r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"kv_transfer"#,
    );
    let (said, _) = streamed(json!({}), &[&last, "[DONE]"]).await.unwrap();
    assert_eq!((said.len(), said[0].get("usage")), (1, None));
    let asked = json!({"stream_options": {"include_usage": true}});
    let (said, _) = streamed(asked, &[&last, "[DONE]"]).await.unwrap();
    assert_eq!((said.len(), said[0].get("usage")), (2, None));
    assert_eq!((&said[1]["choices"], &said[1]["usage"]["total_tokens"]), (&json!([]), &json!(3)));
}

#[tokio::test]
async fn what_breaks_off_has_no_end() {
    let abort = END.replace("tool_calls\"}", "abort\"}");
    for script in [
        &[CALL, END, COUNTS][..],
        &[CALL, END, "[DONE]"],
        &[CALL, COUNTS, "[DONE]"],
        &[CALL, END, END, COUNTS, "[DONE]"],
        &[CALL, &abort, COUNTS, "[DONE]"],
        &[CALL, r#"{"error":{"message":"/opt/vllm"}}"#, "[DONE]"],
        &[CALL, "nonsense", END, COUNTS, "[DONE]"],
    ] {
        assert_eq!(streamed(json!({}), script).await.err(), Some(Failure::Broken), "{script:?}");
    }
}

#[tokio::test]
async fn ends_of_choices_come_after_all_text_in_their_order() {
    let second = END
        .replace("\"index\":0,\"delta\":{}", "\"index\":1,\"delta\":{}")
        .replace("\"tool_calls\"}", "\"length\"}");
    let (said, events) =
        streamed(json!({"n": 2}), &[&second, CALL, END, COUNTS, "[DONE]"]).await.unwrap();
    let ends: Vec<_> =
        said.iter().map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(ends, [None, Some("tool_calls"), Some("length")]);
    assert_eq!(events.end().unwrap().finish, Finish::Stop);
}

#[tokio::test]
async fn tenants_have_salts_of_their_own_and_no_client_has_a_say() {
    let theirs = json!({"cache_salt": "theirs", "cache_prompt": true, "id_slot": 1, "slot_id": 1, "priority": 9,
        "kv_transfer_params": {}, "request_id": "r", "rid": "r", "extra_key": "k", "user": "u", "temperature": 0.5});
    for kind in [Kind::Vllm, Kind::Sglang, Kind::LlamaServer] {
        let (server, upstream) = Server::new(kind).await;
        server.well(&upstream).await;
        let mut salts = Vec::new();
        for tenant in [1, 1, 2] {
            let hear = async {
                let mut asked = server.next().await;
                asked.say(500, "text/plain", "").await;
                (asked.line.clone(), asked.body.clone())
            };
            let (reply, (line, body)) = tokio::join!(upstream.ask(question(&theirs, tenant)), hear);
            assert_eq!(reply.unwrap_err(), Failure::Broken);
            assert_eq!(line, "POST /v1/chat/completions HTTP/1.1");
            let mut keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            let set = if kind == Kind::LlamaServer { "cache_prompt" } else { "cache_salt" };
            assert_eq!(keys, [set, "messages", "model", "stream", "temperature"], "{kind:?}");
            assert_eq!(body["model"], "served");
            salts.push(body[set].clone());
        }
        if kind == Kind::LlamaServer {
            assert_eq!(salts[0], json!(false));
        } else {
            assert_eq!(salts[0], salts[1]);
            assert_ne!(salts[0], salts[2]);
            assert_eq!(salts[0].as_str().unwrap().len(), 64);
        }
    }
}

#[tokio::test]
async fn who_leaves_closes_the_connection() {
    let (server, upstream) = Server::new(Kind::Vllm).await;
    server.well(&upstream).await;
    let say = async {
        let mut asked = server.next().await;
        asked.events(&[CALL]).await;
        asked
    };
    let (reply, mut asked) = tokio::join!(upstream.ask(question(&json!({"stream": true}), 1)), say);
    drop(reply.unwrap());
    let left = asked.stream.read(&mut [0; 1]).await;
    assert!(matches!(left, Ok(0) | Err(_)), "{left:?}");
}

#[tokio::test]
async fn refusals_keep_their_meaning() {
    for (status, expected) in [
        (429, Failure::Busy { status: 429, retry_after: 9 }),
        (503, Failure::Busy { status: 503, retry_after: 9 }),
        (400, Failure::Refused { param: None }),
        (404, Failure::Broken),
        (500, Failure::Broken),
    ] {
        let (server, upstream) = Server::new(Kind::Vllm).await;
        assert_eq!(upstream.ask(question(&json!({}), 1)).await.unwrap_err(), Failure::Unreachable);
        server.well(&upstream).await;
        let say = async { server.next().await.say(status, "application/json", "{}").await };
        let (reply, ()) = tokio::join!(upstream.ask(question(&json!({}), 1)), say);
        assert_eq!(reply.unwrap_err(), expected, "{status}");
    }
}

#[tokio::test]
async fn an_answer_has_a_deadline_however_much_is_said() {
    let (server, upstream) = Server::with(Kind::Vllm, Duration::from_millis(300)).await;
    server.well(&upstream).await;
    let say = async {
        let mut asked = server.next().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        asked.stream.write_all(head.as_bytes()).await.unwrap();
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        // Never long silent, and never at its end.
        while asked.stream.write_all(event.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let read = async {
        let Reply::Events(mut events) =
            upstream.ask(question(&json!({"stream": true}), 1)).await.unwrap()
        else {
            panic!("no stream")
        };
        all(&mut events).await
    };
    let (read, ()) = tokio::join!(read, say);
    assert_eq!(read.unwrap_err(), Failure::TimedOut);
}
