//! Every check that evidence of a platform meets, whether it found something or not.
//!
//! A report has findings alone. An auditor wants to see what else was looked at: those are the
//! rules of `docs/rejections.md`, in its order and under its headings.

use verifier::{Code, Finding, Severity};

use super::judged::{Judged, NOT_EVALUATED, Standing, WHOLE};
use super::values::{self, Compared};
use crate::summary::names;

/// The rules under one heading of the page.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// One check, and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) code: Code,
    /// Which of several values it is about.
    pub(super) name: &'static str,
    /// How it is to look.
    pub(super) class: &'static str,
    pub(super) outcome: String,
    /// Why it was not made, or not wholly.
    pub(super) why: String,
    pub(super) expected: String,
    pub(super) actual: String,
    pub(super) reference: &'static str,
}

/// The groups of rules that count for what was judged.
pub(super) fn groups(judged: &Judged<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (title, code) in rules() {
        let rows = rows(judged, title, code);
        match groups.last_mut().filter(|group| group.title == title) {
            Some(group) => group.rows.extend(rows),
            None if rows.is_empty() => {}
            None => groups.push(Group { title, rows }),
        }
    }
    groups
}

/// The rules of the page, each with its heading.
fn rules() -> Vec<(&'static str, Code)> {
    let mut title = "";
    let mut rules = Vec::new();
    for line in RULES.lines() {
        if line.starts_with("## ") && !rules.is_empty() {
            break;
        }
        if let Some(heading) = line.strip_prefix("### ") {
            title = heading;
        } else if let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
        {
            let code = Code::ALL.iter().find(|code| code.as_str() == name);
            rules.extend(code.filter(|code| is_rule(**code)).map(|code| (title, *code)));
        }
    }
    rules
}

/// The rows of a rule: one for what was found, and one for each way in which it found nothing.
fn rows(judged: &Judged<'_>, title: &'static str, code: Code) -> Vec<Row> {
    let subjects = judged.subjects(title, code);
    let all = values::compared(judged, code, &subjects);
    let several = all.len() > 1;
    let mut rows = Vec::new();
    for compared in all {
        let is_about = |finding: &&Finding| !several || finding.message.contains(compared.name);
        let found: Vec<_> = judged.found(code.as_str()).filter(is_about).collect();
        rows.extend(of_findings(judged, code, &compared, &found));
        let is_left = |subject: &&str| {
            found.is_empty()
                || *subject != WHOLE && found.iter().all(|finding| finding.component != *subject)
        };
        let left: Vec<&str> = subjects.iter().copied().filter(is_left).collect();
        let mut standings: Vec<(Standing, Vec<&str>)> = Vec::new();
        for subject in &left {
            let standing = judged.standing(title, code, subject);
            match standings.iter_mut().find(|(known, _)| *known == standing) {
                Some((_, of)) => of.push(subject),
                None => standings.push((standing, vec![subject])),
            }
        }
        let is_split = standings.len() > 1 || left.len() < subjects.len();
        for (standing, of) in standings {
            // What is compared are those devices' values alone.
            let compared = if several {
                compared.clone()
            } else {
                values::compared(judged, code, &of).swap_remove(0)
            };
            rows.push(of_standing(judged, code, compared, standing, &of, is_split));
        }
    }
    rows
}

/// Findings that say the same of several devices are one row.
fn of_findings(
    judged: &Judged<'_>,
    code: Code,
    compared: &Compared,
    found: &[&Finding],
) -> Vec<Row> {
    let mut same: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for finding in found {
        let is_same = |other: &Finding| {
            (other.severity, &other.expected, &other.actual)
                == (finding.severity, &finding.expected, &finding.actual)
        };
        match same.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, of)) if of.contains(&&*finding.component) => {}
            Some((_, of)) => of.push(&finding.component),
            None => same.push((finding, vec![&finding.component])),
        }
    }
    let row = |(finding, of): (&Finding, Vec<&str>)| {
        let (class, word) = match finding.severity {
            Severity::Reject => ("rejected", "refused"),
            Severity::Warn => ("warn", "warning"),
            Severity::Info => ("soft", "noted"),
        };
        let passed = values::is_words(code) || compared.actual == compared.expected;
        let actual = if passed { "not so" } else { &compared.actual };
        Row {
            code,
            name: compared.name,
            class,
            outcome: format!("{word} ({})", names(&of)),
            why: String::new(),
            expected: finding.expected.clone().unwrap_or_else(|| compared.expected.clone()),
            actual: finding.actual.clone().unwrap_or_else(|| actual.to_owned()),
            reference: code.reference_for(judged.report.platform, &finding.component),
        }
    };
    same.into_iter().map(row).collect()
}

fn of_standing(
    judged: &Judged<'_>,
    code: Code,
    compared: Compared,
    standing: Standing,
    of: &[&str],
    is_split: bool,
) -> Row {
    let (word, why) = match standing {
        Standing::Passed => ("no objection", String::new()),
        Standing::Partly(why) => ("no objection, in part", why),
        Standing::NotAsked => ("not asked for", String::new()),
        Standing::NotChecked(why) => ("not checked", why),
    };
    let outcome = if is_split { format!("{word} ({})", names(of)) } else { word.to_owned() };
    let Compared { name, expected, actual } = compared;
    let actual = match word {
        "not checked" => String::new(),
        // The words are of a check that was made.
        "not asked for" if values::is_words(code) => "not compared".to_owned(),
        _ => actual,
    };
    let component = of.first().copied().unwrap_or_default();
    let reference = code.reference_for(judged.report.platform, component);
    Row { code, name, class: "quiet", outcome, why, expected, actual, reference }
}

/// Whether findings of this code are of a check; others are remarks about the whole.
fn is_rule(code: Code) -> bool {
    !["untrusted-anchors", NOT_EVALUATED].contains(&code.as_str())
}

/// Whether a finding stands for a check that was not made.
pub(super) fn is_not_evaluated(finding: &Finding) -> bool {
    finding.code.as_str() == NOT_EVALUATED
}

/// The page of rules, which a test of the repository holds equal to the codes.
const RULES: &str = include_str!("../../../../docs/rejections.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_rule_under_a_heading() {
        let rules = rules();
        let rest = Code::ALL.iter().filter(|code| is_rule(**code)).count();
        assert_eq!(rules.len(), rest);
        assert!(rules.iter().all(|(title, _)| !title.is_empty()));
    }
}
