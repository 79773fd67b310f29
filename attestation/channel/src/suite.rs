//! The suites that may be spoken, by name. There are two, and a client of ours speaks one.

use attestation::keys::{AEAD_AES_128_GCM, AEAD_AES_256_GCM, KDF_HKDF_SHA256, KEM_XWING};

/// Length of an X-Wing encapsulated key (draft-connolly-cfrg-xwing-kem §5.2).
pub const ENC_LEN: usize = 1120;
/// Length of an AES-GCM tag.
pub const TAG_LEN: usize = 16;
/// Length of an AES-GCM nonce (`Nn`).
pub(crate) const IV_LEN: usize = 12;
/// Length of the longest AEAD key, and of the longest response nonce.
pub(crate) const KEY_LEN_MAX: usize = 32;

/// X-Wing and HKDF-SHA256 with one of two AEADs (`docs/protocol.md` §5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// MLKEM768-X25519, HKDF-SHA256, AES-256-GCM: the only one that our client uses.
    XWingAes256Gcm,
    /// MLKEM768-X25519, HKDF-SHA256, AES-128-GCM: for clients built on the `ohttp` crate.
    XWingAes128Gcm,
}

impl Suite {
    /// The suite of these HPKE code points; none for anything else.
    pub const fn from_ids(kem: u16, kdf: u16, aead: u16) -> Option<Self> {
        match (kem, kdf, aead) {
            (KEM_XWING, KDF_HKDF_SHA256, AEAD_AES_256_GCM) => Some(Self::XWingAes256Gcm),
            (KEM_XWING, KDF_HKDF_SHA256, AEAD_AES_128_GCM) => Some(Self::XWingAes128Gcm),
            _ => None,
        }
    }

    /// The code point of the AEAD.
    pub const fn aead_id(self) -> u16 {
        match self {
            Self::XWingAes256Gcm => AEAD_AES_256_GCM,
            Self::XWingAes128Gcm => AEAD_AES_128_GCM,
        }
    }

    /// Length of the AEAD's key (`Nk`).
    pub const fn key_len(self) -> usize {
        match self {
            Self::XWingAes256Gcm => 32,
            Self::XWingAes128Gcm => 16,
        }
    }

    /// Length of the response nonce and of the exported secret: `max(Nn, Nk)` (RFC 9458 §4.4).
    pub const fn response_nonce_len(self) -> usize {
        if self.key_len() > IV_LEN { self.key_len() } else { IV_LEN }
    }
}
