//! Policies that somebody signed, and the key to hold them against, from files.

use std::cell::RefCell;
use std::path::Path;

use verifier::Policy;
use verifier::policy::{PolicyKey, ReadAnchor, SignedPolicyError};

use crate::config::{PolicyUnusable, Unusable, anchor_reader, read_policy};

/// Reads a policy that the owner of `key` signed: the signatures are in the file beside it, whose
/// name has `.sig` at its end.
///
/// # Errors
/// What [`load_policy`](crate::load_policy) refuses, and whatever that key did not sign.
pub fn load_signed_policy(path: &Path, key: &PolicyKey) -> Result<Policy, PolicyUnusable> {
    load_policy_files(path, Some(key)).map(|files| files.policy)
}

/// A policy, and exactly what it was made of.
#[derive(Clone, Debug)]
pub struct PolicyFiles {
    /// The policy.
    pub policy: Policy,
    /// Its text.
    pub text: String,
    /// The files that it names, by those names, each as it was read.
    pub named: Vec<(String, Vec<u8>)>,
}

/// Reads a policy and the files that it names, each once; with a key, one that its owner signed.
///
/// # Errors
/// What [`load_policy`](crate::load_policy) refuses, and whatever that key did not sign.
pub fn load_policy_files(
    path: &Path,
    key: Option<&PolicyKey>,
) -> Result<PolicyFiles, PolicyUnusable> {
    let text = read_policy(path)?;
    let reader = anchor_reader(path);
    let named: RefCell<Vec<(String, Vec<u8>)>> = RefCell::default();
    // What was signed is what counts, even where somebody writes to a file meanwhile.
    let once = |name: &str| {
        if let Some((_, bytes)) = named.borrow().iter().find(|(known, _)| known == name) {
            return Ok(bytes.clone());
        }
        let bytes = reader(name)?;
        named.borrow_mut().push((name.to_owned(), bytes.clone()));
        Ok(bytes)
    };
    let policy = match key {
        Some(key) => signed(path, &text, key, &once)?,
        None => Policy::parse(&text, &once).map_err(|error| PolicyUnusable {
            path: path.display().to_string(),
            why: Unusable::Malformed(error.to_string()),
        })?,
    };
    Ok(PolicyFiles { policy, text, named: named.into_inner() })
}

fn signed(
    path: &Path,
    text: &str,
    key: &PolicyKey,
    files: &ReadAnchor<'_>,
) -> Result<Policy, PolicyUnusable> {
    let unusable = |why| PolicyUnusable { path: path.display().to_string(), why };
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
    Policy::parse_signed(text, &signatures, key, files).map_err(|error| {
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
