//! What the hardware signed for: keys, model, configuration, challenge and window
//! (`docs/protocol.md` §5.2), and what an acceptance hands out.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod outcome;
mod world;

use core::time::Duration;

use attestation::binding::FreshnessProof;
use attestation::snp::Product;
use attestation::{
    Challenge, Digest, Endorsements, Evidence, ReceiptKey, ReportData, SealingKey, Sha256,
    UnixTime, Unverified, merkle,
};
use verifier::{Code, Expectation, Severity, Verdict, appraise};
use world::{CHALLENGE, MODEL, NOW, World, each_is_accepted, each_is_refused, report};

/// One thing that is changed.
type Change<'a> = &'a dyn Fn(&mut World);

fn genoa() -> World {
    World::new(Product::Genoa)
}

fn raw() -> World {
    let mut world = genoa();
    let stated = ReportData([0x5a; 64]);
    world.raw = true;
    world.report_data = Some(stated);
    world.expectation = Expectation::cached().with_report_data(stated);
    world.set("freshness", "evidence", "cached");
    world
}

#[test]
fn check_18_the_hardware_signed_for_these_members() {
    each_is_refused(
        genoa,
        &[
            ("something else", &[Code::ReportDataMismatch], &|w| {
                w.report_data = Some(ReportData([0; 64]));
            }),
            ("first byte", &[Code::ReportDataMismatch], &|w| flip_report_data(w, 0)),
            ("last byte", &[Code::ReportDataMismatch], &|w| flip_report_data(w, 63)),
            ("another sealing key", &[Code::MemberMismatch], &|w| {
                w.sealing = SealingKey::new(2, &[8; attestation::keys::XWING_PUBLIC_LEN]);
            }),
            ("another key id", &[Code::MemberMismatch], &|w| {
                w.sealing = SealingKey::new(2, &[7; attestation::keys::XWING_PUBLIC_LEN]);
            }),
            ("another receipt key", &[Code::MemberMismatch], &|w| w.receipts = ReceiptKey([1; 32])),
            ("another manifest", &[Code::MemberMismatch], &|w| {
                w.manifest = world::manifest(&["other"]).encode();
            }),
            ("the same manifest in other bytes", &[Code::MemberMismatch], &|w| {
                w.manifest.push(b'\n');
            }),
            ("another configuration", &[Code::MemberMismatch], &|w| w.config.push(b'\n')),
            ("accelerators that are not there", &[Code::MemberMismatch], &|w| {
                w.statement.accelerators = Some(Digest([1; 32]));
            }),
            ("accelerators that are none", &[Code::EvidenceMalformed], &|w| carry(w, b"[]", b"[]")),
            ("a stated report data that is another", &[Code::ReportDataMismatch], &|w| {
                w.expectation = w.expectation.with_report_data(ReportData([0; 64]));
            }),
        ],
    );
}

/// Names some accelerators, and carries others.
fn carry(world: &mut World, named: &[u8], carried: &[u8]) {
    world.statement.accelerators = Some(Sha256::of(named));
    world.accel = Some(carried.to_vec());
}

fn flip_report_data(world: &mut World, at: usize) {
    let mut data = ReportData::bind(&world.statement.binding_id(), &world.freshness.fresh());
    data.0[at] ^= 1;
    world.report_data = Some(data);
}

#[test]
fn the_evidence_answers_the_challenge() {
    let other = Challenge([1; 32]);
    each_is_refused(
        genoa,
        &[
            ("another challenge", &[Code::ChallengeNotAnswered], &|w| {
                w.expectation = Expectation::challenged(Challenge([1; 32]));
            }),
            ("a replayed answer", &[Code::ChallengeNotAnswered], &|w| {
                w.freshness = FreshnessProof::Challenge { challenge: Digest(other.0) };
            }),
            ("cached evidence", &[Code::ChallengeNotAnswered], &|w| {
                w.freshness = FreshnessProof::None;
            }),
            ("no challenge asked", &[Code::NotChallenged], &|w| {
                w.expectation = Expectation::cached();
            }),
            ("a batch without ours", &[Code::ChallengeNotAnswered], &|w| {
                w.freshness = batch(&[other, Challenge([2; 32])], 0);
            }),
            ("another place in the batch", &[Code::ChallengeNotAnswered], &|w| {
                w.freshness = batch(&[other, CHALLENGE, Challenge([2; 32])], 0);
            }),
            // The proof says one thing, the hardware signed another.
            ("an answer that was not signed", &[Code::ReportDataMismatch], &|w| {
                let cached =
                    ReportData::bind(&w.statement.binding_id(), &FreshnessProof::None.fresh());
                w.report_data = Some(cached);
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("a batch of one", &[], &|w| w.freshness = batch(&[CHALLENGE], 0)),
            ("a batch", &[], &|w| w.freshness = batch(&[other, CHALLENGE, Challenge([2; 32])], 1)),
            ("cached, where that suffices", &[], &|w| {
                w.freshness = FreshnessProof::None;
                w.expectation = Expectation::cached();
                w.set("freshness", "evidence", "cached");
            }),
        ],
    );
}

fn batch(challenges: &[Challenge], index: usize) -> FreshnessProof {
    FreshnessProof::Batch {
        root: merkle::root(challenges),
        index: u16::try_from(index).unwrap(),
        size: u16::try_from(challenges.len()).unwrap(),
        path: merkle::path(challenges, index),
    }
}

#[test]
fn the_window_is_open() {
    let start = genoa().statement.not_before;
    let end = genoa().statement.not_after;
    let at = |secs: u64| UnixTime::from_secs(secs);
    each_is_refused(
        genoa,
        &[
            ("too early", &[Code::StatementNotYetValid], &|w| w.now = at(start.as_secs() - 1)),
            ("at its end", &[Code::StatementExpired], &|w| w.now = end),
            ("cached for too long", &[Code::EvidenceTooOld], &|w| {
                w.freshness = FreshnessProof::None;
                w.expectation = Expectation::cached();
                w.set("freshness", "evidence", "cached");
                w.set("freshness", "max_age", "9m");
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[
            ("at its start", &[], &|w| w.now = start),
            ("in its last second", &[], &|w| w.now = at(end.as_secs() - 1)),
            ("cached for as long as it may be", &[], &|w| {
                w.freshness = FreshnessProof::None;
                w.expectation = Expectation::cached();
                w.set("freshness", "evidence", "cached");
                w.set("freshness", "max_age", "9m");
                w.now = at(start.as_secs() + 540);
            }),
        ],
    );
}

#[test]
fn model_and_configuration_are_the_policys() {
    let other = format!("sha256:{}", "00".repeat(32));
    each_is_refused(
        genoa,
        &[
            ("no model", &[Code::ModelNotAllowed], &|w| {
                w.policy.remove("models");
            }),
            ("another model", &[Code::ModelNotAllowed], &|w| {
                w.set("models", MODEL, other.as_str());
            }),
            // The policy knows these weights by a name under which the manifest does not serve them.
            ("another name", &[Code::ModelNotAllowed], &|w| {
                let digest = w.policy["models"][MODEL].clone();
                w.policy["models"].as_table_mut().unwrap().clear();
                w.set("models", "other", digest);
            }),
            ("another configuration", &[Code::ConfigNotAllowed], &|w| {
                w.set("config", "digests", toml::Value::Array(vec![other.as_str().into()]));
            }),
            ("no configuration", &[Code::ConfigNotAllowed], &|w| {
                w.policy.remove("config");
            }),
        ],
    );
    each_is_accepted(
        genoa,
        &[("any configuration", &[Code::ConfigNotAllowed], &|w| w.set("config", "digests", "any"))],
    );
}

#[test]
fn an_acceptance_hands_out_what_was_bound() {
    let world = genoa();
    let result = world.judge().unwrap();
    assert_eq!(result.policy_version(), 3);
    let keys = result.keys().unwrap();
    assert_eq!(keys.sealing().at(NOW).unwrap(), &world.sealing);
    assert_eq!(keys.receipts().at(NOW).unwrap(), &world.receipts);
    assert_eq!(keys.manifest().at(NOW).unwrap().names, [MODEL]);
    assert_eq!(keys.models(), [MODEL]);
    assert_eq!(keys.manifest_digest(), &Sha256::of(&world.manifest));
    assert_eq!(keys.binding_id(), world.statement.binding_id());
    assert_eq!(keys.node_id(), world.statement.node_id);
}

#[test]
fn an_acceptance_ends_with_the_first_thing_that_ends() {
    let later = |secs: u64| NOW.saturating_add(Duration::from_secs(secs));
    let cases: [(&str, Change<'_>, UnixTime); 6] = [
        ("statement", &|_| {}, genoa().statement.not_after),
        ("max_age", &|w| w.set("freshness", "max_age", "60s"), later(60)),
        ("vcek", &|w| w.vek.not_after = later(50), later(50)),
        ("ask", &|w| w.issuer.not_after = later(40), later(40)),
        ("ark", &|w| w.ark.not_after = later(30), later(30)),
        ("crl", &|w| w.crl.as_mut().unwrap().next_update = Some(later(20)), later(20)),
    ];
    for (what, change, end) in cases {
        let mut world = genoa();
        change(&mut world);
        let result = world.judge().unwrap();
        assert_eq!(result.not_after(), end, "{what}");
        assert_eq!(result.report().not_after, Some(end), "{what}");
        assert!(result.keys().unwrap().sealing().at(end).is_err(), "{what}");
    }
}

#[test]
fn raw_evidence_is_bound_by_stated_report_data_alone() {
    each_is_refused(
        raw,
        &[
            ("another", &[Code::ReportDataMismatch], &|w| {
                w.expectation = Expectation::cached().with_report_data(ReportData([0; 64]));
            }),
            ("none stated", &[Code::BindingNotChecked], &|w| w.expectation = Expectation::cached()),
            ("a challenge", &[Code::ChallengeNotAnswered], &|w| {
                w.expectation = Expectation {
                    freshness: verifier::Freshness::Challenged(CHALLENGE),
                    ..w.expectation
                };
            }),
        ],
    );
    each_is_accepted(
        raw,
        &[
            ("as stated", &[], &|_| {}),
            ("none stated, for evaluation", &[Code::BindingNotChecked], &|w| {
                w.policy.insert("purpose".to_owned(), "evaluation".into());
                w.set("freshness", "binding", "if-present");
                w.expectation = Expectation::cached();
            }),
            ("stated, where the policy wants a challenge", &[Code::NotChallenged], &|w| {
                w.set("freshness", "evidence", "challenged");
            }),
        ],
    );
    let accepted = raw().judge().unwrap();
    assert!(accepted.keys().is_none(), "raw evidence vouches for no keys");
    // Nor for what runs, and the report says so.
    assert_eq!(world::codes(accepted.report(), Severity::Info), [Code::NotEvaluated]);
}

#[test]
fn raw_evidence_may_come_as_text() {
    use base64::Engine as _;
    let world = raw();
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&wire);
    for text in [hex::encode(&wire), format!("{}\n", hex::encode_upper(&wire)), base64] {
        let evidence = Unverified::new(Evidence::from_wire(text.into_bytes()));
        let outcome = appraise(
            &world.parsed_policy(),
            &evidence,
            &world.endorsements(),
            &world.expectation,
            world.now,
        );
        assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    }
}

#[test]
fn endorsements_may_come_in_the_bundle() {
    let world = genoa();
    let bare = world.evidence().inspect_untrusted().as_wire().to_vec();
    let mut bundle = attestation::Bundle::parse(&bare).unwrap();
    bundle.endorsements = world.endorsements().inspect_untrusted().to_pem().into_bytes();
    let evidence = Unverified::new(Evidence::from_wire(bundle.encode()));
    let none = Unverified::new(Endorsements::new());
    let policy = world.parsed_policy();
    let outcome = appraise(&policy, &evidence, &none, &world.expectation, world.now);
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    bundle.endorsements = b"-----BEGIN CERTIFICATE-----".to_vec();
    let evidence = Unverified::new(Evidence::from_wire(bundle.encode()));
    let outcome = appraise(&policy, &evidence, &none, &world.expectation, world.now);
    assert_eq!(report(&outcome).verdict, Verdict::Malformed);
}

#[test]
fn what_does_not_parse_is_malformed() {
    let world = genoa();
    let policy = world.parsed_policy();
    let none = Unverified::new(Endorsements::new());
    let good = world.evidence().inspect_untrusted().as_wire().to_vec();
    let mut spoiled = Vec::new();
    for member in 0..5 {
        let mut bundle = attestation::Bundle::parse(&good).unwrap();
        match member {
            0 => bundle.statement.push(0),
            1 => bundle.ohttp_keys.push(0),
            2 => bundle.receipt_key.push(0),
            3 => bundle.freshness.push(b'x'),
            _ => bundle.cpu0.bytes.push(0),
        }
        spoiled.push(bundle.encode());
    }
    spoiled.extend([
        Vec::new(),
        b"garbage".to_vec(),
        vec![0xff; 1183],
        good[..good.len() - 1].to_vec(),
    ]);
    for wire in spoiled {
        let shown = String::from_utf8_lossy(&wire).chars().take(40).collect::<String>();
        let evidence = Unverified::new(Evidence::from_wire(wire));
        let outcome = appraise(&policy, &evidence, &none, &world.expectation, world.now);
        let report = report(&outcome);
        assert_eq!(report.verdict, Verdict::Malformed, "{shown}");
        assert_eq!(world::codes(report, Severity::Reject), [Code::EvidenceMalformed], "{shown}");
    }
}

#[test]
fn the_report_is_the_object_that_scripts_read() {
    let json = serde_json::to_value(genoa().judge().unwrap().report()).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "verdict",
            "platform",
            "findings",
            "claims",
            "appraised_at",
            "not_after",
            "policy",
            "anchors",
            "horizon"
        ]
    );
    assert_eq!(json["verdict"], "accepted");
    // Soonest first: the statement's epoch is an hour, lists and certificates are of months and years.
    let horizon: Vec<_> = json["horizon"].as_array().unwrap().iter().map(|d| &d["what"]).collect();
    assert_eq!(horizon.first().unwrap().as_str(), Some("statement"));
    assert_eq!(horizon.len(), 5, "{horizon:?}");
    assert_eq!(json["horizon"][0]["ends"], json["not_after"]);
    assert_eq!(json["platform"], "sev-snp");
    assert_eq!(json["anchors"], "untrusted");
    assert_eq!(json["policy"]["name"], "checks");
    assert_eq!(json["claims"]["product"], "genoa");
    assert_eq!(json["claims"]["binding"]["models"][0], MODEL);
    let finding: Vec<_> = json["findings"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        finding,
        ["code", "severity", "component", "message", "expected", "actual", "reference", "remedy"]
    );
}

/// Every octet of the wire counts, whatever part of the bundle it is in.
#[test]
fn no_octet_of_a_bundle_can_change() {
    let world = genoa();
    let (policy, given) = (world.parsed_policy(), world.endorsements());
    let wire = world.evidence().inspect_untrusted().as_wire().to_vec();
    let judge = |wire: Vec<u8>| {
        let evidence = Unverified::new(Evidence::from_wire(wire));
        appraise(&policy, &evidence, &given, &world.expectation, world.now).is_ok()
    };
    assert!(judge(wire.clone()));
    for at in 0..wire.len() {
        let mut spoilt = wire.clone();
        spoilt[at] ^= 1;
        assert!(!judge(spoilt), "octet {at}");
        if at % 16 == 0 {
            assert!(!judge(wire[..at].to_vec()), "cut at {at}");
        }
    }
}

#[test]
fn the_gravest_finding_comes_first() {
    let mut world = genoa();
    world.crl = None;
    world.report.vmpl = 3;
    let refused = world.judge().unwrap_err();
    assert_eq!(refused.code(), "vmpl-not-allowed");
    assert_eq!(refused.report().findings[1].code, Code::CrlMissing);
}
