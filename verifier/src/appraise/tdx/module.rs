//! The TDX module: is it the one that Intel signed (Intel PCS API v4, `tdxModule`)?

use attestation::tdx::{ModuleIdentity, TcbInfo, TdReport};

use crate::finding::{Code, Finding};

/// The identity of a module's version, and its levels; `Err` with the version where there is none.
/// Version 0 has no identity of its own.
pub(super) fn identity<'a>(
    tcb_info: &'a TcbInfo,
    tee_tcb_svn: &[u8; 16],
) -> Result<Identity<'a>, u8> {
    let [_, version, ..] = *tee_tcb_svn;
    if version == 0 {
        return Ok((&tcb_info.module, None));
    }
    let mut found = tcb_info.modules.iter().filter(|(known, ..)| *known == version);
    found.next().map(|(_, identity, levels)| (identity, Some(levels.as_slice()))).ok_or(version)
}

pub(super) type Identity<'a> = (&'a ModuleIdentity, Option<&'a [attestation::tdx::ModuleLevel]>);

/// Judges who signed the module and its attributes. How good its version is, is the TCB's question,
/// which also asks for a version that is not known.
pub(super) fn judge(report: &TdReport, tcb_info: &TcbInfo, findings: &mut Vec<Finding>) {
    let Ok((identity, _)) = identity(tcb_info, &report.tee_tcb_svn) else { return };
    if report.mr_signer_seam.0 != identity.mr_signer {
        findings.push(
            Finding::reject(Code::TdxModuleMismatch, "the TDX module is not signed as Intel's is")
                .expected(hex::encode(identity.mr_signer))
                .actual(report.mr_signer_seam),
        );
    }
    let attributes = &identity.attributes;
    let actual = &report.seam_attributes;
    if !attributes.admits(actual) || attributes.leaves_set(actual) {
        findings.push(
            Finding::reject(
                Code::TdxModuleMismatch,
                "SEAMATTRIBUTES are not those of Intel's module",
            )
            .expected(format!(
                "{} under the mask {}, and no bit beside it",
                hex::encode(attributes.value),
                hex::encode(attributes.mask)
            ))
            .actual(hex::encode(actual)),
        );
    }
}
