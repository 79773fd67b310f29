//! OCSP responses (RFC 6960 §4.2.1): exact DER, one signature, any number of answers.
//!
//! ```text
//! OCSPResponse      { status, [0] { id-pkix-ocsp-basic, OCTET STRING of BasicOCSPResponse } }
//! BasicOCSPResponse { tbs, algorithm, signature, [0] certificates }
//! tbs               { [0] version, responder, producedAt, answers, [1] extensions }
//! answer            { { hash, issuer's name, issuer's key, serial }, status, thisUpdate, [0] nextUpdate, [1] extensions }
//! ```

use core::cell::OnceCell;

use attestation::{Malformed, Sha256, Sha384, UnixTime};

use crate::crypto;
use crate::x509::der::{
    BIT_STRING, BOOLEAN, ENUMERATED, GENERALIZED_TIME, INTEGER, OBJECT, OCTET_STRING, SEQUENCE,
    element, only,
};
use crate::x509::{Certificate, ECDSA_SHA384, Key};

/// Most answers in one response, and most certificates beside them.
const ITEMS_MAX: usize = 16;
const CERTIFICATES_MAX: usize = 4;

/// A response, parsed and not yet believed.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    /// The digest of all of it.
    pub(crate) digest: Sha256,
    /// The bytes that are signed.
    tbs: &'a [u8],
    signature: &'a [u8],
    responder: Responder<'a>,
    /// When it was signed.
    pub(crate) produced: UnixTime,
    /// The nonce that it repeats.
    pub(crate) nonce: Option<&'a [u8]>,
    /// Its answers.
    pub(crate) answers: Vec<Answer<'a>>,
    /// Certificates that may be the responder's.
    pub(crate) certificates: Vec<Certificate<'a>>,
}

/// How a response names whoever signed it.
#[derive(Debug)]
enum Responder<'a> {
    /// By the subject's name.
    Name(&'a [u8]),
    /// By a hash of the key.
    Key(&'a [u8]),
}

/// What a response says of one certificate.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    id: CertificateId<'a>,
    /// Whether the certificate is good.
    pub(crate) status: Status,
    /// From when on this is known to be so.
    pub(crate) this_update: UnixTime,
    /// By when something newer is known.
    pub(crate) next_update: Option<UnixTime>,
}

/// Whether a certificate is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked for now: `certificateHold`.
    Held,
    /// It is revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

#[derive(Debug)]
struct CertificateId<'a> {
    hash: Hash,
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    serial: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    /// Any other: such an answer is about no certificate that is looked for.
    Other,
}

impl<'a> Response<'a> {
    /// Parses exactly one response of success, of which the caller has the digest. Many responses carry the same
    /// certificate; those in `known` are not read again.
    ///
    /// # Errors
    /// Anything but one in DER, to the last byte; a status other than success; a signature other than
    /// ECDSA with SHA-384; a critical extension; too many answers.
    pub(crate) fn parse(
        der: &'a [u8],
        digest: Sha256,
        known: &[Certificate<'a>],
    ) -> Result<Self, Malformed> {
        const BAD: Malformed = Malformed::invalid(
            "OCSP response",
            "is none of success in exact DER, signed by ECDSA with SHA-384",
        );
        Self::read(der, digest, known).ok_or(BAD)
    }

    fn read(der: &'a [u8], digest: Sha256, known: &[Certificate<'a>]) -> Option<Self> {
        let whole = only(der, SEQUENCE)?;
        let (&[SUCCESS], rest) = element(whole, ENUMERATED)? else { return None };
        let basic = only(only(rest, EXPLICIT_0)?, SEQUENCE)?;
        let (ID_BASIC, rest) = element(basic, OBJECT)? else { return None };
        let basic = only(only(rest, OCTET_STRING)?, SEQUENCE)?;
        let (tbs, after_tbs) = element(basic, SEQUENCE)?;
        let signed = basic.get(..basic.len().checked_sub(after_tbs.len())?)?;
        let (ECDSA_SHA384, rest) = element(after_tbs, SEQUENCE)? else { return None };
        let (signature, rest) = element(rest, BIT_STRING)?;
        let (&0, signature) = signature.split_first()? else { return None };
        let mut certificates = Vec::new();
        if !rest.is_empty() {
            let mut list = only(only(rest, EXPLICIT_0)?, SEQUENCE)?;
            while !list.is_empty() {
                let (_, after) = element(list, SEQUENCE)?;
                let der = list.get(..list.len().checked_sub(after.len())?)?;
                let known = known.iter().find(|known| known.der == der).cloned();
                certificates.push(known.or_else(|| Certificate::parse(der).ok())?);
                list = after;
                (certificates.len() <= CERTIFICATES_MAX).then_some(())?;
            }
        }
        Self::read_tbs(digest, tbs, (signed, signature), certificates)
    }

    fn read_tbs(
        digest: Sha256,
        tbs: &'a [u8],
        (signed, signature): (&'a [u8], &'a [u8]),
        certificates: Vec<Certificate<'a>>,
    ) -> Option<Self> {
        // The version is the default, which DER leaves out.
        let (responder, rest) = if let Some((name, rest)) = element(tbs, EXPLICIT_1) {
            element(name, SEQUENCE).filter(|(_, rest)| rest.is_empty())?;
            (Responder::Name(name), rest)
        } else {
            let (key, rest) = element(tbs, EXPLICIT_2)?;
            (Responder::Key(only(key, OCTET_STRING)?), rest)
        };
        let (produced, rest) = element(rest, GENERALIZED_TIME)?;
        let (mut list, rest) = element(rest, SEQUENCE)?;
        let extensions = if rest.is_empty() {
            Extensions::default()
        } else {
            Extensions::read(only(rest, EXPLICIT_1)?)?
        };
        let nonce = extensions.nonce;
        let mut answers = Vec::new();
        while !list.is_empty() {
            let (answer, after) = element(list, SEQUENCE)?;
            answers.push(Answer::read(answer)?);
            list = after;
            (answers.len() <= ITEMS_MAX).then_some(())?;
        }
        let produced = time(produced)?;
        Some(Self {
            digest,
            tbs: signed,
            signature,
            responder,
            produced,
            nonce,
            answers,
            certificates,
        })
    }

    /// Whether the response says that this certificate's owner signed it.
    pub(crate) fn names(&self, responder: &Certificate<'_>) -> bool {
        match (&self.responder, responder.key()) {
            (Responder::Name(name), _) => *name == responder.subject_der(),
            (Responder::Key(hash), Key::P384(point)) => crypto::is_key_hash(hash, point),
            (Responder::Key(_), _) => false,
        }
    }

    /// Whether the owner of `key` signed this response.
    pub(crate) fn is_signed_by(&self, key: Key<'_>) -> bool {
        let Key::P384(point) = key else { return false };
        crypto::p384_der(point, self.tbs, self.signature)
    }
}

impl<'a> Answer<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (id, rest) = element(der, SEQUENCE)?;
        let (status, rest) = Status::read(rest)?;
        let (this_update, rest) = element(rest, GENERALIZED_TIME)?;
        let (next_update, rest) = match element(rest, EXPLICIT_0) {
            Some((next, rest)) => (Some(time(only(next, GENERALIZED_TIME)?)?), rest),
            None => (None, rest),
        };
        if !rest.is_empty() {
            Extensions::read(only(rest, EXPLICIT_1)?)?;
        }
        let id = CertificateId::read(id)?;
        Some(Self { id, status, this_update: time(this_update)?, next_update })
    }

    /// Whether the answer is about `certificate`, which `issuer` issued.
    pub(crate) fn is_about(&self, certificate: &Certificate<'_>, issuer: &Issuer<'_>) -> bool {
        let CertificateId { hash, issuer_name, issuer_key, serial } = &self.id;
        *serial == certificate.serial()
            && match hash {
                Hash::Sha256 => issuer.sha256() == [*issuer_name, *issuer_key],
                Hash::Sha384 => issuer.sha384() == [*issuer_name, *issuer_key],
                Hash::Other => false,
            }
    }
}

/// An issuer as answers name it: its name and its key, hashed once for all of them, in the way that they use.
#[derive(Debug)]
pub(crate) struct Issuer<'a> {
    parts: [&'a [u8]; 2],
    sha256: OnceCell<[Sha256; 2]>,
    sha384: OnceCell<[Sha384; 2]>,
}

impl<'a> Issuer<'a> {
    /// The names of a certificate's owner, where its key is of P-384.
    pub(crate) fn of(certificate: &Certificate<'a>) -> Option<Self> {
        let Key::P384(point) = certificate.key() else { return None };
        let parts = [certificate.subject_der(), point.as_slice()];
        Some(Self { parts, sha256: OnceCell::new(), sha384: OnceCell::new() })
    }

    fn sha256(&self) -> [&[u8]; 2] {
        let named = self.sha256.get_or_init(|| self.parts.map(Sha256::of));
        named.each_ref().map(|digest| digest.as_bytes().as_slice())
    }

    fn sha384(&self) -> [&[u8]; 2] {
        let named = self.sha384.get_or_init(|| self.parts.map(Sha384::of));
        named.each_ref().map(|digest| digest.as_bytes().as_slice())
    }
}

impl<'a> CertificateId<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (hash, rest) = element(der, SEQUENCE)?;
        let (issuer_name, rest) = element(rest, OCTET_STRING)?;
        let (issuer_key, rest) = element(rest, OCTET_STRING)?;
        let serial = only(rest, INTEGER)?;
        let (hash, parameters) = element(hash, OBJECT)?;
        // Parameters are absent, or NULL.
        matches!(parameters, [] | [0x05, 0]).then_some(())?;
        let hash = match hash {
            SHA256 => Hash::Sha256,
            SHA384 => Hash::Sha384,
            _ => Hash::Other,
        };
        Some(Self { hash, issuer_name, issuer_key, serial })
    }
}

impl Status {
    fn read(der: &[u8]) -> Option<(Self, &[u8])> {
        match *der.first()? {
            0x80 => {
                element(der, 0x80).filter(|(null, _)| null.is_empty()).map(|(_, r)| (Self::Good, r))
            }
            0x82 => element(der, 0x82)
                .filter(|(null, _)| null.is_empty())
                .map(|(_, r)| (Self::Unknown, r)),
            EXPLICIT_1 => {
                let (revoked, rest) = element(der, EXPLICIT_1)?;
                let (at, reason) = element(revoked, GENERALIZED_TIME)?;
                time(at)?;
                if reason.is_empty() {
                    return Some((Self::Revoked, rest));
                }
                let reason = only(only(reason, EXPLICIT_0)?, ENUMERATED)?;
                let status = if reason == [CERTIFICATE_HOLD] { Self::Held } else { Self::Revoked };
                Some((status, rest))
            }
            _ => None,
        }
    }
}

/// Extensions, of which none may be critical but a nonce.
#[derive(Default)]
struct Extensions<'a> {
    nonce: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut list = only(der, SEQUENCE)?;
        let mut nonce = None;
        while !list.is_empty() {
            let (extension, after) = element(list, SEQUENCE)?;
            let (id, rest) = element(extension, OBJECT)?;
            let (is_critical, rest) = match element(rest, BOOLEAN) {
                Some((flag, rest)) => (flag == [0xff], rest),
                None => (false, rest),
            };
            let value = only(rest, OCTET_STRING)?;
            if id == ID_NONCE {
                // Twice would leave open which of them counts.
                nonce.is_none().then_some(())?;
                nonce = Some(only(value, OCTET_STRING)?);
            } else if is_critical {
                return None;
            }
            list = after;
        }
        Some(Self { nonce })
    }
}

/// `YYYYMMDDHHMMSSZ`, the one form that RFC 5280 §4.1.2.5.2 allows.
fn time(contents: &[u8]) -> Option<UnixTime> {
    let text = core::str::from_utf8(contents).ok()?;
    let digits = text.strip_suffix('Z').filter(|digits| digits.len() == 14)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let two = |at: usize| digits.get(at..at.saturating_add(2))?.parse().ok();
    let year = digits.get(..4)?.parse().ok()?;
    UnixTime::from_utc((year, two(4)?, two(6)?), (two(8)?, two(10)?, two(12)?))
}

const SUCCESS: u8 = 0;
/// `CRLReason` (RFC 5280 §5.3.1).
const CERTIFICATE_HOLD: u8 = 6;
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
const EXPLICIT_2: u8 = 0xa2;
/// OID `id-pkix-ocsp-basic`, contents octets.
const ID_BASIC: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
/// OID `id-pkix-ocsp-nonce`, contents octets.
const ID_NONCE: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x02";
/// OID `id-sha256`, contents octets.
const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
/// OID `id-sha384`, contents octets.
const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";

#[cfg(test)]
mod tests;
