//! The unmodified `openai` package, through the proxy.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tests::{
    fleet::{Fleet, MODEL, Plan},
    script::{Script, Step},
};
use tokio::{net::TcpListener, process::Command, time::timeout};

use crate::told::{PATIENCE, PROMPT};

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_streams_and_waits_for_whole_answers() {
    let fleet = Fleet::start(Plan::default()).await;
    let seen = ask_fleet(&fleet, 2).await;
    assert_eq!(seen["models"], json!([MODEL]));
    for way in ["stream", "whole"] {
        let expected = json!({"text": PROMPT, "finish": "stop", "usage": 8, "error": null});
        assert_eq!(seen[way], expected, "{way}");
    }
    assert_eq!(seen["refused"][0], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_never_sees_a_cut_answer_as_whole() {
    let fleet = Fleet::start(Plan::default()).await;
    for (pieces, ending) in [(1, None), (3, Some(Step::Abort)), (3, None)] {
        fleet.relay.play(Script::cut_after(pieces, ending));
        let seen = ask_fleet(&fleet, 0).await;
        assert_broken(&seen, &format!("cut after {pieces} pieces"));
    }
    // Everything but the receipt's chunk: every word is there, and nothing vouches for the end.
    fleet.relay.play(Script::reframed(|framed| framed.last = None));
    let seen = ask_fleet(&fleet, 0).await;
    assert_broken(&seen, "without the last chunk");
    assert_eq!(seen["stream"]["text"], PROMPT, "what authenticated is shown as it comes");
}

fn assert_broken(seen: &Value, story: &str) {
    for way in ["stream", "whole"] {
        let seen = &seen[way];
        assert!(seen["error"].is_string(), "{story}: {way} raised nothing: {seen}");
        assert!(seen["finish"].is_null(), "{story}: {way} says that it is finished: {seen}");
        assert!(seen["usage"].is_null(), "{story}: {way} counts what is not whole: {seen}");
        assert!(PROMPT.starts_with(seen["text"].as_str().unwrap()), "{story}: {way}: {seen}");
    }
    assert_eq!(seen["whole"]["text"], "", "{story}: a part of an answer that is not streamed");
}

/// What the package shows of a fresh proxy's answers.
async fn ask_fleet(fleet: &Fleet, retries: u8) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = tokio::spawn(proxy::serve(
        listener,
        fleet.client(),
        proxy::Options::default(),
        std::future::pending(),
    ));
    let seen = ask(&url, MODEL, retries).await;
    serving.abort();
    seen
}

/// What the package shows of the answers of the proxy at `url`.
pub(crate) async fn ask(url: &str, model: &str, retries: u8) -> Value {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python");
    assert!(packages.is_dir(), "the openai package is missing; `make tools` fetches it");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/sdk.py");
    let asked = Command::new("python3")
        .arg(script)
        .args([url, model, PROMPT, &retries.to_string()])
        .env("PYTHONPATH", packages)
        .env("NO_PROXY", "*")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, asked).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
