//! What the author of a policy should look at before anybody relies on it.

use super::{Accept, Policy, Purpose, ReadAnchor};

/// How much a [`Problem`] weighs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Weight {
    /// The policy is refused.
    Error,
    /// Somebody should know.
    Warning,
}

/// Something that is wrong with a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// How much it weighs.
    pub weight: Weight,
    /// The key, with dots.
    pub key: String,
    /// A sentence about it.
    pub message: String,
}

impl Problem {
    pub(super) fn error(key: &str, message: impl Into<String>) -> Self {
        Self { weight: Weight::Error, key: key.to_owned(), message: message.into() }
    }

    pub(super) fn warning(key: &str, message: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(key, message) }
    }
}

/// Looks at a policy's text.
pub(super) fn lint(text: &str, read_anchor: &ReadAnchor<'_>) -> Vec<Problem> {
    let policy = match Policy::parse(text, read_anchor) {
        Ok(policy) => policy,
        Err(error) => return error.problems,
    };
    let mut problems = Vec::new();
    pinned(&policy, &mut problems);
    if policy.sev_snp.is_none() && policy.tdx.is_none() {
        problems.push(Problem::error(
            "policy",
            "has no section of a platform that can be appraised: it accepts nothing",
        ));
    }
    for section in &policy.not_yet {
        problems.push(Problem::warning(
            section,
            "is of a platform that is not appraised yet: its evidence is refused",
        ));
    }
    if let Some(snp) = &policy.sev_snp {
        snp.lint(&policy, &mut problems);
    }
    if let Some(tdx) = &policy.tdx {
        tdx.lint(&mut problems);
    }
    if let Some(azure) = &policy.azure {
        azure.lint(&policy, &mut problems);
    }
    for (key, message) in policy.relaxations() {
        problems.push(Problem::warning(key, message));
    }
    problems.sort_by_key(|problem| problem.weight);
    problems
}

/// Model, configuration and measurement are pinned together or the rest means nothing: whoever
/// chooses one of them freely chooses what reads the prompt.
fn pinned(policy: &Policy, problems: &mut Vec<Problem>) {
    let needs_binding = policy.purpose != Purpose::Evaluation;
    if needs_binding && policy.models.is_empty() {
        problems.push(Problem::error("models", "is empty: no model is accepted"));
    }
    if needs_binding && is_empty(&policy.configs) {
        problems.push(Problem::error("config.digests", "is empty: no configuration is accepted"));
    }
    if policy.anchors.kind() == super::AnchorKind::Untrusted && policy.anchors.sev_snp().is_empty()
    {
        problems.push(Problem::error("anchors.sev-snp", "is empty: no root is trusted"));
    }
}

/// Whether nothing at all is acceptable.
pub(super) fn is_empty<T>(accept: &Accept<T>) -> bool {
    matches!(accept, Accept::Only(values) if values.is_empty())
}
