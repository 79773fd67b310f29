//! A server that says what none should: the answer fails, and nothing grows or hangs.

use std::time::Duration;

use attestation::Secret;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use upstream::{Failure, Kind, Reply, Settings, Tokens, Upstream};

use crate::{CALL, COUNTS, END, Server, all, question, streamed};

/// Says these octets to a question that wants a stream or not, and hears how it ends.
async fn told(octets: &[u8], stream: bool) -> Failure {
    let (server, upstream) = Server::new(Kind::Vllm).await;
    server.well(&upstream).await;
    let say = async {
        let mut asked = server.next().await;
        // Who has heard enough hangs up.
        drop(asked.stream.write_all(octets).await);
        drop(asked.stream.shutdown().await);
    };
    let hear = async {
        match upstream.ask(question(&json!({"stream": stream}), 1)).await {
            Ok(Reply::Events(mut events)) => loop {
                match events.next().await {
                    Ok(event) => assert!(event.is_some(), "an end"),
                    Err(failure) => break failure,
                }
            },
            Ok(Reply::Whole(_)) => panic!("an answer"),
            Err(failure) => failure,
        }
    };
    tokio::join!(hear, say).0
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

#[tokio::test]
async fn what_no_server_says_breaks_the_answer() {
    let endless = [EVENTS.as_bytes(), b"data: ", &vec![b'x'; 3 << 20]].concat();
    let many = "data: x\n".repeat(1 << 18);
    let giant = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    let big = [JSON.as_bytes(), &vec![b' '; 17 << 20]].concat();
    let wide = format!(
        "{EVENTS}data: {{{}}}\n\n",
        (0..99).map(|i| format!("\"{i}\":0,")).collect::<String>()
    );
    let (open, close) = ("[".repeat(1 << 18), "]".repeat(1 << 18));
    let deep = format!(
        "{EVENTS}data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{open}{close}]}}}}]}}

"
    );
    let twice = format!("{EVENTS}data: {{\"choices\":[],\"choices\":[]}}\n\n");
    let cases: [(&[u8], bool); 15] = [
        (&endless, true),
        (&[EVENTS.as_bytes(), many.as_bytes()].concat(), true),
        (giant.as_bytes(), true),
        (fields.as_bytes(), true),
        (&big, false),
        (wide.as_bytes(), true),
        (deep.as_bytes(), true),
        (twice.as_bytes(), true),
        (&[EVENTS.as_bytes(), b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n"].concat(), true),
        (&[JSON.as_bytes(), b"{\"choices\":[{\"finish_reason\":\"stop\",\"message\":\"\xff\"}]}"].concat(), false),
        // Of another kind than was asked for.
        (EVENTS.as_bytes(), false),
        (JSON.as_bytes(), true),
        (b"SSH-2.0-x\r\n", true),
        (b"", true),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", true),
    ];
    for (octets, stream) in cases {
        let shown = String::from_utf8_lossy(&octets[..octets.len().min(120)]);
        assert_eq!(told(octets, stream).await, Failure::Broken, "{shown}");
    }
}

#[tokio::test]
async fn a_whole_answer_without_counts_or_end_is_none() {
    for json in [
        r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#,
        r#"{"choices":[{"index":0,"finish_reason":"stop"}],"usage":null}"#,
        r#"{"choices":[{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":-1}}"#,
        r#"{"choices":[{"index":0,"finish_reason":null}],"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[{"index":0,"finish_reason":"abort"}],"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
    ] {
        assert_eq!(
            told(format!("{JSON}{json}").as_bytes(), false).await,
            Failure::Broken,
            "{json}"
        );
    }
}

#[tokio::test]
async fn choices_that_nobody_asked_for_break_the_answer() {
    let other = CALL.replace("\"index\":0,\"delta\"", "\"index\":1,\"delta\"");
    let said = streamed(json!({}), &[&other, END, COUNTS, "[DONE]"]).await;
    assert_eq!(said.err(), Some(Failure::Broken));
    let said = streamed(json!({"n": 2}), &[&other, END, COUNTS, "[DONE]"]).await;
    assert_eq!(said.err(), Some(Failure::Broken), "one has no end");
}

#[tokio::test]
async fn counts_of_one_choice_are_not_those_of_two() {
    let counted = END.replace(r#""kv_transfer"#, r#""usage":{"prompt_tokens":3},"kv_transfer"#);
    let other = END.replace("\"index\":0,\"delta\"", "\"index\":1,\"delta\"");
    let said = streamed(json!({"n": 2}), &[&counted, &other, "[DONE]"]).await;
    assert_eq!(said.err(), Some(Failure::Broken));
}

/// So llama-server 11434 counts: each choice by itself, in a chat's own event or at a completion's end.
#[tokio::test]
async fn counts_of_each_choice_are_added() {
    let usage = |tokens: u32| json!({"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": 3 + tokens});
    let event = |choices: Value, usage: Value| {
        json!({"object": "o", "choices": choices, "usage": usage}).to_string()
    };
    let end = |index: u32| json!([{"index": index, "delta": {}, "finish_reason": "stop"}]);
    let none = Value::Null;
    for script in [
        [
            event(end(0), none.clone()),
            event(json!([]), usage(4)),
            event(end(1), none),
            event(json!([]), usage(5)),
        ],
        [event(end(0), usage(1)), event(end(0), usage(4)), event(end(1), usage(5)), String::new()],
    ] {
        // The second script's first event is no end yet.
        let first =
            script[0].replace("\"stop\"", if script[3].is_empty() { "null" } else { "\"stop\"" });
        let mut said: Vec<&str> = vec![&first];
        said.extend(script[1..].iter().map(String::as_str).filter(|event| !event.is_empty()));
        said.push("[DONE]");
        let asked = json!({"n": 2, "stream_options": {"include_usage": true}});
        let (said, events) = streamed(asked, &said).await.unwrap();
        let tokens = Tokens { prompt: 3, completion: 9, cached: 0 };
        assert_eq!(events.end().unwrap().tokens, tokens);
        let shown = said.last().unwrap();
        assert_eq!((&shown["choices"], &shown["object"]), (&json!([]), &json!("o")));
        assert_eq!(shown["usage"]["completion_tokens"], 9);
        assert_eq!(shown["usage"]["total_tokens"], 12);
    }
}

#[tokio::test]
async fn llama_servers_own_counts_are_asked_for_and_not_shown() {
    let (server, upstream) = Server::new(Kind::LlamaServer).await;
    server.well(&upstream).await;
    let event = r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"timings":{"cache_n":1,"prompt_n":6,"predicted_n":2}}"#;
    let say = async {
        let mut asked = server.next().await;
        asked.events(&[event]).await;
        asked.body
    };
    let (reply, body) = tokio::join!(upstream.ask(question(&json!({"stream": true}), 1)), say);
    assert_eq!(body["timings_per_token"], true);
    let Ok(Reply::Events(mut events)) = reply else { panic!("no stream") };
    let said: Value = serde_json::from_slice(&events.next().await.unwrap().unwrap()).unwrap();
    assert!(said.get("timings").is_none(), "{said}");
    assert_eq!(events.next().await.unwrap_err(), Failure::Broken);
    assert_eq!(events.tokens(), Tokens { prompt: 7, completion: 2, cached: 1 });
}

/// A server that listens, and whose patience with us is tried: its client's runs out.
#[tokio::test]
async fn each_wait_has_its_end() {
    let short = Duration::from_millis(200);
    let long = Duration::from_mins(1);
    let (server, _) = Server::new(Kind::Vllm).await;
    let settings = |first, idle, answer| Settings {
        kind: Kind::Vllm,
        address: server.0.local_addr().unwrap().to_string().parse().unwrap(),
        model: "served".to_owned(),
        connect: long,
        first,
        idle,
        answer,
    };
    let secret = Secret::new([7; 32]);
    for (settings, stream, said) in [
        // Nothing at all, a head alone, a comment alone: there was no first event.
        (settings(short, long, long), true, ""),
        (settings(short, long, long), true, EVENTS),
        (settings(short, long, long), true, &*format!("{EVENTS}: ping\n\n")),
        // An event, and then silence.
        (settings(long, short, long), true, &*format!("{EVENTS}data: {CALL}\n\n")),
        (settings(long, long, short), true, &*format!("{EVENTS}data: {CALL}\n\n")),
        // Half of an object.
        (settings(long, long, short), false, &*format!("{JSON}{{")),
    ] {
        let upstream = Upstream::new(settings, &secret);
        server.well(&upstream).await;
        let say = async {
            let mut asked = server.next().await;
            asked.stream.write_all(said.as_bytes()).await.unwrap();
            asked
        };
        let hear = async {
            match upstream.ask(question(&json!({"stream": stream}), 1)).await {
                Ok(Reply::Events(mut events)) => all(&mut events).await.unwrap_err(),
                Ok(Reply::Whole(_)) => panic!("an answer"),
                Err(failure) => failure,
            }
        };
        let (failure, asked) = tokio::join!(hear, say);
        assert_eq!(failure, Failure::TimedOut, "{said}");
        drop(asked);
    }
}

/// A server that lives and no longer accepts: the system queues a few connections for it, and lets the next ones wait.
#[tokio::test]
async fn who_does_not_accept_is_given_up_when_the_time_for_a_connection_is_over() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = Server(socket.listen(1).unwrap());
    let address = server.0.local_addr().unwrap();
    let settings = Settings {
        kind: Kind::Vllm,
        address: address.to_string().parse().unwrap(),
        model: "served".to_owned(),
        connect: Duration::from_millis(500),
        first: Duration::from_secs(8),
        idle: Duration::from_secs(8),
        answer: Duration::from_secs(8),
    };
    let upstream = Upstream::new(settings, &Secret::new([7; 32]));
    server.well(&upstream).await;
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        queued.push(connected.unwrap());
        assert!(queued.len() < 100, "the queue has no end, so nobody waits");
    }
    for stream in [true, false] {
        let failure = upstream.ask(question(&json!({"stream": stream}), 1)).await.unwrap_err();
        // It was never asked: another one may be.
        assert_eq!(failure, Failure::Unreachable);
    }
}

#[tokio::test]
async fn another_boot_has_other_salts() {
    let mut salts = Vec::new();
    for secret in [7, 7, 8] {
        let (server, _) = Server::new(Kind::Sglang).await;
        let settings = Settings {
            kind: Kind::Sglang,
            address: server.0.local_addr().unwrap().to_string().parse().unwrap(),
            model: "served".to_owned(),
            connect: Duration::from_secs(5),
            first: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            answer: Duration::from_secs(20),
        };
        let upstream = Upstream::new(settings, &Secret::new([secret; 32]));
        server.well(&upstream).await;
        let hear = async {
            let mut asked = server.next().await;
            asked.say(500, "text/plain", "").await;
            asked.body["cache_salt"].as_str().unwrap().to_owned()
        };
        let (_, salt) = tokio::join!(upstream.ask(question(&json!({}), 1)), hear);
        salts.push(salt);
    }
    assert_eq!(salts[0], salts[1]);
    assert_ne!(salts[0], salts[2]);
}
