//! Digests of fixed width, and the one place that hashes.

use core::fmt;
use core::str::FromStr;

use ring::{digest, hmac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::bytes::Malformed;
use crate::secret::Secret;

/// `N` bytes that came out of a hash function, written as lower-case hex.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest<const N: usize>(pub [u8; N]);

/// A SHA-256 digest.
pub type Sha256 = Digest<32>;
/// A SHA-384 digest: the width of every launch measurement that we support.
pub type Sha384 = Digest<48>;
/// A SHA-512 digest.
pub type Sha512 = Digest<64>;

impl Sha256 {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// Hashes the concatenation of `parts`.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        Self(hash(&digest::SHA256, parts))
    }
}

/// SHA-256 of what comes in pieces.
#[derive(Clone)]
pub struct Hashing(digest::Context);

impl Hashing {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Sha256 {
        Digest(exact(self.0.finish().as_ref()))
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hashing {
    /// What was hashed may be somebody's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashing(..)")
    }
}

impl Sha384 {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hash(&digest::SHA384, &[bytes]))
    }
}

impl Sha512 {
    /// Hashes the concatenation of `parts`.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        Self(hash(&digest::SHA512, parts))
    }
}

impl<const N: usize> Digest<N> {
    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// Compares in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Whether every byte is zero.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

/// HMAC-SHA-256 that is fed in pieces (the receipts' commitments, `docs/protocol.md` §5.8).
#[derive(Clone)]
pub struct Mac(hmac::Context);

impl Mac {
    /// Starts a MAC under `key`.
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The tag.
    pub fn finish(self) -> Sha256 {
        Digest(exact(self.0.sign().as_ref()))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(..)")
    }
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    exact(context.finish().as_ref())
}

/// Copies a hash of known width; the widths agree by construction.
fn exact<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits an octet, of SHA-512 at most; what is wider takes the slower way.
        let mut digits = [0; 128];
        let Some(digits) = digits.get_mut(..N.saturating_mul(2)) else {
            return f.write_str(&hex::encode(self.0));
        };
        hex::encode_to_slice(self.0, digits).map_err(|_| fmt::Error)?;
        f.write_str(core::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

impl<const N: usize> fmt::Debug for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Digest<N> {
    type Err = Malformed;

    /// Parses exactly `2 N` lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        hex_array("digest", text).map(Self)
    }
}

impl<const N: usize> Serialize for Digest<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Digest<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Parses exactly `2 N` lower-case hex digits: one spelling per value.
///
/// # Errors
/// Another length, an upper-case digit or anything that is no digit.
pub fn hex_array<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], Malformed> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Malformed::invalid(what, "must be lower-case hex"));
    }
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out)
        .map(|()| out)
        .map_err(|_| Malformed::invalid(what, "is not hex of the expected length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_standard_ones() {
        assert_eq!(
            Sha256::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Sha256::of_parts(&[b"a", b"bc"]), Sha256::of(b"abc"));
        assert!(Sha384::of(b"abc").to_string().starts_with("cb00753f45a35e8bb5a03d699ac65007"));
        assert!(
            Sha512::of_parts(&[b"abc"]).to_string().starts_with("ddaf35a193617abacc417349ae204131")
        );
    }

    #[test]
    fn one_spelling_per_digest() {
        let text = Sha256::of(b"").to_string();
        assert_eq!(text.parse::<Sha256>().unwrap().to_string(), text);
        assert!(text.to_uppercase().parse::<Sha256>().is_err());
        assert!(text.get(1..).unwrap().parse::<Sha256>().is_err());
    }

    #[test]
    fn mac_matches_rfc_4231_case_2() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mut mac = Mac::new(&Secret::new(key));
        mac.update(b"what do ya want ");
        mac.update(b"for nothing?");
        // HMAC pads keys with zeros, so the 4-byte key of the RFC and ours are the same key.
        assert_eq!(
            mac.finish().to_string(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
