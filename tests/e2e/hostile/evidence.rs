//! Evidence, octet by octet: whatever is accepted vouches for exactly what the genuine one vouched for.

use attestation::{Challenge, Endorsements, Evidence, Unverified};
use tests::{
    fleet::{Fleet, Plan},
    script::{Script, flipped},
};
use verifier::{Expectation, appraise};

use crate::told::{PROMPT, Told, refusals};

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_answers_no_challenge_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    let (_, cached) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    fleet.relay.play(Script::Evidence(std::sync::Arc::new(move |_| cached.to_vec())));
    let told = Told::by(&fleet.client(), PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["challenge-not-answered"]);
}

/// What a flip leaves acceptable, in endorsements that nobody needs say, changes no key, no name, no model and no end.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_octet_of_evidence_changes_what_it_vouches_for() {
    let fleet = Fleet::start(Plan::default()).await;
    let challenge = Challenge([7; 32]);
    let url = format!("http://{}/v1/nodes/{}/evidence", fleet.router, fleet.nodes[0]);
    let fetched =
        client::fetch_evidence(&url, &challenge, client::Timeouts::default()).await.unwrap();
    let policy = fleet.read_policy(&fleet.policy);
    let now = fleet.now();
    let judge = |wire: Vec<u8>| {
        let evidence = Unverified::new(Evidence::from_wire(wire));
        let endorsements = Unverified::new(Endorsements::new());
        appraise(&policy, &evidence, &endorsements, &Expectation::challenged(challenge), now)
            .ok()
            .and_then(verifier::AttestationResult::into_keys)
            .map(|keys| {
                let sealing = keys.sealing().at(now).unwrap().encode();
                (
                    sealing,
                    keys.node_id(),
                    *keys.manifest_digest(),
                    keys.binding_id(),
                    keys.models().to_vec(),
                )
            })
    };
    let genuine = judge(fetched.evidence.clone());
    assert!(genuine.is_some(), "the control");
    let (mut refused, mut accepted) = (0_u32, 0_u32);
    // A step that shares no factor with the members' own lengths.
    for at in (0..fetched.evidence.len()).step_by(7) {
        match judge(flipped(&fetched.evidence, at)) {
            None => refused = refused.saturating_add(1),
            Some(keys) => {
                assert_eq!(Some(keys), genuine, "octet {at}");
                accepted = accepted.saturating_add(1);
            }
        }
    }
    assert!(refused > accepted.saturating_mul(4), "{refused} refused, {accepted} accepted");
}
