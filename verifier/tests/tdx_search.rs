//! TDX: of several signers, documents and platforms, which one counts.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod tdx_world;

use attestation::endorsements::Kind;
use attestation::tdx::Form;
use attestation::{Endorsements, UnixTime};
use serde_json::json;
use tdx_world::pki::{Certificate, PckExtension};
use tdx_world::platform::{EVALUATION, Party, qe_identity, tcb_info};
use tdx_world::{NOW, SECOND, World, codes, report};
use verifier::{ChainCache, Code, Severity};

/// The certificate of another signer of documents, with the stranger's key, that ends at a moment.
fn other_signer(world: &World, not_after: UnixTime) -> Vec<u8> {
    let key = &world.tdx.keys.stranger;
    let other = Certificate::leaf("Intel SGX TCB Signing", "Intel SGX Root CA", key, NOW, 5);
    Certificate { not_after, ..other }.sign(&world.tdx.keys.root).unwrap()
}

#[test]
fn a_signer_is_good_for_what_its_own_key_signed() {
    let mut world = World::new(Form::Td15);
    let other = other_signer(&world, NOW.saturating_add(SECOND));
    let judge = |world: &mut World| {
        let own = world.tdx.endorsements().unwrap();
        let mut before = Endorsements::new();
        before.add_certificate(&other).unwrap();
        let mut after = own.clone();
        after.extend(&before).unwrap();
        before.extend(&own).unwrap();
        [before, after].map(|given| {
            world.given = Some(given);
            world.refusals()
        })
    };
    assert_eq!(judge(&mut world), [[], []]);
    world.tdx.tcb_signer.as_mut().unwrap().not_after = NOW.saturating_sub(SECOND);
    assert_eq!(judge(&mut world), [[Code::CertificateExpired], [Code::CertificateExpired]]);
}

#[test]
fn the_signer_that_ends_first_ends_the_acceptance() {
    for (first, second) in
        [(Party::TcbSigner, Party::Stranger), (Party::Stranger, Party::TcbSigner)]
    {
        let mut world = World::new(Form::Td15);
        let end = NOW.saturating_add(SECOND * 5);
        let other = other_signer(&world, end);
        (world.tdx.signers.tcb_info, world.tdx.signers.qe_identity) = (first, second);
        let mut given = world.tdx.endorsements().unwrap();
        given.add_certificate(&other).unwrap();
        world.given = Some(given);
        assert_eq!(world.judge().unwrap().not_after(), end);
    }
}

#[test]
fn of_several_identities_the_latest_that_is_good_counts() {
    let mut world = World::new(Form::Td15);
    let of = |world: &World, number: u32, signer: Party| {
        let mut identity = qe_identity(NOW);
        identity["tcbEvaluationDataNumber"] = json!(number);
        world.tdx.document("enclaveIdentity", &identity, signer).unwrap()
    };
    let own = of(&world, EVALUATION, Party::TcbSigner);
    let old = of(&world, EVALUATION - 1, Party::TcbSigner);
    let forged = of(&world, EVALUATION + 1, Party::Stranger);
    world.tdx.qe_identity = None;
    let without = world.tdx.endorsements().unwrap();
    for identities in [[&old, &own, &forged], [&forged, &own, &old], [&own, &old, &own]] {
        let mut given = without.clone();
        for identity in identities {
            given.add_item(Kind::QeIdentity, identity).unwrap();
        }
        world.given = Some(given);
        let outcome = world.judge().unwrap();
        assert_eq!(outcome.report().claims["qe_identity_evaluation"], json!(EVALUATION));
    }
}

/// Documents and signers are tried in all pairs, and whoever sends evidence may send many of both.
#[test]
fn after_too_many_signatures_that_do_not_hold_no_other_is_tried() {
    let mut world = World::new(Form::Td15);
    let own = world.tdx.endorsements().unwrap();
    for (forged, expected) in [(2, vec![]), (5, vec![Code::TcbInfoSignatureInvalid])] {
        let mut given = Endorsements::new();
        for number in 1..8 {
            let signer = other_signer(&world, NOW.saturating_add(SECOND * number));
            given.add_certificate(&signer).unwrap();
        }
        for number in 1..=forged {
            let mut newer = tcb_info(NOW);
            newer["tcbEvaluationDataNumber"] = json!(EVALUATION + number);
            let newer = world.tdx.document("tcbInfo", &newer, Party::Pck).unwrap();
            given.add_item(Kind::TcbInfo, &newer).unwrap();
        }
        given.extend(&own).unwrap();
        world.given = Some(given);
        let found = world.refusals();
        assert!(expected.iter().all(|code| found.contains(code)), "{forged}: {found:?}");
        assert_eq!(found.is_empty(), expected.is_empty(), "{forged}: {found:?}");
    }
}

#[test]
fn what_is_wrong_with_each_document_is_told() {
    let mut world = World::new(Form::Td15);
    let mut given = world.tdx.endorsements().unwrap();
    // One of SGX beside a good one is for the record.
    let mut of_sgx = tcb_info(NOW);
    of_sgx["id"] = json!("SGX");
    let of_sgx = world.tdx.document("tcbInfo", &of_sgx, Party::TcbSigner).unwrap();
    given.add_item(Kind::TcbInfo, &of_sgx).unwrap();
    world.given = Some(given);
    let outcome = world.judge();
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    assert!(codes(report(&outcome), Severity::Info).contains(&Code::EndorsementsMalformed));
    // Of two that are wrong, the later refuses, and the other is for the record.
    world.tdx.signers.tcb_info = Party::Stranger;
    let mut given = world.tdx.endorsements().unwrap();
    let mut old = tcb_info(NOW);
    old["tcbEvaluationDataNumber"] = json!(EVALUATION - 1);
    old["nextUpdate"] = json!(NOW.saturating_sub(SECOND));
    let old = world.tdx.document("tcbInfo", &old, Party::TcbSigner).unwrap();
    given.add_item(Kind::TcbInfo, &old).unwrap();
    world.given = Some(given);
    let outcome = world.judge();
    let report = report(&outcome);
    assert_eq!(codes(report, Severity::Reject), [Code::TcbInfoSignatureInvalid]);
    assert!(codes(report, Severity::Info).contains(&Code::TcbInfoExpired));
}

#[test]
fn what_was_not_checked_without_tcb_info_is_named() {
    let mut world = World::new(Form::Td15);
    world.tdx.tcb_info = None;
    let outcome = world.judge();
    let found = report(&outcome).findings.iter().filter(|it| it.code == Code::NotEvaluated);
    let names: Vec<_> = found.filter_map(|it| it.message.split(':').next()).collect();
    assert_eq!(names[2..], ["TDX module", "TCB level", "advisories"]);
}

#[test]
fn a_signer_of_both_documents_is_revoked_once() {
    let mut world = World::new(Form::Td15);
    world.tdx.root_list.as_mut().unwrap().revoked.push(4);
    let outcome = world.judge();
    let found = report(&outcome).findings.iter();
    assert_eq!(found.filter(|it| it.code == Code::TcbSignerRevoked).count(), 1);
}

/// What is kept of one platform says nothing of another, which has the same documents.
#[test]
fn a_platform_is_known_by_its_own_certificate() {
    let mut world = World::new(Form::Td15);
    let chains = ChainCache::default();
    assert!(world.case().warm(&chains).is_ok());
    let other = PckExtension { ppid: Some([0x77; 16]), ..PckExtension::new() };
    world.tdx.pck.set_extension(&other);
    let (warm, cold) = (world.case().warm(&chains), world.case().judge());
    assert_eq!(format!("{warm:?}"), format!("{cold:?}"));
    world.tdx.pck.not_after = NOW.saturating_sub(SECOND);
    let outcome = world.case().warm(&chains);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::CertificateExpired]);
}
