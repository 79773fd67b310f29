//! The operator lies: the client yields no byte that the enclave did not send in that position, and takes no broken answer
//! for whole.

mod evidence;
mod listeners;
mod replays;
mod sdk;

use attestation::{SealingKey, Sha256};
use http::StatusCode;
use tests::{
    fleet::{Fleet, MODEL, Plan, question},
    framing::{Framed, RESPONSE_HEAD},
    lies::{self, Lie},
    relay::Exchange,
    script::{Script, Step},
};

use self::listeners::{Overheard, Trust, tell};
use crate::told::{PROMPT, Told, refusals};

fn framed(exchange: &Exchange) -> Framed {
    Framed::parse(&exchange.response, RESPONSE_HEAD)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_chunk_is_never_whole() {
    tell(Trust::Old, |overheard| {
        chunks(overheard, &["ends cleanly", "dies", "end", "as the last"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_chunks_yield_nothing_out_of_place() {
    tell(Trust::Old, |overheard| chunks(overheard, &["swapped", "twice", "without", "as chunk"]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spliced_answer_yields_nothing() {
    tell(Trust::Old, |overheard| chunks(overheard, &["another exchange", "the other direction"]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misframed_chunks_yield_nothing() {
    tell(Trust::Old, |overheard| {
        chunks(overheard, &["empty", "length", "mark", "16 KiB", "octet by octet", "flipped"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_octet_is_never_whole() {
    tell(Trust::Old, |overheard| octets(overheard, "cut")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_octet_yields_nothing() {
    tell(Trust::Old, |overheard| octets(overheard, "flipped")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_around_an_answer_convinces_nobody() {
    tell(Trust::Old, |_| lies::about_heads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_is_given_up_on() {
    tell(Trust::Hasty, |_| lies::about_stalls()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_requests_convinces_nobody() {
    tell(Trust::Old, |_| lies::about_requests()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_the_fleet_selects_nobody() {
    tell(Trust::New, |_| lies::about_fleets()).await;
}

/// Every member, changed, left out, and taken from another enclave's genuine bundle.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_with_any_member_changed_is_refused() {
    tell(Trust::New, |overheard| lies::about_evidence(overheard.foreign())).await;
}

/// On the same connection, on others, past the router, later, and after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_is_refused() {
    replays::everywhere().await;
}

/// Every lie about chunks is in one of the tests above.
#[test]
fn no_lie_is_left_out() {
    let framed =
        Framed { head: vec![7; 32], chunks: vec![vec![1; 17]; 3], last: Some(vec![4; 20]) };
    let all = lies::about_chunks(&framed, &framed, &framed);
    assert!(all.len() > 60, "{}", all.len());
    for Lie { story, .. } in all {
        let told = [
            "ends cleanly",
            "dies",
            "end",
            "as the last",
            "swapped",
            "twice",
            "without",
            "as chunk",
            "another exchange",
            "the other direction",
            "empty",
            "length",
            "mark",
            "16 KiB",
            "octet by octet",
            "flipped",
        ];
        assert!(told.iter().any(|part| story.contains(part)), "{story}");
    }
}

fn chunks(overheard: &Overheard, parts: &[&str]) -> Vec<Lie> {
    let [first, second] = overheard.answers();
    let mut all = lies::about_chunks(&first, &second, &overheard.request());
    all.retain(|lie| parts.iter().any(|part| lie.story.contains(part)));
    all
}

fn octets(overheard: &Overheard, what: &str) -> Vec<Lie> {
    let [first, _] = overheard.answers();
    let mut all = lies::about_octets(&first, lies::positions(&first, 331).into_iter());
    all.retain(|lie| lie.story.contains(what));
    all
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
    for Lie { story, script, code } in lies::about_chunks(&first, &second, &first) {
        fleet.relay.play(script);
        let said = client.send(&request).await.map_or_else(|error| error.code(), |_| "accepted");
        assert_eq!(said, code, "{story}");
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

/// Who is over a limit is told so every time, and does not ask for evidence anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_caller_costs_no_enclave_its_verdict() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    client.enclaves().await.unwrap();
    let carried = fleet.relay.carried().len();
    for status in [401, 402, 413, 415, 429, 503] {
        fleet.relay.play(Script::Answer {
            status: StatusCode::from_u16(status).unwrap(),
            media_type: "application/problem+json",
            body: b"{}".to_vec(),
        });
        Told::by(&client, PROMPT).await.assert_broken(PROMPT, &status.to_string());
    }
    assert_eq!(fleet.relay.carried().len(), carried + 6, "nothing but the sealed requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_is_not_retried() {
    let fleet = Fleet::start(Plan::default().with_enclaves(3)).await;
    fleet.relay.play(Script::response(|_| vec![Step::Abort]));
    Told::by(&fleet.client(), PROMPT).await.assert_broken(PROMPT, "died");
    assert_eq!(fleet.relay.sealed().len(), 1);
}
