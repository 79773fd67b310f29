//! Azure: is what the paravisor and its TPM say acceptable?

use super::bit;
use crate::authenticate::azure::{AuthenticAzure, Claims};
use crate::finding::{Code, Finding};
use crate::policy::{AzurePolicy, Presence, list};

/// The checks, as a report names those that were not made.
pub(super) const CHECKS: &[&str] = &["virtual machine", "registers of the virtual TPM"];

/// Makes every check.
pub(crate) fn judge(azure: &AuthenticAzure, policy: &AzurePolicy, findings: &mut Vec<Finding>) {
    let claims = azure.claims();
    machine(claims, policy, findings);
    registers(claims, policy, findings);
}

/// How the paravisor configured the machine.
fn machine(claims: &Claims, policy: &AzurePolicy, findings: &mut Vec<Finding>) {
    let vm = &claims.runtime.vm;
    for (code, what, demand, is_set) in [
        (Code::AzureSecureBoot, "secure boot", policy.secure_boot, vm.secure_boot),
        (Code::AzureTpm, "a virtual TPM", policy.tpm, vm.tpm_enabled),
        (Code::AzureConsole, "a serial console", policy.console, vm.console_enabled),
    ] {
        findings.extend(bit(code, what, demand, is_set));
    }
    // A paravisor that does not say persists no state: it came later.
    let is_persisted = vm.tpm_persisted.unwrap_or(false);
    findings.extend(bit(
        Code::AzureTpmPersisted,
        "state of the virtual TPM that outlives the machine",
        policy.tpm_persisted,
        is_persisted,
    ));
    if !policy.vms.admits(&vm.vm_unique_id) {
        findings.push(
            Finding::reject(Code::AzureVmNotAllowed, "the machine is none of the policy's")
                .expected(&policy.vms)
                .actual(&vm.vm_unique_id),
        );
    }
}

/// What was booted, by the registers that the TPM signed for.
fn registers(claims: &Claims, policy: &AzurePolicy, findings: &mut Vec<Finding>) {
    let Some(quote) = &claims.quote else {
        let message = "there is no quote of the virtual TPM: the report shows which key the hardware vouches for, and not \
                       what was booted, nor that the machine still runs";
        findings.push(match policy.tpm_quote {
            Presence::Required => Finding::reject(Code::TpmQuoteMissing, message),
            Presence::IfPresent => Finding::warn(Code::TpmQuoteMissing, message),
        });
        return;
    };
    if policy.pcrs.is_empty() {
        findings.push(Finding::warn(
            Code::TpmPcrsNotPinned,
            "the policy pins no register: whatever was booted is accepted",
        ));
    }
    for ((number, value), wanted) in quote.pcrs.iter().enumerate().filter_map(|(number, value)| {
        let wanted = policy.pcrs.get(&u32::try_from(number).ok()?)?;
        Some(((number, value), wanted))
    }) {
        match value {
            None => findings.push(Finding::reject(
                Code::TpmPcrNotQuoted,
                format!("the TPM's quote is not of PCR {number}, which the policy pins"),
            )),
            Some(value) if !wanted.contains(value) => findings.push(
                Finding::reject(
                    Code::TpmPcrNotAllowed,
                    format!("the value of PCR {number} is none of the policy's"),
                )
                .expected(list(wanted))
                .actual(value),
            ),
            Some(_) => {}
        }
    }
}
