//! NVIDIA's devices whose certificates are given beside their reports, several roots, what is kept and what ends.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod fabric;
mod outcome;

use attestation::{Endorsements, Evidence, Unverified};
use serde_json::json;
use sim::nvidia::NvidiaPki;
use verifier::{AttestationResult, ChainCache, Code, Policy, Refused, Severity, appraise};

use crate::fabric::{Fabric, NONCE, NOW, codes, report};

/// Judges `fabric` with `certificates` beside what its OCSP service says.
fn judge(fabric: &Fabric, certificates: &[&[u8]]) -> Result<AttestationResult, Refused> {
    let mut given: Endorsements = fabric.endorsements();
    for der in certificates {
        given.add_certificate(der).unwrap();
    }
    appraise(
        &fabric.parsed_policy(),
        &Unverified::new(Evidence::from_wire(fabric.json(&NONCE))),
        &Unverified::new(given),
        &fabric.expectation,
        fabric.now,
    )
}

/// Two GPUs and their chains. The evidence has the chains of those alone that `carries` says.
fn two(carries: [bool; 2]) -> (Fabric, [Vec<Vec<u8>>; 2]) {
    let mut fabric = Fabric::hgx(2, 1);
    for (device, carries) in carries.into_iter().enumerate() {
        if !carries {
            fabric.edits.push((device, "certificate", Some(json!(""))));
        }
    }
    let chains = [0, 1].map(|device| fabric.devices[device].sign_chain().unwrap());
    (fabric, chains)
}

fn all(chains: &[Vec<Vec<u8>>]) -> Vec<&[u8]> {
    chains.iter().flatten().map(Vec::as_slice).collect()
}

#[test]
fn each_report_finds_its_own_chain_among_those_given() {
    for carries in [[false, false], [true, false], [false, true]] {
        let (fabric, chains) = two(carries);
        let given = all(&chains);
        let reversed: Vec<_> = given.iter().rev().copied().collect();
        for given in [given, reversed] {
            let outcome = judge(&fabric, &given);
            assert!(outcome.is_ok(), "{carries:?}: {:#?}", report(&outcome).findings);
        }
    }
}

#[test]
fn of_issuers_with_one_name_the_one_that_signed_counts() {
    let (mut fabric, [chain, _]) = two([false, true]);
    // Another's certificate under the provisioner's name, before it and after it.
    let mut impostor = fabric.devices[0].chain[2].clone();
    impostor.spki = fabric.devices[0].key.spki();
    let impostor = impostor.sign(&fabric.pki.identity).unwrap();
    let mut given: Vec<_> = chain.iter().map(Vec::as_slice).collect();
    given.insert(0, &impostor);
    let outcome = judge(&fabric, &given);
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    given.rotate_left(1);
    let outcome = judge(&fabric, &given);
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    // With the impostor alone, nobody signed the chip's.
    given.remove(2);
    let outcome = judge(&fabric, &given);
    assert!(
        codes(report(&outcome), Severity::Reject).contains(&Code::CertificateSignatureInvalid),
        "{:#?}",
        report(&outcome).findings
    );
    // Without a chain and without certificates there is nothing to follow.
    fabric.edits.truncate(1);
    let outcome = judge(&fabric, &[]);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::DeviceCertificateMissing]);
}

#[test]
fn what_no_device_needs_is_not_read() {
    let junk: &[&[u8]] = &[&[0x30, 0]];
    assert!(judge(&Fabric::hopper(), junk).is_ok());
    // Whoever needs what is given reads all of it.
    let (fabric, chains) = two([false, true]);
    let outcome = judge(&fabric, &[all(&chains), junk.to_vec()].concat());
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::EndorsementsMalformed]);
}

#[test]
fn one_of_several_roots_suffices() {
    let fabric = Fabric::hopper();
    let other = NvidiaPki::generate(fabric.pki.validity).unwrap();
    let roots = [fabric.pki.root().to_vec(), other.root().to_vec()];
    for order in [["0", "1"], ["1", "0"]] {
        let mut table = fabric.policy.clone();
        table["anchors"]["nvidia-gpu"] = toml::Value::try_from(order).unwrap();
        let own: Vec<_> =
            fabric.reference.iter().map(|it| toml::Value::try_from(it).unwrap()).collect();
        table["nvidia-gpu"]
            .as_table_mut()
            .unwrap()
            .insert("reference_values".to_owned(), toml::Value::Array(own));
        let policy = Policy::parse(&toml::to_string(&table).unwrap(), &|name| {
            Ok(roots[usize::from(name == "1")].clone())
        })
        .unwrap();
        let outcome = appraise(
            &policy,
            &Unverified::new(Evidence::from_wire(fabric.json(&NONCE))),
            &Unverified::new(fabric.endorsements()),
            &fabric.expectation,
            fabric.now,
        );
        assert!(outcome.is_ok(), "{order:?}: {:#?}", report(&outcome).findings);
    }
}

#[test]
fn signatures_are_kept_of_what_hangs_from_an_anchor_alone() {
    let fabric = Fabric::hopper();
    let warm = |fabric: &Fabric, chains: &ChainCache| {
        verifier::appraise_with(
            chains,
            &fabric.parsed_policy(),
            &Unverified::new(Evidence::from_wire(fabric.json(&NONCE))),
            &Unverified::new(fabric.endorsements()),
            &fabric.expectation,
            fabric.now,
        )
    };
    let chains = ChainCache::default();
    let mut foreign = Fabric::hopper();
    foreign.root = Some(NvidiaPki::generate(fabric.pki.validity).unwrap().root().to_vec());
    assert_eq!(codes(report(&warm(&foreign, &chains)), Severity::Reject), [Code::RootNotTrusted]);
    assert_eq!((chains.len(), chains.is_empty()), (0, true));
    assert!(warm(&fabric, &chains).is_ok());
    // Five certificates; three responders and what they said.
    assert_eq!((chains.len(), chains.is_empty()), (11, false));
}

#[test]
fn the_horizon_names_all_that_ends() {
    let mut fabric = Fabric::hopper();
    let hours = |count: u64| NOW.saturating_add(core::time::Duration::from_hours(count));
    // Each ends at a moment of its own.
    for (end, certificate) in [48, 72, 96, 120].into_iter().zip(&mut fabric.devices[0].chain[..4]) {
        certificate.not_after = hours(end);
    }
    fabric.ocsp = Box::new(move |_, place, mut recipe| {
        recipe.answers[0].next_update = Some(hours(place.try_into().unwrap()));
        vec![recipe]
    });
    let outcome = judge(&fabric, &[]).unwrap();
    let deadlines = outcome.report().horizon.deadlines();
    let mut found: Vec<_> =
        deadlines.iter().map(|deadline| (deadline.what.as_ref(), deadline.ends)).collect();
    found.sort_unstable_by_key(|(_, at)| *at);
    let expected = [
        ("OCSP response about the chip", hours(1)),
        ("OCSP response about the provisioner", hours(2)),
        ("OCSP response about the identity", hours(3)),
        ("signing key certificate", hours(48)),
        ("chip certificate", hours(72)),
        ("provisioner certificate", hours(96)),
        ("identity certificate", hours(120)),
    ];
    assert_eq!(found[..7], expected);
    assert!(found[7..].iter().any(|(what, _)| *what == "root certificate"), "{found:?}");
}
