//! Files from an operator: bounded, and, where they are secret, nobody else's.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use attestation::Secret;

/// Reads a file of at most `len_max` octets.
pub(crate) fn read(path: &Path, len_max: u64) -> Result<Vec<u8>, FileError> {
    read_open(&open(path)?, path, len_max)
}

/// Reads a private key's file. Who can read or write it is its owner alone.
pub(crate) fn read_secret(path: &Path, len_max: u64) -> Result<Secret<Vec<u8>>, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| unreadable(path, error.to_string()))?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    read_open(&file, path, len_max).map(Secret::new)
}

/// The files of `folder` that `admits` takes by name, sorted.
pub(crate) fn list(
    folder: &Path,
    files_max: usize,
    admits: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, FileError> {
    let failed = |error: std::io::Error| unreadable(folder, error.to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && admits(&path) {
            files.push(path);
        }
        if files.len() > files_max {
            return Err(unreadable(folder, format!("it has more than {files_max} files")));
        }
    }
    // Folders list their files in no order; which of two counts must not depend on it.
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|error| unreadable(path, error.to_string()))
}

fn read_open(file: &File, path: &Path, len_max: u64) -> Result<Vec<u8>, FileError> {
    let mut octets = Vec::new();
    file.take(len_max.saturating_add(1))
        .read_to_end(&mut octets)
        .map_err(|error| unreadable(path, error.to_string()))?;
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > len_max {
        return Err(unreadable(path, format!("it has more than {len_max} octets")));
    }
    Ok(octets)
}

fn unreadable(path: &Path, why: String) -> FileError {
    FileError::Unreadable { path: path.to_owned(), why }
}

/// A file that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileError {
    /// It cannot be read, or is too long.
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// A private key that others than its owner can read or write.
    Exposed {
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "cannot read {}: {why}", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "{} holds a private key and has mode {mode:04o}: `chmod 0600` it",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// Everybody but the owner.
const OTHERS: u32 = 0o077;
