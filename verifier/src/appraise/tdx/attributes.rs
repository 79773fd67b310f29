//! What the TD may do, and what may be done to it (Intel TDX module ABI specification, 348551).

use attestation::Digest;
use attestation::tdx::{Attributes, TdReport};

use super::bit;
use crate::finding::{Code, Finding};
use crate::policy::{Accept, TdxPolicy};

/// Judges `TDATTRIBUTES` and `XFAM`.
pub(super) fn judge(report: &TdReport, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let attributes = report.td_attributes;
    let demands = &tdx.attributes;
    for (code, mask, what, demand, relaxed) in [
        (Code::TdDebug, Attributes::DEBUG, "debugging", demands.debug, Some(true)),
        (Code::TdProfiling, Attributes::PROFILING, "profiling", demands.profiling, Some(true)),
        (
            Code::TdSeptVeDisable,
            Attributes::SEPT_VE_DISABLE,
            "SEPT_VE_DISABLE",
            demands.sept_ve_disable,
            Some(false),
        ),
        (Code::TdMigratable, Attributes::MIGRATABLE, "MIGRATABLE", demands.migratable, Some(true)),
        (Code::TdPks, Attributes::PKS, "PKS", demands.pks, None),
        (Code::TdKeyLocker, Attributes::KEY_LOCKER, "KL", demands.key_locker, None),
        (Code::TdPerfmon, Attributes::PERFMON, "PERFMON", demands.perfmon, None),
    ] {
        findings.extend(bit(code, what, demand, attributes.has(mask), relaxed));
    }
    if attributes.has(Attributes::RESERVED) {
        findings.push(
            Finding::reject(Code::TdAttributesReserved, "a reserved attribute of the TD is set")
                .actual(attributes),
        );
    }
    if report.xfam & XFAM_FIXED_1 != XFAM_FIXED_1 || report.xfam & !XFAM_FIXED_0 != 0 {
        findings.push(
            Finding::reject(Code::XfamInvalid, "XFAM is of no TD that a genuine module makes")
                .expected(format!("all of {XFAM_FIXED_1:#x} and none beside {XFAM_FIXED_0:#x}"))
                .actual(format!("{:#x}", report.xfam)),
        );
    }
}

/// A TD may be partitioned: it then runs virtual machines of its own, which share its measurements and are in none of them.
/// Index 0 is the TD itself. A report before the extended one does not say.
pub(super) fn partition(report: &TdReport, findings: &mut Vec<Finding>) {
    if let Some(ex) = &report.td15_ex
        && ex.vm_id != 0
    {
        findings.push(
            Finding::reject(
                Code::TdVmNotPrimary,
                "a virtual machine inside the TD asked for the report",
            )
            .expected("VM 0, the TD itself")
            .actual(format!("VM {}", ex.vm_id)),
        );
    }
}

/// A service TD can change the TD that it is bound to, so its measurement counts like the TD's own:
/// the one at creation, and, in the extended report, the one now.
pub(super) fn service_td(report: &TdReport, tdx: &TdxPolicy, findings: &mut Vec<Finding>) {
    let hashes = [
        report.td15.as_ref().map(|td15| ("MRSERVICETD", td15.mr_service_td)),
        report.td15_ex.as_ref().map(|ex| ("INIT_SERVTD_HASH", ex.init_service_td_hash)),
        report.td15_ex.as_ref().map(|ex| ("CUR_SERVTD_HASH", ex.cur_service_td_hash)),
    ];
    let code = Code::ServiceTdNotAllowed;
    for (name, hash) in hashes.into_iter().flatten().filter(|(_, hash)| !hash.is_zero()) {
        if tdx.service_td == Accept::Any {
            let message = format!("the policy accepts any service TD, and {name} names one");
            findings.push(Finding::warn(code, message).actual(hash));
        } else if !tdx.service_td.admits(&hash) {
            findings.push(
                Finding::reject(code, format!("{name} names a service TD"))
                    .expected(format!("{}, or {}", Digest([0; 48]), tdx.service_td))
                    .actual(hash),
            );
        }
    }
    // Without any service TD that is accepted, a TD that may be bound to one later is not either.
    let accepts_none = matches!(&tdx.service_td, Accept::Only(hashes) if hashes.is_empty());
    if report.td_attributes.has(Attributes::SERVTD_EXT) && accepts_none {
        findings.push(
            Finding::reject(code, "the TD may be bound to service TDs")
                .expected("SERVTD_EXT not set")
                .actual(report.td_attributes),
        );
    }
}

/// Bits of `XFAM` that are set in every TD: x87 and SSE.
const XFAM_FIXED_1: u64 = 0x3;
/// Bits of `XFAM` that may be set.
const XFAM_FIXED_0: u64 = 0x6_DBE7;
