//! All devices together: as many as the policy wants, none twice, and a fabric that is closed.

use std::collections::{BTreeMap, BTreeSet};

use attestation::gpu::{DeviceEvidence, Mode, Pdi};

use crate::authenticate::nvidia::{AuthenticDevice, Device, is_switch};
use crate::finding::{BUNDLE, Code, Finding};
use crate::policy::{Policy, Presence};

/// How many devices the evidence has, authentic or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Presented {
    pub(crate) gpus: usize,
    pub(crate) switches: usize,
}

impl Presented {
    /// Counts the devices by the names that they get.
    pub(crate) fn of(devices: &[DeviceEvidence]) -> Self {
        let switches = devices.iter().filter(|device| is_switch(device)).count();
        Self { gpus: devices.len().saturating_sub(switches), switches }
    }

    /// How many devices there are.
    pub(crate) const fn all(self) -> usize {
        self.gpus.saturating_add(self.switches)
    }
}

/// Judges the devices together.
pub(super) fn judge(
    devices: &[AuthenticDevice],
    presented: Presented,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    count(presented, policy, findings);
    repeated(devices, findings);
    // The closure of what is not all authentic would prove nothing, and the verdict stands without it.
    if devices.len() == presented.all() {
        topology(devices, policy, findings);
    }
}

fn count(presented: Presented, policy: &Policy, findings: &mut Vec<Finding>) {
    let gpus = policy.nvidia_gpu.as_ref().map(|gpu| gpu.device.count);
    let switches = policy.nvidia_switch.as_ref().map(|switch| switch.device.count);
    for (what, wanted, present) in
        [("GPUs", gpus, presented.gpus), ("switches", switches, presented.switches)]
    {
        let Some(Some(wanted)) = wanted else { continue };
        if u32::try_from(present) != Ok(wanted) {
            findings.push(
                Finding::reject(
                    Code::DeviceCount,
                    format!("the evidence has another number of {what} than the policy wants"),
                )
                .of(BUNDLE)
                .expected(wanted)
                .actual(present),
            );
        }
    }
}

/// One device that answers twice is one device.
fn repeated(devices: &[AuthenticDevice], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for device in devices.iter().map(AuthenticDevice::device) {
        if let Some(other) = first.get(device.identity.serial.as_str()) {
            findings.push(
                Finding::reject(Code::DeviceRepeated, format!("the device is {other} again"))
                    .of(device.name.clone())
                    .actual(&device.identity.serial),
            );
        } else {
            first.insert(&device.identity.serial, &device.name);
        }
    }
}

/// A protected fabric has no links that lead out of it: every GPU's lead to exactly the switches that
/// are here, and every switch connects exactly the GPUs that are here. The names that they give each
/// other are those in their certificates.
fn topology(devices: &[AuthenticDevice], policy: &Policy, findings: &mut Vec<Finding>) {
    let all = || devices.iter().map(AuthenticDevice::device);
    let gpus: Vec<_> = all().filter(|d| !d.identity.architecture.is_switch()).collect();
    let switches: Vec<_> = all().filter(|d| d.identity.architecture.is_switch()).collect();
    let is_protected = |gpu: &&Device| gpu.report.opaque().mode() == Some(Mode::ProtectedPcie);
    if switches.is_empty() && !gpus.iter().any(is_protected) {
        return;
    }
    if gpus.is_empty() || switches.is_empty() {
        let missing = if gpus.is_empty() { "GPUs" } else { "switches" };
        let message = format!("a protected fabric is here without its {missing}");
        let presence = policy.nvidia_gpu.as_ref().map_or(Presence::Required, |gpu| gpu.topology);
        findings.push(
            match presence {
                Presence::Required => Finding::reject(Code::DeviceTopology, message),
                Presence::IfPresent => Finding::warn(Code::DeviceTopology, message),
            }
            .of(BUNDLE),
        );
        return;
    }
    for gpu in gpus.iter().filter(|gpu| !is_protected(gpu)) {
        findings.push(
            Finding::reject(
                Code::DeviceTopology,
                "the GPU stands beside switches and is not in protected PCIe mode",
            )
            .of(gpu.name.clone()),
        );
    }
    let names = |devices: &[&Device]| -> BTreeSet<Option<Pdi>> {
        devices.iter().map(|device| device.identity.pdi).collect()
    };
    let (gpu_names, switch_names) = (names(&gpus), names(&switches));
    for gpu in &gpus {
        let found: BTreeSet<_> = gpu.report.opaque().links().map(Some).collect();
        open(
            gpu,
            "the GPU's links lead to other switches than these",
            &switch_names,
            &found,
            findings,
        );
    }
    for switch in &switches {
        let found: BTreeSet<_> = switch.report.opaque().gpus().map(Some).collect();
        open(switch, "the switch connects other GPUs than these", &gpu_names, &found, findings);
    }
}

fn open(
    device: &Device,
    message: &str,
    expected: &BTreeSet<Option<Pdi>>,
    found: &BTreeSet<Option<Pdi>>,
    findings: &mut Vec<Finding>,
) {
    if expected != found {
        let names = |set: &BTreeSet<Option<Pdi>>| {
            crate::policy::list(set.iter().map(|pdi| {
                pdi.map_or_else(|| "a device without a name".to_owned(), |pdi| pdi.to_string())
            }))
        };
        findings.push(
            Finding::reject(Code::DeviceTopology, message)
                .of(device.name.clone())
                .expected(names(expected))
                .actual(names(found)),
        );
    }
}
