//! Real and mutated TDX evidence, judged by this crate and by `dcap-qvl`: what it refuses is never
//! accepted here, except for reasons that are written down, each of which must still hold.
//!
//! The real evidence lies beside the repository (`VERITEE_VECTORS`); without it the test PKI alone
//! is compared.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "../../../verifier/tests/outcome/mod.rs"]
mod outcome;
#[path = "../../../verifier/tests/tdx_world/mod.rs"]
mod tdx_world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use attestation::endorsements::Kind;
use attestation::tdx::Form;
use attestation::{Endorsements, Evidence, UnixTime, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::policy::QuotePolicy;
use dcap_qvl::verify::QuoteVerifier;
use serde_json::json;
use tdx_world::pki::PckExtension;
use tdx_world::{NOW, SECOND, World};
use verifier::{ChainCache, Expectation, Policy, appraise_with};

/// What is accepted here and refused there: the part of the input that was changed, and why.
const ACCEPTED_HERE: &[(&str, &str)] = &[
    (
        "tcb_info_issuer_chain",
        "the signer's certificate is looked for among all that was given, and is built in; what vouches for it is \
         the anchor, not the copy of the root beside it",
    ),
    ("qe_identity_issuer_chain", "likewise"),
    (
        "pck_certificate_chain",
        "the quote carries the chain of its PCK, and that is the one that is followed; they take the copy",
    ),
];

/// What a test changes.
type Change = fn(&mut World);

/// What is refused here and accepted there, each made from what both accept.
const REFUSED_HERE: &[(&str, Change)] = &[
    ("a list that is not yet good", |w| {
        w.tdx.pck_list.as_mut().unwrap().this_update = NOW.saturating_add(SECOND);
    }),
    ("TCB Info of another provisioning certification enclave", |w| {
        w.tdx.tcb_info.as_mut().unwrap()["pceId"] = json!("0001");
    }),
    ("a quoting enclave that says more than its hash", |w| {
        w.tdx.quote.qe_report.report_data[63] = 1;
    }),
    ("XFAM that no TD has", |w| w.tdx.quote.report.xfam |= 1 << 3),
    ("a platform now worse than at launch", |w| {
        if let Some(td15) = &mut w.tdx.quote.report.td15 {
            td15.tee_tcb_svn2[2] -= 1;
        }
        w.set("advisories_allowed", vec!["INTEL-SA-00002".to_owned()]);
    }),
    ("another measurement", |w| w.tdx.quote.report.mr_td.0[0] ^= 1),
    ("an advisory that is open", |w| {
        let info = w.tdx.tcb_info.as_mut().unwrap();
        info["tcbLevels"][0]["advisoryIDs"] = json!(["INTEL-SA-00009"]);
    }),
    ("a platform instance that is named twice", |w| {
        let mut extension = PckExtension::new();
        extension.more = tdx_world::pki::pair(&[6], &sim::der::octet_string(&[1; 16]));
        w.tdx.pck.set_extension(&extension);
    }),
];

/// What `dcap-qvl` says with the strictest policy that real servers can meet.
fn theirs(
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    root: Option<&[u8]>,
    now: UnixTime,
) -> bool {
    let verifier = match root {
        Some(root) => QuoteVerifier::new(root.to_vec()),
        None => QuoteVerifier::new_prod(),
    };
    let now = now.as_secs();
    let policy = QuotePolicy::strict(now)
        .allow_smt(true)
        .allow_dynamic_platform(true)
        .allow_cached_keys(true);
    let judge = || verifier.verify_with_policy(quote, collateral.clone(), now, &policy).is_ok();
    // Should it panic, it did not accept.
    std::panic::catch_unwind(judge).unwrap_or(false)
}

struct Here {
    policy: Policy,
    chains: ChainCache,
}

impl Here {
    /// A policy that asks for no more than theirs, as far as that can be said.
    fn new() -> Self {
        let text = r#"
            schema = 1
            name = "differential"
            version = 1
            purpose = "evaluation"
            freshness = { evidence = "cached", max_age = "1h", binding = "if-present" }
            [tdx]
            mr_td = "any"
            rtmr0 = "any"
            rtmr1 = "any"
            rtmr2 = "any"
            rtmr3 = "any"
            mr_config_id = "any"
            mr_owner = "any"
            mr_owner_config = "any"
            min_tcb_evaluation = 0
        "#;
        let policy = Policy::parse(text, &|_| Err("no file is named".to_owned())).unwrap();
        Self { policy, chains: ChainCache::default() }
    }

    fn accepts(&self, quote: &[u8], collateral: &str, now: UnixTime) -> bool {
        let mut given = Endorsements::new();
        given.add(collateral.as_bytes()).is_ok() && {
            let evidence = Unverified::new(Evidence::from_wire(quote.to_vec()));
            let given = Unverified::new(given);
            let expectation = Expectation::cached();
            let Self { policy, chains } = self;
            appraise_with(chains, policy, &evidence, &given, &expectation, now).is_ok()
        }
    }
}

/// Quote, collateral, and a moment at which both accept them.
fn real(root: &Path) -> Vec<(Vec<u8>, serde_json::Value, UnixTime)> {
    [
        ("phala-v4-td10/quote.bin", "phala-v4-td10/collateral.json", "2025-07-04T10:24:15Z"),
        ("phala-near/quote.hex", "phala-near/collateral.json", "2025-09-17T00:00:00Z"),
        ("google-v5/quote.bin", "assembled/tinfoil90c0.collateral.json", "2026-01-27T15:55:00Z"),
        ("phala-td15ex/quote.bin", "phala-td15ex/collateral.json", "2026-10-20T12:26:40Z"),
        (
            "google-ccel-cos113/quote.bin",
            "assembled/automata-oct25-00806F05.collateral.json",
            "2025-11-01T12:26:40Z",
        ),
    ]
    .map(|(quote, collateral, now)| {
        let mut bytes = fs::read(root.join("tdx").join(quote)).unwrap();
        if Path::new(quote).extension().is_some_and(|kind| kind == "hex") {
            bytes = hex::decode(bytes.trim_ascii()).unwrap();
        }
        let collateral = fs::read(root.join("tdx").join(collateral)).unwrap();
        (bytes, serde_json::from_slice(&collateral).unwrap(), now.parse().unwrap())
    })
    .into()
}

#[test]
fn nothing_is_accepted_here_that_is_refused_there() {
    let Some(root) = vectors() else { return };
    let here = Here::new();
    let all = real(&root);
    let mut found = BTreeSet::new();
    let mut compare = |what: &str, quote: &[u8], collateral: &serde_json::Value, now: UnixTime| {
        let text = collateral.to_string();
        let accepted = here.accepts(quote, &text, now);
        if accepted {
            let parsed = serde_json::from_value::<QuoteCollateralV3>(collateral.clone());
            let agreed = parsed.is_ok_and(|parsed| theirs(quote, &parsed, None, now));
            if !agreed {
                found.insert(what.to_owned());
            }
        }
        accepted
    };
    let mut accepted = 0;
    for (index, (quote, collateral, now)) in all.iter().enumerate() {
        assert!(compare("nothing", quote, collateral, *now), "{index} is accepted as it is");
        // Every byte of the quote, in turn of several bits.
        for at in 0..quote.len().min(5300) {
            let mut changed = quote.clone();
            changed[at] ^= 1 << (at % 8);
            accepted += u32::from(compare("quote", &changed, collateral, *now));
        }
        // Every part of the collateral, at places all over it.
        let fields: Vec<String> = collateral.as_object().unwrap().keys().cloned().collect();
        for field in &fields {
            let text = collateral[field].as_str().unwrap();
            let step = (text.len() / 60).max(1);
            for at in (0..text.len()).step_by(step) {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = match bytes[at] {
                    byte @ (b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'Y') => byte + 1,
                    byte => byte ^ 1,
                };
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let mut collateral = collateral.clone();
                collateral[field] = json!(changed);
                accepted += u32::from(compare(field, quote, &collateral, *now));
            }
        }
        // Other collateral, and other moments.
        for (_, other, _) in &all {
            accepted += u32::from(compare("other collateral", quote, other, *now));
        }
        for days in 0..400 {
            for moment in [
                now.saturating_add(SECOND * 86_400 * days),
                now.saturating_sub(SECOND * 86_400 * days),
            ] {
                accepted += u32::from(compare("time", quote, collateral, moment));
            }
        }
        for end in ends(collateral) {
            for moment in [end.saturating_sub(SECOND), end, end.saturating_add(SECOND)] {
                accepted += u32::from(compare("time", quote, collateral, moment));
            }
        }
    }
    assert!(accepted > 100, "nothing was compared: {accepted}");
    let written: BTreeSet<_> = ACCEPTED_HERE.iter().map(|(what, _)| (*what).to_owned()).collect();
    assert_eq!(found, written, "what differs is not what is written down");
}

/// The moments that the documents name.
fn ends(collateral: &serde_json::Value) -> Vec<UnixTime> {
    let mut found = Vec::new();
    for document in ["tcb_info", "qe_identity"] {
        let body: serde_json::Value =
            serde_json::from_str(collateral[document].as_str().unwrap()).unwrap();
        for key in ["issueDate", "nextUpdate"] {
            found.push(body[key].as_str().unwrap().parse().unwrap());
        }
    }
    found
}

#[test]
fn what_is_right_is_accepted_by_both() {
    for form in [Form::Td10, Form::Td15, Form::Td15Ex] {
        let world = World::new(form);
        assert_eq!(world.refusals(), [], "{form}");
        assert!(there(&world), "{form}");
    }
}

#[test]
fn what_only_this_crate_refuses() {
    for (what, change) in REFUSED_HERE {
        let mut world = World::new(Form::Td15);
        change(&mut world);
        assert!(!world.refusals().is_empty(), "{what}: accepted here");
        assert!(there(&world), "{what}: refused there, too; strike it off the list");
    }
    // Whatever follows a quote.
    let world = World::new(Form::Td15);
    let mut case = world.case();
    let mut quote = world.tdx.quote().unwrap();
    quote.push(1);
    assert!(judged_there(&world, &quote));
    case.evidence = Unverified::new(Evidence::from_wire(quote));
    assert!(case.judge().is_err());
}

/// Whether `dcap-qvl` accepts a case of the test PKI.
fn there(world: &World) -> bool {
    judged_there(world, &world.tdx.quote().unwrap())
}

fn judged_there(world: &World, quote: &[u8]) -> bool {
    let given = world.endorsements();
    let [_, authority, root] = world.tdx.chain().unwrap();
    let signer = given.certificates()[0].clone();
    let chain = |ders: [&Vec<u8>; 2]| {
        let block = |der: &Vec<u8>| {
            let body = STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        ders.map(block).concat()
    };
    let document = |kind: Kind| {
        let text = String::from_utf8(given.items(kind)[0].clone()).unwrap();
        let (_, rest) = text.split_once(':').unwrap();
        let (body, signature) = rest.rsplit_once(",\"signature\":\"").unwrap();
        (body.to_owned(), hex::decode(signature.trim_end_matches("\"}")).unwrap())
    };
    let (tcb_info, tcb_info_signature) = document(Kind::TcbInfo);
    let (qe_identity, qe_identity_signature) = document(Kind::QeIdentity);
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: chain([&authority, &root]),
        root_ca_crl: given.crls()[0].clone(),
        pck_crl: given.crls()[1].clone(),
        tcb_info_issuer_chain: chain([&signer, &root]),
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain: chain([&signer, &root]),
        qe_identity,
        qe_identity_signature,
        pck_certificate_chain: None,
    };
    theirs(quote, &collateral, Some(&root), world.now)
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from);
    if root.join("tdx").is_dir() {
        Some(root)
    } else {
        eprintln!("skipped: no vectors at {}", root.display());
        None
    }
}
