//! A cache of verified chains makes no difference but to the time that it takes.
mod outcome;
mod world;

use core::time::Duration;

use attestation::snp::Product;
use attestation::{Endorsements, Evidence, UnixTime, Unverified};
use sim::Revoked;
use verifier::{ChainCache, Code, Severity, Verdict};
use world::{Case, NOW, Signer, World, codes, report};

const HOUR: Duration = Duration::from_hours(1);

fn genoa() -> World {
    World::new(Product::Genoa)
}

/// The case, and a cache that holds its chain.
fn warmed(world: &World) -> (Case, ChainCache) {
    let (case, chains) = (world.case(), ChainCache::default());
    assert!(case.warm(&chains, NOW).is_ok());
    assert_eq!(chains.len(), 1, "the chain is kept");
    (case, chains)
}

/// What a case that was accepted a moment ago is rejected for.
fn rejected_for(case: &Case, chains: &ChainCache, now: UnixTime) -> Vec<Code> {
    let outcome = case.is_judged_alike(chains, now);
    assert!(outcome.is_err(), "{:#?}", report(&outcome).findings);
    codes(report(&outcome), Severity::Reject)
}

#[test]
fn what_expired_between_two_appraisals_is_rejected() {
    type Shorten = fn(&mut World, UnixTime);
    let cases: [(&str, Shorten, Code); 4] = [
        ("vcek", |w, end| w.vek.not_after = end, Code::CertificateExpired),
        ("ask", |w, end| w.issuer.not_after = end, Code::CertificateExpired),
        ("ark", |w, end| w.ark.not_after = end, Code::CertificateExpired),
        ("crl", |w, end| w.crl.as_mut().unwrap().next_update = Some(end), Code::CrlExpired),
    ];
    for (name, shorten, code) in cases {
        let mut world = genoa();
        let end = NOW.saturating_add(Duration::from_mins(5));
        shorten(&mut world, end);
        let (case, chains) = warmed(&world);
        assert!(case.is_judged_alike(&chains, end).is_ok(), "{name}: the last moment");
        let after = end.saturating_add(Duration::from_secs(1));
        assert!(rejected_for(&case, &chains, after).contains(&code), "{name}");
        assert!(case.is_judged_alike(&chains, NOW).is_ok(), "{name}: it is a matter of time alone");
    }
}

#[test]
fn what_was_not_yet_valid_is_rejected_still() {
    let world = genoa();
    let (case, chains) = warmed(&world);
    let before = world.vek.not_before.saturating_sub(Duration::from_secs(1));
    let codes = rejected_for(&case, &chains, before);
    assert!(codes.contains(&Code::CertificateNotYetValid), "{codes:?}");
    assert!(codes.contains(&Code::CrlNotYetValid), "{codes:?}");
}

#[test]
fn a_newer_list_revokes_what_was_verified() {
    let world = genoa();
    let (mut case, chains) = warmed(&world);
    let revoked = Revoked { serial: world.vek.serial.clone(), at: NOW, reason: None };
    let newer =
        world.pki.crl_recipe(6).unwrap().revoking(revoked).sign(&world.pki.keys().ark).unwrap();
    let mut all = case.endorsements.inspect_untrusted().clone();
    all.add_crl(&newer).unwrap();
    case.endorsements = Unverified::new(all);
    assert_eq!(rejected_for(&case, &chains, NOW), [Code::VekRevoked]);
    // In the place of the older one, too.
    let mut all = Endorsements::new();
    for der in case.endorsements.inspect_untrusted().certificates() {
        all.add_certificate(der).unwrap();
    }
    all.add_crl(&newer).unwrap();
    case.endorsements = Unverified::new(all);
    assert_eq!(rejected_for(&case, &chains, NOW), [Code::VekRevoked]);
}

#[test]
fn a_list_that_is_gone_is_missed() {
    let (mut case, chains) = warmed(&genoa());
    let mut all = Endorsements::new();
    for der in case.endorsements.inspect_untrusted().certificates() {
        all.add_certificate(der).unwrap();
    }
    case.endorsements = Unverified::new(all);
    let outcome = case.is_judged_alike(&chains, NOW);
    assert_eq!(report(&outcome).verdict, Verdict::Unavailable);
}

#[test]
fn whether_a_list_is_demanded_is_asked_every_time() {
    let mut world = genoa();
    world.crl = None;
    world.set("sev-snp", "revocation", "if-present");
    let (mut case, chains) = (world.case(), ChainCache::default());
    let ark = case.endorsements.inspect_untrusted().certificates()[2].clone();
    case.policy = world.policy_under(&ark);
    assert!(case.is_judged_alike(&chains, NOW).is_ok());
    world.set("sev-snp", "revocation", "required");
    case.policy = world.policy_under(&ark);
    let outcome = case.is_judged_alike(&chains, NOW);
    assert_eq!(report(&outcome).verdict, Verdict::Unavailable);
}

#[test]
fn other_anchors_trust_no_chain_of_these() {
    let world = genoa();
    let (mut case, chains) = warmed(&world);
    // The same policy under AMD's own roots.
    let mut policy = world.policy.clone();
    policy.remove("anchors");
    let text = toml::to_string(&policy).unwrap();
    case.policy = verifier::Policy::parse(&text, &|_| Err("no file is named".to_owned())).unwrap();
    assert!(rejected_for(&case, &chains, NOW).contains(&Code::RootNotTrusted));
}

#[test]
fn another_chain_of_the_same_key_is_another_chain() {
    let mut world = genoa();
    let (mut case, chains) = warmed(&world);
    let vek = case.endorsements.inspect_untrusted().certificates()[0].clone();
    // The same VCEK, byte for byte, under an intermediate that the root did not sign.
    world.issuer_key = Signer::Asvk;
    let mut all = Endorsements::new();
    all.add_certificate(&vek).unwrap();
    let others = world.endorsements();
    for der in &others.inspect_untrusted().certificates()[1..] {
        all.add_certificate(der).unwrap();
    }
    for der in others.inspect_untrusted().crls() {
        all.add_crl(der).unwrap();
    }
    case.endorsements = Unverified::new(all);
    assert_eq!(rejected_for(&case, &chains, NOW), [Code::RootNotTrusted]);
    assert_eq!(chains.len(), 1, "nothing is kept of what was refused");
}

#[test]
fn another_report_is_checked_under_the_key_that_was_verified() {
    let world = genoa();
    let (case, chains) = warmed(&world);
    // Another chip's report, with the certificates of this one.
    let stranger = World { vek_key: sim::EcKey::generate().unwrap(), ..genoa() };
    let case = Case { evidence: stranger.evidence(), ..case };
    assert_eq!(rejected_for(&case, &chains, NOW), [Code::SignatureInvalid]);
}

#[test]
fn of_several_signing_keys_none_is_kept() {
    let world = genoa();
    let mut case = world.case();
    let stranger = world
        .pki
        .issue_vcek(sim::report::healthy_tcb(Product::Genoa), &sim::ChipId::of(Product::Genoa, 2));
    let mut all = case.endorsements.inspect_untrusted().clone();
    all.add_certificate(&stranger.unwrap().certificate).unwrap();
    case.endorsements = Unverified::new(all);
    let chains = ChainCache::default();
    for _ in 0..2 {
        assert!(case.is_judged_alike(&chains, NOW).is_ok());
    }
    assert!(chains.is_empty(), "the report chose the key");
}

#[test]
fn it_keeps_no_more_than_it_may() {
    let chains = ChainCache::new(2);
    let cases: Vec<_> = (0..4).map(|_| genoa().case()).collect();
    for (index, case) in cases.iter().enumerate() {
        // The first stays in use.
        for case in [&cases[0], case] {
            assert!(case.is_judged_alike(&chains, NOW).is_ok());
        }
        assert_eq!(chains.len(), 2.min(index + 1));
    }
    let nothing = ChainCache::new(0);
    assert!(cases[0].is_judged_alike(&nothing, NOW).is_ok());
    assert!(nothing.is_empty());
}

#[test]
fn threads_share_it() {
    let (case, chains) = warmed(&genoa());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| drop(case.is_judged_alike(&chains, NOW))));
        }
    });
    assert_eq!(chains.len(), 1);
}

/// Every part of everything that is given, with one bit changed, at two moments, beside the genuine
/// chain: nothing is judged otherwise than without a cache.
#[test]
fn tampered_forms_are_judged_alike() {
    let world = genoa();
    let (mut case, chains) = warmed(&world);
    // One anchor for all of them, or none would be one that is known.
    let ark = world.pki.ark();
    case.policy = world.policy_under(ark);
    assert!(case.is_judged_alike(&chains, NOW).is_ok());
    let (wire, given) =
        (case.evidence.inspect_untrusted().as_wire(), case.endorsements.inspect_untrusted());
    let mut refused = 0;
    let mut judge = |evidence: Vec<u8>, endorsements: Endorsements| {
        let case = Case {
            policy: world.policy_under(ark),
            evidence: Unverified::new(Evidence::from_wire(evidence)),
            endorsements: Unverified::new(endorsements),
            expectation: case.expectation,
        };
        for now in [NOW, NOW.saturating_add(HOUR)] {
            refused += usize::from(case.is_judged_alike(&chains, now).is_err());
        }
    };
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    for at in (0..wire.len()).step_by(61) {
        judge(flip(wire, at), given.clone());
    }
    let lists = [given.certificates(), given.crls()];
    for (list, ders) in lists.iter().enumerate() {
        for (index, der) in ders.iter().enumerate() {
            for at in (0..der.len()).step_by(97) {
                let mut all = Endorsements::new();
                for (other_list, ders) in lists.iter().enumerate() {
                    for (other, der) in ders.iter().enumerate() {
                        let here = (other_list, other) == (list, index);
                        let der = if here { flip(der, at) } else { der.clone() };
                        // What is no endorsement any more is not given.
                        drop(if other_list == 0 {
                            all.add_certificate(&der)
                        } else {
                            all.add_crl(&der)
                        });
                    }
                }
                judge(wire.to_vec(), all);
            }
        }
    }
    assert!(refused > 50, "only {refused} were refused");
}

/// The simulated platform's own evidence, at every hour of its time.
#[test]
fn every_moment_is_judged_alike() {
    let (case, chains) = warmed(&genoa());
    let mut accepted = 0;
    for step in 0..40 {
        let now = NOW.saturating_sub(HOUR).saturating_add(Duration::from_mins(5) * step);
        accepted += usize::from(case.is_judged_alike(&chains, now).is_ok());
    }
    assert!((3..38).contains(&accepted), "{accepted} moments");
}
