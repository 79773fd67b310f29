//! `veritee explain`: lays out what bytes say, for people or machines, and judges nothing.

use std::process::ExitCode;

use attestation::azure::AzureEvidence;
use attestation::eventlog::EventLog;
use attestation::{Endorsements, EvidenceKind, Malformed, Sha256};
use client::Family;
use serde_json::{Value, json};

use crate::arguments::Explain;
use crate::failure::Failure;
use crate::output::Out;
use crate::{input, verify};

mod boot;
mod bundle;
mod der;
mod given;
mod intel;
mod nvidia;
mod pki;
mod sheet;
mod snp;
mod tdx;

use sheet::Sheet;

/// Says what the evidence says.
pub(crate) async fn run(explain: &Explain, out: &Out) -> Result<ExitCode, Failure> {
    match lay_out(explain, out).await {
        Ok(laid) if explain.json => out.json(laid.into_json())?,
        Ok(laid) => out.text(laid.text())?,
        // Who asked for JSON gets an object, whatever happens; who asked wrongly gets help.
        Err(failure) if explain.json && matches!(failure.exit(), 20 | 30) => {
            let error =
                json!({ "code": failure.code, "message": failure.message, "next": failure.next() });
            let object = json!({ "verified": false, "kind": null, "error": error });
            out.json(&object)?;
            return Ok(ExitCode::from(failure.exit()));
        }
        Err(failure) => return Err(failure),
    }
    Ok(ExitCode::SUCCESS)
}

async fn lay_out(explain: &Explain, out: &Out) -> Result<Laid, Failure> {
    let bytes = if verify::is_url(&explain.evidence) {
        let access = input::access(explain.key_file.as_deref(), explain.router_ca.as_deref())?;
        verify::fetch(&explain.evidence, None, access, out).await?.0
    } else {
        input::evidence(&explain.evidence)?
    };
    let (kind, sheet) = decode(&bytes).map_err(|error| {
        let next = if bytes.trim_ascii_start().starts_with(b"<") {
            "NVIDIA's manifests are verified and read by `veritee policy import-rim`"
        } else {
            "give a file as it was fetched; `veritee explain --help` lists the kinds"
        };
        Failure::new(Family::Malformed, "evidence-malformed", error.to_string(), next)
    })?;
    let event_log = explain.event_log.as_deref().map(|path| {
        boot::event_log(&input::event_log(path)?).map_err(|error| {
            let next = "give the log as the guest reads it from its CCEL area";
            Failure::new(Family::Malformed, "event-log-malformed", error.to_string(), next)
        })
    });
    let event_log = event_log.transpose()?;
    Ok(Laid { kind, len: bytes.len(), digest: Sha256::of(&bytes), sheet, event_log })
}

/// What was given, laid out.
#[derive(Debug)]
struct Laid {
    kind: Kind,
    len: usize,
    digest: Sha256,
    sheet: Sheet,
    event_log: Option<Sheet>,
}

impl Laid {
    fn text(&self) -> String {
        let Self { kind, len, digest, sheet, event_log } = self;
        let Kind(_, title) = kind;
        let mut text =
            format!("{CAUTION}\n\n{title}, {len} octets, sha256 {digest}\n{}", sheet.text());
        if let Some(log) = event_log {
            text.push_str("\nEvent log\n");
            text.push_str(&log.text());
        }
        text
    }

    fn into_json(self) -> Value {
        let Self { kind: Kind(kind, _), len, digest, sheet, event_log } = self;
        let mut object = json!({
            "verified": false,
            "note": CAUTION,
            "kind": kind,
            "octets": len,
            "sha256": digest,
            "fields": sheet.into_json(),
        });
        if let (Some(log), Some(members)) = (event_log, object.as_object_mut()) {
            members.insert("event_log".to_owned(), log.into_json());
        }
        object
    }
}

/// What something is: its name for machines, and for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Kind(&'static str, &'static str);

/// Tells the kind by content, and lays the contents out.
fn decode(bytes: &[u8]) -> Result<(Kind, Sheet), Malformed> {
    match EvidenceKind::detect(bytes) {
        Ok(kind) => evidence(kind, bytes),
        // What it is not says least; where it is nothing else either, that is what there is to say.
        Err(error) => beside(bytes).ok_or(error),
    }
}

fn evidence(kind: EvidenceKind, bytes: &[u8]) -> Result<(Kind, Sheet), Malformed> {
    Ok(match kind {
        EvidenceKind::Bundle => (Kind("bundle", "Veritee evidence bundle"), bundle::bundle(bytes)?),
        EvidenceKind::SnpReport(report) => {
            (Kind("sev-snp-report", "SEV-SNP attestation report"), snp::report(&report)?)
        }
        EvidenceKind::TdxQuote(quote) => (Kind("tdx-quote", "TDX quote"), tdx::quote(&quote)?),
        EvidenceKind::NvidiaJson => {
            (Kind("nvidia-devices", "Evidence of NVIDIA devices"), nvidia::devices(bytes)?)
        }
        EvidenceKind::NvidiaReport(report) => {
            (Kind("nvidia-report", "Report of an NVIDIA device"), nvidia::report(&report)?)
        }
        EvidenceKind::AzureHcl(report) => {
            let evidence = AzureEvidence::of_report(&report)?;
            (Kind("azure-hcl-report", "Azure paravisor's report"), boot::azure(&evidence)?)
        }
        EvidenceKind::AzureJson => {
            let evidence = AzureEvidence::parse_json(bytes)?;
            (Kind("azure-evidence", "Azure evidence"), boot::azure(&evidence)?)
        }
        EvidenceKind::Foreign(platform) => {
            let mut sheet = Sheet::new();
            sheet.row("platform", platform);
            sheet.row(
                "note",
                "told by its first octets; this version neither reads nor appraises it",
            );
            (Kind("foreign", "Evidence of another platform"), sheet)
        }
        _ => return Err(Malformed::invalid("evidence", "is of a kind that is not laid out")),
    })
}

/// What auditors have beside evidence.
fn beside(bytes: &[u8]) -> Option<(Kind, Sheet)> {
    if let Ok(log) = boot::event_log(bytes)
        && EventLog::parse(bytes).is_ok_and(|log| !log.events().is_empty())
    {
        return Some((Kind("event-log", "Event log (CCEL)"), log));
    }
    if let Some(receipt) = given::receipt(bytes) {
        return Some((Kind("receipt", "Receipt"), receipt));
    }
    let mut endorsements = Endorsements::new();
    if endorsements.add(bytes).is_ok() && !endorsements.is_empty() {
        return Some((Kind("endorsements", "Endorsements"), given::endorsements(&endorsements)));
    }
    if let Some(values) = given::reference_values(bytes) {
        return Some((Kind("reference-values", "Reference values of NVIDIA's firmware"), values));
    }
    if let Some(token) = given::token(bytes) {
        return Some((Kind("token", "Signed token (JWT)"), token));
    }
    given::policy(bytes).map(|policy| (Kind("policy", "Policy"), policy))
}

const CAUTION: &str =
    "Nothing here is verified: this is what the bytes say, true or not. To judge: veritee verify.";

#[cfg(test)]
mod tests;
