//! Files that decide whom the router believes: read whole, bounded, and only where nobody but their owner can write.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The file system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// What it said.
        why: io::Error,
    },
    /// Somebody other than the owner could have written it; these are its permissions.
    WritableByOthers(u32),
    /// It is longer than it may be.
    TooLong,
}

/// Reads the text of a file that only its owner can have written.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String, Unread> {
    let failed = |doing| move |why| Unread::Io { doing, why };
    let file = File::open(path).map_err(failed("open"))?;
    let mode = file.metadata().map_err(failed("look at"))?.mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(Unread::WritableByOthers(mode & 0o7777));
    }
    let mut text = String::new();
    file.take(bytes_max.saturating_add(1)).read_to_string(&mut text).map_err(failed("read"))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(Unread::TooLong);
    }
    Ok(text)
}

/// Of group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;
