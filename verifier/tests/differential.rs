//! The crate `sev` shares no code with us: on real reports both say the same of signature and
//! chain, whole and spoilt. What it does not check is not compared.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail anywhere"
)]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::{Endorsements, Evidence, UnixTime, Unverified};
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use verifier::{ChainCache, Code, Expectation, Policy, Severity, appraise, appraise_with};

/// What we say of signature and chain; every other check may say what it likes.
const COMPARED: [Code; 4] = [
    Code::SignatureInvalid,
    Code::SignatureNotCanonical,
    Code::CertificateSignatureInvalid,
    Code::RootNotTrusted,
];

/// Root, intermediate and signing key in DER, and the report.
struct Case {
    certificates: [Vec<u8>; 3],
    report: Vec<u8>,
}

#[test]
fn both_verifiers_agree_on_signature_and_chain() {
    let Some(root) = vectors() else { return };
    let mut agreed = 0;
    for (name, case) in real(&root) {
        assert!(theirs(&case), "{name}: refused by the other");
        assert!(ours(&case), "{name}: refused by us");
        for (what, spoilt) in spoil(&case) {
            assert_eq!(theirs(&spoilt), ours(&spoilt), "{name}, {what}");
            agreed += usize::from(!ours(&spoilt));
        }
    }
    assert!(agreed > 0, "no case was refused by both");
}

/// Every octet of the report, and many of its key's certificate, changed: nothing is accepted here that is
/// refused there. There is no difference of that kind to write down.
#[test]
fn nothing_is_accepted_here_that_is_refused_there() {
    let Some(root) = vectors() else { return };
    let chains = ChainCache::default();
    let (mut accepted, mut refused) = (0, 0);
    for (name, case) in real(&root) {
        assert!(accepts(&chains, &case), "{name}: as it is");
        let mut compare = |what: &str, at: usize, change: &dyn Fn(&mut Case)| {
            let mut case =
                Case { certificates: case.certificates.clone(), report: case.report.clone() };
            change(&mut case);
            if accepts(&chains, &case) {
                accepted += 1;
                assert!(theirs(&case), "{name}: {what}, octet {at}");
            } else {
                refused += 1;
            }
        };
        for at in 0..case.report.len() {
            compare("report", at, &|case| case.report[at] ^= 1 << (at % 8));
        }
        for at in (0..case.certificates[2].len()).step_by(3) {
            compare("certificate", at, &|case| case.certificates[2][at] ^= 1 << (at % 8));
        }
        compare("nothing", 0, &|_| ());
    }
    assert_eq!((accepted, refused > 3 * 1184), (3, true), "what is signed is all that there is");
}

/// What is refused here and accepted there. One that is refused there, too, is to be struck off.
#[test]
fn what_only_this_crate_refuses() {
    let Some(root) = vectors() else { return };
    for (name, case) in real(&root) {
        for (what, at) in [
            ("a number of the signature that is longer than its curve", 0x2a0 + 48),
            ("octets after the signature", 0x2a0 + 144),
        ] {
            let mut case =
                Case { certificates: case.certificates.clone(), report: case.report.clone() };
            case.report[at] = 1;
            assert!(theirs(&case), "{name}: {what} is refused there, too");
            assert!(!accepts(&ChainCache::default(), &case), "{name}: {what}");
        }
    }
}

/// Whether we accept it, with a policy that asks for as little as one may.
fn accepts(chains: &ChainCache, case: &Case) -> bool {
    let mut given = Endorsements::new();
    let all = case.certificates.iter().try_for_each(|der| given.add_certificate(der));
    let evidence = Unverified::new(Evidence::from_wire(case.report.clone()));
    let policy = Policy::parse(POLICY, &|_| Err("no file is named".to_owned())).unwrap();
    let (given, expectation) = (Unverified::new(given), Expectation::cached());
    let now = UnixTime::from_secs(1_795_000_000);
    all.is_ok() && appraise_with(chains, &policy, &evidence, &given, &expectation, now).is_ok()
}

/// Whether the other verifier accepts chain and signature.
fn theirs(case: &Case) -> bool {
    let parse = |der: &Vec<u8>| Certificate::from_der(der).ok();
    let [Some(ark), Some(issuer), Some(vek)] = case.certificates.each_ref().map(parse) else {
        return false;
    };
    let chain = Chain { ca: ca::Chain { ark, ask: issuer }, vek };
    AttestationReport::from_bytes(&case.report)
        .is_ok_and(|report| (&chain, &report).verify().is_ok())
}

/// Whether we find nothing against chain and signature.
fn ours(case: &Case) -> bool {
    let mut given = Endorsements::new();
    for der in &case.certificates {
        given.add_certificate(der).unwrap();
    }
    let evidence = Unverified::new(Evidence::from_wire(case.report.clone()));
    let policy = Policy::parse(POLICY, &|_| Err("no file is named".to_owned())).unwrap();
    let now = UnixTime::from_secs(1_700_000_000);
    let outcome =
        appraise(&policy, &evidence, &Unverified::new(given), &Expectation::cached(), now);
    let report = match &outcome {
        Ok(result) => result.report(),
        Err(refused) => refused.report(),
    };
    let malformed = report.verdict == verifier::Verdict::Malformed;
    let against = report
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Reject && COMPARED.contains(&finding.code));
    !malformed && !against
}

const POLICY: &str = r#"
schema = 1
name = "differential"
version = 1
purpose = "evaluation"
freshness = { evidence = "cached", binding = "if-present" }
sev-snp = { products = ["milan", "genoa", "turin"], measurements = "any", revocation = "if-present" }
"#;

/// The case with one bit changed: in the report, in its signature, and in the signing key's
/// certificate, its signed part and its signature.
fn spoil(case: &Case) -> Vec<(String, Case)> {
    let copy = || Case { certificates: case.certificates.clone(), report: case.report.clone() };
    let mut spoilt = Vec::new();
    for at in [0x50, 0x90, 0x1a0, 0x2a0, 0x2e8] {
        let mut case = copy();
        case.report[at] ^= 1;
        spoilt.push((format!("report byte {at:#x}"), case));
    }
    // Root and intermediate are left alone: the other verifier takes the root on faith, and we have
    // genuine ones of both, which a spoilt one does not hide.
    let len = case.certificates[2].len();
    for at in [len - 1, len - 300, len - 600] {
        let mut case = copy();
        case.certificates[2][at] ^= 1;
        spoilt.push((format!("the signing key's certificate, byte {at}"), case));
    }
    spoilt
}

fn real(root: &Path) -> Vec<(String, Case)> {
    let snp = root.join("snp");
    let read = |path: &str| fs::read(snp.join(path)).unwrap();
    let der = |path: &str| {
        let mut parsed = Endorsements::new();
        parsed.add(&read(path)).unwrap();
        parsed.certificates()[0].clone()
    };
    ["milan", "genoa", "turin"]
        .map(|product| {
            let folder = format!("{product}-ms");
            let certificates = [
                der(&format!("builtin-ark-ask/{product}_ark.pem")),
                der(&format!("builtin-ark-ask/{product}_ask.pem")),
                der(&format!("{folder}/vcek.pem")),
            ];
            let report = read(&format!("{folder}/report.bin"));
            (folder, Case { certificates, report })
        })
        .into()
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from);
    root.join("cases.toml").is_file().then_some(root)
}
