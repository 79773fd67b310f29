//! `veritee policy keygen` and `veritee policy sign`.

use std::fs;
use std::path::Path;

use attestation::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Family, anchor_reader, read_policy, signatures_beside};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use verifier::policy::{PolicyKey, Problem, Signature, Weight};

use crate::failure::Failure;
use crate::files;
use crate::output::Out;
use crate::policy;
use crate::world::World;

/// Makes a key to sign policies with: `file`, and its public half in `file.pub`.
pub(crate) fn keygen(file: &Path, out: &Out) -> Result<(), Failure> {
    let mut seed = Secret::new([0_u8; 32]);
    getrandom::fill(seed.expose_mut())
        .map_err(|error| Failure::bug(format!("the system gives no randomness: {error}")))?;
    let key = public(&pair(&seed)?)?;
    let private = private_pem(&seed);
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    files::create(file, private.expose().as_bytes(), 0o600)?;
    if let Err(failure) = files::create(Path::new(&name), key.to_pem().as_bytes(), 0o644) {
        // Neither half is there without the other: a stranger's would pass for it.
        drop(fs::remove_file(file));
        return Err(failure);
    }
    out.note(format_args!("private key in {}: keep it where no policy is served", file.display()));
    out.line(format_args!("{} {key}", Path::new(&name).display()))
}

/// Signs what lint finds no error in, and keeps what others signed of it.
pub(crate) fn sign(file: &Path, key: &Path, world: &World, out: &Out) -> Result<(), Failure> {
    let text = read_policy(file)?;
    let reader = anchor_reader(file);
    let none = attestation::Endorsements::new();
    let problems = verifier::Policy::lint(&text, &reader, &none, world.clock.now());
    let errors: Vec<_> = problems.iter().filter(|it| it.weight == Weight::Error).collect();
    for Problem { key, message, .. } in &errors {
        out.note(format_args!("error    {key}: {message}"));
    }
    if !errors.is_empty() {
        return Err(policy::refused(file, &text, errors.len()));
    }
    let message = verifier::Policy::bytes_to_sign(&text, &reader).map_err(|error| {
        Failure::new(Family::Malformed, "policy-malformed", error.to_string(), "correct the policy")
    })?;
    let pair = pair(&read_private(key)?)?;
    let own = Signature {
        key: public(&pair)?,
        value: pair.sign(&message).as_ref().try_into().map_err(|_| bad_signature())?,
    };
    let beside = signatures_beside(file);
    let mut all = Vec::new();
    if beside.exists() {
        let others = read_policy(&beside)?;
        let others = Signature::parse_all(&others).map_err(|malformed| {
            let message = format!("{}: {malformed}", beside.display());
            Failure::new(Family::Malformed, "signatures-malformed", message, "remove the file")
        })?;
        all.extend(others.into_iter().filter(|signature| signature.key != own.key));
    }
    all.push(own);
    let lines: Vec<_> = all.iter().map(Signature::to_string).collect();
    files::replace(&beside, format!("{}\n", lines.join("\n")).as_bytes())?;
    out.line(format_args!("{}: signed by {}", beside.display(), own.key))
}

fn pair(seed: &Secret<[u8; 32]>) -> Result<Ed25519KeyPair, Failure> {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| bad_signature())
}

fn public(pair: &Ed25519KeyPair) -> Result<PolicyKey, Failure> {
    pair.public_key().as_ref().try_into().map(PolicyKey).map_err(|_| bad_signature())
}

fn bad_signature() -> Failure {
    Failure::bug("Ed25519 does not work".to_owned())
}

/// An Ed25519 private key in PEM (RFC 8410 §7), as OpenSSL writes it too.
fn read_private(path: &Path) -> Result<Secret<[u8; 32]>, Failure> {
    let bad = || {
        let message = format!("{} holds no Ed25519 private key in PEM", path.display());
        Failure::usage(message, "name a file that `veritee policy keygen` wrote")
    };
    let text = Secret::new(read_policy(path).map_err(|_| bad())?);
    let inside = text.expose().trim().strip_prefix(BEGIN).and_then(|it| it.strip_suffix(END));
    let der = STANDARD.decode(inside.ok_or_else(bad)?.trim()).map_err(|_| bad())?;
    let der = Secret::new(der);
    let seed = der.expose().strip_prefix(PREFIX.as_slice()).ok_or_else(bad)?;
    Ok(Secret::new(seed.try_into().map_err(|_| bad())?))
}

fn private_pem(seed: &Secret<[u8; 32]>) -> Secret<String> {
    let der = Secret::new([&PREFIX[..], seed.expose()].concat());
    let inside = Secret::new(STANDARD.encode(der.expose()));
    let mut pem = Secret::new(String::new());
    for part in [BEGIN, "\n", inside.expose(), "\n", END, "\n"] {
        pem.append(part);
    }
    pem
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A `OneAsymmetricKey` of Ed25519 up to the key (RFC 8410 §7).
const PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
