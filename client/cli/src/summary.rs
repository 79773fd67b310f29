//! A report in fewer words: findings that say the same of several devices, and what is missing.

use std::collections::BTreeMap;

use endorsements::Unavailable;
use verifier::{Finding, Report, Severity};

/// Findings in their order, those that differ in nothing but the device told once.
pub(crate) fn alike<'a>(
    findings: impl Iterator<Item = &'a Finding>,
) -> Vec<(&'a Finding, Vec<&'a str>)> {
    let mut all: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for finding in findings {
        let is_same = |other: &Finding| {
            (other.code, other.severity, &other.message, &other.expected, &other.actual)
                == (
                    finding.code,
                    finding.severity,
                    &finding.message,
                    &finding.expected,
                    &finding.actual,
                )
        };
        match all.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, of)) if of.contains(&&*finding.component) => {}
            Some((_, of)) => of.push(&finding.component),
            None => all.push((finding, vec![&finding.component])),
        }
    }
    all
}

/// Names of devices, those in a row by the first and the last.
pub(crate) fn names(of: &[&str]) -> String {
    let split = |name: &str| {
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let number = name.strip_prefix(&kind).and_then(|number| number.parse::<u32>().ok());
        (kind, number)
    };
    let mut rows: Vec<Vec<&str>> = Vec::new();
    for name in of {
        let (kind, number) = split(name);
        let follows = rows.last().and_then(|row| row.last()).is_some_and(|last| {
            let (of, before) = split(last);
            of == kind
                && before.zip(number).is_some_and(|(before, it)| before.checked_add(1) == Some(it))
        });
        match rows.last_mut().filter(|_| follows) {
            Some(row) => row.push(name),
            None => rows.push(vec![name]),
        }
    }
    let text = |row: &Vec<&str>| match row.as_slice() {
        [first, _, .., last] => format!("{first} to {last}"),
        few => few.join(", "),
    };
    rows.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What is needed for a verdict and was not there, each with whom it is of, in words.
pub(crate) fn missing(report: &Report) -> Vec<String> {
    let refused = |finding: &&Finding| finding.severity == Severity::Reject;
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in report.findings.iter().filter(refused) {
        let Some((_, what)) = MISSING.iter().find(|(code, _)| *code == finding.code.as_str())
        else {
            continue;
        };
        match all.iter_mut().find(|(known, _)| known == what) {
            Some((_, of)) if of.contains(&&*finding.component) => {}
            Some((_, of)) => of.push(&finding.component),
            None => all.push((what, vec![&finding.component])),
        }
    }
    all.into_iter().map(|(what, of)| format!("{what} ({})", names(&of))).collect()
}

/// Why documents could not be had: one sentence for each vendor and reason.
pub(crate) fn not_had(failures: &[Unavailable]) -> Vec<String> {
    let mut all: BTreeMap<(&str, &str), Vec<&Unavailable>> = BTreeMap::new();
    for failure in failures {
        all.entry((vendor(&failure.item), failure.code())).or_default().push(failure);
    }
    let sentence = |((vendor, code), of): (&(&str, &str), &Vec<&Unavailable>)| {
        let first = of.first()?;
        let documents = if of.len() == 1 { "document" } else { "documents" };
        let place =
            first.url.as_deref().map_or_else(String::new, |url| format!(", {}", place(url)));
        Some(format!(
            "{} {documents} of {vendor}'s not to be had: {} ({code}{place})",
            of.len(),
            first.why
        ))
    };
    all.iter().filter_map(sentence).collect()
}

/// Whose document an item is, by its name.
pub(crate) fn vendor(item: &str) -> &'static str {
    match item.split('/').next() {
        Some("amd") => "AMD",
        Some("intel") => "Intel",
        Some("nvidia") => "NVIDIA",
        _ => "the vendor",
    }
}

/// Scheme and host of an address.
pub(crate) fn place(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at.saturating_add(3));
    let path = url.get(host..).and_then(|rest| rest.find(['/', '?']));
    path.and_then(|len| url.get(..host.saturating_add(len))).unwrap_or(url)
}

/// What findings of things that are not there are about.
const MISSING: [(&str, &str); 9] = [
    ("vek-missing", "the certificate of the signing key"),
    ("intermediate-missing", "the certificate of its authority"),
    ("crl-missing", "a revocation list"),
    ("pck-missing", "the PCK's certificate chain"),
    ("tcb-signer-missing", "the certificate of the TCB signer"),
    ("tcb-info-missing", "TCB Info"),
    ("qe-identity-missing", "QE Identity"),
    ("device-certificate-missing", "certificates of the device's chain"),
    ("ocsp-missing", "OCSP responses"),
];

#[cfg(test)]
mod tests {
    use endorsements::Why;
    use verifier::{Code, Family};

    use super::*;

    #[test]
    fn names_in_a_row_are_told_by_their_ends() {
        for (names, expected) in [
            (&["cpu0"][..], "cpu0"),
            (&["gpu0", "gpu1"], "gpu0, gpu1"),
            (&["gpu0", "gpu1", "gpu2", "gpu4"], "gpu0 to gpu2, gpu4"),
            (&["gpu9", "gpu10", "gpu11", "switch0"], "gpu9 to gpu11, switch0"),
            (&["gpu0", "switch1"], "gpu0, switch1"),
        ] {
            assert_eq!(super::names(names), expected);
        }
    }

    /// Whatever leaves a verdict open has a name.
    #[test]
    fn everything_that_can_be_missing_is_named() {
        for code in Code::ALL.iter().filter(|code| code.family() == Family::Unavailable) {
            assert!(MISSING.iter().any(|(known, _)| *known == code.as_str()), "{code}");
        }
    }

    #[test]
    fn failures_of_one_kind_are_one_sentence() {
        let failed = |item: &str, why| Unavailable {
            item: item.to_owned(),
            url: Some("https://kds.example/vcek/v1/Genoa/crl".to_owned()),
            why,
        };
        let failures = [
            failed("amd/Genoa/vcek-crl", Why::TimedOut),
            failed("intel/root-crl", Why::TimedOut),
            failed("amd/Genoa/vcek-chain", Why::TimedOut),
            failed("amd/Genoa/vcek", Why::NotFound),
        ];
        let said = not_had(&failures);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.contains(
            &"2 documents of AMD's not to be had: the service did not answer in time (service-timed-out, https://kds.example)"
                .to_owned()
        ), "{said:?}");
    }
}
