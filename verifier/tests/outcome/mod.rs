//! What an appraisal says, accepted or not.

use verifier::{AttestationResult, Code, Refused, Report, Severity};

/// The report, whatever the outcome.
pub(crate) fn report(outcome: &Result<AttestationResult, Refused>) -> &Report {
    match outcome {
        Ok(result) => result.report(),
        Err(refused) => refused.report(),
    }
}

/// The codes of one severity, sorted, each once.
pub(crate) fn codes(report: &Report, severity: Severity) -> Vec<Code> {
    let of_severity = report.findings.iter().filter(|finding| finding.severity == severity);
    let mut codes: Vec<_> = of_severity.map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
