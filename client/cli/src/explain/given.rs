//! What is not evidence, and lies beside it: endorsements, receipts, results, reference values, policies.

use attestation::endorsements::Kind;
use attestation::gpu::ReferenceValues;
use attestation::{Endorsements, SignedReceipt};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::sheet::Sheet;
use super::{intel, pki};

/// Everything, kind by kind.
pub(super) fn endorsements(endorsements: &Endorsements) -> Sheet {
    let mut out = Sheet::new();
    for kind in Kind::ALL {
        let items = endorsements.items(kind);
        if items.is_empty() {
            continue;
        }
        let (name, lay): (_, fn(&[u8]) -> Sheet) = match kind {
            Kind::Certificate => ("certificate", pki::certificate),
            Kind::Crl => ("revocation_list", pki::crl),
            Kind::TcbInfo => ("tcb_info", intel::tcb_info),
            Kind::QeIdentity => ("qe_identity", intel::qe_identity),
            Kind::OcspResponse => ("ocsp_response", pki::ocsp),
            _ => continue,
        };
        out.list(name, items.iter().map(|item| lay(item)).collect());
    }
    out
}

/// A receipt: its octets, text of them, or what the proxy answers.
pub(super) fn receipt(bytes: &[u8]) -> Option<Sheet> {
    let signed = SignedReceipt::parse(bytes).ok().or_else(|| {
        let text = str::from_utf8(bytes).ok()?.trim();
        let object = || serde_json::from_str::<Map<String, Value>>(text).ok()?.remove("receipt");
        let inner = object();
        let text = inner.as_ref().and_then(Value::as_str).unwrap_or(text);
        let decoded = hex::decode(text)
            .ok()
            .or_else(|| URL_SAFE_NO_PAD.decode(text).ok())
            .or_else(|| STANDARD.decode(text).ok())?;
        SignedReceipt::parse(&decoded).ok()
    })?;
    let receipt = attestation::Receipt::parse(&signed.payload).ok()?;
    let mut out = Sheet::new();
    out.row("digest", signed.digest());
    out.row("key", signed.kid);
    out.plain("seq", receipt.seq);
    out.row("previous", receipt.previous);
    out.row("binding_id", receipt.binding_id);
    out.row("request", receipt.request);
    out.row("req_mac", receipt.req_mac);
    out.row("res_mac", receipt.res_mac);
    out.row("par_mac", receipt.par_mac);
    out.row("manifest", receipt.manifest);
    out.plain("prompt_tokens", receipt.usage.prompt);
    out.plain("completion_tokens", receipt.usage.completion);
    out.plain("cached_tokens", receipt.usage.cached);
    out.row("finish_reason", receipt.finish.as_str());
    out.row("started", receipt.started);
    out.row("ended", receipt.ended);
    out.plain("bound", receipt.bound);
    out.octets("signature", &signed.signature);
    Some(out)
}

/// A signed result of `veritee-verifier`, or any other token in compact form (RFC 7515 §7.1).
pub(super) fn token(bytes: &[u8]) -> Option<Sheet> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let object = |part: &str| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        let object: Map<String, Value> = serde_json::from_slice(&json).ok()?;
        let mut sheet = Sheet::new();
        sheet.json(&object);
        Some(sheet)
    };
    let mut out = Sheet::new();
    out.sheet("header", object(header)?);
    out.sheet("claims", object(claims)?);
    out.octets("signature", &URL_SAFE_NO_PAD.decode(signature).ok()?);
    Some(out)
}

/// Values that `veritee policy import-rim` wrote.
pub(super) fn reference_values(bytes: &[u8]) -> Option<Sheet> {
    let values = ReferenceValues::parse(bytes).ok()?;
    let mut out = Sheet::new();
    out.row("id", &values.id);
    out.row("component", values.kind.name());
    out.row("chip", &values.chip);
    out.row("version", &values.version);
    out.optional("project", values.project.as_ref());
    out.optional("project_sku", values.project_sku.as_ref());
    out.optional("chip_sku", values.chip_sku.as_ref());
    out.plain("devtools", values.devtools);
    out.optional("source_sha256", values.source);
    out.optional("not_after", values.not_after);
    let mut measurements = Sheet::new();
    for measurement in &values.measurements {
        measurements.values(&measurement.index.to_string(), &measurement.digests);
    }
    out.sheet("measurements", measurements);
    Some(out)
}

/// A policy, key by key.
pub(super) fn policy(bytes: &[u8]) -> Option<Sheet> {
    let table: toml::Table = str::from_utf8(bytes).ok()?.parse().ok()?;
    (table.contains_key("schema") && table.contains_key("purpose")).then_some(())?;
    let Ok(Value::Object(members)) = serde_json::to_value(table) else { return None };
    let mut out = Sheet::new();
    out.json(&members);
    Some(out)
}
