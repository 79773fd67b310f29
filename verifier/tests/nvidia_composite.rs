//! A CPU and its accelerators under one verdict, bound both ways (`docs/protocol.md` §5.2).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

use attestation::snp::Product;
use attestation::{Endorsements, Sha256, Unverified};
use verifier::ear::{self, VerifierId};
use verifier::{Code, Policy, Severity, Verdict, appraise};

use crate::fabric::{Fabric, codes, report};
use crate::world::World;

mod fabric;
mod outcome;
mod world;

/// What differs from a genuine composite.
#[derive(Default)]
#[expect(clippy::option_option, reason = "named as carried, as something else, or not at all")]
struct Change {
    /// The evidence that the bundle carries.
    carried: Option<Vec<u8>>,
    /// The evidence that the statement names.
    named: Option<Option<Vec<u8>>>,
    /// Whether the bundle carries what its vendors say, and nothing is given.
    endorsed: bool,
}

/// An enclave on SEV-SNP with the devices of a fabric; yields what refuses it.
fn judge(fabric: &Fabric, change: impl Fn(&Fabric, [u8; 32]) -> Change) -> Vec<Code> {
    let mut world = World::new(Product::Genoa);
    let nonce = world.statement.accelerator_nonce().0;
    let json = fabric.json(&nonce);
    let Change { carried, named, endorsed } = change(fabric, nonce);
    let carried = carried.unwrap_or_else(|| json.clone());
    world.accel = (!carried.is_empty()).then_some(carried);
    let named = named.unwrap_or(Some(json));
    world.statement.accelerators = named.as_deref().map(Sha256::of);
    // The policy of both: the fabric's sections, and its root beside the CPU's.
    let mut table = fabric.policy.clone();
    for section in ["nvidia-gpu", "nvidia-switch"] {
        let mut keys = table.remove(section).unwrap().as_table().unwrap().clone();
        let own: Vec<_> = fabric
            .reference
            .iter()
            .filter(|values| (values.chip == "LS10") == (section == "nvidia-switch"))
            .map(|values| toml::Value::try_from(values).unwrap())
            .collect();
        keys.insert("reference_values".to_owned(), toml::Value::Array(own));
        world.policy.insert(section.to_owned(), toml::Value::Table(keys));
    }
    world.set("anchors", "nvidia-gpu", toml::Value::Array(vec!["root.pem".into()]));
    let roots = (world.pki.sign_as_ark(&world.ark).unwrap(), fabric.pki.root().to_vec());
    let policy = Policy::parse(&toml::to_string(&world.policy).unwrap(), &|name| {
        Ok(if name == "root.pem" { roots.1.clone() } else { roots.0.clone() })
    })
    .unwrap();
    let mut endorsements: Endorsements = world.endorsements().inspect_untrusted().clone();
    endorsements.extend(&fabric.endorsements()).unwrap();
    if endorsed {
        world.carried = core::mem::take(&mut endorsements);
    }
    let outcome = appraise(
        &policy,
        &world.evidence(),
        &Unverified::new(endorsements),
        &world.expectation,
        world.now,
    );
    let report = report(&outcome);
    let rejects = codes(report, Severity::Reject);
    assert_eq!(rejects.is_empty(), report.verdict == Verdict::Accepted, "{:#?}", report.findings);
    // Each says what is its own, and what is not authentic says nothing.
    let ear = ear::claims(&outcome, &world.expectation, WHO);
    for (name, submod) in ear["submods"].as_object().unwrap() {
        let said = submod.get("ear_attester_claims");
        if name == "cpu0" {
            assert!(said.is_some_and(|said| said.get("gpu0").is_none() && said["vmpl"] == 0));
        } else if name != "workload" {
            assert_eq!(said, report.claims.get(name), "{name}");
        }
    }
    if let Ok(result) = &outcome {
        assert!(result.keys().is_some());
        assert!(result.report().claims.contains_key("gpu0"));
        assert!(result.report().claims.contains_key("measurement"), "the CPU's claims");
        let ear = ear::claims(&outcome, &world.expectation, WHO);
        let answers = |name: &str| ear.get("submods").unwrap()[name].get("eat_nonce").is_some();
        assert!(answers("cpu0") && !answers("gpu0"), "a device signs the statement's nonce");
    }
    rejects
}

/// Whoever judges, in tokens.
const WHO: VerifierId<'_> = VerifierId { developer: "tests", build: "1" };

#[test]
fn devices_alone_answer_the_challenge_themselves() {
    let fabric = Fabric::hopper();
    let outcome = fabric.judge();
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    let ear = ear::claims(&outcome, &fabric.expectation, WHO);
    assert_eq!(ear.get("submods").unwrap()["gpu0"].get("eat_nonce"), ear.get("eat_nonce"));
    assert!(ear.contains_key("eat_nonce"));
}

#[test]
fn a_cpu_and_its_devices_are_accepted_together() {
    assert_eq!(judge(&Fabric::hopper(), |_, _| Change::default()), []);
    assert_eq!(judge(&Fabric::hgx(2, 1), |_, _| Change::default()), []);
}

#[test]
fn what_vendors_say_may_be_carried() {
    let carried = |_: &Fabric, _| Change { endorsed: true, ..Change::default() };
    assert_eq!(judge(&Fabric::hopper(), carried), []);
}

#[test]
fn what_is_missing_is_refused() {
    let fabric = Fabric::hopper();
    let none = || Change { carried: Some(Vec::new()), named: Some(None), endorsed: false };
    assert_eq!(judge(&fabric, |_, _| none()), [Code::AcceleratorsMissing]);
    let left_out = || Change { carried: Some(Vec::new()), named: None, endorsed: false };
    let expected = [Code::AcceleratorsMissing, Code::MemberMismatch];
    assert_eq!(sorted(judge(&fabric, |_, _| left_out())), sorted(expected.to_vec()));
    // Switches alone compute nothing, whatever the policy says of the fabric.
    let mut fabric = Fabric::hgx(1, 1);
    fabric.devices.remove(0);
    fabric.set("nvidia-gpu", "topology", "if-present");
    assert_eq!(judge(&fabric, |_, _| Change::default()), [Code::AcceleratorsMissing]);
}

#[test]
fn what_is_foreign_is_refused() {
    let fabric = Fabric::hopper();
    // Another machine's devices, over this one's nonce, which the CPU did not vouch for.
    let foreign = |_: &Fabric, nonce| Change {
        carried: Some(Fabric::hopper().json(&nonce)),
        named: None,
        endorsed: false,
    };
    assert_eq!(judge(&fabric, foreign), [Code::MemberMismatch]);
    let unnamed = |_: &Fabric, _| Change { carried: None, named: Some(None), endorsed: false };
    assert_eq!(judge(&fabric, unnamed), [Code::MemberMismatch]);
    let with_a_space = |fabric: &Fabric, nonce: [u8; 32]| Change {
        carried: Some([fabric.json(&nonce).as_slice(), b" "].concat()),
        named: None,
        endorsed: false,
    };
    assert_eq!(judge(&fabric, with_a_space), [Code::MemberMismatch], "exact bytes");
}

#[test]
fn what_is_replayed_is_refused() {
    // Vouched for by the CPU, and yet of another epoch: the nonce is another.
    let replayed = |fabric: &Fabric, _| {
        let old = fabric.json(&[1; 32]);
        Change { carried: Some(old.clone()), named: Some(Some(old)), endorsed: false }
    };
    assert_eq!(judge(&Fabric::hopper(), replayed), [Code::DeviceNonceMismatch]);
}

#[test]
fn what_is_too_many_or_too_few_is_refused() {
    for (count, expected) in [(1, &[Code::DeviceCount][..]), (2, &[]), (3, &[Code::DeviceCount])] {
        let mut fabric = Fabric::hgx(2, 1);
        fabric.set("nvidia-gpu", "count", count);
        assert_eq!(judge(&fabric, |_, _| Change::default()), expected, "{count}");
    }
}

#[test]
fn a_device_that_is_not_authentic_refuses_the_enclave() {
    let mut fabric = Fabric::hgx(2, 1);
    fabric.devices.first_mut().unwrap().report.is_forged = true;
    assert_eq!(judge(&fabric, |_, _| Change::default()), [Code::SignatureInvalid]);
}

fn sorted(mut codes: Vec<Code>) -> Vec<Code> {
    codes.sort_unstable();
    codes
}
