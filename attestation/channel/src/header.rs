//! The unsealed front of a request: which key, which suite, and the encapsulated key.

use core::fmt;

use attestation::Sha256;
use attestation::bytes::Reader;
use attestation::keys::{KDF_HKDF_SHA256, KEM_XWING};
use attestation::labels;

use crate::refused::Refused;
use crate::suite::{ENC_LEN, Suite};

/// Length of `key_id ‖ kem ‖ kdf ‖ aead` (RFC 9458 §4.3).
const IDS_LEN: usize = 7;
/// Length of everything before the first chunk.
pub const HEADER_LEN: usize = IDS_LEN + ENC_LEN;

/// `key_id u8 ‖ kem u16 ‖ kdf u16 ‖ aead u16 ‖ enc [1120]` (`docs/protocol.md` §5.4).
///
/// A value exists only for a suite that we speak, so nothing else ever reaches the KEM.
#[derive(Clone, Eq, PartialEq)]
pub struct RequestHeader {
    key_id: u8,
    suite: Suite,
    enc: Box<[u8; ENC_LEN]>,
}

impl RequestHeader {
    /// A header from its parts.
    pub fn new(key_id: u8, suite: Suite, enc: Box<[u8; ENC_LEN]>) -> Self {
        Self { key_id, suite, enc }
    }

    /// Parses exactly [`HEADER_LEN`] bytes.
    ///
    /// # Errors
    /// [`Refused::Length`] and [`Refused::UnknownSuite`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let fields = Reader::read_all("request header", bytes, |reader| {
            Ok((reader.u8()?, reader.u16()?, reader.u16()?, reader.u16()?, reader.array()?))
        });
        let (key_id, kem, kdf, aead, enc) = fields.map_err(|_| Refused::Length)?;
        let suite = Suite::from_ids(kem, kdf, aead).ok_or(Refused::UnknownSuite)?;
        Ok(Self { key_id, suite, enc: Box::new(enc) })
    }

    /// The bytes that [`parse`](Self::parse) takes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&self.ids());
        out.extend_from_slice(self.enc.as_slice());
        out
    }

    /// The id of the key that the request is sealed to.
    pub const fn key_id(&self) -> u8 {
        self.key_id
    }

    /// The suite that the request is sealed with.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The encapsulated key.
    pub fn enc(&self) -> &[u8; ENC_LEN] {
        &self.enc
    }

    /// HPKE's `info`: `"message/bhttp chunked request" ‖ 0 ‖ ids` (`docs/protocol.md` §5.4).
    pub fn info(key_id: u8, suite: Suite) -> Vec<u8> {
        [labels::OHTTP_REQUEST, &[0], &ids(key_id, suite)].concat()
    }

    /// `SHA256(hdr ‖ enc)`: how receipts name a request (`docs/protocol.md` §5.8).
    pub fn digest(&self) -> Sha256 {
        Sha256::of_parts(&[&self.ids(), self.enc.as_slice()])
    }

    /// `SHA256(key_id ‖ enc)`: how the replay set names a request (`docs/protocol.md` §5.5).
    pub fn replay_key(&self) -> Sha256 {
        Sha256::of_parts(&[&[self.key_id], self.enc.as_slice()])
    }

    fn ids(&self) -> [u8; IDS_LEN] {
        ids(self.key_id, self.suite)
    }
}

fn ids(key_id: u8, suite: Suite) -> [u8; IDS_LEN] {
    let ([k0, k1], [d0, d1]) = (KEM_XWING.to_be_bytes(), KDF_HKDF_SHA256.to_be_bytes());
    let [a0, a1] = suite.aead_id().to_be_bytes();
    [key_id, k0, k1, d0, d1, a0, a1]
}

impl fmt::Debug for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHeader(key {}, {:?})", self.key_id, self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        RequestHeader::new(7, Suite::XWingAes256Gcm, Box::new([9; ENC_LEN])).encode()
    }

    #[test]
    fn the_layout_is_that_of_rfc_9458() {
        let header = RequestHeader::parse(&bytes()).unwrap();
        assert_eq!(hex::encode(&bytes()[..8]), "07647a0001000209");
        assert_eq!(header.encode(), bytes());
        assert_eq!(
            RequestHeader::info(7, Suite::XWingAes256Gcm),
            [b"message/bhttp chunked request\0".as_slice(), &bytes()[..7]].concat()
        );
        assert_eq!(header.digest(), Sha256::of(&bytes()));
        assert_eq!(header.replay_key(), Sha256::of(&[&[7], &bytes()[7..]].concat()));
    }

    #[test]
    fn other_lengths_and_suites_are_refused_before_the_kem() {
        assert_eq!(RequestHeader::parse(&[]), Err(Refused::Length));
        assert_eq!(RequestHeader::parse(&bytes()[..HEADER_LEN - 1]), Err(Refused::Length));
        assert_eq!(RequestHeader::parse(&[bytes(), vec![0]].concat()), Err(Refused::Length));
        // X25519, ML-KEM-768, the dead Kyber draft; SHAKE; ChaCha20, export-only.
        for (at, value) in
            [(1, 0x0020), (1, 0x0041), (1, 0x0030), (3, 0x0010), (5, 0x0003), (5, 0xffff)]
        {
            let mut other = bytes();
            other[at..at + 2].copy_from_slice(&u16::to_be_bytes(value));
            assert_eq!(RequestHeader::parse(&other), Err(Refused::UnknownSuite), "{value:#06x}");
        }
    }
}
