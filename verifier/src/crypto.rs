//! The one seam to cryptography: each algorithm answers yes or no.
//!
//! ECDSA and RSA are aws-lc's, which verifies P-384 three times faster than ring; Ed25519 is
//! ring's. To carry the verifier elsewhere, only this file changes.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::signature::{self as aws, UnparsedPublicKey};
use ring::signature as ring;

/// Bytes of an RSA-4096 modulus, and of a signature under it.
pub(crate) const RSA_4096_LEN: usize = 512;
/// Bytes of an uncompressed P-384 point (SEC 1 §2.3.3).
pub(crate) const P384_POINT_LEN: usize = 97;
/// Bytes of an uncompressed P-256 point.
pub(crate) const P256_POINT_LEN: usize = 65;

/// Whether `signature` (`r ‖ s`, 48 big-endian bytes each) is that of `point`'s owner over
/// `message`, by ECDSA with P-384 and SHA-384.
pub(crate) fn p384(point: &[u8; P384_POINT_LEN], message: &[u8], signature: &[u8; 96]) -> bool {
    UnparsedPublicKey::new(&aws::ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
}

/// The same, over a signature in DER, as certificates carry it (RFC 5480).
pub(crate) fn p384_der(point: &[u8; P384_POINT_LEN], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&aws::ECDSA_P384_SHA384_ASN1, point).verify(message, signature).is_ok()
}

/// Whether `signature` is that of `point`'s owner over `message`, in DER, by ECDSA with P-256 and
/// SHA-256.
pub(crate) fn p256_der(point: &[u8; P256_POINT_LEN], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&aws::ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
}

/// The same, over `r ‖ s`, 32 big-endian bytes each, as Intel writes them outside of certificates.
pub(crate) fn p256(point: &[u8; P256_POINT_LEN], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&aws::ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
}

/// Whether `signature` is that of the RSA key's owner over `message`, by RSASSA-PSS with SHA-384,
/// MGF1-SHA-384 and a salt of 48 bytes. `key` is a PKCS #1 `RSAPublicKey`.
pub(crate) fn rsa_pss(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&aws::RSA_PSS_2048_8192_SHA384, key).verify(message, signature).is_ok()
}

/// Whether `signature` is that of the owner of the RSA-2048 key with this modulus, big-endian, and the
/// exponent 65537, over `message`, by RSASSA-PKCS1-v1_5 with SHA-256.
pub(crate) fn rsa_pkcs1_2048(modulus: &[u8; 256], message: &[u8], signature: &[u8; 256]) -> bool {
    let key = aws::RsaPublicKeyComponents { n: modulus.as_slice(), e: [1_u8, 0, 1].as_slice() };
    key.verify(&aws::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
}

/// Whether `signature` is that of the Ed25519 key's owner over `message` (RFC 8032).
pub(crate) fn ed25519(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    ring::UnparsedPublicKey::new(&ring::ED25519, key).verify(message, signature).is_ok()
}

/// Whether `name` is what OCSP calls a key: its SHA-1 (RFC 6960 §4.2.1). It chooses among keys and proves nothing.
pub(crate) fn is_key_hash(name: &[u8], key: &[u8]) -> bool {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, key).as_ref() == name
}
