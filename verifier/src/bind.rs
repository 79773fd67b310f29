//! Second stage: does what the hardware signed stand for these keys, this model, this
//! configuration and this moment (`docs/protocol.md` §5.2)?

pub(crate) mod azure;

use attestation::binding::FreshnessProof;
use attestation::{
    BindingId, Bundle, Challenge, CpuEvidence, Endorsements, Malformed, ModelManifest, ReceiptKey,
    ReportData, SealingKey, Sha256, Statement, UnixTime,
};
use subtle::ConstantTimeEq as _;

use crate::authenticate::Authentic;
use crate::finding::{Code, Finding, Severity};
use crate::policy::{EvidenceFreshness, Policy, Presence};

/// What the evidence must show to be no older than the question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// It answers this challenge.
    Challenged(Challenge),
    /// It may be from before the question. Whether that suffices is the policy's to say.
    Cached,
}

/// What the caller knows that neither evidence nor policy can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expectation {
    /// How fresh the evidence must be.
    pub freshness: Freshness,
    /// The 64 bytes that the hardware must have signed, where the caller knows them: the way to
    /// bind raw vendor evidence, which carries no statement.
    pub report_data: Option<ReportData>,
    /// The nonce that NVIDIA's OCSP responses must repeat, where the caller asked with one.
    pub ocsp_nonce: Option<[u8; 32]>,
}

impl Expectation {
    /// The evidence answers `challenge`.
    pub const fn challenged(challenge: Challenge) -> Self {
        Self { freshness: Freshness::Challenged(challenge), report_data: None, ocsp_nonce: None }
    }

    /// The evidence may be from before the question.
    pub const fn cached() -> Self {
        Self { freshness: Freshness::Cached, report_data: None, ocsp_nonce: None }
    }

    /// The hardware signed exactly these 64 bytes.
    #[must_use]
    pub const fn with_report_data(self, report_data: ReportData) -> Self {
        Self { report_data: Some(report_data), ..self }
    }

    /// NVIDIA's OCSP responses repeat this nonce.
    #[must_use]
    pub const fn with_ocsp_nonce(self, nonce: [u8; 32]) -> Self {
        Self { ocsp_nonce: Some(nonce), ..self }
    }
}

/// The parts of a bundle, parsed and not believed.
#[derive(Debug)]
pub(crate) struct Parts {
    binding_id: BindingId,
    statement: Statement,
    ohttp_keys: Sha256,
    sealing: SealingKey,
    receipts: ReceiptKey,
    manifest_digest: Sha256,
    manifest: ModelManifest,
    config: Sha256,
    freshness: FreshnessProof,
    accel_digest: Option<Sha256>,
    /// The accelerators' evidence: the exact bytes that the statement's digest is of.
    pub(crate) accel: Option<Vec<u8>>,
    /// The event log of the CPU's evidence.
    pub(crate) event_log: Option<Vec<u8>>,
    /// What the bundle says of its hardware's vendor.
    pub(crate) endorsements: Endorsements,
}

impl Parts {
    /// Parses all of a bundle: its parts, and the CPU's evidence.
    ///
    /// # Errors
    /// The first part that is not what it claims to be.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, CpuEvidence), Malformed> {
        let Bundle {
            statement,
            ohttp_keys,
            receipt_key,
            manifest,
            config,
            freshness,
            cpu0,
            event_log,
            accel,
            endorsements,
        } = Bundle::parse(bytes)?;
        let mut parsed = Endorsements::new();
        if !endorsements.is_empty() {
            parsed.add(&endorsements)?;
        }
        let parts = Self {
            binding_id: BindingId::of_statement(&statement),
            statement: Statement::parse(&statement)?,
            ohttp_keys: Sha256::of(&ohttp_keys),
            sealing: SealingKey::parse(&ohttp_keys)?,
            receipts: ReceiptKey::parse(&receipt_key)?,
            manifest_digest: Sha256::of(&manifest),
            manifest: ModelManifest::parse(&manifest)?,
            config: Sha256::of(&config),
            freshness: serde_json::from_slice(&freshness)
                .map_err(|_| Malformed::invalid("freshness", "is no freshness proof"))?,
            accel_digest: accel.as_deref().map(Sha256::of),
            accel,
            event_log,
            endorsements: parsed,
        };
        Ok((parts, cpu0))
    }

    /// What the accelerators that belong to this statement must have signed.
    pub(crate) fn accelerator_nonce(&self) -> [u8; 32] {
        self.statement.accelerator_nonce().0
    }
}

/// Parts that the hardware signed for.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) binding_id: BindingId,
    pub(crate) statement: Statement,
    pub(crate) sealing: SealingKey,
    pub(crate) receipts: ReceiptKey,
    pub(crate) manifest_digest: Sha256,
    pub(crate) manifest: ModelManifest,
}

/// Binds a bundle's parts to authentic claims. All checks run; only if all pass is there a
/// [`Bound`], and it is made here alone.
pub(crate) fn bind(
    authentic: &Authentic,
    parts: Parts,
    expectation: &Expectation,
    policy: &Policy,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<Bound> {
    let before = findings.len();
    let signed = authentic.claims().report_data();
    let expected = ReportData::bind(&parts.binding_id, &parts.freshness.fresh());
    report_data(&signed, &expected, findings);
    if let Some(stated) = &expectation.report_data {
        report_data(&signed, stated, findings);
    }
    members(&parts, findings);
    answer(&parts, expectation.freshness, policy, now, findings);
    window(&parts.statement, now, findings);
    let Parts { binding_id, statement, sealing, receipts, manifest_digest, manifest, .. } = parts;
    let all_pass = findings.iter().skip(before).all(|finding| finding.severity != Severity::Reject);
    all_pass.then_some(Bound {
        binding_id,
        statement,
        sealing,
        receipts,
        manifest_digest,
        manifest,
    })
}

/// Checks what raw vendor evidence can show: the 64 bytes that the caller stated.
pub(crate) fn check_raw(
    authentic: &Authentic,
    expectation: &Expectation,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    if let Some(stated) = &expectation.report_data {
        report_data(&authentic.claims().report_data(), stated, findings);
    } else {
        let message = "the evidence carries no binding, and no REPORT_DATA was stated: nothing ties keys to it";
        findings.push(match policy.binding {
            Presence::Required => Finding::reject(Code::BindingNotChecked, message),
            Presence::IfPresent => Finding::warn(Code::BindingNotChecked, message),
        });
    }
    match (expectation.freshness, policy.freshness) {
        (Freshness::Challenged(challenge), _) => findings.push(
            Finding::reject(
                Code::ChallengeNotAnswered,
                "raw evidence does not say which challenge it answers: state the REPORT_DATA that contains it instead",
            )
            .expected(challenge),
        ),
        (Freshness::Cached, EvidenceFreshness::Challenged) => findings.push(Finding::warn(
            Code::NotChallenged,
            "raw evidence answers no challenge; how fresh it is rests on the REPORT_DATA that the caller stated, if any",
        )),
        (Freshness::Cached, EvidenceFreshness::Cached) => {}
    }
}

/// Checks what raw evidence of accelerators alone can show: that it answers the challenge, which each
/// device's nonce is compared with.
pub(crate) fn check_accelerators(
    component: &'static str,
    expectation: &Expectation,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    let message = "evidence of accelerators alone carries no binding: nothing ties keys to it";
    let finding = match policy.binding {
        Presence::Required => Finding::reject(Code::BindingNotChecked, message),
        Presence::IfPresent => Finding::warn(Code::BindingNotChecked, message),
    };
    findings.push(finding.of(component));
    if expectation.report_data.is_some() {
        findings.push(
            Finding::reject(
                Code::ReportDataMismatch,
                "accelerators sign a nonce of 32 bytes, and no REPORT_DATA: state it as the challenge",
            )
            .of(component),
        );
    }
    if (expectation.freshness, policy.freshness)
        == (Freshness::Cached, EvidenceFreshness::Challenged)
    {
        findings.push(
            Finding::reject(
                Code::NotChallenged,
                "the policy wants evidence that answers a challenge, and none was asked",
            )
            .of(component)
            .expected("challenged")
            .actual("cached"),
        );
    }
}

fn report_data(signed: &[u8; 64], expected: &ReportData, findings: &mut Vec<Finding>) {
    if !bool::from(signed.ct_eq(&expected.0)) {
        findings.push(
            Finding::reject(Code::ReportDataMismatch, "the hardware signed for something else")
                .expected(hex::encode(expected.0))
                .actual(hex::encode(signed)),
        );
    }
}

/// Every member must be the one that the statement names.
fn members(parts: &Parts, findings: &mut Vec<Finding>) {
    let Statement {
        ohttp_keys,
        receipt_key,
        manifest,
        config,
        accelerators,
        // The router's to check: it pins the TLS key.
        tls_spki: _,
        // Keys of other protocols: none is handed out here.
        compat_key: _,
        node_id: _,
        not_before: _,
        not_after: _,
    } = &parts.statement;
    for (name, stated, carried) in [
        ("ohttp_keys", ohttp_keys, parts.ohttp_keys),
        ("receipt_key", receipt_key, parts.receipts.thumbprint()),
        ("manifest", manifest, parts.manifest_digest),
        ("config", config, parts.config),
    ] {
        if !stated.ct_eq(&carried) {
            findings.push(
                Finding::reject(
                    Code::MemberMismatch,
                    format!("{name} is not the one that the statement names"),
                )
                .of_bundle()
                .expected(stated)
                .actual(carried),
            );
        }
    }
    let written = |digest: &Option<Sha256>| digest.map_or("none".to_owned(), |d| d.to_string());
    let same = match (accelerators, &parts.accel_digest) {
        (None, None) => true,
        (Some(stated), Some(carried)) => stated.ct_eq(carried),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !same {
        findings.push(
            Finding::reject(
                Code::MemberMismatch,
                "the accelerators' evidence is not what the statement names",
            )
            .of_bundle()
            .expected(written(accelerators))
            .actual(written(&parts.accel_digest)),
        );
    }
}

fn answer(
    parts: &Parts,
    wanted: Freshness,
    policy: &Policy,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) {
    match wanted {
        Freshness::Challenged(challenge) => {
            if !parts.freshness.answers(&challenge) {
                findings.push(
                    Finding::reject(
                        Code::ChallengeNotAnswered,
                        "the evidence does not answer the challenge",
                    )
                    .of_bundle()
                    .expected(challenge)
                    .actual(match &parts.freshness {
                        FreshnessProof::None => "cached evidence".to_owned(),
                        FreshnessProof::Challenge { challenge } => challenge.to_string(),
                        FreshnessProof::Batch { root, .. } => {
                            format!("a batch with the root {root}")
                        }
                    }),
                );
            }
        }
        Freshness::Cached if policy.freshness == EvidenceFreshness::Challenged => {
            findings.push(
                Finding::reject(
                    Code::NotChallenged,
                    "the policy wants evidence that answers a challenge, and none was asked",
                )
                .of_bundle()
                .expected("challenged")
                .actual("cached"),
            );
        }
        Freshness::Cached => {
            let oldest = now.saturating_sub(policy.max_age);
            if parts.statement.not_before < oldest {
                findings.push(
                    Finding::reject(Code::EvidenceTooOld, "the evidence is older than max_age")
                        .of_bundle()
                        .expected(format!("from {oldest} on"))
                        .actual(parts.statement.not_before),
                );
            }
        }
    }
}

fn window(statement: &Statement, now: UnixTime, findings: &mut Vec<Finding>) {
    if now < statement.not_before {
        findings.push(
            Finding::reject(Code::StatementNotYetValid, "the statement is not yet valid")
                .of_bundle()
                .expected(format!("not before {}", statement.not_before))
                .actual(now),
        );
    }
    if now >= statement.not_after {
        findings.push(
            Finding::reject(Code::StatementExpired, "the statement's window has ended")
                .of_bundle()
                .expected(format!("before {}", statement.not_after))
                .actual(now),
        );
    }
}
