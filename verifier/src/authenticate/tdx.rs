//! Intel TDX: a quote, signed by a quoting enclave that a platform's PCK vouches for, which chains
//! to Intel.

use std::sync::Arc;

use attestation::tdx::{QeReport, TdReport, TdxQuote};
use attestation::{Endorsements, UnixTime};

use super::Context;
use crate::anchors::intel::Roots;
use crate::finding::{Code, Finding};
use crate::policy::Presence;

mod chain;
mod document;
mod endorsed;
mod pck;
mod quote;

pub(crate) use endorsed::Endorsed;
pub(crate) use pck::{Authority, Pck, Platform};

/// What the hardware says of itself, and what Intel says of the hardware.
#[derive(Debug)]
pub(crate) struct Claims {
    /// The version of the quote's format.
    pub(crate) version: u16,
    /// The TD's report.
    pub(crate) report: TdReport,
    /// The quoting enclave's.
    pub(crate) qe: QeReport,
    /// How many zero bytes follow the quote.
    pub(crate) padding: usize,
    /// What Intel says of the platform and of the quoting enclave.
    pub(crate) endorsed: Arc<Endorsed>,
}

/// What the checks work with.
#[derive(Clone, Copy, Debug)]
struct Inputs<'a> {
    quote: &'a TdxQuote<'a>,
    endorsements: [&'a Endorsements; 2],
    roots: &'a Roots,
    revocation: Presence,
    now: UnixTime,
}

/// Checks everything that makes a quote authentic. What was endorsed may come from the context's
/// cache, which yields what verifying it would: so a known platform costs two signatures.
///
/// # Errors
/// Bytes that are no quote of a known form, or a policy without a section for it.
pub(super) fn authenticate(
    quote: &[u8],
    context: Context<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Claims>, Box<Finding>> {
    let Context { policy, endorsements, chains, now } = context;
    let quote =
        &TdxQuote::parse(quote).map_err(|malformed| Box::new(Finding::malformed(&malformed)))?;
    let Some(tdx) = &policy.tdx else {
        let message = "the policy has no section for tdx";
        return Err(Box::new(Finding::reject(Code::PlatformNotAllowed, message)));
    };
    let roots = policy.anchors.tdx();
    let inputs = Inputs { quote, endorsements, roots, revocation: tdx.revocation, now };
    let endorsed = endorsed::verify(inputs, chains, findings);
    quote::signature(quote, findings);
    quote::attestation_key(quote, findings);
    Ok(endorsed.map(|endorsed| {
        quote::certified(quote, &endorsed.pck, findings);
        quote::enclave(&quote.qe_report, &endorsed.qe_identity, findings);
        Claims {
            version: quote.version,
            report: quote.report.clone(),
            qe: quote.qe_report,
            padding: quote.padding,
            endorsed,
        }
    }))
}
