//! AMD SEV-SNP: a report, signed by a chip's or a provider's key that chains to AMD.

use attestation::UnixTime;
use attestation::snp::{Product, REPORT_LEN, SnpReport};
use attestation::{Endorsements, Malformed};

use super::Context;
use crate::anchors::TrustAnchors;
use crate::finding::{Code, Finding};
use crate::policy::Presence;
use crate::result::{CrlNumber, Horizon};

mod chain;
mod pool;
mod report;
mod vek;

pub(super) use chain::Chain;

/// What the hardware says of itself.
#[derive(Debug)]
pub(crate) struct Claims {
    /// The report.
    pub(crate) report: SnpReport,
    /// The product, by the certificate, and by the report where that says it.
    pub(crate) product: Product,
    /// Whose key signed.
    pub(crate) signer: Signer,
    /// When the certificates and lists end.
    pub(crate) horizon: Horizon,
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

/// What the checks work with.
#[derive(Clone, Copy, Debug)]
struct Inputs<'a> {
    report: &'a SnpReport,
    endorsements: [&'a Endorsements; 2],
    anchors: &'a TrustAnchors,
    revocation: Presence,
    now: UnixTime,
}

/// Checks everything that makes a report authentic. The chain may come from the context's cache,
/// which yields what following it would.
///
/// # Errors
/// Bytes that are no report of a known version, or a policy without a section for it.
pub(super) fn authenticate(
    report: &[u8],
    context: Context<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Claims>, Box<Finding>> {
    let Context { policy, endorsements, chains, now } = context;
    let report =
        &SnpReport::parse(report).map_err(|malformed| Box::new(unreadable(report, &malformed)))?;
    let Some(snp) = &policy.sev_snp else {
        let message = "the policy has no section for sev-snp";
        return Err(Box::new(Finding::reject(Code::PlatformNotAllowed, message)));
    };
    let anchors = &policy.anchors;
    let inputs = Inputs { report, endorsements, anchors, revocation: snp.revocation, now };
    let chain = chain::verify(inputs, chains, findings);
    report::form(report, findings);
    Ok(chain.and_then(|chain| report::matches(report, chain, findings)))
}

/// A report that does not parse: of a version that is not known, or none at all.
fn unreadable(report: &[u8], malformed: &Malformed) -> Finding {
    match report.first_chunk() {
        Some(version) if report.len() == REPORT_LEN => Finding::reject(
            Code::ReportVersionUnsupported,
            "the report is of a version that is not known",
        )
        .expected("2, 3 or 5")
        .actual(u32::from_le_bytes(*version)),
        _ => Finding::malformed(malformed),
    }
}
