//! Public keys that evidence vouches for, and the verifier's challenge.

use core::fmt;
use core::str::FromStr;

use crate::bytes::{Malformed, Reader, Writer};
use crate::cbor;
use crate::digest::{Sha256, hex_array};

/// Length of an X-Wing public key (draft-connolly-cfrg-xwing-kem §5.2).
pub const XWING_PUBLIC_LEN: usize = 1216;
/// HPKE code point of MLKEM768-X25519, also known as X-Wing.
pub const KEM_XWING: u16 = 0x647a;
/// HPKE code point of HKDF-SHA256 (RFC 9180 §7.2).
pub const KDF_HKDF_SHA256: u16 = 0x0001;
/// HPKE code point of AES-128-GCM (RFC 9180 §7.3).
pub const AEAD_AES_128_GCM: u16 = 0x0001;
/// HPKE code point of AES-256-GCM (RFC 9180 §7.3).
pub const AEAD_AES_256_GCM: u16 = 0x0002;

/// 32 bytes that a verifier chose, so that evidence shows it is not older than the question.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Challenge(pub [u8; 32]);

impl FromStr for Challenge {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        hex_array("challenge", text).map(Self)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The public half of an enclave's HPKE key for one epoch (`docs/protocol.md` §5.1).
#[derive(Clone, Eq, PartialEq)]
pub struct SealingKey {
    key_id: u8,
    public: Box<[u8; XWING_PUBLIC_LEN]>,
}

impl SealingKey {
    /// A key by its id (`epoch mod 256`) and X-Wing public key.
    pub fn new(key_id: u8, public: &[u8; XWING_PUBLIC_LEN]) -> Self {
        Self { key_id, public: Box::new(*public) }
    }

    /// The OHTTP key id.
    pub const fn key_id(&self) -> u8 {
        self.key_id
    }

    /// The X-Wing public key.
    pub fn public(&self) -> &[u8; XWING_PUBLIC_LEN] {
        &self.public
    }

    /// The exact `application/ohttp-keys` resource: one configuration behind its 16-bit length
    /// (RFC 9458 §3.1, §3.2), offering AES-256-GCM and AES-128-GCM.
    pub fn encode(&self) -> Vec<u8> {
        let config = Writer::new()
            .u8(self.key_id)
            .u16(KEM_XWING)
            .bytes(self.public.as_slice())
            .u16(8)
            .u16(KDF_HKDF_SHA256)
            .u16(AEAD_AES_256_GCM)
            .u16(KDF_HKDF_SHA256)
            .u16(AEAD_AES_128_GCM)
            .finish();
        let len = u16::try_from(config.len()).unwrap_or(u16::MAX);
        Writer::new().u16(len).bytes(&config).finish()
    }

    /// Parses what [`encode`](Self::encode) writes and nothing else: one X-Wing configuration that
    /// offers AES-256-GCM first. A weaker or reordered offer is refused, never negotiated.
    ///
    /// # Errors
    /// Any other length, KEM, or list of suites.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let key = Reader::read_all("ohttp_keys", bytes, |list| {
            let _config_len = list.u16()?;
            let key_id = list.u8()?;
            if list.u16()? != KEM_XWING {
                return Err(Malformed::invalid("ohttp_keys", "does not offer X-Wing"));
            }
            let public = list.array()?;
            list.take(10)?;
            Ok(Self::new(key_id, &public))
        })?;
        if key.encode() == bytes {
            Ok(key)
        } else {
            Err(Malformed::invalid("ohttp_keys", "offers other suites than this protocol's"))
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({}, {})", self.key_id, Sha256::of(self.public.as_slice()))
    }
}

/// The Ed25519 key that signs an enclave's receipts for one boot (`docs/protocol.md` §5.1).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ReceiptKey(pub [u8; 32]);

impl ReceiptKey {
    /// The `COSE_Key` in deterministic CBOR: `{1: OKP, -1: Ed25519, -2: x}` (RFC 9052 §7, RFC 9053 §7.2).
    pub fn encode(&self) -> Vec<u8> {
        let key = [
            (cbor::int(1), cbor::int(1)),
            (cbor::int(-1), cbor::int(6)),
            (cbor::int(-2), cbor::bytes(&self.0)),
        ];
        cbor::encode(&cbor::map(key))
    }

    /// Parses exactly what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Any other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bad = Malformed::invalid("receipt_key", "is not a COSE_Key of Ed25519");
        let key = bytes.last_chunk::<32>().copied().map(Self).ok_or(bad.clone())?;
        if key.encode() == bytes { Ok(key) } else { Err(bad) }
    }

    /// The COSE Key thumbprint (RFC 9679 §4): the hash of the required members, which are all.
    pub fn thumbprint(&self) -> Sha256 {
        Sha256::of(&self.encode())
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_key_configuration_parses() {
        let key = SealingKey::new(7, &[9; XWING_PUBLIC_LEN]);
        let bytes = key.encode();
        assert_eq!(bytes.len(), 2 + 1 + 2 + XWING_PUBLIC_LEN + 2 + 8);
        assert_eq!(SealingKey::parse(&bytes), Ok(key));
        // Any change outside key id and key is refused: lengths, KEM, order of the suites.
        for at in [0, 1, 3, 4, bytes.len() - 10, bytes.len() - 5, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(SealingKey::parse(&other).is_err(), "octet {at}");
        }
        assert!(SealingKey::parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(SealingKey::parse(&[bytes.clone(), vec![0]].concat()).is_err());
    }

    #[test]
    fn receipt_key_is_a_cose_key() {
        let key = ReceiptKey([0xab; 32]);
        let bytes = key.encode();
        assert_eq!(hex::encode(&bytes[..7]), "a3010120062158");
        assert_eq!(ReceiptKey::parse(&bytes), Ok(key));
        assert_eq!(
            key.thumbprint().to_string(),
            "92cf2d47424bfe481aa5ff067ab667d7fd7dd52bb95ab85081a8e0b7ed7055b2"
        );
        assert!(ReceiptKey::parse(&bytes[1..]).is_err());
        assert!(ReceiptKey::parse(&[0; 40]).is_err());
    }
}
