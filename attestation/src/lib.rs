//! The language that all parties share: evidence formats, key binding, manifests and receipts.
//!
//! Words are those of RFC 9334 (RATS): an *Attester* emits *Evidence*, vendors give *Endorsements*,
//! a *Verifier* appraises both against a policy and yields an *Attestation Result*. This crate
//! parses and encodes; it judges nothing. It is pure: no I/O, no clock, no randomness.
//!
//! Whatever comes off the wire is [`Unverified`]; whatever must not leak is [`Secret`]; every
//! parser takes all of its input or refuses it with [`Malformed`].
#![forbid(unsafe_code)]

mod armor;
pub mod azure;
pub mod binding;
pub mod bytes;
pub mod cbor;
pub mod digest;
pub mod endorsements;
pub mod eventlog;
pub mod evidence;
pub mod gpu;
mod json;
pub mod keys;
pub mod labels;
pub mod manifest;
pub mod merkle;
pub mod platform;
pub mod receipt;
mod secret;
pub mod snp;
pub mod tdx;
mod time;
mod unverified;

pub use binding::{BindingId, Fresh, NodeId, ReportData, Statement};
pub use bytes::Malformed;
pub use digest::{Digest, Sha256, Sha384, Sha512};
pub use endorsements::Endorsements;
pub use evidence::{Bundle, CpuEvidence, CpuPlatform, Evidence, EvidenceKind};
pub use keys::{Challenge, ReceiptKey, SealingKey};
pub use manifest::ModelManifest;
pub use receipt::{Receipt, SignedReceipt};
pub use secret::Secret;
pub use time::UnixTime;
pub use unverified::Unverified;
