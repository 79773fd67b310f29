//! The one door through which a model comes in.

use core::fmt;
use std::io::{self, Read};

use attestation::Sha256;
use attestation::digest::Hashing;

use crate::gguf::LoadError;

/// A model file whose SHA-256 is the one that was pinned; the only thing that [`crate::EmbeddedEngine`] loads.
///
/// It owns the bytes, so what was hashed is what will be parsed.
pub struct VerifiedModel {
    bytes: Vec<u8>,
    sha256: Sha256,
}

impl VerifiedModel {
    /// Hashes `bytes` and compares with the digest that the manifest pins.
    ///
    /// # Errors
    /// [`LoadError::DigestMismatch`].
    pub fn check(bytes: Vec<u8>, expected_sha256: [u8; 32]) -> Result<Self, LoadError> {
        let sha256 = Sha256::of(&bytes);
        Self::compared(bytes, sha256, expected_sha256)
    }

    /// Reads `len` bytes once, into the one buffer that is hashed on the way and parsed afterwards.
    ///
    /// `progress` hears how many bytes are in after every 64 MiB.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        mut from: impl Read,
        len: u64,
        expected_sha256: [u8; 32],
        mut progress: impl FnMut(u64),
    ) -> Result<Self, ReadError> {
        let too_large = || ReadError::TooLarge { len };
        let room = usize::try_from(len).ok().filter(|_| len <= LEN_MAX).ok_or_else(too_large)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).map_err(|_| too_large())?;
        let mut hashing = Hashing::new();
        loop {
            let read = bytes.len();
            // Never more than was reserved: the buffer does not move. What lies behind `len` is seen by the digest.
            let left = u64::try_from(room.saturating_sub(read)).unwrap_or(u64::MAX).min(PIECE_LEN);
            if from.by_ref().take(left).read_to_end(&mut bytes).map_err(ReadError::Unreadable)? == 0
            {
                break;
            }
            hashing.update(bytes.get(read..).unwrap_or_default());
            progress(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        Self::compared(bytes, hashing.finish(), expected_sha256).map_err(ReadError::Refused)
    }

    fn compared(bytes: Vec<u8>, sha256: Sha256, expected: [u8; 32]) -> Result<Self, LoadError> {
        if sha256.0 != expected {
            return Err(LoadError::DigestMismatch { expected, actual: sha256.0 });
        }
        Ok(Self { bytes, sha256 })
    }

    /// The file's digest.
    pub const fn sha256(&self) -> [u8; 32] {
        self.sha256.0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for VerifiedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedModel({}, {} bytes)", self.sha256, self.bytes.len())
    }
}

/// Why a file did not become a model.
#[derive(Debug)]
pub enum ReadError {
    /// The system's reason.
    Unreadable(io::Error),
    /// The file is larger than memory, or than any model that this engine runs.
    TooLarge {
        /// Its length.
        len: u64,
    },
    /// It is not the file that was pinned.
    Refused(LoadError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "the model cannot be read: {error}"),
            Self::TooLarge { len } => {
                write!(f, "the model has {len} bytes, more than there is memory for")
            }
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReadError {}

/// 256 GiB: more than the memory of any guest that this release runs in.
const LEN_MAX: u64 = 256 << 30;
/// Bytes between two words on how far it is.
const PIECE_LEN: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_was_pinned_and_no_more_of_it_is_read_than_it_had() {
        let pinned = Sha256::of(b"model").0;
        let mut heard = Vec::new();
        let model = VerifiedModel::read(&b"model"[..], 5, pinned, |len| heard.push(len)).unwrap();
        assert_eq!((model.bytes(), heard), (&b"model"[..], vec![5]));
        // It grew or shrank meanwhile, or was another one.
        assert!(VerifiedModel::read(&b"models"[..], 5, pinned, drop).is_ok());
        for (file, len) in [(&b"models"[..], 6), (&b"mode"[..], 5), (&b"model"[..], 4)] {
            let error = VerifiedModel::read(file, len, pinned, drop).unwrap_err();
            assert!(matches!(error, ReadError::Refused(LoadError::DigestMismatch { .. })));
        }
        let error = VerifiedModel::read(&b"model"[..], LEN_MAX + 1, pinned, drop).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { .. }));
    }

    #[test]
    fn other_bytes_are_refused() {
        let pinned = Sha256::of(b"model").0;
        assert_eq!(VerifiedModel::check(b"model".to_vec(), pinned).unwrap().sha256(), pinned);
        let error = VerifiedModel::check(b"Model".to_vec(), pinned).unwrap_err();
        assert_eq!(error.code(), "model-digest-mismatch");
    }
}
