//! NVIDIA's reference integrity manifests (RIMs): their XML signatures verified once, offline, and
//! their measurements taken out, so that no verifier of evidence ever parses XML.
//!
//! A RIM is a SWID tag (ISO/IEC 19770-2) with an enveloped XML signature and the certificates of
//! its signer, up to "NVIDIA `CoRIM` signing Root CA". [`import`] accepts one form of it, the one that
//! NVIDIA writes:
//!
//! 1. `xml`: a subset of XML in which a text can be read in one way only;
//! 2. `signature`: one signature, a child of the root, over the whole document but itself;
//! 3. `chain`: from the signer to the pinned root, good at the moment given;
//! 4. `swid`: one component, one version, each index once.
//!
//! What is read is the tree whose canonical form was hashed: there is no second look-up by name or
//! id that could find other elements than those that were signed (signature wrapping).
//!
//! The chip's revocation service is not asked: whether NVIDIA withdrew a RIM's signer is for
//! whoever imports to find out.
#![forbid(unsafe_code)]

use core::fmt;
use std::collections::BTreeMap;

use attestation::gpu::{ReferenceKind, ReferenceMeasurement, ReferenceValues};
use attestation::{Sha256, Sha384, UnixTime};

mod canonical;
mod chain;
mod name;
mod signature;
mod swid;
mod xml;

/// Octets of the longest file that is read.
pub use xml::LEN_MAX;

/// A RIM that NVIDIA signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rim {
    /// What it measures.
    pub component: Component,
    /// The chip, as the RIM's `product` names it: `GH100`, `LS10`.
    pub chip: String,
    /// The component's version, as a report states it.
    pub version: String,
    /// The tag's own id.
    pub tag_id: String,
    /// The active measurements: index, counted from 0, and every value that is as good as the
    /// others.
    pub measurements: BTreeMap<u8, Vec<Sha384>>,
    /// Who signed it.
    pub signer: Signer,
    /// SHA-256 of the file.
    pub digest: Sha256,
}

/// What a RIM measures. Its content does not say: the form of its version and its edition do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Component {
    /// A GPU's driver.
    Driver,
    /// A GPU's or switch's firmware.
    Vbios,
}

/// The certificate that a RIM is signed with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// Its common name.
    pub name: String,
    /// From when the whole chain is good.
    pub not_before: UnixTime,
    /// Until when the whole chain is good.
    pub not_after: UnixTime,
}

/// Verifies a RIM for the moment `at`, and reads it.
///
/// # Errors
/// [`Refused`]: every reason that was found, and nothing of what the file says.
pub fn import(file: &[u8], at: UnixTime) -> Result<Rim, Refused> {
    import_under(chain::NVIDIA_ROOT, file, at)
}

/// The same under another root than NVIDIA's, in DER: for tests, which cannot sign under that one.
///
/// # Errors
/// As [`import`].
pub fn import_under(root: &[u8], file: &[u8], at: UnixTime) -> Result<Rim, Refused> {
    let malformed = |Malformed(why)| Refused::of(Code::Malformed, why);
    let document = xml::Document::parse(file).map_err(malformed)?;
    let signature = signature::Signature::find(&document)
        .map_err(|why| Refused::of(Code::SignatureForm, why))?;
    let mut reasons = Vec::new();
    let signer = chain::signer(root, &signature.certificates, at, &mut reasons);
    signature.verify(&document, signer.as_ref().map(|(_, key)| key), &mut reasons);
    match signer {
        Some((signer, _)) if reasons.is_empty() => {
            swid::read(&document, signature.id, signer, Sha256::of(file)).map_err(malformed)
        }
        _ => Err(Refused { reasons }),
    }
}

impl Rim {
    /// The reference values in the form that policies read. `name` holds NVIDIA's id or at least
    /// the board that a VBIOS is of, which the RIM itself does not say: `NV_GPU_VBIOS_`, project,
    /// project SKU, chip SKU, version.
    ///
    /// # Errors
    /// A name that does not have them, or has another version.
    pub fn reference_values(&self, name: &str) -> Result<ReferenceValues, String> {
        let Self { component, chip, version, tag_id: _, measurements, signer, digest } = self;
        let (kind, name) = match component {
            Component::Driver => {
                (ReferenceKind::Driver, name::Name::of_driver(name, chip, version)?)
            }
            Component::Vbios => (ReferenceKind::Vbios, name::Name::of_vbios(name, chip, version)?),
        };
        let name::Name { id, board } = name;
        let [project, project_sku, chip_sku] = board;
        let measurement = |(index, digests): (&u8, &Vec<Sha384>)| ReferenceMeasurement {
            index: *index,
            digests: digests.clone(),
        };
        let values = ReferenceValues {
            schema: ReferenceValues::SCHEMA,
            kind,
            id,
            chip: chip.clone(),
            version: version.clone(),
            project,
            project_sku,
            chip_sku,
            devtools: false,
            source: Some(*digest),
            not_after: Some(signer.not_after),
            measurements: measurements.iter().map(measurement).collect(),
        };
        values.check().map_err(|malformed| malformed.to_string())?;
        Ok(values)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Vbios => "vbios",
        })
    }
}

/// A file that is no RIM to rely on, with every reason that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    reasons: Vec<Reason>,
}

/// Why a file is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// Which rule.
    pub code: Code,
    /// A sentence without its subject, which is the file.
    pub message: String,
}

/// Which rule a file breaks. Stable; `docs/policy.md` explains each.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Code {
    /// It is not of the form that RIMs have.
    Malformed,
    /// It is not signed in the one way that RIMs are signed.
    SignatureForm,
    /// It is not what was signed.
    DigestMismatch,
    /// Its signature is not the signer's.
    SignatureInvalid,
    /// Its chain does not end in the pinned root.
    RootNotTrusted,
    /// A certificate of its chain is not signed by the next.
    CertificateSignatureInvalid,
    /// A certificate is not what its place in the chain demands.
    CertificateProfile,
    /// A certificate is not good yet.
    CertificateNotYetValid,
    /// A certificate is not good any more.
    CertificateExpired,
}

impl Code {
    /// Every code, in the order of `docs/policy.md`.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::SignatureForm,
        Self::DigestMismatch,
        Self::SignatureInvalid,
        Self::RootNotTrusted,
        Self::CertificateSignatureInvalid,
        Self::CertificateProfile,
        Self::CertificateNotYetValid,
        Self::CertificateExpired,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "rim-malformed",
            Self::SignatureForm => "rim-signature-form",
            Self::DigestMismatch => "rim-digest-mismatch",
            Self::SignatureInvalid => "rim-signature-invalid",
            Self::RootNotTrusted => "rim-root-not-trusted",
            Self::CertificateSignatureInvalid => "rim-certificate-signature-invalid",
            Self::CertificateProfile => "rim-certificate-profile",
            Self::CertificateNotYetValid => "rim-certificate-not-yet-valid",
            Self::CertificateExpired => "rim-certificate-expired",
        }
    }
}

impl Refused {
    /// Every reason; at least one.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// Whether the file is no RIM at all: any other refusal is a verdict on one.
    pub fn is_malformed(&self) -> bool {
        self.reasons.iter().any(|reason| reason.code == Code::Malformed)
    }

    fn of(code: Code, message: impl Into<String>) -> Self {
        Self { reasons: vec![Reason::new(code, message)] }
    }
}

impl Reason {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Reason { code, message }) in self.reasons.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {message}", code.as_str())?;
        }
        Ok(())
    }
}

impl core::error::Error for Refused {}

/// Why a file is not what it should be: a sentence without its subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Malformed(&'static str);

#[cfg(test)]
mod tests;
