//! Claims of NVIDIA's devices.

use serde_json::{Map, Value, json};

use crate::authenticate::nvidia::{AuthenticDevice, Device};

/// Every authentic device by its name.
pub(super) fn to_json(devices: &[AuthenticDevice]) -> Map<String, Value> {
    devices
        .iter()
        .map(AuthenticDevice::device)
        .map(|device| (device.name.clone(), Value::Object(one(device))))
        .collect()
}

fn one(device: &Device) -> Map<String, Value> {
    let Device { name: _, report, identity } = device;
    let opaque = report.opaque();
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    put("architecture", Some(json!(identity.architecture.name())));
    put("chip", Some(json!(identity.chip)));
    put("model", Some(json!(identity.model)));
    put("ueid", Some(json!(identity.ueid)));
    put("serial", Some(json!(identity.serial)));
    put("pdi", identity.pdi.map(|pdi| json!(pdi.to_string())));
    put("fwid", identity.fwid.map(|fwid| json!(fwid)));
    put("nonce", Some(json!(hex::encode(report.nonce()))));
    put("driver", opaque.driver().map(|driver| json!(driver)));
    put("vbios", opaque.vbios().map(|vbios| json!(vbios)));
    put("chip_sku", opaque.chip_sku().map(|sku| json!(sku)));
    put("project", opaque.project().map(|project| json!(project)));
    put("project_sku", opaque.project_sku().map(|sku| json!(sku)));
    if identity.architecture.is_switch() {
        put("locked", opaque.is_locked().map(|locked| json!(locked)));
        put("gpus", Some(json!(opaque.gpus().map(|pdi| pdi.to_string()).collect::<Vec<_>>())));
    } else {
        put("confidential_compute", opaque.mode().map(|mode| json!(mode.name())));
        put("nvdec0", opaque.nvdec0().map(|used| json!(used)));
        let mut links: Vec<_> = opaque.links().map(|pdi| pdi.to_string()).collect();
        links.sort_unstable();
        links.dedup();
        put("switches", Some(json!(links)));
    }
    let measurements: Map<_, _> = report
        .measurements()
        .iter()
        .map(|(index, digest)| (index.saturating_sub(1).to_string(), json!(digest)))
        .collect();
    put("measurements", Some(Value::Object(measurements)));
    map
}
