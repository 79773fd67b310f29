//! The verdict, and the reason, of every piece of genuine evidence of NVIDIA devices in the shared vectors.
//!
//! The vectors lie beside the repository (`VERITEE_VECTORS`); without them there is nothing to run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use attestation::{Challenge, Endorsements, Evidence, UnixTime, Unverified};
use verifier::{Code, Expectation, Policy, Report, Severity, Verdict, appraise};

/// The moment of every appraisal: OCSP apart, these chains are good until the year 9999.
const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);

/// One piece of evidence: what is given, what differs in the policy, and what comes of it.
struct Case<'a> {
    evidence: &'a str,
    /// The chain, of a report that carries none.
    chain: Option<&'a str>,
    policy: &'a str,
    /// What refuses it; nothing, where it is accepted.
    rejects: &'a [Code],
    /// What is warned of beside what an evaluation policy always is.
    warns: &'a [Code],
}

const UNIT: &str = "sdk-unit/sample_attestation_data__";
/// What an evaluation policy of raw evidence without reference values or OCSP responses warns of.
const ALWAYS: [Code; 3] =
    [Code::OcspMissing, Code::DeviceReferenceMissing, Code::BindingNotChecked];

#[test]
fn every_report_has_its_verdict_for_its_reason() {
    let Some(root) = vectors() else { return };
    let accepted =
        |evidence, chain, warns| Case { evidence, chain, policy: "", rejects: &[], warns };
    let refused =
        |evidence, chain, rejects| Case { evidence, chain, policy: "", rejects, warns: &[] };
    let [hopper, blackwell, switch] =
        ["gpu__hopper", "gpu__blackwell", "switch__switch"].map(|name| format!("{UNIT}{name}"));
    let of = |stem: &str, suffix: &str| format!("{stem}{suffix}");
    let (hopper_report, hopper_chain) =
        (of(&hopper, "AttestationReport.txt"), of(&hopper, "CertChain.txt"));
    let (late_report, late_chain) =
        (of(&hopper, "AttestationReportExpired.txt"), of(&hopper, "CertChainExpired.txt"));
    let bad_hopper = of(&hopper, "AttestationReportInvalidSignature.txt");
    let (blackwell_report, blackwell_chain) =
        (of(&blackwell, "AttestationReport.txt"), of(&blackwell, "CertChain.txt"));
    let (switch_report, switch_chain) =
        (of(&switch, "AttestationReport.txt"), of(&switch, "CertChain.txt"));
    let bad_switch = of(&switch, "AttestationReportInvalidSignature.txt");
    let alone = &[Code::DeviceTopology];
    let unstated = "[nvidia-gpu]\nconfidential_compute = [\"unstated\"]";
    let cases = [
        accepted("nvtrust/hopperAttestationReport.txt", Some("nvtrust/hopperCertChain.txt"), &[]),
        accepted("sdk-unit/hopperAttestationReport.txt", Some("sdk-unit/hopperCertChain.txt"), &[]),
        // Driver 535 writes neither which firmware it loaded nor how it protects what it computes on.
        Case {
            policy: unstated,
            warns: &[Code::DeviceFwidMissing, Code::DeviceModeNotAllowed],
            ..accepted(&hopper_report, Some(&hopper_chain), &[])
        },
        // The name is of another test: its certificates are good until the year 9999.
        accepted(&late_report, Some(&late_chain), &[]),
        refused(
            &bad_hopper,
            Some(&hopper_chain),
            &[Code::SignatureInvalid, Code::DeviceFwidMismatch],
        ),
        refused(&blackwell_report, Some(&blackwell_chain), &[Code::DeviceModeNotAllowed]),
        Case {
            policy: unstated,
            warns: &[Code::DeviceModeNotAllowed],
            ..accepted(&blackwell_report, Some(&blackwell_chain), &[])
        },
        accepted(&switch_report, Some(&switch_chain), alone),
        accepted(
            "sdk-unit/switchAttestationReport.txt",
            Some("sdk-unit/switchCertChain.txt"),
            alone,
        ),
        refused(
            &bad_switch,
            Some(&switch_chain),
            &[Code::SignatureInvalid, Code::DeviceIdentityMismatch],
        ),
        accepted(
            "trustee/hopperAttestationReport.txt",
            Some("trustee/hopper_cert_chain_case1.txt"),
            &[],
        ),
        refused(
            "trustee/hopperAttestationReport.txt",
            Some("trustee/hopper_cert_chain_case2.txt"),
            &[Code::DeviceCertificateMissing],
        ),
        refused(
            "trustee/hopperAttestationReport.txt",
            Some("trustee/hopper_cert_chain_case3.txt"),
            &[Code::DeviceCertificateMissing],
        ),
        refused(
            "trustee/hopperAttestationReport.txt",
            Some("trustee/hopper_cert_chain_case4.txt"),
            &[Code::DeviceCertificateMissing],
        ),
        // A zero follows the signature.
        accepted("trustee/hopper_coco_report1.txt", Some("trustee/hopper_coco_certs1.txt"), &[]),
        refused("nvtrust/hopperAttestationReport.txt", None, &[Code::DeviceCertificateMissing]),
        accepted("sdk-evidence/hopper_evidence.json", None, alone),
        // What is wrong with this one only OCSP says: its certificate is on hold.
        accepted("sdk-evidence/hopper_evidence_cert_hold.json", None, &[]),
        accepted("sdk-evidence/multi_gpu_hopper.json", None, alone),
        accepted("sdk-evidence/switch_evidence_ls10.json", None, alone),
        // The same switch four times.
        refused("sdk-evidence/multi_switch_ls10.json", None, &[Code::DeviceRepeated]),
        accepted("sdk-unit/evidence_hopper_590_12.json", None, alone),
        accepted("nvtrust/gpu_evidence.json", None, alone),
        accepted("nvtrust/switch_evidence.json", None, alone),
    ];
    for case in &cases {
        let given = case.chain.map(|chain| fs::read(root.join(chain)).unwrap());
        let evidence = fs::read(root.join(case.evidence)).unwrap();
        let report = judge(&evidence, given.as_deref(), case.policy, &Expectation::cached());
        check(case, &report);
    }
}

#[test]
fn without_ocsp_responses_nothing_is_decided() {
    let Some(root) = vectors() else { return };
    let evidence = fs::read(root.join("sdk-evidence/hopper_evidence_cert_hold.json")).unwrap();
    let required = "[nvidia-gpu]\nrevocation = \"required\"";
    let report = judge(&evidence, None, required, &Expectation::cached());
    assert_eq!(codes(&report, Severity::Reject), [Code::OcspMissing]);
    assert_eq!(report.verdict, Verdict::Unavailable);
}

#[test]
fn the_nonce_is_the_challenge() {
    let Some(root) = vectors() else { return };
    let evidence = fs::read(root.join("sdk-evidence/hopper_evidence.json")).unwrap();
    let nonce = "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576";
    let mut challenge = Challenge(hex::decode(nonce).unwrap().try_into().unwrap());
    let challenged = "[freshness]\nevidence = \"challenged\"";
    let report = judge(&evidence, None, challenged, &Expectation::challenged(challenge));
    assert_eq!(codes(&report, Severity::Reject), []);
    challenge.0[31] ^= 1;
    let report = judge(&evidence, None, challenged, &Expectation::challenged(challenge));
    assert_eq!(codes(&report, Severity::Reject), [Code::DeviceNonceMismatch]);
    let report = judge(&evidence, None, challenged, &Expectation::cached());
    assert_eq!(codes(&report, Severity::Reject), [Code::NotChallenged]);
}

/// Eight GPUs and four switches of one machine name each other, all of them and nobody else.
#[test]
fn a_genuine_fabric_is_closed() {
    let Some(root) = vectors() else { return };
    let list = |name: &str| -> Vec<serde_json::Value> {
        serde_json::from_slice(&fs::read(root.join(name)).unwrap()).unwrap()
    };
    let (gpus, switches) =
        (list("nvtrust/gpu_evidence.json"), list("nvtrust/switch_evidence.json"));
    let policy = "[nvidia-gpu]\ntopology = \"required\"\ncount = 8\n[nvidia-switch]\ncount = 4";
    let judge_all = |gpus: &[serde_json::Value], switches: &[serde_json::Value]| {
        let all = [gpus, switches].concat();
        judge(&serde_json::to_vec(&all).unwrap(), None, policy, &Expectation::cached())
    };
    let report = judge_all(&gpus, &switches);
    assert_eq!(report.verdict, Verdict::Accepted, "{:#?}", report.findings);
    assert_eq!(codes(&report, Severity::Warn), ALWAYS);
    for (name, report) in [
        ("a GPU less", judge_all(&gpus[1..], &switches)),
        ("a switch less", judge_all(&gpus, &switches[1..])),
    ] {
        let expected = [Code::DeviceCount, Code::DeviceTopology];
        assert_eq!(codes(&report, Severity::Reject), expected, "{name}");
    }
    let mut foreign = switches.clone();
    foreign[0] = list("sdk-evidence/switch_evidence_ls10.json").remove(0);
    let report = judge_all(&gpus, &foreign);
    assert_eq!(
        codes(&report, Severity::Reject),
        [Code::DeviceTopology],
        "another machine's switch"
    );
    let mut twice = gpus.clone();
    twice[0] = twice[1].clone();
    let report = judge_all(&twice, &switches);
    let expected = [Code::DeviceRepeated, Code::DeviceTopology];
    assert_eq!(codes(&report, Severity::Reject), expected, "a GPU that answers twice");
}

/// NVIDIA's root alone accepts these, so every byte of report and certificates must count.
#[test]
fn no_octet_of_genuine_evidence_can_change() {
    let Some(root) = vectors() else { return };
    let file = |name: &str| fs::read(root.join(name)).unwrap();
    let report = hex::decode(file("nvtrust/hopperAttestationReport.txt").trim_ascii()).unwrap();
    let chain = file("nvtrust/hopperCertChain.txt");
    let judge = |report: &[u8]| judge(report, Some(&chain), "", &Expectation::cached()).verdict;
    assert_eq!(judge(&report), Verdict::Accepted);
    for at in (0..report.len()).step_by(7) {
        let mut changed = report.clone();
        changed[at] ^= 1;
        assert_ne!(judge(&changed), Verdict::Accepted, "octet {at}");
    }
}

fn check(case: &Case<'_>, report: &Report) {
    let name = case.evidence;
    let mut rejects = case.rejects.to_vec();
    rejects.sort_unstable();
    assert_eq!(codes(report, Severity::Reject), rejects, "{name}: {:#?}", report.findings);
    if case.rejects.is_empty() {
        let mut warns = [case.warns, &ALWAYS].concat();
        warns.sort_unstable();
        assert_eq!(codes(report, Severity::Warn), warns, "{name}: {:#?}", report.findings);
        assert_eq!(report.verdict, Verdict::Accepted, "{name}");
        assert!(!report.claims.is_empty(), "{name}");
    } else {
        assert_ne!(report.verdict, Verdict::Accepted, "{name}");
    }
}

fn judge(evidence: &[u8], given: Option<&[u8]>, more: &str, expectation: &Expectation) -> Report {
    let mut endorsements = Endorsements::new();
    if let Some(given) = given {
        endorsements.add(given).unwrap();
    }
    let evidence = Unverified::new(Evidence::from_wire(evidence.to_vec()));
    let endorsements = Unverified::new(endorsements);
    match appraise(&policy(more), &evidence, &endorsements, expectation, NOW) {
        Ok(result) => result.report().clone(),
        Err(refused) => refused.report().clone(),
    }
}

/// A policy for looking at evidence, with these keys otherwise.
fn policy(more: &str) -> Policy {
    let mut table: toml::Table = toml::from_str(
        r#"
        schema = 1
        name = "evaluation"
        version = 1
        purpose = "evaluation"
        [freshness]
        evidence = "cached"
        binding = "if-present"
        [config]
        digests = "any"
        [nvidia-gpu]
        reference_values = "any"
        revocation = "if-present"
        topology = "if-present"
        [nvidia-switch]
        reference_values = "any"
        revocation = "if-present"
        "#,
    )
    .unwrap();
    for (section, keys) in toml::from_str::<toml::Table>(more).unwrap() {
        let into = table[&section].as_table_mut().unwrap();
        into.extend(keys.as_table().unwrap().clone());
    }
    Policy::parse(&toml::to_string(&table).unwrap(), &|name| Err(name.to_owned())).unwrap()
}

fn codes(report: &Report, severity: Severity) -> Vec<Code> {
    let of_severity = report.findings.iter().filter(|finding| finding.severity == severity);
    let mut codes: Vec<_> = of_severity.map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The folder of the vectors, if it is there.
fn vectors() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test's main is its environment")]
    let named = env::var("VERITEE_VECTORS").ok();
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = named.map_or_else(beside, PathBuf::from).join("nvidia");
    if root.join("nvtrust").is_dir() {
        Some(root)
    } else {
        eprintln!("skipped: no vectors at {}", root.display());
        None
    }
}
