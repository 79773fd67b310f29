//! Event logs of real machines against their quotes, and policies that pin what was measured.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::eventlog::{EventLog, Measured, Register};
use attestation::{Endorsements, Evidence, UnixTime, Unverified};
use verifier::{AttestationResult, Code, Expectation, Policy, Refused, Report, Severity, appraise};

/// A quote, its log, and a policy of what it may be.
struct Case {
    quote: Vec<u8>,
    log: Option<Vec<u8>>,
    tdx: String,
}

impl Case {
    /// The genuine machine, of which nothing is pinned but by its log.
    fn new(root: &Path) -> Self {
        let read = |name: &str| fs::read(root.join("tdx/google-ccel-cos113").join(name)).unwrap();
        let tdx = "rtmr0 = \"any\"\nrtmr1 = \"any\"\nrtmr2 = \"any\"\nrtmr3 = \"any\"\n";
        Self { quote: read("quote.bin"), log: Some(read("ccel_data.bin")), tdx: tdx.to_owned() }
    }

    fn judge(&self, root: &Path) -> Result<AttestationResult, Refused> {
        let any = "\"any\"";
        let text = format!(
            "schema = 1\nname = \"log\"\nversion = 1\npurpose = \"evaluation\"\n[freshness]\nevidence = \"cached\"\n\
             binding = \"if-present\"\n[config]\ndigests = {any}\n\
             [tdx]\nmr_td = {any}\nmr_config_id = {any}\nmr_owner = {any}\nmr_owner_config = {any}\nservice_td = {any}\n\
             min_tcb_evaluation = 17\nrevocation = \"if-present\"\n{}",
            self.tdx
        );
        let policy = Policy::parse(&text, &|_| Err("no files".to_owned())).unwrap();
        let collateral = root.join("tdx/assembled/automata-oct25-00806F05.collateral.json");
        let mut endorsements = Endorsements::new();
        endorsements.add(&fs::read(collateral).unwrap()).unwrap();
        let evidence = Evidence::from_wire(self.quote.clone());
        let evidence = match &self.log {
            Some(log) => evidence.with_event_log(log.clone()),
            None => evidence,
        };
        appraise(
            &policy,
            &Unverified::new(evidence),
            &Unverified::new(endorsements),
            &Expectation::cached(),
            "2025-11-01T12:26:40Z".parse::<UnixTime>().unwrap(),
        )
    }

    fn refused(&self, root: &Path) -> Vec<Code> {
        codes(&self.judge(root), Severity::Reject)
    }
}

#[test]
fn a_genuine_log_is_accepted_with_its_quote_and_no_other() {
    let Some(root) = vectors() else { return };
    let mut case = Case::new(&root);
    assert_eq!(case.refused(&root), []);
    case.log = None;
    assert_eq!(case.refused(&root), []);
    let log = |name: &str| Some(fs::read(root.join("eventlog").join(name)).unwrap());
    for (name, expected) in [
        ("go-eventlog/cos-113-intel-tdx.bin", &[][..]),
        (
            "go-eventlog/cos-113-intel-tdx-dupe-separator.bin",
            &[Code::EventSeparatorDuplicate, Code::EventLogMismatch, Code::EventLogMismatch],
        ),
        (
            "go-eventlog/cos-113-intel-tdx-dupe-separator-unpadded.bin",
            &[Code::EventSeparatorDuplicate, Code::EventLogMismatch, Code::EventLogMismatch],
        ),
        // Firmware of that age ends a register twice; RTMR3 is zero in both.
        (
            "trustee-ccel/CCEL_data_ovmf",
            &[
                Code::EventSeparatorDuplicate,
                Code::EventLogMismatch,
                Code::EventLogMismatch,
                Code::EventLogMismatch,
            ],
        ),
        (
            "trustee-ccel/CCEL_AAEL_alibabacloud",
            &[
                Code::EventLogMismatch,
                Code::EventLogMismatch,
                Code::EventLogMismatch,
                Code::EventLogMismatch,
            ],
        ),
        ("go-eventlog/CCEL.bin", &[Code::EventLogMalformed]),
        ("go-tpm-tools/cos-101-amd-sev.bin", &[Code::EventLogMalformed]),
    ] {
        case.log = log(name);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let mut found = case.refused(&root);
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn events_may_be_pinned_instead_of_registers() {
    let Some(root) = vectors() else { return };
    let mut case = Case::new(&root);
    let bytes = case.log.clone().unwrap();
    let log = EventLog::parse(&bytes).unwrap();
    let events: Vec<_> = log.extended(Register::Rtmr2).collect();
    let (cmdline, others) = events.split_last().unwrap();
    let Measured::Octets(text) = cmdline.measured() else { panic!("the log shows it") };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let digests: Vec<_> = others.iter().map(|event| format!("\"{}\"", event.digest)).collect();
    // GRUB's menu and what it starts, by digest; the kernel's command line as it reads, at its place.
    let pinned = format!(
        "rtmr0 = \"any\"\nrtmr1 = \"any\"\nrtmr3 = \"any\"\n[tdx.event_log]\nsecure_boot = \"refused\"\n\
         [[tdx.event_log.events]]\nname = \"GRUB\"\nregister = \"rtmr2\"\ndigests = [{}]\n\
         [[tdx.event_log.events]]\nname = \"command line\"\nregister = \"rtmr2\"\nat = [{}]\ntext = ['''{text}''']\n",
        digests.join(", "),
        events.len()
    );
    case.tdx.clone_from(&pinned);
    let outcome = case.judge(&root);
    assert_eq!(codes(&outcome, Severity::Reject), []);
    let warnings = &report(&outcome).findings;
    assert!(!warnings.iter().any(|finding| finding.message.contains("any RTMR2")), "{warnings:?}");
    case.tdx = pinned.replace("cros_efi", "cros_evil");
    assert_eq!(case.refused(&root), [Code::EventNotAllowed]);
    case.tdx = pinned.replace("secure_boot = \"refused\"", "secure_boot = \"required\"");
    assert_eq!(case.refused(&root), [Code::EventSecureBoot]);
    case.tdx.clone_from(&pinned);
    case.log = None;
    assert_eq!(case.refused(&root), [Code::EventLogMissing]);
}

#[test]
fn a_log_is_of_evidence_with_registers() {
    let Some(root) = vectors() else { return };
    let mut case = Case::new(&root);
    case.quote = fs::read(root.join("snp/genoa-ms/report.bin")).unwrap();
    case.tdx.push_str("[sev-snp]\nmeasurements = \"any\"\nrevocation = \"if-present\"\n");
    assert!(!case.refused(&root).contains(&Code::EventLogNotApplicable), "it is not authentic");
    case.quote = fs::read(root.join("nvidia/sdk-evidence/hopper_evidence.json")).unwrap();
    assert!(case.refused(&root).contains(&Code::EventLogNotApplicable));
}

fn report(outcome: &Result<AttestationResult, Refused>) -> &Report {
    match outcome {
        Ok(result) => result.report(),
        Err(refused) => refused.report(),
    }
}

fn codes(outcome: &Result<AttestationResult, Refused>, severity: Severity) -> Vec<Code> {
    let findings = report(outcome).findings.iter();
    findings.filter(|finding| finding.severity == severity).map(|finding| finding.code).collect()
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: there are no vectors at {}", root.display());
    None
}
