//! What was booted: event logs, and Azure's virtual TPM.

use attestation::Malformed;
use attestation::azure::{AzureEvidence, Hardware, TpmQuote};
use attestation::eventlog::{EventLog, Measured, Register};
use attestation::snp::SnpReport;

use super::{Text, not_yet, report_text};

/// The events of each register with their places, and what the registers would hold.
pub(super) fn event_log(bytes: &[u8]) -> Result<String, Malformed> {
    let log = EventLog::parse(bytes)?;
    let mut out = Text::new("\nEvent log");
    for (register, value) in Register::RTMRS.into_iter().zip(log.replay()) {
        out.head(&format!("{}, which it replays to {value}", register.name()));
        for (place, event) in (1_usize..).zip(log.extended(register)) {
            out.row(&format!("at {place}"), format_args!("{} {}", event.digest, event.kind));
            match event.measured() {
                Measured::Octets(octets) => out.row("", format_args!("measured: {}", text(octets))),
                Measured::Elsewhere => out.row("", format_args!("named: {}", text(event.data))),
                Measured::Mismatch => out.row("", "has data that were not measured"),
            }
        }
    }
    Ok(out.0)
}

/// What the paravisor and its TPM say, then the hardware.
pub(super) fn azure(evidence: &AzureEvidence) -> Result<String, Malformed> {
    let runtime = &evidence.report.runtime;
    let mut out = Text::new("Azure paravisor's report");
    out.row("machine", &runtime.vm.vm_unique_id);
    out.row("secure boot", runtime.vm.secure_boot);
    out.row("virtual TPM", runtime.vm.tpm_enabled);
    out.row("console", runtime.vm.console_enabled);
    let user_data = runtime.user_data.map_or_else(|| "none".to_owned(), |data| data.to_string());
    out.row("user data", user_data);
    out.row("runtime data", format_args!("sha256 {}", evidence.report.runtime_digest));
    match &evidence.tpm_quote {
        Some(quote) => tpm_quote(quote, &mut out),
        None => {
            out.row("TPM quote", "none: it does not show what was booted, nor answer a challenge");
        }
    }
    let hardware = match &evidence.report.hardware {
        Hardware::Snp(report) => report_text(&SnpReport::parse(report)?),
        Hardware::Tdx(_) => not_yet("a report of TDX"),
    };
    Ok(out.0 + "\n" + &hardware)
}

fn tpm_quote(quote: &TpmQuote, out: &mut Text) {
    let attest = &quote.attest;
    out.head("Virtual TPM");
    out.row("answers", hex::encode(&attest.extra_data));
    out.row(
        "clock",
        format_args!(
            "{} ms, {} resets, {} restarts",
            attest.clock.millis, attest.clock.resets, attest.clock.restarts
        ),
    );
    for (number, value) in (0_u32..).zip(&quote.pcrs) {
        if attest.selections.iter().any(|bank| bank.has(number)) {
            out.row(&format!("PCR {number}"), value);
        }
    }
}

/// Octets as people read them, up to a length.
fn text(octets: &[u8]) -> String {
    const LEN_MAX: usize = 2048;
    let shown = octets.get(..LEN_MAX).unwrap_or(octets);
    let is_text = str::from_utf8(shown.trim_ascii_end()).is_ok_and(|text| {
        text.trim_end_matches('\0').chars().all(|c| !c.is_control() || c == '\n')
    });
    if is_text { String::from_utf8_lossy(shown).into_owned() } else { hex::encode(shown) }
}
