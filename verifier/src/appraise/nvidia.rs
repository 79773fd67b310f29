//! NVIDIA's devices: is what is authentic also acceptable, each device by itself and all together?

use attestation::gpu::{Mode, ReferenceKind, is_chip};

use crate::authenticate::nvidia::{AuthenticDevice, Device, section};
use crate::finding::{Code, Finding};
use crate::policy::{Accept, DevicePolicy, DriverVersion, Policy, VbiosVersion};
use crate::policy::{Demand, GpuPolicy};
use crate::result::Horizon;

mod fabric;
mod measurements;

pub(crate) use fabric::Presented;

/// Says which checks were not made, of devices that are not authentic.
pub(crate) fn not_evaluated(
    authentic: &[AuthenticDevice],
    presented: Presented,
    findings: &mut Vec<Finding>,
) {
    let names = (0..presented.gpus)
        .map(|number| format!("gpu{number}"))
        .chain((0..presented.switches).map(|number| format!("switch{number}")));
    for name in names {
        if authentic.iter().any(|device| device.device().name == name) {
            continue;
        }
        for check in CHECKS {
            let message = format!("{check}: not checked, because the evidence is not authentic");
            findings.push(Finding::info(Code::NotEvaluated, message).of(name.clone()));
        }
    }
    if authentic.len() < presented.all() {
        let message = "topology: not checked, because a device's evidence is not authentic";
        findings.push(Finding::info(Code::NotEvaluated, message).of_bundle());
    }
}

const CHECKS: [&str; 5] = ["architecture", "device", "versions", "mode", "measurements"];

/// Judges all devices; `presented` is what the evidence has, authentic or not. Yields when what they
/// were judged by ends.
pub(crate) fn judge(
    devices: &[AuthenticDevice],
    presented: Presented,
    policy: &Policy,
    now: attestation::UnixTime,
    findings: &mut Vec<Finding>,
) -> Horizon {
    let mut horizon = Horizon::default();
    for device in devices.iter().map(AuthenticDevice::device) {
        let mut own = Vec::new();
        // Refused long before; but were it not, nothing would have been judged.
        match section(policy, device.identity.architecture) {
            Some(section) => one(device, section, policy, now, &mut horizon, &mut own),
            None => own.push(Finding::reject(
                Code::PlatformNotAllowed,
                "the policy has no section for the device",
            )),
        }
        findings.extend(own.into_iter().map(|finding| finding.of(device.name.clone())));
    }
    fabric::judge(devices, presented, policy, findings);
    horizon
}

fn one(
    device: &Device,
    section: &DevicePolicy,
    policy: &Policy,
    now: attestation::UnixTime,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) {
    let gpu = policy.nvidia_gpu.as_ref().filter(|_| !device.identity.architecture.is_switch());
    identity(device, section, findings);
    vbios(device, section, findings);
    if let Some(gpu) = gpu {
        driver(device, gpu, findings);
        mode(device, gpu, findings);
    }
    let devtools = gpu.map_or(Demand::Refused, |gpu| gpu.devtools);
    for (id, ends) in measurements::judge(device, section, devtools, now, findings) {
        horizon.add_of(device.name.clone(), format!("reference values {id}"), ends);
    }
    if let Some(switch) = &policy.nvidia_switch
        && device.identity.architecture.is_switch()
        && device.report.opaque().is_locked() != Some(true)
    {
        let message = "the switch's settings can be changed";
        findings.push(match switch.unlocked {
            Demand::Allowed => Finding::warn(Code::SwitchUnlocked, message),
            Demand::Required | Demand::Refused => Finding::reject(Code::SwitchUnlocked, message),
        });
    }
}

fn identity(device: &Device, section: &DevicePolicy, findings: &mut Vec<Finding>) {
    let identity = &device.identity;
    if !section.architectures.contains(&identity.architecture) {
        findings.push(
            Finding::reject(
                Code::DeviceArchitectureNotAllowed,
                "the policy does not accept devices of this architecture",
            )
            .expected(crate::policy::list(&section.architectures))
            .actual(identity.architecture),
        );
    }
    let is_listed =
        section.devices.admits(&identity.ueid) || section.devices.admits(&identity.serial);
    if section.devices != Accept::Any && !is_listed {
        findings.push(
            Finding::reject(Code::DeviceNotAllowed, "the device is not on the policy's list")
                .expected(&section.devices)
                .actual(format!("{} on chip {}", identity.ueid, identity.serial)),
        );
    }
}

fn vbios(device: &Device, section: &DevicePolicy, findings: &mut Vec<Finding>) {
    let of_chip = section.min_vbios.iter().filter(|(chip, _)| is_chip(chip, &device.identity.chip));
    let Some(min) = of_chip.map(|(_, min)| min).max() else { return };
    let reported = device.report.opaque().vbios();
    let version = reported.as_deref().and_then(VbiosVersion::parse);
    if version.is_none_or(|version| version < *min) {
        findings.push(
            Finding::reject(
                Code::DeviceVbiosBelowMinimum,
                "the VBIOS is older than the policy wants",
            )
            .expected(format!("at least {min}"))
            .actual(reported.unwrap_or_else(|| "none".to_owned())),
        );
    }
}

fn driver(device: &Device, gpu: &GpuPolicy, findings: &mut Vec<Finding>) {
    let Some(min) = &gpu.min_driver else { return };
    let reported = device.report.opaque().driver();
    let version = reported.and_then(DriverVersion::parse);
    if version.is_none_or(|version| version < *min) {
        findings.push(
            Finding::reject(
                Code::DeviceDriverBelowMinimum,
                "the driver is older than the policy wants",
            )
            .expected(format!("at least {min}"))
            .actual(reported.unwrap_or("none")),
        );
    }
}

fn mode(device: &Device, gpu: &GpuPolicy, findings: &mut Vec<Finding>) {
    let opaque = device.report.opaque();
    let Some(mode) = opaque.mode() else {
        let message = "the GPU says nothing that is known of how it protects what it computes on";
        findings.push(Finding::reject(Code::DeviceModeContradictory, message));
        return;
    };
    let is_protected = opaque.protected_pcie();
    if is_protected.is_some_and(|on| on != (mode == Mode::ProtectedPcie)) {
        findings.push(
            Finding::reject(
                Code::DeviceModeContradictory,
                "the GPU's mode and the state of its PCIe protection contradict each other",
            )
            .expected(mode)
            .actual(if is_protected == Some(true) {
                "protected PCIe on"
            } else {
                "protected PCIe off"
            }),
        );
    }
    if !gpu.modes.contains(&mode) {
        findings.push(
            Finding::reject(
                Code::DeviceModeNotAllowed,
                "the policy does not accept this mode of confidential computing",
            )
            .expected(crate::policy::list(&gpu.modes))
            .actual(mode),
        );
    } else if mode == Mode::Unstated {
        findings.push(Finding::warn(
            Code::DeviceModeNotAllowed,
            "the report is too old to say how the GPU protects what it computes on",
        ));
    }
}

/// Which reference values a device needs.
const fn kinds(is_switch: bool) -> &'static [ReferenceKind] {
    if is_switch { &[ReferenceKind::Vbios] } else { &[ReferenceKind::Driver, ReferenceKind::Vbios] }
}
