//! The search for a chain and for a list among many: a wrong one hides no right one.
mod outcome;
mod world;

use attestation::UnixTime;
use attestation::snp::Product;
use sim::Revoked;
use sim::der;
use verifier::{Code, Severity};
use world::{World, report};

const DAY: u64 = 86_400;

fn genoa() -> World {
    World::new(Product::Genoa)
}

fn before(secs: u64) -> UnixTime {
    UnixTime::from_secs(world::NOW.as_secs().saturating_sub(secs))
}

#[test]
fn of_several_certificates_the_one_that_signed_is_found() {
    let world = genoa();
    let mut all = attestation::Endorsements::new();
    // Certificates of the same chip's other TCBs come first.
    for microcode in 1..4 {
        let tcb =
            attestation::snp::TcbVersion { microcode, ..sim::report::healthy_tcb(Product::Genoa) };
        let other = world.pki.issue_vcek(tcb, &sim::ChipId::of(Product::Genoa, 1)).unwrap();
        all.add_certificate(&other.certificate).unwrap();
    }
    all.extend(world.endorsements().inspect_untrusted()).unwrap();
    let outcome = verifier::appraise(
        &world.parsed_policy(),
        &world.evidence(),
        &attestation::Unverified::new(all),
        &world.expectation,
        world.now,
    );
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
}

/// Judges `world` with these certificates and lists instead of its own.
fn judge_with(
    world: &World,
    certificates: &[Vec<u8>],
    crls: &[Vec<u8>],
) -> Result<verifier::AttestationResult, verifier::Refused> {
    let mut all = attestation::Endorsements::new();
    let certificates = certificates.iter().try_for_each(|der| all.add_certificate(der));
    let crls = crls.iter().try_for_each(|der| all.add_crl(der));
    assert_eq!((certificates, crls), (Ok(()), Ok(())));
    verifier::appraise(
        &world.parsed_policy(),
        &world.evidence(),
        &attestation::Unverified::new(all),
        &world.expectation,
        world.now,
    )
}

/// The certificate of the world's own key, with one thing changed.
#[expect(clippy::unwrap_used, reason = "a test may fail anywhere")]
fn other_vek(world: &World, change: impl Fn(&mut sim::CertificateRecipe)) -> Vec<u8> {
    let mut recipe = world.vek.clone();
    change(&mut recipe);
    world.pki.sign_as_ask(&recipe).unwrap()
}

#[test]
fn a_wrong_certificate_hides_no_right_one() {
    let world = genoa();
    let given = world.endorsements();
    let [vek, issuer, ark] = given.inspect_untrusted().certificates() else { panic!("three") };
    let crls = given.inspect_untrusted().crls();
    let old = other_vek(&world, |recipe| recipe.not_after = before(1));
    let forged = other_vek(&world, |recipe| recipe.signing.flips.push((9, 1)));
    let forged_and_revoked = other_vek(&world, |recipe| {
        recipe.serial = der::integer(77);
        recipe.signing.flips.push((9, 1));
    });
    let other_issuer = |change: &dyn Fn(&mut sim::CertificateRecipe)| {
        let mut recipe = world.issuer.clone();
        change(&mut recipe);
        world.pki.sign_as_ark(&recipe).unwrap()
    };
    let old_issuer = other_issuer(&|recipe| recipe.not_after = before(1));
    let forged_issuer = other_issuer(&|recipe| recipe.signing.flips.push((9, 1)));
    let mut revoking = world.crl.clone().unwrap();
    revoking.revoked.push(Revoked { serial: der::integer(77), at: before(DAY), reason: None });
    let revoking = [world.pki.sign_crl(&revoking).unwrap()];
    for (what, first, crls) in [
        ("an old certificate of the key", &old, crls),
        ("a forged certificate of the key", &forged, crls),
        ("a forged one with a revoked number", &forged_and_revoked, &revoking[..]),
        ("an old certificate of the issuer", &old_issuer, crls),
        ("a forged certificate of the issuer", &forged_issuer, crls),
    ] {
        let all = [first.clone(), vek.clone(), issuer.clone(), ark.clone()];
        let outcome = judge_with(&world, &all, crls);
        assert!(outcome.is_ok(), "{what}: {:#?}", report(&outcome).findings);
        // Alone it is refused, and says why.
        let alone = if what.ends_with("issuer") {
            [vek.clone(), first.clone(), ark.clone()]
        } else {
            [first.clone(), issuer.clone(), ark.clone()]
        };
        assert!(judge_with(&world, &alone, crls).is_err(), "{what}, alone");
    }
}

#[test]
fn a_key_that_was_disowned_under_one_certificate_is_not_good_under_another() {
    let mut world = genoa();
    let serial = world.vek.serial.clone();
    world.crl.as_mut().unwrap().revoked.push(Revoked { serial, at: before(DAY), reason: None });
    let given = world.endorsements();
    let [vek, issuer, ark] = given.inspect_untrusted().certificates() else { panic!("three") };
    let again = other_vek(&world, |recipe| recipe.serial = der::integer(78));
    let crls = given.inspect_untrusted().crls();
    let all = [again.clone(), vek.clone(), issuer.clone(), ark.clone()];
    let outcome = judge_with(&world, &all, crls);
    assert_eq!(world::codes(report(&outcome), Severity::Reject), [Code::VekRevoked]);
    assert!(judge_with(&world, &[again, issuer.clone(), ark.clone()], crls).is_ok());
}

/// Each key that is tried costs a verification, and anybody can write certificates of keys.
#[test]
fn the_key_whose_certificate_names_chip_and_tcb_is_tried_first_and_few_others() {
    let world = genoa();
    let given = world.endorsements();
    let [vek, issuer, ark] = given.inspect_untrusted().certificates() else { panic!("three") };
    let crls = given.inspect_untrusted().crls();
    let tcb = sim::report::healthy_tcb(Product::Genoa);
    let other = |chip: u8, microcode: u8| {
        let tcb = attestation::snp::TcbVersion { microcode, ..tcb };
        let chip = sim::ChipId::of(Product::Genoa, chip);
        world.pki.issue_vcek(tcb, &chip).unwrap().certificate
    };
    let judge = |others: Vec<Vec<u8>>| {
        let own = [vek.clone(), issuer.clone(), ark.clone()];
        judge_with(&world, &[others, own.to_vec()].concat(), crls)
    };
    // Of other chips, and of this one's other firmware, there may be as many as there are.
    let strangers = (100..130).map(|chip| other(chip, tcb.microcode));
    let outdated = (1..30).map(|microcode| other(1, microcode));
    let outcome = judge(strangers.chain(outdated).collect());
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    let twins = |count: usize| (0..count).map(|_| other(1, tcb.microcode)).collect::<Vec<_>>();
    assert!(judge(twins(15)).is_ok());
    let outcome = judge(twins(16));
    assert!(world::codes(report(&outcome), Severity::Reject).contains(&Code::SignatureInvalid));
}

/// Each certificate that is looked at costs signatures to verify.
#[test]
fn the_search_for_a_chain_is_bounded() {
    let world = genoa();
    let given = world.endorsements();
    let [vek, issuer, ark] = given.inspect_untrusted().certificates() else { panic!("three") };
    let crls = given.inspect_untrusted().crls();
    let forged = |at: usize| other_vek(&world, |recipe| recipe.signing.flips.push((at, 1)));
    let forged_issuer = |at: usize| {
        let mut recipe = world.issuer.clone();
        recipe.signing.flips.push((at, 1));
        world.pki.sign_as_ark(&recipe).unwrap()
    };
    for (wrong, accepted) in [(3, true), (4, false)] {
        let mut all: Vec<_> = (0..wrong).map(forged).collect();
        all.extend([vek.clone(), issuer.clone(), ark.clone()]);
        assert_eq!(judge_with(&world, &all, crls).is_ok(), accepted, "{wrong} of the key");
        let mut all: Vec<_> = (0..wrong).map(forged_issuer).collect();
        all.extend([vek.clone(), issuer.clone(), ark.clone()]);
        assert_eq!(judge_with(&world, &all, crls).is_ok(), accepted, "{wrong} of the issuer");
    }
}

#[test]
fn check_5_one_good_list_is_enough_and_what_any_revoked_stays_revoked() {
    let world = genoa();
    let given = world.endorsements();
    let certificates = given.inspect_untrusted().certificates();
    let list = |change: &dyn Fn(&mut sim::CrlRecipe)| {
        let mut recipe = world.pki.crl_recipe(4).unwrap();
        change(&mut recipe);
        world.pki.sign_crl(&recipe).unwrap()
    };
    let good = list(&|_| {});
    let newer = world.pki.sign_crl(&world.pki.crl_recipe(6).unwrap()).unwrap();
    let stale = list(&|recipe| recipe.next_update = Some(before(1)));
    let junk = world.pki.crl_recipe(9).unwrap().sign(&world.pki.keys().ask).unwrap();
    let revoking = list(&|recipe| {
        recipe.next_update = Some(before(1));
        let serial = world.vek.serial.clone();
        recipe.revoked.push(Revoked { serial, at: before(DAY), reason: None });
    });
    for (what, crls, number) in [
        ("stale first", [stale.clone(), good.clone()], 4),
        ("stale last", [good.clone(), stale.clone()], 4),
        ("junk first", [junk.clone(), good.clone()], 4),
        ("junk last", [good.clone(), junk.clone()], 4),
        ("newer first", [newer.clone(), good.clone()], 6),
        ("newer last", [good.clone(), newer.clone()], 6),
    ] {
        let outcome = judge_with(&world, certificates, &crls);
        assert!(outcome.is_ok(), "{what}: {:#?}", report(&outcome).findings);
        assert_eq!(outcome.unwrap().crl_numbers()[0].number, number, "{what}");
    }
    for crls in [[revoking.clone(), good.clone()], [good, revoking]] {
        let outcome = judge_with(&world, certificates, &crls);
        assert_eq!(world::codes(report(&outcome), Severity::Reject), [Code::VekRevoked]);
    }
    let outcome = judge_with(&world, certificates, &[stale, junk]);
    assert_eq!(
        world::codes(report(&outcome), Severity::Reject),
        [Code::CrlSignatureInvalid, Code::CrlExpired]
    );
}
