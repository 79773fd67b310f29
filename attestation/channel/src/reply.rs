//! Sealing and opening a response (`docs/protocol.md` §5.7).

use core::fmt;

use attestation::{Secret, labels};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::chunks::{AAD, BYTES_MAX, CHUNKS_MAX, Deframer, Misframed, PLAINTEXT_MAX};
use crate::chunks::{FINAL_MARK, write_len};
use crate::header::RequestHeader;
use crate::schedule::{Blinds, Exports, ResponseKey};
use crate::suite::{ENC_LEN, IV_LEN, KEY_LEN_MAX, Suite, TAG_LEN};

/// What a response is sealed and opened with, once: it is derived from one request's context.
pub struct ReplyKeys {
    suite: Suite,
    enc: Box<[u8; ENC_LEN]>,
    secret: Secret<[u8; KEY_LEN_MAX]>,
}

impl ReplyKeys {
    /// Takes apart what was exported from the context of the request with `header`.
    pub fn new(header: &RequestHeader, exports: Exports) -> (Self, Blinds) {
        let Exports { response, blinds } = exports;
        let enc = Box::new(*header.enc());
        (Self { suite: header.suite(), enc, secret: response }, blinds)
    }

    /// The sealing side, and the octets that go before the first chunk. `entropy` is fresh random.
    pub fn into_sealer(self, entropy: &[u8; 32]) -> (ResponseSealer, Vec<u8>) {
        let nonce = entropy.get(..self.suite.response_nonce_len()).unwrap_or(entropy).to_vec();
        let key = self.derive(&nonce);
        (ResponseSealer { key, chunks: 0, bytes: 0 }, nonce)
    }

    /// The opening side; `bytes_max` bounds the plaintext.
    pub fn into_opener(self, bytes_max: usize) -> ResponseOpener {
        let deframer = Deframer::new(bytes_max);
        ResponseOpener { state: Opening::Nonce(self, Vec::new()), deframer, broken: None }
    }

    fn derive(&self, nonce: &[u8]) -> Option<ChunkKey> {
        let derived = ResponseKey::derive(self.suite, &self.enc, nonce, &self.secret)?;
        ChunkKey::new(self.suite, &derived)
    }
}

/// Why a plaintext cannot be sealed as asked. Always our own mistake, or an answer without end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Unsealable {
    /// A chunk other than the final one would be empty.
    Empty,
    /// A chunk or a fixed-size part would be longer than it may be.
    TooLong,
    /// The response has as many chunks or octets as a response may have.
    Exhausted,
    /// The AEAD refused; it does so only for lengths that were excluded before.
    Cipher,
}

impl fmt::Display for Unsealable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a chunk other than the final one must not be empty",
            Self::TooLong => "a part of the response is longer than it may be",
            Self::Exhausted => "the response has reached its limit of chunks or octets",
            Self::Cipher => "the cipher refused",
        })
    }
}

impl core::error::Error for Unsealable {}

/// Seals the chunks of one response, in order.
#[derive(Debug)]
pub struct ResponseSealer {
    key: Option<ChunkKey>,
    chunks: u32,
    bytes: usize,
}

impl ResponseSealer {
    /// Appends the sealed chunk of `plaintext` to `out`, which is its only allocation.
    ///
    /// # Errors
    /// An empty or over-long chunk, and a response that has reached its limits. Nothing is appended.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Unsealable> {
        if plaintext.is_empty() {
            return Err(Unsealable::Empty);
        }
        // One chunk is kept for the end.
        if self.chunks >= CHUNKS_MAX.saturating_sub(1) {
            return Err(Unsealable::Exhausted);
        }
        self.append(plaintext.len().saturating_add(TAG_LEN), AAD, plaintext, out)
    }

    /// Appends the final chunk.
    ///
    /// # Errors
    /// An over-long chunk. Nothing is appended.
    pub fn seal_final(mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Unsealable> {
        self.append(FINAL_MARK, labels::OHTTP_FINAL, plaintext, out)
    }

    /// Appends `announced` and the sealed chunk. An error takes back what was appended, so that no
    /// caller sends half a frame, or a plaintext that the cipher did not take.
    fn append(
        &mut self,
        announced: usize,
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        let start = out.len();
        let result = self.try_append(announced, aad, plain, out);
        if result.is_err() {
            out.get_mut(start..).unwrap_or_default().zeroize();
            out.truncate(start);
        }
        result
    }

    fn try_append(
        &mut self,
        announced: usize,
        aad: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        if plain.len() > PLAINTEXT_MAX {
            return Err(Unsealable::TooLong);
        }
        let bytes = self.bytes.saturating_add(plain.len());
        if bytes > BYTES_MAX {
            return Err(Unsealable::Exhausted);
        }
        let key = self.key.as_mut().ok_or(Unsealable::Cipher)?;
        self.chunks = self.chunks.saturating_add(1);
        self.bytes = bytes;
        write_len(announced, out);
        let body = out.len();
        out.extend_from_slice(plain);
        let nonce = key.next_nonce();
        let body = out.get_mut(body..).unwrap_or_default();
        let tag = key.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
        out.extend_from_slice(tag.map_err(|_| Unsealable::Cipher)?.as_ref());
        Ok(())
    }
}

/// Why a response is not the one that was sealed for this request, whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Broken {
    /// The chunks are not framed as chunks are, or the end is missing.
    Framing(Misframed),
    /// A chunk was changed, moved, left out or made by someone else.
    Unauthentic,
}

impl From<Misframed> for Broken {
    fn from(why: Misframed) -> Self {
        Self::Framing(why)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Framing(why) => write!(f, "the response is broken: {why}"),
            Self::Unauthentic => f.write_str("the response is broken: a chunk is not authentic"),
        }
    }
}

impl core::error::Error for Broken {}

/// Opens the chunks of one response, in order, as its octets arrive.
#[derive(Debug)]
pub struct ResponseOpener {
    state: Opening,
    deframer: Deframer,
    broken: Option<Broken>,
}

enum Opening {
    Nonce(ReplyKeys, Vec<u8>),
    Chunks(ChunkKey),
}

impl ResponseOpener {
    /// Takes octets; calls `each` with the plaintext of every chunk that they complete.
    ///
    /// # Errors
    /// Once an error is given, every further call gives it again.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Broken> {
        if let Some(why) = self.broken {
            return Err(why);
        }
        let result = self.try_push(bytes, &mut each);
        self.broken = result.err();
        result
    }

    /// Ends the response: the plaintext of its final chunk, once that has authenticated.
    ///
    /// # Errors
    /// Anything but a whole, authentic response.
    pub fn finish(self) -> Result<Zeroizing<Vec<u8>>, Broken> {
        let Self { state, deframer, broken } = self;
        if let Some(why) = broken {
            return Err(why);
        }
        let Opening::Chunks(mut key) = state else { return Err(Misframed::Truncated.into()) };
        let mut last = deframer.finish()?;
        let plain = key.open(labels::OHTTP_FINAL, &mut last).ok_or(Broken::Unauthentic)?;
        let len = plain.len();
        // In place: the tag goes, and no copy of the plaintext comes to be.
        last.truncate(len);
        Ok(last)
    }

    fn try_push(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        if let Opening::Nonce(keys, nonce) = &mut self.state {
            let missing = keys.suite.response_nonce_len().saturating_sub(nonce.len());
            let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            nonce.extend_from_slice(head);
            if nonce.len() < keys.suite.response_nonce_len() {
                return Ok(());
            }
            self.state = Opening::Chunks(keys.derive(nonce).ok_or(Broken::Unauthentic)?);
            bytes = rest;
        }
        let Opening::Chunks(key) = &mut self.state else { return Ok(()) };
        self.deframer.push(bytes, |chunk| {
            each(key.open(AAD, chunk).ok_or(Broken::Unauthentic)?);
            Ok(())
        })
    }
}

/// An AEAD key that counts its own nonces.
struct ChunkKey {
    aead: LessSafeKey,
    iv: Secret<[u8; IV_LEN]>,
    counter: u64,
}

impl ChunkKey {
    fn new(suite: Suite, derived: &ResponseKey) -> Option<Self> {
        let algorithm = match suite {
            Suite::XWingAes256Gcm => &AES_256_GCM,
            Suite::XWingAes128Gcm => &AES_128_GCM,
        };
        let key = derived.key.expose().get(..suite.key_len())?;
        let aead = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Self { aead, iv: Secret::new(*derived.iv.expose()), counter: 0 })
    }

    /// `iv XOR counter`; the limit of chunks keeps the counter far from its end.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = *self.iv.expose();
        for (octet, count) in nonce.iter_mut().rev().zip(self.counter.to_le_bytes()) {
            *octet ^= count;
        }
        self.counter = self.counter.saturating_add(1);
        Nonce::assume_unique_for_key(nonce)
    }

    fn open<'a>(&mut self, aad: &[u8], chunk: &'a mut [u8]) -> Option<&'a [u8]> {
        let nonce = self.next_nonce();
        self.aead.open_in_place(nonce, Aad::from(aad), chunk).ok().map(|plain| &*plain)
    }
}

macro_rules! opaque_debug {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+};
}
opaque_debug!(ReplyKeys, ChunkKey, Opening);
