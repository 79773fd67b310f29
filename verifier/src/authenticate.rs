//! First stage: is it the vendor's hardware that says this, with a key that is still good?
//!
//! Nothing here judges what the hardware says; nothing after here sees what it says unless this
//! stage has passed: [`Authentic`] is made in this module alone. One folder a platform; what is
//! beside the folders is the same for all.

use attestation::{Endorsements, UnixTime};

use crate::finding::{Code, Finding, Severity};
use crate::policy::Policy;
use crate::result::{CrlNumber, Horizon};

pub(crate) mod azure;
pub(crate) mod cache;
mod given;
pub(crate) mod nvidia;
mod revocation;
pub(crate) mod snp;
pub(crate) mod tdx;
mod validity;

pub use cache::ChainCache;

/// The evidence of a CPU, by its kind; the bytes are not parsed.
#[derive(Debug)]
pub(crate) enum CpuEvidence {
    /// A raw SEV-SNP attestation report.
    SnpReport(Vec<u8>),
    /// A raw TDX quote.
    TdxQuote(Vec<u8>),
}

/// What every platform is authenticated with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) policy: &'a Policy,
    /// Those that were given, and those that the evidence carries.
    pub(crate) endorsements: [&'a Endorsements; 2],
    pub(crate) chains: &'a ChainCache,
    pub(crate) now: UnixTime,
}

/// What a platform says of itself.
#[derive(Debug)]
pub(crate) enum Claims {
    /// AMD SEV-SNP.
    Snp(snp::Claims),
    /// Intel TDX.
    Tdx(Box<tdx::Claims>),
}

impl Claims {
    /// The 64 bytes that the hardware signed for whoever asked.
    pub(crate) fn report_data(&self) -> [u8; 64] {
        match self {
            Self::Snp(claims) => claims.report.report_data(),
            Self::Tdx(claims) => claims.report.report_data,
        }
    }

    /// When what the claims rest on ends.
    pub(crate) fn horizon(&self) -> &Horizon {
        match self {
            Self::Snp(claims) => &claims.horizon,
            Self::Tdx(claims) => &claims.endorsed.horizon,
        }
    }

    /// Numbers that must never go back.
    pub(crate) fn numbers(&self) -> Vec<CrlNumber> {
        match self {
            Self::Snp(claims) => claims.crl.iter().cloned().collect(),
            Self::Tdx(claims) => claims.endorsed.numbers.clone(),
        }
    }
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

/// Checks everything that makes a CPU's evidence authentic; all checks run, and all findings are
/// kept.
///
/// # Errors
/// What keeps the checks from being made at all: bytes that cannot be read, a platform that the
/// policy does not know.
pub(crate) fn cpu(
    evidence: &CpuEvidence,
    context: Context<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Authentic>, Box<Finding>> {
    let before = findings.len();
    let claims = match evidence {
        CpuEvidence::SnpReport(report) => {
            snp::authenticate(report, context, findings)?.map(Claims::Snp)
        }
        CpuEvidence::TdxQuote(quote) => {
            tdx::authenticate(quote, context, findings)?.map(Box::new).map(Claims::Tdx)
        }
    };
    let passes = !findings.iter().skip(before).any(fails);
    Ok(claims.filter(|_| passes).map(Authentic))
}

/// Whether a finding keeps evidence from being authentic. A list or an OCSP response that is missing leaves
/// it authentic and the verdict open; so does TCB Info, without which a TD is still whose it is, on a
/// platform of which nobody says how good it is.
fn fails(finding: &Finding) -> bool {
    finding.severity == Severity::Reject
        && !matches!(finding.code, Code::CrlMissing | Code::TcbInfoMissing | Code::OcspMissing)
}
