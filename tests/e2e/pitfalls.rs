//! What others got wrong: one story for each pitfall that no other test tells already (docs/threat-model.md has them all).

use std::sync::Arc;

use attestation::Sha256;
use client::{Answer, Chat, Client, Error, Request};
use serde_json::Value;
use tests::{
    fleet::{Fleet, MODEL, Plan, question},
    script::{On, Script, Step},
};

use crate::told::{PROMPT, Told, refusals};

/// A challenge is bound by the report, not repeated beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_echoed_challenge_is_no_freshness() {
    let fleet = Fleet::start(Plan::default()).await;
    let (_, old) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    let old: Value = serde_json::from_slice(&old).unwrap();
    // Everything is the old bundle's but the words that answer the client's own challenge.
    fleet.relay.play(Script::bundle(move |bundle| {
        let answered = bundle["freshness"].clone();
        bundle.clone_from(&old);
        bundle["freshness"] = answered;
    }));
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["report-data-mismatch"]);
    assert!(fleet.relay.sealed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_key_outside_the_report_is_refused() {
    let (fleet, other) = (Fleet::start(Plan::default()).await, Fleet::start(Plan::default()).await);
    let (_, foreign) = other.relay.get(&format!("/v1/nodes/{}/evidence", other.nodes[0])).await;
    fleet.relay.play(Script::take_member("receipt_key", &foreign));
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["member-mismatch"]);
}

/// Code and configuration are measured: what serves otherwise is another measurement, another digest.
#[tokio::test(flavor = "multi_thread")]
async fn other_code_or_configuration_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    for (key, code) in
        [("measurements", "measurement-not-allowed"), ("digests", "config-not-allowed")]
    {
        let line = fleet.policy.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
        // One digit of what the policy pins.
        let at = line.rfind('"').unwrap();
        let mut other = line.to_owned();
        let last = &line[at.saturating_sub(1)..at];
        other.replace_range(at.saturating_sub(1)..at, if last == "0" { "1" } else { "0" });
        let policy = fleet.read_policy(&fleet.policy.replace(line, &other));
        let told = Told::by(&fleet.client_under(policy), PROMPT).await;
        assert_eq!(refusals(told.end.as_ref().unwrap_err()), [code]);
    }
    assert!(fleet.relay.sealed().is_empty());
}

/// Where every enclave is refused, nobody is asked: no "better than none".
#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_left_nothing_is_sent() {
    let fleet = Fleet::start(Plan::default().with_enclaves(3)).await;
    fleet.relay.play(Script::swap_member(
        "ohttp_keys",
        &attestation::SealingKey::new(0, &[9; 1216]).encode(),
    ));
    let client = fleet.client();
    for _ in 0..3 {
        assert!(matches!(Told::by(&client, PROMPT).await.end, Err(Error::Rejected(_))));
        assert!(client.models().await.is_err() && client.enclaves().await.is_err());
    }
    assert!(fleet.relay.sealed().is_empty());

    // Those who were good before are no exception once their evidence has ended.
    fleet.relay.play(Script::Honest);
    assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted");
    let sealed = fleet.relay.until_sealed(1).await.len();
    fleet.advance(std::time::Duration::from_hours(2));
    assert!(Told::by(&client, PROMPT).await.end.is_err());
    assert_eq!(fleet.relay.sealed().len(), sealed);
}

/// An enclave that has no time to show evidence has no time for requests.
#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_too_busy_for_evidence_is_not_used() {
    let fleet = Fleet::start(Plan::default()).await;
    let busy = b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    fleet.relay.play(Script::raw_on(On::Evidence, |_| vec![Step::Send(busy.to_vec())]));
    let client = fleet.client();
    for _ in 0..3 {
        assert_eq!(Told::by(&client, PROMPT).await.code(), "no-enclaves");
    }
    assert!(fleet.relay.sealed().is_empty());
}

/// What is signed are octets: another spelling of the same bundle is the same evidence, and a note on it is none.
#[tokio::test(flavor = "multi_thread")]
async fn spelling_is_not_signed_and_notes_are_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    fleet.relay.play(Script::Evidence(Arc::new(|bytes| {
        let bundle: Value = serde_json::from_slice(bytes).unwrap();
        let mut members: Vec<_> = bundle.as_object().cloned().unwrap().into_iter().collect();
        members.reverse();
        let bundle: Value = members.into_iter().collect();
        format!("\r\n {}\t\n", serde_json::to_string_pretty(&bundle).unwrap()).into_bytes()
    })));
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted");
    fleet.relay.play(Script::bundle(|bundle| bundle["note"] = "seen by the operator".into()));
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "evidence-malformed");
}

/// Receipts commit to what was said under keys of the exchange's own: who guesses a short prompt has nothing to compare with.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_nothing_to_who_guesses() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    let chat = Chat { stream: false, stream_options: None, seed: Some(1), ..question("yes") };
    let request = serde_json::to_vec(&chat).unwrap();
    let mut seen: Vec<Sha256> = vec![Sha256::of(&request), Sha256::of(b"yes")];
    for _ in 0..2 {
        let Answer::Whole(answer) = client.send(&Request::chat(&chat).unwrap()).await.unwrap()
        else {
            panic!("not whole");
        };
        let receipt = answer.closing().receipt().receipt().clone();
        for commitment in [receipt.request, receipt.req_mac, receipt.res_mac, receipt.par_mac] {
            assert!(!seen.contains(&commitment), "the same for the same");
            seen.push(commitment);
        }
        seen.push(Sha256::of(answer.body()));
    }
}

/// What a public list says of itself is a hint: models, readiness and verdicts are the evidence's to show.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_fleet_says_of_itself_is_a_hint() {
    let fleet = Fleet::start(Plan::default()).await;
    fleet.relay.play(Script::fleet(|fleet| {
        for node in fleet["nodes"].as_array_mut().into_iter().flatten() {
            node["models"] = serde_json::json!(["gpt-oss-120b"]);
            node["verdict"] = "accepted".into();
            node["measurement"] = "5a".repeat(48).into();
        }
    }));
    let client = fleet.client();
    assert_eq!(client.models().await.unwrap(), [MODEL]);
    let strict = fleet.policy.replace("5a5a", "5a5b");
    let client: Client = fleet.client_under(fleet.read_policy(&strict));
    assert_eq!(refusals(&client.enclaves().await.unwrap_err()), ["measurement-not-allowed"]);
}

/// Another name for the same digest is not a name of the model: the manifest says by which it is served.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_no_model() {
    let fleet = Fleet::start(Plan::default()).await;
    let line = fleet.policy.lines().find(|line| line.starts_with(&format!("\"{MODEL}\""))).unwrap();
    let alias = line.replace(MODEL, "gpt-oss-120b");
    let policy = fleet.read_policy(&fleet.policy.replace(line, &format!("{line}\n{alias}")));
    let client = fleet.client_under(policy);
    assert_eq!(client.models().await.unwrap(), [MODEL]);
    let error = client.chat(&Chat::question("gpt-oss-120b", PROMPT)).await.unwrap_err();
    assert_eq!(error.code(), "model-not-allowed");
    // The alias alone lets nobody in.
    let policy = fleet.read_policy(&fleet.policy.replace(line, &alias));
    let error = fleet.client_under(policy).enclaves().await.unwrap_err();
    assert_eq!(refusals(&error), ["model-not-allowed"]);
    assert!(fleet.relay.sealed().is_empty());
}

/// No two enclaves share a secret, and none keeps one over a restart: a key that leaks is one enclave's, for an epoch.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_enclaves_share_a_key() {
    let fleet = Fleet::start(Plan::default().with_enclaves(3)).await;
    let mut seen = Vec::new();
    for enclave in fleet.client().enclaves().await.unwrap() {
        let (keys, now) = (enclave.keys(), fleet.now());
        let sealing = keys.sealing().at(now).unwrap().public().to_vec();
        let receipts = format!("{:?}", keys.receipts().at(now).unwrap());
        for key in [sealing, receipts.into_bytes(), keys.node_id().to_string().into_bytes()] {
            assert!(!seen.contains(&key), "two enclaves have the same");
            seen.push(key);
        }
    }
    assert_eq!(seen.len(), 9);
}
