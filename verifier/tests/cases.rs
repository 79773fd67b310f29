//! The verdict, and the reason, of every case of the shared vectors: real reports of real parts.
//!
//! The vectors lie beside the repository (`VERITEE_VECTORS`); without them there is nothing to run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::{Endorsements, Evidence, Unverified};
use serde::Deserialize;
use verifier::{
    ChainCache, Code, Expectation, Policy, Refused, Severity, Verdict, appraise, appraise_with,
};

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    evidence: String,
    endorsements: Vec<String>,
    at: String,
    verdict: String,
    policy: Option<toml::Table>,
    #[serde(rename = "why")]
    _why: Option<String>,
}

/// The codes that a rejection must rest on, and no others.
fn reasons(id: &str) -> &'static [Code] {
    match id {
        "snp-turin-after-vcek" | "snp-vlek-expired" => &[Code::CertificateExpired],
        "snp-turin-foreign-vcek" => &[
            Code::SignatureInvalid,
            Code::ChipIdMismatch,
            Code::ReportedTcbMismatch,
            Code::ProductMismatch,
        ],
        "snp-milan-refused" => &[Code::ProductNotAllowed],
        "snp-milan-debug" => &[Code::GuestPolicyDebug, Code::PlatformAliasCheck],
        "snp-milan-v2" => &[Code::PlatformAliasCheck],
        "snp-milan-legacy-vcek" => &[
            Code::CertificateSignatureInvalid,
            Code::SignatureInvalid,
            Code::ChipIdMismatch,
            Code::ReportedTcbMismatch,
        ],
        "snp-vlek-wrong-vmpl" => &[Code::VmplNotAllowed],
        "tdx-v4-stale" => &[Code::CrlExpired, Code::TcbInfoExpired, Code::QeIdentityExpired],
        "snp-turin-before-vcek" | "tdx-v5-td15-too-early" => &[Code::CertificateNotYetValid],
        "tdx-out-of-date" => &[Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed],
        "tdx-granite-rapids-out-of-date" => &[Code::TcbStatusNotAllowed],
        "tdx-service-td" => {
            &[Code::ServiceTdNotAllowed, Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed]
        }
        // The platform is of another family than the TCB Info that is given.
        "tdx-debug" => &[Code::TdDebug, Code::TcbInfoMissing],
        "tdx-below-every-level" => &[Code::TcbLevelMissing],
        _ => &[],
    }
}

#[test]
fn every_case_has_its_verdict_for_its_reason() {
    let Some(root) = vectors() else { return };
    let cases: Cases =
        toml::from_str(&fs::read_to_string(root.join("cases.toml")).unwrap()).unwrap();
    let mut counts = [0; 2];
    for case in &cases.case {
        let outcome = run(&root, case);
        check(case, &outcome);
        for (platform, count) in ["snp-", "tdx-"].into_iter().zip(&mut counts) {
            *count += i32::from(case.id.starts_with(platform));
        }
    }
    assert!(counts[0] >= 12 && counts[1] >= 12, "cases are gone: {counts:?}");
}

/// What the notes beside the other TDX vectors say of them.
#[test]
fn other_quotes_have_the_verdicts_of_their_provenance() {
    let Some(root) = vectors() else { return };
    let judge = |quote: &str, given: &[&str], at: &str, keys: &str| {
        let keys: toml::Table = toml::from_str(&format!("[tdx]\n{keys}")).unwrap();
        let policy = evaluation(Some(&keys));
        let evidence = fs::read(root.join("tdx").join(quote)).unwrap();
        let evidence = Unverified::new(Evidence::from_wire(evidence));
        let given: Vec<_> = given.iter().map(|path| format!("tdx/{path}")).collect();
        let given = endorsements(&root, &given);
        appraise(&policy, &evidence, &given, &Expectation::cached(), at.parse().unwrap())
    };
    let at = "2026-01-27T07:46:40Z";
    // With service TDs allowed, it is the platform's state that is left.
    for quote in ["automata/quotev5.bin", "automata/alibaba_quote_5.bin"] {
        let given = ["assembled/tinfoil90c0.collateral.json"];
        let outcome = judge(quote, &given, at, "service_td = \"any\"");
        let report = outcome.unwrap_err().report().clone();
        assert_eq!(rejects(&report), [Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed]);
        assert_eq!(report.claims["tcb_status"], "out-of-date", "{quote}");
        assert_eq!(report.claims["advisories"].as_array().unwrap().len(), 5, "{quote}");
    }
    for quote in ["trustee/tdx_quote_5.dat", "automata/tdx_quote_5.bin"] {
        let outcome = judge(quote, &["assembled/tinfoil90c0.collateral.json"], at, "");
        let codes = rejects(outcome.unwrap_err().report());
        assert!(codes.contains(&Code::ServiceTdNotAllowed), "{quote}: {codes:?}");
    }
    // Without anything of Intel's, nothing can be said of the platform.
    for quote in ["phala-tappd/quote.hex", "phala-tappd/quote2.hex"] {
        let refused = judge(quote, &[], "2025-01-01T00:00:00Z", "").unwrap_err();
        assert_eq!(refused.report().verdict, Verdict::Unavailable, "{quote}");
    }
    // The answers of Intel's service, as they came, do as well as what tools make of them.
    let answers = ["tinfoil-collateral"];
    let outcome = judge("google-v5/quote.bin", &answers, "2026-01-27T15:55:00Z", "");
    assert_eq!(outcome.unwrap().report().claims["platform"]["fmspc"], "90c06f000000");
    // A signer that was not yet valid when its documents were, however good they are.
    let given = ["assembled/google-jun23-50806f.collateral.json"];
    let outcome =
        judge("trustee/tdx_quote_4.dat", &given, "2023-06-20T00:00:00Z", "min_tcb_evaluation = 0");
    let codes = rejects(outcome.unwrap_err().report());
    assert!(codes.contains(&Code::CertificateNotYetValid), "{codes:?}");
}

fn rejects(report: &verifier::Report) -> Vec<Code> {
    let refusing = report.findings.iter().filter(|finding| finding.severity == Severity::Reject);
    let mut codes: Vec<_> = refusing.map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Vendor roots alone accept these, so every byte of report and certificate must count.
#[test]
fn no_single_bit_of_a_real_report_can_change() {
    let Some(root) = vectors() else { return };
    let policy = evaluation(None);
    let mut report = fs::read(root.join("snp/turin-ms/report.bin")).unwrap();
    let given = endorsements(&root, &["snp/turin-ms".to_owned()]);
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let judge = |report: &[u8]| {
        let evidence = Unverified::new(Evidence::from_wire(report.to_vec()));
        appraise(&policy, &evidence, &given, &Expectation::cached(), now).is_ok()
    };
    assert!(judge(&report));
    for at in 0..report.len() {
        if let Some(byte) = report.get_mut(at) {
            *byte ^= 1;
        }
        assert!(!judge(&report), "byte {at:#x}");
        if let Some(byte) = report.get_mut(at) {
            *byte ^= 1;
        }
    }
}

fn check(case: &Case, outcome: &Result<verifier::AttestationResult, Refused>) {
    let report = match outcome {
        Ok(result) => result.report(),
        Err(refused) => refused.report(),
    };
    let explained = serde_json::to_string_pretty(report).unwrap();
    assert_eq!(report.verdict.to_string(), case.verdict, "{}: {explained}", case.id);
    let mut found: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Reject)
        .map(|finding| finding.code)
        .collect();
    let mut expected = reasons(&case.id).to_vec();
    found.sort_unstable();
    found.dedup();
    expected.sort_unstable();
    assert_eq!(found, expected, "{}: {explained}", case.id);
}

fn run(root: &Path, case: &Case) -> Result<verifier::AttestationResult, Refused> {
    let policy = evaluation(case.policy.as_ref());
    let evidence = fs::read(root.join(&case.evidence)).unwrap();
    let evidence = Unverified::new(Evidence::from_wire(evidence));
    let endorsements = endorsements(root, &case.endorsements);
    let now = case.at.parse().unwrap();
    let expectation = Expectation::cached();
    let cold = appraise(&policy, &evidence, &endorsements, &expectation, now);
    // Whoever remembers chains comes to the same result, the second time as the first.
    let chains = ChainCache::default();
    for _ in 0..2 {
        let warm = appraise_with(&chains, &policy, &evidence, &endorsements, &expectation, now);
        assert_eq!(format!("{warm:?}"), format!("{cold:?}"), "{}", case.id);
    }
    cold
}

/// The policy that the head of `cases.toml` describes, with the case's own keys on top.
fn evaluation(overrides: Option<&toml::Table>) -> Policy {
    let mut policy: toml::Table = toml::from_str(
        r#"
        schema = 1
        name = "evaluation"
        version = 1
        purpose = "evaluation"
        freshness = { evidence = "cached", max_age = "1h", binding = "if-present" }
        sev-snp = { measurements = "any", revocation = "if-present" }
        tdx = { mr_td = "any", rtmr0 = "any", rtmr1 = "any", rtmr2 = "any", rtmr3 = "any", mr_config_id = "any", mr_owner = "any", tcb_status = ["up-to-date"] }
        "#,
    )
    .unwrap();
    for (section, keys) in overrides.into_iter().flatten() {
        let section = policy[section].as_table_mut().unwrap();
        section.extend(keys.as_table().unwrap().clone());
    }
    let text = toml::to_string(&policy).unwrap();
    Policy::parse(&text, &|_| Err("a policy of this test names no file".to_owned())).unwrap()
}

/// Files and folders, each file's kind told by content; files of folders that are neither
/// certificates nor lists are left out.
fn endorsements(root: &Path, paths: &[String]) -> Unverified<Endorsements> {
    let mut all = Endorsements::new();
    for path in paths {
        let path = root.join(path);
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                // What is no endorsement is somebody's notes.
                drop(all.add(&bytes));
            }
        } else {
            all.add(&fs::read(path).unwrap()).unwrap();
        }
    }
    Unverified::new(all)
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from);
    if root.join("cases.toml").is_file() {
        Some(root)
    } else {
        eprintln!("skipped: no vectors at {}", root.display());
        None
    }
}
