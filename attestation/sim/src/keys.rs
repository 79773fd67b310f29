//! The keys of simulated vendors: RSA-4096 for ARK, ASK and ASVK, P-384 for VCEK, VLEK and NVIDIA's, P-256 for
//! Intel's.

use std::fmt;

use attestation::Secret;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384,
};

use crate::der::{self, oid};
use crate::error::SimError;

/// An RSA-4096 key of a certification authority.
pub struct RsaKey(rsa::KeyPair);

impl RsaKey {
    /// A new key; takes seconds.
    pub fn generate() -> Result<Self, SimError> {
        rsa::KeyPair::generate(KeySize::Rsa4096)
            .map(Self)
            .map_err(|_| SimError::Crypto("RSA key generation"))
    }

    /// The key from its PKCS#8 form.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SimError> {
        rsa::KeyPair::from_pkcs8(bytes)
            .map(Self)
            .map_err(|_| SimError::Crypto("reading an RSA key"))
    }

    /// The key in PKCS#8.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, SimError> {
        let document: Pkcs8V1Der<'static> =
            self.0.as_der().map_err(|_| SimError::Crypto("writing an RSA key"))?;
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> Result<Vec<u8>, SimError> {
        let document: PublicKeyX509Der<'static> = self
            .0
            .public_key()
            .as_der()
            .map_err(|_| SimError::Crypto("writing an RSA public key"))?;
        Ok(document.as_ref().to_vec())
    }

    /// Signs `message`.
    pub fn sign(&self, padding: Padding, message: &[u8]) -> Result<Vec<u8>, SimError> {
        let encoding = match padding {
            Padding::PssSha384 => &RSA_PSS_SHA384,
            Padding::PssSha256 => &RSA_PSS_SHA256,
            Padding::Pkcs1Sha384 => &RSA_PKCS1_SHA384,
        };
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(encoding, &random, message, &mut signature)
            .map_err(|_| SimError::Crypto("RSA signature"))?;
        Ok(signature)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(..)")
    }
}

/// A key that signs certificates and their like.
pub trait Issuer {
    /// The signature over `message`, as it stands in a certificate. An RSA key makes it with
    /// `padding`; any other has one way.
    fn issue(&self, padding: Padding, message: &[u8]) -> Result<Vec<u8>, SimError>;
}

impl Issuer for RsaKey {
    fn issue(&self, padding: Padding, message: &[u8]) -> Result<Vec<u8>, SimError> {
        self.sign(padding, message)
    }
}

impl Issuer for EcKey {
    fn issue(&self, _: Padding, message: &[u8]) -> Result<Vec<u8>, SimError> {
        Ok(ecdsa(&self.sign(message)?))
    }
}

impl Issuer for P256Key {
    fn issue(&self, _: Padding, message: &[u8]) -> Result<Vec<u8>, SimError> {
        Ok(ecdsa(&self.sign(message)?))
    }
}

/// `ECDSA-Sig-Value` (RFC 3279 §2.2.3) from `r` and `s` of one length.
fn ecdsa(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    der::sequence(&[&der::unsigned(r), &der::unsigned(s)])
}

/// How an RSA signature is made; AMD's is always [`Padding::PssSha384`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes.
    PssSha384,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    PssSha256,
    /// PKCS #1 v1.5 with SHA-384.
    Pkcs1Sha384,
}

/// A P-384 key that signs reports (a VCEK or a VLEK).
pub struct EcKey(EcdsaKeyPair);

impl EcKey {
    /// A new key.
    pub fn generate() -> Result<Self, SimError> {
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| SimError::Crypto("P-384 key generation"))
    }

    /// The key from its PKCS#8 form.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SimError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, bytes)
            .map(Self)
            .map_err(|_| SimError::Crypto("reading a P-384 key"))
    }

    /// The key in PKCS#8.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, SimError> {
        let document = self.0.to_pkcs8v1().map_err(|_| SimError::Crypto("writing a P-384 key"))?;
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    /// The DER `SubjectPublicKeyInfo`, with the curve named and the point uncompressed.
    pub fn spki(&self) -> Vec<u8> {
        let algorithm =
            der::sequence(&[&der::object(oid::EC_PUBLIC_KEY), &der::object(oid::SECP384R1)]);
        der::sequence(&[&algorithm, &der::bit_string(self.public())])
    }

    /// The point, uncompressed: `04`, `x`, `y`.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs `message` with ECDSA and SHA-384: `r` and `s`, 48 bytes each, big-endian.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 96], SimError> {
        let random = SystemRandom::new();
        let signature =
            self.0.sign(&random, message).map_err(|_| SimError::Crypto("P-384 signature"))?;
        signature.as_ref().try_into().map_err(|_| SimError::Crypto("P-384 signature"))
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcKey(..)")
    }
}

/// A P-256 key: of Intel's authorities, of a platform (PCK), of a quoting enclave.
pub struct P256Key(EcdsaKeyPair);

impl P256Key {
    /// A new key.
    pub fn generate() -> Result<Self, SimError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| SimError::Crypto("P-256 key generation"))
    }

    /// The key from its PKCS#8 form.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SimError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes)
            .map(Self)
            .map_err(|_| SimError::Crypto("reading a P-256 key"))
    }

    /// The key in PKCS#8.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, SimError> {
        let document = self.0.to_pkcs8v1().map_err(|_| SimError::Crypto("writing a P-256 key"))?;
        Ok(Secret::new(document.as_ref().to_vec()))
    }

    /// The DER `SubjectPublicKeyInfo`, with the curve named and the point uncompressed.
    pub fn spki(&self) -> Vec<u8> {
        let algorithm =
            der::sequence(&[&der::object(oid::EC_PUBLIC_KEY), &der::object(oid::PRIME256V1)]);
        der::sequence(&[&algorithm, &der::bit_string(self.public())])
    }

    /// The point, uncompressed: `04`, `x`, `y`.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs `message` with ECDSA and SHA-256: `r` and `s`, 32 bytes each, big-endian.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SimError> {
        let random = SystemRandom::new();
        let signature =
            self.0.sign(&random, message).map_err(|_| SimError::Crypto("P-256 signature"))?;
        signature.as_ref().try_into().map_err(|_| SimError::Crypto("P-256 signature"))
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256Key(..)")
    }
}
