//! A verdict for people: what was decided, why, and what to do about it.

use std::fmt::Write as _;

use serde_json::Value;
use verifier::{AnchorKind, Finding, Report, Severity};

/// The report as text of at most [`WIDTH`] columns, long values aside.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    write_report(&mut out, report).unwrap_or_default();
    // Some values are whoever's made the evidence: a terminal must not obey them.
    out.retain(|c| !c.is_control() || c == '\n');
    out
}

fn write_report(out: &mut String, report: &Report) -> std::fmt::Result {
    let anchors = match report.anchors {
        AnchorKind::Production => "the vendors' own",
        AnchorKind::Untrusted => "untrusted: the policy's own",
    };
    let verdict = report.verdict.to_string().to_uppercase();
    writeln!(out, "{RULE}")?;
    writeln!(out, "{verdict}   {}", report.platform)?;
    writeln!(out, "{RULE}")?;
    let Report { policy, appraised_at, not_after, .. } = report;
    row(out, "policy", &policy.name)?;
    row(out, "", &format!("sha256:{}", policy.digest))?;
    row(out, "anchors", anchors)?;
    row(out, "judged for", &appraised_at.to_string())?;
    if let Some(not_after) = not_after {
        row(out, "holds until", &not_after.to_string())?;
    }
    for (key, name) in [
        ("product", "product"),
        ("measurement", "measurement"),
        ("reported_tcb", "firmware"),
        ("binding", "bound to"),
    ] {
        if let Some(value) = report.claims.get(key) {
            claims(out, name, value)?;
        }
    }
    let (checks, others): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.code.as_str() == "not-evaluated");
    if others.is_empty() && checks.is_empty() {
        writeln!(out, "\nEvery check that the policy makes has passed, without a remark.")?;
    }
    for each in others {
        finding(out, each)?;
    }
    if !checks.is_empty() {
        let names = checks.iter().map(|each| each.message.split(':').next().unwrap_or_default());
        writeln!(out, "\n  info    not-evaluated")?;
        wrapped(out, &names.collect::<Vec<_>>().join(", "))?;
    }
    writeln!(out, "{RULE}")
}

/// One finding, and under it what was expected, what was there, and what to do.
fn finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let severity = match finding.severity {
        Severity::Reject => "REJECT",
        Severity::Warn => "warn",
        Severity::Info => "info",
    };
    writeln!(out, "\n  {severity:<8}{}  ({})", finding.code, finding.component)?;
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

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "{name:<14}{value}")
}

/// A claim; of an object, each member on a line of its own.
fn claims(out: &mut String, name: &str, value: &Value) -> std::fmt::Result {
    let Some(members) = value.as_object() else { return row(out, name, &plain(value)) };
    if name == "firmware" {
        let parts: Vec<_> = members.iter().map(|(key, value)| format!("{key} {value}")).collect();
        return row(out, name, &parts.join(", "));
    }
    let mut name = name;
    for (key, value) in members {
        row(out, name, &format!("{key} {}", plain(value)))?;
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

/// Breaks text at spaces; what has none, a digest say, stays whole.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
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

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;
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
        let digest = "0".repeat(96);
        assert_eq!(fold(&digest, 30), [digest]);
        let mut out = String::new();
        labelled(&mut out, "expected", &text).unwrap();
        assert!(out.lines().count() > 2);
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with(INDENT)));
    }
}
