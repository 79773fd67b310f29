//! curl, whatever it is told to send.

use std::{
    process::{Output, Stdio},
    sync::Arc,
};

use proxy::Options;
use serde_json::{Value, json};
use tests::fleet::{Fleet, Plan};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{Local, PATIENCE, PROMPT, chat, engines::Endless, until};

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_and_reads_the_answer() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let body = chat(PROMPT, json!({})).to_string();
    for more in [
        &["--data", &body][..],
        &["--json", &body],
        // Asks for leave to send, as curl does for what is long.
        &["--data", &body, "--header", "Expect: 100-continue"],
        &["--data", &body, "--http1.0"],
        &["--data", &body, "--header", "Content-Type: Application/JSON ; charset=utf-8"],
        &["--data", &body, "--header", "Host: LOCALHOST:1"],
        &["--data", &body, "--header", "Host: [::1]"],
        &["--data", &body, "--header", "Authorization: Bearer x", "--user-agent", "odd"],
    ] {
        let heard = ask(&proxy, more).await;
        let answer = heard.json();
        assert_eq!(heard.status, 200, "{more:?} {heard:?}");
        assert_eq!(answer["choices"][0]["message"]["content"], PROMPT, "{more:?}");
        assert_eq!(heard.header("x-veritee-node"), Some(&*fleet.nodes[0].to_string()));
        assert_eq!(heard.header("x-veritee-verdict"), Some("accepted-untrusted-anchors"));
        assert!(heard.body.ends_with('}'), "the padding stays inside: {heard:?}");
    }
    let long = chat(&"x".repeat(60_000), json!({})).to_string();
    let heard = ask_with(&proxy, &["--data", "@-"], &long, "application/json").await;
    assert_eq!(heard.status, 200, "{heard:?}");
    // Of unknown length.
    let chunked = ["--data-binary", "@-", "--header", "Transfer-Encoding: chunked"];
    let heard = ask_with(&proxy, &chunked, &long, "application/json").await;
    assert_eq!(heard.status, 200, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_events_when_they_come_and_ends_the_generation_when_it_leaves() {
    let engine = Arc::new(Endless::new());
    let fleet = Fleet::start(Plan { engine: engine.clone(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    let body = chat(PROMPT, json!({"stream": true})).to_string();
    for version in ["--http1.1", "--http1.0"] {
        let url = format!("{}/v1/chat/completions", proxy.url);
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--no-buffer", version, "--json", &body, &url])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        // The answer has no end, so whatever comes is not held back for one.
        let mut heard = 0;
        while heard < 5 {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
            assert!(line.is_empty() || line.starts_with("data: {"), "{line}");
            heard += u32::from(line.contains("and "));
        }
        assert_eq!(engine.running(), 1);
        curl.kill().await.unwrap();
        until("the engine stops", || engine.running() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_notices_a_cut_answer() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    fleet.relay.play(tests::script::Script::cut_after(3, None));
    let body = chat(PROMPT, json!({"stream": true})).to_string();
    for version in ["--http1.1", "--http1.0"] {
        let heard = ask(&proxy, &["--no-buffer", version, "--data", &body]).await;
        assert!(!heard.body.contains("[DONE]") && !heard.body.contains("\"stop\""), "{heard:?}");
        let last = heard.body.lines().rfind(|line| !line.is_empty()).unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "response-truncated");
        if version == "--http1.1" {
            // 18: a partial file. HTTP/1.0 has no other end than the connection's; there the event alone tells.
            assert_eq!(heard.exit, 18, "{heard:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_as_the_contract_says() {
    let fleet = Fleet::start(Plan::default()).await;
    let options = Options { allowed_origins: vec!["http://localhost:3000".to_owned()] };
    let proxy = Local::start(fleet.client(), options).await;
    let body = chat(PROMPT, json!({})).to_string();
    let post = |header: &'static str| vec!["--data", &body, "--header", header];
    for (sent, status, code) in [
        (post("Content-Type: text/plain"), 415, "content-type-not-json"),
        (post("Content-Type: application/x-www-form-urlencoded"), 415, "content-type-not-json"),
        (post("Content-Type: multipart/form-data"), 415, "content-type-not-json"),
        (post("Content-Type:"), 415, "content-type-not-json"),
        (post("Content-Encoding: gzip"), 415, "content-type-not-json"),
        (post("Host: evil.example"), 403, "host-not-loopback"),
        (post("Host: 127.0.0.1.evil.example"), 403, "host-not-loopback"),
        (post("Host: localhost.evil.example:80"), 403, "host-not-loopback"),
        (post("Host: 0.0.0.0"), 403, "host-not-loopback"),
        (post("Origin: http://evil.example"), 403, "origin-not-allowed"),
        (post("Origin: null"), 403, "origin-not-allowed"),
        (post("Origin: http://localhost:3001"), 403, "origin-not-allowed"),
        (vec!["--request", "OPTIONS", "--header", "Origin: null"], 403, "origin-not-allowed"),
        (vec!["--request", "OPTIONS"], 405, "method-not-allowed"),
        (vec!["--request", "PUT", "--data", &body], 405, "method-not-allowed"),
        (vec!["--get"], 405, "method-not-allowed"),
        (vec!["--data", "{"], 400, "request-invalid"),
        (vec!["--data", "[]"], 400, "request-invalid"),
        (
            vec!["--proxy", "", "--request-target", "http://evil.example/v1/models"],
            403,
            "host-not-loopback",
        ),
    ] {
        let heard = ask(&proxy, &sent).await;
        let seen = (heard.status, heard.json()["error"]["code"].clone());
        assert_eq!(seen, (status, json!(code)), "{sent:?}");
        assert_eq!(heard.header("access-control-allow-origin"), None, "{sent:?}");
    }
    assert!(fleet.relay.sealed().is_empty(), "something was asked of an enclave");

    // Where each kind of answer has a body, HEAD has its head alone.
    let head = ask(&proxy, &["--head"]).await;
    assert_eq!((head.status, head.exit), (405, 0), "{head:?}");
    let allowed = ["--request", "OPTIONS", "--header", "Origin: http://localhost:3000"];
    let allowed = ask(&proxy, &allowed).await;
    assert_eq!(allowed.status, 204, "{allowed:?}");
    let origin = allowed.header("access-control-allow-origin");
    assert_eq!(origin, Some("http://localhost:3000"));

    let long = "x".repeat(3 << 20);
    let long = ask_with(&proxy, &["--data-binary", "@-"], &long, "application/json").await;
    assert_eq!((long.status, &long.json()["error"]["code"]), (413, &json!("request-too-large")));
}

/// What curl heard.
#[derive(Debug)]
struct Heard {
    exit: i32,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Heard {
    fn read(output: &Output) -> Self {
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        let mut rest = said.as_str();
        // Of several heads, of an interim response say, the last is the answer's.
        let head = loop {
            let Some((head, after)) = rest.split_once("\r\n\r\n") else {
                panic!("no answer: {said:?} {}", String::from_utf8_lossy(&output.stderr));
            };
            rest = after;
            if !rest.starts_with("HTTP/") {
                break head;
            }
        };
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            exit: output.status.code().unwrap(),
            status,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: rest.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(have, _)| have == name);
        header.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// What it hears of a chat completion asked for with `more` options.
async fn ask(proxy: &Local, more: &[&str]) -> Heard {
    ask_with(proxy, more, "", "application/json").await
}

async fn ask_with(proxy: &Local, more: &[&str], input: &str, media: &str) -> Heard {
    let url = format!("{}/v1/chat/completions", proxy.url);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "30"]);
    // A header that is given is not given again.
    let typed = more.iter().any(|option| option.starts_with("Content-Type") || *option == "--json");
    if !typed && more.iter().any(|option| option.starts_with("--data")) {
        curl.args(["--header", &format!("Content-Type: {media}")]);
    }
    let mut child = curl
        .args(more)
        .arg(&url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = tokio::spawn(async move {
        // It may have its answer before it has read everything.
        stdin.write_all(input.as_bytes()).await.ok();
    });
    let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    writing.await.unwrap();
    Heard::read(&output)
}
