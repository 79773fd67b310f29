//! Whom policies let in, and whom not.

use std::{fs, path::Path};

use attestation::{Challenge, Endorsements, Evidence, Unverified};
use client::Memory;
use tests::fleet::{Fleet, Host, Plan};
use verifier::{Expectation, Policy, appraise};

use crate::told::{PROMPT, Told, refusals};

/// The simulated platform is a root, not a mode: it takes a policy that names its anchor.
#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_policy_but_the_simulation_refuses_the_simulated_platform() {
    let fleet = Fleet::start(Plan::default()).await;
    let challenge = Challenge([7; 32]);
    let url = format!("http://{}/v1/nodes/{}/evidence", fleet.router, fleet.nodes[0]);
    let fetched =
        client::fetch_evidence(&url, &challenge, client::Timeouts::default()).await.unwrap();
    let judge = |policy: &Policy| {
        let evidence = Unverified::new(Evidence::from_wire(fetched.evidence.clone()));
        let endorsements = Unverified::new(Endorsements::new());
        appraise(policy, &evidence, &endorsements, &Expectation::challenged(challenge), fleet.now())
    };
    assert!(
        judge(&fleet.read_policy(&fleet.policy)).is_ok(),
        "the control: its own policy accepts it"
    );

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut shipped = 0_usize;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        shipped = shipped.saturating_add(1);
        let text = fs::read_to_string(&path).unwrap();
        // A template that does not even parse lets nobody in.
        let Ok(policy) = Policy::parse(&text, &client::anchor_reader(&path)) else { continue };
        assert!(judge(&policy).is_err(), "{}", path.display());
    }
    assert!(shipped >= 3, "only {shipped} policies are shipped");

    // Filled in with all that the simulation has but its anchor, it is still the root that counts.
    let anchorless: String = fleet
        .policy
        .lines()
        .filter(|line| *line != "[anchors]" && !line.contains("ark.pem"))
        .fold(String::new(), |text, line| text + line + "\n");
    let refused = judge(&fleet.read_policy(&anchorless)).unwrap_err();
    let codes: Vec<_> =
        refused.report().findings.iter().map(|finding| finding.code.as_str()).collect();
    assert!(codes.contains(&"root-not-trusted"), "{codes:?}");
}

/// Somebody is handed the simulation's policy for a router elsewhere, under whatever name and purpose.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_simulation_policy_is_for_this_machine_alone() {
    let fleet = Fleet::start(Plan::default()).await;
    let renamed = fleet.policy.replace("name = \"", "name = \"snp-production-");
    assert_ne!(renamed, fleet.policy);
    for text in [&fleet.policy, &renamed] {
        for url in ["http://10.0.0.1:8080", "https://router.example", "https://127.0.0.1.example"] {
            let clock = client::Clock::new(|| attestation::UnixTime::from_secs(1_800_000_000));
            let built = client::Client::builder(url, fleet.read_policy(text), clock).build();
            let error = built.map(drop).unwrap_err();
            assert_eq!(error.code(), "untrusted-anchors", "{url}");
            assert_eq!(error.family().exit_code(), 10, "{url}");
        }
        // On this machine it serves, and every answer says what it is worth.
        let client = fleet.client_under(fleet.read_policy(text));
        assert_eq!(Told::by(&client, PROMPT).await.code(), "accepted");
        assert_eq!(client.verdict(), "accepted-untrusted-anchors");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_withholds_a_client_can_bring() {
    let fleet = Fleet::start(Plan { host: Host::Withholding, ..Plan::default() }).await;
    let policy = || fleet.read_policy(&fleet.policy);
    let without = Told::by(&fleet.client_under(policy()), PROMPT).await;
    assert_eq!(without.code(), "vek-missing");
    let client = fleet.builder(policy()).endorsements(fleet.endorsements.clone()).build().unwrap();
    assert!(client.enclaves().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_policy_is_refused() {
    let fleet = Fleet::start(Plan::default()).await;
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    let version = fleet.policy.lines().find(|line| line.starts_with("version = ")).unwrap();
    let under = |number: u64| {
        let policy =
            fleet.read_policy(&fleet.policy.replace(version, &format!("version = {number}")));
        fleet.builder(policy).memory(Memory::in_folder(folder.clone())).build()
    };
    for (number, expected) in
        [(7, "accepted"), (8, "accepted"), (7, "policy-rolled-back"), (8, "accepted")]
    {
        let code = match under(number) {
            Ok(client) => Told::by(&client, PROMPT).await.code(),
            Err(error) => error.code(),
        };
        assert_eq!(code, expected, "version {number}");
    }
    drop(fs::remove_dir_all(&folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_after_an_attestation_has_ended() {
    let fleet = Fleet::start(Plan::default()).await;
    let client = fleet.client();
    let before = client.enclaves().await.unwrap()[0].report().not_after;
    assert!(before.is_some());
    // Its evidence says an hour; the enclave, on its own monotonic clock, has not rotated.
    fleet.advance(std::time::Duration::from_hours(2));
    let told = Told::by(&client, PROMPT).await;
    assert_eq!(refusals(told.end.as_ref().unwrap_err()), ["statement-expired"]);
    assert!(fleet.relay.sealed().is_empty(), "nothing is sealed to a key after its end");
}
