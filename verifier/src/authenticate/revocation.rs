//! Revocation: the list that an authority issues names certificates that it disowns (RFC 5280 §6.3;
//! AMD 57230 §4; Intel PCS v4).

use core::cell::OnceCell;
use core::ops::Deref;

use attestation::{Endorsements, UnixTime};

use super::given::crls;
use crate::finding::{Code, Finding, Severity};
use crate::policy::Presence;
use crate::x509::{Certificate, Crl};

/// The revocation lists of one appraisal.
///
/// However many chains are tried, whether a list is signed by its issuer is found out once: whoever sends evidence may send
/// many lists that nobody signed.
#[derive(Debug)]
pub(super) struct Lists<'a>(Vec<List<'a>>);

/// One list, and whether the first key that was asked about signed it.
#[derive(Debug)]
pub(super) struct List<'a> {
    crl: Crl<'a>,
    signed: OnceCell<(Vec<u8>, bool)>,
}

impl<'a> Lists<'a> {
    /// Reads what was given, and what the evidence carries.
    pub(super) fn read(endorsements: [&'a Endorsements; 2], findings: &mut Vec<Finding>) -> Self {
        let crls = crls(endorsements, findings).into_iter();
        Self(crls.map(|crl| List { crl, signed: OnceCell::new() }).collect())
    }
}

impl<'a> Deref for Lists<'a> {
    type Target = [List<'a>];

    fn deref(&self) -> &[List<'a>] {
        &self.0
    }
}

impl List<'_> {
    /// From when to when it says that it holds; a list without an end holds never.
    pub(super) fn period(&self) -> (UnixTime, UnixTime) {
        let (this_update, next_update) = self.crl.window();
        (this_update, next_update.unwrap_or(this_update))
    }

    fn is_signed_by(&self, issuer: &Certificate<'_>) -> bool {
        let verify = || self.crl.is_signed_by(issuer.key());
        let (key, holds) = self.signed.get_or_init(|| (issuer.key_der().to_vec(), verify()));
        if key == issuer.key_der() { *holds } else { verify() }
    }
}

/// Checks every list that names `issuer` as its issuer against the certificates in `subjects`, each
/// with the code of its being revoked. Yields the number and the end of the newest list that is good.
///
/// One good list is enough: beside it, a stale or worthless one is for the record. But whatever an
/// authority ever revoked stays revoked, so what a stale list of its own names counts.
pub(super) fn check(
    lists: &[List<'_>],
    issuer: &Certificate<'_>,
    subjects: &[(&Certificate<'_>, Code)],
    presence: Presence,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<(u64, UnixTime)> {
    let mut newest = None;
    let mut any = false;
    let mut wrong = Vec::new();
    for list in lists.iter().filter(|list| list.crl.names_issuer(issuer)) {
        any = true;
        let before = wrong.len();
        let Some(used) = by_itself(list, issuer, now, &mut wrong) else { continue };
        for (certificate, code) in subjects {
            if list.crl.revokes(certificate.serial()) {
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
            newest = newest.max(Some(used));
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
fn by_itself(
    list: &List<'_>,
    issuer: &Certificate<'_>,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<(u64, UnixTime)> {
    let crl = &list.crl;
    if !list.is_signed_by(issuer) {
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

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::sync::Arc;

    use sim::Validity;
    use sim::tdx::{IntelKeys, IntelPki};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);

    /// Two authorities of one name, and what the first one signed.
    #[test]
    fn what_one_key_signed_no_other_did_whoever_is_asked_first() {
        let not_after = NOW.saturating_add(Duration::from_hours(1));
        let validity = Validity { not_before: NOW, not_after };
        let pki = || IntelPki::new(Arc::new(IntelKeys::generate().unwrap()), validity).unwrap();
        let [own, other] = [pki(), pki()];
        let der = own.root_crl_recipe(1).sign(&own.keys().root).unwrap();
        let mut given = Endorsements::new();
        given.add_crl(&der).unwrap();
        let none = Endorsements::new();
        let [own, other] = [&own, &other].map(|pki| Certificate::parse(pki.root()).unwrap());
        for asked in [[&own, &other, &own], [&other, &own, &other]] {
            let lists = Lists::read([&given, &none], &mut Vec::new());
            for issuer in asked {
                let mut findings = Vec::new();
                let used = check(&lists, issuer, &[], Presence::Required, NOW, &mut findings);
                let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
                if issuer.der == own.der {
                    assert_eq!((used.map(|(number, _)| number), codes), (Some(1), vec![]));
                } else {
                    assert_eq!((used, codes), (None, vec![Code::CrlSignatureInvalid]));
                }
            }
        }
    }
}
