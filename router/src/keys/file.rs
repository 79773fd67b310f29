//! The file of keys: read whole or not at all, and replaced whole.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use attestation::{Secret, Sha256, UnixTime};
use serde::{Deserialize, Serialize};

use super::{KeyId, KeySeed, token};
use crate::{
    config::KeyLimits,
    owned::{self, Unread},
};

/// All keys that were ever added, the revoked ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysFile {
    keys: Vec<Key>,
}

/// One key: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What names it in logs, metrics and commands.
    pub id: KeyId,
    /// What the operator calls it.
    pub name: String,
    /// When it was added.
    pub created: UnixTime,
    /// When it stopped counting, if it did.
    pub revoked: Option<UnixTime>,
    /// Where it may use more or less than others.
    pub limits: Overrides,
    pub(crate) digest: Sha256,
}

/// Limits of one key; where none is given the configuration's holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// Requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_max: Option<u32>,
    /// Requests that enclaves could not open, in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures_per_minute: Option<u32>,
}

impl KeysFile {
    /// Reads the file at `path`, which nobody but its owner may be able to write.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        Self::parse(&read(path)?)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        // The parser's own message quotes the line, and with it what may be a digest.
        let Written { schema, keys } =
            toml::from_str(text).map_err(|error| KeysError::Syntax(error.message().to_owned()))?;
        if schema != SCHEMA {
            return Err(KeysError::Schema(schema));
        }
        if keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let mut file = Self::default();
        for key in keys {
            file.insert(Key::try_from(key)?)?;
        }
        Ok(file)
    }

    /// Changes the file at `path`, which need not exist; two who do so at once take turns.
    ///
    /// The new file takes the old one's place at once and whole: a reader sees either. It is readable and writable by its owner
    /// alone, who stays the same.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, KeysError>,
    ) -> Result<T, KeysError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        let folder = File::open(folder).map_err(failed("open the folder of", path))?;
        // Held until `folder` is closed.
        folder.lock().map_err(failed("lock the folder of", path))?;
        let mut file = match Self::load(path) {
            Err(KeysError::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
                Self::default()
            }
            loaded => loaded?,
        };
        let changed = change(&mut file)?;
        replace(path, &file.text()?)?;
        folder.sync_all().map_err(failed("store", path))?;
        Ok(changed)
    }

    /// Adds a key and returns it: the only time that anybody sees it.
    pub fn add(
        &mut self,
        name: &str,
        limits: Overrides,
        seed: &KeySeed,
        now: UnixTime,
    ) -> Result<(KeyId, Secret<String>), KeysError> {
        let token = token(seed);
        let (id, digest) =
            super::read_token(token.expose().as_bytes()).ok_or(KeysError::TooMany)?;
        let written = WrittenKey {
            id: id.to_string(),
            name: name.to_owned(),
            sha256: digest,
            created: now,
            revoked: None,
            limits,
        };
        self.insert(Key::try_from(written)?)?;
        Ok((id, token))
    }

    /// Revokes a key; one that is revoked stays so since when it was.
    pub fn revoke(&mut self, id: KeyId, now: UnixTime) -> Result<(), KeysError> {
        let key = self.keys.iter_mut().find(|key| key.id == id).ok_or(KeysError::Unknown(id))?;
        key.revoked.get_or_insert(now);
        Ok(())
    }

    /// The keys, in the order in which they were added.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn insert(&mut self, key: Key) -> Result<(), KeysError> {
        if self.keys.len() >= KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        if self.keys.iter().any(|known| known.id == key.id) {
            return Err(KeysError::Twice(key.id));
        }
        self.keys.push(key);
        Ok(())
    }

    fn text(&self) -> Result<String, KeysError> {
        let keys = self.keys.iter().cloned().map(WrittenKey::from).collect();
        let body = toml::to_string(&Written { schema: SCHEMA, keys })
            .map_err(|error| KeysError::Syntax(error.to_string()))?;
        Ok(format!("{HEADING}{body}"))
    }
}

impl Overrides {
    /// What holds for a key that has these.
    pub(crate) fn over(self, defaults: &KeyLimits) -> KeyLimits {
        let Self { requests_per_minute, streams_max, failures_per_minute } = self;
        KeyLimits {
            requests_per_minute: requests_per_minute.unwrap_or(defaults.requests_per_minute),
            streams_max: streams_max.unwrap_or(defaults.streams_max),
            failures_per_minute: failures_per_minute.unwrap_or(defaults.failures_per_minute),
        }
    }
}

/// Reads the text of the file, bounded, from a file that only its owner can have written.
pub(super) fn read(path: &Path) -> Result<String, KeysError> {
    owned::read(path, FILE_BYTES_MAX).map_err(|unread| match unread {
        Unread::Io { doing, why } => KeysError::Io { doing, path: path.to_owned(), why },
        Unread::WritableByOthers(mode) => {
            KeysError::WritableByOthers { path: path.to_owned(), mode }
        }
        Unread::TooLong => KeysError::TooMany,
    })
}

/// Writes beside `path` and renames over it.
fn replace(path: &Path, text: &str) -> Result<(), KeysError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left by somebody who was killed half-way; nobody else is here while the folder is locked.
    drop(fs::remove_file(&beside));
    let written = write_new(&beside, path, text)
        .and_then(|()| fs::rename(&beside, path).map_err(failed("replace", path)));
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

fn write_new(beside: &Path, path: &Path, text: &str) -> Result<(), KeysError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)
        .map_err(failed("create", beside))?;
    if let (Ok(old), Ok(new)) = (fs::metadata(path), file.metadata())
        && (old.uid(), old.gid()) != (new.uid(), new.gid())
    {
        // Otherwise root would take the file away from the router.
        fchown(&file, Some(old.uid()), Some(old.gid()))
            .map_err(failed("keep the owner of", path))?;
    }
    file.write_all(text.as_bytes()).map_err(failed("write", beside))?;
    file.sync_all().map_err(failed("store", beside))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeysError {
    let path = path.to_owned();
    move |why| KeysError::Io { doing, path, why }
}

/// Why keys could not be read or changed; each one says what to change.
#[derive(Debug)]
pub enum KeysError {
    /// The file system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        why: io::Error,
    },
    /// Somebody other than the owner could have added keys.
    WritableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    Syntax(String),
    /// Written by another release.
    Schema(u32),
    /// More than the router holds.
    TooMany,
    /// Two keys with one id.
    Twice(KeyId),
    /// No key has this id.
    Unknown(KeyId),
    /// Not sixteen lower-case hexadecimal digits.
    NotAnId(String),
    /// A name that is empty, too long, or not plain.
    Name,
    /// A limit that is outside its range.
    OutOfRange {
        /// Which one.
        limit: &'static str,
        /// What was given.
        found: u32,
    },
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing: "open", path, why } if why.kind() == io::ErrorKind::NotFound => {
                write!(
                    f,
                    "cannot open {}: there is no such file; `veritee-router keys add` makes it",
                    path.display()
                )
            }
            Self::Io { doing, path, why } => {
                write!(f, "cannot {doing} {}: {}", path.display(), why.kind())
            }
            Self::WritableByOthers { path, mode } => write!(
                f,
                "{} can be written by others than its owner (mode {mode:04o}); `chmod 0600` it",
                path.display()
            ),
            Self::Syntax(why) => write!(f, "the file of keys does not parse: {why}"),
            Self::Schema(found) => {
                write!(f, "the file of keys has schema {found}; this release knows {SCHEMA}")
            }
            Self::TooMany => write!(
                f,
                "the file of keys would be too large: at most {KEYS_MAX} keys, the revoked ones too, and {FILE_BYTES_MAX} octets; remove revoked ones from it"
            ),
            Self::Twice(id) => write!(f, "key {id} stands twice in the file of keys"),
            Self::Unknown(id) => write!(f, "there is no key {id}; see `keys list`"),
            Self::NotAnId(_) => {
                f.write_str("a key's id is sixteen lower-case hexadecimal digits; see `keys list`")
            }
            Self::Name => write!(
                f,
                "a key's name is 1 to {NAME_LEN_MAX} letters, digits, spaces or any of `. _ - @`"
            ),
            Self::OutOfRange { limit, found } => {
                write!(f, "`{limit} = {found}` is outside 1..={}", KeyLimits::MAX)
            }
        }
    }
}

impl std::error::Error for KeysError {}

/// The file, as written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    #[serde(default)]
    keys: Vec<WrittenKey>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    id: String,
    name: String,
    sha256: Sha256,
    created: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<UnixTime>,
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    limits: Overrides,
}

impl Overrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Key> for WrittenKey {
    fn from(key: Key) -> Self {
        let Key { id, name, created, revoked, limits, digest } = key;
        Self { id: id.to_string(), name, sha256: digest, created, revoked, limits }
    }
}

impl TryFrom<WrittenKey> for Key {
    type Error = KeysError;

    fn try_from(written: WrittenKey) -> Result<Self, KeysError> {
        let WrittenKey { id, name, sha256, created, revoked, limits } = written;
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b" ._-@".contains(&octet);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(plain) {
            return Err(KeysError::Name);
        }
        let Overrides { requests_per_minute, streams_max, failures_per_minute } = limits;
        for (limit, found) in [
            ("requests_per_minute", requests_per_minute),
            ("streams_max", streams_max),
            ("failures_per_minute", failures_per_minute),
        ] {
            if let Some(found) = found.filter(|found| !(1..=KeyLimits::MAX).contains(found)) {
                return Err(KeysError::OutOfRange { limit, found });
            }
        }
        Ok(Self { id: id.parse()?, name, created, revoked, limits, digest: sha256 })
    }
}

/// What every file starts with.
const HEADING: &str = "# Written by `veritee-router keys`; it holds no key, only digests.\n";

const SCHEMA: u32 = 1;

/// Keys in one file, which is also the bound of the metrics by key.
const KEYS_MAX: usize = 1_000;

/// Five hundred octets a key and more.
const FILE_BYTES_MAX: u64 = 1 << 20;

const NAME_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(number: u8) -> KeySeed {
        Secret::new([number; 40])
    }

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn two() -> KeysFile {
        let mut file = KeysFile::default();
        file.add("one", Overrides::default(), &seed(1), at(1)).unwrap();
        let limits = Overrides { streams_max: Some(7), ..Overrides::default() };
        file.add("two", limits, &seed(2), at(2)).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_holds_no_key() {
        let mut file = two();
        let id = file.keys()[0].id;
        file.revoke(id, at(3)).unwrap();
        file.revoke(id, at(4)).unwrap();
        assert_eq!(file.keys()[0].revoked, Some(at(3)), "once revoked, since then");
        let text = file.text().unwrap();
        assert_eq!(KeysFile::parse(&text).unwrap(), file);
        for number in [1, 2] {
            let token = token(&seed(number));
            let secret = token.expose().rsplit('_').next().unwrap();
            assert!(!text.contains(secret));
            assert!(text.contains(&Sha256::of(token.expose().as_bytes()).to_string()));
        }
    }

    #[test]
    fn each_bad_file_is_refused_for_its_reason() {
        let good = two().text().unwrap();
        let with = |from: &str, to: &str| {
            assert!(good.contains(from), "{from} in {good}");
            KeysFile::parse(&good.replacen(from, to, 1)).unwrap_err()
        };
        assert!(matches!(with("schema = 1", "schema = 2"), KeysError::Schema(2)));
        assert!(matches!(with("schema = 1", ""), KeysError::Syntax(_)));
        assert!(matches!(with("name =", "nmae ="), KeysError::Syntax(_)));
        assert!(matches!(with("streams_max =", "streams ="), KeysError::Syntax(_)));
        assert!(matches!(with("name = \"one\"", "name = \"\""), KeysError::Name));
        assert!(matches!(with("name = \"one\"", "name = \"o\\n\""), KeysError::Name));
        let long = format!("name = \"{}\"", "x".repeat(65));
        assert!(matches!(with("name = \"one\"", &long), KeysError::Name));
        assert!(matches!(with(&"01".repeat(8), "01"), KeysError::NotAnId(_)));
        assert!(matches!(with(&"02".repeat(8), &"01".repeat(8)), KeysError::Twice(_)));
        let digest = two().keys()[0].digest.to_string();
        assert!(matches!(with(&digest, &digest.to_uppercase()), KeysError::Syntax(_)));
        assert!(matches!(with("1970-01-01T00:00:01Z", "1970"), KeysError::Syntax(_)));
        for found in [0, KeyLimits::MAX.saturating_add(1)] {
            let error = with("streams_max = 7", &format!("streams_max = {found}"));
            assert!(matches!(error, KeysError::OutOfRange { limit: "streams_max", .. }));
        }
    }

    #[test]
    fn there_are_so_many_keys_and_no_more() {
        let mut file = KeysFile::default();
        for number in 0..=u16::try_from(KEYS_MAX).unwrap() {
            let mut octets = [0; 40];
            octets[..2].copy_from_slice(&number.to_be_bytes());
            let limits = Overrides {
                requests_per_minute: Some(KeyLimits::MAX),
                streams_max: Some(KeyLimits::MAX),
                failures_per_minute: Some(KeyLimits::MAX),
            };
            let added =
                file.add(&"x".repeat(NAME_LEN_MAX), limits, &Secret::new(octets), UnixTime::END);
            assert_eq!(added.is_ok(), usize::from(number) < KEYS_MAX, "{number}");
        }
        let text = file.text().unwrap();
        assert!(text.len() < usize::try_from(FILE_BYTES_MAX).unwrap(), "the largest one is read");
        let more = text.replacen("schema = 1\n", "schema = 1\nmore = 1\n", 1);
        assert!(KeysFile::parse(&more).is_err());
        let mut keys: Vec<_> = file.keys.iter().cloned().map(WrittenKey::from).collect();
        keys.push(WrittenKey { id: "f".repeat(16), ..WrittenKey::from(file.keys[0].clone()) });
        let text = toml::to_string(&Written { schema: SCHEMA, keys }).unwrap();
        assert!(matches!(KeysFile::parse(&text), Err(KeysError::TooMany)));
    }

    #[test]
    fn an_unknown_key_cannot_be_revoked() {
        let unknown = "00000000000000ff".parse().unwrap();
        assert!(
            matches!(two().revoke(unknown, at(1)), Err(KeysError::Unknown(id)) if id == unknown)
        );
    }
}
