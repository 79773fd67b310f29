//! What chains are made of: what was given, and what the evidence carries.

use attestation::Endorsements;

use crate::finding::{Code, Finding};
use crate::x509::Certificate;

/// The certificates, each once, given ones first.
pub(super) fn certificates<'a>(
    endorsements: [&'a Endorsements; 2],
    findings: &mut Vec<Finding>,
) -> Vec<Certificate<'a>> {
    let mut parsed = Vec::new();
    let [given, carried] = endorsements.map(Endorsements::certificates);
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
