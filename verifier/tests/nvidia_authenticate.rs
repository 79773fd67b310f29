//! NVIDIA's devices, first stage: report, chain, digest of the firmware. Each case starts from
//! accepted evidence and fails because of one thing.
#![expect(clippy::indexing_slicing, reason = "a test may fail anywhere")]

use core::time::Duration;

use attestation::{Challenge, UnixTime};
use serde_json::json;
use sim::certificate::Extension;
use sim::der;
use sim::nvidia::{Signer, composite, field, tcb_info};
use verifier::{Code, Expectation};

use crate::fabric::{Fabric, NOW, each_is_accepted, each_is_refused};

mod fabric;
mod outcome;

const HOUR: Duration = Duration::from_hours(1);
/// `secp256r1`.
const P256: [u64; 7] = [1, 2, 840, 10_045, 3, 1, 7];
const COMPOSITE: der::Oid = &[2, 23, 133, 5, 4, 1];
const TCB_INFO: der::Oid = &[2, 23, 133, 5, 4, 1, 1];
/// Where the length of a `DiceTcbInfo` is: behind its tag, and how many octets the length has.
const LEN_OF_TCB_INFO: usize = 2;

#[test]
fn check_1_a_report_is_taken_by_its_lengths() {
    each_is_refused(
        Fabric::hopper,
        &[
            ("another SPDM version", &[Code::EvidenceMalformed], &|f| patch(f, 37, &[0x12])),
            ("another response", &[Code::EvidenceMalformed], &|f| patch(f, 38, &[0x61])),
            ("a block too many", &[Code::EvidenceMalformed], &|f| patch(f, 41, &[65])),
            ("a block too few", &[Code::EvidenceMalformed], &|f| patch(f, 41, &[63])),
            ("a longer record", &[Code::EvidenceMalformed], &|f| patch(f, 42, &[0xc1])),
            ("an index twice", &[Code::EvidenceMalformed], &|f| patch(f, 45 + 55, &[1])),
            ("another specification", &[Code::EvidenceMalformed], &|f| patch(f, 46, &[2])),
            ("a field twice", &[Code::EvidenceMalformed], &|f| {
                f.devices[0].report.fields.push((field::MODE, vec![0, 0]));
            }),
            ("a measurement less", &[Code::DeviceMeasurementMissing], &|f| {
                f.devices[0].report.measurements.pop();
            }),
            ("a measurement less that nobody expects", &[Code::DeviceMeasurementMissing], &|f| {
                f.devices[0].report.measurements.pop();
                for values in &mut f.reference {
                    values.measurements.retain(|measurement| measurement.index < 63);
                }
            }),
            ("no JSON of devices", &[Code::EvidenceMalformed], &|f| {
                f.edits.push((0, "evidence", None));
            }),
            ("a report that is no base64", &[Code::EvidenceMalformed], &|f| {
                f.edits.push((0, "evidence", Some(json!("*"))));
            }),
        ],
    );
}

#[test]
fn check_2_the_device_signed_our_nonce() {
    each_is_refused(
        Fabric::hopper,
        &[
            ("another challenge", &[Code::DeviceNonceMismatch], &|f| {
                f.expectation = Expectation::challenged(Challenge([1; 32]));
            }),
            ("no challenge", &[Code::NotChallenged], &|f| f.expectation = Expectation::cached()),
            ("a report data, which devices do not sign", &[Code::ReportDataMismatch], &|f| {
                f.expectation = f.expectation.with_report_data(attestation::ReportData([0; 64]));
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[("no challenge wanted", &[], &|f| {
            f.expectation = Expectation::cached();
            f.set("freshness", "evidence", "cached");
        })],
    );
}

#[test]
fn check_3_what_stands_beside_the_report_is_what_it_says() {
    let other = json!("00".repeat(32));
    each_is_refused(
        Fabric::hopper,
        &[
            ("another architecture", &[Code::DeviceArchitectureMismatch], &|f| {
                f.edits.push((0, "arch", Some(json!("BLACKWELL"))));
            }),
            ("another nonce", &[Code::DeviceEnvelopeMismatch], &|f| {
                f.edits.push((0, "nonce", Some(other.clone())));
            }),
            ("another driver", &[Code::DeviceEnvelopeMismatch], &|f| {
                f.edits.push((0, "driver_version", Some(json!("590.13"))));
            }),
            ("another VBIOS", &[Code::DeviceEnvelopeMismatch], &|f| {
                f.edits.push((0, "vbios_version", Some(json!("96.00.A5.00.02"))));
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("nothing beside it", &[], &|f| {
                f.edits.push((0, "arch", None));
                f.edits.push((0, "nonce", None));
            }),
            ("all beside it", &[], &|f| {
                f.edits.push((0, "driver_version", Some(json!("590.12"))));
                f.edits.push((0, "vbios_version", Some(json!("96.00.a5.00.01"))));
            }),
        ],
    );
}

#[test]
fn check_3_the_signature_and_the_chain_hold() {
    each_is_refused(
        Fabric::hopper,
        &[
            ("a forged report", &[Code::SignatureInvalid], &|f| {
                f.devices[0].report.is_forged = true;
            }),
            ("four certificates", &[Code::DeviceChainInvalid], &|f| {
                f.rechain = |chain| drop(chain.remove(2));
            }),
            ("six certificates", &[Code::DeviceChainInvalid], &|f| {
                f.rechain = |chain| chain.push(chain[4].clone());
            }),
            ("a certificate that is none", &[Code::EvidenceMalformed], &|f| {
                f.rechain = |chain| chain[1] = vec![0x30, 0];
            }),
            (
                "two certificates in the other order",
                &[
                    Code::DeviceChainInvalid,
                    Code::CertificateProfile,
                    Code::CertificateSignatureInvalid,
                ],
                &|f| f.rechain = |chain| chain.swap(2, 3),
            ),
            ("another root", &[Code::RootNotTrusted], &|f| {
                let validity = f.pki.validity;
                let other = sim::nvidia::NvidiaPki::generate(validity).unwrap();
                f.root = Some(other.root().to_vec());
            }),
            ("the same root, signed again", &[Code::RootNotTrusted], &|f| {
                f.root = Some(f.pki.root().to_vec());
                f.devices[0].chain[4].serial = vec![0x2d, 2];
            }),
            ("another signer of the signing key", &[Code::CertificateSignatureInvalid], &|f| {
                f.devices[0].signers[0] = Some(Signer::Provisioner);
            }),
            ("a forged signing key", &[Code::CertificateSignatureInvalid], &|f| forge(f, 0)),
            ("a forged chip", &[Code::CertificateSignatureInvalid], &|f| forge(f, 1)),
            ("a forged provisioner", &[Code::CertificateSignatureInvalid], &|f| forge(f, 2)),
            ("a forged identity", &[Code::CertificateSignatureInvalid], &|f| forge(f, 3)),
        ],
    );
}

#[test]
fn check_3_every_certificate_has_its_role() {
    let renamed = |place: usize, name: &'static str| {
        move |f: &mut Fabric| {
            let device = &mut f.devices[0];
            device.chain[place].rename(name);
            let subject = device.chain[place].subject.clone();
            if place > 0 {
                device.chain[place - 1].issuer = subject;
            }
        }
    };
    let is_invalid: &[Code] = &[Code::DeviceChainInvalid];
    let cases: &[(&str, usize, &'static str)] = &[
        ("another signing key", 0, "GH100 A01 GSP FMC"),
        ("a signing key of another chip", 0, "GH200 A01 GSP FMC LF"),
        ("a signing key of an unknown engine", 0, "GH100 A01 PMU FMC LF"),
        ("a chip of another stepping", 1, "GH100 A02 GSP BROM"),
        ("a chip without its role", 1, "GH100 A01 GSP"),
        ("a provisioner of another chip", 2, "NVIDIA GB100 Provisioner ICA 1"),
        ("a provisioner without a number", 2, "NVIDIA GH100 Provisioner ICA "),
        ("a provisioner with another number", 2, "NVIDIA GH100 Provisioner ICA x"),
        ("a provisioner with more than a number", 2, "NVIDIA GH100 Provisioner ICA 1x"),
        ("an identity of another maker", 3, "OTHER GH100 Identity"),
        ("an identity of an unknown chip", 3, "NVIDIA GA100 Identity"),
    ];
    for (name, place, common_name) in cases {
        let rename = renamed(*place, common_name);
        each_is_refused(Fabric::hopper, &[(name, is_invalid, &rename)]);
    }
    each_is_refused(
        Fabric::hopper,
        &[("a device of an unknown engine", is_invalid, &|f| {
            renamed(0, "GH100 A01 PMU FMC LF")(f);
            renamed(1, "GH100 A01 PMU BROM")(f);
        })],
    );
    let unknown = Extension::critical(&[1, 2, 3, 4], vec![5, 0]);
    let profile: &[Code] = &[Code::CertificateProfile];
    each_is_refused(
        Fabric::hopper,
        &[
            ("a signing key that is a CA's", profile, &|f| {
                let ca = f.devices[0].chain[1].extensions[0].clone();
                f.devices[0].chain[0].extensions.push(ca);
            }),
            ("a signing key for nothing", profile, &|f| {
                drop(f.devices[0].chain[0].extensions.remove(0));
            }),
            ("a chip that is no CA", profile, &|f| {
                drop(f.devices[0].chain[1].extensions.remove(0));
            }),
            ("an identity that may not sign certificates", profile, &|f| {
                drop(f.devices[0].chain[3].extensions.remove(1));
            }),
            ("an extension that nobody knows", profile, &|f| {
                f.devices[0].chain[2].extensions.push(unknown.clone());
            }),
            ("another issuer", profile, &|f| {
                f.devices[0].chain[0].issuer.0.swap(0, 1);
            }),
            ("another algorithm", &[Code::CertificateAlgorithm], &|f| {
                let sha256 = der::object(&[1, 2, 840, 10_045, 4, 3, 2]);
                f.devices[0].chain[1].algorithm = der::sequence(&[&sha256]);
            }),
            (
                "a chip with a key of another curve",
                &[
                    Code::CertificateProfile,
                    Code::CertificateSignatureInvalid,
                    Code::CertificateExtensionMalformed,
                ],
                &|f| {
                    let (of_keys, curve) =
                        (der::object(&[1, 2, 840, 10_045, 2, 1]), der::object(&P256));
                    let point = [&[4][..], &[7; 64]].concat();
                    f.devices[0].chain[1].spki = der::sequence(&[
                        &der::sequence(&[&of_keys, &curve]),
                        &der::bit_string(&point),
                    ]);
                },
            ),
            ("an expired signing key", &[Code::CertificateExpired], &|f| {
                f.devices[0].chain[0].not_after = NOW.saturating_sub(HOUR);
            }),
            ("a chip of tomorrow", &[Code::CertificateNotYetValid], &|f| {
                f.devices[0].chain[1].not_before = NOW.saturating_add(HOUR);
            }),
            ("before all of it", &[Code::CertificateNotYetValid], &|f| {
                f.now = UnixTime::from_secs(1_500_000_000);
            }),
        ],
    );
}

#[test]
fn check_4_the_signing_key_is_of_the_firmware_that_reports() {
    let extension_missing: &[Code] = &[Code::CertificateExtensionMissing];
    let malformed: &[Code] = &[Code::CertificateExtensionMalformed];
    each_is_refused(
        Fabric::hopper,
        &[
            ("other firmware", &[Code::DeviceFwidMismatch], &|f| {
                f.devices[0].report.set(field::FWID, &[1; 48]);
            }),
            ("no firmware", &[Code::DeviceFwidMissing], &|f| {
                f.devices[0].report.unset(field::FWID);
            }),
            ("no firmware, of the first driver that says it", &[Code::DeviceFwidMissing], &|f| {
                f.devices[0].report.unset(field::FWID);
                f.devices[0].report.set(field::DRIVER, b"550.54.15\0");
                f.reference[0].version = "550.54.15".to_owned();
            }),
            ("no extension", extension_missing, &|f| {
                drop(f.devices[0].chain[0].extensions.pop());
            }),
            ("both extensions", extension_missing, &|f| {
                let extension = Extension::plain(TCB_INFO, tcb_info(&[0x40; 48], 0));
                f.devices[0].chain[0].extensions.push(extension);
            }),
            ("the chip of another device", malformed, &|f| {
                let other = f.devices[0].key.spki();
                let value = composite(&other, &[0x40; 48]);
                let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
                *last = Extension::plain(COMPOSITE, value);
            }),
            ("bytes after the extension", malformed, &|f| {
                f.devices[0].chain[0].extensions.last_mut().unwrap().value.push(0);
            }),
        ],
    );
    let flags = |flags: u8| {
        move |f: &mut Fabric| {
            let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
            last.value = tcb_info(&[0x40; 48], flags);
        }
    };
    each_is_refused(
        Fabric::blackwell,
        &[
            ("other firmware on Blackwell", &[Code::DeviceFwidMismatch], &|f| {
                f.devices[0].report.set(field::FWID, &[1; 48]);
            }),
            ("firmware that can be debugged", &[Code::DeviceDebug], &flags(0x10)),
            ("firmware in recovery", &[Code::DeviceDebug], &flags(0x20)),
            ("firmware that is not secure", &[Code::DeviceDebug], &flags(0x40)),
            ("a field twice", malformed, &|f| {
                let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
                let at = last.value.windows(3).position(|w| w == [0x83, 1, 1]).unwrap();
                last.value.splice(at..at, [0x83, 1, 1]);
                last.value[LEN_OF_TCB_INFO] = last.value[LEN_OF_TCB_INFO].wrapping_add(3);
            }),
            ("a field that is not of the sequence's own", malformed, &|f| {
                let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
                let at = last.value.windows(3).position(|w| w == [0x83, 1, 1]).unwrap();
                last.value[at] = 0x03;
            }),
            ("fields in another order", malformed, &|f| {
                let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
                let at = last.value.windows(3).position(|w| w == [0x83, 1, 1]).unwrap();
                last.value[at] = 0x85;
            }),
        ],
    );
    each_is_accepted(
        Fabric::blackwell,
        &[
            ("firmware that is not configured", &[], &flags(0x80)),
            ("firmware of which no flags are said", &[], &|f| {
                let last = f.devices[0].chain[0].extensions.last_mut().unwrap();
                let at = last.value.windows(2).rposition(|w| w == [0x87, 5]).unwrap();
                last.value.splice(at..at.saturating_add(7), []);
                last.value[LEN_OF_TCB_INFO] = last.value[LEN_OF_TCB_INFO].wrapping_sub(7);
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[("a driver that does not say", &[Code::DeviceFwidMissing], &|f| {
            f.devices[0].report.unset(field::FWID);
            f.devices[0].report.set(field::DRIVER, b"535.86.09\0");
            f.reference[0].version = "535.86.09".to_owned();
        })],
    );
}

#[test]
fn a_switch_is_who_its_certificate_says() {
    let hgx = || Fabric::hgx(1, 1);
    each_is_refused(
        hgx,
        &[
            ("another name", &[Code::DeviceIdentityMismatch], &|f| {
                f.devices[1].report.set(field::PDI, &[1; 8]);
            }),
            (
                "no name, and a certificate that gives it none",
                &[Code::DeviceIdentityMismatch],
                &|f| {
                    f.devices[1].report.unset(field::PDI);
                    f.devices[1].chain[1].serial = vec![0x53; 10];
                },
            ),
            ("no name", &[Code::DeviceIdentityMismatch], &|f| {
                f.devices[1].report.unset(field::PDI);
            }),
        ],
    );
}

fn patch(fabric: &mut Fabric, at: usize, bytes: &[u8]) {
    fabric.devices[0].report.patches.push((at, bytes.to_vec()));
}

fn forge(fabric: &mut Fabric, place: usize) {
    fabric.devices[0].chain[place].is_forged = true;
}
