//! A certificate and a key in files, read again whenever they change.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attestation::{Secret, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::identity::{CurrentIdentity, Identity, IdentityError};
use crate::pin::SpkiPin;

/// Where a certificate and its key are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentityFiles {
    /// The chain of certificates in PEM, the own one first.
    pub certificate: PathBuf,
    /// Its private key in PEM. A file that everybody can read, or others than its owner can write, is refused.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads both.
    ///
    /// # Errors
    /// [`IdentityError`], which says what to change.
    pub fn load(&self) -> Result<Identity, IdentityError> {
        let (certificate, key) = self.read()?;
        Identity::from_pem(&certificate, key.expose())
    }

    /// Looks at the files every `interval`, and has `current` follow them. Open connections are not touched.
    ///
    /// It looks at their content: some file systems keep no time that is good enough. `report` hears of every change, with
    /// the new key's pin, or with why the files were refused; then the identity stays what it was. A certificate and a key
    /// that are replaced one after the other do not belong together in between, which is reported and mends itself.
    /// It goes on until it is dropped.
    pub async fn watch(
        self,
        current: Arc<CurrentIdentity>,
        interval: Duration,
        mut report: impl FnMut(Result<SpkiPin, IdentityError>) + Send,
    ) {
        let files = Arc::new(self);
        // What was read before now may have been another content, so the first look compares with what is in use.
        let mut seen = None;
        loop {
            let look = Arc::clone(&files);
            // The error says that it panicked, which the next look will not remember.
            if let Ok((digest, found)) = spawn_blocking(move || look.look(seen)).await {
                let first = seen.is_none();
                seen = Some(digest);
                match found {
                    Some(Ok(identity))
                        if first && identity.certificate() == current.get().certificate() => {}
                    Some(Ok(identity)) => {
                        let spki = identity.spki();
                        current.replace(identity);
                        report(Ok(spki));
                    }
                    Some(Err(error)) => report(Err(error)),
                    None => {}
                }
            }
            sleep(interval).await;
        }
    }

    /// What the files hold, where that is something else than what was seen; and its digest.
    fn look(&self, seen: Option<Sha256>) -> (Sha256, Option<Result<Identity, IdentityError>>) {
        let read = self.read();
        let digest = match &read {
            Ok((certificate, key)) => {
                let parts = [Sha256::of(certificate), Sha256::of(key.expose())];
                Sha256::of_parts(&parts.each_ref().map(|part| &part.as_bytes()[..]))
            }
            Err(error) => Sha256::of(error.to_string().as_bytes()),
        };
        let changed = seen != Some(digest);
        let identity = |(certificate, key): (Vec<u8>, Secret<Vec<u8>>)| {
            Identity::from_pem(&certificate, key.expose())
        };
        (digest, changed.then(|| read.and_then(identity)))
    }

    fn read(&self) -> Result<(Vec<u8>, Secret<Vec<u8>>), IdentityError> {
        Ok((read(&self.certificate, 0)?, Secret::new(read(&self.key, KEY_MODE_REFUSED)?)))
    }
}

/// Reads a file none of whose permissions is among `refused`.
fn read(path: &Path, refused: u32) -> Result<Vec<u8>, IdentityError> {
    let unreadable =
        |why: String| IdentityError::Unreadable { path: path.display().to_string(), why };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mode = file.metadata().map_err(|error| unreadable(error.to_string()))?.mode();
    if mode & refused != 0 {
        return Err(IdentityError::Exposed {
            path: path.display().to_string(),
            mode: mode & 0o7777,
        });
    }
    let whole = || -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        file.take(FILE_LEN_MAX.saturating_add(1)).read_to_end(&mut octets)?;
        Ok(octets)
    };
    let octets = whole().map_err(|error| unreadable(error.to_string()))?;
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > FILE_LEN_MAX {
        return Err(unreadable(format!("it has more than {FILE_LEN_MAX} octets")));
    }
    Ok(octets)
}

/// Longest file: a chain of eight certificates has less than a fifth of it.
const FILE_LEN_MAX: u64 = 128 << 10;

/// A private key is for its owner. Groups may read it: that is how services are given keys that they do not own.
const KEY_MODE_REFUSED: u32 = 0o027;
