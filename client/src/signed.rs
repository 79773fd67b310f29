//! Policies that somebody signed, and the key to hold them against, from files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use verifier::Policy;
use verifier::policy::{PolicyKey, SignedPolicyError};

use crate::config::{PolicyUnusable, Unusable, anchor_reader, read_policy};

/// Reads a policy that the owner of `key` signed: the signatures are in the file beside it, whose
/// name has `.sig` at its end.
///
/// # Errors
/// What [`load_policy`](crate::load_policy) refuses, and whatever that key did not sign.
pub fn load_signed_policy(path: &Path, key: &PolicyKey) -> Result<Policy, PolicyUnusable> {
    let unusable = |why| PolicyUnusable { path: path.display().to_string(), why };
    let text = read_policy(path)?;
    let beside = signatures_beside(path);
    let signatures = match read_policy(&beside) {
        Ok(signatures) => signatures,
        // Nobody signed, as far as anybody can tell.
        Err(PolicyUnusable { why: Unusable::Unreadable(why), .. }) => {
            let why = format!("its signature cannot be read: {}: {why}", beside.display());
            return Err(unusable(Unusable::NotSigned(why)));
        }
        Err(error) => return Err(error),
    };
    Policy::parse_signed(&text, &signatures, key, &anchor_reader(path)).map_err(|error| {
        let message = error.to_string();
        unusable(match error {
            SignedPolicyError::Policy(_) => Unusable::Malformed(message),
            SignedPolicyError::Signatures(_) | SignedPolicyError::NotSigned => {
                Unusable::NotSigned(message)
            }
            SignedPolicyError::SignatureInvalid => Unusable::SignatureInvalid(message),
        })
    })
}

/// The file that holds a policy's signatures.
pub fn signatures_beside(policy: &Path) -> std::path::PathBuf {
    let mut name = policy.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Reads the key of whoever signs policies: an Ed25519 public key in PEM (RFC 8410 §4).
///
/// # Errors
/// A file that cannot be read, or holds anything else.
pub fn read_policy_key(path: &Path) -> Result<PolicyKey, PolicyUnusable> {
    let text = read_policy(path)?;
    parse_policy_key(&text).ok_or_else(|| PolicyUnusable {
        path: path.display().to_string(),
        why: Unusable::Malformed("is no Ed25519 public key in PEM".to_owned()),
    })
}

/// The key in the form that [`read_policy_key`] reads.
pub fn policy_key_pem(key: &PolicyKey) -> String {
    format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode([&PREFIX[..], &key.0].concat()))
}

fn parse_policy_key(text: &str) -> Option<PolicyKey> {
    let inside = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let der = STANDARD.decode(inside.trim()).ok()?;
    let key = der.strip_prefix(PREFIX.as_slice())?;
    Some(PolicyKey(key.try_into().ok()?))
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A `SubjectPublicKeyInfo` of Ed25519 up to the key (RFC 8410 §4).
const PREFIX: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 §10.1.
    const EXAMPLE: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_written_as_it_is_read() {
        let key = parse_policy_key(EXAMPLE).unwrap();
        assert_eq!(
            key.to_string(),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
        assert_eq!(policy_key_pem(&key), EXAMPLE);
        for bad in [
            String::new(),
            EXAMPLE.replace("PUBLIC", "PRIVATE"),
            EXAMPLE.replace("VwAy", "VxAy"),
            EXAMPLE.replace("ZuE=", ""),
            format!("{EXAMPLE}{EXAMPLE}"),
        ] {
            assert!(parse_policy_key(&bad).is_none(), "{bad}");
        }
    }
}
