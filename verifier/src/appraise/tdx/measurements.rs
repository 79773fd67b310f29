//! What was launched, by whom and with what: measurements, and what the owner gave.

use attestation::eventlog::Register;
use attestation::tdx::TdReport;

use super::value;
use crate::finding::{Code, Finding};
use crate::policy::{Accept, TdxPolicy};

/// The TD's first contents, and what it measured since.
pub(super) fn judge(report: &TdReport, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let code = Code::MeasurementNotAllowed;
    value(code, "MRTD", &tdx.mr_td, &report.mr_td, findings);
    for ((register, accept), actual) in Register::RTMRS.into_iter().zip(&tdx.rtmr).zip(&report.rtmr)
    {
        // Where its events are judged, that any value may come of them is no remark.
        if *accept != Accept::Any || !tdx.event_log.pins(register) {
            let name = register.name().to_ascii_uppercase();
            value(code, &name, accept, actual, findings);
        }
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
