//! Every check that evidence of a platform meets, whether it found something or not.
//!
//! A report has findings alone. An auditor wants to see what else was looked at: those are the
//! rules of `docs/rejections.md`, in its order and under its headings.

use serde_json::Value;
use verifier::{Code, Finding, Report};

/// The rules under one heading of the page.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) codes: Vec<Code>,
}

/// The groups of rules that count for what `report` is about.
pub(super) fn groups(report: &Report, has_log: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in RULES.lines() {
        if line.starts_with("## ") && !groups.is_empty() {
            break;
        }
        if let Some(title) = line.strip_prefix("### ") {
            groups.push(Group { title, codes: Vec::new() });
        } else if let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
            && let Some(group) = groups.last_mut()
        {
            let code = Code::ALL.iter().find(|code| code.as_str() == name);
            group.codes.extend(code.copied().filter(|code| is_rule(*code)));
        }
    }
    for group in &mut groups {
        // What is AMD's alone says nothing of a TD.
        if report.platform.contains("tdx") {
            group.codes.retain(|code| !code.as_str().starts_with("vek-"));
        }
        if !counts(group.title, report, has_log) {
            group.codes.retain(|code| report.findings.iter().any(|found| found.code == *code));
        }
    }
    groups.retain(|group| !group.codes.is_empty());
    groups
}

/// What the policy or the specification wants, where the finding does not say.
pub(super) fn expected(code: Code, report: &Report, policy: &toml::Table) -> Option<String> {
    let key = code.reference().strip_prefix("docs/policy.md ")?.split_whitespace().next()?;
    let sections = [Some(policy), section(policy, report.platform)];
    let value = sections.into_iter().flatten().find_map(|table| at(table, key));
    let found = report.findings.iter().any(|finding| finding.code == code);
    let Some(value) = value else { return (!found).then(|| "the default".to_owned()) };
    let text =
        |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (count, text) = match value.as_array() {
        Some(values) => (values.len(), values.iter().map(text).collect::<Vec<_>>().join(", ")),
        None => (1, text(value)),
    };
    // Reference values of a GPU would fill a sheet in each row that is about them.
    let is_long = text.len() > EXPECTED_LEN_MAX;
    Some(if is_long { format!("values in the policy below: {count}") } else { text })
}

/// What the evidence has, where the finding does not say.
pub(super) fn actual(code: Code, report: &Report) -> Option<String> {
    let (_, claim) = CLAIMS.iter().find(|(known, _)| *known == code.as_str())?;
    let mut value = report.claims.get(*claim.first()?)?;
    for key in claim.iter().skip(1) {
        value = value.get(key)?;
    }
    Some(plain(value))
}

/// A claim as text.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Whether findings of this code are of a check; others are remarks about the whole.
fn is_rule(code: Code) -> bool {
    !["untrusted-anchors", NOT_EVALUATED].contains(&code.as_str())
}

/// Whether a finding stands for a check that was not made.
pub(super) fn is_not_evaluated(finding: &Finding) -> bool {
    finding.code.as_str() == NOT_EVALUATED
}

/// Whether the rules below a heading count for what was judged. Those of a heading that nobody told
/// this are shown where they found something.
fn counts(title: &str, report: &Report, has_log: bool) -> bool {
    let (snp, tdx) = (report.claims.contains_key("reported_tcb"), report.platform.contains("tdx"));
    let bound = report.claims.contains_key("binding");
    let other = |kind: &str| report.claims.keys().any(|key| key.starts_with(kind));
    match title {
        "Evidence and platform" | "Policy" => true,
        "The chain" | "Revocation" => snp || tdx,
        "The report and its signature"
        | "Signing key, chip, product"
        | "Firmware"
        | "Guest policy"
        | "Platform"
        | "Launch" => snp && !tdx,
        "Binding" | "Model and configuration" | "Workload" => bound,
        "Event logs" => has_log,
        title if title.starts_with("TDX") => tdx,
        title if title.starts_with("Azure") => report.platform.contains("azure"),
        title if title.contains("NVIDIA") => other("gpu") || report.platform == "nvidia-gpu",
        _ => false,
    }
}

fn section<'a>(policy: &'a toml::Table, platform: &str) -> Option<&'a toml::Table> {
    let name = if platform.contains("tdx") {
        "tdx"
    } else if platform.contains("nvidia") {
        "nvidia-gpu"
    } else {
        "sev-snp"
    };
    policy.get(name)?.as_table()
}

/// The value of a key with dots.
fn at<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        Some((first, rest)) => at(table.get(first)?.as_table()?, rest),
        None => table.get(key),
    }
}

/// Longest value of a policy that stands in a row: ten measurements.
const EXPECTED_LEN_MAX: usize = 1024;

const NOT_EVALUATED: &str = "not-evaluated";

/// The page of rules, which a test of the repository holds equal to the codes.
const RULES: &str = include_str!("../../../../docs/rejections.md");

/// Which claim a rule looks at.
const CLAIMS: &[(&str, &[&str])] = &[
    ("product-not-allowed", &["product"]),
    ("report-version-unsupported", &["report_version"]),
    ("signing-key-not-allowed", &["signing_key"]),
    ("csp-not-allowed", &["csp_id"]),
    ("chip-not-allowed", &["chip_id"]),
    ("chip-id-mismatch", &["chip_id"]),
    ("reported-tcb-mismatch", &["reported_tcb"]),
    ("tcb-below-minimum", &["reported_tcb"]),
    ("guest-policy-debug", &["guest_policy"]),
    ("guest-policy-migration", &["guest_policy"]),
    ("guest-policy-unknown-bits", &["guest_policy"]),
    ("platform-alias-check", &["platform_info"]),
    ("platform-unknown-bits", &["platform_info"]),
    ("vmpl-not-allowed", &["vmpl"]),
    ("measurement-not-allowed", &["measurement"]),
    ("host-data-not-allowed", &["host_data"]),
    ("family-id-not-allowed", &["family_id"]),
    ("image-id-not-allowed", &["image_id"]),
    ("guest-svn-below-minimum", &["guest_svn"]),
    ("id-key-not-allowed", &["id_key_digest"]),
    ("author-key-not-allowed", &["author_key_digest"]),
    ("report-data-mismatch", &["report_data"]),
    ("statement-not-yet-valid", &["binding", "not_before"]),
    ("statement-expired", &["binding", "not_after"]),
    ("model-not-allowed", &["binding", "manifest"]),
    ("config-not-allowed", &["binding", "config"]),
    ("crl-expired", &["crl"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_is_of_a_rule() {
        for (code, _) in CLAIMS {
            assert!(Code::ALL.iter().any(|known| known.as_str() == *code), "{code}");
        }
    }
}
