//! Who we are to a peer: a certificate and its private key.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use rcgen::{CertificateParams, DnType, PublicKeyData, SignatureAlgorithm as RcgenAlgorithm};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error as Rustls, SignatureAlgorithm, SignatureScheme};

use crate::hybrid;
use crate::pin::{SpkiPin, spki};

/// A certificate and the private key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    spki: SpkiPin,
}

impl Identity {
    /// Reads a chain of certificates, the own one first, and its private key, both in PEM.
    ///
    /// # Errors
    /// No certificate, no key or more than one, or two that do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .take(CHAIN_LEN_MAX.saturating_add(1))
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::CertificateNotPem)?;
        if chain.len() > CHAIN_LEN_MAX {
            return Err(IdentityError::ChainTooLong);
        }
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        let spki = SpkiPin::of_spki(spki(own).ok_or(IdentityError::CertificateUnusable)?);
        let mut keys = PrivateKeyDer::pem_slice_iter(key);
        let key = match (keys.next(), keys.next()) {
            (Some(Ok(key)), None) => key,
            (Some(Ok(_)), Some(_)) => return Err(IdentityError::SeveralKeys),
            (None, _) => return Err(IdentityError::NoKey),
            (Some(Err(_)), _) => return Err(IdentityError::KeyNotPem),
        };
        let key = hybrid::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| IdentityError::KeyUnusable)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| {
            if matches!(error, rustls::Error::InvalidCertificate(_)) {
                IdentityError::CertificateUnusable
            } else {
                IdentityError::Mismatch
            }
        })?;
        Ok(Self { certified: Arc::new(certified), spki })
    }

    /// A certificate that a P-256 key signs for itself, for peers that pin the key. It says the key and nothing true
    /// beside: no name that is anybody's, and no end.
    ///
    /// # Errors
    /// [`IdentityError::KeyUnusable`], if the crypto library refuses to sign.
    pub fn self_signed(key: Arc<EcdsaKeyPair>, name: &str) -> Result<Self, IdentityError> {
        let unusable = || IdentityError::KeyUnusable;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| unusable())?;
        let spki = SpkiPin::of_spki(spki.as_ref());
        let key = P256(key);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(|_| unusable())?;
        let chain = vec![certificate.der().clone()];
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, Arc::new(key))), spki })
    }

    /// What a peer pins.
    pub const fn spki(&self) -> SpkiPin {
        self.spki
    }

    /// The own certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.certified.cert.first().map_or(&[], AsRef::as_ref)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.spki)
    }
}

/// The identity that new connections are made with. Connections that are open keep the one that they began with.
#[derive(Debug)]
pub struct CurrentIdentity(RwLock<Identity>);

impl CurrentIdentity {
    /// Begins with this one.
    pub fn new(identity: Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(identity)))
    }

    /// The present one.
    pub fn get(&self) -> Identity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the next connection on it is this one.
    pub fn replace(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().certified)
    }
}

impl ResolvesClientCert for CurrentIdentity {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.get().certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A key that signs where it is: its private half is never written out, not even into our own memory.
#[derive(Clone)]
struct P256(Arc<EcdsaKeyPair>);

impl P256 {
    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.sign(&SystemRandom::new(), message).ok().map(|made| made.as_ref().to_vec())
    }
}

impl fmt::Debug for P256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256(..)")
    }
}

impl PublicKeyData for P256 {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static RcgenAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for P256 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signature(message).ok_or(rcgen::Error::RingUnspecified)
    }
}

impl SigningKey for P256 {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let offered = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        offered.then(|| -> Box<dyn Signer> { Box::new(self.clone()) })
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P256 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Rustls> {
        let failed = || Rustls::General("the key did not sign".to_owned());
        self.signature(message).ok_or_else(failed)
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Why a certificate and a key were refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdentityError {
    /// A file cannot be read, or is too long to be what it should be.
    Unreadable {
        /// The file.
        path: String,
        /// What is in the way.
        why: String,
    },
    /// The file of the private key is open to others.
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// The certificates are not PEM.
    CertificateNotPem,
    /// No certificate is there.
    NoCertificate,
    /// More certificates than a chain has.
    ChainTooLong,
    /// The first certificate does not parse, or is of another version than 3, as one without extensions may be.
    CertificateUnusable,
    /// The key is not PEM.
    KeyNotPem,
    /// No private key is there.
    NoKey,
    /// More than one private key is there.
    SeveralKeys,
    /// A private key of a kind that cannot be used, or none that is right.
    KeyUnusable,
    /// The key belongs to another certificate.
    Mismatch,
}

impl IdentityError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "identity-unreadable",
            Self::Exposed { .. } => "identity-key-exposed",
            Self::CertificateNotPem => "identity-certificate-not-pem",
            Self::NoCertificate => "identity-no-certificate",
            Self::ChainTooLong => "identity-chain-too-long",
            Self::CertificateUnusable => "identity-certificate-unusable",
            Self::KeyNotPem => "identity-key-not-pem",
            Self::NoKey => "identity-no-key",
            Self::SeveralKeys => "identity-several-keys",
            Self::KeyUnusable => "identity-key-unusable",
            Self::Mismatch => "identity-mismatch",
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable { path, why } => return write!(f, "cannot read {path}: {why}"),
            Self::Exposed { path, mode } => {
                return write!(
                    f,
                    "{path} can be read by everybody, or written by others than its owner (mode {mode:04o}); `chmod 0600` it"
                );
            }
            Self::CertificateNotPem => "the certificate is not PEM",
            Self::NoCertificate => "the certificate's file holds no certificate",
            Self::ChainTooLong => "the certificate's file holds more than 8 certificates",
            Self::CertificateUnusable => "the first certificate of the file does not parse, or is not of X.509 version 3",
            Self::KeyNotPem => "the private key is not PEM",
            Self::NoKey => "the key's file holds no private key",
            Self::SeveralKeys => "the key's file holds more than one private key",
            Self::KeyUnusable => "the private key is of a kind that cannot be used",
            Self::Mismatch => "the private key belongs to another certificate",
        })
    }
}

impl std::error::Error for IdentityError {}

/// Longest chain of certificates.
const CHAIN_LEN_MAX: usize = 8;
