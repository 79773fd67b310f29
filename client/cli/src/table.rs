//! A verdict for people: what was decided, why, and what to do about it.

use std::fmt::Write as _;

use serde_json::Value;
use verifier::{AnchorKind, Finding, Report, Severity};

use crate::output::shown_lines;
use crate::summary::{alike, missing, names};

/// What was judged, beside what its report says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown<'a> {
    /// The evidence was to answer a challenge.
    pub(crate) is_challenged: bool,
    /// The 64 bytes that raw evidence must carry were stated.
    pub(crate) is_stated: bool,
    /// There was an event log.
    pub(crate) has_log: bool,
    /// Why documents that are missing could not be fetched.
    pub(crate) not_had: &'a [String],
    /// What to do where documents are missing.
    pub(crate) next: &'a str,
}

/// The report as text of at most [`WIDTH`] columns.
pub(crate) fn render(report: &Report, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    write_report(&mut out, report, shown).unwrap_or_default();
    // Some values are whoever's made the evidence: a terminal must not obey them.
    shown_lines(&out)
}

fn write_report(out: &mut String, report: &Report, shown: &Shown<'_>) -> std::fmt::Result {
    let anchors = match report.anchors {
        AnchorKind::Production => "the vendors' own",
        AnchorKind::Untrusted => "untrusted: the policy's own",
    };
    let verdict = report.verdict.to_string().to_uppercase();
    writeln!(out, "{RULE}")?;
    writeln!(out, "{verdict}   {}", report.platform)?;
    writeln!(out, "{RULE}")?;
    let missing = missing(report);
    if !missing.is_empty() {
        row(out, "missing", &missing.join(", "))?;
        for why in shown.not_had {
            row(out, "", why)?;
        }
        row(out, "next", shown.next)?;
    }
    let Report { policy, appraised_at, not_after, .. } = report;
    row(out, "policy", &format!("{}, version {}", policy.name, policy.version))?;
    row(out, "SHA-256", &policy.digest.to_string())?;
    row(out, "anchors", anchors)?;
    row(out, "judged for", &appraised_at.to_string())?;
    if let Some(not_after) = not_after {
        row(out, "holds until", &not_after.to_string())?;
    }
    if let Some(challenge) = challenge(report, shown) {
        row(out, "challenge", challenge)?;
    }
    cpu(out, report, shown.has_log)?;
    devices(out, report)?;
    if let Some(binding) = report.claims.get("binding").and_then(Value::as_object) {
        let mut name = "bound to";
        for (key, value) in binding {
            row(out, name, &format!("{key} {}", plain(value)))?;
            name = "";
        }
    }
    let (checks, others): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.code.as_str() == "not-evaluated");
    if others.is_empty() && checks.is_empty() {
        writeln!(out, "\nEvery check that the policy makes has passed, without a remark.")?;
    }
    for (each, of) in alike(others.into_iter()) {
        finding(out, each, &of)?;
    }
    if !checks.is_empty() {
        let mut left: Vec<&str> = Vec::new();
        for name in checks.iter().filter_map(|each| each.message.split(':').next()) {
            if !left.contains(&name) {
                left.push(name);
            }
        }
        writeln!(out, "\n  info    not-evaluated")?;
        wrapped(out, &left.join(", "))?;
    }
    writeln!(out, "{RULE}")
}

/// Whether the evidence answers a challenge, where it is authentic and could.
fn challenge(report: &Report, shown: &Shown<'_>) -> Option<&'static str> {
    let has = |code: &str| report.findings.iter().any(|finding| finding.code.as_str() == code);
    // Of a device that is not authentic nobody knows what it answers.
    let is_whole = report.findings.iter().all(|finding| {
        let of = &*finding.component;
        !of.starts_with("gpu") && !of.starts_with("switch") || report.claims.contains_key(of)
    });
    if report.claims.is_empty() {
        return None;
    }
    Some(if !shown.is_challenged && shown.is_stated {
        "none given: how old the evidence is rests on the 64 bytes that were stated"
    } else if !shown.is_challenged {
        "none given: nothing shows when the evidence was made"
    } else if has("challenge-not-answered") || has("device-nonce-mismatch") {
        "not answered"
    } else if report.platform.starts_with("nvidia") && is_whole
        || report.claims.contains_key("azure")
        || report.claims.contains_key("binding")
    {
        "answered"
    } else {
        return None;
    })
}

/// What the CPU's evidence is, in few lines.
fn cpu(out: &mut String, report: &Report, has_log: bool) -> std::fmt::Result {
    let claims = &report.claims;
    let said = |key: &str| claims.get(key).filter(|value| !value.is_null()).map(plain);
    if let Some(product) = said("product") {
        row(out, "product", &product)?;
    }
    if let Some(measurement) = said("measurement") {
        row(out, "measurement", &measurement)?;
    }
    if let Some(parts) = claims.get("reported_tcb").and_then(Value::as_object) {
        let parts: Vec<_> = parts.iter().map(|(key, value)| format!("{key} {value}")).collect();
        row(out, "firmware", &parts.join(", "))?;
    }
    let Some(mr_td) = said("mr_td") else { return azure(out, report) };
    if let Some(status) = said("tcb_status") {
        let date = said("tcb_date").unwrap_or_default();
        let evaluation = said("tcb_evaluation").unwrap_or_default();
        row(out, "TCB", &format!("{status}, dated {date}, evaluation {evaluation}"))?;
    }
    let advisories =
        claims.get("advisories").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !advisories.is_empty() {
        row(out, "advisories", &advisories.iter().map(plain).collect::<Vec<_>>().join(", "))?;
    }
    let of_platform = |key: &str| claims.get("platform")?.get(key).map(plain);
    if let (Some(fmspc), Some(sgx)) = (of_platform("fmspc"), of_platform("sgx_type")) {
        row(out, "platform", &format!("FMSPC {fmspc}, {sgx}"))?;
    }
    row(out, "MRTD", &mr_td)?;
    for key in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"] {
        let value = said(key).unwrap_or_default();
        let is_zero = value.bytes().all(|byte| byte == b'0');
        row(out, &key.to_uppercase(), if is_zero { "zero" } else { &value })?;
    }
    if has_log {
        let wrong = ["event-log-mismatch", "event-log-malformed"];
        let is_wrong = report.findings.iter().any(|it| wrong.contains(&it.code.as_str()));
        let text =
            if is_wrong { "does not replay to the registers" } else { "replays to RTMR0 to RTMR3" };
        row(out, "event log", text)?;
    }
    azure(out, report)
}

/// Azure's machine.
fn azure(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(azure) = report.claims.get("azure") else { return Ok(()) };
    let said = |key: &str| azure.get(key).filter(|value| !value.is_null());
    let is_on =
        |key: &str| if said(key).and_then(Value::as_bool) == Some(true) { "on" } else { "off" };
    if let Some(id) = said("vm_id") {
        row(out, "machine", &plain(id))?;
    }
    row(
        out,
        "",
        &format!("secure boot {}, serial console {}", is_on("secure_boot"), is_on("console")),
    )?;
    let quoted = said("tpm_quote").and_then(|quote| quote.get("pcrs")).and_then(Value::as_object);
    let quoted = quoted
        .map_or_else(|| "no quote".to_owned(), |pcrs| format!("quote of {} registers", pcrs.len()));
    row(out, "virtual TPM", &quoted)
}

/// GPUs and switches, those that say the same in one row.
fn devices(out: &mut String, report: &Report) -> std::fmt::Result {
    let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
    let mut all: Vec<(&String, &Value)> =
        report.claims.iter().filter(|(_, value)| value.get("ueid").is_some()).collect();
    all.sort_by_key(|(name, _)| {
        (name.trim_end_matches(|c: char| c.is_ascii_digit()).len(), name.len(), *name)
    });
    for (name, device) in all {
        let said = |key: &str| device.get(key).map(plain);
        let mut parts = vec![said("chip").unwrap_or_default()];
        parts.extend(said("driver").map(|driver| format!("driver {driver}")));
        let bios = if name.starts_with("switch") { "BIOS" } else { "VBIOS" };
        parts.extend(said("vbios").map(|version| format!("{bios} {version}")));
        parts.extend(said("confidential_compute").map(|mode| format!("mode {mode}")));
        parts.extend(device.get("locked").map(|locked| {
            if locked == true { "locked".to_owned() } else { "not locked".to_owned() }
        }));
        let is_compared = !report.findings.iter().any(|finding| {
            finding.component == *name
                && [
                    "device-reference-missing",
                    "device-measurement-mismatch",
                    "device-measurement-missing",
                ]
                .contains(&finding.code.as_str())
        });
        parts.extend(
            is_compared.then(|| "measurements as the reference values have them".to_owned()),
        );
        let text = parts.join(", ");
        match rows.iter_mut().find(|(known, _)| *known == text) {
            Some((_, of)) => of.push(name),
            None => rows.push((text, vec![name])),
        }
    }
    for (text, of) in rows {
        row(out, &names(&of), &text)?;
    }
    Ok(())
}

/// One finding, and under it what was expected, what was there, and what to do.
fn finding(out: &mut String, finding: &Finding, of: &[&str]) -> std::fmt::Result {
    let severity = match finding.severity {
        Severity::Reject => "REJECT",
        Severity::Warn => "warn",
        Severity::Info => "info",
    };
    writeln!(out, "\n  {severity:<8}{}  ({})", finding.code, names(of))?;
    wrapped(out, &finding.message)?;
    for (label, value) in [("expected", &finding.expected), ("actual", &finding.actual)] {
        if let Some(value) = value {
            labelled(out, label, value)?;
        }
    }
    if finding.severity == Severity::Reject {
        labelled(out, "remedy", finding.remedy)?;
        labelled(out, "rule", finding.reference)?;
    }
    Ok(())
}

/// A name, and a value beside it on as many lines as it needs.
fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    let mut name = name;
    if name.len() >= NAME_LEN {
        writeln!(out, "{name}")?;
        name = "";
    }
    // What is to be copied stands on a line of its own.
    for line in value.split('\n').flat_map(|part| fold(part, WIDTH.saturating_sub(NAME_LEN))) {
        writeln!(out, "{name:<NAME_LEN$}{line}")?;
        name = "";
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value of a finding, its lines below one another.
fn labelled(out: &mut String, label: &str, value: &str) -> std::fmt::Result {
    let mut label = label;
    for line in fold(value, WIDTH.saturating_sub(INDENT.len()).saturating_sub(LABEL_LEN)) {
        writeln!(out, "{INDENT}{label:<LABEL_LEN$}{line}")?;
        label = "";
    }
    Ok(())
}

/// Text below a finding's head.
fn wrapped(out: &mut String, text: &str) -> std::fmt::Result {
    for line in fold(text, WIDTH.saturating_sub(INDENT.len())) {
        writeln!(out, "{INDENT}{line}")?;
    }
    Ok(())
}

/// Breaks text at spaces, and digests that are longer than a line after every [`DIGITS_LEN`] digits; what else has no space,
/// a path say, stays whole.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace().flat_map(|word| pieces(word, width)) {
        let len = line.chars().count().saturating_add(word.chars().count());
        if len >= width && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A word as it stands in lines.
fn pieces(word: &str, width: usize) -> Vec<&str> {
    let is_digest =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit() || b",;".contains(&byte));
    if word.len() <= width || !is_digest(word) {
        return vec![word];
    }
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some((piece, after)) =
        rest.split_at_checked(DIGITS_LEN).filter(|_| rest.len() > width)
    {
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;
/// Digits of a digest in one line.
const DIGITS_LEN: usize = 48;
const NAME_LEN: usize = 14;
const LABEL_LEN: usize = 9;
const INDENT: &str = "          ";
const RULE: &str =
    "────────────────────────────────────────────────────────────────────────────────";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_spaces_and_nothing_is_lost() {
        let text = "word ".repeat(40);
        let lines = fold(&text, 30);
        assert!(lines.len() > 5 && lines.iter().all(|line| line.len() <= 30));
        assert_eq!(lines.join(" "), text.trim());
        for len in [64, 96, 128] {
            let digest = "0123456789abcdef".repeat(len / 16);
            let lines = fold(&digest, 61);
            assert!(lines.iter().all(|line| line.len() <= 61), "{lines:?}");
            assert_eq!(lines.concat(), digest);
        }
        let path = "/a/path/that/is/longer/than/a/line/and/must/be/copied/whole.pem";
        assert_eq!(fold(path, 30), [path]);
        let mut out = String::new();
        labelled(&mut out, "expected", &text).unwrap();
        assert!(out.lines().count() > 2);
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with(INDENT)));
    }
}
