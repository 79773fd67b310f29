//! What chains are made of: what was given, and what the evidence carries.

use attestation::endorsements::Kind;
use attestation::{Endorsements, Malformed};

use crate::finding::{Code, Finding};
use crate::x509::{Certificate, Crl};

/// The certificates, each once, given ones first.
pub(super) fn certificates<'a>(
    endorsements: [&'a Endorsements; 2],
    findings: &mut Vec<Finding>,
) -> Vec<Certificate<'a>> {
    parsed(Kind::Certificate, Certificate::parse, endorsements, findings)
}

/// The revocation lists, each once, given ones first.
pub(super) fn crls<'a>(
    endorsements: [&'a Endorsements; 2],
    findings: &mut Vec<Finding>,
) -> Vec<Crl<'a>> {
    parsed(Kind::Crl, Crl::parse, endorsements, findings)
}

fn parsed<'a, T>(
    kind: Kind,
    parse: impl Fn(&'a [u8]) -> Result<T, Malformed>,
    endorsements: [&'a Endorsements; 2],
    findings: &mut Vec<Finding>,
) -> Vec<T> {
    let mut parsed = Vec::new();
    let [given, carried] = endorsements.map(|all| all.items(kind));
    for der in given.iter().chain(carried.iter().filter(|der| !given.contains(der))) {
        match parse(der) {
            Ok(item) => parsed.push(item),
            Err(error) => {
                findings.push(Finding::reject(Code::EndorsementsMalformed, error.to_string()));
            }
        }
    }
    parsed
}
