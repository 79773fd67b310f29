//! What was launched, by whom and with what: measurements, and what the owner gave.

use attestation::tdx::TdReport;

use super::value;
use crate::finding::{Code, Finding};
use crate::policy::TdxPolicy;

/// The TD's first contents, and what it measured since.
pub(super) fn judge(report: &TdReport, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let code = Code::MeasurementNotAllowed;
    value(code, "MRTD", &tdx.mr_td, &report.mr_td, findings);
    let names = ["RTMR0", "RTMR1", "RTMR2", "RTMR3"];
    for ((name, accept), actual) in names.into_iter().zip(&tdx.rtmr).zip(&report.rtmr) {
        value(code, name, accept, actual, findings);
    }
}

/// What was given at launch, which the TD did not measure.
pub(super) fn owner(report: &TdReport, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    for (code, name, accept, actual) in [
        (Code::MrConfigIdNotAllowed, "MRCONFIGID", &tdx.mr_config_id, &report.mr_config_id),
        (Code::MrOwnerNotAllowed, "MROWNER", &tdx.mr_owner, &report.mr_owner),
        (
            Code::MrOwnerConfigNotAllowed,
            "MROWNERCONFIG",
            &tdx.mr_owner_config,
            &report.mr_owner_config,
        ),
    ] {
        value(code, name, accept, actual, findings);
    }
}
