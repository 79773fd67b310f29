//! The small part of X.509 that endorsements need: exact DER, strict profiles.
//!
//! The framing is read here, so that nothing hides between its parts, the bytes that are signed are
//! the bytes that were given, and what a stranger sends is looked at where it lies, whatever there is
//! of it: nothing is allocated. x509-parser reads what is inside the parts: times, constraints, uses.

use attestation::{Malformed, UnixTime};
use x509_parser::error::X509Error;
use x509_parser::extensions::{BasicConstraints, KeyUsage};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::crypto::{self, P256_POINT_LEN, P384_POINT_LEN, RSA_4096_LEN};

mod crl;
pub(crate) mod der;
mod extensions;

pub(crate) use crl::Crl;
pub(crate) use der::{INTEGER, SEQUENCE, element, ia5_string, small_integer};

use der::{
    BIT_STRING, IA5_STRING, OBJECT, PRINTABLE_STRING, SET, UTF8_STRING, any, only, optional,
};
pub(crate) use extensions::Extension;
use extensions::Extensions;

/// A certificate, parsed and not yet believed.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    /// The whole certificate.
    pub(crate) der: &'a [u8],
    signed: Signed<'a>,
    is_v3: bool,
    serial: &'a [u8],
    /// Names: contents octets.
    issuer: &'a [u8],
    subject: &'a [u8],
    /// The subject's name and its key, whole.
    subject_der: &'a [u8],
    key_der: &'a [u8],
    validity: (UnixTime, UnixTime),
    key: Key<'a>,
    extensions: Extensions<'a>,
    /// Whether it is an authority.
    constraints: Says<bool>,
    usage: Says<Usage>,
}

/// What a certificate's key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Key<'a> {
    /// RSA with a modulus of 4096 bits, as PKCS #1.
    Rsa4096(&'a [u8]),
    /// An uncompressed point of P-384.
    P384(&'a [u8; P384_POINT_LEN]),
    /// An uncompressed point of P-256.
    P256(&'a [u8; P256_POINT_LEN]),
    /// Any other, which nothing here uses.
    Other,
}

/// How a certificate or list is signed; nothing else is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    /// RSASSA-PSS with SHA-384 throughout and 48 bytes of salt: AMD's.
    PssSha384,
    /// ECDSA with P-256 and SHA-256: Intel's.
    EcdsaP256,
    /// ECDSA with P-384 and SHA-384: NVIDIA's.
    EcdsaP384,
}

/// What an extension says, read once: several checks ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Says<T> {
    Nothing,
    This(T),
    /// It does not parse, or is there more than once.
    Unreadable,
}

impl<T> Says<T> {
    fn read<'a, E: FromDer<'a, X509Error>>(
        extension: Extension<'a>,
        meaning: impl Fn(&E) -> T,
    ) -> Self {
        match extension {
            Extension::Missing => Self::Nothing,
            Extension::Repeated => Self::Unreadable,
            Extension::Once(value) => {
                all_of(value).map_or(Self::Unreadable, |value| Self::This(meaning(&value)))
            }
        }
    }

    const fn is_readable(&self) -> bool {
        !matches!(self, Self::Unreadable)
    }
}

/// What a key is for, of what is asked here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Usage {
    /// Certificates.
    issues: bool,
    /// Signatures other than on certificates and lists.
    signs: bool,
}

impl<'a> Certificate<'a> {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    /// Anything but one DER certificate, to the last byte.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(der).ok_or(Malformed::invalid("certificate", "is not one in exact DER"))
    }

    fn read(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let (version, rest) = optional(only(signed.tbs, SEQUENCE)?, VERSION)?;
        let (serial, rest) = element(rest, INTEGER)?;
        let (algorithm, rest) = element(rest, SEQUENCE)?;
        is_algorithm(algorithm).then_some(())?;
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (validity, rest) = element(rest, SEQUENCE)?;
        let (subject, after_subject) = element(rest, SEQUENCE)?;
        let subject_der = rest.get(..rest.len().checked_sub(after_subject.len())?)?;
        let rest = after_subject;
        let (_, after_key) = element(rest, SEQUENCE)?;
        let key = rest.get(..rest.len().checked_sub(after_key.len())?)?;
        let (_issuer_id, rest) = optional(after_key, ISSUER_ID)?;
        let (_subject_id, rest) = optional(rest, SUBJECT_ID)?;
        let (extensions, []) = optional(rest, EXTENSIONS)? else { return None };
        let (validity, not_before) = ASN1Time::from_der(validity).ok()?;
        let ([], not_after) = ASN1Time::from_der(validity).ok()? else { return None };
        let extensions = match extensions {
            None => Extensions::default(),
            Some(wrapped) => Extensions::parse(only(wrapped, SEQUENCE)?)?,
        };
        let usage = |usage: &KeyUsage| Usage {
            issues: usage.key_cert_sign(),
            signs: usage.digital_signature(),
        };
        Some(Self {
            der,
            signed,
            is_v3: match version {
                None | Some([INTEGER, 1, 0 | 1]) => false,
                Some([INTEGER, 1, 2]) => true,
                Some(_) => return None,
            },
            serial,
            issuer: is_name(issuer).then_some(issuer)?,
            subject: is_name(subject).then_some(subject)?,
            subject_der,
            key_der: key,
            validity: (unix(not_before), unix(not_after)),
            key: spki(key)?,
            extensions,
            constraints: Says::read(extensions.get(BASIC_CONSTRAINTS), |it: &BasicConstraints| {
                it.ca
            }),
            usage: Says::read(extensions.get(KEY_USAGE), usage),
        })
    }

    /// The subject's one common name; empty where there is none or are several.
    pub(crate) fn subject_cn(&self) -> &str {
        common_name(self.subject)
    }

    /// The issuer's one common name; empty where there is none or are several.
    pub(crate) fn issuer_cn(&self) -> &str {
        common_name(self.issuer)
    }

    /// Whether `issuer`'s subject is this certificate's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject
    }

    /// Whether subject and issuer are the same.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.names_issuer(self)
    }

    /// Start and end of the validity, both inclusive.
    pub(crate) const fn validity(&self) -> (UnixTime, UnixTime) {
        self.validity
    }

    /// The algorithm that it is signed with, where its signed part says the same.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.signed.algorithm()
    }

    /// Whether the owner of `key` signed this certificate.
    pub(crate) fn is_signed_by(&self, key: Key<'_>) -> bool {
        self.signed.is_signed_by(key)
    }

    /// The subject's key.
    pub(crate) const fn key(&self) -> Key<'a> {
        self.key
    }

    /// Serial number: the contents octets of the INTEGER.
    pub(crate) const fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// Whether the certificate is of version 3, repeats no extension, and marks none as critical
    /// that is not understood here.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.understands(|item| match item.oid {
            BASIC_CONSTRAINTS => self.constraints.is_readable(),
            KEY_USAGE => self.usage.is_readable(),
            _ => false,
        })
    }

    fn understands(&self, critical: impl Fn(extensions::Item<'_>) -> bool) -> bool {
        self.is_v3
            && self.extensions.are_unique()
            && self.extensions.iter().all(|item| !item.critical || critical(item))
    }

    /// Whether it may issue certificates: critical CA flag, and a key usage of certificate signing.
    pub(crate) fn is_ca(&self) -> bool {
        self.has_critical(BASIC_CONSTRAINTS)
            && self.constraints == Says::This(true)
            && matches!(self.usage, Says::This(Usage { issues: true, .. }))
    }

    /// Whether it claims to issue certificates, in any way. An extension that does not parse claims everything.
    pub(crate) const fn claims_ca(&self) -> bool {
        matches!(self.constraints, Says::This(true) | Says::Unreadable)
            || matches!(self.usage, Says::This(Usage { issues: true, .. }) | Says::Unreadable)
    }

    /// Whether its key is for signatures other than on certificates and lists.
    pub(crate) fn may_sign(&self) -> bool {
        self.has_critical(KEY_USAGE) && matches!(self.usage, Says::This(Usage { signs: true, .. }))
    }

    fn has_critical(&self, oid: &[u8]) -> bool {
        self.extensions.iter().any(|item| item.oid == oid && item.critical)
    }

    /// Whether it is a well-formed one for a key that signs OCSP responses and issues nothing (RFC 6960
    /// §4.2.2.2).
    pub(crate) fn is_for_ocsp(&self) -> bool {
        let Extension::Once(uses) = self.extension(EXTENDED_KEY_USAGE) else { return false };
        let Some(mut uses) = only(uses, SEQUENCE) else { return false };
        let mut is_for_ocsp = false;
        while let Some((usage, rest)) = element(uses, OBJECT) {
            is_for_ocsp |= usage == OCSP_SIGNING;
            uses = rest;
        }
        let understood = self.understands(|item| {
            [BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE].contains(&item.oid)
        });
        is_for_ocsp && uses.is_empty() && understood && self.may_sign() && !self.claims_ca()
    }

    /// The subject's name, DER.
    pub(crate) const fn subject_der(&self) -> &'a [u8] {
        self.subject_der
    }

    /// The subject's key, as its `SubjectPublicKeyInfo` has it: DER.
    pub(crate) const fn key_der(&self) -> &'a [u8] {
        self.key_der
    }

    /// The contents of the extension with this OID (its DER contents octets).
    pub(crate) fn extension(&self, oid: &[u8]) -> Extension<'a> {
        self.extensions.get(oid)
    }
}

/// `SEQUENCE { tbs, algorithm, signature }`: the frame that certificates and lists share.
#[derive(Clone, Copy, Debug)]
struct Signed<'a> {
    /// The bytes that are signed, header included.
    tbs: &'a [u8],
    /// The `AlgorithmIdentifier`'s contents.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let (whole, []) = element(der, SEQUENCE)? else { return None };
        let (_, after_tbs) = element(whole, SEQUENCE)?;
        let tbs = whole.get(..whole.len().checked_sub(after_tbs.len())?)?;
        let (algorithm, after_algorithm) = element(after_tbs, SEQUENCE)?;
        is_algorithm(algorithm).then_some(())?;
        let (signature, []) = element(after_algorithm, BIT_STRING)? else { return None };
        let (&0, signature) = signature.split_first()? else { return None };
        Some(Self { tbs, algorithm, signature })
    }

    /// The algorithm that the signature is made with, which the signed part repeats (RFC 5280
    /// §4.1.1.2): so the two are compared.
    fn algorithm(&self) -> Option<Algorithm> {
        let repeated = element(self.tbs, SEQUENCE).and_then(|(tbs, _)| {
            // Version and serial number come first in a certificate, the version in a list.
            let after_version = match tbs.first()? {
                0xa0 => element(tbs, 0xa0)?.1,
                _ => tbs,
            };
            let (_, after_integer) = element(after_version, INTEGER)?;
            element(after_integer, SEQUENCE)
        });
        let (repeated, _) = repeated?;
        if repeated != self.algorithm {
            return None;
        }
        match self.algorithm {
            PSS_SHA384 | PSS_SHA384_WITH_TRAILER => Some(Algorithm::PssSha384),
            ECDSA_SHA256 => Some(Algorithm::EcdsaP256),
            ECDSA_SHA384 => Some(Algorithm::EcdsaP384),
            _ => None,
        }
    }

    fn is_signed_by(&self, key: Key<'_>) -> bool {
        match key {
            Key::Rsa4096(key) => crypto::rsa_pss(key, self.tbs, self.signature),
            Key::P384(point) => crypto::p384_der(point, self.tbs, self.signature),
            Key::P256(point) => crypto::p256_der(point, self.tbs, self.signature),
            Key::Other => false,
        }
    }
}

/// RSASSA-PSS with SHA-384, MGF1-SHA-384 and 48 bytes of salt (RFC 4055 §3.1), as DER writes it.
/// There is one DER spelling of it, and a second that AMD's own roots use.
const PSS_SHA384: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
    \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30";

/// The same with the trailer field spelt out although it is the default, as in AMD's roots.
const PSS_SHA384_WITH_TRAILER: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\
    \x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\xa2\x03\x02\x01\x30\
    \xa3\x03\x02\x01\x01";

/// `ecdsa-with-SHA256`, without parameters (RFC 5758 §3.2).
const ECDSA_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// `ecdsa-with-SHA384`, without parameters.
pub(crate) const ECDSA_SHA384: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

/// OID `rsaEncryption`, contents octets.
const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// OID `id-ecPublicKey`, contents octets.
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// OID `secp384r1`, contents octets.
const SECP384R1: &[u8] = b"\x2b\x81\x04\x00\x22";
/// OID `prime256v1`, contents octets.
const PRIME256V1: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Tags within a certificate.
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
/// OIDs, contents octets.
const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
/// `id-kp-OCSPSigning`.
const OCSP_SIGNING: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x09";
const COMMON_NAME: &[u8] = b"\x55\x04\x03";

/// What x509-parser reads of `der`, if it reads all of it.
fn all_of<'a, T: FromDer<'a, X509Error>>(der: &'a [u8]) -> Option<T> {
    match T::from_der(der) {
        Ok(([], found)) => Some(found),
        _ => None,
    }
}

/// Whether these contents octets are an `AlgorithmIdentifier`'s.
fn is_algorithm(contents: &[u8]) -> bool {
    let parameters = element(contents, OBJECT).map(|(_, parameters)| parameters);
    parameters.is_some_and(|parameters| {
        parameters.is_empty() || matches!(any(parameters), Some((_, _, [])))
    })
}

/// The key in a whole `SubjectPublicKeyInfo`.
fn spki(der: &[u8]) -> Option<Key<'_>> {
    let (algorithm, rest) = element(only(der, SEQUENCE)?, SEQUENCE)?;
    is_algorithm(algorithm).then_some(())?;
    let (oid, parameters) = element(algorithm, OBJECT)?;
    let (unused, bits) = only(rest, BIT_STRING)?.split_first()?;
    let curve = only(parameters, OBJECT);
    // Bits that do not count are zero (X.690 §11.2.1).
    let spare = bits.last().map_or(0, |last| last.trailing_zeros());
    if *unused > 7 || u32::from(*unused) > spare {
        return None;
    }
    Some(if *unused != 0 {
        Key::Other
    } else if oid == RSA_ENCRYPTION && rsa_modulus_len(bits) == Some(RSA_4096_LEN) {
        Key::Rsa4096(bits)
    } else if oid == EC_PUBLIC_KEY && curve == Some(SECP384R1) {
        bits.try_into().map_or(Key::Other, Key::P384)
    } else if oid == EC_PUBLIC_KEY && curve == Some(PRIME256V1) {
        bits.try_into().map_or(Key::Other, Key::P256)
    } else {
        Key::Other
    })
}

/// Length in bytes of the modulus of a PKCS #1 `RSAPublicKey`.
fn rsa_modulus_len(key: &[u8]) -> Option<usize> {
    let (fields, []) = element(key, SEQUENCE)? else { return None };
    let (modulus, _) = element(fields, INTEGER)?;
    // The leading zero keeps an INTEGER whose top bit is set positive.
    let (&0, modulus) = modulus.split_first()? else { return None };
    Some(modulus.len())
}

/// Whether these contents octets are a name: sets of attributes (RFC 5280 §4.1.2.4).
fn is_name(name: &[u8]) -> bool {
    let is_attribute = |attribute| {
        let (_, value) = element(attribute, OBJECT)?;
        let (_, _, []) = any(value)? else { return None };
        Some(())
    };
    let mut rest = name;
    while let Some((mut set, after)) = element(rest, SET) {
        if set.is_empty() {
            return false;
        }
        while let Some((attribute, others)) = element(set, SEQUENCE) {
            if is_attribute(attribute).is_none() {
                return false;
            }
            set = others;
        }
        if !set.is_empty() {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// The one common name in a name; empty where there is none or are several.
fn common_name(name: &[u8]) -> &str {
    let mut found = None;
    let mut rest = name;
    while let Some((mut set, after)) = element(rest, SET) {
        while let Some((attribute, others)) = element(set, SEQUENCE) {
            match element(attribute, OBJECT) {
                Some((COMMON_NAME, _)) if found.is_some() => return "",
                Some((COMMON_NAME, value)) => found = Some(value),
                _ => {}
            }
            set = others;
        }
        rest = after;
    }
    match found.and_then(any) {
        Some((UTF8_STRING | PRINTABLE_STRING | IA5_STRING, text, [])) => {
            core::str::from_utf8(text).unwrap_or("")
        }
        _ => "",
    }
}

/// Times before 1970 become 1970: nothing that is checked here is that old.
fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
