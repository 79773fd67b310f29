//! Answers about revocation (RFC 6960), as data.

use attestation::{Sha256, Sha384, UnixTime};
use ring::digest;

use super::certificate::{self, EcCertificate};
use super::{DeviceRecipe, Signer};
use crate::certificate::Name;
use crate::der::{self, Oid, oid, tag};
use crate::error::SimError;

/// Everything that a response says, before it is signed.
#[derive(Debug, Clone)]
pub struct OcspRecipe {
    /// The status of the response itself; 0 is success.
    pub response_status: u8,
    /// When it was signed.
    pub produced: UnixTime,
    /// What it says.
    pub answers: Vec<StatusRecipe>,
    /// The nonce that it repeats.
    pub nonce: Option<Vec<u8>>,
    /// The responder's certificate, and who named the responder; none, where a CA answers itself.
    pub responder: Option<(EcCertificate, Signer)>,
    /// Who signs, where it is not the responder.
    pub signer: Option<Signer>,
    /// Whether the responder is named by its key and not by its name.
    pub by_key: bool,
    /// A finished extension beside the nonce.
    pub extension: Option<Vec<u8>>,
    /// Whether one bit of the signature is flipped.
    pub is_forged: bool,
}

/// What a response says of one certificate.
#[derive(Debug, Clone)]
pub struct StatusRecipe {
    /// SHA-256 instead of SHA-384 names the issuer.
    pub sha256: bool,
    /// The issuer's name.
    pub issuer: Name,
    /// The issuer's key: the point.
    pub issuer_key: Vec<u8>,
    /// The certificate's serial number.
    pub serial: Vec<u8>,
    /// Whether it is good.
    pub status: Status,
    /// From when on.
    pub this_update: UnixTime,
    /// By when there is news.
    pub next_update: Option<UnixTime>,
}

/// Whether a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Good,
    /// It is revoked, for this reason (RFC 5280 §5.3.1); 6 is a hold.
    Revoked(Option<u8>),
    /// It is not known.
    Unknown,
}

impl OcspRecipe {
    /// A good answer about the chip, the provisioner or the identity of a device: its place in the chain is
    /// 1, 2 or 3. The certificate's issuer named the responder.
    pub fn about(device: &DeviceRecipe, place: usize, now: UnixTime) -> Self {
        const HOUR: core::time::Duration = core::time::Duration::from_hours(1);
        let issuers = [Signer::Provisioner, Signer::Identity, Signer::Root];
        let by = issuers.get(place.saturating_sub(1)).copied().unwrap_or(Signer::Root);
        let certificate = device.chain.get(place);
        let issuer = certificate.map_or_else(|| Name(Vec::new()), |c| c.issuer.clone());
        let answer = StatusRecipe {
            sha256: false,
            issuer: issuer.clone(),
            issuer_key: point(&device.signer(by).spki()),
            serial: certificate.map(|c| c.serial.clone()).unwrap_or_default(),
            status: Status::Good,
            this_update: now.saturating_sub(HOUR),
            next_update: Some(now.saturating_add(HOUR)),
        };
        Self {
            response_status: 0,
            produced: now.saturating_sub(HOUR),
            answers: vec![answer],
            nonce: None,
            responder: Some((EcCertificate::responder(&device.pki, issuer), by)),
            signer: None,
            by_key: false,
            extension: None,
            is_forged: false,
        }
    }

    /// The signed response in DER.
    pub fn sign(&self, device: &DeviceRecipe) -> Result<Vec<u8>, SimError> {
        let certificates = match &self.responder {
            Some((recipe, by)) => vec![recipe.sign(device.signer(*by))?],
            None => Vec::new(),
        };
        let key = match self.signer {
            Some(by) => device.signer(by),
            None => &device.pki.responder,
        };
        let responder = match (&self.responder, self.signer) {
            (_, _) if self.by_key => {
                let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &point(&key.spki()));
                der::explicit(2, &der::octet_string(hash.as_ref()))
            }
            (Some((recipe, _)), _) => der::explicit(1, &recipe.subject.encode()),
            (None, _) => {
                let issuer = self.answers.first().map(|answer| answer.issuer.encode());
                der::explicit(1, &issuer.unwrap_or_default())
            }
        };
        let answers: Vec<_> = self.answers.iter().map(StatusRecipe::encode).collect();
        let mut fields =
            vec![responder, generalized(self.produced), der::tlv(tag::SEQUENCE, &answers.concat())];
        let mut extensions = Vec::new();
        if let Some(nonce) = &self.nonce {
            let value = der::octet_string(&der::octet_string(nonce));
            extensions.push(der::sequence(&[&der::object(NONCE), &value]));
        }
        extensions.extend(self.extension.clone());
        if !extensions.is_empty() {
            fields.push(der::explicit(1, &der::tlv(tag::SEQUENCE, &extensions.concat())));
        }
        let tbs = der::tlv(tag::SEQUENCE, &fields.concat());
        let signature = certificate::sign(key, &tbs, self.is_forged)?;
        let mut basic = vec![tbs, certificate::ecdsa_sha384(), der::bit_string(&signature)];
        if !certificates.is_empty() {
            basic.push(der::explicit(0, &der::tlv(tag::SEQUENCE, &certificates.concat())));
        }
        let basic = der::octet_string(&der::tlv(tag::SEQUENCE, &basic.concat()));
        let bytes = der::sequence(&[&der::object(BASIC), &basic]);
        let status = der::tlv(tag::ENUMERATED, &[self.response_status]);
        Ok(der::sequence(&[&status, &der::explicit(0, &bytes)]))
    }
}

impl StatusRecipe {
    fn encode(&self) -> Vec<u8> {
        let hash = |bytes: &[u8]| {
            if self.sha256 {
                Sha256::of(bytes).as_bytes().to_vec()
            } else {
                Sha384::of(bytes).as_bytes().to_vec()
            }
        };
        let algorithm = if self.sha256 { oid::SHA256 } else { oid::SHA384 };
        let id = der::sequence(&[
            &der::sequence(&[&der::object(algorithm), &der::null()]),
            &der::octet_string(&hash(&self.issuer.encode())),
            &der::octet_string(&hash(&self.issuer_key)),
            &der::unsigned(&self.serial),
        ]);
        let status = match self.status {
            Status::Good => der::tlv(tag::CONTEXT_PRIMITIVE, &[]),
            Status::Unknown => der::tlv(tag::CONTEXT_PRIMITIVE | 2, &[]),
            Status::Revoked(reason) => {
                let reason = reason
                    .map(|reason| der::explicit(0, &der::tlv(tag::ENUMERATED, &[reason])))
                    .unwrap_or_default();
                der::tlv(tag::CONTEXT | 1, &[generalized(self.this_update), reason].concat())
            }
        };
        let next = self.next_update.map(|next| der::explicit(0, &generalized(next)));
        der::sequence(&[&id, &status, &generalized(self.this_update), &next.unwrap_or_default()])
    }
}

/// The point at the end of a `SubjectPublicKeyInfo`.
fn point(spki: &[u8]) -> Vec<u8> {
    spki.last_chunk::<97>().map(|point| point.to_vec()).unwrap_or_default()
}

/// A `GeneralizedTime`, whatever the year.
fn generalized(at: UnixTime) -> Vec<u8> {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).collect();
    der::tlv(tag::GENERALIZED_TIME, format!("{digits}Z").as_bytes())
}

const BASIC: Oid = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
const NONCE: Oid = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];
