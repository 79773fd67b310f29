//! The platform, by its PCK: which one it is, and how it is configured.

use attestation::Digest;

use crate::authenticate::tdx::Pck;
use crate::finding::{Code, Finding};
use crate::policy::{Accept, Demand, TdxPolicy, sgx_type};

/// Judges the platform.
pub(super) fn judge(pck: &Pck, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let platform = &pck.platform;
    let ids = [platform.instance_id.map(Digest), Some(Digest(platform.ppid))];
    // Either of the two names is of this platform alone.
    if !ids.into_iter().flatten().any(|id| tdx.platforms.admits(&id)) {
        let name = platform.instance_id.unwrap_or(platform.ppid);
        findings.push(
            Finding::reject(
                Code::PlatformInstanceNotAllowed,
                "the platform instance is not on the policy's list",
            )
            .expected(&tdx.platforms)
            .actual(Digest(name)),
        );
    }
    if !tdx.sgx_types.admits(&platform.sgx_type) {
        let accepted = match &tdx.sgx_types {
            Accept::Any => Vec::new(),
            Accept::Only(types) => types.iter().map(|kind| sgx_type(*kind)).collect(),
        };
        findings.push(
            Finding::reject(
                Code::SgxTypeNotAllowed,
                "the PCK names a type of SGX that is not accepted",
            )
            .expected(accepted.join(", "))
            .actual(sgx_type(platform.sgx_type)),
        );
    }
    let demands = &tdx.platform;
    for (code, what, demand, actual) in [
        (Code::PckSmt, "multithreading", demands.smt, platform.smt),
        (
            Code::PckDynamicPlatform,
            "that processors may be added",
            demands.dynamic_platform,
            platform.dynamic,
        ),
        (
            Code::PckCachedKeys,
            "that Intel keeps the platform's root keys",
            demands.cached_keys,
            platform.cached_keys,
        ),
    ] {
        findings.extend(flag(code, what, demand, actual));
    }
}

/// What the PCK does not say is neither required nor refused: only a policy that does not ask is
/// content with it.
fn flag(code: Code, what: &str, demand: Demand, actual: Option<bool>) -> Option<Finding> {
    let wanted = match demand {
        Demand::Allowed => return None,
        Demand::Required => true,
        Demand::Refused => false,
    };
    let said = match actual {
        Some(actual) if actual == wanted => return None,
        Some(true) => "yes",
        Some(false) => "no",
        None => "the PCK does not say",
    };
    Some(
        Finding::reject(code, format!("{what}: not as the policy wants it"))
            .expected(if wanted { "yes" } else { "no" })
            .actual(said),
    )
}
