//! What an appraisal yields: the report in every case, and keys only with an acceptance.

use core::fmt;
use std::borrow::Cow;

use attestation::{BindingId, ModelManifest, NodeId, ReceiptKey, SealingKey, Sha256, UnixTime};
use serde::Serialize;

use crate::attested::Attested;
use crate::claims::ClaimsSet;
use crate::finding::{CPU, Family, Finding, Severity};

/// The outcome. The order is the precedence: where findings disagree, the greater one wins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check that the policy makes has passed.
    Accepted,
    /// Could not find out; trying again may help.
    Unavailable,
    /// Understood, and not acceptable; never retried, never downgraded.
    Rejected,
    /// The bytes are not what they claim to be.
    Malformed,
}

impl Verdict {
    /// The exit code of `veritee` for this verdict.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Rejected => 10,
            Self::Unavailable => 20,
            Self::Malformed => 30,
        }
    }

    /// What `findings` add up to.
    pub(crate) fn of(findings: &[Finding]) -> Self {
        findings.iter().map(Self::due_to).max().unwrap_or(Self::Accepted)
    }

    /// What one finding alone amounts to.
    pub(crate) const fn due_to(finding: &Finding) -> Self {
        match (finding.severity, finding.code.family()) {
            (Severity::Reject, Family::Malformed) => Self::Malformed,
            (Severity::Reject, Family::Rejected) => Self::Rejected,
            (Severity::Reject, Family::Unavailable) => Self::Unavailable,
            (Severity::Warn | Severity::Info, _) => Self::Accepted,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
        })
    }
}

/// Whose roots the policy trusts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnchorKind {
    /// The vendors' own, built in.
    Production,
    /// The policy's own: a test platform's, say.
    Untrusted,
}

/// Which policy judged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PolicyId {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its exact text.
    pub digest: Sha256,
}

/// Everything that an appraisal has to say: the object of `veritee verify --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The outcome.
    pub verdict: Verdict,
    /// The platform, by the evidence's content: `sev-snp`, `tdx`, `nvidia-gpu`, …, `unknown`.
    pub platform: &'static str,
    /// All findings, by severity.
    pub findings: Vec<Finding>,
    /// What the hardware says of itself; empty unless it is authentic.
    pub claims: ClaimsSet,
    /// The moment that the checks were made for.
    pub appraised_at: UnixTime,
    /// When an acceptance ends; null without one.
    pub not_after: Option<UnixTime>,
    /// Which policy judged.
    pub policy: PolicyId,
    /// Whose roots it trusts.
    pub anchors: AnchorKind,
    /// What the claims rest on, and when each part of it ends; empty unless they are authentic.
    pub horizon: Horizon,
}

/// What an acceptance rests on, and when each part of it ends: what breaks next is the first.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Horizon(Vec<Deadline>);

/// One thing that ends.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Deadline {
    /// Which device it belongs to, as findings name it.
    pub component: Cow<'static, str>,
    /// What it is: `VCEK`, `revocation list`, …
    pub what: Cow<'static, str>,
    /// The last moment at which it is good.
    pub ends: UnixTime,
}

impl Horizon {
    /// Adds something of the CPU's.
    pub(crate) fn add(&mut self, what: impl Into<Cow<'static, str>>, ends: UnixTime) {
        self.add_of(CPU, what, ends);
    }

    /// Adds something of `component`'s.
    pub(crate) fn add_of(
        &mut self,
        component: impl Into<Cow<'static, str>>,
        what: impl Into<Cow<'static, str>>,
        ends: UnixTime,
    ) {
        self.0.push(Deadline { component: component.into(), what: what.into(), ends });
    }

    /// Adds all of another's.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The same, soonest first.
    #[must_use]
    pub(crate) fn sorted(mut self) -> Self {
        self.0.sort_by_key(|deadline| deadline.ends);
        self
    }

    /// When the first of it ends.
    pub fn first(&self) -> Option<UnixTime> {
        self.0.iter().map(|deadline| deadline.ends).min()
    }

    /// Everything that ends; in a [`Report`], soonest first.
    pub fn deadlines(&self) -> &[Deadline] {
        &self.0
    }
}

impl Report {
    /// The first finding: the most severe one.
    pub fn worst(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

/// An acceptance.
#[derive(Clone, Debug)]
pub struct AttestationResult {
    pub(crate) report: Report,
    pub(crate) keys: Option<AttestedKeys>,
    pub(crate) not_after: UnixTime,
    pub(crate) policy_version: u64,
    pub(crate) crl_numbers: Vec<CrlNumber>,
}

impl AttestationResult {
    /// The report.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The keys that the evidence vouches for; none where it carries no binding of Veritee's.
    pub const fn keys(&self) -> Option<&AttestedKeys> {
        self.keys.as_ref()
    }

    /// The keys, for keeping.
    pub fn into_keys(self) -> Option<AttestedKeys> {
        self.keys
    }

    /// When the acceptance ends: the earliest end of the statement's window, the certificates, the
    /// revocation lists and the policy's `max_age`.
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The policy's version, for the memory that refuses lower ones.
    pub const fn policy_version(&self) -> u64 {
        self.policy_version
    }

    /// Numbers of the revocation lists used, for the memory that refuses lower ones.
    pub fn crl_numbers(&self) -> &[CrlNumber] {
        &self.crl_numbers
    }
}

/// A number that an acceptance rests on and that never goes back: of a revocation list, or of the
/// evaluation that Intel's documents are of. Whoever remembers the highest refuses older ones.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CrlNumber {
    /// Whose number it is: a list's issuer by its common name and fingerprint, or the document and
    /// its root.
    pub issuer: String,
    /// CRL number (RFC 5280 §5.2.3), or `tcbEvaluationDataNumber`.
    pub number: u64,
}

/// What accepted evidence vouches for.
#[derive(Clone, Debug)]
pub struct AttestedKeys {
    pub(crate) sealing: Attested<SealingKey>,
    pub(crate) receipts: Attested<ReceiptKey>,
    pub(crate) manifest: Attested<ModelManifest>,
    pub(crate) models: Vec<String>,
    pub(crate) manifest_digest: Sha256,
    pub(crate) binding_id: BindingId,
    pub(crate) node_id: NodeId,
}

impl AttestedKeys {
    /// The key that requests are sealed to.
    pub const fn sealing(&self) -> &Attested<SealingKey> {
        &self.sealing
    }

    /// The key that signs receipts.
    pub const fn receipts(&self) -> &Attested<ReceiptKey> {
        &self.receipts
    }

    /// The model's manifest.
    pub const fn manifest(&self) -> &Attested<ModelManifest> {
        &self.manifest
    }

    /// Digest of the manifest's exact bytes.
    pub const fn manifest_digest(&self) -> &Sha256 {
        &self.manifest_digest
    }

    /// Names that the manifest serves *and* the policy maps to this manifest.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// The epoch's name.
    pub const fn binding_id(&self) -> BindingId {
        self.binding_id
    }

    /// The enclave's name for this boot.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }
}

/// Anything but an acceptance. It carries the same report, and no keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub(crate) report: Box<Report>,
}

impl Refused {
    /// The report.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The code of the most severe finding.
    pub fn code(&self) -> &'static str {
        self.report.worst().map_or("rejected", |finding| finding.code.as_str())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report.verdict)?;
        if let Some(finding) = self.report.worst() {
            write!(f, ": {finding}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Refused {}
