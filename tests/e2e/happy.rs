//! Everybody is honest.

use std::time::Duration;

use attestation::UnixTime;
use client::{Answer, Chat, Request};
use tests::{
    fleet::{Fleet, MODEL, Plan, question},
    framing::{Framed, RESPONSE_HEAD},
};

use crate::{
    logs::Logs,
    told::{PROMPT, Told},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_arrives_whole_with_its_receipt() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    let told = Told::by(&client, PROMPT).await;
    assert_eq!(told.code(), "accepted");
    assert_eq!(told.text, PROMPT);
    assert!(told.finished);
    assert_eq!(client.verdict(), "accepted-untrusted-anchors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_arrives_with_its_receipt() {
    let fleet = Fleet::start(Plan::default()).await;
    let chat = Chat { stream: false, stream_options: None, ..question(PROMPT) };
    let Answer::Whole(answer) = fleet.client().send(&Request::chat(&chat).unwrap()).await.unwrap()
    else {
        panic!("not whole");
    };
    assert_eq!(answer.status(), 200);
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], PROMPT);
    assert_eq!(answer.closing().node_id(), fleet.nodes[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_many_enclaves() {
    let fleet = Fleet::start(Plan::default().with_enclaves(3)).await;
    let client = fleet.client();
    assert_eq!(client.enclaves().await.unwrap().len(), 3);
    assert_eq!(client.models().await.unwrap(), [MODEL]);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..24 {
        let client = client.clone();
        tasks.spawn(async move {
            let prompt = format!("{number}: {PROMPT}");
            let told = Told::by(&client, &prompt).await;
            assert_eq!(told.text, prompt);
            assert_eq!(told.code(), "accepted");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// What the operator can measure: one size of request, one size of cell, one size of end (docs/protocol.md §5.4, §5.7).
#[tokio::test(flavor = "multi_thread")]
async fn sizes_on_the_wire_say_little() {
    for config in ["padding = \"p1\"", "padding = \"p2\""] {
        let plan = Plan { config, ..Plan::default().with_echo(6, Duration::from_millis(5)) };
        let fleet = Fleet::start(plan).await;
        let client = fleet.client();
        for prompt in ["yes", PROMPT] {
            let told = Told::by(&client, prompt).await;
            assert_eq!((told.code(), told.text.as_str()), ("accepted", prompt), "{config}");
        }
        let sealed = fleet.relay.until_sealed(2).await;
        assert_eq!(
            sealed[0].request.len(),
            sealed[1].request.len(),
            "{config}: requests of one bucket"
        );
        let [short, long] =
            [0, 1].map(|index| Framed::parse(&sealed[index].response, RESPONSE_HEAD));
        for chunk in short.chunks.iter().chain(&long.chunks) {
            assert_eq!(chunk.len(), 512 + 16, "{config}: a cell and its tag");
        }
        assert_eq!(
            short.last.map(|last| last.len()),
            long.last.map(|last| last.len()),
            "{config}: the end"
        );
    }
}

/// Requests and answers are ciphertext on the operator's side, and logs of every level hold neither.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_holds_the_prompt_or_the_answer() {
    let logs = Logs::capture();
    let canary = "canary-7f3d1c55e0a94b21";
    let fleet = Fleet::start(Plan::default()).await;
    let told = Told::by(&fleet.client(), canary).await;
    assert_eq!(told.text, canary);
    // A request that is refused inside, too.
    let chat = Chat { temperature: Some(99.0), ..question(canary) };
    assert!(fleet.client().chat(&chat).await.is_err());

    tracing::info!("the control: this is logged");
    let logged = logs.text();
    assert!(logged.contains("the control: this is logged"));
    assert!(logged.contains("/v1/nodes/{id}/ohttp"), "the router logs");
    assert!(logged.lines().filter(|line| line.contains("enclave")).count() > 0, "the enclave logs");
    assert!(!logged.contains("canary"), "the prompt is in a log");
    for exchange in fleet.relay.carried() {
        for body in [&exchange.request, &exchange.response] {
            assert!(!body.windows(6).any(|window| window == b"canary"), "{:?}", exchange.asked);
        }
    }
}

/// The key goes to the router with everything that is asked of it, and opens it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_a_router_that_asks_for_one() {
    let file = std::env::temp_dir().join(format!("veritee-e2e-keys-{}.toml", std::process::id()));
    let seed = attestation::Secret::new([7; 40]);
    let (_, key) = router::KeysFile::change(&file, |keys| {
        keys.add("tests", router::Overrides::default(), &seed, UnixTime::from_secs(0))
    })
    .unwrap();
    let limits =
        router::KeyLimits { requests_per_minute: 100, streams_max: 10, failures_per_minute: 10 };
    let keys = router::Keys {
        file: file.clone(),
        reload: Duration::from_secs(1),
        limits,
        unauthorized_per_minute: 100,
        metrics: router::KeyMetrics::Together,
    };
    let fleet = Fleet::start(Plan { keys: Some(keys), ..Plan::default() }).await;
    let policy = || fleet.read_policy(&fleet.policy);

    let without = Told::by(&fleet.client_under(policy()), PROMPT).await;
    assert_eq!(without.code(), "unauthorized");
    let client = fleet.builder(policy()).authorization(key).build().unwrap();
    let told = Told::by(&client, PROMPT).await;
    assert!(told.end.is_ok() && told.finished, "{told:?}");
    std::fs::remove_file(file).unwrap();
}
