//! What Intel signs of its platforms (PCS API v4): TCB Info and identities of quoting enclaves.

use attestation::UnixTime;
use attestation::tdx::{
    Advisories, ModuleLevel, QeIdentity, QeLevel, TcbInfo, TcbLevel, TcbStatus,
};

use super::sheet::Sheet;

pub(super) fn tcb_info(item: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    let info = match TcbInfo::parse(item) {
        Ok(info) => info,
        Err(error) => {
            out.unreadable("tcb_info", &error);
            return out;
        }
    };
    out.row("issue_date", info.issue_date);
    out.row("next_update", info.next_update);
    out.octets("fmspc", &info.fmspc);
    out.octets("pce_id", &info.pce_id);
    out.plain("tcb_evaluation", info.evaluation);
    let mut module = Sheet::new();
    module.octets("mr_signer", &info.module.mr_signer);
    module.octets("attributes", &info.module.attributes.value);
    module.octets("attributes_mask", &info.module.attributes.mask);
    out.sheet("module", module);
    let modules = info.modules.iter().map(|(major, identity, levels)| {
        let mut module = Sheet::new();
        module.plain("major", *major);
        module.octets("mr_signer", &identity.mr_signer);
        module.octets("attributes", &identity.attributes.value);
        module.octets("attributes_mask", &identity.attributes.mask);
        module.list("level", levels.iter().map(module_level).collect());
        module
    });
    out.list("module_identity", modules.collect());
    out.list("level", info.levels.iter().map(level).collect());
    signature(&mut out, TcbInfo::signed(item).ok());
    out
}

fn module_level(level: &ModuleLevel) -> Sheet {
    let ModuleLevel { isv_svn, date, status, advisories } = level;
    svn_level(u16::from(*isv_svn), *date, *status, advisories)
}

fn qe_level(level: &QeLevel) -> Sheet {
    let QeLevel { isv_svn, date, status, advisories } = level;
    svn_level(*isv_svn, *date, *status, advisories)
}

/// A level of something that has one security version.
fn svn_level(isv_svn: u16, date: UnixTime, status: TcbStatus, advisories: &Advisories) -> Sheet {
    let mut out = Sheet::new();
    out.plain("isv_svn", isv_svn);
    out.row("date", date);
    out.row("status", status);
    out.values("advisories", advisories.iter());
    out
}

fn level(level: &TcbLevel) -> Sheet {
    let mut out = Sheet::new();
    out.row("status", level.status);
    out.row("date", level.date);
    out.values("sgx_components", level.sgx);
    out.plain("pce_svn", level.pce_svn);
    out.values("tdx_components", level.tdx);
    out.values("advisories", level.advisories.iter());
    out
}

pub(super) fn qe_identity(item: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    let identity = match QeIdentity::parse(item) {
        Ok(identity) => identity,
        Err(error) => {
            out.unreadable("qe_identity", &error);
            return out;
        }
    };
    out.row("issue_date", identity.issue_date);
    out.row("next_update", identity.next_update);
    out.plain("tcb_evaluation", identity.evaluation);
    out.octets("misc_select", &identity.misc_select.value);
    out.octets("misc_select_mask", &identity.misc_select.mask);
    out.octets("attributes", &identity.attributes.value);
    out.octets("attributes_mask", &identity.attributes.mask);
    out.octets("mr_signer", &identity.mr_signer);
    out.plain("isv_prod_id", identity.isv_prod_id);
    out.list("level", identity.levels.iter().map(qe_level).collect());
    signature(&mut out, QeIdentity::signed(item).ok());
    out
}

fn signature(out: &mut Sheet, signed: Option<(&[u8], [u8; 64])>) {
    if let Some((bytes, signature)) = signed {
        out.plain("signed_octets", bytes.len());
        out.octets("signature", &signature);
    }
}
