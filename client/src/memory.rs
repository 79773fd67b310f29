//! The memory of versions: the highest policy version per name and the highest number of each
//! issuer's revocation list, so that nobody can bring back an older one unnoticed.
//!
//! It belongs to `chat` and `proxy`; `verify` never reads it. A file that cannot be read is an error
//! with a remedy: treating it as empty would let whoever damages it roll back what it guards.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use verifier::CrlNumber;

use crate::error::Error;

/// A memory in a folder of its own.
#[derive(Clone, Debug)]
pub struct Memory {
    folder: PathBuf,
}

/// What is written down.
#[derive(Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Versions {
    schema: u32,
    policies: BTreeMap<String, u64>,
    /// The lowest version that is good, where a policy said so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    floors: BTreeMap<String, u64>,
    crls: BTreeMap<String, u64>,
}

impl Memory {
    /// A memory in `folder`, which is made when there is something to write.
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("versions.json")
    }

    /// Refuses a policy whose version is lower than the highest accepted one.
    ///
    /// # Errors
    /// Such a policy, or a memory that cannot be read.
    pub fn check_policy(&self, name: &str, version: u64) -> Result<(), Error> {
        self.check(&self.read()?, name, version)
    }

    /// Takes note of what a policy that was read says of older ones: that versions below `floor` are
    /// no good. Unlike its own version, which counts once something was accepted under it, this
    /// counts at once.
    ///
    /// # Errors
    /// A memory that cannot be read or written.
    pub fn raise_floor(&self, name: &str, floor: u64) -> Result<(), Error> {
        if self.read()?.floors.get(name).copied().unwrap_or(0) >= floor {
            return Ok(());
        }
        self.change(|versions| Ok(versions.raise(name, floor)))
    }

    /// Takes note of an acceptance, after refusing what is older than it remembers.
    ///
    /// # Errors
    /// A lower policy version or CRL number, or a memory that cannot be read or written.
    pub fn accept(&self, name: &str, version: u64, crls: &[CrlNumber]) -> Result<(), Error> {
        self.change(|versions| {
            self.check(versions, name, version)?;
            let mut changed = versions.policies.insert(name.to_owned(), version) != Some(version);
            for CrlNumber { issuer, number } in crls {
                let highest = versions.crls.get(issuer).copied().unwrap_or(0);
                if *number < highest {
                    return Err(Error::CrlRolledBack {
                        issuer: issuer.clone(),
                        number: *number,
                        highest,
                    });
                }
                changed |= versions.crls.insert(issuer.clone(), *number) != Some(*number);
            }
            Ok(changed)
        })
    }

    /// Changes what is written down, where `change` says that it changed anything.
    fn change(
        &self,
        change: impl FnOnce(&mut Versions) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| self.unusable(error))?;
        let mode = fs::metadata(&self.folder).map_err(|error| self.unusable(error))?.mode();
        if mode & WRITABLE_BY_ALL != 0 {
            return Err(self.unusable("is in a folder that everybody may write"));
        }
        // Two programs may learn something at once: the later must not forget what the earlier wrote.
        let lock = self.open_lock()?;
        lock.lock().map_err(|error| self.unusable(error))?;
        let mut versions = self.read()?;
        if change(&mut versions)? { self.write(&versions) } else { Ok(()) }
    }

    fn check(&self, versions: &Versions, name: &str, version: u64) -> Result<(), Error> {
        let highest = versions.policies.get(name).copied().unwrap_or(0);
        let highest = highest.max(versions.floors.get(name).copied().unwrap_or(0));
        if version < highest {
            let memory = self.path().display().to_string();
            return Err(Error::PolicyRolledBack {
                name: name.to_owned(),
                version,
                highest,
                memory,
            });
        }
        Ok(())
    }

    fn read(&self) -> Result<Versions, Error> {
        let mut text = String::new();
        match File::open(self.path()) {
            Ok(file) => file
                .take(LEN_MAX.saturating_add(1))
                .read_to_string(&mut text)
                .map_err(|error| self.unusable(error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Versions { schema: SCHEMA, ..Versions::default() });
            }
            Err(error) => return Err(self.unusable(error)),
        };
        let versions: Versions =
            serde_json::from_str(&text).map_err(|error| self.unusable(error))?;
        if versions.schema != SCHEMA {
            return Err(self.unusable("has a schema that this version does not know"));
        }
        Ok(versions)
    }

    /// Writes beside the file, then renames: a crash leaves the old memory or the new one.
    fn write(&self, versions: &Versions) -> Result<(), Error> {
        let beside = self.folder.join("versions.json.new");
        let written = || {
            // What a crash left, or a link that somebody laid there: never written through.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = private().create_new(true).open(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(versions)?)?;
            file.sync_all()?;
            fs::rename(&beside, self.path())?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error| self.unusable(error))
    }

    fn open_lock(&self) -> Result<File, Error> {
        private()
            .create(true)
            .truncate(false)
            .open(self.folder.join("lock"))
            .map_err(|error| self.unusable(error))
    }

    fn unusable(&self, why: impl std::fmt::Display) -> Error {
        Error::Memory { path: display(&self.path()), why: format!("cannot be used: {why}") }
    }
}

impl Versions {
    /// Whether the floor is higher than it was.
    fn raise(&mut self, name: &str, floor: u64) -> bool {
        let known = self.floors.entry(name.to_owned()).or_insert(0);
        let is_higher = floor > *known;
        *known = floor.max(*known);
        is_higher
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// The permission bit that lets everybody write.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Version of the file's format.
const SCHEMA: u32 = 1;

/// Longest file: a name and a number per policy and issuer, of which there are a handful.
const LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(name: &str) -> Memory {
        let folder = std::env::temp_dir().join(format!("veritee-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        Memory::in_folder(folder)
    }

    fn crl(number: u64) -> [CrlNumber; 1] {
        [CrlNumber { issuer: "ARK-Genoa".to_owned(), number }]
    }

    #[test]
    fn lower_versions_are_refused_and_higher_ones_remembered() {
        let memory = memory("versions");
        memory.check_policy("p", 1).unwrap();
        memory.accept("p", 7, &crl(3)).unwrap();
        assert_eq!(memory.check_policy("p", 6).unwrap_err().code(), "policy-rolled-back");
        assert_eq!(memory.accept("p", 6, &crl(4)).unwrap_err().code(), "policy-rolled-back");
        assert_eq!(memory.accept("p", 7, &crl(2)).unwrap_err().code(), "crl-rolled-back");
        memory.check_policy("p", 7).unwrap();
        memory.accept("p", 8, &crl(3)).unwrap();
        memory.check_policy("other", 1).unwrap();
        assert_eq!(memory.check_policy("p", 7).unwrap_err().code(), "policy-rolled-back");
        fs::remove_dir_all(&memory.folder).unwrap();
    }

    #[test]
    fn a_floor_counts_before_anything_is_accepted_and_never_sinks() {
        let memory = memory("floors");
        memory.accept("p", 3, &[]).unwrap();
        memory.raise_floor("p", 0).unwrap();
        memory.check_policy("p", 3).unwrap();
        memory.raise_floor("p", 7).unwrap();
        assert_eq!(memory.check_policy("p", 6).unwrap_err().code(), "policy-rolled-back");
        assert_eq!(memory.accept("p", 6, &[]).unwrap_err().code(), "policy-rolled-back");
        memory.raise_floor("p", 5).unwrap();
        assert_eq!(memory.check_policy("p", 6).unwrap_err().code(), "policy-rolled-back");
        memory.check_policy("p", 7).unwrap();
        memory.check_policy("other", 1).unwrap();
        // A memory from before there were floors is still one.
        fs::write(memory.path(), "{\"schema\":1,\"policies\":{\"p\":2},\"crls\":{}}").unwrap();
        memory.check_policy("p", 2).unwrap();
        fs::remove_dir_all(&memory.folder).unwrap();
    }

    #[test]
    fn a_refused_list_leaves_the_memory_as_it_was() {
        let memory = memory("unchanged");
        memory.accept("p", 1, &crl(3)).unwrap();
        let before = fs::read(memory.path()).unwrap();
        assert!(memory.accept("p", 2, &crl(2)).is_err());
        assert_eq!(fs::read(memory.path()).unwrap(), before);
        fs::remove_dir_all(&memory.folder).unwrap();
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let memory = memory("link");
        memory.accept("p", 1, &[]).unwrap();
        let victim = memory.folder.join("victim");
        fs::write(&victim, "dear").unwrap();
        std::os::unix::fs::symlink(&victim, memory.folder.join("versions.json.new")).unwrap();
        memory.accept("p", 2, &[]).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"dear");
        assert!(fs::symlink_metadata(memory.path()).unwrap().is_file());
        assert!(memory.check_policy("p", 1).is_err());
        fs::remove_dir_all(&memory.folder).unwrap();
    }

    #[test]
    fn a_memory_that_everybody_may_change_is_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let memory = memory("open");
        memory.accept("p", 1, &[]).unwrap();
        fs::set_permissions(&memory.folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(memory.accept("p", 1, &[]).unwrap_err().code(), "memory-unusable");
        fs::remove_dir_all(&memory.folder).unwrap();
    }

    #[test]
    fn a_damaged_memory_is_an_error_not_an_empty_one() {
        let memory = memory("damaged");
        memory.accept("p", 7, &[]).unwrap();
        for damage in ["", "{", "{\"schema\":2,\"policies\":{},\"crls\":{}}", "[]"] {
            fs::write(memory.path(), damage).unwrap();
            let error = memory.check_policy("p", 9).unwrap_err();
            assert_eq!(error.code(), "memory-unusable", "{damage:?}");
            assert!(error.next_step().contains("remove the file"));
            assert_eq!(memory.accept("p", 9, &[]).unwrap_err().code(), "memory-unusable");
        }
        fs::remove_dir_all(&memory.folder).unwrap();
    }
}
