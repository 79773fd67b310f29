//! Azure: the TPM's quote answers the challenge, and the paravisor's user data stand for the caller's 64 bytes.

use attestation::Challenge;
use subtle::ConstantTimeEq as _;

use super::{Expectation, Freshness};
use crate::authenticate::azure::{AuthenticAzure, Claims};
use crate::finding::{Code, Finding};
use crate::policy::{EvidenceFreshness, Policy, Presence};

/// Checks what the caller asked for.
pub(crate) fn check(
    azure: &AuthenticAzure,
    expectation: &Expectation,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) {
    let claims = azure.claims();
    if let Some(stated) = &expectation.report_data {
        // The hardware's REPORT_DATA are the paravisor's. The guest's are in what they stand for.
        let carried = claims.runtime.user_data.as_ref();
        if !carried.is_some_and(|carried| bool::from(carried.0.ct_eq(&stated.0))) {
            findings.push(
                Finding::reject(
                    Code::ReportDataMismatch,
                    "the runtime data that the hardware signed for have other user data",
                )
                .expected(hex::encode(stated.0))
                .actual(carried.map_or_else(|| "none".to_owned(), ToString::to_string)),
            );
        }
    } else {
        let message = "the evidence carries no binding, and no user data were stated: nothing ties keys to it";
        findings.push(match policy.binding {
            Presence::Required => Finding::reject(Code::BindingNotChecked, message),
            Presence::IfPresent => Finding::warn(Code::BindingNotChecked, message),
        });
    }
    match (expectation.freshness, policy.freshness) {
        (Freshness::Challenged(challenge), _) => answer(claims, &challenge, findings),
        (Freshness::Cached, EvidenceFreshness::Challenged) => findings.push(Finding::warn(
            Code::NotChallenged,
            "no challenge was stated: how old the TPM's quote is, nobody knows",
        )),
        (Freshness::Cached, EvidenceFreshness::Cached) => {}
    }
}

fn answer(claims: &Claims, challenge: &Challenge, findings: &mut Vec<Finding>) {
    let answered = claims.quote.as_ref().map(|quote| quote.attest.extra_data.as_slice());
    if answered.is_some_and(|answered| bool::from(answered.ct_eq(&challenge.0))) {
        return;
    }
    let (message, actual) = match answered {
        Some(answered) => ("the TPM's quote does not answer the challenge", hex::encode(answered)),
        None => ("without a quote of the TPM nothing answers the challenge", "none".to_owned()),
    };
    findings.push(
        Finding::reject(Code::ChallengeNotAnswered, message).expected(challenge).actual(actual),
    );
}
