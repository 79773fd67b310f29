//! Third stage: is what is authentic and bound also acceptable? One file per question; each runs
//! to its end and leaves its findings.

use crate::authenticate::Authentic;
use crate::bind::Bound;
use crate::finding::{Code, Finding};
use crate::policy::{Policy, SnpPolicy};

mod guest;
mod identity;
mod platform;
mod tcb;
mod workload;

/// Judges what the hardware says of itself.
pub(crate) fn hardware(authentic: &Authentic, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let claims = authentic.claims();
    identity::product(claims, snp, findings);
    identity::signer(claims, snp, findings);
    identity::chip(claims, snp, findings);
    identity::measurement(claims, snp, findings);
    identity::vmpl(claims, snp, findings);
    identity::launch(claims, snp, findings);
    identity::keys(claims, snp, findings);
    tcb::judge(claims, snp, findings);
    guest::judge(claims, snp, findings);
    platform::info(claims, snp, findings);
    platform::mitigations(claims, snp, findings);
}

/// Judges what runs on it. Yields the names under which the policy knows the model.
pub(crate) fn workload(bound: &Bound, policy: &Policy, findings: &mut Vec<Finding>) -> Vec<String> {
    workload::config(bound, policy, findings);
    workload::model(bound, policy, findings)
}

/// Says which checks were not made.
pub(crate) fn not_evaluated(is_bundle: bool, findings: &mut Vec<Finding>) {
    let hardware = [
        "binding",
        "product",
        "signer",
        "chip",
        "measurement",
        "vmpl",
        "launch",
        "keys",
        "tcb",
        "guest policy",
        "platform",
        "mitigations",
    ];
    for check in hardware {
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
