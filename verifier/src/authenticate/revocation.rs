//! Revocation: the list that an authority issues names certificates that it disowns (RFC 5280 §6.3;
//! AMD 57230 §4; Intel PCS v4).

use attestation::UnixTime;

use crate::finding::{Code, Finding, Severity};
use crate::policy::Presence;
use crate::x509::{Certificate, Crl};

/// Checks every list that names `issuer` as its issuer against the certificates in `subjects`, each
/// with the code of its being revoked. Yields the number and the end of the newest list that is good.
///
/// One good list is enough: beside it, a stale or worthless one is for the record. But whatever an
/// authority ever revoked stays revoked, so what a stale list of its own names counts.
pub(super) fn check(
    crls: &[Crl<'_>],
    issuer: &Certificate<'_>,
    subjects: &[(&Certificate<'_>, Code)],
    presence: Presence,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<(u64, UnixTime)> {
    let mut newest = None;
    let mut any = false;
    let mut wrong = Vec::new();
    for crl in crls.iter().filter(|crl| crl.names_issuer(issuer)) {
        any = true;
        let before = wrong.len();
        let Some(list) = list(crl, issuer, now, &mut wrong) else { continue };
        for (certificate, code) in subjects {
            if crl.revokes(certificate.serial()) {
                findings.push(
                    Finding::reject(
                        *code,
                        format!(
                            "{} is revoked by {}",
                            certificate.subject_cn(),
                            issuer.subject_cn()
                        ),
                    )
                    .actual(format!("serial number {}", hex::encode(certificate.serial()))),
                );
            }
        }
        if wrong.len() == before {
            newest = newest.max(Some(list));
        }
    }
    if newest.is_some() {
        for finding in &mut wrong {
            finding.severity = Severity::Info;
        }
    }
    findings.append(&mut wrong);
    if !any {
        let message = format!("no revocation list of {} was given", issuer.subject_cn());
        findings.push(match presence {
            Presence::Required => Finding::reject(Code::CrlMissing, message),
            Presence::IfPresent => Finding::warn(Code::CrlMissing, message),
        });
    }
    newest
}

/// Checks one list by itself. Yields its number and end, if it is the issuer's own and complete, so
/// that what it revokes counts even where it is stale.
fn list(
    crl: &Crl<'_>,
    issuer: &Certificate<'_>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<(u64, UnixTime)> {
    if !crl.is_signed_by(issuer.key()) {
        findings.push(Finding::reject(
            Code::CrlSignatureInvalid,
            format!(
                "a revocation list names {} as its issuer, which did not sign it",
                issuer.subject_cn()
            ),
        ));
        return None;
    }
    let (this_update, next_update) = crl.window();
    if now < this_update {
        findings.push(
            Finding::reject(Code::CrlNotYetValid, "the revocation list is not yet valid")
                .expected(format!("not before {this_update}"))
                .actual(now),
        );
    }
    match next_update {
        Some(next_update) if now <= next_update => {}
        Some(next_update) => findings.push(
            Finding::reject(
                Code::CrlExpired,
                format!("the revocation list expired on {next_update}"),
            )
            .expected(format!("not after {next_update}"))
            .actual(now),
        ),
        None => findings.push(Finding::reject(
            Code::CrlExpired,
            "the revocation list says nothing about when the next one comes",
        )),
    }
    let number = crl.number();
    if number.is_none() || !crl.is_complete() {
        findings.push(Finding::reject(
            Code::CrlProfile,
            "the revocation list is not a complete one of version 2 with a number of at most 64 bits",
        ));
    }
    Some((number.unwrap_or(0), next_update.unwrap_or(now)))
}
