//! The verdict, and the reason, of every case of the shared vectors: real reports of real parts.
//!
//! The vectors lie beside the repository (`VERITEE_VECTORS`); without them there is nothing to run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::endorsements::Kind;
use attestation::tdx::{QeIdentity, TcbInfo};
use attestation::{Endorsements, Evidence, Unverified};
use serde::Deserialize;
use verifier::{
    ChainCache, Code, Expectation, Policy, Refused, Report, Severity, Verdict, appraise,
    appraise_with,
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

/// Intel's documents one by one, as its services wrote them, and a quote out of Azure's evidence by itself.
#[test]
fn pieces_of_collateral_do_what_collateral_does() {
    let Some(root) = vectors() else { return };
    let outdated: &[Code] = &[Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed];
    let october = &[
        "tdx/automata/1025_tcb_info.json",
        "tdx/automata/1025_qe_identity.json",
        "tdx/automata/1025_pck_crl.der",
        "tdx/automata/root_crl.der",
        "tdx/automata/tcb_signing.der",
        "tdx/automata/platform_ca.der",
    ][..];
    let july = &[
        "tdx/automata/tcb_info_v3_with_tdx_module.json",
        "tdx/automata/qe_identity_solana.json",
        "tdx/automata/tcb_signing.der",
    ];
    let granite_rapids = &[
        "tdx/trustee/tcbInfo.json",
        "tdx/trustee/enclaveIdentity.json",
        "tdx/automata/tcb_signing.der",
    ];
    let later = &[
        "tdx/google-v5/tcb_info.json",
        "tdx/tinfoil-collateral/qe_identity.json",
        "tdx/automata/tcb_signing.der",
    ];
    let assembled = &["tdx/assembled/automata-oct25-00806F05.collateral.json"][..];
    // The first two are one quote, in hex and in octets.
    for (quote, given, at, expected) in [
        ("tdx/automata/quotev4.hex", october, "2025-11-01T12:26:40Z", outdated),
        ("tdx/automata/quote_tdx_solana.bin", october, "2025-11-01T12:26:40Z", outdated),
        ("tdx/automata/quote_tdx_solana.bin", july, "2025-07-20T00:00:00Z", outdated),
        (
            "tdx/trustee/tdx_quote_6.dat",
            granite_rapids,
            "2025-11-15T00:00:00Z",
            &[Code::TcbStatusNotAllowed],
        ),
        // The document is of February.
        ("tdx/google-v5/quote.bin", later, "2026-01-27T15:55:00Z", &[Code::TcbInfoNotYetValid]),
        (
            "azure/tdx-trustee/td-quote.bin",
            assembled,
            "2025-11-01T12:26:40Z",
            &[Code::TdSeptVeDisable, Code::TcbStatusNotAllowed, Code::AdvisoryNotAllowed],
        ),
    ] {
        let keys = "[tdx]\nmin_tcb_evaluation = 17\nrevocation = \"if-present\"";
        let report =
            judge(&root, quote, given, at, &evaluation(Some(&toml::from_str(keys).unwrap())));
        assert_eq!(rejects(&report), sorted(expected), "{quote} {at}: {:#?}", report.findings);
    }
}

/// Intel's sample has certificates in DER where every quoting service writes PEM, and versions of components that do not fit
/// the octet that they have: nothing of it is half believed, under its own root either.
#[test]
fn intels_sample_is_not_what_its_specification_says() {
    let Some(root) = vectors() else { return };
    let folder = root.join("tdx/intel-qvl-sample");
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    let text = EVALUATION.replace("schema = 1", "schema = 1\nanchors.tdx = [\"root.pem\"]");
    let policy = Policy::parse(&text, &|_| Ok(file("trustedRootCaCert.pem"))).unwrap();
    let given = ["tdx/intel-qvl-sample"];
    let at = "2023-01-01T00:00:00Z";
    let report = judge(&root, "tdx/intel-qvl-sample/quote.dat", &given, at, &policy);
    assert_eq!(
        (report.verdict, rejects(&report)),
        (Verdict::Malformed, vec![Code::EvidenceMalformed])
    );
    let why = "chain of the PCK is not PEM of certificates";
    assert!(report.findings.iter().any(|finding| finding.message.contains(why)), "{report:#?}");
    // What lies beside it is read, and its TCB Info is none.
    let files = ["intermediateCaCrl.der", "pckCert.pem", "pckSignChain.pem", "rootCaCrl.der"];
    for name in files.into_iter().chain(["tcbSignChain.pem", "qeIdentity.json", "tcbInfo.json"]) {
        Endorsements::new().add(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(TcbInfo::parse(file("tcbInfo.json").trim_ascii()).is_err());
    assert!(QeIdentity::parse(file("qeIdentity.json").trim_ascii()).is_ok());
}

/// One chip's certificate, and two in which something was changed.
#[test]
fn a_changed_certificate_certifies_nothing() {
    let Some(root) = vectors() else { return };
    let keys = toml::from_str("[sev-snp]\nproducts = [\"milan\"]").unwrap();
    let policy = evaluation(Some(&keys));
    let changed = &[
        Code::CertificateSignatureInvalid,
        Code::SignatureInvalid,
        Code::ChipIdMismatch,
        Code::ReportedTcbMismatch,
    ][..];
    for (name, expected) in [
        // A report of version 2 cannot say whether memory was checked for aliases.
        ("vcek.der", &[Code::PlatformAliasCheck][..]),
        ("vcek-invalid-new.der", changed),
        ("vcek-invalid-legacy.der", changed),
    ] {
        let given = [&format!("snp/milan-trustee-vcek/{name}")[..], "snp/builtin-ark-ask"];
        let report = "snp/milan-trustee-vcek/report.bin";
        let report = judge(&root, report, &given, "2024-06-01T00:00:00Z", &policy);
        assert_eq!(rejects(&report), sorted(expected), "{name}: {:#?}", report.findings);
    }
}

/// Nothing in the folder of vectors is passed over: a test names it, or its folder, or it is told here why not.
#[test]
fn every_vector_is_looked_at() {
    let Some(root) = vectors() else { return };
    let mut sources = fs::read_to_string(root.join("cases.toml")).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["attestation", "verifier", "client", "tests"] {
        read_tests(&repository.join(folder), &mut sources);
    }
    let mut files = Vec::new();
    list(&root, &mut files);
    let mut apart = APART.map(|(prefix, _)| (prefix, 0));
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if folder.is_empty() || folder == "engine" || name == "PROVENANCE.md" {
            continue;
        }
        let is_named = sources.contains(name) || sources.contains(&format!("\"{folder}\""));
        let known = apart.iter_mut().find(|(prefix, _)| path.starts_with(prefix));
        assert!(is_named || known.is_some(), "{path}: no test looks at it, and nobody says why");
        if let Some((_, count)) = known {
            *count += 1;
        }
    }
    for (prefix, count) in apart {
        assert!(count > 0, "{prefix} is not there any more");
    }
}

/// Vectors that no test names, and why.
const APART: [(&str, &str); 16] = [
    ("azure/kinvolk/akpub.pem", "a key that the report beside it carries"),
    ("azure/kinvolk/certs.pem", "AMD's chain, which is built in"),
    ("azure/kinvolk/var-data.bin", "a part of the report beside it"),
    ("azure/snp-trustee/tpm-quote", "a part of the evidence beside it"),
    ("azure/snp-trustee/vcek-genoa.pem", "a part of the evidence beside it"),
    ("azure/tdx-trustee/tpm-quote", "a part of the evidence beside it"),
    ("eventlog/go-eventlog/cos-113-intel-tdx.table.bin", "an ACPI table: where a log lies"),
    ("eventlog/go-tpm-tools/tdxReportData.bin", "what a guest had signed; the report is not here"),
    ("eventlog/trustee-ccel/CCEL_", "logs, which are named, and what another tool says of them"),
    ("nvidia/nvtrust/verifier_", "roots, which are built in"),
    (
        "nvidia/sdk-unit/",
        "reports by names that `nvidia_vectors.rs` joins, and what other tools say of them",
    ),
    ("nvidia/trustee/hopper", "reports, which are named, and what another tool says of one"),
    ("snp/turin-virtee/", "a chip's certificate and its chain; no report of it is here"),
    (
        "tdx/google-ccel-cos113/",
        "a table, a nonce of zeros and a report that only its machine can check",
    ),
    ("tdx/tinfoil-collateral/", "a folder that is given as a whole"),
    ("tdx/trustee/parse_tdx_claims_expected.json", "what another tool says of a quote"),
];

/// Adds the text of every test and program below a folder.
fn read_tests(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_tests(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn judge(root: &Path, evidence: &str, given: &[&str], at: &str, policy: &Policy) -> Report {
    let evidence = fs::read(root.join(evidence)).unwrap();
    let evidence = Unverified::new(Evidence::from_wire(evidence));
    let given: Vec<String> = given.iter().map(|path| (*path).to_owned()).collect();
    let given = endorsements(root, &given);
    match appraise(policy, &evidence, &given, &Expectation::cached(), at.parse().unwrap()) {
        Ok(result) => result.report().clone(),
        Err(refused) => refused.report().clone(),
    }
}

fn sorted(codes: &[Code]) -> Vec<Code> {
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    codes
}

fn rejects(report: &Report) -> Vec<Code> {
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

/// A part of AMD's whose intermediate is given with a signature that is not AMD's, and as it is among those that are built
/// in: the same key, so that either could have issued the part's certificate.
#[test]
fn a_worthless_copy_hides_no_intermediate_that_is_built_in() {
    let Some(root) = vectors() else { return };
    let read = |name: &str| fs::read(root.join("snp/genoa-ms").join(name)).unwrap();
    let given = |names: &[&str]| {
        let mut all = Endorsements::new();
        for name in names {
            all.add(&read(name)).unwrap();
        }
        all
    };
    let mut copy = given(&["ask.pem"]).certificates()[0].clone();
    *copy.last_mut().unwrap() ^= 1;
    let mut with_copy = given(&["vcek.pem"]);
    with_copy.add_certificate(&copy).unwrap();
    let evidence = Unverified::new(Evidence::from_wire(read("report.bin")));
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    for given in [given(&["vcek.pem"]), given(&["vcek.pem", "ask.pem"]), with_copy] {
        let (given, expectation) = (Unverified::new(given), Expectation::cached());
        let outcome = appraise(&evaluation(None), &evidence, &given, &expectation, now);
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// Who signs Intel's documents is built in, too.
#[test]
fn documents_need_no_signer_beside_them() {
    let Some(root) = vectors() else { return };
    let given = endorsements(&root, &["tdx/phala-v4-td10/collateral.json".to_owned()]);
    let mut without = Endorsements::new();
    for kind in [Kind::Crl, Kind::TcbInfo, Kind::QeIdentity] {
        for item in given.inspect_untrusted().items(kind) {
            without.add_item(kind, item).unwrap();
        }
    }
    let keys = toml::from_str("[tdx]\nmin_tcb_evaluation = 17").unwrap();
    let evidence = fs::read(root.join("tdx/phala-v4-td10/quote.bin")).unwrap();
    let evidence = Unverified::new(Evidence::from_wire(evidence));
    let (now, expectation) = ("2025-07-04T10:24:15Z".parse().unwrap(), Expectation::cached());
    for given in [given, Unverified::new(without)] {
        let outcome = appraise(&evaluation(Some(&keys)), &evidence, &given, &expectation, now);
        assert!(outcome.is_ok(), "{outcome:?}");
    }
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

/// The policy that the head of `cases.toml` describes.
const EVALUATION: &str = r#"
schema = 1
name = "evaluation"
version = 1
purpose = "evaluation"
freshness = { evidence = "cached", max_age = "1h", binding = "if-present" }
sev-snp = { measurements = "any", revocation = "if-present" }
tdx = { mr_td = "any", rtmr0 = "any", rtmr1 = "any", rtmr2 = "any", rtmr3 = "any", mr_config_id = "any", mr_owner = "any", tcb_status = ["up-to-date"] }
"#;

/// The policy that the head of `cases.toml` describes, with the case's own keys on top.
fn evaluation(overrides: Option<&toml::Table>) -> Policy {
    let mut policy: toml::Table = toml::from_str(EVALUATION).unwrap();
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
