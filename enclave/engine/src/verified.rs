//! The one door through which a model comes in.

use attestation::Sha256;

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
        if sha256.0 != expected_sha256 {
            return Err(LoadError::DigestMismatch { expected: expected_sha256, actual: sha256.0 });
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

impl core::fmt::Debug for VerifiedModel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "VerifiedModel({}, {} bytes)", self.sha256, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_refused() {
        let pinned = Sha256::of(b"model").0;
        assert_eq!(VerifiedModel::check(b"model".to_vec(), pinned).unwrap().sha256(), pinned);
        let error = VerifiedModel::check(b"Model".to_vec(), pinned).unwrap_err();
        assert_eq!(error.code(), "model-digest-mismatch");
    }
}
