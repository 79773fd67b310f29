//! Checks a receipt against the attested key and what the client itself saw
//! (`docs/protocol.md` §5.8).

use core::fmt;

use attestation::receipt::{Receipt, SignedReceipt};
use attestation::{BindingId, Malformed, ReceiptKey, Sha256, UnixTime, Unverified};

use crate::attested::{Attested, Expired};
use crate::crypto;

/// What the client knows of the exchange that a receipt is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transcript {
    /// The epoch that the request was sealed to.
    pub binding_id: BindingId,
    /// SHA-256 of the request's header and encapsulated key.
    pub request: Sha256,
    /// Commitment to the request's octets before padding.
    pub req_mac: Sha256,
    /// Commitment to the response's octets before the trailer section.
    pub res_mac: Sha256,
    /// Commitment to the sampling parameters.
    pub par_mac: Sha256,
    /// Digest of the attested model manifest.
    pub manifest: Sha256,
}

/// A receipt that the attested key signed, about this very exchange.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedReceipt {
    receipt: Receipt,
    digest: Sha256,
}

impl VerifiedReceipt {
    /// The claims.
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Hash of the signed receipt, which the next one of the enclave's chain carries.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }
}

/// Checks `receipt`: its form, the attested key's signature, and every claim that the client can
/// compare. `sealed_at` is when the client sealed the request: the key must have been good then,
/// for an answer may end after its evidence does.
///
/// # Errors
/// The first check that fails.
pub fn verify(
    receipt: &Unverified<Vec<u8>>,
    key: &Attested<ReceiptKey>,
    transcript: &Transcript,
    sealed_at: UnixTime,
) -> Result<VerifiedReceipt, ReceiptRefused> {
    let key = key.at(sealed_at).map_err(ReceiptRefused::Expired)?;
    let signed =
        SignedReceipt::parse(receipt.inspect_untrusted()).map_err(ReceiptRefused::Malformed)?;
    if signed.kid != key.thumbprint() {
        return Err(ReceiptRefused::OtherKey);
    }
    let message = SignedReceipt::to_be_signed(&signed.kid, &signed.payload);
    if !crypto::ed25519(&key.0, &message, &signed.signature) {
        return Err(ReceiptRefused::SignatureInvalid);
    }
    let claims = Receipt::parse(&signed.payload).map_err(ReceiptRefused::Malformed)?;
    let Transcript { binding_id, request, req_mac, res_mac, par_mac, manifest } = transcript;
    for (claim, expected, actual) in [
        (Claim::Binding, binding_id.0, claims.binding_id.0),
        (Claim::Request, *request, claims.request),
        (Claim::RequestOctets, *req_mac, claims.req_mac),
        (Claim::ResponseOctets, *res_mac, claims.res_mac),
        (Claim::Parameters, *par_mac, claims.par_mac),
        (Claim::Model, *manifest, claims.manifest),
    ] {
        if !expected.ct_eq(&actual) {
            return Err(ReceiptRefused::Mismatch { claim, expected, actual });
        }
    }
    if !claims.bound {
        return Err(ReceiptRefused::Unbound);
    }
    Ok(VerifiedReceipt { digest: signed.digest(), receipt: claims })
}

/// A claim that the client can compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// The epoch.
    Binding,
    /// The sealed request.
    Request,
    /// What the request said.
    RequestOctets,
    /// What the response said.
    ResponseOctets,
    /// The sampling parameters.
    Parameters,
    /// The model.
    Model,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binding => "binding",
            Self::Request => "sealed request",
            Self::RequestOctets => "request",
            Self::ResponseOctets => "response",
            Self::Parameters => "parameters",
            Self::Model => "model",
        })
    }
}

/// Why a receipt proves nothing to this client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReceiptRefused {
    /// The key was no longer good when the request was sealed.
    Expired(Expired),
    /// It is no receipt.
    Malformed(Malformed),
    /// It names another key than the attested one.
    OtherKey,
    /// The attested key did not sign it.
    SignatureInvalid,
    /// It is about something else.
    Mismatch {
        /// What differs.
        claim: Claim,
        /// What the client saw.
        expected: Sha256,
        /// What the receipt says.
        actual: Sha256,
    },
    /// It says that the client named no binding, and this client did.
    Unbound,
}

impl ReceiptRefused {
    /// A stable name, listed in `docs/rejections.md`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired(_) => "receipt-key-expired",
            Self::Malformed(_) => "receipt-malformed",
            Self::OtherKey => "receipt-other-key",
            Self::SignatureInvalid => "receipt-signature-invalid",
            Self::Mismatch { .. } => "receipt-mismatch",
            Self::Unbound => "receipt-unbound",
        }
    }
}

impl fmt::Display for ReceiptRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(expired) => expired.fmt(f),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::OtherKey => f.write_str("the receipt names another key than the attested one"),
            Self::SignatureInvalid => f.write_str("the attested key did not sign the receipt"),
            Self::Mismatch { claim, expected, actual } => {
                write!(f, "the receipt is about another {claim}: expected {expected}, got {actual}")
            }
            Self::Unbound => f.write_str("the receipt says that the request named no binding"),
        }
    }
}

impl core::error::Error for ReceiptRefused {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Expired(expired) => Some(expired),
            Self::Malformed(malformed) => Some(malformed),
            Self::OtherKey | Self::SignatureInvalid | Self::Mismatch { .. } | Self::Unbound => None,
        }
    }
}
