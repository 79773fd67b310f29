//! The guest's policy: what its owner lets the platform do (SNP ABI §4.3 table 9).

use attestation::snp::GuestPolicy;

use crate::appraise::bit;
use crate::authenticate::snp::Claims;
use crate::finding::{Code, Finding};
use crate::policy::{Demand, SnpPolicy, UnknownBits};

pub(super) fn judge(claims: &Claims, snp: &SnpPolicy, findings: &mut Vec<Finding>) {
    let policy = claims.report.policy();
    let demands = &snp.guest_policy;
    for (code, mask, what, demand) in [
        (
            Code::GuestPolicySmt,
            GuestPolicy::SMT,
            "multithreading allowed by the guest policy",
            demands.smt,
        ),
        (
            Code::GuestPolicySingleSocket,
            GuestPolicy::SINGLE_SOCKET,
            "the guest policy's single socket",
            demands.single_socket,
        ),
        (
            Code::GuestPolicyAes256Xts,
            GuestPolicy::MEM_AES_256_XTS,
            "the guest policy's AES-256-XTS",
            demands.aes_256_xts,
        ),
        (
            Code::GuestPolicyRapl,
            GuestPolicy::RAPL_DIS,
            "the guest policy's ban on power readings",
            demands.rapl_disabled,
        ),
        (
            Code::GuestPolicyCiphertextHiding,
            GuestPolicy::CIPHERTEXT_HIDING_DRAM,
            "the guest policy's ciphertext hiding",
            demands.ciphertext_hiding,
        ),
        (
            Code::GuestPolicyPageSwap,
            GuestPolicy::PAGE_SWAP_DISABLE,
            "the guest policy's ban on page swapping",
            demands.page_swap_disabled,
        ),
    ] {
        findings.extend(bit(code, what, demand, policy.has(mask)));
    }
    dangerous(
        Code::GuestPolicyDebug,
        "debug is allowed by the guest policy: the host can read the guest's memory",
        demands.debug,
        policy.has(GuestPolicy::DEBUG),
        findings,
    );
    dangerous(
        Code::GuestPolicyMigration,
        "migration is allowed by the guest policy",
        demands.migration,
        policy.has(GuestPolicy::MIGRATE_MA),
        findings,
    );
    dangerous(
        Code::GuestPolicyCxl,
        "CXL devices, whose memory is not the processor's, are allowed by the guest policy",
        demands.cxl,
        policy.has(GuestPolicy::CXL_ALLOW),
        findings,
    );
    if !policy.has(GuestPolicy::RESERVED_ONE) {
        findings.push(
            Finding::reject(Code::GuestPolicyReserved, "bit 17 of the guest policy is zero")
                .actual(format!("{policy:?}")),
        );
    }
    if policy.unknown() != 0 {
        let message = "the guest policy has bits that no public specification names";
        let finding = match demands.unknown_bits {
            UnknownBits::Refused => Finding::reject(Code::GuestPolicyUnknownBits, message),
            UnknownBits::Tolerated => Finding::warn(Code::GuestPolicyUnknownBits, message),
        };
        findings.push(finding.actual(format!("{:#x}", policy.unknown())));
    }
    if policy.abi() < demands.abi_min {
        let write = |(major, minor): (u8, u8)| format!("{major}.{minor}");
        findings.push(
            Finding::reject(
                Code::GuestPolicyAbi,
                "the guest policy admits firmware with an older ABI",
            )
            .expected(format!("at least {}", write(demands.abi_min)))
            .actual(write(policy.abi())),
        );
    }
}

/// A bit whose being set endangers the guest: even where it is allowed, that is said.
fn dangerous(code: Code, message: &str, demand: Demand, is_set: bool, findings: &mut Vec<Finding>) {
    let finding = match (demand, is_set) {
        (Demand::Refused, true) => Finding::reject(code, message).expected("0").actual("1"),
        (Demand::Allowed | Demand::Required, true) => {
            Finding::warn(code, format!("{message}; the policy accepts that"))
        }
        (Demand::Required, false) => {
            Finding::reject(code, format!("not so, and the policy wants it: {message}"))
                .expected("1")
                .actual("0")
        }
        (Demand::Allowed | Demand::Refused, false) => return,
    };
    findings.push(finding);
}
