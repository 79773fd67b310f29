//! Policies that somebody signed: who relies on one accepts no other, wherever it came from.
//!
//! What is signed, with Ed25519 (RFC 8032):
//!
//! ```text
//! "veritee-policy-v1" ‖ 0 ‖ SHA-256 of the policy's text
//!   ‖ for each file that it names, by name: length of the name (u32) ‖ name ‖ SHA-256 of the file
//! ```
//!
//! The files are those that reading the policy reads, roots and reference values alike: a signature
//! over the text alone would let whoever keeps the files decide what it means. Signatures lie
//! beside the policy, a line each (`docs/policy.md`).

use core::cell::RefCell;
use core::fmt;
use std::collections::BTreeMap;

use attestation::{Malformed, Sha256, labels};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Policy, PolicyError, ReadAnchor};
use crate::crypto;

/// Whose policies are accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyKey(pub [u8; 32]);

impl PolicyKey {
    /// Reads an Ed25519 public key in PEM (RFC 8410 §4), and nothing beside it.
    ///
    /// # Errors
    /// Any other text.
    pub fn from_pem(text: &str) -> Result<Self, Malformed> {
        let inside = || {
            let inside = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
            let der = STANDARD.decode(inside.trim()).ok()?;
            der.strip_prefix(SPKI_PREFIX.as_slice())?.try_into().ok().map(Self)
        };
        inside().ok_or(Malformed::invalid("policy key", "is no Ed25519 public key in PEM"))
    }

    /// The key in the form that [`from_pem`](Self::from_pem) reads.
    pub fn to_pem(self) -> String {
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode([&SPKI_PREFIX[..], &self.0].concat()))
    }
}

/// Why a signed policy is not accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignedPolicyError {
    /// It is no policy.
    Policy(PolicyError),
    /// The file of signatures is none.
    Signatures(Malformed),
    /// The key's owner did not sign, as far as the file of signatures says.
    NotSigned,
    /// The key's owner signed something else.
    SignatureInvalid,
}

impl Policy {
    /// Reads a policy that the owner of `key` signed; `signatures` is the text of the file beside
    /// it.
    ///
    /// # Errors
    /// What is no policy, and what is not signed, or not by that key.
    pub fn parse_signed(
        text: &str,
        signatures: &str,
        key: &PolicyKey,
        read_anchor: &ReadAnchor<'_>,
    ) -> Result<Self, SignedPolicyError> {
        let given = Signature::parse_all(signatures).map_err(SignedPolicyError::Signatures)?;
        let (policy, message) = read(text, read_anchor).map_err(SignedPolicyError::Policy)?;
        let mut of_key = given.iter().filter(|signature| signature.key == *key).peekable();
        if of_key.peek().is_none() {
            return Err(SignedPolicyError::NotSigned);
        }
        let signed = of_key.any(|it| crypto::ed25519(&key.0, &message, &it.value));
        signed.then_some(policy).ok_or(SignedPolicyError::SignatureInvalid)
    }

    /// The bytes that a signature of this policy is over.
    ///
    /// # Errors
    /// What is no policy is not signed.
    pub fn bytes_to_sign(text: &str, read_anchor: &ReadAnchor<'_>) -> Result<Vec<u8>, PolicyError> {
        read(text, read_anchor).map(|(_, message)| message)
    }
}

/// The policy, and what its signatures are over.
fn read(text: &str, read_anchor: &ReadAnchor<'_>) -> Result<(Policy, Vec<u8>), PolicyError> {
    let files = RefCell::new(BTreeMap::<String, Vec<u8>>::new());
    let recording = |name: &str| {
        // What is signed is what was read, even where the file changes between two readings.
        if let Some(known) = files.borrow().get(name) {
            return Ok(known.clone());
        }
        let bytes = read_anchor(name)?;
        files.borrow_mut().insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    };
    let policy = Policy::parse(text, &recording)?;
    let mut message = [labels::POLICY, &policy.digest().0].concat();
    for (name, bytes) in files.into_inner() {
        let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
        message.extend_from_slice(&len.to_be_bytes());
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&Sha256::of(&bytes).0);
    }
    Ok((policy, message))
}

/// A line of a file of signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signature {
    /// Whose it is.
    pub key: PolicyKey,
    /// The signature.
    pub value: [u8; 64],
}

impl Signature {
    /// Reads a file of signatures.
    ///
    /// # Errors
    /// Any line that is none, and more lines than anybody needs.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Malformed> {
        let lines: Vec<_> = text.lines().take(SIGNATURES_MAX.saturating_add(1)).collect();
        if lines.len() > SIGNATURES_MAX {
            return Err(Malformed::invalid(WHAT, "has more lines than there are signers"));
        }
        let bad = Malformed::invalid(WHAT, "has a line that is none");
        lines.into_iter().map(|line| Self::parse(line).ok_or(bad.clone())).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, algorithm) = (words.next()?, words.next()?);
        let (mut key, mut value) = ([0; 32], [0; 64]);
        hex::decode_to_slice(words.next()?, &mut key).ok()?;
        hex::decode_to_slice(words.next()?, &mut value).ok()?;
        let known = name == FORMAT && algorithm == "ed25519" && words.next().is_none();
        known.then_some(Self { key: PolicyKey(key), value })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMAT} ed25519 {} {}", self.key, hex::encode(self.value))
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for SignedPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::Signatures(malformed) => malformed.fmt(f),
            Self::NotSigned => f.write_str("is not signed by the key that was demanded"),
            Self::SignatureInvalid => f.write_str(
                "has a signature of the key that was demanded, over something else: text or a file that it names was changed",
            ),
        }
    }
}

impl core::error::Error for SignedPolicyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Signatures(malformed) => Some(malformed),
            Self::NotSigned | Self::SignatureInvalid => None,
        }
    }
}

/// The first word of a line.
const FORMAT: &str = "veritee-policy-v1";
/// Signers of one policy.
const SIGNATURES_MAX: usize = 16;
const WHAT: &str = "file of signatures";

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// A `SubjectPublicKeyInfo` of Ed25519 up to the key (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    const POLICY: &str = "schema = 1\nname = \"p\"\nversion = 2\npurpose = \"simulation\"\n\
                          [anchors]\nsev-snp = [\"ark.der\"]\n[sev-snp]\n";

    fn key(seed: u8) -> (Ed25519KeyPair, PolicyKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = PolicyKey(pair.public_key().as_ref().try_into().unwrap());
        (pair, public)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a reader of files is")]
    fn genoa(_: &str) -> Result<Vec<u8>, String> {
        Ok(include_bytes!("../../anchors/genoa-ark.der").to_vec())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a reader of files is")]
    fn turin(_: &str) -> Result<Vec<u8>, String> {
        Ok(include_bytes!("../../anchors/turin-ark.der").to_vec())
    }

    fn sign(pair: &Ed25519KeyPair, key: PolicyKey, text: &str) -> String {
        let message = Policy::bytes_to_sign(text, &genoa).unwrap();
        let value = pair.sign(&message).as_ref().try_into().unwrap();
        Signature { key, value }.to_string()
    }

    #[test]
    fn text_and_files_are_signed() {
        let (pair, public) = key(1);
        let line = sign(&pair, public, POLICY);
        let read = |text: &str, line: &str, key, files: &ReadAnchor<'_>| {
            Policy::parse_signed(text, line, key, files).map(|policy| policy.version())
        };
        assert_eq!(read(POLICY, &line, &public, &genoa), Ok(2));
        assert_eq!(read(POLICY, &format!("{line}\n"), &public, &genoa), Ok(2));
        let invalid = Err(SignedPolicyError::SignatureInvalid);
        let other = POLICY.replace("version = 2", "version = 3");
        assert_eq!(read(&other, &line, &public, &genoa), invalid, "another text");
        assert_eq!(read(POLICY, &line, &public, &turin), invalid, "another root");
        let renamed = POLICY.replace("ark.der", "bad.der");
        assert_eq!(read(&renamed, &line, &public, &genoa), invalid, "another name");
        let (other_pair, stranger) = key(2);
        let not_signed = Err(SignedPolicyError::NotSigned);
        assert_eq!(read(POLICY, &line, &stranger, &genoa), not_signed, "another key");
        assert_eq!(read(POLICY, "", &public, &genoa), not_signed, "no signature");
        // A stranger's signature under the name of the key.
        let forged = sign(&other_pair, public, POLICY);
        assert_eq!(read(POLICY, &forged, &public, &genoa), invalid, "a forged one");
        // One good signature of the key is enough, whoever else signed.
        let several = [sign(&other_pair, stranger, POLICY), forged, line.clone()].join("\n");
        assert_eq!(read(POLICY, &several, &public, &genoa), Ok(2));
        // No signature makes a policy of what is none.
        let nothing = Policy::parse_signed("schema = 2", &line, &public, &genoa);
        assert!(matches!(nothing, Err(SignedPolicyError::Policy(_))));
    }

    /// RFC 8410 §10.1.
    const EXAMPLE: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_written_as_it_is_read() {
        let key = PolicyKey::from_pem(EXAMPLE).unwrap();
        assert_eq!(
            key.to_string(),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        assert_eq!(key.to_pem(), EXAMPLE);
        for bad in [
            String::new(),
            EXAMPLE.replace("PUBLIC", "PRIVATE"),
            EXAMPLE.replace("VwAy", "VxAy"),
            EXAMPLE.replace("ZuE=", ""),
            format!("{EXAMPLE}{EXAMPLE}"),
        ] {
            assert!(PolicyKey::from_pem(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signatures_have_one_form() {
        let (pair, public) = key(1);
        let line = sign(&pair, public, POLICY);
        assert_eq!(Signature::parse_all(&line).unwrap()[0].to_string(), line);
        for bad in [
            line.replace("v1", "v2"),
            line.replace("ed25519", "ed448"),
            line.replace(' ', "  "),
            format!("{line} x"),
            line[..line.len() - 2].to_owned(),
            format!("\n{line}"),
            format!("{line}\n").repeat(SIGNATURES_MAX + 1),
        ] {
            assert!(Signature::parse_all(&bad).is_err(), "{bad:?}");
        }
        let most = format!("{line}\n").repeat(SIGNATURES_MAX);
        assert_eq!(Signature::parse_all(&most).unwrap().len(), SIGNATURES_MAX);
    }

    /// The layout that is documented, written out.
    #[test]
    fn what_is_signed_is_what_is_documented() {
        let message = Policy::bytes_to_sign(POLICY, &genoa).unwrap();
        let expected = [
            b"veritee-policy-v1\0".as_slice(),
            &Sha256::of(POLICY.as_bytes()).0,
            &[0, 0, 0, 7],
            b"ark.der",
            &Sha256::of(&genoa("").unwrap()).0,
        ];
        assert_eq!(message, expected.concat());
    }
}
