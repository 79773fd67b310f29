//! Files that a command writes: whole, or not at all.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Writes a file that is not there yet.
pub(crate) fn create(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    write_new(path, contents, mode).map_err(|error| unwritten(path, &error))
}

/// Whether a file can be put there, before anything is done for it.
pub(crate) fn check_place(path: &Path) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    };
    if folder.is_dir() {
        return Ok(());
    }
    let message =
        format!("cannot write {}: there is no folder {}", path.display(), folder.display());
    Err(Failure::usage(message, "make the folder first, or name a file in one that is there"))
}

/// Writes a file beside, then in its place: there is the old one or the new one, never half of one.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    // To put a file in the place of a device, a pipe or a link would take that away from everybody.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        let message = format!("cannot write {}: it is there, and no plain file", path.display());
        return Err(Failure::usage(message, "name a file, not a link, a device or a folder"));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = remove(&beside)
        .and_then(|()| write_new(&beside, contents, 0o644))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // A full disk is not to be kept full.
        drop(remove(&beside));
        unwritten(path, &error)
    })
}

/// Never through a link that somebody laid there.
fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot write {}: {error}", path.display());
    Failure::usage(message, "name a file that is not there, in a folder that can be written")
}
