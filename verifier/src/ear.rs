//! The result as an EAT Attestation Result (draft-ietf-rats-ear-04): the claims set of a token that
//! other parties' software reads. Signing it is its issuer's business; here is no key and no clock.
//!
//! | claim | what it says here |
//! |---|---|
//! | `eat_profile` | [`PROFILE`] |
//! | `iat`, `exp` | the moment judged for; at most [`LIFETIME_MAX`] later, and never past the acceptance's end |
//! | `eat_nonce` | the challenge, where the caller had one (base64url) |
//! | `ear_verifier_id` | who judged: [`VerifierId`] |
//! | `ear_status` | the worst of the submodules |
//! | `submods` | one entry per device, by the name that findings use (`cpu0`, `gpu0`, `switch0`), and [`WORKLOAD`] for what a bundle binds to them |
//! | `cnf` | with an acceptance of a bundle alone: the sealing key, by name |
//! | `veritee` | verdict, platform, anchors, policy, end, binding, enclave, models |
//!
//! Each submodule has `ear_status`, `ear_trustworthiness_vector` (`vector.rs`),
//! `ear_appraisal_policy_ids` (one: `sha256:` and the digest of the policy's exact text), the
//! hardware's own claims as `ear_attester_claims` and our findings as `ear_verifier_claims`.
//!
//! # `cnf`
//! RFC 7800 confirms a key by a JWK, or by a name for it. There is no registered JWK for X-Wing, and
//! a thumbprint is of a JWK; so it is `{"kid": "sha256:…"}` (RFC 7800 §3.4): the SHA-256 of the exact
//! `application/ohttp-keys` bytes that the enclave serves, which is also what its statement binds
//! (`docs/protocol.md` §5.2). Whoever holds those bytes hashes them and compares.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::bind::{Expectation, Freshness};
use crate::finding::{Finding, Severity};
use crate::result::{AnchorKind, AttestationResult, AttestedKeys, Refused, Report, Verdict};

mod vector;

pub use vector::Tier;

/// The value of `eat_profile` (draft-ietf-rats-ear-04 §3).
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// No token is good for longer: revocation must not wait for one to end.
pub const LIFETIME_MAX: Duration = Duration::from_mins(5);

/// The submodule of what a bundle binds to the hardware: keys, model and configuration.
pub const WORKLOAD: &str = "workload";

/// Who judged (draft-ietf-rats-ar4si §3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifierId<'a> {
    /// Who made the verifier.
    pub developer: &'a str,
    /// Which version of it.
    pub build: &'a str,
}

/// The claims set for what an appraisal yielded.
///
/// Every outcome has one: an acceptance, and each kind of refusal, whose status is never
/// `affirming`. `expectation` is what the appraisal was asked with.
pub fn claims(
    outcome: &Result<AttestationResult, Refused>,
    expectation: &Expectation,
    verifier: VerifierId<'_>,
) -> Map<String, Value> {
    let (report, keys) = match outcome {
        Ok(result) => (result.report(), result.keys()),
        Err(refused) => (refused.report(), None),
    };
    let issued = report.appraised_at;
    let latest = issued.saturating_add(LIFETIME_MAX);
    let expires = report.not_after.map_or(latest, |end| end.min(latest));
    let challenge = match expectation.freshness {
        Freshness::Challenged(challenge) => Some(URL_SAFE_NO_PAD.encode(challenge.0)),
        Freshness::Cached => None,
    };
    let (submods, status) = submods(report, challenge.as_deref());

    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    put("eat_profile", json!(PROFILE));
    put("iat", json!(issued.as_secs()));
    put("exp", json!(expires.as_secs()));
    if let Some(challenge) = challenge {
        put("eat_nonce", json!(challenge));
    }
    put("ear_verifier_id", json!({ "developer": verifier.developer, "build": verifier.build }));
    put("ear_status", json!(status.as_str()));
    put("submods", Value::Object(submods));
    if let Some(kid) = sealing_key(report, keys) {
        put("cnf", json!({ "kid": kid }));
    }
    put("veritee", private(report, keys));
    claims
}

/// The name of the key that the evidence vouches for.
fn sealing_key(report: &Report, keys: Option<&AttestedKeys>) -> Option<String> {
    // Hours after the acceptance there is no key any more.
    let key = keys?.sealing().at(report.appraised_at).ok()?;
    Some(format!("sha256:{}", attestation::Sha256::of(&key.encode())))
}

/// What the draft has no claim for.
fn private(report: &Report, keys: Option<&AttestedKeys>) -> Value {
    let mut value = json!({
        "verdict": report.verdict,
        "platform": report.platform,
        "anchors": report.anchors,
        "policy": report.policy,
        "not_after": report.not_after,
    });
    if let (Some(keys), Some(members)) = (keys, value.as_object_mut()) {
        members.insert("binding_id".to_owned(), json!(keys.binding_id().to_string()));
        members.insert("node_id".to_owned(), json!(keys.node_id().to_string()));
        members.insert("manifest".to_owned(), json!(format!("sha256:{}", keys.manifest_digest())));
        members.insert("models".to_owned(), json!(keys.models()));
    }
    value
}

/// One entry per device, and the worst of their tiers.
fn submods(report: &Report, challenge: Option<&str>) -> (Map<String, Value>, Tier) {
    let mut submods = Map::new();
    let mut worst = Tier::Affirming;
    for name in devices(report) {
        let (submod, tier) = submod(report, &name, challenge);
        worst = worst.max(tier);
        submods.insert(name, submod);
    }
    (submods, worst)
}

fn submod(report: &Report, name: &str, challenge: Option<&str>) -> (Value, Tier) {
    let findings: Vec<&Finding> =
        report.findings.iter().filter(|finding| label(finding) == name).collect();
    let claims = device_claims(report, name);
    let vector = vector::derive(name, report, &findings, claims.is_some());
    let mut submod = Map::new();
    submod.insert("ear_status".to_owned(), json!(vector.tier.as_str()));
    submod.insert("ear_trustworthiness_vector".to_owned(), vector.to_json());
    let policy = format!("sha256:{}", report.policy.digest);
    submod.insert("ear_appraisal_policy_ids".to_owned(), json!([policy]));
    // Of an acceptance alone it is known that evidence answers it: that of the CPU, or of devices without
    // one. Beside a CPU devices sign a nonce of the statement's, once for all of its window.
    let answers = name == CPU || report.platform == "nvidia-gpu";
    if let Some(challenge) = challenge.filter(|_| answers && report.verdict == Verdict::Accepted) {
        submod.insert("eat_nonce".to_owned(), json!(challenge));
    }
    if let Some(claims) = claims {
        submod.insert("ear_attester_claims".to_owned(), claims);
    }
    if !findings.is_empty() {
        submod.insert("ear_verifier_claims".to_owned(), json!({ "findings": findings }));
    }
    (Value::Object(submod), vector.tier)
}

/// The devices that a report speaks of: those that it claims, those that findings are about, and at
/// least the one that evidence of its platform comes from.
fn devices(report: &Report) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|have| have == name) {
            names.push(name.to_owned());
        }
    };
    add(match report.platform {
        "nvidia-gpu" => report.claims.keys().find(|key| is_device(key)).map_or("gpu0", |key| key),
        _ => CPU,
    });
    report.claims.keys().filter(|key| is_device(key)).for_each(|key| add(key));
    // Evidence that was accepted without a bundle says nothing of a workload.
    let told = |finding: &&Finding| {
        report.verdict != Verdict::Accepted || label(finding) != WORKLOAD || !not_evaluated(finding)
    };
    report.findings.iter().filter(told).for_each(|finding| add(label(finding)));
    if report.claims.contains_key(BINDING) {
        add(WORKLOAD);
    }
    names
}

/// Which submodule a finding is told in.
fn label(finding: &Finding) -> &str {
    let component = finding.component.as_ref();
    if component == BUNDLE { WORKLOAD } else { component }
}

/// `cpu0`, `gpu3`, `switch1`.
fn is_device(name: &str) -> bool {
    ["cpu", "gpu", "switch"].iter().any(|kind| {
        name.strip_prefix(kind)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// What the device says of itself. The CPU's claims are the report's own, other devices' stand
/// among them by name, and the workload's are the binding.
fn device_claims(report: &Report, name: &str) -> Option<Value> {
    if report.claims.is_empty() {
        return None;
    }
    if name == WORKLOAD {
        return report.claims.get(BINDING).cloned();
    }
    if let Some(own) = report.claims.get(name) {
        return Some(own.clone());
    }
    let of_cpu = |(key, _): &(&String, &Value)| !is_device(key) && *key != BINDING;
    let own: Map<_, _> = report
        .claims
        .iter()
        .filter(of_cpu)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (name == CPU && !own.is_empty()).then_some(Value::Object(own))
}

/// Whether a finding stands for something that was not looked at because of another.
fn not_evaluated(finding: &Finding) -> bool {
    finding.code.as_str() == "not-evaluated"
}

/// Whether the policy's roots are its own.
fn untrusted(report: &Report) -> bool {
    report.anchors == AnchorKind::Untrusted
}

fn is_reject(finding: &Finding) -> bool {
    finding.severity == Severity::Reject
}

const CPU: &str = "cpu0";
const BUNDLE: &str = "bundle";
/// The claim of what a bundle binds.
const BINDING: &str = "binding";
