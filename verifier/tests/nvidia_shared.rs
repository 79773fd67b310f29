//! Several NVIDIA devices at once: what they share is looked at once, and what they do not share is looked at of each.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod fabric;
mod outcome;

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sim::nvidia::{Signer, pem};
use verifier::{Code, Severity};

use crate::fabric::{Fabric, NOW, each_is_accepted, each_is_refused, report};

/// Two GPUs and a switch.
fn three() -> Fabric {
    Fabric::hgx(2, 1)
}

/// Writes certificates that say the same with the same signature, octet for octet, as a vendor's are.
fn share(fabric: &mut Fabric) {
    let devices = &fabric.devices;
    let signed: Vec<_> = devices.iter().map(|device| device.sign_chain().unwrap()).collect();
    let shared = |number: usize, place: usize| {
        let is_same = |other: &usize| devices[*other].chain[place] == devices[number].chain[place];
        signed[(0..=number).find(is_same).unwrap()][place].clone()
    };
    let chain = |number| (0..5).map(|place| shared(number, place)).collect::<Vec<_>>();
    let chains: Vec<_> = (0..devices.len()).map(chain).collect();
    assert!(chains[0][2..] == chains[1][2..] && chains[0][3..] == chains[2][3..]);
    for (number, chain) in chains.iter().enumerate() {
        let written = json!(STANDARD.encode(pem(chain)));
        fabric.edits.push((number, "certificate", Some(written)));
    }
}

/// Which devices a code refuses.
fn refused(fabric: &Fabric, code: Code) -> Vec<String> {
    let outcome = fabric.judge();
    let found = report(&outcome).findings.iter();
    let found = found.filter(|it| (it.code, it.severity) == (code, Severity::Reject));
    let mut found: Vec<_> = found.map(|it| it.component.to_string()).collect();
    found.dedup();
    found
}

#[test]
fn what_is_shared_holds_for_all() {
    each_is_accepted(three, &[("nothing is shared", &[], &|_| {}), ("authorities", &[], &share)]);
}

#[test]
fn what_is_not_shared_is_checked_of_each() {
    let invalid: &[Code] = &[Code::CertificateSignatureInvalid];
    for device in 1..3 {
        each_is_refused(
            three,
            &[
                ("a chip's", invalid, &|f| {
                    f.devices[device].chain[1].is_forged = true;
                    share(f);
                }),
                ("a provisioner's", invalid, &|f| {
                    f.devices[device].chain[2].is_forged = true;
                }),
                ("an identity's", invalid, &|f| f.devices[device].chain[3].is_forged = true),
                ("an identity's by another", invalid, &|f| {
                    f.devices[device].signers[3] = Some(Signer::Provisioner);
                }),
                ("a root's", &[Code::RootNotTrusted], &|f| {
                    f.devices[device].chain[4].serial = vec![0x2d, 2];
                }),
            ],
        );
    }
}

#[test]
fn what_is_wrong_with_what_is_shared_is_told_of_each() {
    let mut fabric = three();
    for device in &mut fabric.devices {
        device.chain[3].not_after = NOW.saturating_sub(Duration::from_secs(1));
    }
    share(&mut fabric);
    assert_eq!(refused(&fabric, Code::CertificateExpired), ["gpu0", "gpu1", "switch0"]);
}

#[test]
fn each_section_demands_answers_for_itself() {
    // The identity is the GPUs' and the switch's, and nobody says anything of it.
    let judged = |lenient: &str| {
        let mut fabric = three();
        share(&mut fabric);
        fabric.set(lenient, "revocation", "if-present");
        fabric.ocsp = Box::new(|_, place, recipe| if place == 3 { vec![] } else { vec![recipe] });
        refused(&fabric, Code::OcspMissing)
    };
    assert_eq!(judged("nvidia-gpu"), ["switch0"]);
    assert_eq!(judged("nvidia-switch"), ["gpu0", "gpu1"]);
}
