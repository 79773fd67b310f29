//! What of an acceptance breaks next, and when.
//!
//! The report says when everything that it rests on ends. What that does to the verdict is not
//! guessed: the same evidence is judged again for the moment after each end.

use std::fmt::Write as _;

use attestation::UnixTime;
use core::time::Duration;
use verifier::{Code, Report, Severity};

/// One moment after which the evidence is not accepted any more, or for one more reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Break {
    /// The last moment before it.
    pub(crate) ends: UnixTime,
    /// What ends then, with its device.
    pub(crate) what: Vec<String>,
    /// Why the evidence is refused from then on, where it was not for that before.
    pub(crate) codes: Vec<Code>,
}

/// Every end that `report` knows of, soonest first; `judge` judges the same evidence for another
/// moment.
pub(crate) fn forecast(report: &Report, judge: impl Fn(UnixTime) -> Report) -> Vec<Break> {
    let mut breaks: Vec<Break> = Vec::new();
    for deadline in report.horizon.deadlines() {
        let what = format!("{} ({})", deadline.what, deadline.component);
        match breaks.last_mut() {
            Some(last) if last.ends == deadline.ends => last.what.push(what),
            _ => breaks.push(Break { ends: deadline.ends, what: vec![what], codes: Vec::new() }),
        }
    }
    let mut known = refusals(report);
    for each in breaks.iter_mut().take(BREAKS_MAX) {
        let after = judge(each.ends.saturating_add(Duration::from_secs(1)));
        for code in refusals(&after) {
            if !known.contains(&code) {
                known.push(code);
                each.codes.push(code);
            }
        }
    }
    breaks
}

/// The forecast for people; nothing to forecast where nothing is authentic.
pub(crate) fn render(breaks: &[Break], now: UnixTime) -> String {
    let mut out = String::from("What ends, soonest first:\n");
    if breaks.is_empty() {
        out.push_str("  nothing is known of: the evidence is not authentic\n");
    }
    for Break { ends, what, codes } in breaks {
        // Writing to a string cannot fail.
        writeln!(out, "  {ends}  {:>16}  {}", span(now, *ends), what.join(", "))
            .unwrap_or_default();
        writeln!(out, "  {:>38}  {}", "then", then(codes)).unwrap_or_default();
    }
    out
}

/// What an end does, in codes.
pub(crate) fn then(codes: &[Code]) -> String {
    if codes.is_empty() {
        return "nothing more".to_owned();
    }
    codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ")
}

/// How long until `then`, in the two largest units.
pub(crate) fn span(now: UnixTime, then: UnixTime) -> String {
    let Some(mut left) = then.as_secs().checked_sub(now.as_secs()) else {
        return "in the past".to_owned();
    };
    let mut words = Vec::new();
    for (name, length) in [("d", 86_400_u64), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = left.checked_div(length).unwrap_or_default();
        left = left.checked_rem(length).unwrap_or_default();
        if (count > 0 || (!words.is_empty() && left > 0)) && words.len() < 2 {
            words.push(format!("{count} {name}"));
        }
    }
    if words.is_empty() { "now".to_owned() } else { format!("in {}", words.join(" ")) }
}

/// Why a report refuses, each reason once.
fn refusals(report: &Report) -> Vec<Code> {
    let mut codes = Vec::new();
    for finding in report.findings.iter().filter(|found| found.severity == Severity::Reject) {
        if !codes.contains(&finding.code) {
            codes.push(finding.code);
        }
    }
    codes
}

/// Most moments that are judged again: everything that a machine of eight GPUs rests on.
const BREAKS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (secs, expected) in [
            (0, "now"),
            (1, "in 1 s"),
            (61, "in 1 m 1 s"),
            (3_600, "in 1 h"),
            (3_661, "in 1 h 1 m"),
            (86_400 * 25 + 3 * 3_600 + 59, "in 25 d 3 h"),
            (86_400 + 59, "in 1 d 0 h"),
        ] {
            let now = UnixTime::from_secs(1_000);
            assert_eq!(span(now, now.saturating_add(Duration::from_secs(secs))), expected);
        }
        assert_eq!(span(UnixTime::from_secs(9), UnixTime::from_secs(8)), "in the past");
    }
}
