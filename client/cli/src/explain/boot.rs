//! What was booted: event logs, and Azure's virtual TPM.

use attestation::Malformed;
use attestation::azure::{AzureEvidence, Hardware, TpmQuote};
use attestation::endorsements::Kind;
use attestation::eventlog::{Event, EventKind, EventLog, Measured, Register, Variable};

use super::sheet::{Sheet, hex_of};
use super::{pki, snp, tdx};

/// The events of each register with their places, and what the registers would hold.
pub(super) fn event_log(bytes: &[u8]) -> Result<Sheet, Malformed> {
    let log = EventLog::parse(bytes)?;
    let mut out = Sheet::new();
    out.plain("events", log.events().len());
    for (register, value) in Register::RTMRS.into_iter().zip(log.replay()) {
        let mut of = Sheet::new();
        of.row("replays_to", value);
        for (place, event) in (1_usize..).zip(log.extended(register)) {
            of.sheet(&format!("at {place}"), self::event(event));
        }
        out.sheet(register.name(), of);
    }
    let others: Vec<_> = log.events().iter().filter(|event| !event.is_extended()).collect();
    out.list("not_extended", others.into_iter().map(event).collect());
    Ok(out)
}

fn event(event: &Event<'_>) -> Sheet {
    let mut out = Sheet::new();
    out.row("type", event.kind);
    out.row("digest", event.digest);
    if VARIABLES.contains(&event.kind)
        && let Ok(variable) = Variable::parse(event.data)
    {
        let (units, _) = variable.name.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
        out.row("variable", String::from_utf16_lossy(&units));
    }
    match event.measured() {
        Measured::Octets(octets) => out.row("measured", text(octets)),
        Measured::Elsewhere => out.row("named", text(event.data)),
        Measured::Mismatch => out.row("not_measured", text(event.data)),
    }
    out
}

/// What the paravisor and its TPM say, then the hardware.
pub(super) fn azure(evidence: &AzureEvidence) -> Result<Sheet, Malformed> {
    let AzureEvidence { report, tpm_quote, td_quote, endorsements } = evidence;
    let runtime = &report.runtime;
    let mut out = Sheet::new();
    out.row("machine", &runtime.vm.vm_unique_id);
    out.plain("secure_boot", runtime.vm.secure_boot);
    out.plain("virtual_tpm", runtime.vm.tpm_enabled);
    if let Some(persisted) = runtime.vm.tpm_persisted {
        out.plain("virtual_tpm_persisted", persisted);
    }
    out.plain("console", runtime.vm.console_enabled);
    out.optional("root_cert_thumbprint", runtime.vm.root_cert_thumbprint.as_ref());
    out.row(
        "user_data",
        runtime.user_data.map_or_else(|| "none".to_owned(), |data| data.to_string()),
    );
    out.row("runtime_data_sha256", report.runtime_digest);
    out.row("attestation_key_modulus", runtime.attestation_key.modulus);
    match tpm_quote {
        Some(quote) => out.sheet("tpm_quote", self::tpm_quote(quote)),
        None => {
            out.row("tpm_quote", "none: it does not show what was booted, nor answer a challenge");
        }
    }
    match &report.hardware {
        Hardware::Snp(report) => out.sheet("sev_snp_report", snp::report(report)?),
        Hardware::Tdx(report) => {
            out.part("td_report", tdx::body(&report.quote_body()));
            match td_quote {
                Some(quote) => out.sheet("td_quote", tdx::quote(quote)?),
                None => out.row("td_quote", "none: to another machine the report proves nothing"),
            }
        }
    }
    let certificates = endorsements.items(Kind::Certificate);
    if !certificates.is_empty() {
        out.list("certificate", certificates.iter().map(|der| pki::certificate(der)).collect());
    }
    Ok(out)
}

fn tpm_quote(quote: &TpmQuote) -> Sheet {
    let attest = &quote.attest;
    let mut out = Sheet::new();
    out.octets("answers", &attest.extra_data);
    out.octets("qualified_signer", &attest.qualified_signer);
    out.row("firmware_version", format_args!("{:#x}", attest.firmware_version));
    out.plain("clock_ms", attest.clock.millis);
    out.plain("resets", attest.clock.resets);
    out.plain("restarts", attest.clock.restarts);
    out.plain("clock_safe", attest.clock.is_safe);
    out.octets("pcr_digest", &attest.pcr_digest);
    for (number, value) in (0_u32..).zip(&quote.pcrs) {
        if attest.selections.iter().any(|bank| bank.has(number)) {
            out.row(&format!("pcr{number}"), value);
        }
    }
    out.octets("signature", &quote.signature);
    out
}

/// Octets as people read them.
fn text(octets: &[u8]) -> String {
    let text = str::from_utf8(octets).map(|text| text.trim_end_matches('\0')).unwrap_or_default();
    if !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()) {
        text.to_owned()
    } else {
        hex_of(octets)
    }
}

/// Events about a variable of the firmware.
const VARIABLES: [EventKind; 4] = [
    EventKind::EFI_VARIABLE_DRIVER_CONFIG,
    EventKind::EFI_VARIABLE_BOOT,
    EventKind::EFI_VARIABLE_BOOT2,
    EventKind::EFI_VARIABLE_AUTHORITY,
];
