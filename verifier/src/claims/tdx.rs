//! TDX's claims as JSON.

use serde_json::{Map, Value, json};

use crate::authenticate::tdx::{Authority, Claims, Pck};
use crate::policy::sgx_type;

/// What an authentic quote says of the TD, and Intel of the platform.
pub(super) fn to_json(claims: &Claims) -> Map<String, Value> {
    let (report, endorsed) = (&claims.report, &claims.endorsed);
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("quote_version", json!(claims.version));
    put("report", json!(report.form().to_string()));
    put("mr_td", json!(report.mr_td));
    for (key, rtmr) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(report.rtmr) {
        put(key, json!(rtmr));
    }
    put("mr_config_id", json!(report.mr_config_id));
    put("mr_owner", json!(report.mr_owner));
    put("mr_owner_config", json!(report.mr_owner_config));
    put("td_attributes", json!(report.td_attributes.to_string()));
    put("xfam", json!(format!("{:#x}", report.xfam)));
    put("report_data", json!(hex::encode(report.report_data)));
    put("tee_tcb_svn", json!(hex::encode(report.tee_tcb_svn)));
    put("mr_seam", json!(report.mr_seam));
    put("mr_signer_seam", json!(report.mr_signer_seam));
    put("seam_attributes", json!(hex::encode(report.seam_attributes)));
    if let Some(td15) = &report.td15 {
        put("tee_tcb_svn2", json!(hex::encode(td15.tee_tcb_svn2)));
        put("mr_service_td", json!(td15.mr_service_td));
    }
    if let Some(ex) = &report.td15_ex {
        put("td_id", json!(ex.td_id));
        put("vm_id", json!(ex.vm_id));
        put("dev_info_hash", json!(ex.dev_info_hash));
        put("init_service_td_hash", json!(ex.init_service_td_hash));
        put("cur_service_td_hash", json!(ex.cur_service_td_hash));
    }
    if let Some(info) = &endorsed.tcb_info
        && let Ok(tcb) = crate::appraise::tdx_tcb(claims, info)
    {
        put("tcb_status", json!(tcb.status.name()));
        put("tcb_date", json!(tcb.date));
        put("advisories", json!(tcb.advisories));
    }
    put("tcb_evaluation", json!(endorsed.tcb_info.as_ref().map(|info| info.evaluation)));
    put("qe_identity_evaluation", json!(endorsed.qe_identity.evaluation));
    put("qe_isv_svn", json!(claims.qe.isv_svn));
    put("platform", platform(&endorsed.pck));
    put("numbers", json!(endorsed.numbers));
    map
}

fn platform(pck: &Pck) -> Value {
    let platform = &pck.platform;
    json!({
        "authority": match pck.authority {
            Authority::Platform => "platform",
            Authority::Processor => "processor",
        },
        "fmspc": hex::encode(platform.fmspc),
        "pce_id": hex::encode(platform.pce_id),
        "pce_svn": platform.pce_svn,
        "cpu_svn": hex::encode(platform.cpu_svn),
        "sgx_components": hex::encode(platform.sgx),
        "sgx_type": sgx_type(platform.sgx_type),
        "ppid": hex::encode(platform.ppid),
        "instance_id": platform.instance_id.map(hex::encode),
        "smt": platform.smt,
        "dynamic_platform": platform.dynamic,
        "cached_keys": platform.cached_keys,
    })
}
