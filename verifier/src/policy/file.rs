//! What a policy file says: syntax alone, every key known, nothing judged.
//!
//! The meaning is [`Policy`](super::Policy)'s. Keys, defaults and examples: `docs/policy.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use super::azure::AzureFile;
use super::nvidia::{GpuFile, SwitchFile};
use super::snp::SnpFile;
use super::tdx::TdxFile;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PolicyFile {
    pub(crate) schema: u32,
    pub(crate) name: String,
    pub(crate) version: u64,
    #[serde(rename = "min_version", default)]
    pub(crate) min_version: u64,
    pub(crate) purpose: Purpose,
    #[serde(default)]
    pub(crate) freshness: FreshnessFile,
    #[serde(default)]
    pub(crate) models: BTreeMap<String, String>,
    pub(crate) config: Option<ConfigFile>,
    pub(crate) anchors: Option<AnchorsFile>,
    pub(crate) sev_snp: Option<SnpFile>,
    pub(crate) tdx: Option<TdxFile>,
    pub(crate) azure: Option<AzureFile>,
    pub(crate) nvidia_gpu: Option<GpuFile>,
    pub(crate) nvidia_switch: Option<SwitchFile>,
}

/// What a policy is for: it decides how much it may relax.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Real prompts: no relaxation is possible.
    Production,
    /// The simulated platform, whose anchor the policy names.
    Simulation,
    /// Looking at evidence; nobody's prompt depends on it.
    Evaluation,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Simulation => "simulation",
            Self::Evaluation => "evaluation",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FreshnessFile {
    pub(crate) evidence: EvidenceFreshness,
    pub(crate) max_age: String,
    pub(crate) binding: Presence,
}

impl Default for FreshnessFile {
    fn default() -> Self {
        Self {
            evidence: EvidenceFreshness::Challenged,
            max_age: "1h".to_owned(),
            binding: Presence::Required,
        }
    }
}

/// How fresh evidence must be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceFreshness {
    /// It answers a challenge of the verifier's.
    Challenged,
    /// It may have been made before the question, within its own window.
    Cached,
}

/// Whether something must be there, or is checked where it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Without it: no acceptance.
    Required,
    /// Checked where it is present; its absence is a warning.
    IfPresent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(crate) digests: AnyOr<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct AnchorsFile {
    pub(crate) sev_snp: Option<Vec<String>>,
    pub(crate) tdx: Option<Vec<String>>,
    pub(crate) nvidia_gpu: Option<Vec<String>>,
}

/// What a policy wants of one bit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// Either value will do.
    Allowed,
    /// It must be set.
    Required,
    /// It must not be set.
    Refused,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Required => "required",
            Self::Refused => "refused",
        })
    }
}

/// What to do about bits that no public specification names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownBits {
    /// They are surfaced and do no harm.
    Tolerated,
    /// They are a rejection.
    Refused,
}

/// A list, or the word `"any"`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AnyOr<T> {
    /// Everything is accepted.
    Any,
    /// Only what is listed is accepted: nothing, where the list is empty.
    List(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AnyOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyOrVisitor(PhantomData))
    }
}

struct AnyOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AnyOrVisitor<T> {
    type Value = AnyOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or the word \"any\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        if word == "any" {
            Ok(AnyOr::Any)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(word), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(AnyOr::List(items))
    }
}
