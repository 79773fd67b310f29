//! The firmware's security versions (SNP ABI §2.2, §3.3).

use attestation::snp::{SnpReport, TcbVersion};

use crate::authenticate::snp::Claims;
use crate::finding::{Code, Finding};
use crate::policy::{Demand, SnpPolicy};

/// Judges order and minima. Minima are compared with the TCB that the signing key was made for,
/// which firmware cannot misstate, and with the one at launch; never with version numbers that
/// firmware reports of itself.
pub(super) fn judge(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let report = &claims.report;
    let mut tcb = |name: &'static str, raw| {
        if let Ok(version) = TcbVersion::from_raw(claims.product, raw) {
            Some((name, version))
        } else {
            findings.push(
                Finding::reject(
                    Code::TcbOrder,
                    format!("{name} has a reserved byte that is not zero"),
                )
                .actual(hex::encode(raw)),
            );
            None
        }
    };
    let reported = tcb("REPORTED_TCB", report.reported_tcb());
    let committed = tcb("COMMITTED_TCB", report.committed_tcb());
    let current = tcb("CURRENT_TCB", report.current_tcb());
    let launch = tcb("LAUNCH_TCB", report.launch_tcb());
    for (low, high) in [(reported, committed), (committed, current), (launch, current)] {
        if let (Some((low_name, low)), Some((high_name, high))) = (low, high)
            && !high.at_least(low)
        {
            findings.push(
                Finding::reject(Code::TcbOrder, format!("{low_name} is above {high_name}"))
                    .expected(format!("{low_name} at most {high}"))
                    .actual(low),
            );
        }
    }
    minima(claims, snp, [reported, launch], findings);
    provisional(report, snp.provisional_firmware, findings);
}

fn minima(
    claims: &Claims,
    snp: &SnpPolicy,
    versions: [Option<(&'static str, TcbVersion)>; 2],
    findings: &mut Vec<Finding>,
) {
    let Some(min) = snp.min_tcb.get(&claims.product) else {
        findings.push(Finding::warn(
            Code::TcbMinimumNotSet,
            format!("the policy sets no minimum for the firmware of {}", claims.product),
        ));
        return;
    };
    for (name, version) in versions.into_iter().flatten() {
        if !version.at_least(*min) {
            findings.push(
                Finding::reject(
                    Code::TcbBelowMinimum,
                    format!("{name} is below the policy's minimum"),
                )
                .expected(format!("at least {min}"))
                .actual(version),
            );
        }
    }
}

/// Firmware above the committed version can be rolled back to it.
fn provisional(report: &SnpReport, demand: Demand, findings: &mut Vec<Finding>) {
    let current = (report.current_tcb(), report.current_firmware());
    let committed = (report.committed_tcb(), report.committed_firmware());
    let provisional = current != committed;
    match (demand, provisional) {
        (Demand::Refused, true) => findings.push(Finding::reject(
            Code::FirmwareProvisional,
            "the firmware that runs is not committed, so that it can be rolled back",
        )),
        (Demand::Required, false) => findings.push(Finding::reject(
            Code::FirmwareProvisional,
            "the firmware is committed, and the policy wants it provisional",
        )),
        (Demand::Allowed | Demand::Required, true) => findings.push(Finding::info(
            Code::FirmwareProvisional,
            "the firmware that runs is not committed; what counts is the TCB of the signing key",
        )),
        (Demand::Allowed | Demand::Refused, false) => {}
    }
}
