//! Real evidence of machines on Azure.
//!
//! The vectors lie beside the repository (`VERITEE_VECTORS`); without them there is nothing to run.
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::azure::{AzureEvidence, Hardware, HclReport, Selection};
use attestation::snp::SnpReport;
use attestation::{EvidenceKind, Sha256};

#[test]
fn every_genuine_report_is_read_and_hashes_its_runtime_data() {
    let Some(root) = vectors() else { return };
    for (name, is_snp, has_user_data) in [
        ("kinvolk/hcl-report-snp.bin", true, false),
        ("kinvolk/hcl-report-tdx.bin", false, true),
        ("snp-trustee/hcl-report.bin", true, true),
        ("tdx-trustee/hcl-report.bin", false, true),
    ] {
        let bytes = fs::read(root.join(name)).unwrap();
        assert_eq!(
            EvidenceKind::detect(&bytes),
            Ok(EvidenceKind::AzureHcl(bytes.clone())),
            "{name}"
        );
        let report = HclReport::parse(&bytes).unwrap();
        let report_data = match &report.hardware {
            Hardware::Snp(report) => SnpReport::parse(report).unwrap().report_data().to_vec(),
            Hardware::Tdx(report) => report.report_data().to_vec(),
        };
        assert_eq!(report_data, [report.runtime_digest.0, [0; 32]].concat(), "{name}");
        assert_eq!(matches!(report.hardware, Hardware::Snp(_)), is_snp, "{name}");
        assert_eq!(report.runtime.user_data.is_some(), has_user_data, "{name}");
        assert!(report.runtime.vm.tpm_enabled);
    }
}

#[test]
fn every_genuine_form_of_json_is_read() {
    let Some(root) = vectors() else { return };
    for (name, nonce_len) in [
        ("snp-trustee/evidence-v0.json", 9),
        ("snp-trustee/evidence-v1.json", 9),
        ("snp-trustee/evidence-v2.json", 48),
        ("snp-trustee/evidence-genoa.json", 48),
        ("tdx-trustee/evidence-v0.json", 9),
        ("tdx-trustee/evidence-v1.json", 9),
    ] {
        let bytes = fs::read(root.join(name)).unwrap();
        assert_eq!(EvidenceKind::detect(&bytes), Ok(EvidenceKind::AzureJson), "{name}");
        let evidence = AzureEvidence::parse_json(&bytes).unwrap();
        let quote = evidence.tpm_quote.unwrap();
        assert_eq!(quote.attest.extra_data.len(), nonce_len, "{name}");
        assert_eq!(quote.attest.selections.len(), 1);
        let [bank] = quote.attest.selections[..] else { panic!("one bank") };
        assert!(bank.algorithm == Selection::SHA256 && (0..24).all(|register| bank.has(register)));
        let values: Vec<_> = quote.pcrs.iter().map(|pcr| pcr.0.as_slice()).collect();
        assert_eq!(Sha256::of_parts(&values).0.as_slice(), quote.attest.pcr_digest, "{name}");
        match evidence.report.hardware {
            Hardware::Snp(_) => assert_eq!(evidence.endorsements.certificates().len(), 1),
            Hardware::Tdx(report) => {
                let quote = evidence.td_quote.unwrap();
                assert_eq!(quote[48..48 + 584], report.quote_body()[..584], "{name}");
            }
        }
    }
}

fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("VERITEE_VECTORS").map_or(beside, PathBuf::from).join("azure");
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: there are no vectors at {}", root.display());
    None
}
