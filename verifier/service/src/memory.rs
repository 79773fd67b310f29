//! The memory of versions: the highest version of each policy that counted, and the lowest that a policy
//! of that name said is good, so that nobody who keeps the folder of policies can bring back an older one.
//!
//! Without a folder it lasts until the service stops. A file that cannot be read is an error: treating it
//! as empty would let whoever damages it roll back what it guards.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use verifier::Policy;

use crate::files::{self, FileError};

/// The versions that are known.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: Option<PathBuf>,
    known: Mutex<Versions>,
}

/// What is written down: the form of the client's memory, without its lists.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Versions {
    schema: u32,
    policies: BTreeMap<String, u64>,
    floors: BTreeMap<String, u64>,
}

impl Memory {
    /// What `folder` remembers; nothing yet where there is none.
    ///
    /// # Errors
    /// A memory that is there and cannot be read.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self, FileError> {
        let known = match &folder {
            Some(folder) => read(folder)?,
            None => Versions::none(),
        };
        Ok(Self { folder, known: Mutex::new(known) })
    }

    /// Refuses a policy that is older than one of its name that counted, or than one said is good.
    pub(crate) fn check(&self, policy: &Policy) -> Result<(), String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |all: &BTreeMap<String, u64>| all.get(policy.name()).copied().unwrap_or(0);
        let highest = of(&known.policies).max(of(&known.floors));
        if policy.version() >= highest {
            return Ok(());
        }
        Err(format!(
            "version {} is older than {highest}, which is the least that is still good",
            policy.version()
        ))
    }

    /// Takes note of policies that count from now on.
    ///
    /// # Errors
    /// What cannot be written down; it is not known then.
    pub(crate) fn keep<'a>(
        &self,
        policies: impl Iterator<Item = &'a Policy>,
    ) -> Result<(), FileError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = known.clone();
        for policy in policies {
            after.raise(policy.name(), policy.version(), policy.min_version());
        }
        if after == *known {
            return Ok(());
        }
        if let Some(folder) = &self.folder {
            after = write_down(folder, after)?;
        }
        *known = after;
        Ok(())
    }
}

impl Versions {
    const fn none() -> Self {
        Self { schema: SCHEMA, policies: BTreeMap::new(), floors: BTreeMap::new() }
    }

    fn raise(&mut self, name: &str, version: u64, floor: u64) {
        for (all, number) in [(&mut self.policies, version), (&mut self.floors, floor)] {
            if number > all.get(name).copied().unwrap_or(0) {
                all.insert(name.to_owned(), number);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (name, version) in &other.policies {
            self.raise(name, *version, 0);
        }
        for (name, floor) in &other.floors {
            self.raise(name, 0, *floor);
        }
    }
}

/// The memory of a folder.
fn read(folder: &Path) -> Result<Versions, FileError> {
    let path = path(folder);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Versions::none()),
        Err(error) => return Err(unusable(&path, &error)),
        Ok(_) => {}
    }
    let text = files::read(&path, LEN_MAX)?;
    let versions: Versions =
        serde_json::from_slice(&text).map_err(|error| unusable(&path, &error))?;
    if versions.schema != SCHEMA {
        return Err(unusable(&path, &"it has a schema that this version does not know"));
    }
    Ok(versions)
}

/// Writes all of `versions`, and what another process knows besides; what is known then.
fn write_down(folder: &Path, mut versions: Versions) -> Result<Versions, FileError> {
    let path = path(folder);
    let io = |error: std::io::Error| unusable(&path, &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    if fs::metadata(folder).map_err(io)?.mode() & WRITABLE_BY_ALL != 0 {
        return Err(unusable(&path, &"everybody may write its folder"));
    }
    // Two services may learn something at once: the later must not forget what the earlier wrote.
    let mut lock = private();
    let lock = lock.create(true).truncate(false).open(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    versions.merge(&read(folder)?);
    let text = serde_json::to_vec_pretty(&versions).map_err(|error| unusable(&path, &error))?;
    // Beside the file, then renamed: a crash leaves the old memory or the new one.
    let beside = folder.join("versions.json.new");
    let written = || {
        // What a crash left, or a link that somebody laid there: never written through.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = private().create_new(true).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(io)?;
    Ok(versions)
}

fn path(folder: &Path) -> PathBuf {
    folder.join("versions.json")
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> FileError {
    FileError::Unreadable { path: path.to_owned(), why: why.to_string() }
}

/// Version of the file's format.
const SCHEMA: u32 = 1;

/// Longest file: two numbers a policy.
const LEN_MAX: u64 = 1 << 20;

/// The permission bit that lets everybody write.
const WRITABLE_BY_ALL: u32 = 0o002;
