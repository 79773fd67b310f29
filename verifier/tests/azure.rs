//! Machines on Azure: each check refuses alone, and evidence of real machines has the verdict that it should.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod outcome;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use attestation::snp::Product;
use attestation::{Endorsements, Evidence, ReportData, UnixTime, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sim::azure::{self, QuoteRecipe, TpmKey};
use verifier::{
    AttestationResult, Code, Expectation, Policy, Refused, Severity, Verdict, appraise,
};
use world::{CHALLENGE, Signer, World, codes, report};

/// Everything that goes into one appraisal.
struct Azure {
    snp: World,
    key: TpmKey,
    runtime: Value,
    /// What the hardware signs, where it is not the runtime data.
    report_data: Option<[u8; 64]>,
    quote: Option<QuoteRecipe>,
    /// Signs the quote, where it is not the attested key.
    signer: Option<TpmKey>,
    /// Changed after it was signed.
    edit_quote: fn(&mut Value),
}

impl Azure {
    /// Evidence that the policy accepts.
    fn new() -> Self {
        let mut snp = World::new(Product::Genoa);
        let key = TpmKey::generate().unwrap();
        let mut pcrs = [[0; 32]; 24];
        for (value, number) in pcrs.iter_mut().zip(0..) {
            *value = [number; 32];
        }
        snp.policy["freshness"]["binding"] = "required".into();
        let mut table = toml::Table::new();
        table.insert("4".to_owned(), vec![hex::encode([4; 32])].into());
        table.insert("11".to_owned(), vec![hex::encode([9; 32]), hex::encode([11; 32])].into());
        snp.set("azure", "pcrs", table);
        snp.expectation = Expectation::challenged(CHALLENGE).with_report_data(USER_DATA);
        Self {
            runtime: azure::runtime_data(&key).unwrap(),
            quote: Some(QuoteRecipe::new(&CHALLENGE.0, &pcrs)),
            report_data: None,
            signer: None,
            edit_quote: |_| (),
            snp,
            key,
        }
    }

    /// The evidence on the wire.
    fn wire(&self) -> Vec<u8> {
        let runtime = self.runtime.to_string().into_bytes();
        let signed = self.report_data.unwrap_or_else(|| azure::report_data(&runtime));
        let hardware = self.snp.report.clone().report_data(&ReportData(signed));
        let hardware = hardware.sign_as(&self.snp.vek_key, self.snp.form).unwrap();
        let report = azure::hcl_report(&hardware, false, &runtime);
        match &self.quote {
            None => report,
            Some(quote) => {
                let mut quote = quote.sign(self.signer.as_ref().unwrap_or(&self.key)).unwrap();
                (self.edit_quote)(&mut quote);
                azure::evidence(&report, &quote, None)
            }
        }
    }

    fn judge(&self) -> Result<AttestationResult, Refused> {
        appraise(
            &self.snp.parsed_policy(),
            &Unverified::new(Evidence::from_wire(self.wire())),
            &self.snp.endorsements(),
            &self.snp.expectation,
            self.snp.now,
        )
    }
}

type Defect<'a> = (&'a str, &'a [Code], &'a dyn Fn(&mut Azure));

/// Starts from an accepting case, makes one defect, and wants exactly its codes.
fn each_is_refused(defects: &[Defect<'_>]) {
    assert!(Azure::new().judge().is_ok());
    for (name, expected, break_it) in defects {
        let mut azure = Azure::new();
        break_it(&mut azure);
        let outcome = azure.judge();
        let said = report(&outcome);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes(said, Severity::Reject), expected, "{name}: {:#?}", said.findings);
        assert!(outcome.is_err(), "{name}");
    }
}

#[test]
fn an_accepted_machine_says_what_it_is_and_gives_no_keys() {
    let outcome = Azure::new().judge();
    let said = report(&outcome);
    assert_eq!((said.verdict, said.platform), (Verdict::Accepted, "azure-sev-snp"), "{said:#?}");
    assert_eq!(codes(said, Severity::Warn), [Code::UntrustedAnchors]);
    let azure = &said.claims["azure"];
    assert_eq!(azure["tpm_quote"]["pcrs"]["11"], hex::encode([11; 32]));
    assert_eq!(azure["tpm_quote"]["resets"], 2);
    assert_eq!(azure["user_data"], "ab".repeat(64));
    assert!(outcome.unwrap().keys().is_none(), "nothing binds keys of Veritee's");
}

#[test]
fn each_check_of_the_quote_refuses_alone() {
    each_is_refused(&[
        ("other runtime data", &[Code::AzureRuntimeDataMismatch], &|it| {
            it.report_data = Some(azure::report_data(b"other"));
        }),
        ("more than the runtime data", &[Code::AzureRuntimeDataMismatch], &|it| {
            let mut data = azure::report_data(it.runtime.to_string().as_bytes());
            data[63] = 1;
            it.report_data = Some(data);
        }),
        ("runtime data of a guest's above the paravisor", &[Code::VmplNotAllowed], &|it| {
            // The policy is also of machines without a paravisor.
            it.snp.set("sev-snp", "vmpl", vec![0, 2]);
            it.snp.report.vmpl = 2;
        }),
        ("another key", &[Code::TpmQuoteSignatureInvalid], &|it| {
            it.signer = Some(TpmKey::generate().unwrap());
        }),
        ("a signature changed", &[Code::TpmQuoteSignatureInvalid], &|it| {
            it.edit_quote = |quote| {
                let signature = quote["signature"].as_str().unwrap();
                let flipped = if signature.ends_with('0') { "1" } else { "0" };
                quote["signature"] = format!("{}{flipped}", &signature[..511]).into();
            };
        }),
        ("a message changed", &[Code::TpmQuoteSignatureInvalid], &|it| {
            it.edit_quote = |quote| {
                // A digit of the clock.
                let message = quote["message"].as_str().unwrap().to_owned();
                let at = 2 * (4 + 2 + 36 + 34);
                quote["message"] = format!("{}f{}", &message[..at], &message[at + 1..]).into();
            };
        }),
        ("another bank", &[Code::TpmQuoteSelection], &|it| {
            it.quote.as_mut().unwrap().selections[0].0 = 0x0c;
        }),
        ("two banks", &[Code::TpmQuoteSelection], &|it| {
            it.quote.as_mut().unwrap().selections.push((0x04, [0xff; 3]));
        }),
        ("no bank", &[Code::TpmQuoteSelection], &|it| {
            it.quote.as_mut().unwrap().selections.clear();
        }),
        ("no register", &[Code::TpmQuoteSelection], &|it| {
            it.quote.as_mut().unwrap().selections[0].1 = [0; 3];
        }),
        ("values that were not quoted", &[Code::TpmPcrDigestMismatch], &|it| {
            it.edit_quote = |quote| quote["pcrs"][23] = "77".repeat(32).into();
        }),
        ("another digest", &[Code::TpmPcrDigestMismatch], &|it| {
            it.quote.as_mut().unwrap().digest = Some([7; 32]);
        }),
        ("a register that was not quoted", &[Code::TpmPcrNotQuoted], &|it| {
            it.quote.as_mut().unwrap().selections[0].1 = [0xef, 0xff, 0xff];
        }),
        ("another value", &[Code::TpmPcrNotAllowed], &|it| {
            it.quote.as_mut().unwrap().pcrs[4] = [5; 32];
        }),
        ("another challenge", &[Code::ChallengeNotAnswered], &|it| {
            it.quote.as_mut().unwrap().extra_data = vec![0xc5; 32];
        }),
        ("half a challenge", &[Code::ChallengeNotAnswered], &|it| {
            it.quote.as_mut().unwrap().extra_data.truncate(31);
        }),
        ("no quote", &[Code::TpmQuoteMissing, Code::ChallengeNotAnswered], &|it| {
            it.quote = None;
        }),
        ("no quote, and nobody asked", &[Code::TpmQuoteMissing], &|it| {
            it.quote = None;
            it.snp.expectation = Expectation::cached().with_report_data(USER_DATA);
        }),
    ]);
}

#[test]
fn each_check_of_the_machine_refuses_alone() {
    each_is_refused(&[
        ("other user data", &[Code::ReportDataMismatch], &|it| {
            it.runtime["user-data"] = "00".repeat(64).into();
        }),
        ("no user data", &[Code::ReportDataMismatch], &|it| {
            it.runtime.as_object_mut().unwrap().remove("user-data");
        }),
        ("no user data stated", &[Code::BindingNotChecked], &|it| {
            it.snp.expectation = Expectation::challenged(CHALLENGE);
        }),
        ("no secure boot", &[Code::AzureSecureBoot], &|it| {
            it.runtime["vm-configuration"]["secure-boot"] = false.into();
        }),
        ("no TPM", &[Code::AzureTpm], &|it| {
            it.runtime["vm-configuration"]["tpm-enabled"] = false.into();
        }),
        ("a console", &[Code::AzureConsole], &|it| {
            it.snp.set("azure", "console", "refused");
        }),
        ("a TPM that persists", &[Code::AzureTpmPersisted], &|it| {
            it.snp.set("azure", "tpm_persisted", "refused");
            it.runtime["vm-configuration"]["tpm-persisted"] = true.into();
        }),
        ("another machine", &[Code::AzureVmNotAllowed], &|it| {
            it.snp.set("azure", "vms", vec!["00000000-0000-0000-0000-000000000002"]);
        }),
        ("no section for Azure", &[Code::PlatformNotAllowed], &|it| {
            it.snp.policy.remove("azure");
        }),
        ("no section for the hardware", &[Code::PlatformNotAllowed], &|it| {
            it.snp.policy.remove("sev-snp");
        }),
        ("hardware that the policy refuses", &[Code::MeasurementNotAllowed], &|it| {
            it.snp.report.measurement = [0x43; 48];
        }),
        ("hardware that is not authentic", &[Code::RootNotTrusted], &|it| {
            it.snp.issuer_key = Signer::Asvk;
        }),
        ("no JSON of a collector", &[Code::EvidenceMalformed], &|it| {
            it.edit_quote = |quote| quote["more"] = json!(1);
        }),
    ]);
}

#[test]
fn a_paravisor_that_does_not_say_keeps_no_state() {
    let mut azure = Azure::new();
    let vm = azure.runtime["vm-configuration"].as_object_mut().unwrap();
    assert!(vm.remove("tpm-persisted").is_some());
    assert!(azure.judge().is_ok());
    azure.snp.set("azure", "tpm_persisted", "refused");
    assert!(azure.judge().is_ok());
    azure.snp.set("azure", "tpm_persisted", "required");
    assert!(azure.judge().is_err());
}

#[test]
fn what_a_policy_relaxes_is_accepted_with_a_warning() {
    let changes: &[Defect<'_>] = &[
        ("no quote", &[Code::TpmQuoteMissing, Code::NotChallenged], &|it| {
            it.quote = None;
            it.snp.set("azure", "tpm_quote", "if-present");
            it.snp.expectation = Expectation::cached().with_report_data(USER_DATA);
        }),
        ("no register pinned", &[Code::TpmPcrsNotPinned], &|it| {
            it.snp.policy["azure"].as_table_mut().unwrap().remove("pcrs");
        }),
        ("no challenge", &[Code::NotChallenged], &|it| {
            it.snp.expectation = Expectation::cached().with_report_data(USER_DATA);
        }),
        ("cached evidence", &[], &|it| {
            it.snp.set("freshness", "evidence", "cached");
            it.snp.expectation = Expectation::cached().with_report_data(USER_DATA);
        }),
        ("no user data stated", &[Code::BindingNotChecked], &|it| {
            it.snp.policy["purpose"] = "evaluation".into();
            it.snp.set("freshness", "binding", "if-present");
            it.snp.expectation = Expectation::challenged(CHALLENGE);
        }),
        ("secure boot does not matter", &[], &|it| {
            it.snp.set("azure", "secure_boot", "allowed");
            it.runtime["vm-configuration"]["secure-boot"] = false.into();
        }),
        ("an older paravisor", &[], &|it| {
            it.runtime["vm-configuration"].as_object_mut().unwrap().remove("tpm-persisted");
        }),
        ("the machine by name", &[], &|it| {
            it.snp.set("azure", "vms", vec!["00000000-0000-0000-0000-000000000001"]);
        }),
    ];
    for (name, expected, change) in changes {
        let mut azure = Azure::new();
        change(&mut azure);
        let outcome = azure.judge();
        let said = report(&outcome);
        let mut expected = expected.to_vec();
        expected.push(Code::UntrustedAnchors);
        expected.sort_unstable();
        assert_eq!(codes(said, Severity::Warn), expected, "{name}: {:#?}", said.findings);
        assert!(outcome.is_ok(), "{name}: {:#?}", said.findings);
    }
}

#[test]
fn what_the_hardware_does_not_vouch_for_is_not_shown() {
    let mut azure = Azure::new();
    azure.report_data = Some([0; 64]);
    let outcome = azure.judge();
    let said = report(&outcome);
    assert!(!said.claims.contains_key("azure"));
    let skipped = said.findings.iter().filter(|finding| finding.code == Code::NotEvaluated);
    // Binding, machine, registers; configuration and model.
    assert_eq!(skipped.count(), 5, "{:#?}", said.findings);
}

#[test]
fn production_relaxes_nothing() {
    let azure = |section: &str| {
        let text = format!(
            "schema = 1\nname = \"a\"\nversion = 1\npurpose = \"production\"\n[config]\ndigests = [\"sha256:{0}\"]\n\
             [sev-snp]\nproducts = [\"genoa\"]\nmeasurements = [\"{1}\"]\n\
             [sev-snp.min_tcb.genoa]\nbootloader = 1\ntee = 0\nsnp = 1\nmicrocode = 1\n[azure]\n{section}",
            "11".repeat(32),
            "22".repeat(48)
        );
        Policy::parse(&text, &|_| Err("no files".to_owned())).map_err(|error| error.to_string())
    };
    let pcrs = format!("pcrs.4 = [\"{}\"]\n", "33".repeat(32));
    let policy = azure(&pcrs).unwrap();
    assert!(policy.show().contains("PCR 4: 3333"), "{}", policy.show());
    for (section, key) in [
        ("", "azure.pcrs"),
        (&format!("tpm_quote = \"if-present\"\n{pcrs}"), "azure.tpm_quote"),
        (&format!("secure_boot = \"allowed\"\n{pcrs}"), "azure.secure_boot"),
        (&format!("tpm = \"allowed\"\n{pcrs}"), "azure.tpm"),
        (&pcrs.replace(".4", ".24"), "azure.pcrs.24"),
        (&pcrs.replace(".4", ".04"), "azure.pcrs.04"),
        (&pcrs.replace("33", "3"), "azure.pcrs.4"),
        (&format!("more = 1\n{pcrs}"), "unknown field"),
    ] {
        let error = azure(section).unwrap_err();
        assert!(error.contains(key), "{section}: {error}");
    }
}

/// Evidence that collectors brought from real machines, without a policy that knows them.
#[test]
fn evidence_of_real_machines_has_its_verdict() {
    let Some(root) = vectors() else { return };
    let judge = |path: &str, given: Option<&str>, more: &str, at: &str| {
        let text = format!(
            "schema = 1\nname = \"real\"\nversion = 1\npurpose = \"evaluation\"\n[freshness]\nevidence = \"cached\"\n\
             binding = \"if-present\"\n[config]\ndigests = \"any\"\n\
             [sev-snp]\nproducts = [\"milan\", \"genoa\"]\nmeasurements = \"any\"\nrevocation = \"if-present\"\n\
             platform.alias_check = \"allowed\"\n[azure]\n{more}",
        );
        let policy = Policy::parse(&text, &|_| Err("no files".to_owned())).unwrap();
        let mut endorsements = Endorsements::new();
        if let Some(given) = given {
            endorsements.add(&fs::read(root.join(given)).unwrap()).unwrap();
        }
        appraise(
            &policy,
            &Unverified::new(Evidence::from_wire(fs::read(root.join(path)).unwrap())),
            &Unverified::new(endorsements),
            &Expectation::cached(),
            at.parse::<UnixTime>().unwrap(),
        )
    };
    let at = "2026-11-23T00:00:00Z";
    for path in [
        "snp-trustee/evidence-v0.json",
        "snp-trustee/evidence-v1.json",
        "snp-trustee/evidence-v2.json",
        "snp-trustee/evidence-genoa.json",
    ] {
        let outcome = judge(path, None, "", at);
        let said = report(&outcome);
        assert!(outcome.is_ok(), "{path}: {:#?}", said.findings);
        assert!(codes(said, Severity::Warn).contains(&Code::TpmPcrsNotPinned));
        // The value that it has, pinned; and another.
        let pcr = said.claims["azure"]["tpm_quote"]["pcrs"]["4"].as_str().unwrap();
        assert!(judge(path, None, &format!("pcrs.4 = [\"{pcr}\"]"), at).is_ok(), "{path}");
        let other = judge(path, None, &format!("pcrs.5 = [\"{pcr}\"]"), at);
        assert_eq!(codes(report(&other), Severity::Reject), [Code::TpmPcrNotAllowed], "{path}");
    }
    let raw = "snp-trustee/hcl-report.bin";
    let given = Some("snp-trustee/vcek.pem");
    let outcome = judge(raw, given, "", at);
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::TpmQuoteMissing]);
    let outcome = judge(raw, given, "tpm_quote = \"if-present\"", at);
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    let outcome = judge(raw, given, "tpm_quote = \"if-present\"", "2031-01-01T00:00:00Z");
    assert!(codes(report(&outcome), Severity::Reject).contains(&Code::CertificateExpired));
    // Nobody gave its chip's certificate.
    let outcome = judge("kinvolk/hcl-report-snp.bin", None, "", at);
    assert_eq!(report(&outcome).verdict, Verdict::Unavailable);
}

/// TDX: the quote is of the report that the paravisor kept, or it says nothing of the TPM's key.
#[test]
fn evidence_of_real_machines_with_tdx_has_its_verdict() {
    let Some(root) = vectors() else { return };
    let any = "\"any\"";
    let text = format!(
        "schema = 1\nname = \"real\"\nversion = 1\npurpose = \"evaluation\"\n[freshness]\nevidence = \"cached\"\n\
         binding = \"if-present\"\n[config]\ndigests = {any}\n\
         [tdx]\nmr_td = {any}\nrtmr0 = {any}\nrtmr1 = {any}\nrtmr2 = {any}\nrtmr3 = {any}\nmr_config_id = {any}\n\
         mr_owner = {any}\nmr_owner_config = {any}\nservice_td = {any}\nadvisories_allowed = {any}\n\
         min_tcb_evaluation = 1\nattributes.sept_ve_disable = \"allowed\"\nrevocation = \"if-present\"\ntcb_status = [\"up-to-date\", \"out-of-date\"]\n\
         [azure]\nsecure_boot = \"allowed\"",
    );
    let policy = Policy::parse(&text, &|_| Err("no files".to_owned())).unwrap();
    let collateral = root.join("../tdx/assembled/automata-oct25-00806F05.collateral.json");
    let mut endorsements = Endorsements::new();
    endorsements.add(&fs::read(collateral).unwrap()).unwrap();
    let endorsements = Unverified::new(endorsements);
    let judge = |evidence: &[u8]| {
        appraise(
            &policy,
            &Unverified::new(Evidence::from_wire(evidence.to_vec())),
            &endorsements,
            &Expectation::cached(),
            "2025-11-01T12:26:40Z".parse::<UnixTime>().unwrap(),
        )
    };
    for name in ["tdx-trustee/evidence-v0.json", "tdx-trustee/evidence-v1.json"] {
        let outcome = judge(&fs::read(root.join(name)).unwrap());
        let said = report(&outcome);
        assert!(outcome.is_ok(), "{name}: {:#?}", said.findings);
        assert_eq!((said.platform, &said.claims["azure"]["tpm"]), ("azure-tdx", &json!(true)));
    }
    // The same machine's report, of another moment: a register differs, and the report's hash fits.
    let mut evidence: Value =
        serde_json::from_slice(&fs::read(root.join("tdx-trustee/evidence-v0.json")).unwrap())
            .unwrap();
    let hcl = evidence["hcl_report"].as_array_mut().unwrap();
    hcl[32 + 512 + 208] = (hcl[32 + 512 + 208].as_u64().unwrap() ^ 1).into();
    let info: Vec<u8> =
        serde_json::from_value(Value::from(hcl[32 + 512..32 + 1024].to_vec())).unwrap();
    for (at, octet) in attestation::Sha384::of(&info).0.into_iter().enumerate() {
        hcl[32 + 80 + at] = octet.into();
    }
    let outcome = judge(evidence.to_string().as_bytes());
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::AzureTdReportMismatch]);
    for raw in ["tdx-trustee/hcl-report.bin", "kinvolk/hcl-report-tdx.bin"] {
        let outcome = judge(&fs::read(root.join(raw)).unwrap());
        assert_eq!(codes(report(&outcome), Severity::Reject), [Code::AzureTdQuoteMissing], "{raw}");
    }
}

/// What another program's TPM signed (`azure/record.sh` makes it), in the place of our own quote.
#[test]
fn a_software_tpm_s_quote_is_accepted_as_ours_is() {
    let recorded: Value = serde_json::from_str(include_str!("azure/swtpm.json")).unwrap();
    let modulus: Vec<u8> = hex::decode(recorded["modulus"].as_str().unwrap()).unwrap();
    let judge = |edit: &dyn Fn(&mut Value)| {
        let mut azure = Azure::new();
        let mut quote = recorded["quote"].clone();
        edit(&mut quote);
        azure.runtime["keys"][0]["n"] = URL_SAFE_NO_PAD.encode(&modulus).into();
        let mut pcrs = toml::Table::new();
        for (register, content) in [(4, "firmware"), (9, "kernel")] {
            // What the TPM was told to extend into a register of zeros.
            let digest = attestation::Sha256::of(content.as_bytes());
            let value = attestation::Sha256::of_parts(&[&[0; 32], digest.as_bytes()]);
            pcrs.insert(register.to_string(), vec![value.to_string()].into());
        }
        azure.snp.set("azure", "pcrs", pcrs);
        let runtime = azure.runtime.to_string().into_bytes();
        let hardware =
            azure.snp.report.clone().report_data(&ReportData(azure::report_data(&runtime)));
        let hardware = hardware.sign_as(&azure.snp.vek_key, azure.snp.form).unwrap();
        let report = azure::hcl_report(&hardware, false, &runtime);
        appraise(
            &azure.snp.parsed_policy(),
            &Unverified::new(Evidence::from_wire(azure::evidence(&report, &quote, None))),
            &azure.snp.endorsements(),
            &azure.snp.expectation,
            azure.snp.now,
        )
    };
    let outcome = judge(&|_| ());
    assert!(outcome.is_ok(), "{:#?}", report(&outcome).findings);
    let outcome = judge(&|quote| quote["pcrs"][4] = "00".repeat(32).into());
    assert_eq!(codes(report(&outcome), Severity::Reject), [Code::TpmPcrDigestMismatch]);
    // Of the same length and form as ours: only names, numbers and digests differ.
    let ours = QuoteRecipe::new(&CHALLENGE.0, &[[0; 32]; 24]).message();
    assert_eq!(
        hex::decode(recorded["quote"]["message"].as_str().unwrap()).unwrap().len(),
        ours.len()
    );
}

/// Every bit of the report's and the quote's signed octets counts.
#[test]
fn no_single_octet_of_the_evidence_can_change() {
    let azure = Azure::new();
    let evidence: Value = serde_json::from_slice(&azure.wire()).unwrap();
    let policy = azure.snp.parsed_policy();
    let endorsements = azure.snp.endorsements();
    let is_accepted = |evidence: &Value| {
        let evidence = Unverified::new(Evidence::from_wire(evidence.to_string().into_bytes()));
        appraise(&policy, &evidence, &endorsements, &azure.snp.expectation, azure.snp.now).is_ok()
    };
    assert!(is_accepted(&evidence));
    let message = evidence["tpm_quote"]["message"].as_str().unwrap().to_owned();
    for at in (0..message.len()).step_by(2) {
        let mut bad = evidence.clone();
        let octet = u8::from_str_radix(&message[at..at + 2], 16).unwrap() ^ 1;
        bad["tpm_quote"]["message"] =
            format!("{}{octet:02x}{}", &message[..at], &message[at + 2..]).into();
        assert!(!is_accepted(&bad), "octet {} of the quote", at / 2);
    }
}

const USER_DATA: ReportData = ReportData([0xab; 64]);

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from).join("azure");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: there are no vectors at {}", root.display());
    None
}
