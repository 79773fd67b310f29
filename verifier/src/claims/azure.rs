//! Azure's claims.

use attestation::Sha256;
use serde_json::{Map, Value, json};

use crate::authenticate::azure::{AuthenticAzure, Quote};

/// The claims.
pub(crate) fn to_json(azure: &AuthenticAzure) -> Value {
    let claims = azure.claims();
    let vm = &claims.runtime.vm;
    json!({
        "vm_id": vm.vm_unique_id,
        "secure_boot": vm.secure_boot,
        "console": vm.console_enabled,
        "tpm": vm.tpm_enabled,
        "tpm_persisted": vm.tpm_persisted,
        "root_certificate": vm.root_cert_thumbprint,
        "user_data": claims.runtime.user_data,
        "attestation_key": Sha256::of(&claims.runtime.attestation_key.modulus.0),
        "tpm_quote": claims.quote.as_ref().map(quote),
    })
}

fn quote(quote: &Quote) -> Value {
    let values = quote.pcrs.iter().enumerate();
    let pcrs: Map<String, Value> = values
        .filter_map(|(number, value)| Some((number.to_string(), json!(value.as_ref()?))))
        .collect();
    let clock = quote.attest.clock;
    json!({
        "extra_data": hex::encode(&quote.attest.extra_data),
        "clock_millis": clock.millis,
        "resets": clock.resets,
        "restarts": clock.restarts,
        "clock_safe": clock.is_safe,
        "firmware_version": format!("{:#x}", quote.attest.firmware_version),
        "pcrs": pcrs,
    })
}
