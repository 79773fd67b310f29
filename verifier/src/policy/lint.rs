//! What the author of a policy should look at before anybody relies on it.

use core::time::Duration;
use std::collections::BTreeSet;

use attestation::endorsements::{Endorsements, Kind};
use attestation::{Sha256, UnixTime};
use serde_json::Value;

use super::{Accept, Ark, Policy, Purpose, ReadAnchor, TrustAnchors};
use crate::anchors::intel;

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
pub(super) fn lint(
    text: &str,
    read_anchor: &ReadAnchor<'_>,
    endorsements: &Endorsements,
    now: UnixTime,
) -> Vec<Problem> {
    let policy = match Policy::parse(text, read_anchor) {
        Ok(policy) => policy,
        Err(error) => return error.problems,
    };
    let mut problems = Vec::new();
    let look = Look { policy: &policy, now, advisories: advisories(endorsements) };
    pinned(&policy, &mut problems);
    if policy.sev_snp.is_none()
        && policy.tdx.is_none()
        && policy.nvidia_gpu.is_none()
        && policy.nvidia_switch.is_none()
    {
        problems.push(Problem::error(
            "policy",
            "has no section of a platform that can be appraised: it accepts nothing",
        ));
    }
    anchored(&policy, &mut problems);
    if let Some(snp) = &policy.sev_snp {
        snp.lint(&look, &mut problems);
    }
    if let Some(tdx) = &policy.tdx {
        tdx.lint(&look, &mut problems);
    }
    if let Some(azure) = &policy.azure {
        azure.lint(&policy, &mut problems);
    }
    if let Some(gpu) = &policy.nvidia_gpu {
        gpu.lint(&look, &mut problems);
    }
    if let Some(switch) = &policy.nvidia_switch {
        switch.lint(&look, &mut problems);
    }
    for (key, message) in policy.relaxations() {
        problems.push(Problem::warning(key, message));
    }
    problems.sort_by_key(|problem| problem.weight);
    problems
}

/// What a section is looked at with.
pub(super) struct Look<'a> {
    /// The policy that the section is of.
    pub(super) policy: &'a Policy,
    /// For which moment.
    pub(super) now: UnixTime,
    /// Every advisory that the TCB Info at hand names; none where there is no TCB Info.
    advisories: BTreeSet<String>,
}

impl Look<'_> {
    /// Looks at the advisories that a section allows.
    pub(super) fn advisories<'a>(
        &self,
        key: &str,
        allowed: impl IntoIterator<Item = &'a String>,
        problems: &mut Vec<Problem>,
    ) {
        for advisory in allowed {
            if !self.advisories.is_empty() && !self.advisories.contains(advisory) {
                let message = format!("{advisory} is in no TCB Info at hand: it allows nothing");
                problems.push(Problem::warning(key, message));
            }
        }
    }

    /// Looks at the end of something that a section tolerates for a while.
    pub(super) fn until(&self, key: &str, until: UnixTime, problems: &mut Vec<Problem>) {
        if until < self.now {
            let message = format!("ended at {until}: it tolerates nothing any more");
            problems.push(Problem::error(key, message));
        } else if until > self.now.saturating_add(TOLERANCE_MAX) {
            let message = format!("ends at {until}: more than half a year is no tolerance");
            problems.push(Problem::warning(key, message));
        }
    }
}

/// The advisories that TCB Info names, nobody having verified it: good enough to find a slip of the
/// pen.
fn advisories(endorsements: &Endorsements) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in endorsements.items(Kind::TcbInfo) {
        let Ok(document) = serde_json::from_slice::<Value>(item) else { continue };
        let Some(info) = document.get("tcbInfo") else { continue };
        let modules = info.get("tdxModuleIdentities").and_then(Value::as_array);
        for holder in modules.into_iter().flatten().chain([info]) {
            let levels = holder.get("tcbLevels").and_then(Value::as_array);
            for level in levels.into_iter().flatten() {
                let ids = level.get("advisoryIDs").and_then(Value::as_array);
                let ids = ids.into_iter().flatten().filter_map(Value::as_str);
                found.extend(ids.map(str::to_owned));
            }
        }
    }
    found
}

/// How long a tolerance lasts that is still one.
const TOLERANCE_MAX: Duration = Duration::from_hours(183 * 24);

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
}

/// Roots of a policy's own are for the platforms that it names, all of them.
fn anchored(policy: &Policy, problems: &mut Vec<Problem>) {
    if policy.anchors.kind() != super::AnchorKind::Untrusted {
        return;
    }
    let vendors = TrustAnchors::production();
    let of_amd = |anchors: &TrustAnchors| anchors.sev_snp().iter().map(Ark::id).collect::<Vec<_>>();
    let of_intel = |anchors: &TrustAnchors| {
        anchors.tdx().all().iter().map(intel::Root::id).collect::<Vec<_>>()
    };
    let of_nvidia = |anchors: &TrustAnchors| {
        anchors.nvidia().map(|der| Sha256::of(der).to_string()).collect::<Vec<_>>()
    };
    let has_devices = policy.nvidia_gpu.is_some() || policy.nvidia_switch.is_some();
    for (key, has_section, roots) in [
        ("anchors.sev-snp", policy.sev_snp.is_some(), [&policy.anchors, &vendors].map(of_amd)),
        ("anchors.tdx", policy.tdx.is_some(), [&policy.anchors, &vendors].map(of_intel)),
        ("anchors.nvidia-gpu", has_devices, [&policy.anchors, &vendors].map(of_nvidia)),
    ] {
        let [own, vendors] = roots;
        let is_vendors = own == vendors;
        if own.is_empty() {
            problems.push(Problem::error(key, "is empty: no root is trusted"));
        }
        if has_section && is_vendors {
            let message = "names no root: the vendor's are trusted beside the policy's own";
            problems.push(Problem::warning(key, message));
        }
        if !has_section && !is_vendors {
            let message = "names roots of a platform that has no section: its evidence is refused";
            problems.push(Problem::warning(key, message));
        }
    }
}

/// Whether nothing at all is acceptable.
pub(super) fn is_empty<T>(accept: &Accept<T>) -> bool {
    matches!(accept, Accept::Only(values) if values.is_empty())
}
