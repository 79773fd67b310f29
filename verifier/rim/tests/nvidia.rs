//! Every manifest of NVIDIA's that is public, by `VERITEE_VECTORS`: accepted or refused, at its time
//! and for its reason.
#![expect(clippy::print_stdout, reason = "who runs the tests should know what was left out")]
#![expect(clippy::unwrap_used, clippy::too_many_lines, reason = "a table of a test")]

use std::path::PathBuf;
use std::{env, fs};

use attestation::gpu::ReferenceValues;
use rim::{Rim, import};

/// The public ones (`PROVENANCE.md` of each folder): file, moment, and what is wrong with it.
#[test]
fn nvidias_own_are_what_they_are() {
    const IN_2024: &str = "2024-06-01T00:00:00Z";
    const IN_2025: &str = "2025-01-01T12:00:00Z";
    const NOW: &str = "2026-11-23T00:00:00Z";
    let folder = env::var_os("VERITEE_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let folder = folder.join("nvidia");
    if !folder.is_dir() {
        println!("{} is not there: NVIDIA's own manifests are not looked at", folder.display());
        return;
    }
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (mismatch, vbios) = (
        "sdk-unit/sample_rims__NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml",
        "sdk-unit/sample_rims__NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml",
    );
    for (name, at, expected) in [
        ("sdk-unit/NV_GPU_DRIVER_GH100_550.144.03.xml", NOW, "driver GH100 550.144.03: 21 of 31"),
        (
            "sdk-unit/NV_GPU_DRIVER_GH100_550.144.03.xml",
            "2026-12-30T16:56:51Z",
            "rim-certificate-expired",
        ),
        (
            "sdk-unit/NV_GPU_DRIVER_GH100_550.144.03.xml",
            "2024-12-30T16:56:49Z",
            "rim-certificate-not-yet-valid",
        ),
        (
            "sdk-unit/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
            NOW,
            "vbios LS10 96.10.55.00.01: 31 of 62",
        ),
        ("sdk-unit/incorrect_signature_driver_rim.xml", NOW, "rim-signature-invalid"),
        (
            "sdk-unit/incorrect_cert_chain_driver_rim.xml",
            NOW,
            "rim-root-not-trusted rim-certificate-profile",
        ),
        (
            "sdk-unit/sample_rims__NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
            NOW,
            "rim-digest-mismatch",
        ),
        (
            "sdk-unit/sample_rims__NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
            NOW,
            "rim-certificate-expired rim-digest-mismatch",
        ),
        (
            "sdk-unit/sample_rims__NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
            IN_2025,
            "rim-digest-mismatch",
        ),
        (vbios, IN_2025, "vbios GH100 96.00.5E.00.01: 12 of 15"),
        (vbios, NOW, "rim-certificate-expired"),
        (
            "sdk-unit/sample_rims__NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml",
            IN_2025,
            "rim-digest-mismatch",
        ),
        (mismatch, IN_2025, "rim-digest-mismatch"),
        (
            "nvtrust/1010_0200_882_96005E0001_PROD.swidtag",
            IN_2025,
            "vbios GH100 96.00.5E.00.01: 12 of 15",
        ),
        (
            "nvtrust/1010_0200_882_96005E0001_PROD.swidtag",
            NOW,
            "rim-certificate-expired rim-certificate-expired",
        ),
        (
            "nvtrust/1010_0200_882_96005E0001_test_no_gpu.swidtag",
            IN_2024,
            "vbios GH100 96.00.5E.00.01: 12 of 15",
        ),
        (
            "nvtrust/1010_0200_882_960074001A_PROD.swidtag",
            IN_2025,
            "vbios GH100 96.00.74.00.1A: 12 of 15",
        ),
        ("nvtrust/Driver_RIM_test_no_gpu.swidtag", IN_2024, "driver GH100 545.00: 21 of 24"),
    ] {
        let found = match import(&read(name), at.parse().unwrap()) {
            Ok(rim) => {
                round_trips(&rim, name);
                let Rim { component, chip, version, measurements, .. } = rim;
                let values: usize = measurements.values().map(Vec::len).sum();
                format!("{component} {chip} {version}: {} of {values}", measurements.len())
            }
            Err(refused) => refused
                .reasons()
                .iter()
                .map(|reason| reason.code.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        };
        assert_eq!(found, expected, "{name} at {at}");
    }
}

/// What is written is what was signed, and policies can read it.
fn round_trips(rim: &Rim, name: &str) {
    let values = rim
        .reference_values(std::path::Path::new(name).file_stem().unwrap().to_str().unwrap())
        .unwrap();
    let read = ReferenceValues::parse(&values.encode()).unwrap();
    assert_eq!(read, values);
    assert_eq!((read.source, read.not_after), (Some(rim.digest), Some(rim.signer.not_after)));
    let written: Vec<_> = read.measurements.into_iter().map(|it| (it.index, it.digests)).collect();
    let signed: Vec<_> =
        rim.measurements.iter().map(|(index, values)| (*index, values.clone())).collect();
    assert_eq!(written, signed, "{name}");
}
