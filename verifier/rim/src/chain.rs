//! The chain from a RIM's signer to the pinned root.
//!
//! | root | file | SHA-256 of the DER | valid |
//! |---|---|---|---|
//! | "NVIDIA `CoRIM` signing Root CA" | `anchors/nvidia-corim-root.der` | `12977b5115acb038…65fa41df5d1` | 2023-03-16 to 2053-03-08 |
//!
//! Source: `anchors/README.md`.

use attestation::UnixTime;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

use crate::{Code, Reason, Signer};

/// The root that NVIDIA's RIMs are signed under, trusted as these bytes.
pub(crate) const NVIDIA_ROOT: &[u8] = include_bytes!("../anchors/nvidia-corim-root.der");

/// An uncompressed point of P-384 (SEC 1 §2.3.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningKey(pub(crate) [u8; P384_POINT_LEN]);

/// Verifies a chain, the signer's certificate first, the root last; gives its signer and key where
/// there is a key to verify with, whatever else is amiss.
pub(crate) fn signer(
    root: &[u8],
    chain: &[Vec<u8>],
    at: UnixTime,
    reasons: &mut Vec<Reason>,
) -> Option<(Signer, SigningKey)> {
    let mut certificates = Vec::new();
    for der in chain {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            let message = "brings a certificate that is not one in exact DER";
            reasons.push(Reason::new(Code::CertificateProfile, message));
            return None;
        };
        certificates.push(certificate);
    }
    // One certificate alone would be the root, which signs no RIM.
    if chain.last().is_none_or(|last| last != root) || chain.len() < 2 {
        let message = "brings a chain that does not end in NVIDIA's root for RIMs";
        reasons.push(Reason::new(Code::RootNotTrusted, message));
    }
    let leaf = certificates.first()?;
    for (depth, certificate) in certificates.iter().enumerate() {
        let mut refuse = |code, what: &str| {
            let name = common_name(certificate);
            reasons
                .push(Reason::new(code, format!("brings the certificate {name:?}, which {what}")));
        };
        if let Some(why) = unfit(certificate, depth) {
            refuse(Code::CertificateProfile, why);
        }
        let (start, end) = validity(certificate);
        if at < start {
            refuse(
                Code::CertificateNotYetValid,
                &format!("is good from {start} on, and not at {at}"),
            );
        }
        if at > end {
            refuse(Code::CertificateExpired, &format!("was good until {end}, and is not at {at}"));
        }
        // Nobody vouches for the last: it is the root, or the chain is refused.
        let Some(issuer) = certificates.get(depth.saturating_add(1)) else { break };
        if certificate.issuer().as_raw() != issuer.subject().as_raw() {
            refuse(Code::CertificateProfile, "names another issuer than the next of the chain");
        } else if !is_signed_by(certificate, issuer) {
            refuse(Code::CertificateSignatureInvalid, "the next of the chain did not sign");
        }
    }
    let (not_before, not_after) = certificates
        .iter()
        .map(validity)
        .fold((UnixTime::from_secs(0), UnixTime::END), |(start, end), (from, until)| {
            (start.max(from), end.min(until))
        });
    let key = point(leaf)?;
    Some((Signer { name: common_name(leaf).to_owned(), not_before, not_after }, SigningKey(key)))
}

/// What keeps a certificate from its place: `depth` 0 is the signer's, all others issue.
fn unfit(certificate: &X509Certificate<'_>, depth: usize) -> Option<&'static str> {
    let tbs = &certificate.tbs_certificate;
    if tbs.version() != X509Version::V3 {
        return Some("is not of version 3");
    }
    if tbs.extensions_map().is_err() {
        return Some("has an extension twice");
    }
    let understood = |parsed: &ParsedExtension<'_>| {
        matches!(parsed, ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_))
    };
    if tbs.extensions().iter().any(|it| it.critical && !understood(it.parsed_extension())) {
        return Some("has a critical extension that is not understood");
    }
    if !is_ecdsa_sha384(&certificate.signature_algorithm)
        || certificate.signature_algorithm != tbs.signature
    {
        return Some("is not signed with ECDSA and SHA-384");
    }
    if point(certificate).is_none() {
        return Some("has no key of P-384");
    }
    let (Ok(constraints), Ok(usage)) = (certificate.basic_constraints(), certificate.key_usage())
    else {
        return Some("has extensions that do not parse");
    };
    let Some(usage) = usage.map(|usage| usage.value) else { return Some("has no key usage") };
    if depth == 0 {
        if constraints.is_some_and(|constraints| constraints.value.ca) || usage.key_cert_sign() {
            return Some("signs a RIM although it is an authority's");
        }
        return (!usage.digital_signature()).then_some("is not for signatures");
    }
    let Some(constraints) = constraints.filter(|it| it.critical && it.value.ca) else {
        return Some("issues although it is no authority's");
    };
    if !usage.key_cert_sign() {
        return Some("issues although its key usage does not say so");
    }
    // RFC 5280 §4.2.1.9: how many issuing certificates may stand below this one.
    let below = u32::try_from(depth).unwrap_or(u32::MAX).saturating_sub(1);
    let longer = constraints.value.path_len_constraint.is_some_and(|most| below > most);
    longer.then_some("may not issue for a chain as long as this")
}

fn is_ecdsa_sha384(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm.as_bytes() == ECDSA_WITH_SHA384 && algorithm.parameters.is_none()
}

fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let Some(point) = point(issuer) else { return false };
    let signature = &certificate.signature_value;
    signature.unused_bits == 0
        && UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &point)
            .verify(certificate.tbs_certificate.as_ref(), &signature.data)
            .is_ok()
}

fn point(certificate: &X509Certificate<'_>) -> Option<[u8; P384_POINT_LEN]> {
    let info = certificate.public_key();
    let is_p384 = info.algorithm.algorithm.as_bytes() == EC_PUBLIC_KEY
        && info.algorithm.parameters.as_ref().is_some_and(|it| it.data == SECP384R1)
        && info.subject_public_key.unused_bits == 0;
    let key: &[u8] = &info.subject_public_key.data;
    key.try_into().ok().filter(|_| is_p384)
}

fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> &'a str {
    let mut names = certificate.subject().iter_common_name();
    names.next().and_then(|name| name.as_str().ok()).unwrap_or_default()
}

fn validity(certificate: &X509Certificate<'_>) -> (UnixTime, UnixTime) {
    let validity = certificate.validity();
    (unix(validity.not_before), unix(validity.not_after))
}

fn unix(time: ASN1Time) -> UnixTime {
    // Before 1970 nothing was signed.
    UnixTime::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

const P384_POINT_LEN: usize = 97;
/// OID `ecdsa-with-SHA384`, contents octets.
const ECDSA_WITH_SHA384: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x03";
/// OID `id-ecPublicKey`, contents octets.
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// OID `secp384r1`, contents octets.
const SECP384R1: &[u8] = b"\x2b\x81\x04\x00\x22";

#[cfg(test)]
mod tests {
    use attestation::Sha256;

    use super::*;

    #[test]
    fn the_shipped_root_is_nvidias_by_fingerprint() {
        assert_eq!(
            Sha256::of(NVIDIA_ROOT).to_string(),
            "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
        );
        let (_, root) = X509Certificate::from_der(NVIDIA_ROOT).unwrap();
        assert_eq!(common_name(&root), "NVIDIA CoRIM signing Root CA");
        assert!(is_signed_by(&root, &root) && unfit(&root, 3).is_none());
    }
}
