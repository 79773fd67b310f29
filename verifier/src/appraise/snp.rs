//! SEV-SNP: is what an authentic report says acceptable?

use crate::authenticate::snp::Claims;
use crate::finding::Finding;
use crate::policy::SnpPolicy;

mod guest;
mod identity;
mod platform;
mod tcb;

/// The checks, as a report names those that were not made.
pub(super) const CHECKS: &[&str] = &[
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

/// Makes every check.
pub(super) fn judge(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
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
