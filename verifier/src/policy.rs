//! The appraisal policy: what it means. What may be written is in `file.rs`, and in
//! `docs/policy.md` for people.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use attestation::snp::{Product, TcbVersion};
use attestation::{Digest, Sha256, Sha384};

use crate::anchors::{Ark, TrustAnchors};
use crate::result::{AnchorKind, PolicyId};

mod file;
mod lint;
mod read;
mod show;

pub use file::{Demand, EvidenceFreshness, Presence, Purpose, UnknownBits};
pub(crate) use file::{MitigationDemands, PlatformDemands, SigningKeyName};
pub use lint::{Problem, Weight};

/// Reads a file that a policy names, relative to the policy: the caller's I/O, not ours.
pub type ReadAnchor<'a> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'a;

/// Which evidence is acceptable, and for how long.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) id: PolicyId,
    pub(crate) version: u64,
    pub(crate) purpose: Purpose,
    pub(crate) freshness: EvidenceFreshness,
    pub(crate) max_age: Duration,
    pub(crate) binding: Presence,
    pub(crate) models: BTreeMap<String, Sha256>,
    pub(crate) configs: Accept<Sha256>,
    pub(crate) anchors: TrustAnchors,
    pub(crate) sev_snp: Option<SnpPolicy>,
    /// Sections of platforms that are parsed and not appraised yet.
    pub(crate) not_yet: Vec<&'static str>,
}

/// What is acceptable of SEV-SNP.
#[derive(Clone, Debug)]
pub(crate) struct SnpPolicy {
    pub(crate) products: BTreeSet<Product>,
    pub(crate) measurements: Accept<Sha384>,
    pub(crate) revocation: Presence,
    pub(crate) signing_keys: Vec<SigningKeyName>,
    pub(crate) csp_ids: BTreeSet<String>,
    pub(crate) vmpl: BTreeSet<u32>,
    pub(crate) chips: Accept<Digest<64>>,
    pub(crate) min_tcb: BTreeMap<Product, TcbVersion>,
    pub(crate) provisional_firmware: Demand,
    pub(crate) guest_policy: GuestPolicyDemands,
    pub(crate) platform: PlatformDemands,
    pub(crate) mitigations: MitigationDemands,
    pub(crate) migration_agent: Demand,
    pub(crate) id_keys: Accept<Sha384>,
    pub(crate) author_keys: Accept<Sha384>,
    pub(crate) host_data: Accept<Digest<32>>,
    pub(crate) family_ids: Accept<Digest<16>>,
    pub(crate) image_ids: Accept<Digest<16>>,
    pub(crate) guest_svn_min: u32,
}

/// What is wanted of the guest policy's bits.
#[derive(Clone, Debug)]
pub(crate) struct GuestPolicyDemands {
    pub(crate) debug: Demand,
    pub(crate) migration: Demand,
    pub(crate) smt: Demand,
    pub(crate) single_socket: Demand,
    pub(crate) cxl: Demand,
    pub(crate) aes_256_xts: Demand,
    pub(crate) rapl_disabled: Demand,
    pub(crate) ciphertext_hiding: Demand,
    pub(crate) page_swap_disabled: Demand,
    pub(crate) unknown_bits: UnknownBits,
    /// Lowest firmware ABI that the guest may allow: (major, minor).
    pub(crate) abi_min: (u8, u8),
}

/// Which values are acceptable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Accept<T> {
    /// Every value.
    Any,
    /// These.
    Only(BTreeSet<T>),
}

impl<T: Ord> Accept<T> {
    /// Whether `value` is acceptable.
    pub(crate) fn admits(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(values) => values.contains(value),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Accept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Only(values) => write_list(f, values),
        }
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    values: impl IntoIterator<Item = T>,
) -> fmt::Result {
    let mut first = true;
    for value in values {
        if !first {
            f.write_str(", ")?;
        }
        first = false;
        write!(f, "{value}")?;
    }
    if first { f.write_str("none") } else { Ok(()) }
}

/// Writes values as people list them.
pub(crate) fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let words: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

impl Policy {
    /// Reads a policy; `read_anchor` reads the files that it names.
    ///
    /// # Errors
    /// Every problem that keeps the text from being a policy: syntax, unknown keys, values that
    /// are none, and, where the purpose is production, relaxations.
    pub fn parse(text: &str, read_anchor: &ReadAnchor<'_>) -> Result<Self, PolicyError> {
        read::policy(text, read_anchor)
    }

    /// What an author should look at: all that [`parse`](Self::parse) refuses, and all that makes
    /// a policy accept nothing, too much, or something that nobody filled in.
    pub fn lint(text: &str, read_anchor: &ReadAnchor<'_>) -> Vec<Problem> {
        lint::lint(text, read_anchor)
    }

    /// The policy in sentences.
    pub fn show(&self) -> String {
        show::show(self)
    }

    /// Its name and the digest of its exact text.
    pub const fn id(&self) -> &PolicyId {
        &self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.id.name
    }

    /// SHA-256 of its exact text.
    pub const fn digest(&self) -> &Sha256 {
        &self.id.digest
    }

    /// Its version: clients remember the highest per name and refuse lower ones.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What it is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How fresh evidence must be.
    pub const fn freshness(&self) -> EvidenceFreshness {
        self.freshness
    }

    /// How long an acceptance may be used.
    pub const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// Whether evidence must carry a binding.
    pub const fn binding(&self) -> Presence {
        self.binding
    }

    /// Names that a client may ask for, and the digest of the manifest that each must have.
    pub const fn models(&self) -> &BTreeMap<String, Sha256> {
        &self.models
    }

    /// Whose roots it trusts. [`AnchorKind::Untrusted`] ones are for loopback only.
    pub const fn anchors(&self) -> AnchorKind {
        self.anchors.kind()
    }
}

/// A text that is no policy, with every reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyError {
    problems: Vec<Problem>,
}

impl PolicyError {
    /// Every reason; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a policy: ")?;
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", problem.key, problem.message)?;
        }
        Ok(())
    }
}

impl core::error::Error for PolicyError {}
