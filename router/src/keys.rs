//! API keys: who may use the router's way to the enclaves.
//!
//! A key is `vk_` and two hexadecimal numbers: an id of 64 bits, which names it, and a secret of 256 bits. Only the SHA-256 of
//! the whole is stored. A slow hash protects secrets that people choose; nobody searches 2^256 random ones, so none is needed.

mod file;
mod ring;

use std::{fmt, str::FromStr};

use attestation::{Secret, Sha256, digest::hex_array};

pub use file::{Key, KeysError, KeysFile, Overrides};
pub(crate) use ring::{KeyCounts, Keyring};

/// What names a key; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

/// The randomness of one key: its id and its secret.
pub type KeySeed = Secret<[u8; 40]>;

/// The key itself, as its holder sends it.
pub(crate) fn token(seed: &KeySeed) -> Secret<String> {
    let (id, secret) = seed.expose().split_at(8);
    Secret::new(format!("{PREFIX}{}_{}", hex::encode(id), hex::encode(secret)))
}

/// The id in a key and the digest of the key, where it has the form of one.
pub(crate) fn read_token(token: &[u8]) -> Option<(KeyId, Sha256)> {
    let text = str::from_utf8(token).ok().filter(|text| text.len() == TOKEN_LEN)?;
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let id = id.parse().ok()?;
    let spelled = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    secret.bytes().all(spelled).then(|| (id, Sha256::of(token)))
}

impl FromStr for KeyId {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        hex_array("key id", text).map(Self).map_err(|_| KeysError::NotAnId(text.to_owned()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What a key starts with, so that scanners for leaked secrets know one when they see it.
const PREFIX: &str = "vk_";

/// `vk_`, 16 digits, `_`, 64 digits.
const TOKEN_LEN: usize = 84;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_in_no_other_way() {
        let seed = Secret::new(std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let token = token(&seed);
        let token = token.expose();
        assert_eq!(token.len(), TOKEN_LEN);
        let (id, digest) = read_token(token.as_bytes()).unwrap();
        assert_eq!(id.to_string(), "0001020304050607");
        assert_eq!(digest, Sha256::of(token.as_bytes()));
        for bad in [
            "",
            "vk_",
            &token[1..],
            &format!("{token}0"),
            &token.to_uppercase(),
            &token.replace("vk_", "kv_"),
            &token.replace("0_0", "0-0"),
            &token.replace("07_", "0_7"),
            &format!("{}g", &token[..TOKEN_LEN - 1]),
        ] {
            assert!(bad == token || read_token(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(read_token(&[0xff; TOKEN_LEN]).is_none());
    }
}
