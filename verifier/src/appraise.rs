//! Third stage: is what is authentic and bound also acceptable? One file per question; each runs
//! to its end and leaves its findings.

use crate::authenticate::{Authentic, Claims, CpuEvidence};
use crate::bind::Bound;
use crate::finding::{Code, Finding};
use crate::policy::Policy;

mod snp;
mod workload;

/// Judges what the hardware says of itself.
pub(crate) fn hardware(authentic: &Authentic, policy: &Policy, findings: &mut Vec<Finding>) {
    match (authentic.claims(), policy) {
        (Claims::Snp(claims), Policy { sev_snp: Some(snp), .. }) => {
            snp::judge(claims, snp, findings);
        }
        // Refused long before; but were it not, nothing would have been judged.
        (Claims::Snp(_), Policy { sev_snp: None, .. }) => findings.push(Finding::reject(
            Code::PlatformNotAllowed,
            "the policy has no section for the platform",
        )),
    }
}

/// Judges what runs on it. Yields the names under which the policy knows the model.
pub(crate) fn workload(bound: &Bound, policy: &Policy, findings: &mut Vec<Finding>) -> Vec<String> {
    workload::config(bound, policy, findings);
    workload::model(bound, policy, findings)
}

/// Says which checks were not made.
pub(crate) fn not_evaluated(cpu: &CpuEvidence, is_bundle: bool, findings: &mut Vec<Finding>) {
    let of_platform = match cpu {
        CpuEvidence::SnpReport(_) => snp::CHECKS,
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
