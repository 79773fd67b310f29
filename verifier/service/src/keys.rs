//! The key that signs, and the keys that are published so that others can verify.

use std::fmt;
use std::path::{Path, PathBuf};

use attestation::{Secret, Sha256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    ParsedPublicKey, Signature, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::files::{self, FileError};
use crate::jws;

/// How tokens are signed (RFC 7518 §3.4).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA with P-384 and SHA-384.
    #[serde(rename = "ES384")]
    Es384,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Es256, Self::Es384];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    const fn curve(self) -> &'static str {
        match self {
            Self::Es256 => "P-256",
            Self::Es384 => "P-384",
        }
    }

    /// Octets of a coordinate.
    const fn width(self) -> usize {
        match self {
            Self::Es256 => 32,
            Self::Es384 => 48,
        }
    }

    /// What a `SubjectPublicKeyInfo` of the curve starts with, up to the point (RFC 5480 §2).
    const fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::Es256 => b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
            Self::Es384 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// A public key, as it is published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// `04 ‖ x ‖ y` (SEC 1 §2.3.3).
    point: Vec<u8>,
}

impl PublicKey {
    /// Reads a `PUBLIC KEY` in PEM.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let pem = files::read(path, FILE_LEN_MAX)?;
        Self::from_pem(&pem).ok_or_else(|| KeyError::NotPublic(path.to_owned()))
    }

    fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = pem_block(pem, "PUBLIC KEY")?;
        Algorithm::ALL.into_iter().find_map(|algorithm| {
            let point = der.expose().strip_prefix(algorithm.spki_prefix())?;
            // Whether it is a point of the curve.
            ParsedPublicKey::new(algorithm.verification(), point).ok()?;
            Some(Self { algorithm, point: point.to_vec() })
        })
    }

    /// Its name: the thumbprint of its JWK (RFC 7638).
    pub fn kid(&self) -> String {
        let (x, y) = self.coordinates();
        // Members in the order of their names, without white space: that is the definition.
        let crv = self.algorithm.curve();
        let jwk = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::of(jwk.as_bytes()).as_bytes())
    }

    /// The key as a JWK (RFC 7517 §4, RFC 7518 §6.2).
    pub fn jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({
            "kty": "EC",
            "crv": self.algorithm.curve(),
            "x": x,
            "y": y,
            "use": "sig",
            "alg": self.algorithm.name(),
            "kid": self.kid(),
        })
    }

    fn coordinates(&self) -> (String, String) {
        let point = self.point.get(1..).unwrap_or_default();
        let (x, y) = point.split_at(self.algorithm.width().min(point.len()));
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

/// A private key that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    header: String,
    origin: Origin,
}

/// Where a signing key is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    File,
    /// Made when the service started, and gone when it stops.
    Ephemeral,
}

impl SigningKey {
    /// Reads a `PRIVATE KEY` in PEM (PKCS #8); its curve says which algorithm it signs with.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let pem = files::read_secret(path, FILE_LEN_MAX)?;
        let not_private = || KeyError::NotPrivate(path.to_owned());
        let der = pem_block(pem.expose(), "PRIVATE KEY").ok_or_else(not_private)?;
        let parsed = Algorithm::ALL.into_iter().find_map(|algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm.signing(), der.expose()).ok()?;
            Some(Self::new(algorithm, pair, Origin::File))
        });
        parsed.ok_or_else(not_private)
    }

    /// Makes one that lasts as long as the process.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(algorithm.signing()).map_err(|_| KeyError::Refused)?;
        Ok(Self::new(algorithm, pair, Origin::Ephemeral))
    }

    fn new(algorithm: Algorithm, pair: EcdsaKeyPair, origin: Origin) -> Self {
        let public = PublicKey { algorithm, point: pair.public_key().as_ref().to_vec() };
        let header = jws::header(algorithm.name(), &public.kid());
        Self { pair, public, header, origin }
    }

    /// What others verify with.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whether it is gone when the service stops.
    pub fn is_ephemeral(&self) -> bool {
        self.origin == Origin::Ephemeral
    }

    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Signature, KeyError> {
        self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Refused)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The key that signs now, and all that are published beside it.
#[derive(Debug)]
pub(crate) struct KeyRing {
    pub(crate) signing: SigningKey,
    /// Keys that signed before, the newest first. Their tokens have minutes to live; auditors read
    /// them for longer.
    before: Vec<PublicKey>,
    /// What `/.well-known/jwks.json` answers.
    pub(crate) jwks: Bytes,
}

impl KeyRing {
    /// A key, and others to publish with it: those that follow it, and those that it follows.
    pub(crate) fn new(signing: SigningKey, publish: &[PublicKey]) -> Self {
        Self::with_before(signing, publish, Vec::new())
    }

    /// The ring of the key that follows this one's. The old key stays published.
    pub(crate) fn followed_by(&self, signing: SigningKey, publish: &[PublicKey]) -> Self {
        let mut before = self.before.clone();
        if self.signing.public != signing.public {
            before.insert(0, self.signing.public.clone());
        }
        before.retain(|key| *key != signing.public);
        before.truncate(BEFORE_MAX);
        Self::with_before(signing, publish, before)
    }

    fn with_before(signing: SigningKey, publish: &[PublicKey], before: Vec<PublicKey>) -> Self {
        let mut keys: Vec<&PublicKey> = Vec::new();
        for key in [&signing.public].into_iter().chain(publish).chain(&before) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let keys: Vec<_> = keys.into_iter().map(PublicKey::jwk).collect();
        let jwks = Bytes::from(json!({ "keys": keys }).to_string());
        Self { signing, before, jwks }
    }
}

/// The one PEM block of a kind that a file holds.
fn pem_block(pem: &[u8], label: &str) -> Option<Secret<Vec<u8>>> {
    let text = str::from_utf8(pem).ok()?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (_, rest) = text.split_once(&begin)?;
    let (body, after) = rest.split_once(&end)?;
    if after.contains(&begin) {
        return None;
    }
    let mut compact = Secret::new(Vec::with_capacity(body.len()));
    compact.append(body.as_bytes());
    compact.expose_mut().retain(|byte| !byte.is_ascii_whitespace());
    STANDARD.decode(compact.expose()).ok().map(Secret::new)
}

/// A key that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyError {
    /// Its file cannot be.
    File(FileError),
    /// A file that holds no private key of P-256 or P-384 in PEM.
    NotPrivate(PathBuf),
    /// A file that holds no public key of P-256 or P-384 in PEM.
    NotPublic(PathBuf),
    /// The cryptographic library would not do it.
    Refused,
}

impl From<FileError> for KeyError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NotPrivate(path) => write!(
                f,
                "{} holds no single PRIVATE KEY (PKCS #8, PEM) of P-256 or P-384",
                path.display()
            ),
            Self::NotPublic(path) => {
                write!(f, "{} holds no single PUBLIC KEY (PEM) of P-256 or P-384", path.display())
            }
            Self::Refused => f.write_str("the cryptographic library refused to sign"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::NotPrivate(_) | Self::NotPublic(_) | Self::Refused => None,
        }
    }
}

/// Longest file of a key.
const FILE_LEN_MAX: u64 = 16 << 10;

/// Most keys that stay published after others followed them.
const BEFORE_MAX: usize = 8;
