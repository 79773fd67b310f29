//! First stage: is it the vendor's hardware that says this, with a key that is still good?
//!
//! Nothing here judges what the hardware says; nothing after here sees what it says unless this
//! stage has passed: [`Authentic`] is made in this module alone.

use attestation::snp::{Product, SnpReport};
use attestation::{Endorsements, UnixTime};

use crate::anchors::TrustAnchors;
use crate::finding::{Code, Finding, Severity};
use crate::policy::Presence;
use crate::result::CrlNumber;

pub(crate) mod cache;
mod chain;
mod given;
mod report;
mod revocation;

pub use cache::ChainCache;

/// What the hardware says of itself, before anybody checked it.
#[derive(Debug)]
pub(crate) struct Claims {
    /// The report.
    pub(crate) report: SnpReport,
    /// The product, by the certificate, and by the report where that says it.
    pub(crate) product: Product,
    /// Whose key signed.
    pub(crate) signer: Signer,
    /// When the first of the certificates and lists ends.
    pub(crate) ends: UnixTime,
    /// The revocation list that was used, if any.
    pub(crate) crl: Option<CrlNumber>,
}

/// Whose key signed a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Signer {
    /// The chip's own key.
    Vcek,
    /// A key that this cloud provider loaded.
    Vlek {
        /// The provider, by the certificate.
        csp_id: String,
    },
}

/// Claims whose signature, chain and revocation were checked.
#[derive(Debug)]
pub(crate) struct Authentic(Claims);

impl Authentic {
    /// The claims.
    pub(crate) const fn claims(&self) -> &Claims {
        &self.0
    }
}

/// What the stage works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) report: &'a SnpReport,
    /// Those that were given, and those that the evidence carries.
    pub(crate) endorsements: [&'a Endorsements; 2],
    pub(crate) anchors: &'a TrustAnchors,
    pub(crate) revocation: Presence,
    pub(crate) now: UnixTime,
}

/// Checks everything that makes a report authentic; all checks run, and all findings are kept.
///
/// The chain may come from `chains`, which yields what following it would.
pub(crate) fn authenticate(
    inputs: Inputs<'_>,
    chains: &ChainCache,
    findings: &mut Vec<Finding>,
) -> Option<Authentic> {
    let before = findings.len();
    let chain = chain::verify(inputs, chains, findings);
    report::form(inputs.report, findings);
    let claims = chain.and_then(|chain| report::matches(inputs.report, chain, findings));
    if findings.iter().skip(before).any(fails) { None } else { claims.map(Authentic) }
}

/// Whether a finding keeps a report from being authentic. A list that is missing is the one thing
/// that leaves a report authentic and the verdict open.
fn fails(finding: &Finding) -> bool {
    finding.severity == Severity::Reject && finding.code != Code::CrlMissing
}
