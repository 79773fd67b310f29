//! `veritee-router identity`: makes the certificate by which enclaves know the router, and shows what they pin.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, KeyPair};
use tls::IdentityFiles;

use crate::{Failure, read_alone, remark, say};

#[derive(Subcommand)]
pub(crate) enum IdentityCommand {
    /// Makes a key and a certificate that it signs for itself, and prints the pin by which enclaves know it.
    New {
        #[command(flatten)]
        files: Files,
        /// What the certificate calls its holder. Nobody relies on it: enclaves compare the key.
        #[arg(long, default_value = "veritee-router")]
        name: String,
    },
    /// Prints the pin of a certificate: `sha256:` and the digest of its public key.
    Show {
        #[command(flatten)]
        place: Place,
    },
}

/// Where a certificate and its key are, or will be.
#[derive(Args)]
pub(crate) struct Files {
    /// The certificate (PEM).
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Args)]
pub(crate) struct Place {
    /// The router's configuration, whose `[identity]` it is.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "key"])]
    config: Option<PathBuf>,
    /// The certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key", required_unless_present = "config")]
    certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl IdentityCommand {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::New { files: Files { certificate, key }, name } => {
                new(&IdentityFiles { certificate, key }, &name)
            }
            Self::Show { place } => show(&place.files()?),
        }
    }
}

fn new(files: &IdentityFiles, name: &str) -> Result<(), Failure> {
    let (certificate, key) = make(name).map_err(Failure::Unavailable)?;
    // The key first: a certificate without it is of no use to anybody.
    write_new(&files.key, &key, 0o600).map_err(Failure::Usage)?;
    write_new(&files.certificate, &certificate, 0o644).map_err(Failure::Usage)?;
    remark("enclaves know the router by what follows; the key is readable by its owner alone");
    show(files)
}

fn make(name: &str) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Nothing is ever overwritten: a lost key is not to be had again.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(mode).open(path).with_context(|| {
            format!("cannot create {}; what is there is never replaced", path.display())
        })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn show(files: &IdentityFiles) -> Result<(), Failure> {
    let identity = files.load().map_err(|error| Failure::Usage(error.into()))?;
    say(&identity.spki().to_string())
}

impl Place {
    fn files(self) -> Result<IdentityFiles, Failure> {
        match self {
            Self { certificate: Some(certificate), key: Some(key), .. } => {
                Ok(IdentityFiles { certificate, key })
            }
            Self { config: Some(config), .. } => {
                let identity = read_alone(&config).map_err(Failure::Usage)?.identity;
                let missing = || anyhow!("{} has no `[identity]`", config.display());
                identity.map(|identity| identity.files).ok_or_else(missing).map_err(Failure::Usage)
            }
            Self { .. } => Err(Failure::Usage(anyhow!("`--config` or `--certificate` is needed"))),
        }
    }
}
