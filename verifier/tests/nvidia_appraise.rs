//! NVIDIA's devices, third stage: what is authentic is judged, each device and all together. Each case starts
//! from accepted evidence and fails because of one thing.

use core::time::Duration;

use attestation::Digest;
use attestation::gpu::{Architecture, ReferenceKind};
use sim::nvidia::field;
use verifier::{Code, Severity};

use crate::fabric::{Fabric, NOW, codes, each_is_accepted, each_is_refused, report};

mod fabric;
mod outcome;

const HOUR: Duration = Duration::from_hours(1);

fn list(values: &[&str]) -> toml::Value {
    values.to_vec().into()
}

#[test]
fn check_6_measurements_are_those_of_driver_and_vbios() {
    let mismatch: &[Code] = &[Code::DeviceMeasurementMismatch];
    let missing: &[Code] = &[Code::DeviceReferenceMissing];
    each_is_refused(
        Fabric::hopper,
        &[
            ("another driver", mismatch, &|f| f.devices[0].report.measurements[7] = [1; 48]),
            ("another VBIOS", mismatch, &|f| f.devices[0].report.measurements[12] = [1; 48]),
            ("zeros", mismatch, &|f| f.devices[0].report.measurements[12] = [0; 48]),
            ("indices that count from one", mismatch, &|f| {
                let last = f.reference[1].measurements.len() - 1;
                for at in 0..last {
                    f.reference[1].measurements[at].index =
                        f.reference[1].measurements[at + 1].index;
                }
                f.reference[1].measurements.truncate(last);
            }),
            ("a version of the driver that nobody named", missing, &|f| {
                f.reference[0].version = "590.13".to_owned();
            }),
            ("a version of the VBIOS that nobody named", missing, &|f| {
                f.reference[1].version = "96.00.A5.00.02".to_owned();
            }),
            ("another board", missing, &|f| f.reference[1].project = Some("1010".to_owned())),
            ("another SKU of the board", missing, &|f| {
                f.reference[1].project_sku = Some("0210".to_owned());
            }),
            ("another SKU of the chip", missing, &|f| {
                f.reference[1].chip_sku = Some("886".to_owned());
            }),
            ("another chip", missing, &|f| f.reference[0].chip = "GB100".to_owned()),
            ("no driver", missing, &|f| drop(f.reference.remove(0))),
            ("no VBIOS", missing, &|f| drop(f.reference.remove(1))),
            ("an index of both", &[Code::DeviceReferenceOverlap], &|f| {
                let both = f.reference[1].measurements[3].clone();
                f.reference[0].measurements.push(both);
            }),
            ("reference values of yesterday", &[Code::DeviceReferenceExpired], &|f| {
                f.reference[0].not_after = Some(NOW.saturating_sub(HOUR));
            }),
            (
                "an index that no reference value is about",
                &[Code::DeviceMeasurementUnlisted],
                &|f| {
                    f.set("nvidia-gpu", "unlisted", "refused");
                    unlist(f, 12);
                },
            ),
            ("the video decoder, in use", mismatch, &|f| {
                f.devices[0].report.set(field::NVDEC0, &[0xaa]);
                f.devices[0].report.measurements[35] = [1; 48];
            }),
            ("developer tools", &[Code::DeviceDevtools], &|f| f.reference[0].devtools = true),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("any measurement", &[Code::DeviceReferenceMissing], &|f| {
                f.set("nvidia-gpu", "reference_values", "any");
                f.devices[0].report.measurements[7] = [1; 48];
            }),
            ("another of the digests", &[], &|f| {
                f.devices[0].report.measurements[12] = [0x99; 48];
            }),
            (
                "an index that no reference value is about",
                &[Code::DeviceMeasurementUnlisted],
                &|f| {
                    unlist(f, 12);
                },
            ),
            ("an index of zeros that no reference value is about", &[], &|f| {
                f.set("nvidia-gpu", "unlisted", "refused");
                unlist(f, 11);
            }),
            ("the video decoder, not in use", &[], &|f| {
                f.devices[0].report.measurements[35] = [1; 48];
            }),
            ("reference values until tomorrow", &[], &|f| {
                f.reference[0].not_after = Some(NOW.saturating_add(HOUR));
            }),
            ("two sets of one version, one of which fits", &[], &|f| {
                let mut other = f.reference[0].clone();
                other.measurements[4].digests = vec![Digest([1; 48])];
                f.reference.insert(0, other);
            }),
            ("developer tools", &[Code::DeviceDevtools], &|f| {
                f.set("nvidia-gpu", "devtools", "allowed");
                f.reference[0].devtools = true;
            }),
            ("a family of chips", &[], &|f| f.reference[0].chip = "GH10X".to_owned()),
        ],
    );
    let mut fabric = Fabric::hopper();
    fabric.reference[0].not_after = Some(NOW.saturating_add(HOUR));
    let end = fabric.judge().unwrap().not_after();
    assert_eq!(end, NOW.saturating_add(HOUR), "an acceptance ends with its reference values");
}

#[test]
fn check_6_a_switch_has_a_vbios_alone() {
    let hgx = || Fabric::hgx(1, 1);
    let of_switch = |f: &Fabric| f.reference.iter().position(|v| v.chip == "LS10").unwrap();
    each_is_refused(
        hgx,
        &[
            ("another VBIOS", &[Code::DeviceMeasurementMismatch], &|f| {
                f.devices[1].report.measurements[4] = [1; 48];
            }),
            ("a version that nobody named", &[Code::DeviceReferenceMissing], &|f| {
                let at = of_switch(f);
                f.reference[at].version = "96.10.73.00.02".to_owned();
            }),
        ],
    );
}

#[test]
fn check_6_what_reference_values_may_say() {
    each_is_accepted(
        || Fabric::hgx(1, 1),
        &[
            ("values that are good to this moment", &[], &|f| {
                for values in &mut f.reference {
                    values.not_after = Some(NOW);
                }
            }),
            ("a board, which the report of a switch does not name", &[], &|f| {
                let switch = f.reference.iter_mut().find(|values| values.chip == "LS10").unwrap();
                switch.project = Some("1010".to_owned());
            }),
        ],
    );
    let missing: &[Code] = &[Code::DeviceReferenceMissing];
    each_is_refused(
        Fabric::hopper,
        &[
            ("a VBIOS of the driver's version", missing, &|f| {
                let [driver, vbios] = &mut f.reference[..] else { panic!("two") };
                driver.kind = ReferenceKind::Vbios;
                driver.project.clone_from(&vbios.project);
                driver.project_sku.clone_from(&vbios.project_sku);
                driver.chip_sku.clone_from(&vbios.chip_sku);
            }),
            ("an index that no report has", &[Code::DeviceMeasurementMissing], &|f| {
                let mut beyond = f.reference[0].measurements[0].clone();
                beyond.index = 64;
                f.reference[0].measurements.push(beyond);
            }),
        ],
    );
    let mut fabric = Fabric::hopper();
    fabric.reference[0].not_after = Some(NOW);
    let outcome = fabric.judge().unwrap();
    let ends = outcome.report().horizon.deadlines().iter().find(|deadline| deadline.ends == NOW);
    assert_eq!(ends.unwrap().what, "reference values NV_GPU_DRIVER_SIMULATED");
}

#[test]
fn check_7_how_a_gpu_protects_what_it_computes_on() {
    each_is_refused(
        Fabric::hopper,
        &[
            ("a mode that is not wanted", &[Code::DeviceModeNotAllowed], &|f| {
                f.set("nvidia-gpu", "confidential_compute", list(&["multi"]));
            }),
            ("a mode without a name", &[Code::DeviceModeContradictory], &|f| {
                f.devices[0].report.set(field::MODE, &[3, 0]);
            }),
            ("no mode where one must be", &[Code::DeviceModeContradictory], &|f| {
                f.devices[0].report.unset(field::MODE);
            }),
            ("one GPU, with PCIe protected", &[Code::DeviceModeContradictory], &|f| {
                f.devices[0].report.set(field::PROTECTED_PCIE, &[0xaa]);
            }),
            ("a report that does not say", &[Code::DeviceModeNotAllowed], &|f| {
                for kind in [field::MODE, field::VERSION, field::PROTECTED_PCIE] {
                    f.devices[0].report.unset(kind);
                }
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("several GPUs", &[], &|f| f.devices[0].report.set(field::MODE, &[1, 0])),
            ("a report that does not say", &[Code::DeviceModeNotAllowed], &|f| {
                f.set("nvidia-gpu", "confidential_compute", list(&["unstated"]));
                for kind in [field::MODE, field::VERSION, field::PROTECTED_PCIE] {
                    f.devices[0].report.unset(kind);
                }
            }),
        ],
    );
    each_is_refused(
        || Fabric::hgx(1, 1),
        &[("protected PCIe that is off", &[Code::DeviceModeContradictory], &|f| {
            f.devices[0].report.set(field::PROTECTED_PCIE, &[0x55]);
        })],
    );
}

#[test]
fn check_8_driver_and_vbios_are_new_enough() {
    let minima = |f: &mut Fabric, minima: &[(&str, &str)]| {
        let of_chip = |(chip, text): &(&str, &str)| ((*chip).to_owned(), (*text).into());
        f.set("nvidia-gpu", "min_vbios", minima.iter().map(of_chip).collect::<toml::Table>());
    };
    let minimum = |f: &mut Fabric, text: &str| minima(f, &[("GH100", text)]);
    each_is_refused(
        Fabric::hopper,
        &[
            ("an old driver", &[Code::DeviceDriverBelowMinimum], &|f| {
                f.set("nvidia-gpu", "min_driver", "590.13");
            }),
            ("an old VBIOS", &[Code::DeviceVbiosBelowMinimum], &|f| minimum(f, "96.00.A5.00.02")),
            ("an old VBIOS, of a family", &[Code::DeviceVbiosBelowMinimum], &|f| {
                minima(f, &[("GH10X", "96.00.A5.00.02")]);
            }),
            ("an old VBIOS, of two minima", &[Code::DeviceVbiosBelowMinimum], &|f| {
                minima(f, &[("GH100", "96.00.A5.00.01"), ("GH1X0", "96.00.A5.00.02")]);
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("the oldest driver that will do", &[], &|f| {
                f.set("nvidia-gpu", "min_driver", "590.12");
            }),
            ("the oldest VBIOS that will do", &[], &|f| minimum(f, "96.00.A5.00.01")),
            ("another family's minimum", &[], &|f| minima(f, &[("GB10X", "97.00.00.00.00")])),
        ],
    );
}

#[test]
fn check_9_whose_device_it_is() {
    let ueid = format!("{}00", "53".repeat(19));
    each_is_refused(
        Fabric::hopper,
        &[
            ("another device", &[Code::DeviceNotAllowed], &|f| {
                f.set("nvidia-gpu", "devices", list(&[&"53".repeat(20)]));
            }),
            ("another architecture", &[Code::DeviceArchitectureNotAllowed], &|f| {
                f.set("nvidia-gpu", "architectures", list(&["blackwell"]));
            }),
            ("no section", &[Code::PlatformNotAllowed], &|f| {
                drop(f.policy.remove("nvidia-gpu"));
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("this signing key", &[], &|f| f.set("nvidia-gpu", "devices", list(&[&ueid]))),
            ("this chip", &[], &|f| {
                f.set("nvidia-gpu", "devices", list(&["415a16bcd6465b2401"]));
            }),
        ],
    );
    assert!(Fabric::blackwell().judge().is_ok());
}

#[test]
fn check_10_a_fabric_is_closed() {
    let hgx = || Fabric::hgx(2, 2);
    let open: &[Code] = &[Code::DeviceTopology];
    each_is_refused(
        hgx,
        &[
            ("a GPU that leads elsewhere", open, &|f| {
                let switches = [f.devices[2].pdi(), f.devices[3].pdi(), [9; 8]];
                f.devices[0].report.protect(&switches);
            }),
            ("a GPU that does not lead to a switch", open, &|f| {
                let switches = [f.devices[2].pdi()];
                f.devices[0].report.protect(&switches);
            }),
            ("names in the wrong order of bytes", open, &|f| {
                let mut switches = [f.devices[2].pdi(), f.devices[3].pdi()];
                for name in &mut switches {
                    name.reverse();
                }
                f.devices[0].report.protect(&switches);
            }),
            ("a switch that connects another GPU", open, &|f| {
                let gpus = [f.devices[0].pdi(), f.devices[1].pdi(), [9; 8]];
                f.devices[2].report.connect(&gpus);
            }),
            ("a switch that does not connect a GPU", open, &|f| {
                let gpus = [f.devices[0].pdi()];
                f.devices[3].report.connect(&gpus);
            }),
            ("a GPU less", open, &|f| drop(f.devices.remove(0))),
            ("a switch less", open, &|f| drop(f.devices.remove(3))),
            ("no switches", open, &|f| f.devices.truncate(2)),
            ("no switches, and a GPU that is not protected", open, &|f| {
                f.devices.truncate(2);
                f.devices[0].report.set(field::MODE, &[1, 0]);
                f.devices[0].report.set(field::PROTECTED_PCIE, &[0x55]);
            }),
            ("no GPUs", open, &|f| drop(f.devices.drain(..2))),
            ("a GPU that is not protected", open, &|f| {
                f.devices[0].report.set(field::MODE, &[1, 0]);
                f.devices[0].report.set(field::PROTECTED_PCIE, &[0x55]);
            }),
            ("a switch that is not locked", &[Code::SwitchUnlocked], &|f| {
                f.devices[2].report.set(field::LOCK, &[0, 0]);
            }),
            ("a switch that does not say", &[Code::SwitchUnlocked], &|f| {
                f.devices[2].report.unset(field::LOCK);
            }),
        ],
    );
    each_is_accepted(
        hgx,
        &[
            ("switches in another order", &[], &|f| f.devices.swap(0, 3)),
            ("GPUs alone", &[Code::DeviceTopology], &|f| {
                f.set("nvidia-gpu", "topology", "if-present");
                f.devices.truncate(2);
            }),
            ("a switch that is not locked", &[Code::SwitchUnlocked], &|f| {
                f.set("nvidia-switch", "unlocked", "allowed");
                f.devices[2].report.set(field::LOCK, &[0, 0]);
            }),
        ],
    );
    each_is_refused(
        hgx,
        &[("a GPU less, where GPUs alone would do", open, &|f| {
            f.set("nvidia-gpu", "topology", "if-present");
            drop(f.devices.remove(0));
        })],
    );
}

#[test]
fn check_10_eight_gpus_and_four_switches() {
    let mut fabric = Fabric::hgx(8, 4);
    fabric.set("nvidia-gpu", "count", 8);
    fabric.set("nvidia-switch", "count", 4);
    let result = fabric.judge().unwrap();
    let claims = &result.report().claims;
    assert_eq!(claims.len(), 12);
    assert_eq!(claims["gpu7"]["confidential_compute"], "protected-pcie");
    assert_eq!(claims["switch3"]["locked"], true);
    assert_eq!(claims["gpu0"]["switches"].as_array().unwrap().len(), 4);
    assert_eq!(claims["switch0"]["gpus"].as_array().unwrap().len(), 8);
}

#[test]
fn as_many_devices_as_the_policy_wants_and_none_twice() {
    let hgx = || Fabric::hgx(2, 1);
    each_is_refused(
        hgx,
        &[
            ("too few GPUs", &[Code::DeviceCount], &|f| f.set("nvidia-gpu", "count", 3)),
            ("too many GPUs", &[Code::DeviceCount], &|f| f.set("nvidia-gpu", "count", 1)),
            ("too few switches", &[Code::DeviceCount], &|f| f.set("nvidia-switch", "count", 2)),
            ("a GPU twice", &[Code::DeviceRepeated], &|f| {
                let again = Fabric::hgx(2, 1).devices.remove(1);
                f.devices.insert(1, again);
            }),
        ],
    );
    each_is_accepted(
        hgx,
        &[("as many", &[], &|f| {
            f.set("nvidia-gpu", "count", 2);
            f.set("nvidia-switch", "count", 1);
        })],
    );
}

#[test]
fn one_device_that_is_not_authentic_refuses_all() {
    let mut fabric = Fabric::hgx(2, 1);
    fabric.devices[1].report.is_forged = true;
    let outcome = fabric.judge();
    let report = report(&outcome);
    assert_eq!(codes(report, Severity::Reject), [Code::SignatureInvalid]);
    let refused = report.findings.iter().find(|f| f.severity == Severity::Reject).unwrap();
    assert_eq!(refused.component, "gpu1");
    let skipped = report.findings.iter().filter(|f| f.code == Code::NotEvaluated);
    let mut skipped: Vec<_> = skipped.map(|f| f.component.to_string()).collect();
    skipped.sort_unstable();
    assert_eq!(skipped, ["bundle", "gpu1", "gpu1", "gpu1", "gpu1", "gpu1"]);
    assert!(!report.claims.contains_key("gpu1"), "what is not authentic is not shown");
    assert!(report.claims.contains_key("gpu0"));
}

#[test]
fn reference_values_say_of_what_they_are() {
    let fabric = Fabric::hgx(1, 1);
    let kinds: Vec<_> = fabric.reference.iter().map(|v| (v.chip.as_str(), v.kind)).collect();
    let (driver, vbios) = (ReferenceKind::Driver, ReferenceKind::Vbios);
    assert_eq!(kinds, [("GH100", driver), ("GH100", vbios), ("LS10", vbios)]);
    assert_eq!(fabric.devices[1].architecture, Architecture::Ls10);
}

/// Takes the reference values of one index away.
fn unlist(fabric: &mut Fabric, index: u8) {
    for values in &mut fabric.reference {
        values.measurements.retain(|reference| reference.index != index);
    }
}
