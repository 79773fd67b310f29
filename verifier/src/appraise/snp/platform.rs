//! How the platform is set up, and which mitigations it has (SNP ABI §7.3 tables 23 and 24).

use attestation::snp::PlatformInfo;

use crate::appraise::bit;
use crate::authenticate::snp::Claims;
use crate::finding::{Code, Finding};
use crate::policy::{Demand, SnpPolicy, UnknownBits};

pub(super) fn info(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let info = claims.report.platform_info();
    let demands = &snp.platform;
    for (code, mask, what, demand) in [
        (Code::PlatformSmt, PlatformInfo::SMT_EN, "the platform's multithreading", demands.smt),
        (
            Code::PlatformTsme,
            PlatformInfo::TSME_EN,
            "the platform's transparent encryption",
            demands.tsme,
        ),
        (Code::PlatformEcc, PlatformInfo::ECC_EN, "the platform's error correction", demands.ecc),
        (
            Code::PlatformRapl,
            PlatformInfo::RAPL_DIS,
            "the platform's ban on power readings",
            demands.rapl_disabled,
        ),
        (
            Code::PlatformCiphertextHiding,
            PlatformInfo::CIPHERTEXT_HIDING_DRAM_EN,
            "the platform's ciphertext hiding",
            demands.ciphertext_hiding,
        ),
        (Code::PlatformTio, PlatformInfo::TIO_EN, "the platform's trusted I/O", demands.tio),
    ] {
        findings.extend(bit(code, what, demand, info.has(mask)));
    }
    alias_check(claims, demands.alias_check, findings);
    unknown(claims, demands.unknown_bits, findings);
}

/// The check for aliased memory came with ABI 1.55; a report of version 2 has no place for it that
/// older firmware would leave alone, so there it counts as not shown.
fn alias_check(claims: &Claims, demand: Demand, findings: &mut Vec<Finding>) {
    let is_v2 = claims.report.version() < 3;
    let done = !is_v2 && claims.report.platform_info().has(PlatformInfo::ALIAS_CHECK_COMPLETE);
    let message = if is_v2 {
        "a report of version 2 cannot show the alias check: the host may have aliased the guest's memory (BadRAM)"
    } else {
        "the platform has not completed the alias check: the host may have aliased the guest's memory (BadRAM)"
    };
    let finding = match (demand, done) {
        (Demand::Required, false) => {
            Finding::reject(Code::PlatformAliasCheck, message).expected("1").actual("0")
        }
        (Demand::Allowed | Demand::Refused, false) => {
            Finding::warn(Code::PlatformAliasCheck, message)
        }
        (Demand::Refused, true) => Finding::reject(
            Code::PlatformAliasCheck,
            "the alias check has completed, and the policy refuses that",
        ),
        (Demand::Required | Demand::Allowed, true) => return,
    };
    findings.push(finding);
}

/// Bits that no public specification names: genuine parts set some, so tolerance is the default.
fn unknown(claims: &Claims, unknown: UnknownBits, findings: &mut Vec<Finding>) {
    let info = claims.report.platform_info().unknown();
    let keys = claims.report.key_info().unknown();
    for (field, bits) in [("PLATFORM_INFO", info), ("the key flags", u64::from(keys))] {
        if bits != 0 {
            let message = format!("{field} has bits that no public specification names");
            let finding = match unknown {
                UnknownBits::Refused => Finding::reject(Code::PlatformUnknownBits, message),
                UnknownBits::Tolerated => Finding::info(Code::PlatformUnknownBits, message),
            };
            findings.push(finding.actual(format!("{bits:#x}")));
        }
    }
}

/// The mitigation vectors, which reports have from version 5 on.
pub(super) fn mitigations(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let demands = &snp.mitigations;
    let Some((launch, current)) = claims.report.mitigations() else {
        if demands.required != 0 {
            findings.push(
                Finding::reject(
                    Code::MitigationMissing,
                    "a report before version 5 shows no mitigations",
                )
                .expected(format!("{:#x}", demands.required)),
            );
        }
        return;
    };
    for (name, vector) in [("LAUNCH_MIT_VECTOR", launch), ("CURRENT_MIT_VECTOR", current)] {
        if vector & demands.required != demands.required {
            findings.push(
                Finding::reject(
                    Code::MitigationMissing,
                    format!("{name} lacks a mitigation that the policy requires"),
                )
                .expected(format!("{:#x}", demands.required))
                .actual(format!("{vector:#x}")),
            );
        }
    }
    let finding = match (demands.unchanged, launch == current) {
        (Demand::Required, false) => {
            Finding::reject(Code::MitigationChanged, "the mitigations changed since launch")
        }
        (Demand::Refused, true) => {
            Finding::reject(Code::MitigationChanged, "the mitigations did not change since launch")
        }
        (Demand::Allowed | Demand::Refused, false) => {
            Finding::warn(Code::MitigationChanged, "the mitigations changed since launch")
        }
        (Demand::Required | Demand::Allowed, true) => return,
    };
    findings.push(finding.expected(format!("{launch:#x}")).actual(format!("{current:#x}")));
}
