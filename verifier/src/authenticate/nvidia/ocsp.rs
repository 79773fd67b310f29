//! Revocation: what NVIDIA's OCSP service says of the certificates between the signing key's and the
//! root. The signing key's own is made by the device at each boot, so that nobody could answer for it.

use core::cell::OnceCell;
use std::borrow::Cow;

use attestation::UnixTime;

use super::chain::{Chain, ROLES};
use super::{Ends, Given, ITSELF, Inputs, signature_id};
use crate::finding::{Code, Finding, Severity};
use crate::ocsp::{Answer, Issuer, Response, Status};
use crate::policy::Presence;
use crate::x509::{Algorithm, Certificate, Key};

/// Until when what is said of each role's certificate is good; none where there is more to say.
pub(super) type Good = [Option<UnixTime>; 3];

/// Checks what is said of the chip, the provisioner and the identity. Of each, one good and current
/// answer is enough; what was revoked for good stays so, whatever another answer says. What is `known`
/// of the last two is not looked up again.
pub(super) fn check(
    chain: &Chain<'_>,
    revocation: Presence,
    inputs: Inputs<'_>,
    known: Option<&Good>,
    ends: &mut Ends,
    findings: &mut Vec<Finding>,
) -> Good {
    let above = chain.above();
    let mut all = Good::default();
    for ((index, role), good) in ROLES.iter().enumerate().zip(&mut all) {
        let (Some(certificate), Some(cas @ [issuer, ..])) =
            (above.get(index), above.get(index.saturating_add(1)..))
        else {
            break;
        };
        let known = known.filter(|_| index > 0).and_then(|known| *known.get(index)?);
        if let Some(end) = known {
            ends.push((of(role), end));
            *good = known;
            continue;
        }
        let said = said(role, certificate, issuer, cas, inputs);
        let before = findings.len();
        let end = said.conclude(role, certificate, revocation, ends, findings);
        *good = end.filter(|_| findings.len() == before);
    }
    all
}

/// What ends with an answer.
fn of(role: &str) -> Cow<'static, str> {
    format!("OCSP response about the {role}").into()
}

/// What is said of one certificate. Who signed a response is looked up once, however much it says.
fn said(
    role: &str,
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    cas: &[Certificate<'_>],
    inputs: Inputs<'_>,
) -> Said {
    let mut said = Said::default();
    let Some(issuer) = Issuer::of(issuer) else { return said };
    for given in inputs.responses {
        let may_answer = OnceCell::new();
        let answers = given.response.answers.iter();
        for answer in answers.filter(|answer| answer.is_about(certificate, &issuer)) {
            let may_answer = *may_answer.get_or_init(|| authority(given, cas, inputs));
            said.add(&given.response, answer, may_answer, inputs, role);
        }
    }
    said
}

/// What all answers about one certificate add up to.
#[derive(Default)]
struct Said {
    any: bool,
    /// The authentic answer that is the newest, and whether it is current.
    newest: Option<(UnixTime, Status)>,
    revoked: bool,
    /// The latest end of a good and current answer.
    good: Option<UnixTime>,
    wrong: Vec<Finding>,
}

impl Said {
    fn add(
        &mut self,
        response: &Response<'_>,
        answer: &Answer<'_>,
        may_answer: Result<(), Code>,
        inputs: Inputs<'_>,
        role: &str,
    ) {
        self.any = true;
        if let Err(code) = may_answer {
            let message =
                format!("an OCSP response about the {role} certificate is nobody's who may answer");
            self.wrong.push(Finding::reject(code, message));
            return;
        }
        // Whatever else is wrong with an authentic answer, what it revokes is revoked.
        self.revoked |= answer.status == Status::Revoked;
        let now = inputs.context.now;
        let before = self.wrong.len();
        if let Some(nonce) = inputs.ocsp_nonce
            && response.nonce != Some(nonce.as_slice())
        {
            let message =
                format!("an OCSP response about the {role} certificate answers another question");
            self.wrong.push(Finding::reject(Code::OcspNonceMismatch, message));
        }
        if now < answer.this_update || now < response.produced {
            let from = answer.this_update.max(response.produced);
            let message = format!("an OCSP response about the {role} certificate is not yet valid");
            self.wrong.push(
                Finding::reject(Code::OcspNotYetValid, message)
                    .expected(format!("not before {from}"))
                    .actual(now),
            );
        }
        let end = answer.next_update;
        if end.is_none_or(|end| now > end) {
            let message =
                format!("an OCSP response about the {role} certificate is no longer current");
            let end = end.map_or_else(|| "stated end".to_owned(), |end| format!("not after {end}"));
            self.wrong.push(Finding::reject(Code::OcspExpired, message).expected(end).actual(now));
        }
        if self.newest.is_none_or(|(newest, _)| answer.this_update >= newest) {
            self.newest = Some((answer.this_update, answer.status));
        }
        if self.wrong.len() == before && answer.status == Status::Good {
            self.good = self.good.max(end);
        }
    }

    /// Yields the end of what is good.
    fn conclude(
        mut self,
        role: &str,
        certificate: &Certificate<'_>,
        revocation: Presence,
        ends: &mut Ends,
        findings: &mut Vec<Finding>,
    ) -> Option<UnixTime> {
        let newest = self.newest.map(|(_, status)| status);
        let held = newest == Some(Status::Held);
        let stands = if self.revoked {
            Some((Code::DeviceRevoked, "revoked"))
        } else if held {
            Some((Code::DeviceOnHold, "on hold"))
        } else if newest == Some(Status::Unknown) {
            Some((Code::DeviceStatusUnknown, "not known to NVIDIA"))
        } else {
            None
        };
        if let Some((code, what)) = stands {
            let message = format!("the {role} certificate is {what}");
            let serial = format!("serial number {}", hex::encode(certificate.serial()));
            findings.push(Finding::reject(code, message).actual(serial));
        }
        let good = self.good.filter(|_| stands.is_none());
        if let Some(end) = good {
            ends.push((of(role), end));
            for finding in &mut self.wrong {
                finding.severity = Severity::Info;
            }
        }
        findings.append(&mut self.wrong);
        if !self.any {
            let message = format!("no OCSP response about the {role} certificate was given");
            findings.push(match revocation {
                Presence::Required => Finding::reject(Code::OcspMissing, message),
                Presence::IfPresent => Finding::warn(Code::OcspMissing, message),
            });
        }
        good
    }
}

/// Whether a response is signed by one who may answer: the certificate's issuer, a CA above that, or
/// whom one of these named for it (RFC 6960 §4.2.2.2). The chip's issuer is a line in a factory, and
/// NVIDIA answers for what that made; so those above it may answer too.
fn authority(given: &Given<'_>, cas: &[Certificate<'_>], inputs: Inputs<'_>) -> Result<(), Code> {
    let Given { response, digest } = given;
    let signatures = inputs.signatures;
    let signs = |key: Key<'_>| {
        let Key::P384(point) = key else { return false };
        signatures.holds(signature_id(point, digest, ITSELF), || response.is_signed_by(key))
    };
    let is_delegate = |(place, certificate): &(usize, &Certificate<'_>)| {
        let (from, to) = certificate.validity();
        certificate.is_for_ocsp()
            && certificate.algorithm() == Some(Algorithm::EcdsaP384)
            && from <= inputs.context.now
            && inputs.context.now <= to
            && cas.iter().any(|ca| {
                let Key::P384(point) = ca.key() else { return false };
                certificate.names_issuer(ca)
                    && signatures
                        .holds(signature_id(point, digest, place.saturating_add(1)), || {
                            certificate.is_signed_by(ca.key())
                        })
            })
    };
    // Names first: they cost nothing.
    let beside = response.certificates.iter().enumerate();
    let delegates = beside
        .filter(|(_, certificate)| response.names(certificate))
        .filter(is_delegate)
        .map(|(_, certificate)| certificate);
    let named = cas.iter().filter(|certificate| response.names(certificate));
    let mut may_answer = named.chain(delegates).peekable();
    if may_answer.peek().is_none() {
        return Err(Code::OcspResponderNotAuthorised);
    }
    if may_answer.any(|certificate| signs(certificate.key())) {
        Ok(())
    } else {
        Err(Code::OcspSignatureInvalid)
    }
}
