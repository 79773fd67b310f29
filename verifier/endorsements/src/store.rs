//! Documents on disk: whole or not at all, and believed only as far as they parse.
//!
//! Each is a file of its own, named by the SHA-256 of its item's name:
//!
//! ```text
//! veritee-endorsement-1 <SHA-256 of all that follows, hex>\n
//! {"item":…,"source":…,"fetched_at":…,"parts":[["certificate",1345],…]}\n
//! the parts' octets
//! ```
//!
//! It is written beside, synced and renamed. One that does not have its digest, or does not parse, is
//! removed when it is met.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attestation::{Malformed, Sha256, UnixTime};
use serde::{Deserialize, Serialize};

use crate::document::{Document, Kind, Part};

/// Writes files; tests have one that fails.
pub trait Disk: Send + Sync {
    /// Writes a file that is not there yet, and waits until it is on the disk.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

/// A folder of documents, shared by processes.
#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
}

/// A document that is kept, and where it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) document: Document,
    pub(crate) item: String,
    pub(crate) source: String,
    pub(crate) fetched_at: UnixTime,
}

/// What is in a place of the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Nothing,
    /// It was damaged, and is removed.
    Damaged,
    Record(Box<Record>),
}

/// What is kept of one item.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// The item's name; the file's where it is damaged.
    pub item: String,
    /// Where it came from.
    pub source: String,
    /// When it came.
    pub fetched_at: Option<UnixTime>,
    /// When it ends.
    pub ends: Option<UnixTime>,
    /// When it will be fetched again.
    pub refresh_at: Option<UnixTime>,
    /// Its CRL number or evaluation number.
    pub number: Option<u64>,
    /// Octets of the file.
    pub len: u64,
    /// What state it is in.
    pub health: Health,
}

/// The state of what is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Used as it is.
    Fresh,
    /// Used, and fetched again when it is needed next.
    Due,
    /// Not used.
    Ended,
    /// Not used, and removed when it is met.
    Damaged,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    item: String,
    source: String,
    fetched_at: UnixTime,
    parts: Vec<(Kind, usize)>,
}

impl Store {
    /// A store in `folder`, which is made when there is something to keep.
    pub fn new(folder: PathBuf) -> Self {
        Self::with_disk(folder, Arc::new(OsDisk))
    }

    /// The same, with another way to write.
    pub fn with_disk(folder: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { folder, disk }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is kept under this name.
    pub(crate) fn read(&self, item: &str) -> Found {
        let path = self.path(item);
        let bytes = match read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
            // What cannot be read may be another's: it is left where it is.
            Err(_) => return Found::Damaged,
        };
        match decode(&bytes) {
            Ok(record) if record.item == item => Found::Record(Box::new(record)),
            _ => {
                // Where it cannot be removed the next one is put in its place all the same.
                drop(fs::remove_file(&path));
                Found::Damaged
            }
        }
    }

    /// Keeps a record in place of the last of its item, and makes room for it.
    pub(crate) fn write(&self, record: &Record, len_max: u64) -> io::Result<()> {
        let bytes = encode(record)?;
        self.put(&self.path(&record.item), &bytes)?;
        self.make_room(len_max, &self.path(&record.item))
    }

    /// Writes beside, syncs, renames: a crash leaves the old file or the new one.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.make_folder()?;
        let beside = path.with_extension("new");
        // What a crash left, or a link that somebody laid there: never written through.
        remove(&beside)?;
        let written = self.disk.write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            drop(remove(&beside));
        }
        written?;
        File::open(&self.folder)?.sync_all()
    }

    /// Everything that is kept, by name. `refresh` says when a document is fetched again.
    pub(crate) fn list(
        &self,
        now: UnixTime,
        refresh: impl Fn(&Record) -> UnixTime,
    ) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for path in self.files()? {
            // What cannot be read is damaged, and no reason to say nothing of the others.
            let bytes = match read_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                read => read.unwrap_or_default(),
            };
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            entries.push(match decode(&bytes) {
                Ok(record) if self.path(&record.item) == path => {
                    entry(&record, len, now, refresh(&record))
                }
                _ => Entry {
                    item: name(&path),
                    source: String::new(),
                    fetched_at: None,
                    ends: None,
                    refresh_at: None,
                    number: None,
                    len,
                    health: Health::Damaged,
                },
            });
        }
        entries.sort_by(|one, other| one.item.cmp(&other.item));
        Ok(entries)
    }

    /// Every document that is kept and may be used at `now`.
    pub(crate) fn all(&self, now: UnixTime) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for path in self.files()? {
            let Ok(bytes) = read_file(&path) else { continue };
            let record = decode(&bytes).ok().filter(|record| self.path(&record.item) == path);
            records.extend(record.filter(|record| record.document.window().has(now)));
        }
        records.sort_by(|one, other| one.item.cmp(&other.item));
        Ok(records)
    }

    /// Takes the lock of an item's bucket, which is held while the file is open; `None` where another
    /// holds it.
    pub(crate) fn try_lock(&self, bucket: usize) -> io::Result<Option<File>> {
        self.make_folder()?;
        let path = self.folder.join(format!("lock-{bucket:02}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn path(&self, item: &str) -> PathBuf {
        self.folder.join(format!("{}.{EXTENSION}", Sha256::of(item.as_bytes())))
    }

    fn make_folder(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = match fs::read_dir(&self.folder) {
            Ok(folder) => folder,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in folder {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Removes what was written longest ago until the rest has at most `len_max` octets.
    fn make_room(&self, len_max: u64, keep: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        let mut total = 0_u64;
        for path in self.files()? {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            total = total.saturating_add(metadata.len());
            files.push((metadata.modified()?, metadata.len(), path));
        }
        files.sort();
        for (_, len, path) in files {
            if total <= len_max {
                break;
            }
            if path != keep {
                remove(&path)?;
                total = total.saturating_sub(len);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn entry(record: &Record, len: u64, now: UnixTime, refresh_at: UnixTime) -> Entry {
    let window = record.document.window();
    let health = if !window.has(now) {
        Health::Ended
    } else if refresh_at <= now {
        Health::Due
    } else {
        Health::Fresh
    };
    Entry {
        item: record.item.clone(),
        source: record.source.clone(),
        fetched_at: Some(record.fetched_at),
        ends: window.ends,
        refresh_at: Some(refresh_at),
        number: record.document.number(),
        len,
        health,
    }
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let parts = record.document.parts();
    let header = Header {
        item: record.item.clone(),
        source: record.source.clone(),
        fetched_at: record.fetched_at,
        parts: parts.iter().map(|part| (part.kind, part.bytes.len())).collect(),
    };
    let mut rest = serde_json::to_vec(&header)?;
    rest.push(b'\n');
    for part in parts {
        rest.extend_from_slice(&part.bytes);
    }
    let mut bytes = format!("{MAGIC}{}\n", Sha256::of(&rest)).into_bytes();
    bytes.extend(rest);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
    let bad = || Malformed::invalid("kept document", "is damaged");
    let line_end = |bytes: &[u8]| bytes.iter().position(|octet| *octet == b'\n');
    let (first, rest) = bytes.split_at_checked(line_end(bytes).ok_or_else(bad)?).ok_or_else(bad)?;
    let rest = rest.get(1..).ok_or_else(bad)?;
    if first != format!("{MAGIC}{}", Sha256::of(rest)).as_bytes() {
        return Err(bad());
    }
    let (header, body) = rest.split_at_checked(line_end(rest).ok_or_else(bad)?).ok_or_else(bad)?;
    let header: Header = serde_json::from_slice(header).map_err(|_| bad())?;
    let mut body = body.get(1..).ok_or_else(bad)?;
    let mut parts = Vec::new();
    for (kind, len) in header.parts {
        let (part, after) = body.split_at_checked(len).ok_or_else(bad)?;
        parts.push(Part::new(kind, part.to_vec()));
        body = after;
    }
    if !body.is_empty() {
        return Err(bad());
    }
    let document = Document::read(parts)?;
    let Header { item, source, fetched_at, .. } = header;
    Ok(Record { document, item, source, fetched_at })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_plain(path, FILE_LEN_MAX)
}

/// The first octets of a plain file: a pipe would never end, and some devices neither.
pub(crate) fn read_plain(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(len_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// How many locks there are: fewer than items, so that a folder does not fill up with them.
pub(crate) const BUCKETS: usize = 64;

/// The bucket of an item.
pub(crate) fn bucket(item: &str) -> usize {
    let [first, ..] = Sha256::of(item.as_bytes()).0;
    usize::from(first).checked_rem(BUCKETS).unwrap_or(0)
}

const MAGIC: &str = "veritee-endorsement-1 ";
const EXTENSION: &str = "endorsement";

/// Longest file: an answer, its chain and the header; what is longer is damaged.
const FILE_LEN_MAX: u64 = 4 << 20;
