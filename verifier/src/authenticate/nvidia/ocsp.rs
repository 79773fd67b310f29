//! Revocation: what NVIDIA's OCSP service says of the certificates between the signing key's and the
//! root. The signing key's own is made by the device at each boot, so that nobody could answer for it.

use core::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use attestation::Sha256;

use super::chain::{Chain, ROLES};
use super::{Ends, Fact, Inputs};
use crate::finding::{Code, Finding, Severity};
use crate::ocsp::{Answer, Issuer, Response, Status};
use crate::policy::Presence;
use crate::x509::{Algorithm, Certificate, Key};

/// What was found out with devices before this one: those of one kind share all certificates but two.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// What was said of a certificate.
    said: RefCell<BTreeMap<Asked, (Vec<Finding>, Ends)>>,
    /// How answers name an issuer, by its certificate's digest; none where they cannot.
    issuers: RefCell<BTreeMap<Sha256, Option<Rc<Issuer<'a>>>>>,
    /// Of certificates that came with answers, by their octets: many answers carry the same.
    carried: RefCell<BTreeMap<&'a [u8], Carried>>,
}

/// What decides what is said of a certificate: whether an answer is demanded, and the digests of it and of those above it.
type Asked = (Presence, Vec<Sha256>);

/// What a certificate that came with an answer is by itself, whoever issued it.
#[derive(Clone, Copy, Debug)]
struct Carried {
    digest: Sha256,
    is_for_ocsp: bool,
}

impl<'a> Known<'a> {
    fn issuer(&self, certificate: &Certificate<'a>, digest: Sha256) -> Option<Rc<Issuer<'a>>> {
        let mut issuers = self.issuers.borrow_mut();
        issuers.entry(digest).or_insert_with(|| Issuer::of(certificate).map(Rc::new)).clone()
    }

    fn carried(&self, certificate: &Certificate<'a>) -> Carried {
        *self.carried.borrow_mut().entry(certificate.der).or_insert_with(|| Carried {
            digest: Sha256::of(certificate.der),
            is_for_ocsp: certificate.is_for_ocsp()
                && certificate.algorithm() == Some(Algorithm::EcdsaP384),
        })
    }
}

/// Checks what is said of the chip, the provisioner and the identity. Of each, one good and current
/// answer is enough; what was revoked for good stays so, whatever another answer says.
pub(super) fn check<'a>(
    chain: &Chain<'a>,
    revocation: Presence,
    inputs: Inputs<'a>,
    ends: &mut Ends,
    findings: &mut Vec<Finding>,
) {
    let mut above = chain.above().as_slice();
    let mut digests = chain.digests_above();
    for role in ROLES {
        let Some((certificate, cas)) = above.split_first() else { return };
        let rest = digests.get(1..).unwrap_or_default();
        let (Some(issuer), Some(of_issuer)) = (cas.first(), rest.first()) else { return };
        let key = (revocation, digests.to_vec());
        let known = inputs.known.said.borrow().get(&key).cloned();
        let (own, own_ends) = known.unwrap_or_else(|| {
            let issuer = inputs.known.issuer(issuer, *of_issuer);
            let said = one(role, certificate, issuer.as_deref(), cas, revocation, inputs);
            inputs.known.said.borrow_mut().insert(key, said.clone());
            said
        });
        findings.extend(own);
        ends.extend(own_ends);
        above = cas;
        digests = rest;
    }
}

/// Checks what is said of one certificate.
fn one<'a>(
    role: &str,
    certificate: &Certificate<'a>,
    issuer: Option<&Issuer<'_>>,
    cas: &[Certificate<'a>],
    revocation: Presence,
    inputs: Inputs<'a>,
) -> (Vec<Finding>, Ends) {
    let (mut findings, mut ends) = (Vec::new(), Ends::new());
    let mut said = Said::default();
    if let Some(issuer) = issuer {
        for response in inputs.responses {
            let may_answer = OnceCell::new();
            for answer in response.answers.iter().filter(|it| it.is_about(certificate, issuer)) {
                let may_answer = *may_answer.get_or_init(|| authority(response, cas, inputs));
                said.add(response, answer, may_answer, inputs, role);
            }
        }
    }
    said.conclude(role, certificate, revocation, &mut ends, &mut findings);
    (findings, ends)
}

/// What all answers about one certificate add up to.
#[derive(Default)]
struct Said {
    any: bool,
    /// The authentic answer that is the newest, and whether it is current.
    newest: Option<(attestation::UnixTime, Status)>,
    revoked: bool,
    /// The latest end of a good and current answer.
    good: Option<attestation::UnixTime>,
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
        // Of two of one moment, whichever is not good: in what order they come is the sender's to choose.
        let is_newest = self.newest.is_none_or(|(newest, status)| {
            answer.this_update > newest || answer.this_update == newest && status == Status::Good
        });
        if is_newest {
            self.newest = Some((answer.this_update, answer.status));
        }
        if self.wrong.len() == before && answer.status == Status::Good {
            self.good = self.good.max(end);
        }
    }

    fn conclude(
        mut self,
        role: &str,
        certificate: &Certificate<'_>,
        revocation: Presence,
        ends: &mut Ends,
        findings: &mut Vec<Finding>,
    ) {
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
        if let (Some(end), None) = (self.good, stands) {
            ends.push((format!("OCSP response about the {role}").into(), end));
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
    }
}

/// Whether a response is signed by one who may answer: the certificate's issuer, a CA above that, or
/// whom one of these named for it (RFC 6960 §4.2.2.2). The chip's issuer is a line in a factory, and
/// NVIDIA answers for what that made; so those above it may answer too.
fn authority<'a>(
    response: &Response<'a>,
    cas: &[Certificate<'a>],
    inputs: Inputs<'a>,
) -> Result<(), Code> {
    let signatures = inputs.signatures;
    let signs = |key: Key<'_>| {
        let Key::P384(point) = key else { return false };
        let fact = Fact { signed: response.digest, point: *point };
        signatures.holds(fact, || response.is_signed_by(key))
    };
    let is_delegate = |certificate: &&Certificate<'a>| {
        let (from, to) = certificate.validity();
        let Carried { digest, is_for_ocsp } = inputs.known.carried(certificate);
        is_for_ocsp
            && from <= inputs.context.now
            && inputs.context.now <= to
            && cas.iter().any(|ca| {
                let Key::P384(point) = ca.key() else { return false };
                certificate.names_issuer(ca)
                    && signatures.holds(Fact { signed: digest, point: *point }, || {
                        certificate.is_signed_by(ca.key())
                    })
            })
    };
    // Names first: they cost nothing.
    let is_named = |certificate: &&Certificate<'_>| response.names(certificate);
    let delegates = response.certificates.iter().filter(is_named).filter(is_delegate);
    let mut may_answer = cas.iter().filter(is_named).chain(delegates).peekable();
    if may_answer.peek().is_none() {
        return Err(Code::OcspResponderNotAuthorised);
    }
    if may_answer.any(|certificate| signs(certificate.key())) {
        Ok(())
    } else {
        Err(Code::OcspSignatureInvalid)
    }
}
