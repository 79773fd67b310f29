//! Third stage: is what is authentic and bound also acceptable? One file per question; each runs
//! to its end and leaves its findings.

use attestation::UnixTime;

use crate::authenticate::{Authentic, Claims, CpuEvidence};
use crate::bind::Bound;
use crate::finding::{Code, Finding};
use crate::policy::{Demand, Policy};
use crate::result::Horizon;

pub(crate) mod azure;
mod eventlog;
pub(crate) mod nvidia;
mod snp;
mod tdx;
mod workload;

pub(crate) use tdx::tcb::of as tdx_tcb;

/// Judges what the hardware says of itself. Yields when what it made use of ends: a policy's grace.
pub(crate) fn hardware(
    authentic: &Authentic,
    policy: &Policy,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Horizon {
    let mut horizon = Horizon::default();
    match (authentic.claims(), policy) {
        (Claims::Snp(claims), Policy { sev_snp: Some(snp), .. }) => {
            snp::judge(claims, snp, findings);
        }
        (Claims::Tdx(claims), Policy { tdx: Some(tdx), .. }) => {
            tdx::judge(claims, tdx, now, &mut horizon, findings);
        }
        // Refused long before; but were it not, nothing would have been judged.
        (Claims::Snp(_), Policy { sev_snp: None, .. })
        | (Claims::Tdx(_), Policy { tdx: None, .. }) => findings.push(Finding::reject(
            Code::PlatformNotAllowed,
            "the policy has no section for the platform",
        )),
    }
    horizon
}

/// Judges what a boot's event log shows of the hardware's registers.
pub(crate) fn event_log(
    authentic: &Authentic,
    log: Option<&[u8]>,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    match (authentic.claims(), policy, log) {
        (Claims::Tdx(claims), Policy { tdx: Some(tdx), .. }, log) => {
            eventlog::judge(&claims.report.rtmr, log, &tdx.event_log, findings);
        }
        // Of a policy without a section all was said before.
        (Claims::Tdx(_), Policy { tdx: None, .. }, _) | (Claims::Snp(_), _, None) => {}
        (Claims::Snp(_), _, Some(_)) => {
            let message =
                "an event log was given, and SEV-SNP has no registers that it could replay to";
            findings.push(Finding::reject(Code::EventLogNotApplicable, message));
        }
    }
}

/// Judges what runs on it. Yields the names under which the policy knows the model.
pub(crate) fn workload(bound: &Bound, policy: &Policy, findings: &mut Vec<Finding>) -> Vec<String> {
    workload::config(bound, policy, findings);
    workload::model(bound, policy, findings)
}

/// One bit against what the policy wants of it.
fn bit(code: Code, what: &str, demand: Demand, is_set: bool) -> Option<Finding> {
    let (expected, actual) = match (demand, is_set) {
        (Demand::Required, false) => ("1", "0"),
        (Demand::Refused, true) => ("0", "1"),
        (Demand::Required, true) | (Demand::Refused, false) | (Demand::Allowed, _) => return None,
    };
    let finding = Finding::reject(code, format!("{what}: {demand} by the policy"));
    Some(finding.expected(expected).actual(actual))
}

/// Says which checks were not made.
pub(crate) fn not_evaluated(cpu: &CpuEvidence, is_bundle: bool, findings: &mut Vec<Finding>) {
    let of_platform = match cpu {
        CpuEvidence::SnpReport(_) => snp::CHECKS,
        CpuEvidence::TdxQuote(_) => tdx::CHECKS,
    };
    for check in ["binding"].iter().chain(of_platform) {
        findings.push(Finding::info(
            Code::NotEvaluated,
            format!("{check}: not checked, because the evidence is not authentic"),
        ));
    }
    if is_bundle {
        not_bound(findings);
    }
}

/// Says which checks were not made because nothing ties the TPM's word to the hardware's.
pub(crate) fn azure_not_evaluated(findings: &mut Vec<Finding>) {
    for check in ["binding"].iter().chain(azure::CHECKS) {
        findings.push(Finding::info(
            Code::NotEvaluated,
            format!("{check}: not checked, because the hardware does not vouch for it"),
        ));
    }
}

/// Says which checks were not made because what would be checked is not the hardware's word.
pub(crate) fn not_bound(findings: &mut Vec<Finding>) {
    for check in ["configuration", "model"] {
        findings.push(
            Finding::info(
                Code::NotEvaluated,
                format!("{check}: not checked, because the evidence does not vouch for it"),
            )
            .of_bundle(),
        );
    }
}
