//! Periods of validity: of certificates and of everything else that starts and ends.

use attestation::UnixTime;

use crate::finding::{Code, Finding};
use crate::x509::Certificate;

/// Checks a certificate's validity at `now`, and says when it ends.
pub(super) fn dates(
    certificate: &Certificate<'_>,
    name: &str,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> UnixTime {
    let (not_before, not_after) = certificate.validity();
    if now < not_before {
        findings.push(
            Finding::reject(
                Code::CertificateNotYetValid,
                format!("the {name} is not yet valid: its validity starts {not_before}"),
            )
            .expected(format!("not before {not_before}"))
            .actual(now),
        );
    }
    if now > not_after {
        findings.push(
            Finding::reject(
                Code::CertificateExpired,
                format!("the {name} expired: its validity ended {not_after}"),
            )
            .expected(format!("not after {not_after}"))
            .actual(now),
        );
    }
    not_after
}
