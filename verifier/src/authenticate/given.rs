//! What a chain may be made of: what was given, what the evidence carries, and what is built in.

use attestation::Endorsements;

use super::Inputs;
use crate::anchors::{Period, intermediates};
use crate::finding::{Code, Finding};
use crate::x509::{Certificate, Crl};

/// The certificates, each once, given ones first.
pub(super) fn certificates<'a>(
    inputs: Inputs<'a>,
    findings: &mut Vec<Finding>,
) -> Vec<Certificate<'a>> {
    let mut parsed = Vec::new();
    let [given, carried] = inputs.endorsements.map(Endorsements::certificates);
    for der in given.iter().chain(carried.iter().filter(|der| !given.contains(der))) {
        match Certificate::parse(der) {
            Ok(certificate) => parsed.push(certificate),
            Err(error) => {
                findings.push(Finding::reject(Code::EndorsementsMalformed, error.to_string()));
            }
        }
    }
    parsed
}

/// The revocation lists, each once, given ones first.
pub(super) fn crls<'a>(inputs: Inputs<'a>, findings: &mut Vec<Finding>) -> Vec<Crl<'a>> {
    let mut parsed = Vec::new();
    let [given, carried] = inputs.endorsements.map(Endorsements::crls);
    for der in given.iter().chain(carried.iter().filter(|der| !given.contains(der))) {
        match Crl::parse(der) {
            Ok(crl) => parsed.push(crl),
            Err(error) => {
                findings.push(Finding::reject(Code::EndorsementsMalformed, error.to_string()));
            }
        }
    }
    parsed
}

/// The intermediates that are built in and were not given.
pub(super) fn built_in<'a>(
    given: &'a [Certificate<'a>],
) -> impl Iterator<Item = &'a Certificate<'a>> + Clone {
    let is_new = |built_in: &&Certificate<'_>| !given.iter().any(|have| have.der == built_in.der);
    intermediates().iter().filter(is_new)
}

/// From when to when each thing is good that a chain may be made of.
pub(super) fn periods(
    inputs: Inputs<'_>,
    given: &[Certificate<'_>],
    crls: &[Crl<'_>],
) -> impl Iterator<Item = Period> {
    // A list without an end is never without a finding.
    let of_list = |crl: &Crl<'_>| {
        let (this_update, next_update) = crl.window();
        (this_update, next_update.unwrap_or(this_update))
    };
    let certificates = given.iter().chain(intermediates()).map(Certificate::validity);
    certificates.chain(crls.iter().map(of_list)).chain(inputs.anchors.periods().iter().copied())
}
