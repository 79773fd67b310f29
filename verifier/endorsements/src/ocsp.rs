//! The part of OCSP that asking takes (RFC 6960, RFC 9654): a request for one certificate, and of the
//! answer its form, its certificate, its nonce and its time.

use attestation::{Malformed, Sha384, UnixTime};

use crate::der::{
    BIT_STRING, BOOLEAN, CONTEXT_0, CONTEXT_1, CONTEXT_2, Der, ENUMERATED, GENERALIZED_TIME,
    INTEGER, OBJECT, OCTET_STRING, SEQUENCE, element, generalized_time,
};
use crate::x509::Certificate;

/// Octets of a nonce (RFC 9654 §2.1).
pub(crate) const NONCE_LEN: usize = 32;

/// A request for the status of `certificate`, which `issuer` issued; NVIDIA's certificates are asked
/// for with SHA-384.
pub(crate) fn request(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    nonce: &[u8; NONCE_LEN],
) -> Vec<u8> {
    let id = certificate_id(certificate, issuer);
    let list = element(SEQUENCE, &[&element(SEQUENCE, &[&id])]);
    let value = element(OCTET_STRING, &[&nonce_value(nonce)]);
    let extension = element(SEQUENCE, &[&element(OBJECT, &[NONCE]), &value]);
    let extensions = element(CONTEXT_2, &[&element(SEQUENCE, &[&extension])]);
    element(SEQUENCE, &[&element(SEQUENCE, &[&list, &extensions])])
}

/// `CertID` with SHA-384 (RFC 6960 §4.1.1).
pub(crate) fn certificate_id(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[&element(OBJECT, &[SHA384])]);
    let name = element(OCTET_STRING, &[Sha384::of(issuer.subject_der()).as_bytes()]);
    let key = element(OCTET_STRING, &[Sha384::of(issuer.key()).as_bytes()]);
    let serial = element(INTEGER, &[certificate.serial()]);
    element(SEQUENCE, &[&algorithm, &name, &key, &serial])
}

/// An answer about one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer<'a> {
    /// What it says whose status it is.
    id: Id<'a>,
    /// The extension's value, where there is one.
    nonce: Option<&'a [u8]>,
    pub(crate) this_update: UnixTime,
    pub(crate) next_update: UnixTime,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Id<'a> {
    algorithm: &'a [u8],
    name: &'a [u8],
    key: &'a [u8],
    serial: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a successful answer with one certificate's status and a time when the next one comes.
    ///
    /// # Errors
    /// Any other.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut response = whole(bytes).ok_or(BAD)?;
        match response.take(ENUMERATED) {
            Some([0]) => {}
            Some(_) => return Err(Malformed::invalid(WHAT, "says that the request failed")),
            None => return Err(BAD),
        }
        Self::of_response(response).ok_or(BAD)
    }

    fn of_response(mut response: Der<'a>) -> Option<Self> {
        let mut bytes = response.enter(CONTEXT_0)?.enter(SEQUENCE)?;
        if bytes.take(OBJECT)? != BASIC || !response.is_empty() {
            return None;
        }
        let mut basic = whole(bytes.take(OCTET_STRING)?)?;
        let mut data = basic.enter(SEQUENCE)?;
        basic.take(SEQUENCE)?;
        basic.take(BIT_STRING)?;
        // Version 1 is not written, and there is no other.
        let responder = data.next()?;
        if ![CONTEXT_1, CONTEXT_2].contains(&responder.tag) {
            return None;
        }
        generalized_time(data.take(GENERALIZED_TIME)?)?;
        let mut responses = data.enter(SEQUENCE)?;
        let single = responses.enter(SEQUENCE)?;
        let nonce = match data.enter(CONTEXT_1) {
            Some(extensions) => find_nonce(extensions)?,
            None => None,
        };
        if !responses.is_empty() || !data.is_empty() {
            return None;
        }
        Self::of_single(single, nonce)
    }

    fn of_single(mut single: Der<'a>, nonce: Option<&'a [u8]>) -> Option<Self> {
        let mut id = single.enter(SEQUENCE)?;
        let id = Id {
            algorithm: id.enter(SEQUENCE)?.take(OBJECT)?,
            name: id.take(OCTET_STRING)?,
            key: id.take(OCTET_STRING)?,
            serial: id.take(INTEGER)?,
        };
        // Good, revoked or unknown: what follows from it is the verifier's to say.
        let status = single.next()?;
        if ![GOOD, CONTEXT_1, UNKNOWN].contains(&status.tag) {
            return None;
        }
        let this_update = generalized_time(single.take(GENERALIZED_TIME)?)?;
        let next_update = generalized_time(single.enter(CONTEXT_0)?.take(GENERALIZED_TIME)?)?;
        Some(Self { id, nonce, this_update, next_update })
    }

    /// Whether it is about `certificate` of `issuer`.
    pub(crate) fn is_about(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        self.id.algorithm == SHA384
            && self.id.name == Sha384::of(issuer.subject_der()).as_bytes()
            && self.id.key == Sha384::of(issuer.key()).as_bytes()
            && self.id.serial == certificate.serial()
    }

    /// Whether it repeats `nonce`.
    pub(crate) fn repeats(&self, nonce: &[u8; NONCE_LEN]) -> bool {
        self.nonce == Some(nonce_value(nonce).as_slice())
    }
}

/// One SEQUENCE and nothing after it.
fn whole(bytes: &[u8]) -> Option<Der<'_>> {
    let mut der = Der::new(bytes);
    let inside = der.enter(SEQUENCE)?;
    der.is_empty().then_some(inside)
}

/// The nonce among `Extensions`; the outer `None` says that they are no such list.
#[expect(clippy::option_option, reason = "malformed, without a nonce, with one")]
fn find_nonce(mut extensions: Der<'_>) -> Option<Option<&[u8]>> {
    let mut list = extensions.enter(SEQUENCE)?;
    let mut found = None;
    while !list.is_empty() {
        let mut extension = list.enter(SEQUENCE)?;
        let oid = extension.take(OBJECT)?;
        // Where it is not critical nothing is written.
        let _ = extension.take(BOOLEAN);
        let value = extension.take(OCTET_STRING)?;
        if oid == NONCE {
            found = Some(value);
        }
    }
    Some(found)
}

/// `Nonce ::= OCTET STRING`, DER.
fn nonce_value(nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    element(OCTET_STRING, &[nonce])
}

const WHAT: &str = "OCSP response";
const BAD: Malformed = Malformed::invalid(
    WHAT,
    "is not a basic one about one certificate that says when the next comes",
);
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// id-pkix-ocsp-nonce, 1.3.6.1.5.5.7.48.1.2.
const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
/// id-sha384, 2.16.840.1.101.3.4.2.2.
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
/// `[0] IMPLICIT NULL`.
const GOOD: u8 = 0x80;
/// `[2] IMPLICIT NULL`.
const UNKNOWN: u8 = 0x82;
