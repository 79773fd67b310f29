//! Endorsements from files, which count for every request beside those that it brings.

use std::path::{Path, PathBuf};

use attestation::{Endorsements, endorsements};

use crate::files;

/// Reads everything that `paths` name: files, and the files of folders. A file that is named must be
/// endorsements; a folder may hold other things, which are passed over.
///
/// # Errors
/// What is wrong with which of them.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Endorsements, String> {
    let mut all = Endorsements::new();
    for path in paths {
        if path.is_dir() {
            let files =
                files::list(path, FILES_MAX, |_| true).map_err(|error| error.to_string())?;
            for file in files {
                let bytes = read(&file)?;
                let mut found = Endorsements::new();
                if found.add(&bytes).is_ok() {
                    all.extend(&found).map_err(|error| format!("{}: {error}", file.display()))?;
                }
            }
        } else {
            let bytes = read(path)?;
            all.add(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let len_max = u64::try_from(endorsements::INPUT_LEN_MAX).unwrap_or(u64::MAX);
    files::read(path, len_max).map_err(|error| error.to_string())
}

/// Most files of a folder.
const FILES_MAX: usize = 1_000;
