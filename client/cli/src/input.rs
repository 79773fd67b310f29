//! Evidence and endorsements from files, folders and standard input, bounded.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use attestation::{Endorsements, EvidenceKind, Secret, Sha256, endorsements, eventlog, evidence};
use client::{Access, Authorities, Family, Timeouts};
use serde::Serialize;

use crate::failure::Failure;

/// Reads evidence from a file, or from standard input where the name is `-`.
pub(crate) fn evidence(name: &str) -> Result<Vec<u8>, Failure> {
    // One octet more than evidence may have is kept, so that the verifier says what is wrong.
    if name == "-" {
        return read(io::stdin().lock(), evidence::LEN_MAX, "standard input");
    }
    read(open(Path::new(name))?, evidence::LEN_MAX, name)
}

/// What is no evidence and might be given in its place, so that who gives it hears what to do with it.
pub(crate) fn mistaken(name: &str, bytes: &[u8]) -> Option<Failure> {
    if EvidenceKind::detect(bytes).is_ok() {
        return None;
    }
    let malformed = |what: &str, next: &str| {
        let message = format!("{name} holds {what}, and no evidence");
        Failure::new(Family::Malformed, "evidence-malformed", message, next)
    };
    if Endorsements::new().add(bytes).is_ok() {
        let next = "give it with --endorsements, and first a report, a quote or a bundle; `veritee explain` lays it out";
        return Some(malformed(
            "endorsements (certificates, revocation lists, what vendors say)",
            next,
        ));
    }
    let text = str::from_utf8(bytes).ok()?;
    let is_policy = text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("schema"));
    is_policy.then(|| {
        malformed("a policy", "give it with --policy, and first a report, a quote or a bundle")
    })
}

/// Reads an event log.
pub(crate) fn event_log(path: &Path) -> Result<Vec<u8>, Failure> {
    // One octet more than a log may have is kept, so that the verifier says what is wrong.
    read(open(path)?, eventlog::LEN_MAX, &path.display().to_string())
}

/// Something that a verdict was made of, so that somebody else can tell whether they have the same.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Input {
    /// What it is.
    pub(crate) what: &'static str,
    /// What it was called: a file, `-`, or a URL.
    pub(crate) name: String,
    pub(crate) octets: usize,
    pub(crate) sha256: Sha256,
}

impl Input {
    pub(crate) fn of(what: &'static str, name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { what, name: name.into(), octets: bytes.len(), sha256: Sha256::of(bytes) }
    }
}

/// Reads everything that `paths` name: files, and the files of folders.
///
/// A file that is named must be endorsements. A folder may hold other things, which are passed over.
pub(crate) fn endorsements(paths: &[PathBuf]) -> Result<Endorsements, Failure> {
    listed_endorsements(paths).map(|(endorsements, _)| endorsements)
}

/// The same, with the files that it came from.
pub(crate) fn listed_endorsements(
    paths: &[PathBuf],
) -> Result<(Endorsements, Vec<Input>), Failure> {
    let mut all = Endorsements::new();
    let mut inputs = Vec::new();
    let mut list = |path: &Path, bytes: &[u8]| {
        inputs.push(Input::of("endorsements", path.display().to_string(), bytes));
    };
    for path in paths {
        if path.is_dir() {
            for file in files(path)? {
                let bytes = read_file(&file)?;
                let mut found = Endorsements::new();
                if found.add(&bytes).is_ok() {
                    all.extend(&found).map_err(|error| malformed(&file, &error))?;
                    list(&file, &bytes);
                }
            }
        } else {
            let bytes = read_file(path)?;
            match all.add(&bytes) {
                Err(_) if is_of_no_use(&bytes) => {}
                added => {
                    added.map_err(|error| malformed(path, &error))?;
                    list(path, &bytes);
                }
            }
        }
    }
    Ok((all, inputs))
}

/// What auditors have beside endorsements, told by content: NVIDIA's manifests, whose values policies
/// take (`veritee policy import-rim`), and JSON that does not claim to be Intel's.
fn is_of_no_use(bytes: &[u8]) -> bool {
    let json = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
    let is_intels = |name: &String| {
        let name = name.to_ascii_lowercase().replace('_', "");
        ["tcbinfo", "enclaveidentity", "qeidentity", "pckcrl"].iter().any(|it| name.contains(it))
    };
    bytes.trim_ascii_start().starts_with(b"<") || json.is_ok_and(|json| !json.keys().any(is_intels))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: io::Error| unreadable(&folder.display().to_string(), &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            let message = format!("{} holds more than {FILES_MAX} files", folder.display());
            return Err(Failure::usage(message, "name the folder of the endorsements alone"));
        }
    }
    // Folders list their files in no order; verdicts must not depend on it.
    files.sort();
    Ok(files)
}

/// A router's API key: the one line of a file.
pub(crate) fn key(path: &Path) -> Result<Secret<String>, Failure> {
    let name = path.display().to_string();
    let bytes = Secret::new(read(open(path)?, KEY_LEN_MAX, &name)?);
    let text = str::from_utf8(bytes.expose()).unwrap_or_default().trim();
    if text.is_empty() || text.len() > KEY_LEN_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let next = "name a file whose one line is the key that `veritee-router keys add` printed";
        return Err(Failure::usage(format!("{name} holds no API key"), next));
    }
    Ok(Secret::new(text.to_owned()))
}

/// How evidence behind a URL is asked for.
pub(crate) fn access(key: Option<&Path>, authorities: Option<&Path>) -> Result<Access, Failure> {
    let mut access = Access::from(Timeouts::default());
    if let Some(path) = key {
        access.authorization = Some(self::key(path)?);
    }
    if let Some(path) = authorities {
        access.authorities = self::authorities(path)?;
    }
    Ok(access)
}

/// The authorities that may vouch for a router.
pub(crate) fn authorities(path: &Path) -> Result<Authorities, Failure> {
    let name = path.display().to_string();
    let bytes = read(open(path)?, AUTHORITIES_LEN_MAX, &name)?;
    let next = "give the certificates of certificate authorities in PEM";
    if bytes.len() > AUTHORITIES_LEN_MAX {
        let message = format!("{name} is longer than any file of authorities");
        return Err(Failure::usage(message, next));
    }
    Authorities::from_pem(&bytes)
        .map_err(|error| Failure::usage(format!("{name} is refused: {error}"), next))
}

/// A manifest; one octet more than any has is kept, so that its reader says what is wrong.
pub(crate) fn manifest(path: &Path) -> Result<Vec<u8>, Failure> {
    read(open(path)?, rim::LEN_MAX, &path.display().to_string())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    read(open(path)?, endorsements::INPUT_LEN_MAX, &path.display().to_string())
}

fn open(path: &Path) -> Result<fs::File, Failure> {
    fs::File::open(path).map_err(|error| unreadable(&path.display().to_string(), &error))
}

fn read(from: impl Read, len_max: usize, name: &str) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(len_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    Ok(bytes)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {name}: {error}"), "name a file that can be read")
}

fn malformed(path: &Path, error: &attestation::Malformed) -> Failure {
    let message = format!("{}: {error}", path.display());
    let next = "give certificates and revocation lists in PEM or DER, as they were downloaded";
    Failure::new(Family::Malformed, "endorsements-malformed", message, next)
}

/// Longest API key: ours have under a hundred octets.
const KEY_LEN_MAX: usize = 4096;

/// Longest file of authorities: the public ones together have a quarter of it.
const AUTHORITIES_LEN_MAX: usize = 1 << 20;

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 1000;
