//! Reports of NVIDIA's GPUs and switches (SPDM 1.1, DMTF DSP0274 §10.11).

use attestation::Malformed;
use attestation::gpu::{DeviceEvidence, GpuReport, Opaque, parse_devices};

use super::pki;
use super::sheet::Sheet;

/// A list of devices, as NVIDIA's tools write it.
pub(super) fn devices(json: &[u8]) -> Result<Sheet, Malformed> {
    let mut out = Sheet::new();
    out.list("device", parse_devices(json)?.iter().map(device).collect());
    Ok(out)
}

/// A raw report.
pub(super) fn report(bytes: &[u8]) -> Result<Sheet, Malformed> {
    Ok(device(&DeviceEvidence::of_report(GpuReport::parse(bytes)?)))
}

fn device(device: &DeviceEvidence) -> Sheet {
    let DeviceEvidence { report, chain, stated } = device;
    let mut out = Sheet::new();
    let mut beside = Sheet::new();
    beside.optional("architecture", stated.architecture.as_ref());
    beside.optional("nonce", stated.nonce.map(hex::encode));
    beside.optional("driver", stated.driver.as_ref());
    beside.optional("vbios", stated.vbios.as_ref());
    out.sheet("stated_beside_it", beside);
    out.octets("nonce", report.nonce());
    out.sheet("says", opaque(report.opaque()));
    let mut measurements = Sheet::new();
    for (index, digest) in report.measurements().iter() {
        measurements.row(&index.to_string(), digest);
    }
    out.sheet("measurements", measurements);
    if let Some((_, signature)) = report.signed() {
        out.octets("signature", signature);
    }
    out.list("certificate", chain.iter().map(|der| pki::certificate(der)).collect());
    out
}

/// The opaque data: what has a name by its name, the rest by its type.
fn opaque(opaque: &Opaque) -> Sheet {
    let mut out = Sheet::new();
    out.optional("driver", opaque.driver());
    out.optional("vbios", opaque.vbios());
    out.optional("chip_sku", opaque.chip_sku());
    out.optional("project", opaque.project());
    out.optional("project_sku", opaque.project_sku());
    out.optional("fwid", opaque.fwid());
    out.optional("mode", opaque.mode());
    for (name, value) in [
        ("nvdec0", opaque.nvdec0()),
        ("protected_pcie", opaque.protected_pcie()),
        ("settings_locked", opaque.is_locked()),
    ] {
        if let Some(value) = value {
            out.told(name, value, if value { "yes" } else { "no" });
        }
    }
    if opaque.field(26).is_some() {
        out.optional("own_name", opaque.own());
        out.values("gpus", opaque.gpus());
    } else if opaque.field(22).is_some() {
        out.values("links_to", opaque.links());
    }
    let mut fields = Sheet::new();
    for (kind, value) in opaque.fields() {
        fields.octets(&kind.to_string(), value);
    }
    out.sheet("fields", fields);
    out
}
