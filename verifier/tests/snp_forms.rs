//! SEV-SNP: forms that are rare, and what is bounded by them, in certificates of signing keys and above.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod outcome;
mod world;

use attestation::Endorsements;
use attestation::snp::{Product, TcbVersion};
use sim::EcKey;
use sim::certificate::Signing;
use sim::der::{self, oid};
use verifier::Code;

use crate::world::{World, each_is_accepted, each_is_refused};

/// An id of a chip may begin like the header of an octet string.
#[test]
fn a_chip_is_named_by_octets_bare_or_wrapped() {
    for product in [Product::Genoa, Product::Turin] {
        let start = || {
            let mut world = World::new(product);
            let id = &mut world.vek.extension_mut(oid::HWID).unwrap().value;
            let len = u8::try_from(id.len()).unwrap();
            (id[0], id[1]) = (4, len);
            world.report.chip_id[..2].copy_from_slice(&[4, len]);
            world
        };
        each_is_accepted(
            start,
            &[
                ("bare", &[], &|_| {}),
                ("wrapped", &[], &|w| {
                    let bare = w.vek.extension_mut(oid::HWID).unwrap();
                    bare.value = der::octet_string(&bare.value);
                }),
            ],
        );
        each_is_refused(
            start,
            &[("wrapped, and more", &[Code::CertificateExtensionMalformed], &|w| {
                let bare = w.vek.extension_mut(oid::HWID).unwrap();
                bare.value = [der::octet_string(&bare.value), vec![0]].concat();
            })],
        );
    }
}

#[test]
fn what_was_not_checked_is_named() {
    for raw in [false, true] {
        let mut world = World::new(Product::Genoa);
        world.raw = raw;
        world.form = sim::SignatureForm::Flipped;
        let outcome = world.judge();
        let found = world::report(&outcome).findings.iter();
        let found = found.filter(|it| it.code == Code::NotEvaluated);
        let names: Vec<_> = found.filter_map(|it| it.message.split(':').next()).collect();
        let of_bundle = names.iter().filter(|it| ["configuration", "model"].contains(it)).count();
        assert_eq!(of_bundle, if raw { 0 } else { 2 }, "{names:?}");
        assert_eq!(names.len(), of_bundle + 12, "{names:?}");
        assert!(names.contains(&"binding"), "{names:?}");
    }
}

#[test]
fn a_provider_has_a_name() {
    let malformed = &[Code::CertificateExtensionMalformed];
    each_is_refused(
        || World::vlek(Product::Genoa),
        &[
            ("nothing", malformed, &|w| {
                w.vek = w.vek.clone().with_value(oid::CSP_ID, der::tlv(0x16, b""));
            }),
            ("no name", malformed, &|w| {
                w.vek = w.vek.clone().with_value(oid::CSP_ID, der::tlv(0x16, b"CN="));
            }),
        ],
    );
}

#[test]
fn a_list_says_how_it_is_signed() {
    each_is_refused(
        || World::new(Product::Genoa),
        &[("otherwise", &[Code::CrlSignatureInvalid], &|w| {
            w.crl.as_mut().unwrap().signing = Signing::wrong_salt(20);
        })],
    );
}

/// Judges `world` with other certificates before its own.
fn judge_after(world: &World, others: &[Vec<u8>]) -> bool {
    let mut all = Endorsements::new();
    for der in others {
        all.add_certificate(der).unwrap();
    }
    all.extend(world.endorsements().inspect_untrusted()).unwrap();
    let given = attestation::Unverified::new(all);
    let (policy, evidence) = (world.parsed_policy(), world.evidence());
    verifier::appraise(&policy, &evidence, &given, &world.expectation, world.now).is_ok()
}

#[test]
fn a_providers_key_for_this_firmware_is_tried_first() {
    let world = World::vlek(Product::Genoa);
    let tcb = sim::report::healthy_tcb(Product::Genoa);
    let outdated = (1..30).map(|microcode| {
        let tcb = TcbVersion { microcode, ..tcb };
        world.pki.issue_vlek(tcb, "example").unwrap().certificate
    });
    assert!(judge_after(&world, &outdated.collect::<Vec<_>>()));
}

/// Whether a list is there says nothing of a certificate: of two, the one that is good counts.
#[test]
fn without_a_list_a_wrong_certificate_hides_no_right_one() {
    let mut world = World::new(Product::Genoa);
    world.policy.insert("purpose".to_owned(), "evaluation".into());
    world.set("sev-snp", "revocation", "if-present");
    world.crl = None;
    let mut old = world.vek.clone();
    old.not_after = world.now.saturating_sub(core::time::Duration::from_secs(1));
    let old = world.pki.sign_as_ask(&old).unwrap();
    assert!(judge_after(&world, &[]));
    assert!(judge_after(&world, &[old]));
}

/// What is known of a chain ends with its root, though nobody gives that beside the evidence.
#[test]
fn a_chain_that_is_kept_ends_with_its_root() {
    let second = core::time::Duration::from_secs(1);
    let mut world = World::new(Product::Genoa);
    world.ark.not_after = world.now.saturating_add(second);
    world.give.ark = false;
    let chains = verifier::ChainCache::default();
    let (policy, evidence, given) = (world.parsed_policy(), world.evidence(), world.endorsements());
    let judge =
        |now| verifier::appraise_with(&chains, &policy, &evidence, &given, &world.expectation, now);
    assert!(judge(world.now).is_ok());
    assert_eq!(chains.len(), 1);
    let outcome = judge(world.now.saturating_add(second * 2));
    let found = world::codes(world::report(&outcome), verifier::Severity::Reject);
    assert_eq!(found, [Code::CertificateExpired]);
}

/// An intermediate that AMD signed, with a key of another kind, which signs what says that AMD signed it.
#[test]
fn an_intermediate_has_a_key_as_amds_have() {
    let world = World::new(Product::Genoa);
    let key = EcKey::generate().unwrap();
    let mut issuer = world.issuer.clone();
    issuer.spki = key.spki();
    let mut vek = world.vek.clone();
    vek.signing = Signing::amd();
    let mut all = Endorsements::new();
    let crl = world.crl.as_ref().unwrap();
    for der in [vek.sign(&key).unwrap(), world.pki.sign_as_ark(&issuer).unwrap()] {
        all.add_certificate(&der).unwrap();
    }
    all.add_crl(&world.pki.sign_crl(crl).unwrap()).unwrap();
    let outcome = verifier::appraise(
        &world.parsed_policy(),
        &world.evidence(),
        &attestation::Unverified::new(all),
        &world.expectation,
        world.now,
    );
    let found = world::codes(world::report(&outcome), verifier::Severity::Reject);
    assert_eq!(found, [Code::CertificateProfile]);
}
