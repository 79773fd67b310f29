//! The unmodified `openai` package as a listener: one process, one proxy, and one lie after another.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tests::{
    fleet::{Fleet, MODEL, Plan, question},
    framing::{Framed, REQUEST_HEAD, RESPONSE_HEAD},
    lies::{self, ACCEPTED, Lie},
    script::Script,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::told::{PATIENCE, PROMPT, Told};

/// Of each kind of lie one or two: what the proxy writes of all of them is looked at octet by octet elsewhere.
const TOLD: [&str; 22] = [
    "ends cleanly after 1 pieces",
    "ends cleanly after 3 pieces",
    "dies after 2 pieces",
    "dies when everything has been sent",
    "no octet but the mark of the end",
    "chunk 1 twice",
    "without chunk 1",
    "chunks 1 and 2 swapped",
    "chunk 2 flipped in its tag",
    "chunk 1 of another exchange",
    "all of another exchange",
    "chunk 1 said to have the length 2^62 - 1",
    "every length in 8 octets",
    "a length that is short",
    "the answer under status 502",
    "200 text/html",
    "200 application/json",
    "200 text/event-stream",
    "a receipt in the trailers of HTTP",
    "the answer with x-veritee-verdict",
    "a body without end",
    "the request twice over",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_is_convinced_by_no_lie() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    for prompt in [PROMPT, "something else entirely, and as long as the first one was, or longer"] {
        assert_eq!(Told::by(&client, prompt).await.code(), ACCEPTED);
    }
    let whole = client::Chat { stream: false, stream_options: None, ..question(PROMPT) };
    let whole = client::Request::chat(&whole).unwrap();
    for _ in 0..2 {
        assert!(client.send(&whole).await.is_ok());
    }
    let sealed = fleet.relay.until_sealed(4).await;
    let framed = |index: usize| Framed::parse(&sealed[index].response, RESPONSE_HEAD);
    let request = Framed::parse(&sealed[0].request, REQUEST_HEAD);
    let table = |answer: &Framed, other: &Framed| {
        let mut all = lies::about_chunks(answer, other, &request);
        all.extend(lies::about_heads());
        all.extend(lies::about_requests());
        all.retain(|lie| TOLD.iter().any(|told| lie.story.starts_with(told)));
        assert!(all.len() >= 16, "only {} lies", all.len());
        all
    };
    let ways =
        [("stream", table(&framed(0), &framed(1))), ("whole", table(&framed(2), &framed(3)))];

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let options = proxy::Options::default();
    let serving = tokio::spawn(proxy::serve(listener, client, options, std::future::pending()));
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python");
    assert!(packages.is_dir(), "the openai package is missing; `make tools` fetches it");
    let mut python = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/hostile/listener.py"))
        .args([&url, MODEL, PROMPT])
        .env("PYTHONPATH", packages)
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut turn, said) = (python.stdin.take().unwrap(), python.stdout.take().unwrap());
    let mut said = BufReader::new(said).lines();
    let mut codes = Vec::new();
    for (way, lies) in ways {
        for Lie { story, script, code } in lies {
            fleet.relay.play(script);
            turn.write_all(format!("{way}\n").as_bytes()).await.unwrap();
            let seen = timeout(PATIENCE, said.next_line()).await.unwrap().unwrap().unwrap();
            let seen: Value = serde_json::from_str(&seen).unwrap();
            fleet.relay.play(Script::Honest);
            assert_told(&seen, way, &story, code);
            codes.push(code);
        }
    }
    drop(turn);
    serving.abort();
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() > 5, "few kinds of lies: {codes:?}");
}

fn assert_told(seen: &Value, way: &str, story: &str, code: &str) {
    let told = format!("{story}, {way}: {seen}");
    let text = seen["text"].as_str().unwrap();
    if code == ACCEPTED {
        assert_eq!(text, PROMPT, "{told}");
        assert!(
            seen["error"].is_null() && seen["finish"] == "stop" && seen["usage"] == 8,
            "{told}"
        );
        return;
    }
    assert!(seen["error"].is_string(), "nothing was raised: {told}");
    assert_eq!(seen["code"], code, "{told}");
    assert!(seen["finish"].is_null() && seen["usage"].is_null(), "said to be finished: {told}");
    assert!(PROMPT.starts_with(text), "out of place: {told}");
    assert!(way == "stream" || text.is_empty(), "a part of a whole: {told}");
}
