//! The keys of one boot: made here, used here, gone with the process (`docs/protocol.md` §5.1).

use std::fmt;
use std::sync::Arc;

use attestation::{NodeId, ReceiptKey, Sha256, SignedReceipt};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tls::{Identity, SpkiPin};
use zeroize::Zeroizing;

/// Random octets from the system.
///
/// # Panics
/// If the system has no randomness: nothing that this program does is safe without it.
#[expect(clippy::expect_used, reason = "without randomness no key and no nonce may be made")]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("the system has no randomness");
    octets
}

/// A name for this boot.
pub(crate) fn node_id() -> NodeId {
    NodeId(random())
}

/// `K_rcpt`: signs receipts, and nothing else.
pub(crate) struct ReceiptSigner {
    pair: Ed25519KeyPair,
    public: ReceiptKey,
    thumbprint: Sha256,
}

impl ReceiptSigner {
    /// A new key; none if the crypto library refuses, which it has no reason to.
    pub(crate) fn generate() -> Option<Self> {
        let seed = Zeroizing::new(random::<32>());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()?;
        let public = ReceiptKey(pair.public_key().as_ref().try_into().ok()?);
        let thumbprint = public.thumbprint();
        Some(Self { pair, public, thumbprint })
    }

    pub(crate) const fn public(&self) -> &ReceiptKey {
        &self.public
    }

    /// Signs the exact claims of a receipt; none in the same case as [`generate`](Self::generate).
    pub(crate) fn sign(&self, payload: Vec<u8>) -> Option<SignedReceipt> {
        let kid = self.thumbprint;
        let signature = self.pair.sign(&SignedReceipt::to_be_signed(&kid, &payload));
        Some(SignedReceipt { kid, payload, signature: signature.as_ref().try_into().ok()? })
    }
}

impl fmt::Debug for ReceiptSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptSigner({})", self.thumbprint)
    }
}

/// `K_tls`: P-256, for the router's leg, with the certificate that it signs for itself. It is bound whether or not the
/// configuration asks for TLS.
#[derive(Debug)]
pub(crate) struct TlsKey(Identity);

impl TlsKey {
    /// A new key; none if the crypto library refuses.
    pub(crate) fn generate() -> Option<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok()?;
        Identity::self_signed(Arc::new(key), CERTIFICATE_NAME).ok().map(Self)
    }

    /// What the router pins: the hash of the DER `SubjectPublicKeyInfo`.
    pub(crate) const fn spki(&self) -> SpkiPin {
        self.0.spki()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.clone()
    }
}

/// Stands in the certificate and plays no part: whoever checks pins the key.
const CERTIFICATE_NAME: &str = "veritee enclave";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_signed_by_the_bound_key() {
        let signer = ReceiptSigner::generate().unwrap();
        let receipt = signer.sign(b"claims".to_vec()).unwrap();
        assert_eq!(receipt.kid, signer.public().thumbprint());
        let message = SignedReceipt::to_be_signed(&receipt.kid, b"claims");
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, signer.public().0)
            .verify(&message, &receipt.signature)
            .unwrap();
        assert_ne!(ReceiptSigner::generate().unwrap().public(), signer.public());
    }

    #[test]
    fn the_certificate_has_the_key_that_is_pinned_and_every_boot_another() {
        let key = TlsKey::generate().unwrap();
        let shown = SpkiPin::of_certificate(key.identity().certificate()).unwrap();
        assert_eq!(shown, key.spki());
        assert_ne!(TlsKey::generate().unwrap().spki(), key.spki());
    }
}
