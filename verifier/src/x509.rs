//! The small part of X.509 that endorsements need, over x509-parser: exact DER, strict profiles.
//!
//! The outer framing is read here, so that nothing hides between its parts and the bytes that are
//! signed are the bytes that were given; x509-parser reads what is inside.

use attestation::{Malformed, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name, X509Version};

use crate::crypto::{self, P256_POINT_LEN, P384_POINT_LEN, RSA_4096_LEN};

/// A certificate, parsed and not yet believed.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    /// The whole certificate.
    pub(crate) der: &'a [u8],
    signed: Signed<'a>,
    parsed: X509Certificate<'a>,
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

/// An extension's value, or why there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extension<'a> {
    /// It is there, once.
    Once(&'a [u8]),
    /// It is not there.
    Missing,
    /// It is there more than once.
    Repeated,
}

impl<'a> Certificate<'a> {
    /// Parses exactly one certificate.
    ///
    /// # Errors
    /// Anything but one DER certificate, to the last byte.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        const BAD: Malformed = Malformed::invalid("certificate", "is not one in exact DER");
        let signed = Signed::parse(der).ok_or(BAD)?;
        match X509Certificate::from_der(der) {
            Ok(([], parsed)) => Ok(Self { der, signed, parsed }),
            _ => Err(BAD),
        }
    }

    /// The subject's one common name; empty where there is none or are several.
    pub(crate) fn subject_cn(&self) -> &str {
        common_name(self.parsed.subject())
    }

    /// The issuer's one common name; empty where there is none or are several.
    pub(crate) fn issuer_cn(&self) -> &str {
        common_name(self.parsed.issuer())
    }

    /// Whether `issuer`'s subject is this certificate's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        self.parsed.issuer().as_raw() == issuer.parsed.subject().as_raw()
    }

    /// Whether subject and issuer are the same.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.names_issuer(self)
    }

    /// Start and end of the validity, both inclusive.
    pub(crate) fn validity(&self) -> (UnixTime, UnixTime) {
        let validity = self.parsed.validity();
        (unix(validity.not_before), unix(validity.not_after))
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
    pub(crate) fn key(&self) -> Key<'_> {
        key(self.parsed.public_key())
    }

    /// Serial number: the contents octets of the INTEGER.
    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.raw_serial()
    }

    /// Whether the certificate is of version 3, repeats no extension, and marks none as critical
    /// that is not understood here.
    pub(crate) fn is_well_formed(&self) -> bool {
        let tbs = &self.parsed.tbs_certificate;
        tbs.version() == X509Version::V3
            && tbs.extensions_map().is_ok()
            && tbs.extensions().iter().all(|extension| {
                !extension.critical
                    || matches!(
                        extension.parsed_extension(),
                        ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_)
                    )
            })
    }

    /// Whether it may issue certificates: critical CA flag, and a key usage of certificate signing.
    pub(crate) fn is_ca(&self) -> bool {
        let ca = self.parsed.basic_constraints().ok().flatten();
        let usage = self.parsed.key_usage().ok().flatten();
        ca.is_some_and(|ca| ca.critical && ca.value.ca)
            && usage.is_some_and(|usage| usage.value.key_cert_sign())
    }

    /// Whether it claims to issue certificates, in any way.
    pub(crate) fn claims_ca(&self) -> bool {
        let ca = self.parsed.basic_constraints();
        let usage = self.parsed.key_usage();
        // An extension that does not parse claims everything.
        ca.map_or(true, |ca| ca.is_some_and(|ca| ca.value.ca))
            || usage.map_or(true, |usage| usage.is_some_and(|usage| usage.value.key_cert_sign()))
    }

    /// The contents of the extension with this OID (its DER contents octets).
    pub(crate) fn extension(&self, oid: &[u8]) -> Extension<'_> {
        let mut found = self.parsed.extensions().iter().filter(|e| e.oid.as_bytes() == oid);
        match (found.next(), found.next()) {
            (None, _) => Extension::Missing,
            (Some(extension), None) => Extension::Once(extension.value),
            (Some(_), Some(_)) => Extension::Repeated,
        }
    }
}

/// A revocation list, parsed and not yet believed.
#[derive(Debug)]
pub(crate) struct Crl<'a> {
    signed: Signed<'a>,
    parsed: CertificateRevocationList<'a>,
}

impl<'a> Crl<'a> {
    /// Parses exactly one revocation list.
    ///
    /// # Errors
    /// Anything but one DER list, to the last byte.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        const BAD: Malformed = Malformed::invalid("revocation list", "is not one in exact DER");
        let signed = Signed::parse(der).ok_or(BAD)?;
        match CertificateRevocationList::from_der(der) {
            Ok(([], parsed)) => Ok(Self { signed, parsed }),
            _ => Err(BAD),
        }
    }

    /// Whether `issuer`'s subject is this list's issuer, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.parsed.issuer().as_raw() == issuer.parsed.subject().as_raw()
    }

    /// Whether the owner of `key` signed this list, with the algorithm of such keys.
    pub(crate) fn is_signed_by(&self, key: Key<'_>) -> bool {
        self.signed.algorithm().is_some() && self.signed.is_signed_by(key)
    }

    /// `thisUpdate`, and `nextUpdate` where there is one.
    pub(crate) fn window(&self) -> (UnixTime, Option<UnixTime>) {
        (unix(self.parsed.last_update()), self.parsed.next_update().map(unix))
    }

    /// The CRL number, where there is one of at most 64 bits.
    pub(crate) fn number(&self) -> Option<u64> {
        u64::try_from(self.parsed.crl_number()?).ok()
    }

    /// Whether this is a complete list of its issuer's own: version 2, no extension twice, and
    /// none critical, neither of the list (an issuing distribution point or a delta indicator) nor
    /// of an entry (a certificate issuer). Those are all the ways in which a list can say less
    /// than it seems to (RFC 5280 §5.2.4, §5.2.5, §5.3.3).
    pub(crate) fn is_complete(&self) -> bool {
        let tbs = &self.parsed.tbs_cert_list;
        let harmless = |extension: &X509Extension<'_>| !extension.critical;
        self.parsed.version() == Some(X509Version::V2)
            && tbs.extensions_map().is_ok()
            && tbs.extensions().iter().all(harmless)
            && tbs.revoked_certificates.iter().all(|e| e.extensions().iter().all(harmless))
    }

    /// Whether the certificate with this serial number is revoked.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        self.parsed.iter_revoked_certificates().any(|entry| entry.raw_serial() == serial)
    }
}

/// The contents octets of a canonical DER INTEGER in 0..=255, which is how AMD writes versions.
pub(crate) fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [0x02, 1, value @ 0..=0x7f] | [0x02, 2, 0, value @ 0x80..=0xff] => Some(value),
        _ => None,
    }
}

/// The text of a DER `IA5String`.
pub(crate) fn ia5_string(der: &[u8]) -> Option<&str> {
    let (contents, rest) = element(der, 0x16)?;
    let text = core::str::from_utf8(contents).ok()?;
    (rest.is_empty() && text.is_ascii()).then_some(text)
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

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

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
const ECDSA_SHA384: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

/// OID `rsaEncryption`, contents octets.
const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// OID `id-ecPublicKey`, contents octets.
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// OID `secp384r1`, contents octets.
const SECP384R1: &[u8] = b"\x2b\x81\x04\x00\x22";
/// OID `prime256v1`, contents octets.
const PRIME256V1: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Splits one element with this tag off the front: its contents, and what follows it. Lengths are
/// definite and minimal, as DER has them.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[got, first], rest) = der.split_first_chunk::<2>()?;
    if got != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = bytes.iter().try_fold(0_usize, |len, byte| {
                len.checked_mul(256)?.checked_add(usize::from(*byte))
            })?;
            let minimal = len >= 0x80 && bytes.first() != Some(&0);
            (minimal.then_some(len)?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

fn key<'a>(info: &'a SubjectPublicKeyInfo<'_>) -> Key<'a> {
    let bits: &[u8] = &info.subject_public_key.data;
    let algorithm = info.algorithm.algorithm.as_bytes();
    let parameters = info.algorithm.parameters.as_ref();
    if info.subject_public_key.unused_bits != 0 {
        Key::Other
    } else if algorithm == RSA_ENCRYPTION && rsa_modulus_len(bits) == Some(RSA_4096_LEN) {
        Key::Rsa4096(bits)
    } else if algorithm == EC_PUBLIC_KEY && parameters.is_some_and(|p| p.data == SECP384R1) {
        bits.try_into().map_or(Key::Other, Key::P384)
    } else if algorithm == EC_PUBLIC_KEY && parameters.is_some_and(|p| p.data == PRIME256V1) {
        bits.try_into().map_or(Key::Other, Key::P256)
    } else {
        Key::Other
    }
}

/// Length in bytes of the modulus of a PKCS #1 `RSAPublicKey`.
fn rsa_modulus_len(key: &[u8]) -> Option<usize> {
    let (fields, []) = element(key, SEQUENCE)? else { return None };
    let (modulus, _) = element(fields, INTEGER)?;
    // The leading zero keeps an INTEGER whose top bit is set positive.
    let (&0, modulus) = modulus.split_first()? else { return None };
    Some(modulus.len())
}

fn common_name<'a>(name: &'a X509Name<'_>) -> &'a str {
    let mut names = name.iter_common_name();
    match (names.next(), names.next()) {
        (Some(only), None) => only.as_str().unwrap_or(""),
        _ => "",
    }
}

/// Times before 1970 become 1970: nothing that is checked here is that old.
fn unix(time: ASN1Time) -> UnixTime {
    UnixTime::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_small_integers_count() {
        for (der, expected) in [
            (&[2, 1, 0][..], Some(0)),
            (&[2, 1, 0x7f], Some(0x7f)),
            (&[2, 2, 0, 0x80], Some(0x80)),
            (&[2, 2, 0, 0xff], Some(0xff)),
            (&[2, 2, 0, 0x7f], None), // longer than need be
            (&[2, 1, 0x80], None),    // negative
            (&[2, 2, 1, 0], None),    // 256
            (&[2, 1, 0, 0], None),    // trailing
            (&[2, 0], None),
            (&[], None),
        ] {
            assert_eq!(small_integer(der), expected, "{der:?}");
        }
    }

    #[test]
    fn only_version_3_is_well_formed() {
        let mut der = crate::anchors::intermediates()[1].der.to_vec();
        assert!(Certificate::parse(&der).unwrap().is_well_formed());
        let version = [0xa0, 3, 2, 1, 2];
        let at = der.windows(version.len()).position(|bytes| bytes == version).unwrap();
        der[at..][..version.len()].copy_from_slice(&[0xa0, 3, 2, 1, 1]);
        assert!(!Certificate::parse(&der).unwrap().is_well_formed());
    }

    #[test]
    fn a_key_is_one_of_two_kinds() {
        use sim::der;
        let info = |algorithm: &[u64], parameters: &[u8], unused: u8, key: &[u8]| {
            let bits = [&[unused], key].concat();
            let algorithm = der::sequence(&[&der::object(algorithm), parameters]);
            der::sequence(&[&algorithm, &der::tlv(BIT_STRING, &bits)])
        };
        let rsa = |len: usize| der::sequence(&[&der::unsigned(&vec![0x81; len]), &der::integer(2)]);
        let of_rsa =
            |unused, len| info(&[1, 2, 840, 113_549, 1, 1, 1], &der::null(), unused, &rsa(len));
        let of_curve = |curve: &[u64], unused, len| {
            info(&[1, 2, 840, 10045, 2, 1], &der::object(curve), unused, &vec![4; len])
        };
        let p384 = [1, 3, 132, 0, 34];
        for (what, der, expected) in [
            ("rsa-4096", of_rsa(0, 512), "rsa"),
            ("rsa-2048", of_rsa(0, 256), "other"),
            ("rsa-8192", of_rsa(0, 1024), "other"),
            ("rsa that is cut within an octet", of_rsa(1, 512), "other"),
            ("p-384", of_curve(&p384, 0, 97), "p384"),
            ("p-256", of_curve(&[1, 2, 840, 10045, 3, 1, 7], 0, 65), "p256"),
            ("p-256 of p-384's length", of_curve(&[1, 2, 840, 10045, 3, 1, 7], 0, 97), "other"),
            ("p-384, compressed", of_curve(&p384, 0, 49), "other"),
            ("p-384 that is cut within an octet", of_curve(&p384, 1, 97), "other"),
            (
                "another curve of that length",
                of_curve(&[1, 3, 36, 3, 3, 2, 8, 1, 1, 11], 0, 97),
                "other",
            ),
        ] {
            let (_, info) = SubjectPublicKeyInfo::from_der(&der).unwrap();
            let found = match key(&info) {
                Key::Rsa4096(_) => "rsa",
                Key::P384(_) => "p384",
                Key::P256(_) => "p256",
                Key::Other => "other",
            };
            assert_eq!(found, expected, "{what}");
        }
    }

    /// A list of one entry; `version` and the extensions are finished DER.
    fn list(version: &[u8], of_entry: &[u8], of_list: &[u8]) -> Vec<u8> {
        use sim::der;
        let at = der::time(UnixTime::from_secs(1_795_000_000));
        let algorithm = der::tlv(SEQUENCE, PSS_SHA384);
        let entry = der::sequence(&[&der::integer(5), &at, &der::sequence(&[of_entry])]);
        let issuer = sim::certificate::Name::amd("ARK-Genoa").encode();
        let of_list = der::explicit(0, &der::sequence(&[of_list]));
        let fields = [version, &algorithm, &issuer, &at, &at, &der::sequence(&[&entry]), &of_list];
        der::sequence(&[&der::sequence(&fields), &algorithm, &der::bit_string(&[0; 512])])
    }

    #[test]
    fn a_list_that_says_less_than_it_seems_to_is_not_complete() {
        use sim::der;
        let extension = |oid: &[u64], critical: bool, value: &[u8]| {
            let flag = if critical { der::boolean(true) } else { Vec::new() };
            der::sequence(&[&der::object(oid), &flag, &der::octet_string(value)])
        };
        let number = extension(der::oid::CRL_NUMBER, false, &der::integer(5));
        let reason = |critical| extension(der::oid::CRL_REASON, critical, &[0x0a, 1, 1]);
        let unknown = extension(&[2, 5, 29, 27], true, &der::integer(4));
        let version = der::integer(1);
        for (what, der, complete) in [
            ("complete", list(&version, &reason(false), &number), true),
            ("an entry with a condition", list(&version, &reason(true), &number), false),
            (
                "a condition",
                list(&version, &reason(false), &[number.clone(), unknown].concat()),
                false,
            ),
            ("two numbers", list(&version, &reason(false), &number.repeat(2)), false),
            ("version 1", list(&[], &reason(false), &number), false),
        ] {
            assert_eq!(Crl::parse(&der).unwrap().is_complete(), complete, "{what}");
        }
    }

    #[test]
    fn lengths_are_minimal() {
        assert_eq!(element(&[0x30, 1, 9, 8], 0x30), Some((&[9][..], &[8][..])));
        for bad in [
            &[0x31, 1, 9][..],      // another tag
            &[0x30, 2, 9],          // truncated
            &[0x30, 0x81, 1, 9],    // long form of a short length
            &[0x30, 0x82, 0, 1, 9], // leading zero
            &[0x30, 0x80, 9, 0, 0], // indefinite
            &[0x30, 0x84, 0, 0, 0, 1, 9],
            &[0x30],
            &[],
        ] {
            assert_eq!(element(bad, 0x30), None, "{bad:?}");
        }
    }

    #[test]
    fn strings_are_ascii_and_exact() {
        assert_eq!(ia5_string(b"\x16\x05Genoa"), Some("Genoa"));
        assert_eq!(ia5_string(b"\x16\x05Genoa!"), None);
        assert_eq!(ia5_string(b"\x0c\x05Genoa"), None);
        assert_eq!(ia5_string(b"\x16\x01\xff"), None);
    }
}
