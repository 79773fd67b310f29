//! The claims set of an EAR (draft-ietf-rats-ear-04): what it affirms, and what it does not.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod fabric;
mod outcome;
mod world;

use std::time::Duration;

use attestation::snp::Product;
use attestation::{Challenge, Evidence, Sha256, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use verifier::ear::{self, LIFETIME_MAX, PROFILE, VerifierId};
use verifier::{AttestationResult, Expectation, Refused, appraise};

use crate::fabric::Fabric;
use crate::world::{CHALLENGE, MODEL, NOW, World};

const WHO: VerifierId<'_> = VerifierId { developer: "https://example.org", build: "test 1" };

type Outcome = Result<AttestationResult, Refused>;

fn claims(world: &World) -> Map<String, Value> {
    ear::claims(&world.judge(), &world.expectation, WHO)
}

/// A token in short: of attesters' claims their names, of findings their codes.
fn outline(outcome: &Outcome, expectation: &Expectation) -> Value {
    let mut claims = ear::claims(outcome, expectation, WHO);
    let json = ear::to_json(outcome, expectation, WHO).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), json!(claims));
    // No name is there twice.
    let text = String::from_utf8(json).unwrap();
    for name in claims["submods"].as_object().unwrap().keys() {
        assert_eq!(text.matches(&format!("\"{name}\":{{\"ear_status\"")).count(), 1, "{text}");
    }
    for submod in claims["submods"].as_object_mut().unwrap().values_mut() {
        submod.as_object_mut().unwrap().remove("ear_appraisal_policy_ids").unwrap();
        if let Some(said) = submod.get_mut("ear_attester_claims") {
            let mut names: Vec<_> = said.as_object().unwrap().keys().collect();
            names.sort();
            *said = json!(names);
        }
        if let Some(found) = submod.get_mut("ear_verifier_claims") {
            let codes = found["findings"].as_array().unwrap().iter();
            *found = codes.map(|finding| finding["code"].clone()).collect();
        }
    }
    claims["veritee"]["policy"].as_object_mut().unwrap().remove("digest").unwrap();
    Value::Object(claims)
}

#[test]
fn a_token_says_so_much_and_no_more() {
    let bundle = World::new(Product::Genoa);
    let mut refused = World::new(Product::Genoa);
    refused.report.vmpl = 1;
    let mut raw = World::new(Product::Genoa);
    raw.raw = true;
    raw.policy.insert("purpose".to_owned(), "evaluation".into());
    raw.set("freshness", "binding", "if-present");
    raw.set("freshness", "evidence", "cached");
    raw.expectation = Expectation::cached();
    let devices = Fabric::hgx(1, 1);
    let mut switch = Fabric::hgx(1, 1);
    switch.devices.remove(0);
    switch.set("nvidia-gpu", "topology", "if-present");
    let nothing = appraise(
        &bundle.parsed_policy(),
        &Unverified::new(Evidence::from_wire(Vec::new())),
        &bundle.endorsements(),
        &bundle.expectation,
        NOW,
    );
    let outlines = json!({
        "a bundle": outline(&bundle.judge(), &bundle.expectation),
        "a bundle that is refused": outline(&refused.judge(), &refused.expectation),
        "a report": outline(&raw.judge(), &raw.expectation),
        "devices": outline(&devices.judge(), &devices.expectation),
        "a switch": outline(&switch.judge(), &switch.expectation),
        "nothing": outline(&nothing, &bundle.expectation),
    });
    let expected: Value = serde_json::from_str(include_str!("claims/tokens.json")).unwrap();
    assert_eq!(outlines, expected, "{outlines:#}");
}

fn submod<'a>(claims: &'a Map<String, Value>, name: &str) -> &'a Value {
    &claims["submods"][name]
}

#[test]
fn an_acceptance_names_everything_that_it_rests_on() {
    let world = World::new(Product::Genoa);
    let claims = claims(&world);
    assert_eq!(claims["eat_profile"], PROFILE);
    assert_eq!(claims["iat"], NOW.as_secs());
    assert_eq!(claims["exp"], NOW.saturating_add(LIFETIME_MAX).as_secs());
    assert_eq!(claims["eat_nonce"], URL_SAFE_NO_PAD.encode(CHALLENGE.0));
    assert_eq!(claims["ear_verifier_id"], json!({"developer": WHO.developer, "build": WHO.build}));
    let names: Vec<_> = claims["submods"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["cpu0", "workload"]);
    let policy = json!([format!("sha256:{}", world.parsed_policy().digest())]);
    for name in names {
        let submod = submod(&claims, name);
        assert_eq!(submod["ear_appraisal_policy_ids"], policy);
        assert!(submod["ear_attester_claims"].is_object(), "{name}");
    }
    assert_eq!(submod(&claims, "cpu0")["eat_nonce"], claims["eat_nonce"]);
    let measurement = &submod(&claims, "cpu0")["ear_attester_claims"]["measurement"];
    assert_eq!(*measurement, "42".repeat(48));
    let key = format!("sha256:{}", Sha256::of(&world.sealing.encode()));
    assert_eq!(claims["cnf"], json!({ "kid": key }));
    // The name is the one that the statement binds, so that both lead to the same bytes.
    assert_eq!(claims["cnf"]["kid"], format!("sha256:{}", world.statement.ohttp_keys));
    assert_eq!(claims["veritee"]["verdict"], "accepted");
    assert_eq!(claims["veritee"]["models"], json!([MODEL]));
}

/// The roots of every world here are its own: nothing of the hardware is a vendor's word.
#[test]
fn roots_of_the_policys_own_affirm_no_hardware() {
    let claims = claims(&World::new(Product::Genoa));
    assert_eq!(claims["ear_status"], "warning");
    assert_eq!(claims["veritee"]["anchors"], "untrusted");
    let cpu = submod(&claims, "cpu0");
    assert_eq!(cpu["ear_status"], "warning");
    assert_eq!(cpu["ear_trustworthiness_vector"], json!({"configuration": 2, "executables": 3}));
    let workload = &submod(&claims, "workload")["ear_trustworthiness_vector"];
    assert_eq!(*workload, json!({"instance-identity": 2, "configuration": 2, "file-system": 2}));
}

#[test]
fn a_token_never_outlives_the_acceptance() {
    let mut world = World::new(Product::Genoa);
    world.now = world.statement.not_after.saturating_sub(Duration::from_secs(7));
    let claims = claims(&world);
    assert_eq!(claims["iat"], world.now.as_secs());
    assert_eq!(claims["exp"], world.statement.not_after.as_secs());
}

#[test]
fn a_caller_without_a_challenge_gets_no_nonce() {
    let mut world = World::new(Product::Genoa);
    world.set("freshness", "evidence", "cached");
    world.expectation = Expectation::cached();
    let claims = claims(&world);
    assert_eq!(claims["veritee"]["verdict"], "accepted");
    assert!(!claims.contains_key("eat_nonce"));
    assert!(submod(&claims, "cpu0").get("eat_nonce").is_none());
}

/// One defect each, the submodule where it shows, and what that says then.
#[test]
fn a_refusal_confirms_no_key_and_affirms_nothing_about_what_failed() {
    type Break = fn(&mut World);
    let cases: [(&str, Break, &str, &str, i64); 7] = [
        ("measurement", |w| w.report.measurement = [0; 48], "cpu0", "executables", 96),
        ("debug", |w| w.report.policy |= 1 << 19, "cpu0", "runtime-opaque", 96),
        ("vmpl", |w| w.report.vmpl = 1, "cpu0", "configuration", 96),
        ("product", |w| w.set("sev-snp", "products", vec!["turin"]), "cpu0", "hardware", 97),
        (
            "model",
            |w| w.set("models", MODEL, format!("sha256:{}", "0".repeat(64))),
            "workload",
            "file-system",
            96,
        ),
        (
            "config",
            |w| w.set("config", "digests", vec![format!("sha256:{}", "0".repeat(64))]),
            "workload",
            "configuration",
            96,
        ),
        (
            "challenge",
            |w| w.expectation = Expectation::challenged(Challenge([1; 32])),
            "workload",
            "instance-identity",
            97,
        ),
    ];
    for (name, break_it, device, category, value) in cases {
        let mut world = World::new(Product::Genoa);
        break_it(&mut world);
        let claims = claims(&world);
        assert_eq!(claims["ear_status"], "contraindicated", "{name}");
        assert!(!claims.contains_key("cnf"), "{name}: a key is confirmed");
        let submod = submod(&claims, device);
        assert_eq!(submod["ear_status"], "contraindicated", "{name}: {submod:#}");
        assert_eq!(submod["ear_trustworthiness_vector"][category], value, "{name}: {submod:#}");
        assert!(submod["ear_verifier_claims"]["findings"].is_array(), "{name}");
    }
}

#[test]
fn what_is_not_authentic_affirms_nothing() {
    let mut world = World::new(Product::Genoa);
    world.form = sim::SignatureForm::Flipped;
    let claims = claims(&world);
    let cpu = submod(&claims, "cpu0");
    assert_eq!(cpu["ear_trustworthiness_vector"], json!({"hardware": 99}));
    assert!(cpu.get("ear_attester_claims").is_none(), "{cpu:#}");
    assert!(cpu.get("eat_nonce").is_none(), "{cpu:#}");
    // Nobody looked at the workload.
    let workload = submod(&claims, "workload");
    assert_eq!(workload["ear_status"], "none");
    assert_eq!(workload["ear_trustworthiness_vector"], json!({"hardware": 0}));
}

#[test]
fn what_could_not_be_found_out_is_no_statement() {
    let mut world = World::new(Product::Genoa);
    world.crl = None;
    let claims = claims(&world);
    assert_eq!(claims["veritee"]["verdict"], "unavailable");
    assert_eq!(claims["ear_status"], "none");
    assert!(!claims.contains_key("cnf"));
}
