//! TDX: is what an authentic quote says acceptable?

use attestation::UnixTime;

use crate::authenticate::tdx::Claims;
use crate::finding::{Code, Finding};
use crate::policy::{Accept, Demand, TdxPolicy};
use crate::result::Horizon;

mod attributes;
mod measurements;
mod module;
mod platform;
pub(super) mod tcb;

/// The checks, as a report names those that were not made.
pub(super) const CHECKS: &[&str] = &[
    "measurements",
    "owner",
    "attributes",
    "partition",
    "service TD",
    "TDX module",
    "TCB level",
    "advisories",
    "evaluation",
    "platform",
    "padding",
];

/// Makes every check. What a check leaves an end for is added to `horizon`.
pub(super) fn judge(
    claims: &Claims,
    tdx: &TdxPolicy,
    now: UnixTime,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) {
    measurements::judge(&claims.report, tdx, findings);
    measurements::owner(&claims.report, tdx, findings);
    attributes::judge(&claims.report, tdx, findings);
    attributes::partition(&claims.report, findings);
    attributes::service_td(&claims.report, tdx, findings);
    if let Some(info) = &claims.endorsed.tcb_info {
        module::judge(&claims.report, info, findings);
        tcb::judge(claims, info, tdx, now, horizon, findings);
    } else {
        // Already found: the verdict is open at best.
        for check in ["TDX module", "TCB level", "advisories"] {
            let message = format!("{check}: not checked, because there is no TCB Info");
            findings.push(Finding::info(Code::NotEvaluated, message));
        }
    }
    tcb::evaluation(claims, tdx, findings);
    platform::judge(&claims.endorsed.pck, tdx, findings);
    padding(claims.padding, tdx.zero_padding, findings);
}

/// Some hosts hand out a quote in a buffer of fixed size; nobody signed what follows the quote, and
/// it is zero or the quote is malformed.
fn padding(padding: usize, demand: Demand, findings: &mut Vec<Finding>) {
    if padding > 0 && demand == Demand::Refused {
        findings.push(
            Finding::reject(Code::QuotePadding, "zero bytes follow the quote")
                .expected("none")
                .actual(padding),
        );
    }
}

/// Compares one bit with what the policy wants of it. A bit whose value a policy had to be asked
/// for to accept is `relaxed` there, and a warning.
fn bit(
    code: Code,
    what: &str,
    demand: Demand,
    is_set: bool,
    relaxed: Option<bool>,
) -> Option<Finding> {
    let state = |is_set| if is_set { "set" } else { "not set" };
    match (demand, is_set) {
        (Demand::Required, false) | (Demand::Refused, true) => Some(
            Finding::reject(code, format!("{what} is {}", state(is_set)))
                .expected(state(!is_set))
                .actual(state(is_set)),
        ),
        _ if relaxed == Some(is_set) => Some(Finding::warn(
            code,
            format!("the policy accepts that {what} is {}", state(is_set)),
        )),
        _ => None,
    }
}

/// Compares a value with those that the policy accepts; to accept any is a warning.
fn value<T: Ord + core::fmt::Display>(
    code: Code,
    name: &str,
    accept: &Accept<T>,
    actual: &T,
    findings: &mut Vec<Finding>,
) {
    if *accept == Accept::Any {
        let message = format!("the policy accepts any {name}");
        findings.push(Finding::warn(code, message).actual(actual));
    } else if !accept.admits(actual) {
        findings.push(
            Finding::reject(code, format!("{name} is none of the policy's"))
                .expected(accept)
                .actual(actual),
        );
    }
}
