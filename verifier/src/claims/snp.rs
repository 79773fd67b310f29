//! SEV-SNP's claims.

use serde_json::{Map, Value, json};

use attestation::snp::TcbVersion;

use crate::authenticate::snp::{Claims, Signer};

/// The claims.
pub(super) fn to_json(claims: &Claims) -> Map<String, Value> {
    let report = &claims.report;
    let tcb = |raw| {
        TcbVersion::from_raw(claims.product, raw)
            .map_or_else(|_| json!(hex::encode(raw)), |tcb| json!(tcb))
    };
    let firmware = |(major, minor, build): (u8, u8, u8)| json!(format!("{major}.{minor}.{build}"));
    let (signing_key, csp_id) = match &claims.signer {
        Signer::Vcek => ("vcek", None),
        Signer::Vlek { csp_id } => ("vlek", Some(csp_id)),
    };
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("product", json!(claims.product));
    put("report_version", json!(report.version()));
    put("measurement", json!(report.measurement()));
    put("vmpl", json!(report.vmpl()));
    put("guest_policy", json!(format!("{:?}", report.policy())));
    put("platform_info", json!(format!("{:?}", report.platform_info())));
    put("signing_key", json!(signing_key));
    if let Some(csp_id) = csp_id {
        put("csp_id", json!(csp_id));
    }
    put("chip_id", json!(report.chip_id()));
    put("reported_tcb", tcb(report.reported_tcb()));
    put("committed_tcb", tcb(report.committed_tcb()));
    put("current_tcb", tcb(report.current_tcb()));
    put("launch_tcb", tcb(report.launch_tcb()));
    put("current_firmware", firmware(report.current_firmware()));
    put("committed_firmware", firmware(report.committed_firmware()));
    if let Some((launch, current)) = report.mitigations() {
        put("launch_mitigations", json!(format!("{launch:#x}")));
        put("current_mitigations", json!(format!("{current:#x}")));
    }
    put("guest_svn", json!(report.guest_svn()));
    put("host_data", json!(report.host_data()));
    put("family_id", json!(report.family_id()));
    put("image_id", json!(report.image_id()));
    put("id_key_digest", json!(report.id_key_digest()));
    put("author_key_digest", json!(report.author_key_digest()));
    put("report_id", json!(report.report_id()));
    put("report_data", json!(hex::encode(report.report_data())));
    if let Some(crl) = &claims.crl {
        put("crl", json!(crl));
    }
    map
}
