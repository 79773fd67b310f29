//! The TCB: of the platform, its TDX module and its quoting enclave (Intel PCS API v4; the
//! algorithm of Intel's Quote Verification Library).

use std::collections::BTreeSet;

use attestation::UnixTime;
use attestation::tdx::{TcbInfo, TcbStatus};

use super::module;
use crate::authenticate::tdx::{Claims, Platform};
use crate::finding::{Code, Finding};
use crate::policy::{Grace, TdxPolicy};
use crate::result::Horizon;

/// What a TCB adds up to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tcb {
    pub(crate) status: TcbStatus,
    /// The date of the oldest level that it rests on.
    pub(crate) date: UnixTime,
    /// All that any of its levels leaves open.
    pub(crate) advisories: BTreeSet<String>,
}

/// Judges the levels, their status and their advisories.
pub(super) fn judge(
    claims: &Claims,
    info: &TcbInfo,
    tdx: &TdxPolicy,
    now: UnixTime,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) {
    match of(claims, info) {
        Ok(tcb) => {
            status(&tcb, tdx, now, horizon, findings);
            advisories(&tcb, tdx, findings);
        }
        Err(missing) => findings.extend(missing),
    }
}

/// What the whole TCB adds up to: platform and module at launch, the quoting enclave, and, where the
/// report has it, platform and module now.
///
/// # Errors
/// The levels that there are none of.
pub(crate) fn of(claims: &Claims, info: &TcbInfo) -> Result<Tcb, Vec<Finding>> {
    let platform = &claims.endorsed.pck.platform;
    let report = &claims.report;
    let launched = td(info, platform, &report.tee_tcb_svn, "at launch");
    let current = report.td15.as_ref().map(|td15| td(info, platform, &td15.tee_tcb_svn2, "now"));
    let enclave = enclave(claims);
    let (launched, current, enclave) = match (launched, current.transpose(), enclave) {
        (Ok(launched), Ok(current), Ok(enclave)) => (launched, current, enclave),
        (launched, current, enclave) => {
            let missing = [launched.err(), current.err(), enclave.err()];
            return Err(missing.into_iter().flatten().map(|finding| *finding).collect());
        }
    };
    let mut tcb = merged(launched, &enclave);
    if let Some(current) = current {
        let current = merged(current, &enclave);
        tcb.status = after_update(tcb.status, current.status);
        tcb.date = tcb.date.min(current.date);
        tcb.advisories.extend(current.advisories);
    }
    Ok(tcb)
}

/// The level of the platform, and that of its TDX module.
fn td(
    info: &TcbInfo,
    platform: &Platform,
    tee_tcb_svn: &[u8; 16],
    when: &str,
) -> Result<Tcb, Box<Finding>> {
    let [module_svn, version, ..] = *tee_tcb_svn;
    // From version 1 of the module on, its own identity judges the first two components.
    let skip = if version == 0 { 0 } else { 2 };
    let meets = |have: &[u8], need: &[u8]| have.iter().zip(need).all(|(have, need)| have >= need);
    let mut levels = info.levels.iter().filter(|level| {
        meets(&platform.sgx, &level.sgx)
            && platform.pce_svn >= level.pce_svn
            && tee_tcb_svn.iter().zip(&level.tdx).skip(skip).all(|(have, need)| have >= need)
    });
    let level = levels.next().ok_or_else(|| {
        Finding::reject(Code::TcbLevelMissing, format!("no TCB level covers the platform {when}"))
            .actual(format!(
                "SGX {}, PCESVN {}, TDX {}",
                hex::encode(platform.sgx),
                platform.pce_svn,
                hex::encode(tee_tcb_svn)
            ))
    })?;
    let tcb = Tcb {
        status: level.status,
        date: level.date,
        advisories: level.advisories.iter().cloned().collect(),
    };
    let (_, levels) = module::identity(info, tee_tcb_svn).map_err(|version| {
        Finding::reject(
            Code::TdxModuleUnknown,
            format!("TCB Info has no identity of the TDX module's version {when}"),
        )
        .actual(format!("TDX_{version:02X}"))
    })?;
    let Some(levels) = levels else { return Ok(tcb) };
    let level = levels.iter().find(|level| module_svn >= level.isv_svn).ok_or_else(|| {
        Finding::reject(Code::TcbLevelMissing, format!("no level covers the TDX module {when}"))
            .actual(format!("TDX_{version:02X}, security version {module_svn}"))
    })?;
    let module = Tcb {
        status: level.status,
        date: level.date,
        advisories: level.advisories.iter().cloned().collect(),
    };
    Ok(merged(tcb, &module))
}

/// The level of the quoting enclave.
fn enclave(claims: &Claims) -> Result<Tcb, Box<Finding>> {
    let svn = claims.qe.isv_svn;
    let mut levels = claims.endorsed.qe_identity.levels.iter();
    let level = levels.find(|level| svn >= level.isv_svn).ok_or_else(|| {
        Finding::reject(Code::TcbLevelMissing, "no level covers the quoting enclave")
            .actual(format!("ISVSVN {svn}"))
    })?;
    Ok(Tcb {
        status: level.status,
        date: level.date,
        advisories: level.advisories.iter().cloned().collect(),
    })
}

/// A TCB and a component of it: a component that is out of date or revoked makes the whole so, and
/// one that needs configuration leaves it as it is.
fn merged(tcb: Tcb, component: &Tcb) -> Tcb {
    let mut advisories = tcb.advisories;
    advisories.extend(component.advisories.iter().cloned());
    Tcb {
        status: converged(tcb.status, component.status),
        date: tcb.date.min(component.date),
        advisories,
    }
}

fn converged(whole: TcbStatus, component: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SwHardeningNeeded, UpToDate,
    };
    match (component, whole) {
        (Revoked, _) => Revoked,
        (OutOfDate | OutOfDateConfigurationNeeded, UpToDate | SwHardeningNeeded) => OutOfDate,
        (
            OutOfDate | OutOfDateConfigurationNeeded,
            ConfigurationNeeded | ConfigurationAndSwHardeningNeeded,
        ) => OutOfDateConfigurationNeeded,
        (_, whole) => whole,
    }
}

/// The status of a TD whose platform was updated under it: out of date when it was launched, and not
/// any more, it should be launched anew. Whatever is revoked now is revoked.
fn after_update(launched: TcbStatus, current: TcbStatus) -> TcbStatus {
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDateConfigurationNeeded,
        Revoked, TdRelaunchAdvised, TdRelaunchAdvisedConfigurationNeeded,
    };
    let needs_configuration = |status| {
        matches!(
            status,
            ConfigurationNeeded | ConfigurationAndSwHardeningNeeded | OutOfDateConfigurationNeeded
        )
    };
    if current == Revoked {
        Revoked
    } else if !launched.is_out_of_date() || current.is_out_of_date() {
        // Never better than what is now.
        launched.max(current)
    } else if needs_configuration(launched) || needs_configuration(current) {
        TdRelaunchAdvisedConfigurationNeeded
    } else {
        TdRelaunchAdvised
    }
}

fn status(
    tcb: &Tcb,
    tdx: &TdxPolicy,
    now: UnixTime,
    horizon: &mut Horizon,
    findings: &mut Vec<Finding>,
) {
    let Tcb { status, date, .. } = tcb;
    if *status == TcbStatus::Revoked {
        findings.push(
            Finding::reject(Code::TcbRevoked, "Intel revoked the platform's TCB").actual(status),
        );
        return;
    }
    if tdx.tcb_status.contains(status) {
        if *status != TcbStatus::UpToDate {
            let message = format!("the policy accepts a TCB that is {status}");
            findings.push(Finding::warn(Code::TcbStatusNotAllowed, message).actual(status));
        }
        return;
    }
    let accepted = crate::policy::list(&tdx.tcb_status);
    match &tdx.grace {
        Some(Grace { statuses, until, tcb_date_min })
            if statuses.contains(status)
                && now <= *until
                && tcb_date_min.is_none_or(|min| *date >= min) =>
        {
            horizon.add("TCB grace", *until);
            let message = format!("the policy's grace for a TCB that is {status} ends {until}");
            findings.push(Finding::warn(Code::TcbStatusNotAllowed, message).actual(status));
        }
        Some(Grace { until, .. }) if now > *until => findings.push(
            Finding::reject(
                Code::TcbStatusNotAllowed,
                format!("the TCB is {status}, and the policy's grace ended {until}"),
            )
            .expected(accepted)
            .actual(format!("{status}, dated {date}")),
        ),
        _ => findings.push(
            Finding::reject(Code::TcbStatusNotAllowed, format!("the TCB is {status}"))
                .expected(accepted)
                .actual(format!("{status}, dated {date}")),
        ),
    }
}

fn advisories(tcb: &Tcb, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let (open, refused): (Vec<_>, Vec<_>) =
        tcb.advisories.iter().partition(|advisory| tdx.advisories_allowed.admits(advisory));
    if !refused.is_empty() {
        findings.push(
            Finding::reject(
                Code::AdvisoryNotAllowed,
                "the TCB leaves advisories open that the policy does not accept",
            )
            .expected(format!("at most {}", tdx.advisories_allowed))
            .actual(crate::policy::list(refused)),
        );
    }
    if !open.is_empty() {
        findings.push(
            Finding::warn(
                Code::AdvisoryNotAllowed,
                "the policy accepts advisories that the TCB leaves open",
            )
            .actual(crate::policy::list(open)),
        );
    }
}

/// Whoever serves the documents may serve old ones that are still valid: the floor is for both, and
/// a client remembers the highest that it saw.
pub(super) fn evaluation(claims: &Claims, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let min = tdx.min_tcb_evaluation;
    for (name, number) in [
        ("TCB Info", claims.endorsed.tcb_info.as_ref().map(|info| info.evaluation)),
        ("QE Identity", Some(claims.endorsed.qe_identity.evaluation)),
    ] {
        if let Some(number) = number
            && number < min
        {
            findings.push(
                Finding::reject(
                    Code::TcbEvaluationBelowMinimum,
                    format!("the {name} is of an older evaluation than the policy wants"),
                )
                .expected(format!("at least {min}"))
                .actual(number),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TcbStatus::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate,
        OutOfDateConfigurationNeeded, Revoked, SwHardeningNeeded, TdRelaunchAdvised,
        TdRelaunchAdvisedConfigurationNeeded, UpToDate,
    };

    const STATED: [TcbStatus; 7] = [
        UpToDate,
        SwHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSwHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        Revoked,
    ];

    #[test]
    fn a_component_never_makes_the_whole_better() {
        for whole in STATED {
            for component in STATED {
                let status = converged(whole, component);
                assert!(status >= whole, "{whole} with {component} is {status}");
                let bad = matches!(component, OutOfDate | OutOfDateConfigurationNeeded | Revoked);
                assert!(!bad || status >= OutOfDate, "{whole} with {component} is {status}");
                assert_eq!(status == Revoked, whole == Revoked || component == Revoked);
            }
        }
        assert_eq!(converged(ConfigurationNeeded, OutOfDate), OutOfDateConfigurationNeeded);
        assert_eq!(
            converged(ConfigurationAndSwHardeningNeeded, OutOfDate),
            OutOfDateConfigurationNeeded
        );
        assert_eq!(converged(SwHardeningNeeded, OutOfDate), OutOfDate);
        // Of a quoting enclave, a need for configuration does not count (Intel's library).
        assert_eq!(converged(UpToDate, ConfigurationNeeded), UpToDate);
    }

    #[test]
    fn a_td_that_was_launched_out_of_date_stays_tainted() {
        for (launched, current, expected) in [
            (UpToDate, UpToDate, UpToDate),
            (OutOfDate, UpToDate, TdRelaunchAdvised),
            (OutOfDate, SwHardeningNeeded, TdRelaunchAdvised),
            (OutOfDate, ConfigurationNeeded, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, ConfigurationAndSwHardeningNeeded, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDateConfigurationNeeded, UpToDate, TdRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (UpToDate, OutOfDate, OutOfDate),
            (ConfigurationNeeded, UpToDate, ConfigurationNeeded),
            (UpToDate, SwHardeningNeeded, SwHardeningNeeded),
            (UpToDate, ConfigurationNeeded, ConfigurationNeeded),
            (UpToDate, Revoked, Revoked),
            (OutOfDate, Revoked, Revoked),
            (OutOfDateConfigurationNeeded, Revoked, Revoked),
            (Revoked, UpToDate, Revoked),
        ] {
            assert_eq!(after_update(launched, current), expected, "{launched}, now {current}");
        }
    }
}
