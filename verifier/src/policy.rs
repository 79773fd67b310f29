//! The appraisal policy: what it means. What may be written is in `file.rs`, and in
//! `docs/policy.md` for people.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use attestation::{Endorsements, Sha256, UnixTime};

use crate::anchors::{Ark, TrustAnchors};
use crate::result::{AnchorKind, PolicyId};

mod azure;
mod events;
mod file;
mod lint;
mod nvidia;
mod read;
mod show;
mod signed;
mod snp;
mod tdx;

pub(crate) use azure::AzurePolicy;
pub(crate) use events::{Entry, EventLogPolicy};
pub use file::{Demand, EvidenceFreshness, Presence, Purpose, UnknownBits};
pub use lint::{Problem, Weight};
pub(crate) use nvidia::{
    DevicePolicy, DriverVersion, GpuPolicy, References, SwitchPolicy, VbiosVersion,
};
pub use signed::{PolicyKey, Signature, SignedPolicyError};
pub(crate) use snp::{SigningKeyName, SnpPolicy};
pub(crate) use tdx::{Grace, TdxPolicy, sgx_type};

/// Reads a file that a policy names, relative to the policy: the caller's I/O, not ours.
pub type ReadAnchor<'a> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'a;

/// Which evidence is acceptable, and for how long.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) id: PolicyId,
    pub(crate) min_version: u64,
    pub(crate) purpose: Purpose,
    pub(crate) freshness: EvidenceFreshness,
    pub(crate) max_age: Duration,
    pub(crate) binding: Presence,
    pub(crate) models: BTreeMap<String, Sha256>,
    pub(crate) configs: Accept<Sha256>,
    pub(crate) anchors: TrustAnchors,
    pub(crate) sev_snp: Option<SnpPolicy>,
    pub(crate) tdx: Option<TdxPolicy>,
    /// What holds for machines on Azure besides.
    pub(crate) azure: Option<AzurePolicy>,
    pub(crate) nvidia_gpu: Option<GpuPolicy>,
    pub(crate) nvidia_switch: Option<SwitchPolicy>,
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
    ///
    /// What has a date is judged for the moment `now`. The advisories that a policy allows are
    /// compared with those that the TCB Info in `endorsements` names, where there is any.
    pub fn lint(
        text: &str,
        read_anchor: &ReadAnchor<'_>,
        endorsements: &Endorsements,
        now: UnixTime,
    ) -> Vec<Problem> {
        lint::lint(text, read_anchor, endorsements, now)
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
        self.id.version
    }

    /// The lowest version of this name that is still good: clients that read this one refuse lower
    /// ones from then on, whether it ever accepted anything or not.
    pub const fn min_version(&self) -> u64 {
        self.min_version
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

    /// When its tolerance of platforms that are not up to date ends, where it has one.
    pub fn grace_ends(&self) -> Option<UnixTime> {
        self.tdx.as_ref()?.grace.as_ref().map(|grace| grace.until)
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
