//! What runs: the model and the configuration that the binding names.

use crate::bind::Bound;
use crate::finding::{Code, Finding};
use crate::policy::{Accept, Policy, list};

pub(super) fn config(bound: &Bound, policy: &Policy, findings: &mut Vec<Finding>) {
    let digest = bound.statement.config;
    if policy.configs == Accept::Any {
        findings.push(
            Finding::warn(Code::ConfigNotAllowed, "the policy accepts any configuration")
                .of_bundle()
                .actual(digest),
        );
    } else if !policy.configs.admits(&digest) {
        findings.push(
            Finding::reject(Code::ConfigNotAllowed, "the configuration is none of the policy's")
                .of_bundle()
                .expected(&policy.configs)
                .actual(digest),
        );
    }
}

/// Names that the manifest serves and that the policy maps to this very manifest.
pub(super) fn model(bound: &Bound, policy: &Policy, findings: &mut Vec<Finding>) -> Vec<String> {
    let names: Vec<_> = policy
        .models
        .iter()
        .filter(|(name, digest)| {
            **digest == bound.manifest_digest && bound.manifest.names.contains(name)
        })
        .map(|(name, _)| name.clone())
        .collect();
    if names.is_empty() {
        findings.push(
            Finding::reject(Code::ModelNotAllowed, "the model is none of the policy's, or served under no name that the policy gives it")
                .of_bundle()
                .expected(list(policy.models.iter().map(|(name, digest)| format!("{name} {digest}"))))
                .actual(format!("{} {}", bound.manifest.names.join(" "), bound.manifest_digest)),
        );
    }
    names
}
