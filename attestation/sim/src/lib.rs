//! The simulated platform: SEV-SNP evidence, byte for byte, under a vendor of our own.
//!
//! It is a root, not a mode: the verifier has one code path, and accepts what this crate signs
//! only under a policy that names this crate's root as its anchor. Everything is data
//! ([`CertificateRecipe`], [`CrlRecipe`], [`ReportBuilder`]), so a test takes what a verifier
//! accepts, changes one thing, and signs it.
#![forbid(unsafe_code)]

pub mod azure;
pub mod certificate;
pub mod crl;
pub mod der;
mod error;
mod keys;
pub mod machine;
pub mod nvidia;
mod pki;
mod platform;
pub mod policy;
pub mod replay;
pub mod report;
pub mod serve;
pub mod store;
pub mod tdx;

pub use certificate::{CertificateRecipe, Validity};
pub use crl::{CrlRecipe, Revoked};
pub use error::SimError;
pub use keys::{EcKey, Issuer, P256Key, Padding, RsaKey};
pub use machine::Machine;
pub use pki::{
    AuthorityKeys, ChipId, Pki, PkiOptions, VALIDITY_SECS_MAX, Vek, bundle, validity_from,
};
pub use platform::{SimulatedPlatform, newest_version};
pub use report::{ReportBuilder, SignatureForm};
