//! What a check wants and what the evidence has, in words: by the policy, by its defaults, by the claims.

use serde_json::Value;
use verifier::Code;

use super::judged::{Judged, WHOLE};
use super::rules::{COMPARED, OPTIONAL, REGISTERS};

/// What one row compares. A rule that is about several values has a row for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Compared {
    /// The value's name, as findings say it; empty where there is one alone.
    pub(super) name: &'static str,
    pub(super) expected: String,
    pub(super) actual: String,
}

/// What a rule compares, for these components.
pub(super) fn compared(judged: &Judged<'_>, code: Code, of: &[&str]) -> Vec<Compared> {
    let tdx = judged.report.platform.ends_with("tdx");
    if code.as_str() == "measurement-not-allowed" && tdx {
        return REGISTERS
            .iter()
            .map(|(name, key, claim)| {
                let is_log = |entry: &toml::Value| {
                    entry.get("register").and_then(toml::Value::as_str) == Some(claim)
                };
                let entries =
                    at(judged.policy, "tdx.event_log.events").and_then(toml::Value::as_array);
                let is_pinned = entries.is_some_and(|entries| entries.iter().any(is_log));
                let expected = match wanted(judged, key, of) {
                    (_, true) if is_pinned => "any: its events are judged".to_owned(),
                    (text, _) => text,
                };
                Compared { name, expected, actual: claimed(judged, claim, of) }
            })
            .collect();
    }
    let (expected, actual) = special(judged, code, of).unwrap_or_else(|| usual(judged, code, of));
    vec![Compared { name: "", expected, actual }]
}

/// Whether what a row shows as actual are words about a check that passed, and no value.
pub(super) fn is_words(code: Code) -> bool {
    code.as_str() == "device-topology"
        || entry(code).is_some_and(|(.., claim)| claim.starts_with('='))
}

/// Whether the policy demands nothing of `subject` by this rule.
pub(super) fn is_unasked(judged: &Judged<'_>, code: Code, subject: &str) -> bool {
    let Some((_, key, _)) = entry(code).filter(|(_, key, _)| !key.starts_with('=')) else {
        return false;
    };
    // Of a TD it is registers, of which a policy that takes any is told.
    if code.as_str() == "measurement-not-allowed" && judged.report.platform.ends_with("tdx") {
        return false;
    }
    if code.as_str() == "device-vbios-below-minimum" && !judged.has_min_vbios(subject) {
        return true;
    }
    let of = if subject == WHOLE { judged.devices() } else { vec![subject] };
    let (text, _) = wanted(judged, key, &of);
    let text = text.trim_end_matches(DEFAULT);
    matches!(text, "any" | "allowed")
        || OPTIONAL.contains(&code.as_str()) && matches!(text, "0" | "0.0" | "0x0")
        || OPTIONAL.contains(&code.as_str())
            && (text.starts_with("none") || text.starts_with("one or more"))
        || code.as_str() == "event-log-missing" && text == "if-present" && !judged.has_log
}

/// By the table: the policy's value, and the claim.
fn usual(judged: &Judged<'_>, code: Code, of: &[&str]) -> (String, String) {
    let Some((_, key, claim)) = entry(code) else {
        return ("not the case".to_owned(), "not the case".to_owned());
    };
    let expected = match key.strip_prefix('=') {
        Some(text) => text.to_owned(),
        None => wanted(judged, key, of).0,
    };
    let actual = match claim.strip_prefix('=') {
        Some(text) => text.to_owned(),
        None => bit(judged, code, claim).unwrap_or_else(|| claimed(judged, claim, of)),
    };
    (expected, if actual.is_empty() { "not stated".to_owned() } else { actual })
}

/// What no table says.
fn special(judged: &Judged<'_>, code: Code, of: &[&str]) -> Option<(String, String)> {
    dated(judged, code, of)
        .or_else(|| bound(judged, code, of))
        .or_else(|| of_devices(judged, code, of))
        .or_else(|| others(judged, code, of))
}

/// What ends: the moment judged for, and the ends.
fn dated(judged: &Judged<'_>, code: Code, of: &[&str]) -> Option<(String, String)> {
    let what: &[&str] = match code.as_str() {
        "certificate-expired" | "certificate-not-yet-valid" => {
            &["VCEK", "VLEK", "ASK", "ASVK", "ARK", "PCK", "root", "TCB signer", "certificate"]
        }
        "crl-expired" | "crl-not-yet-valid" => &["revocation list"],
        "tcb-info-expired" | "tcb-info-not-yet-valid" => &["TCB Info"],
        "qe-identity-expired" | "qe-identity-not-yet-valid" => &["QE Identity"],
        "ocsp-expired" | "ocsp-not-yet-valid" => &["OCSP"],
        "device-reference-expired" => &["reference values"],
        _ => return None,
    };
    let is_certificate = code.as_str().starts_with("certificate-");
    let mut ends: Vec<String> = Vec::new();
    for component in of {
        for end in what.iter().flat_map(|what| judged.ends(component, what)) {
            let text = format!("{} until {}", end.what, end.ends);
            let is_other =
                is_certificate && (end.what.contains("list") || end.what.contains("OCSP"));
            if !is_other && !ends.contains(&text) {
                ends.push(text);
            }
        }
    }
    let expected = format!("good at {}", judged.report.appraised_at);
    let none = "nothing of it has an end".to_owned();
    Some((expected, if ends.is_empty() { none } else { ends.join("\n") }))
}

/// What ties keys, challenge and moment to the hardware.
fn bound(judged: &Judged<'_>, code: Code, of: &[&str]) -> Option<(String, String)> {
    Some(match code.as_str() {
        "report-data-mismatch" => {
            let is_azure = judged.report.platform.starts_with("azure");
            let actual =
                claimed(judged, if is_azure { "azure.user_data" } else { "report_data" }, of);
            let stated = judged.report_data.map(|stated| format!("{stated:?}"));
            // A bundle's is made from its statement, and was found to be the same.
            let expected = stated.unwrap_or_else(|| {
                if judged.is_bundle() { actual.clone() } else { "none was stated".to_owned() }
            });
            (expected, actual)
        }
        "challenge-not-answered" => {
            let none = || "none was given".to_owned();
            (judged.challenge.map_or_else(none, ToString::to_string), "answered".to_owned())
        }
        "not-challenged" => {
            let actual = if judged.challenge.is_some() { "challenged" } else { "not challenged" };
            (wanted(judged, "freshness.evidence", of).0, actual.to_owned())
        }
        "device-nonce-mismatch" => {
            let actual = claimed(judged, "device.nonce", of);
            let challenge =
                judged.challenge.filter(|_| !judged.is_bundle()).map(ToString::to_string);
            // In a bundle it is made from the statement, and was found to be the same.
            let expected = challenge.unwrap_or_else(|| {
                if judged.is_bundle() { actual.clone() } else { "none was given".to_owned() }
            });
            (expected, actual)
        }
        "statement-not-yet-valid" => {
            let start = claimed(judged, "binding.not_before", of);
            (window("not before", &start), judged.report.appraised_at.to_string())
        }
        "statement-expired" => {
            let end = claimed(judged, "binding.not_after", of);
            (window("before", &end), judged.report.appraised_at.to_string())
        }
        _ => return None,
    })
}

/// An end of the statement's window; of one that the hardware does not vouch for no time is shown.
fn window(word: &str, end: &str) -> String {
    if end.is_empty() { "in the statement's window".to_owned() } else { format!("{word} {end}") }
}

/// What devices are and how many.
fn of_devices(judged: &Judged<'_>, code: Code, of: &[&str]) -> Option<(String, String)> {
    let devices = judged.devices();
    let count = |kind: &str| devices.iter().filter(|name| name.starts_with(kind)).count();
    let present = || format!("GPUs: {}, switches: {}", count("gpu"), count("switch"));
    Some(match code.as_str() {
        "accelerators-missing" => ("GPUs".to_owned(), present()),
        "device-count" => (wanted(judged, "device.count", &devices).0, present()),
        "device-repeated" => {
            let serials = devices.iter().map(|name| claimed(judged, "device.serial", &[name]));
            ("each once".to_owned(), serials.collect::<Vec<_>>().join(", "))
        }
        "switch-unlocked" => {
            (usual(judged, code, of).0, format!("locked: {}", claimed(judged, "device.locked", of)))
        }
        "device-topology" => {
            (wanted(judged, "nvidia-gpu.topology", of).0, "each names all of the others".to_owned())
        }
        "device-measurement-mismatch"
        | "device-measurement-missing"
        | "device-measurement-unlisted" => {
            let measured = |name: &&str| {
                Some(judged.claim(&format!("{name}.measurements"))?.as_object()?.len())
            };
            let mut counts: Vec<_> = of.iter().filter_map(measured).collect();
            counts.sort_unstable();
            counts.dedup();
            let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
            (usual(judged, code, of).0, format!("measurements: {}", counts.join(", ")))
        }
        _ => return None,
    })
}

/// What the policy says elsewhere than in one key, or says nothing of.
fn others(judged: &Judged<'_>, code: Code, of: &[&str]) -> Option<(String, String)> {
    let both = |text: &str| (text.to_owned(), text.to_owned());
    Some(match code.as_str() {
        "tcb-below-minimum" | "tcb-minimum-not-set" => {
            let product = claimed(judged, "product", of);
            let key = format!("sev-snp.min_tcb.{}", product.to_ascii_lowercase());
            (wanted(judged, &key, of).0, claimed(judged, "reported_tcb launch_tcb", of))
        }
        "endorsements-malformed" | "evidence-malformed" => both("parses"),
        "platform-not-supported" | "platform-not-allowed" => {
            let known = ["sev-snp", "tdx", "azure", "nvidia-gpu", "nvidia-switch"];
            let named = known.into_iter().filter(|name| judged.policy.contains_key(*name));
            (named.collect::<Vec<_>>().join(", "), judged.report.platform.to_owned())
        }
        "tcb-signer-revoked"
        | "pck-revoked"
        | "vek-revoked"
        | "intermediate-revoked"
        | "device-revoked" => both("not revoked"),
        _ => return None,
    })
}

/// One bit of a field, where the rule names it by its number.
fn bit(judged: &Judged<'_>, code: Code, claim: &str) -> Option<String> {
    if !["guest_policy", "platform_info", "td_attributes"].contains(&claim) {
        return None;
    }
    let (_, number) = code.reference().rsplit_once("bit ")?;
    let text = judged.claim(claim)?.as_str()?;
    let hex = text.strip_prefix("0x")?.split(' ').next()?;
    let field = u64::from_str_radix(hex, 16).ok()?;
    let is_set = field.checked_shr(number.parse().ok()?)? & 1;
    Some(format!("bit {number} of {text}: {is_set}"))
}

/// What the policy says under a key, or else what it means to leave it out; and whether it says it.
fn wanted(judged: &Judged<'_>, key: &str, of: &[&str]) -> (String, bool) {
    let keys: Vec<String> = if let Some(rest) = key.strip_prefix("device.") {
        let kinds = [("gpu", "nvidia-gpu"), ("switch", "nvidia-switch")];
        let present =
            kinds.into_iter().filter(|(kind, _)| of.iter().any(|name| name.starts_with(kind)));
        present.map(|(_, section)| format!("{section}.{rest}")).collect()
    } else if let Some(rest) = key.strip_prefix("cpu.") {
        let section = if judged.report.platform.ends_with("tdx") { "tdx" } else { "sev-snp" };
        vec![format!("{section}.{rest}")]
    } else {
        vec![key.to_owned()]
    };
    let mut is_default = true;
    let mut all: Vec<String> = Vec::new();
    for key in &keys {
        let text = if let Some(value) = at(judged.policy, key) {
            is_default = false;
            let text = text(value);
            let count = value.as_array().map_or(1, Vec::len);
            if text.len() > EXPECTED_LEN_MAX {
                format!("values in the policy below: {count}")
            } else {
                text
            }
        } else {
            default_of(key).map(|text| format!("{text}{DEFAULT}")).unwrap_or_default()
        };
        if !all.contains(&text) {
            all.push(text);
        }
    }
    (all.join("; "), is_default)
}

/// A value of a policy as text.
fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        toml::Value::Table(members) => {
            let members = members.iter().map(|(key, value)| format!("{key} {}", text(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => value.to_string(),
    }
}

/// The value of a key with dots.
fn at<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        Some((first, rest)) => at(table.get(first)?.as_table()?, rest),
        None => table.get(key),
    }
}

/// What leaving a key out means, as the page about policies says it.
fn default_of(key: &str) -> Option<String> {
    let (section, key) = match key.strip_prefix("tdx.event_log.") {
        Some(rest) => ("tdx.event_log", rest),
        None => match key.split_once('.') {
            Some((section, rest)) if !FRAME.contains(&section) => (section, rest),
            _ => ("", key),
        },
    };
    let mut of_section = false;
    for line in POLICIES.lines() {
        if line.starts_with("## ") || line.starts_with("### ") && line.contains("`[") {
            of_section = match section {
                "" => line == "## The frame",
                section => line.contains(&format!("`[{section}]`")),
            };
        }
        let mut cells = line.split(" | ");
        let Some(names) = cells.next().filter(|_| of_section).and_then(|it| it.strip_prefix("| `"))
        else {
            continue;
        };
        let is_it = |name: &str| {
            let name = name.trim_matches(|c| c == '`' || c == ' ');
            let of_many = name.split_once('<').map(|(start, _)| start);
            name == key
                || of_many.is_some_and(|start| {
                    key.starts_with(start) || start.strip_suffix('.') == Some(key)
                })
        };
        if names.split(", ").any(is_it) {
            return cells.next().map(plain_default);
        }
    }
    None
}

/// A default without the signs of code.
fn plain_default(cell: &str) -> String {
    cell.chars().filter(|c| !"`\"[]".contains(*c)).collect()
}

/// Claims as text: one by itself, several with their names; of devices, each device's where they differ.
fn claimed(judged: &Judged<'_>, claims: &str, of: &[&str]) -> String {
    let one = |path: &str| judged.claim(path).map(plain);
    if let Some(path) = claims.strip_prefix("device.") {
        let each: Vec<_> =
            of.iter().filter_map(|name| Some((*name, one(&format!("{name}.{path}"))?))).collect();
        return match each.as_slice() {
            [] => String::new(),
            [(_, first), rest @ ..] if rest.iter().all(|(_, text)| text == first) => first.clone(),
            each => each
                .iter()
                .map(|(name, text)| format!("{name} {text}"))
                .collect::<Vec<_>>()
                .join("\n"),
        };
    }
    if !claims.contains(' ') {
        return one(claims).unwrap_or_default();
    }
    let each = claims.split(' ').filter_map(|path| Some(format!("{path} {}", one(path)?)));
    each.collect::<Vec<_>>().join("\n")
}

/// A claim as text.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn entry(code: Code) -> Option<(&'static str, &'static str, &'static str)> {
    COMPARED.iter().find(|(name, ..)| *name == code.as_str()).copied()
}

/// Longest value of a policy that stands in a row: ten measurements.
const EXPECTED_LEN_MAX: usize = 1024;

/// Behind a value that the policy does not state.
const DEFAULT: &str = " (default)";

/// Keys of a policy that no section holds.
const FRAME: [&str; 4] = ["freshness", "models", "config", "anchors"];

/// The page that says what each key means.
const POLICIES: &str = include_str!("../../../../docs/policy.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_table_is_one() {
        for (code, ..) in COMPARED {
            assert!(Code::ALL.iter().any(|known| known.as_str() == *code), "{code}");
            assert_eq!(COMPARED.iter().filter(|(other, ..)| other == code).count(), 1, "{code}");
        }
    }

    /// A finding about something that is not there must not show a value of something else.
    #[test]
    fn what_is_missing_is_shown_in_words() {
        // These have the finding's own value, or one that tells what was there instead.
        let other = [
            "tcb-info-missing",
            "qe-identity-missing",
            "tcb-level-missing",
            "mitigation-missing",
            "device-reference-missing",
            "device-measurement-missing",
        ];
        for (code, _, claim) in COMPARED.iter().filter(|(code, ..)| code.ends_with("-missing")) {
            assert!(claim.starts_with('=') || other.contains(code), "{code}");
        }
    }

    /// Whatever a policy leaves out, a row says what that means.
    #[test]
    fn every_key_has_a_default_on_the_page_about_policies() {
        for (code, key, _) in COMPARED.iter().filter(|(_, key, _)| !key.starts_with('=')) {
            let keys = match (key.strip_prefix("device."), key.strip_prefix("cpu.")) {
                (Some(rest), _) => {
                    vec![format!("nvidia-gpu.{rest}"), format!("nvidia-switch.{rest}")]
                }
                (_, Some(rest)) => vec![format!("sev-snp.{rest}"), format!("tdx.{rest}")],
                _ => vec![(*key).to_owned()],
            };
            for key in keys {
                assert!(default_of(&key).is_some_and(|text| !text.is_empty()), "{code}: {key}");
            }
        }
        for (key, expected) in [
            ("sev-snp.products", "genoa, turin"),
            ("sev-snp.platform.smt", "allowed"),
            ("tdx.platform.smt", "allowed"),
            ("tdx.attributes.perfmon", "allowed"),
            ("tdx.event_log.presence", "if-present"),
            ("sev-snp.min_tcb.genoa", "none; must be given in production"),
            ("nvidia-gpu.min_vbios.GH100", "none"),
            ("freshness.evidence", "challenged"),
            ("models", "none"),
        ] {
            assert_eq!(default_of(key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(default_of("tdx.no_such_key"), None);
    }
}
