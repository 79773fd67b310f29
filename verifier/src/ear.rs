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
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::bind::{Expectation, Freshness};
use crate::finding::{Code, Finding, Severity};
use crate::result::{AnchorKind, AttestationResult, AttestedKeys, Refused, Report, Verdict};

mod vector;

pub use vector::Tier;
use vector::Vector;

/// The value of `eat_profile` (draft-ietf-rats-ear-04 §3).
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// No token is good for longer: revocation must not wait for one to end.
pub const LIFETIME_MAX: Duration = Duration::from_mins(5);

/// The submodule of what a bundle binds to the hardware: keys, model and configuration.
pub const WORKLOAD: &str = "workload";

/// Who judged (draft-ietf-rats-ar4si §3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
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
    // Texts, numbers, lists and objects with texts for keys: they always become values.
    match serde_json::to_value(ClaimsOf { outcome, expectation, verifier }) {
        Ok(Value::Object(claims)) => claims,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The same as JSON, exactly once: who signs a token signs these octets.
///
/// # Errors
/// None that is known; a writer that is given up on would be one.
pub fn to_json(
    outcome: &Result<AttestationResult, Refused>,
    expectation: &Expectation,
    verifier: VerifierId<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut claims = Vec::with_capacity(LEN_USUAL);
    serde_json::to_writer(&mut claims, &ClaimsOf { outcome, expectation, verifier })?;
    Ok(claims)
}

/// The claims set, written from what there is, without a copy of it in between.
struct ClaimsOf<'a> {
    outcome: &'a Result<AttestationResult, Refused>,
    expectation: &'a Expectation,
    verifier: VerifierId<'a>,
}

impl Serialize for ClaimsOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { outcome, expectation, verifier } = self;
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
        let submods = Submods::of(report, challenge.as_deref());

        let mut claims = serializer.serialize_map(None)?;
        claims.serialize_entry("eat_profile", PROFILE)?;
        claims.serialize_entry("iat", &issued.as_secs())?;
        claims.serialize_entry("exp", &expires.as_secs())?;
        if let Some(challenge) = &challenge {
            claims.serialize_entry("eat_nonce", challenge)?;
        }
        claims.serialize_entry("ear_verifier_id", verifier)?;
        claims.serialize_entry("ear_status", submods.status().as_str())?;
        claims.serialize_entry("submods", &submods)?;
        if let Some(kid) = sealing_key(report, keys) {
            claims.serialize_entry("cnf", &Confirmed { kid })?;
        }
        claims.serialize_entry("veritee", &Private { report, keys })?;
        claims.end()
    }
}

/// A key by its name (RFC 7800 §3.4).
#[derive(Serialize)]
struct Confirmed {
    kid: String,
}

/// The name of the key that the evidence vouches for.
fn sealing_key(report: &Report, keys: Option<&AttestedKeys>) -> Option<String> {
    // Hours after the acceptance there is no key any more.
    let key = keys?.sealing().at(report.appraised_at).ok()?;
    Some(format!("sha256:{}", attestation::Sha256::of(&key.encode())))
}

/// What the draft has no claim for.
struct Private<'a> {
    report: &'a Report,
    keys: Option<&'a AttestedKeys>,
}

impl Serialize for Private<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { report, keys } = self;
        let mut value = serializer.serialize_map(None)?;
        value.serialize_entry("verdict", &report.verdict)?;
        value.serialize_entry("platform", report.platform)?;
        value.serialize_entry("anchors", &report.anchors)?;
        value.serialize_entry("policy", &report.policy)?;
        value.serialize_entry("not_after", &report.not_after)?;
        if let Some(keys) = keys {
            value.serialize_entry("binding_id", &keys.binding_id().to_string())?;
            value.serialize_entry("node_id", &keys.node_id().to_string())?;
            value.serialize_entry("manifest", &format!("sha256:{}", keys.manifest_digest()))?;
            value.serialize_entry("models", keys.models())?;
        }
        value.end()
    }
}

/// One entry per device.
struct Submods<'a>(Vec<Submod<'a>>);

impl<'a> Submods<'a> {
    fn of(report: &'a Report, challenge: Option<&'a str>) -> Self {
        let names = devices(report).into_iter();
        Self(names.map(|name| Submod::of(report, name, challenge)).collect())
    }

    /// The worst of their tiers.
    fn status(&self) -> Tier {
        self.0.iter().map(|submod| submod.vector.tier).max().unwrap_or(Tier::Affirming)
    }
}

impl Serialize for Submods<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|submod| (submod.name, submod)))
    }
}

/// What is said of one device.
struct Submod<'a> {
    name: &'a str,
    vector: Vector,
    policy: String,
    challenge: Option<&'a str>,
    claims: Option<DeviceClaims<'a>>,
    findings: Vec<&'a Finding>,
}

impl<'a> Submod<'a> {
    fn of(report: &'a Report, name: &'a str, challenge: Option<&'a str>) -> Self {
        let findings: Vec<_> =
            report.findings.iter().filter(|finding| label(finding) == name).collect();
        let claims = DeviceClaims::of(report, name);
        let vector = vector::derive(name, report, &findings, claims.is_some());
        // Of an acceptance alone it is known that evidence answers it: that of the CPU, or of devices without
        // one. Beside a CPU devices sign a nonce of the statement's, once for all of its window.
        let answers = name == CPU || (name != WORKLOAD && report.platform.starts_with("nvidia-"));
        let challenge = challenge.filter(|_| answers && report.verdict == Verdict::Accepted);
        let policy = format!("sha256:{}", report.policy.digest);
        Self { name, vector, policy, challenge, claims, findings }
    }
}

impl Serialize for Submod<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name: _, vector, policy, challenge, claims, findings } = self;
        let mut submod = serializer.serialize_map(None)?;
        submod.serialize_entry("ear_status", vector.tier.as_str())?;
        submod.serialize_entry("ear_trustworthiness_vector", vector)?;
        submod.serialize_entry("ear_appraisal_policy_ids", &[policy])?;
        if let Some(challenge) = challenge {
            submod.serialize_entry("eat_nonce", challenge)?;
        }
        if let Some(claims) = claims {
            submod.serialize_entry("ear_attester_claims", claims)?;
        }
        if !findings.is_empty() {
            submod.serialize_entry("ear_verifier_claims", &Told { findings })?;
        }
        submod.end()
    }
}

/// Our findings.
#[derive(Serialize)]
struct Told<'a> {
    findings: &'a [&'a Finding],
}

/// The devices that a report speaks of: those that it claims, those that findings are about, and at
/// least the one that evidence of its platform comes from.
fn devices(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut add = |name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    let claimed = || report.claims.keys().map(String::as_str).filter(|key| is_device(key));
    add(match report.platform {
        "nvidia-gpu" => claimed().next().unwrap_or("gpu0"),
        "nvidia-switch" => claimed().next().unwrap_or("switch0"),
        _ => CPU,
    });
    claimed().for_each(&mut add);
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
enum DeviceClaims<'a> {
    Own(&'a Value),
    OfCpu(&'a Map<String, Value>),
}

impl<'a> DeviceClaims<'a> {
    fn of(report: &'a Report, name: &str) -> Option<Self> {
        let claims: &Map<_, _> = &report.claims;
        if name == WORKLOAD {
            return claims.get(BINDING).map(Self::Own);
        }
        if let Some(own) = claims.get(name) {
            return Some(Self::Own(own));
        }
        let any = claims.keys().any(|key| is_of_cpu(key));
        (name == CPU && any).then_some(Self::OfCpu(claims))
    }
}

impl Serialize for DeviceClaims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(claims) => claims.serialize(serializer),
            Self::OfCpu(all) => {
                serializer.collect_map(all.iter().filter(|(key, _)| is_of_cpu(key)))
            }
        }
    }
}

fn is_of_cpu(key: &str) -> bool {
    !is_device(key) && key != BINDING
}

/// Whether a finding stands for something that was not looked at because of another.
fn not_evaluated(finding: &Finding) -> bool {
    finding.code == Code::NotEvaluated
}

/// Whether the policy's roots are its own.
fn untrusted(report: &Report) -> bool {
    report.anchors == AnchorKind::Untrusted
}

fn is_reject(finding: &Finding) -> bool {
    finding.severity == Severity::Reject
}

/// Octets that the claims of one CPU need, with room to spare: growing there is a copy for each doubling.
const LEN_USUAL: usize = 8 << 10;

const CPU: &str = "cpu0";
const BUNDLE: &str = "bundle";
/// The claim of what a bundle binds.
const BINDING: &str = "binding";
