//! What authentic hardware says of itself, as JSON for reports.

use serde_json::{Map, Value, json};

use crate::authenticate::nvidia::AuthenticDevice;
use crate::authenticate::{Authentic, Claims};
use crate::bind::Bound;

mod azure;
mod nvidia;
mod snp;
mod tdx;

pub(crate) use azure::to_json as azure;

/// The claims, and the bound parts where there are any.
pub(crate) fn to_json(authentic: &Authentic, bound: Option<&Bound>) -> Map<String, Value> {
    let mut map = match authentic.claims() {
        Claims::Snp(claims) => snp::to_json(claims),
        Claims::Tdx(claims) => tdx::to_json(claims),
    };
    if let Some(bound) = bound {
        map.insert("binding".to_owned(), binding(bound));
    }
    map
}

/// Claims of devices beside the CPU, each under its name.
pub(crate) fn of_devices(devices: &[AuthenticDevice]) -> Map<String, Value> {
    nvidia::to_json(devices)
}

fn binding(bound: &Bound) -> Value {
    json!({
        "binding_id": bound.binding_id.to_string(),
        "node_id": bound.statement.node_id.to_string(),
        "not_before": bound.statement.not_before,
        "not_after": bound.statement.not_after,
        "ohttp_keys": bound.statement.ohttp_keys,
        "receipt_key": bound.statement.receipt_key,
        "tls_spki": bound.statement.tls_spki,
        "config": bound.statement.config,
        "manifest": bound.manifest_digest,
        "models": bound.manifest.names,
    })
}
