//! Policies that somebody signed, and the key to hold them against, from files.

use std::path::Path;

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
    PolicyKey::from_pem(&text).map_err(|malformed| PolicyUnusable {
        path: path.display().to_string(),
        why: Unusable::Malformed(malformed.to_string()),
    })
}
