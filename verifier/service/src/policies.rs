//! The folder of policies, followed while the service runs.
//!
//! A file that changes is read again. One that is refused changes nothing: the policy that it held
//! goes on counting, and everybody who looks is told so. Refused is what is no policy; where a key is
//! demanded, what its owner did not sign; and what is older than a policy of that name that counted.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use attestation::{Sha256, UnixTime};
use serde::Serialize;
use verifier::policy::PolicyKey;
use verifier::{AnchorKind, Policy};

use crate::files::{self, FileError};
use crate::memory::Memory;

/// The policies that count.
#[derive(Debug)]
pub(crate) struct Policies {
    folder: PathBuf,
    rules: Rules,
    current: RwLock<Arc<Vec<Entry>>>,
}

/// What a policy must be, to count.
#[derive(Debug)]
struct Rules {
    /// Signed by this key's owner, where there is one.
    key: Option<PolicyKey>,
    /// No older than what counted.
    memory: Memory,
}

/// One file.
#[derive(Clone, Debug)]
struct Entry {
    file: String,
    /// Digest of the file, of its signatures where they count, and of those that it names.
    seen: Sha256,
    /// Files that it names.
    anchors: Vec<String>,
    policy: Option<Arc<Policy>>,
    loaded_at: Option<UnixTime>,
    /// Why what the file holds now does not count.
    error: Option<String>,
}

/// What is known of one file: the object of `GET /v1/policies`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PolicyStatus {
    /// The policy's name, where there is one.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<u64>,
    /// SHA-256 of its exact text.
    pub digest: Option<Sha256>,
    /// Whose roots it trusts.
    pub anchors: Option<AnchorKind>,
    /// The file.
    pub file: String,
    /// Whether it counts.
    pub standing: Standing,
    /// Since when.
    pub loaded_at: Option<UnixTime>,
    /// Why what the file holds now does not count.
    pub error: Option<String>,
}

/// Whether a file's policy counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it stands in the file.
    Current,
    /// As it stood in the file before that was changed to something that is refused.
    Stale,
    /// Not at all: the file was refused when it was first seen.
    Refused,
}

/// What a look found to be different.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    Loaded { file: String, name: String, digest: Sha256 },
    Refused { file: String, error: String },
    Removed { file: String },
}

impl Policies {
    /// None yet, of `folder`: those that the owner of `key` signed, where there is one, and that are no
    /// older than `memory` knows.
    pub(crate) fn of(folder: PathBuf, key: Option<PolicyKey>, memory: Memory) -> Self {
        Self { folder, rules: Rules { key, memory }, current: RwLock::default() }
    }

    /// The policy of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Policy>> {
        let policies = self.entries();
        let mut policies = policies.iter().filter_map(|entry| entry.policy.as_ref());
        policies.find(|policy| policy.name() == name).cloned()
    }

    /// Every file, in the order of their names.
    pub(crate) fn statuses(&self) -> Vec<PolicyStatus> {
        self.entries().iter().map(Entry::status).collect()
    }

    /// How many count.
    pub(crate) fn count(&self) -> usize {
        self.entries().iter().filter(|entry| entry.policy.is_some()).count()
    }

    /// Reads what has changed since the last look.
    pub(crate) fn look(&self, now: UnixTime) -> Result<Vec<Change>, FileError> {
        let is_policy = |path: &Path| path.extension().is_some_and(|end| end == "toml");
        let files = files::list(&self.folder, FILES_MAX, is_policy)?;
        let before = self.entries();
        let mut after: Vec<Entry> =
            files.iter().map(|path| Entry::follow(path, &before, &self.rules, now)).collect();
        settle_names(&mut after, &before);
        // What could not be written down does not count.
        self.rules.memory.keep(after.iter().filter_map(|entry| entry.policy.as_deref()))?;
        let changes = changes(&before, &after);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(changes)
    }

    fn entries(&self) -> Arc<Vec<Entry>> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entry {
    /// The entry of a file: the one that it had, if nothing changed.
    fn follow(path: &Path, before: &[Self], rules: &Rules, now: UnixTime) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let old = before.iter().find(|entry| entry.file == file);
        let text = files::read(path, FILE_LEN_MAX).map_err(|error| error.to_string());
        let signatures = rules.key.map(|key| (key, signatures_beside(path)));
        let seen = |anchors: &[String]| seen(path, &text, signatures.as_ref(), anchors);
        // What was refused is read again each time: a name that was taken may be free by now.
        if let Some(old) = old
            && old.error.is_none()
            && old.seen == seen(&old.anchors)
        {
            return old.clone();
        }
        let named = RefCell::new(Vec::new());
        let read_anchor = |name: &str| {
            named.borrow_mut().push(name.to_owned());
            read_beside(path, name)
        };
        let parsed = text.clone().and_then(|text| {
            let text = String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
            let policy = match &signatures {
                None => Policy::parse(&text, &read_anchor).map_err(|error| error.to_string())?,
                Some((key, signatures)) => {
                    let signatures = signatures.as_ref().map_err(Clone::clone)?;
                    Policy::parse_signed(&text, signatures, key, &read_anchor)
                        .map_err(|error| error.to_string())?
                }
            };
            rules.memory.check(&policy)?;
            Ok(policy)
        });
        let anchors = named.into_inner();
        let seen = seen(&anchors);
        match parsed {
            Ok(policy) => Self {
                file,
                seen,
                anchors,
                policy: Some(Arc::new(policy)),
                loaded_at: Some(now),
                error: None,
            },
            Err(error) => Self {
                file,
                seen,
                anchors,
                policy: old.and_then(|old| old.policy.clone()),
                loaded_at: old.and_then(|old| old.loaded_at),
                error: Some(error),
            },
        }
    }

    fn name(&self) -> Option<&str> {
        self.policy.as_ref().map(|policy| policy.name())
    }

    fn status(&self) -> PolicyStatus {
        let policy = self.policy.as_deref();
        PolicyStatus {
            name: policy.map(|policy| policy.name().to_owned()),
            version: policy.map(Policy::version),
            digest: policy.map(|policy| *policy.digest()),
            anchors: policy.map(Policy::anchors),
            file: self.file.clone(),
            standing: match (policy, &self.error) {
                (Some(_), None) => Standing::Current,
                (Some(_), Some(_)) => Standing::Stale,
                (None, _) => Standing::Refused,
            },
            loaded_at: self.loaded_at,
            error: self.error.clone(),
        }
    }
}

/// A name is one file's: that which had it before, or the first by name. What another file says is
/// refused, so that nobody's policy is replaced by the arrival of a second one.
fn settle_names(after: &mut [Entry], before: &[Entry]) {
    let had_it = |entry: &Entry| {
        let mut same = before.iter().filter(|old| old.file == entry.file);
        same.any(|old| old.name() == entry.name())
    };
    let mut taken: Vec<(String, String)> = Vec::new();
    for newcomers in [false, true] {
        for entry in after.iter_mut().filter(|entry| had_it(entry) != newcomers) {
            let Some(name) = entry.name().map(str::to_owned) else { continue };
            match taken.iter().find(|(other, _)| *other == name) {
                Some((_, owner)) => {
                    entry.error = Some(format!("the name \"{name}\" is that of {owner}'s policy"));
                    entry.policy = None;
                    entry.loaded_at = None;
                }
                None => taken.push((name, entry.file.clone())),
            }
        }
    }
}

fn changes(before: &[Entry], after: &[Entry]) -> Vec<Change> {
    let mut changes = Vec::new();
    for entry in after {
        let old = before.iter().find(|old| old.file == entry.file);
        if old.is_some_and(|old| old.seen == entry.seen && old.error == entry.error) {
            continue;
        }
        let file = entry.file.clone();
        changes.extend(match (&entry.error, &entry.policy) {
            (Some(error), _) => Some(Change::Refused { file, error: error.clone() }),
            (None, Some(policy)) => {
                let (name, digest) = (policy.name().to_owned(), *policy.digest());
                Some(Change::Loaded { file, name, digest })
            }
            (None, None) => None,
        });
    }
    for old in before {
        if !after.iter().any(|entry| entry.file == old.file) {
            changes.push(Change::Removed { file: old.file.clone() });
        }
    }
    changes
}

/// The text of the file beside a policy that holds its signatures.
fn signatures_beside(path: &Path) -> Result<String, String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sig");
    let text = files::read(Path::new(&beside), FILE_LEN_MAX)
        .map_err(|error| format!("its signature cannot be read: {error}"))?;
    String::from_utf8(text).map_err(|_| "its signature is not UTF-8".to_owned())
}

/// Digest of all that a policy is made of.
fn seen(
    path: &Path,
    text: &Result<Vec<u8>, String>,
    signatures: Option<&(PolicyKey, Result<String, String>)>,
    anchors: &[String],
) -> Sha256 {
    let digest = |content: &Result<Vec<u8>, String>| match content {
        Ok(bytes) => Sha256::of_parts(&[b"read", bytes]),
        Err(error) => Sha256::of_parts(&[b"not read", error.as_bytes()]),
    };
    let mut digests = vec![digest(text)];
    digests.extend(signatures.map(|(_, text)| digest(&text.clone().map(String::into_bytes))));
    digests.extend(anchors.iter().map(|name| digest(&read_beside(path, name))));
    let parts: Vec<_> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
    Sha256::of_parts(&parts)
}

/// Reads a file that the policy at `path` names, relative to it.
fn read_beside(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    files::read(&folder.join(name), FILE_LEN_MAX).map_err(|error| error.to_string())
}

/// Longest policy, and longest file that one names.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Most policies of a folder.
const FILES_MAX: usize = 256;
