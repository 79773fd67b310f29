//! Are the measurements those of a driver and a VBIOS that the policy names?

use attestation::UnixTime;
use attestation::gpu::{ReferenceKind, ReferenceMeasurement, ReferenceValues};

use crate::authenticate::nvidia::Device;
use crate::finding::{Code, Finding};
use crate::policy::{Demand, DevicePolicy, References, UnknownBits};

/// The index that is of the video decoder `NVDEC0`, as reference values count.
const NVDEC0: u8 = 35;

/// Compares every index of the device's reference values; yields which were used and when they end.
pub(super) fn judge(
    device: &Device,
    section: &DevicePolicy,
    devtools: Demand,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Vec<(String, UnixTime)> {
    let References::Only(all) = &section.reference else {
        findings.push(Finding::warn(
            Code::DeviceReferenceMissing,
            "the policy compares no measurement: any driver and firmware will do, and developer tools too",
        ));
        return Vec::new();
    };
    let mut used: Vec<(&ReferenceValues, Vec<&ReferenceMeasurement>)> = Vec::new();
    for kind in super::kinds(device.identity.architecture.is_switch()) {
        let candidates = all.iter().filter(|values| is_of(device, *kind, values));
        // Of several sets of one version, the one that fits best counts.
        let fits = candidates.map(|values| (values, mismatches(device, values)));
        let best = fits.min_by_key(|(_, mismatches)| mismatches.len());
        match best {
            Some(best) => used.push(best),
            None => findings.push(
                Finding::reject(
                    Code::DeviceReferenceMissing,
                    format!("the policy has no reference values of {}", described(device, *kind)),
                )
                .expected(wanted(device, *kind)),
            ),
        }
    }
    let listed: Vec<_> = used.iter().map(|(values, _)| Indices::of(values)).collect();
    overlap(&used, &listed, findings);
    for (values, mismatches) in &used {
        compare(device, values, mismatches, findings);
        if values.devtools {
            let message = "the GPU has its developer tools on: what it computes can be watched";
            findings.push(match devtools {
                Demand::Allowed => Finding::warn(Code::DeviceDevtools, message),
                Demand::Required | Demand::Refused => {
                    Finding::reject(Code::DeviceDevtools, message)
                }
            });
        }
        if let Some(end) = values.not_after.filter(|end| now > *end) {
            findings.push(
                Finding::reject(
                    Code::DeviceReferenceExpired,
                    format!("the reference values {} are no longer good", values.id),
                )
                .expected(format!("not after {end}"))
                .actual(now),
            );
        }
    }
    unlisted(device, &listed, section.unlisted, findings);
    used.iter().filter_map(|(values, _)| Some((values.id.clone(), values.not_after?))).collect()
}

/// Whether reference values are of the device's chip, version and board.
fn is_of(device: &Device, kind: ReferenceKind, values: &ReferenceValues) -> bool {
    let opaque = device.report.opaque();
    let is = |wanted: Option<&str>, reported: Option<&str>| {
        wanted.is_none_or(|wanted| {
            reported.is_some_and(|reported| reported.eq_ignore_ascii_case(wanted))
        })
    };
    if values.kind != kind || !values.is_of_chip(&device.identity.chip) {
        return false;
    }
    match kind {
        ReferenceKind::Driver => is(Some(&values.version), opaque.driver()),
        ReferenceKind::Vbios => {
            // A switch's report does not name its board.
            let has_board = !device.identity.architecture.is_switch();
            is(Some(&values.version), opaque.vbios().as_deref())
                && (!has_board
                    || (is(values.project.as_deref(), opaque.project())
                        && is(values.project_sku.as_deref(), opaque.project_sku())
                        && is(values.chip_sku.as_deref(), opaque.chip_sku())))
        }
    }
}

/// What the values would be of: a switch has neither a driver nor a board's VBIOS.
const fn described(device: &Device, kind: ReferenceKind) -> &'static str {
    match kind {
        ReferenceKind::Vbios if device.identity.architecture.is_switch() => "the switch's BIOS",
        ReferenceKind::Vbios => "the GPU's VBIOS",
        ReferenceKind::Driver => "the GPU's driver",
    }
}

/// NVIDIA's name of the reference values that would do.
fn wanted(device: &Device, kind: ReferenceKind) -> String {
    let opaque = device.report.opaque();
    let vbios = opaque.vbios().unwrap_or_default().replace('.', "");
    let part = |part: Option<&str>| part.unwrap_or("?").to_owned();
    match kind {
        ReferenceKind::Driver => {
            format!("NV_GPU_DRIVER_{}_{}", device.identity.chip, part(opaque.driver()))
        }
        ReferenceKind::Vbios if device.identity.architecture.is_switch() => {
            format!("NV_SWITCH_BIOS_…_{vbios}")
        }
        ReferenceKind::Vbios => format!(
            "NV_GPU_VBIOS_{}_{}_{}_{vbios}",
            part(opaque.project()),
            part(opaque.project_sku()),
            part(opaque.chip_sku()),
        ),
    }
}

/// Indices at which the report has none of the digests, as reference values count.
fn mismatches<'a>(device: &Device, values: &'a ReferenceValues) -> Vec<&'a ReferenceMeasurement> {
    let measurements = device.report.measurements();
    // While the decoder is not in use, nobody set its index.
    let is_unused = device.report.opaque().nvdec0() == Some(false);
    let differs = |reference: &&ReferenceMeasurement| {
        let skipped = is_unused && reference.index == NVDEC0;
        // A report counts from one.
        let reported = measurements.get(reference.index.saturating_add(1));
        !skipped && !reported.is_some_and(|digest| reference.digests.contains(digest))
    };
    values.measurements.iter().filter(differs).collect()
}

fn compare(
    device: &Device,
    values: &ReferenceValues,
    mismatches: &[&ReferenceMeasurement],
    findings: &mut Vec<Finding>,
) {
    for ReferenceMeasurement { index, digests } in mismatches.iter().copied() {
        let reported = device.report.measurements().get(index.saturating_add(1));
        let kind = values.kind.name();
        findings.push(match reported {
            Some(digest) => Finding::reject(
                Code::DeviceMeasurementMismatch,
                format!("measurement {index} is not the {kind}'s by {}", values.id),
            )
            .expected(crate::policy::list(digests))
            .actual(digest),
            None => Finding::reject(
                Code::DeviceMeasurementMissing,
                format!("the report has no measurement {index}, which {} has", values.id),
            ),
        });
    }
}

/// Indices that reference values are about, as these count.
struct Indices([bool; 256]);

impl Indices {
    fn of(values: &ReferenceValues) -> Self {
        let mut indices = [false; 256];
        for reference in &values.measurements {
            if let Some(is_there) = indices.get_mut(usize::from(reference.index)) {
                *is_there = true;
            }
        }
        Self(indices)
    }

    fn has(&self, index: u8) -> bool {
        self.0.get(usize::from(index)).copied().unwrap_or(false)
    }
}

/// Two sets that both say what an index must be would leave open which of them counts.
fn overlap(
    used: &[(&ReferenceValues, Vec<&ReferenceMeasurement>)],
    listed: &[Indices],
    findings: &mut Vec<Finding>,
) {
    let ([(driver, _), (vbios, _)], [of_driver, of_vbios]) = (used, listed) else { return };
    let both: Vec<u8> =
        (0..=u8::MAX).filter(|index| of_driver.has(*index) && of_vbios.has(*index)).collect();
    if !both.is_empty() {
        findings.push(
            Finding::reject(
                Code::DeviceReferenceOverlap,
                format!("{} and {} are about the same measurements", driver.id, vbios.id),
            )
            .actual(crate::policy::list(both)),
        );
    }
}

/// What no reference value is about is not known to be good.
fn unlisted(device: &Device, listed: &[Indices], wanted: UnknownBits, findings: &mut Vec<Finding>) {
    let unlisted: Vec<_> = device
        .report
        .measurements()
        .iter()
        .filter(|(_, digest)| !digest.is_zero())
        .map(|(index, _)| index.saturating_sub(1))
        .filter(|index| !listed.iter().any(|values| values.has(*index)))
        .collect();
    if unlisted.is_empty() {
        return;
    }
    let message = "the report has measurements that no reference value is about";
    let finding = match wanted {
        UnknownBits::Tolerated => Finding::warn(Code::DeviceMeasurementUnlisted, message),
        UnknownBits::Refused => Finding::reject(Code::DeviceMeasurementUnlisted, message),
    };
    findings.push(finding.actual(crate::policy::list(unlisted)));
}
