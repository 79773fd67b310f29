//! `veritee policy import-rim`: NVIDIA's signed manifests into reference values.

use std::path::{Path, PathBuf};

use attestation::UnixTime;
use attestation::gpu::ReferenceValues;
use client::Family;
use rim::{Code, Component, Refused, Rim};

use crate::arguments::ImportRim;
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;
use crate::{files, input};

/// Verifies every file before anything is written.
pub(crate) fn import(arguments: &ImportRim, world: &World, out: &Out) -> Result<(), Failure> {
    let ImportRim { files, at, id, output } = arguments;
    let at = at.unwrap_or_else(|| world.clock.now());
    let folder = output.as_deref().filter(|path| path.is_dir());
    if files.len() > 1 && (folder.is_none() || id.is_some()) {
        let message = "several manifests do not fit into one file, or under one id".to_owned();
        return Err(Failure::usage(message, "name a folder that is there with -o, and no --id"));
    }
    let mut all = Vec::new();
    for file in files {
        let rim =
            rim::import(&input::manifest(file)?, at).map_err(|error| refused(file, &error))?;
        let values = values(file, id.as_deref(), &rim)?;
        for line in remarks(file, &rim, at) {
            out.note(line);
        }
        all.push(values);
    }
    for values in all {
        let json = values.encode();
        let file = match (folder, output) {
            (Some(folder), _) => Some(folder.join(format!("{}.json", values.id))),
            (None, Some(file)) => Some(file.clone()),
            (None, None) => None,
        };
        match file {
            Some(file) => {
                files::replace(&file, &json)?;
                out.line(format_args!("{} {}", file.display(), values.id))?;
            }
            None => out.text(String::from_utf8_lossy(&json))?,
        }
    }
    Ok(())
}

fn values(file: &Path, id: Option<&str>, rim: &Rim) -> Result<ReferenceValues, Failure> {
    let stem = PathBuf::from(file.file_stem().unwrap_or_default());
    let name = id.map_or_else(|| stem.to_string_lossy().into_owned(), str::to_owned);
    rim.reference_values(&name).map_err(|why| {
        let message = format!("{}: {why}", file.display());
        let next = "give NVIDIA's id with --id, such as NV_GPU_VBIOS_1010_0200_882_96005E0001";
        Failure::usage(message, next)
    })
}

/// What was verified, and what was not.
fn remarks(file: &Path, rim: &Rim, at: UnixTime) -> Vec<String> {
    let Rim { component, chip, version, measurements, signer, .. } = rim;
    let mut lines = vec![
        format!(
            "{}: {component} {version} of {chip}, measurements: {}",
            file.display(),
            measurements.len()
        ),
        format!(
            "  signed by {:?}, whose chain is good from {} to {}; verified for {at}",
            signer.name, signer.not_before, signer.not_after
        ),
        "  not asked: whether NVIDIA withdrew the signer since".to_owned(),
    ];
    if *component == Component::Vbios {
        let line = "  the board is from the id or the file's name, which NVIDIA did not sign";
        lines.push(line.to_owned());
    }
    lines
}

fn refused(file: &Path, refused: &Refused) -> Failure {
    let family = if refused.is_malformed() { Family::Malformed } else { Family::Rejected };
    let code = refused.reasons().first().map_or("rim-malformed", |reason| reason.code.as_str());
    let is_late = refused
        .reasons()
        .iter()
        .all(|it| matches!(it.code, Code::CertificateExpired | Code::CertificateNotYetValid));
    let next = if is_late {
        "fetch the manifest that NVIDIA serves now, or say for which moment it is to be good with --at"
    } else {
        "fetch the manifest from NVIDIA again, and use no other"
    };
    Failure::new(family, code, format!("{}: {refused}", file.display()), next)
}
