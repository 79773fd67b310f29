//! Real logs of real guests, and what they replay to.
//!
//! The vectors lie beside the repository (`VERITEE_VECTORS`); without them there is nothing to run.
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs;
use std::path::{Path, PathBuf};

use attestation::eventlog::{EventKind, EventLog, Measured, Register};

#[test]
fn a_genuine_log_replays_to_its_quote() {
    let Some(root) = vectors() else { return };
    let quote = fs::read(root.join("tdx/google-ccel-cos113/quote.bin")).unwrap();
    for name in
        ["tdx/google-ccel-cos113/ccel_data.bin", "eventlog/go-eventlog/cos-113-intel-tdx.bin"]
    {
        let log = fs::read(root.join(name)).unwrap();
        let log = EventLog::parse(&log).unwrap();
        assert_eq!(log.events().len(), 43);
        // The registers follow 376 octets of header and body.
        let signed = quote.get(376..).unwrap().chunks(48);
        assert!(log.replay().iter().zip(signed).all(|(value, signed)| value.0 == signed), "{name}");
        let cmdline = log.extended(Register::Rtmr2).last().unwrap().measured();
        assert!(
            matches!(cmdline, Measured::Octets(text) if text.starts_with(b"/syslinux/vmlinuz.A init="))
        );
    }
}

#[test]
fn every_genuine_log_is_read_and_its_data_are_what_was_measured() {
    let Some(root) = vectors() else { return };
    for (name, events) in [
        ("go-eventlog/CCEL_unpadded.data.bin", 19),
        ("go-eventlog/event_log.bin", 27),
        ("go-eventlog/cos-113-intel-tdx-dupe-separator.bin", 43),
        ("go-eventlog/cos-113-intel-tdx-dupe-separator-unpadded.bin", 43),
        ("trustee-ccel/CCEL_AAEL_alibabacloud", 87),
        ("trustee-ccel/CCEL_data_grub", 37),
        ("trustee-ccel/CCEL_data_ovmf", 20),
    ] {
        let log = fs::read(root.join("eventlog").join(name)).unwrap();
        let log = EventLog::parse(&log).unwrap();
        assert_eq!(log.events().len(), events, "{name}");
        for event in log.events() {
            assert_ne!(event.measured(), Measured::Mismatch, "{name}: {event:?}");
        }
        let separators = log.events().iter().filter(|event| event.kind == EventKind::SEPARATOR);
        assert!(separators.clone().all(|event| event.data == [0; 4]), "{name}");
        assert!(separators.count() > 0);
    }
}

#[test]
fn what_is_no_log_of_this_kind_is_refused() {
    let Some(root) = vectors() else { return };
    for name in [
        // The ACPI table, not the area that it points to.
        "eventlog/go-eventlog/CCEL.bin",
        // Logs of a TPM: no SHA-384 there, or registers that only a TPM has.
        "eventlog/go-tpm-tools/cos-101-amd-sev.bin",
        "eventlog/go-tpm-tools/ubuntu-2404-amd-sevsnp.bin",
        "eventlog/go-tpm-tools/cel.b64",
        "tdx/google-ccel-cos113/quote.bin",
    ] {
        let bytes = fs::read(root.join(name)).unwrap();
        assert!(EventLog::parse(&bytes).is_err(), "{name}");
    }
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
