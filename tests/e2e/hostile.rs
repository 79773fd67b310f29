//! The operator lies: the client yields no byte that the enclave did not send in that position, and takes no broken answer
//! for whole.

use std::time::Duration;

use attestation::{SealingKey, Sha256};
use http::StatusCode;
use serde_json::Value;
use tests::{
    fleet::{Fleet, MODEL, Plan, question},
    framing::{Framed, RESPONSE_HEAD},
    relay::Exchange,
    script::{Script, Step, every_tampering},
};

use crate::told::{PROMPT, Told, refusals};

/// A fleet, and two honest exchanges that its relay has seen.
async fn overheard() -> (Fleet, Exchange, Exchange) {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    for prompt in [PROMPT, "something else entirely, and as long as the first one was, or longer"] {
        assert_eq!(Told::by(&client, prompt).await.code(), "accepted");
    }
    let [first, second] = <[Exchange; 2]>::try_from(fleet.relay.until_sealed(2).await).unwrap();
    (fleet, first, second)
}

fn framed(exchange: &Exchange) -> Framed {
    Framed::parse(&exchange.response, RESPONSE_HEAD)
}

/// Plays every tampering whose name `wanted` accepts, each to a request of its own.
async fn tamper(wanted: impl Fn(&str) -> bool) {
    let (fleet, first, second) = overheard().await;
    let client = fleet.client();
    assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted");
    let all = every_tampering(&framed(&first), &framed(&second));
    let all: Vec<_> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
    assert!(all.len() > 2, "only {} scripts", all.len());
    for (story, script) in all {
        fleet.relay.play(script);
        Told::by(&client, PROMPT).await.assert_broken(PROMPT, &story);
    }
    fleet.relay.play(Script::Honest);
    assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted", "the lies were the reason");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_chunk_is_never_whole() {
    tamper(|name| {
        name.contains("ends cleanly")
            || name.contains("dies")
            || name.contains("nothing")
            || name.contains("cut")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_octet_is_never_whole() {
    let (fleet, first, _) = overheard().await;
    let client = fleet.client();
    let length = first.response.len();
    for octets in (0..length).step_by(97).chain([1, 31, 32, 33, length.saturating_sub(1)]) {
        fleet.relay.play(Script::cut_at(octets));
        Told::by(&client, PROMPT).await.assert_broken(PROMPT, &format!("cut at {octets}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_chunks_yield_nothing_out_of_place() {
    tamper(|name| {
        name.contains("swapped")
            || name.contains("twice")
            || name.contains("without")
            || name.contains("as the last")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_octet_yields_nothing() {
    tamper(|name| {
        name.contains("flipped") || name.contains("empty chunk") || name.contains("after the end")
    })
    .await;
    let (fleet, first, _) = overheard().await;
    let client = fleet.client();
    let length = first.response.len();
    for position in (0..length).step_by(61).chain(0..40).chain([length.saturating_sub(1)]) {
        fleet.relay.play(Script::flip_response(position));
        Told::by(&client, PROMPT).await.assert_broken(PROMPT, &format!("octet {position} flipped"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spliced_answer_yields_nothing() {
    tamper(|name| name.contains("another response")).await;
    let (fleet, _, _) = overheard().await;
    fleet.relay.play(Script::ReplayResponse);
    let told = Told::by(&fleet.client(), PROMPT).await;
    told.assert_broken(PROMPT, "an earlier response");
    assert_eq!(told.text, "");
}

/// An answer that is not streamed comes whole or not at all; this one has chunks enough to lose some.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_released_whole_or_not_at_all() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    let long = PROMPT.repeat(600);
    let chat = client::Chat { stream: false, stream_options: None, ..question(&long) };
    let request = client::Request::chat(&chat).unwrap();
    for _ in 0..2 {
        let answer = client.send(&request).await.unwrap();
        assert!(
            matches!(&answer, client::Answer::Whole(whole) if whole.status() == 200),
            "{answer:?}"
        );
    }
    let sealed = fleet.relay.until_sealed(2).await;
    let [first, second] = [framed(&sealed[0]), framed(&sealed[1])];
    assert!(first.chunks.len() > 2, "only {} chunks", first.chunks.len());
    for (story, script) in every_tampering(&first, &second) {
        fleet.relay.play(script);
        assert!(client.send(&request).await.is_err(), "{story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_keys_are_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    let ours = SealingKey::new(0, &[9; 1216]).encode();
    fleet.relay.play(Script::swap_member("ohttp_keys", &ours));
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["member-mismatch"]);
    assert!(fleet.relay.sealed().is_empty(), "nothing was sealed to the swapped key");
}

/// Every member, changed and taken from another enclave's genuine bundle.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_with_any_member_changed_is_refused() {
    // The other fleet has the same vendor, measurement, model and configuration: its evidence is as good, and not this one's.
    let (fleet, other) = (Fleet::start(Plan::default()).await, Fleet::start(Plan::default()).await);
    let (_, genuine) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    let (_, foreign) = other.relay.get(&format!("/v1/nodes/{}/evidence", other.nodes[0])).await;
    let (bundle, foreign_bundle): (Value, Value) =
        (serde_json::from_slice(&genuine).unwrap(), serde_json::from_slice(&foreign).unwrap());
    let members =
        ["statement", "ohttp_keys", "receipt_key", "manifest", "config", "freshness", "cpu0"];
    for member in members {
        assert!(bundle[member][1].is_string(), "{member} is in {bundle}");
        fleet.relay.play(Script::swap_member(member, b"{}"));
        let told = Told::by(&fleet.client(), PROMPT).await;
        assert!(
            told.end.as_ref().is_err_and(|error| error.report().is_some()),
            "{member}: {told:?}"
        );
        if bundle[member] != foreign_bundle[member] {
            fleet.relay.play(Script::take_member(member, &foreign));
            let told = Told::by(&fleet.client(), PROMPT).await;
            assert!(
                told.end.as_ref().is_err_and(|error| !refusals(error).is_empty()),
                "{member}: {told:?}"
            );
        }
    }
    for position in (0..genuine.len()).step_by(997) {
        fleet.relay.play(Script::flip_evidence(position));
        let told = Told::by(&fleet.client(), PROMPT).await;
        // A flip in what is no part of any claim, like the endorsements' white space, may leave genuine evidence.
        if told.end.is_ok() {
            assert_eq!(told.text, PROMPT);
        }
    }
    fleet.relay.play(Script::Honest);
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_another_enclave_is_refused() {
    let fleet = Fleet::start(Plan::default().with_enclaves(2)).await;
    let [one, other] = [fleet.nodes[0], fleet.nodes[1]];
    fleet.relay.play(Script::EvidenceOf(other.to_string()));
    let client = fleet.client();
    // The other one's evidence is its own, and stands.
    assert_eq!(client.enclaves().await.unwrap().len(), 1);
    let verdicts = client.verdicts();
    let refused = verdicts.iter().find(|verdict| verdict.node_id == one).unwrap();
    assert_eq!(refused.error.as_ref().map(client::Error::code), Some("evidence-of-another-node"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_evidence_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    assert_eq!(Told::by(&fleet.client(), PROMPT).await.code(), "accepted");
    fleet.relay.play(Script::StaleEvidence);
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["challenge-not-answered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_answers_no_challenge_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    let (_, cached) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    fleet.relay.play(Script::Evidence(std::sync::Arc::new(move |_| cached.to_vec())));
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["challenge-not-answered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_is_refused() {
    let (fleet, first, second) = overheard().await;
    let (status, body) = fleet.relay.send_again(&first).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#ohttp-key");
    assert_eq!(fleet.relay.send_again(&second).await, (status, body), "one constant answer");
    fleet.relay.play(Script::ReplayRequest);
    let told = Told::by(&fleet.client(), PROMPT).await;
    told.assert_broken(PROMPT, "the answer to a replay");
    assert_eq!(told.text, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_request_is_refused_like_any_other() {
    let (fleet, first, _) = overheard().await;
    let client = fleet.client();
    let (_, constant) = fleet.relay.send_again(&first).await;
    for position in [0, 1, 7, 600, 1127, 1128, 1200, usize::MAX] {
        fleet.relay.play(Script::flip_request(position));
        let told = Told::by(&client, PROMPT).await;
        told.assert_broken(PROMPT, &format!("octet {position} of the request flipped"));
        assert_eq!(told.text, "");
        let refused = fleet.relay.sealed().pop().unwrap();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{position}");
        assert_eq!(refused.response, constant, "{position}: one constant answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_delivered_to_another_enclave_is_refused() {
    let fleet = Fleet::start(Plan::default().with_enclaves(2)).await;
    let client = fleet.client();
    client.enclaves().await.unwrap();
    let thief = fleet.nodes[0].to_string();
    fleet.relay.play(Script::Misdeliver(thief.clone()));
    for _ in 0..64 {
        let told = Told::by(&client, PROMPT).await;
        assert!(PROMPT.starts_with(&told.text));
        let sealed = fleet.relay.sealed();
        for exchange in &sealed {
            let meant = exchange.asked.1.contains(&thief);
            assert_eq!(
                exchange.status == StatusCode::OK,
                meant,
                "only the one that it is sealed to can open it"
            );
        }
        // The client chooses at random: go on until it has chosen the one that was robbed.
        if sealed.iter().any(|exchange| !exchange.asked.1.contains(&thief)) {
            return;
        }
    }
    panic!("the client never chose the other enclave");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_policy_does_not_name_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    // The router may call the model what it likes.
    fleet.relay.play(Script::rename_models("gpt-oss-120b"));
    let chat = client::Chat::question("gpt-oss-120b", PROMPT);
    let error = fleet.client().chat(&chat).await.unwrap_err();
    assert_eq!(error.code(), "model-not-allowed");
    assert!(fleet.relay.sealed().is_empty());

    // The right name with another model behind it.
    fleet.relay.play(Script::Honest);
    let other = Sha256::of(b"another manifest").to_string();
    let line = fleet.policy.lines().find(|line| line.starts_with(&format!("\"{MODEL}\""))).unwrap();
    let policy = fleet.policy.replace(line, &format!("\"{MODEL}\" = \"sha256:{other}\""));
    let error =
        fleet.client_under(fleet.read_policy(&policy)).chat(&question(PROMPT)).await.unwrap_err();
    assert_eq!(refusals(&error), ["model-not-allowed"]);
    assert!(fleet.relay.sealed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_sealed_is_refused() {
    let (fleet, _, _) = overheard().await;
    let client = fleet.client();
    let plain = br#"{"id":"x","choices":[{"message":{"content":"trust me"}}]}"#.to_vec();
    for (story, status, media_type, body) in [
        ("plain JSON", 200, "application/json", plain.clone()),
        ("plain JSON under the sealed type", 200, "message/ohttp-chunked-res", plain.clone()),
        ("the unchunked form", 200, "message/ohttp-res", plain),
        (
            "plain events",
            200,
            "text/event-stream",
            b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n".to_vec(),
        ),
        ("nothing", 200, "message/ohttp-chunked-res", Vec::new()),
        ("a page", 500, "text/html", b"<html>".to_vec()),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        fleet.relay.play(Script::Answer { status, media_type, body });
        let told = Told::by(&client, PROMPT).await;
        told.assert_broken(PROMPT, story);
        assert_eq!(told.text, "", "{story}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_head_says_changes_no_answer() {
    let fleet = Fleet::start(Plan::default()).await;
    let forged = vec![
        ("x-veritee-verdict", "accepted"),
        ("veritee-receipt", "forged"),
        ("set-cookie", "a=b"),
    ];
    fleet.relay.play(Script::Head { status: StatusCode::OK, headers: forged });
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!((told.code(), told.text.as_str()), ("accepted", PROMPT));
    for status in [201, 206, 302, 400, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        fleet.relay.play(Script::Head { status, headers: Vec::new() });
        Told::by(&fleet.client(), PROMPT).await.assert_broken(PROMPT, status.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stalls_is_given_up_on() {
    let (fleet, _, _) = overheard().await;
    fleet.relay.play(Script::cut_after(3, Some(Step::Stall(Duration::from_mins(10)))));
    Told::by(&fleet.client(), PROMPT).await.assert_broken(PROMPT, "stalled");
}

/// A request is sealed anew at most twice, and no ciphertext goes out twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_answer_is_retried_twice_with_new_ciphertexts() {
    let fleet = Fleet::start(Plan::default().with_enclaves(4)).await;
    let client = fleet.client();
    client.enclaves().await.unwrap();
    for (status, attempts) in [(503, 3), (421, 3), (500, 1), (502, 1), (504, 1), (400, 1)] {
        let before = fleet.relay.sealed().len();
        let status = StatusCode::from_u16(status).unwrap();
        fleet.relay.play(Script::Answer {
            status,
            media_type: "application/problem+json",
            body: b"{}".to_vec(),
        });
        let client = fleet.client();
        Told::by(&client, PROMPT).await.assert_broken(PROMPT, status.as_str());
        let sent: Vec<_> = fleet
            .relay
            .sealed()
            .split_off(before)
            .into_iter()
            .map(|exchange| exchange.request)
            .collect();
        assert_eq!(sent.len(), attempts, "{status}");
        for (index, request) in sent.iter().enumerate() {
            assert!(!sent[..index].contains(request), "{status}: a ciphertext was sent twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_is_not_retried() {
    let fleet = Fleet::start(Plan::default().with_enclaves(3)).await;
    fleet.relay.play(Script::response(|_| vec![Step::Abort]));
    Told::by(&fleet.client(), PROMPT).await.assert_broken(PROMPT, "died");
    assert_eq!(fleet.relay.sealed().len(), 1);
}
