//! The relying party's judge: decides whether evidence is acceptable, and is the only place where
//! keys become [`Attested`].
//!
//! [`appraise`] is a function of its arguments: no I/O, no clock, no randomness. It works in three
//! stages, and each sees only what the one before it has proven:
//!
//! 1. *authenticate*: the vendor's hardware says this, with a key that is still good;
//! 2. *bind*: what it signed stands for these keys, this model, this configuration, this moment;
//! 3. *appraise*: the policy accepts hardware, firmware, measurement, model and configuration.
//!
//! All checks of a stage run, and all findings are reported. There is one code path: no feature,
//! flag or argument weakens a check. A policy can, and every relaxation that it uses leaves a
//! finding.
#![forbid(unsafe_code)]

use core::cmp::Reverse;

use attestation::snp::{REPORT_LEN, SnpReport};
use attestation::{Endorsements, Evidence, EvidenceKind, Malformed, UnixTime, Unverified};

mod anchors;
mod appraise;
mod attested;
mod authenticate;
mod bind;
mod claims;
mod crypto;
mod finding;
pub mod policy;
pub mod receipt;
mod result;
mod x509;

pub use attested::{Attested, Expired};
pub use authenticate::ChainCache;
pub use bind::{Expectation, Freshness};
pub use finding::{Code, Family, Finding, Severity};
pub use policy::Policy;
pub use result::{
    AnchorKind, AttestationResult, AttestedKeys, CrlNumber, PolicyId, Refused, Report, Verdict,
};

use crate::authenticate::Inputs;
use crate::bind::Parts;

/// Judges `evidence`, with the help of `endorsements` and those that it carries, by `policy`, for
/// the moment `now`.
///
/// # Errors
/// [`Refused`], with the same report that an acceptance has: malformed, rejected or unavailable.
pub fn appraise(
    policy: &Policy,
    evidence: &Unverified<Evidence>,
    endorsements: &Unverified<Endorsements>,
    expectation: &Expectation,
    now: UnixTime,
) -> Result<AttestationResult, Refused> {
    // One that keeps nothing.
    let chains = ChainCache::new(0);
    appraise_with(&chains, policy, evidence, endorsements, expectation, now)
}

/// [`appraise`] that verifies no chain twice: one that is in `chains` costs no signature more.
///
/// The result is that of [`appraise`], always: `chains` holds no verdict, and what it yields is what
/// verifying again would. Periods of validity, the policy's anchors and lists count at every call.
///
/// # Errors
/// As [`appraise`].
pub fn appraise_with(
    chains: &ChainCache,
    policy: &Policy,
    evidence: &Unverified<Evidence>,
    endorsements: &Unverified<Endorsements>,
    expectation: &Expectation,
    now: UnixTime,
) -> Result<AttestationResult, Refused> {
    let mut appraisal = Appraisal::new(policy, chains, now);
    let kind = match EvidenceKind::detect(evidence.inspect_untrusted().as_wire()) {
        Ok(kind) => kind,
        Err(malformed) => return appraisal.malformed(&malformed),
    };
    let (report, parts) = match kind {
        EvidenceKind::Bundle => match Parts::parse(evidence.inspect_untrusted().as_wire()) {
            Ok(mut parts) => (core::mem::take(&mut parts.cpu0), Some(parts)),
            Err(malformed) => return appraisal.malformed(&malformed),
        },
        EvidenceKind::SnpReport(report) => (report, None),
        EvidenceKind::TdxQuote => return appraisal.not_supported("tdx"),
        EvidenceKind::NvidiaJson => return appraisal.not_supported("nvidia-gpu"),
        EvidenceKind::AzureHcl => return appraisal.not_supported("azure-hcl"),
        _ => return appraisal.not_supported("unknown"),
    };
    appraisal.platform = "sev-snp";
    appraisal.sev_snp(&report, parts, endorsements.inspect_untrusted(), expectation)
}

/// One appraisal on its way.
struct Appraisal<'a> {
    policy: &'a Policy,
    chains: &'a ChainCache,
    now: UnixTime,
    platform: &'static str,
    findings: Vec<Finding>,
}

impl<'a> Appraisal<'a> {
    fn new(policy: &'a Policy, chains: &'a ChainCache, now: UnixTime) -> Self {
        let mut findings = Vec::new();
        if policy.anchors() == AnchorKind::Untrusted {
            findings.push(Finding::warn(
                Code::UntrustedAnchors,
                "the policy brings its own roots: whoever holds their keys can make any evidence",
            ));
        }
        Self { policy, chains, now, platform: "unknown", findings }
    }

    fn sev_snp(
        mut self,
        report: &[u8],
        parts: Option<Parts>,
        given: &Endorsements,
        expectation: &Expectation,
    ) -> Result<AttestationResult, Refused> {
        let report = match SnpReport::parse(report) {
            Ok(report) => report,
            Err(malformed) => return self.unreadable(report, &malformed),
        };
        let Some(snp) = &self.policy.sev_snp else {
            let message = "the policy has no section for sev-snp";
            return self.refuse(Finding::reject(Code::PlatformNotAllowed, message));
        };
        let none = Endorsements::new();
        let carried = parts.as_ref().map_or(&none, |parts| &parts.endorsements);
        let inputs = Inputs {
            report: &report,
            endorsements: [given, carried],
            anchors: &self.policy.anchors,
            revocation: snp.revocation,
            now: self.now,
        };
        let authentic = authenticate::authenticate(inputs, self.chains, &mut self.findings);
        let Some(authentic) = authentic else {
            appraise::not_evaluated(parts.is_some(), &mut self.findings);
            return Err(self.refused());
        };
        let bound = if let Some(parts) = parts {
            let bound = bind::bind(
                &authentic,
                parts,
                expectation,
                self.policy,
                self.now,
                &mut self.findings,
            );
            if bound.is_none() {
                appraise::not_bound(&mut self.findings);
            }
            bound
        } else {
            bind::check_raw(&authentic, expectation, self.policy, &mut self.findings);
            // Even where its 64 bytes are those stated, it says nothing of what runs on it.
            appraise::not_bound(&mut self.findings);
            None
        };
        appraise::hardware(&authentic, snp, &mut self.findings);
        let models = bound
            .as_ref()
            .map(|bound| appraise::workload(bound, self.policy, &mut self.findings))
            .unwrap_or_default();
        self.conclude(authentic.claims(), bound, models)
    }

    /// The verdict, and, with an acceptance alone, the keys.
    fn conclude(
        self,
        claims: &authenticate::Claims,
        bound: Option<bind::Bound>,
        models: Vec<String>,
    ) -> Result<AttestationResult, Refused> {
        let policy = self.policy;
        let latest = self.now.saturating_add(policy.max_age).min(claims.ends);
        let not_after =
            bound.as_ref().map_or(latest, |bound| bound.statement.not_after.min(latest));
        let mut report = self.report();
        report.claims = claims::to_json(claims, bound.as_ref());
        if report.verdict != Verdict::Accepted {
            return Err(Refused { report: Box::new(report) });
        }
        report.not_after = Some(not_after);
        let keys = bound.map(|bound| AttestedKeys {
            sealing: Attested::new(bound.sealing, not_after),
            receipts: Attested::new(bound.receipts, not_after),
            manifest: Attested::new(bound.manifest, not_after),
            models,
            manifest_digest: bound.manifest_digest,
            binding_id: bound.binding_id,
            node_id: bound.statement.node_id,
        });
        Ok(AttestationResult {
            report,
            keys,
            not_after,
            policy_version: policy.version(),
            crl_numbers: claims.crl.iter().cloned().collect(),
        })
    }

    /// A report that does not parse: of a version that is not known, or none at all.
    fn unreadable(
        self,
        report: &[u8],
        malformed: &Malformed,
    ) -> Result<AttestationResult, Refused> {
        match report.first_chunk() {
            Some(version) if report.len() == REPORT_LEN => self.refuse(
                Finding::reject(
                    Code::ReportVersionUnsupported,
                    "the report is of a version that is not known",
                )
                .expected("2, 3 or 5")
                .actual(u32::from_le_bytes(*version)),
            ),
            _ => self.malformed(malformed),
        }
    }

    fn malformed(self, malformed: &Malformed) -> Result<AttestationResult, Refused> {
        self.refuse(Finding::reject(Code::EvidenceMalformed, malformed.to_string()))
    }

    fn not_supported(mut self, platform: &'static str) -> Result<AttestationResult, Refused> {
        self.platform = platform;
        let message = format!("evidence of {platform} is not appraised yet");
        self.refuse(Finding::reject(Code::PlatformNotSupported, message).actual(platform))
    }

    fn refuse(mut self, finding: Finding) -> Result<AttestationResult, Refused> {
        self.findings.push(finding);
        Err(self.refused())
    }

    fn refused(self) -> Refused {
        Refused { report: Box::new(self.report()) }
    }

    fn report(self) -> Report {
        let Self { policy, chains: _, now, platform, mut findings } = self;
        findings.sort_by_key(|finding| (finding.severity, Reverse(Verdict::due_to(finding))));
        Report {
            verdict: Verdict::of(&findings),
            platform,
            findings,
            claims: serde_json::Map::new(),
            appraised_at: now,
            not_after: None,
            policy: policy.id().clone(),
            anchors: policy.anchors(),
        }
    }
}
