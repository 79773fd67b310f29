//! Certificate revocation lists as data (RFC 5280 §5).

use attestation::UnixTime;
use attestation::snp::Product;

use crate::certificate::{Extension, Name, Signing, authority_key_id, extensions};
use crate::der::{self, oid, tag};
use crate::error::SimError;
use crate::keys::Issuer;

/// Everything a CRL says, before it is signed.
#[derive(Debug, Clone)]
pub struct CrlRecipe {
    /// How it is signed, and what it says about that.
    pub signing: Signing,
    /// The issuer.
    pub issuer: Name,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one comes; AMD's lists always say.
    pub next_update: Option<UnixTime>,
    /// What is revoked.
    pub revoked: Vec<Revoked>,
    /// The extensions, in order.
    pub extensions: Vec<Extension>,
}

impl CrlRecipe {
    /// The list that an ARK gives, with nothing revoked.
    pub fn ark(
        product: Product,
        this_update: UnixTime,
        next_update: UnixTime,
        number: u64,
        ark_spki: &[u8],
    ) -> Self {
        Self {
            signing: Signing::amd_authority(),
            issuer: Name::amd(&format!("ARK-{}", product.name())),
            this_update,
            next_update: Some(next_update),
            revoked: Vec::new(),
            extensions: vec![
                Extension::plain(oid::AUTHORITY_KEY_ID, authority_key_id(ark_spki)),
                Extension::plain(oid::CRL_NUMBER, der::integer(number)),
            ],
        }
    }

    /// The same with one more certificate revoked.
    #[must_use]
    pub fn revoking(mut self, entry: Revoked) -> Self {
        self.revoked.push(entry);
        self
    }

    /// The signed list in DER.
    pub fn sign(&self, issuer: &dyn Issuer) -> Result<Vec<u8>, SimError> {
        let mut fields = vec![
            der::integer(1),
            self.signing.inner.clone(),
            self.issuer.encode(),
            der::time(self.this_update),
        ];
        fields.extend(self.next_update.map(der::time));
        // An empty list of entries must be absent, not empty (RFC 5280 §5.1.2.6).
        if !self.revoked.is_empty() {
            let entries: Vec<_> = self.revoked.iter().map(Revoked::encode).collect();
            fields.push(der::tlv(tag::SEQUENCE, &entries.concat()));
        }
        if !self.extensions.is_empty() {
            fields.push(der::explicit(0, &extensions(&self.extensions)));
        }
        self.signing.sign(issuer, &der::tlv(tag::SEQUENCE, &fields.concat()))
    }
}

/// One revoked certificate.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The finished `INTEGER` of its serial number, as the certificate's recipe has it.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub at: UnixTime,
    /// The reason (RFC 5280 §5.3.1: 1 is `keyCompromise`, 6 `certificateHold`, 8 `removeFromCRL`), if one is given.
    pub reason: Option<u8>,
}

impl Revoked {
    fn encode(&self) -> Vec<u8> {
        let reason = match self.reason {
            None => Vec::new(),
            Some(code) => {
                extensions(&[Extension::plain(oid::CRL_REASON, der::tlv(tag::ENUMERATED, &[code]))])
            }
        };
        der::sequence(&[&self.serial, &der::time(self.at), &reason])
    }
}
