//! TDX quotes (Intel TDX DCAP Quoting Library API, appendix A) and the reports in them.

use attestation::Malformed;
use attestation::tdx::{Attributes, Certification, Form, QeReport, TdReport, TdxQuote, pck_chain};
use serde_json::Value;

use super::pki;
use super::sheet::Sheet;
use super::snp::flags;

pub(super) fn quote(bytes: &[u8]) -> Result<Sheet, Malformed> {
    let quote = TdxQuote::parse(bytes)?;
    let mut out = Sheet::new();
    out.plain("version", quote.version);
    out.row("attestation_key_type", "ECDSA with P-256");
    out.row("tee_type", "TDX");
    // In version 4 the quoting enclave's and the PCE's versions, reserved since (appendix A.3.1).
    if let Some([qe_low, qe_high, pce_low, pce_high]) =
        bytes.get(8..12).filter(|_| quote.version == 4)
    {
        out.plain("qe_svn", u16::from_le_bytes([*qe_low, *qe_high]));
        out.plain("pce_svn", u16::from_le_bytes([*pce_low, *pce_high]));
    }
    out.octets("qe_vendor_id", &attestation::tdx::INTEL_QE_VENDOR);
    out.octets("user_data", &quote.user_data);
    out.sheet("report", report(&quote.report));
    out.octets("signature", &quote.signature);
    out.octets("attestation_key", &quote.attestation_key);
    out.sheet("qe_report", qe_report(&quote.qe_report));
    out.octets("qe_report_signature", &quote.qe_report_signature);
    out.octets("qe_authentication_data", quote.qe_authentication_data);
    match quote.certification {
        Certification::PckChain(pem) => match pck_chain(pem) {
            Ok(chain) => {
                out.list("pck_chain", chain.iter().map(|der| pki::certificate(der)).collect());
            }
            Err(error) => out.unreadable("pck_chain", &error),
        },
        Certification::Other(kind) => {
            out.row("certification", format_args!("of type {kind}, no PCK chain"));
        }
    }
    out.told("padding", quote.padding, format_args!("{} zero octets", quote.padding));
    Ok(out)
}

/// A report by its own: what a paravisor hands out.
pub(super) fn body(bytes: &[u8]) -> Result<Sheet, Malformed> {
    let form =
        [Form::Td10, Form::Td15, Form::Td15Ex].into_iter().find(|form| form.size() == bytes.len());
    TdReport::parse(form.unwrap_or(Form::Td15), bytes).map(|body| report(&body))
}

fn report(report: &TdReport) -> Sheet {
    let mut out = Sheet::new();
    out.row("form", report.form());
    let [minor, major, ..] = report.tee_tcb_svn;
    out.told(
        "tee_tcb_svn",
        hex::encode(report.tee_tcb_svn),
        format_args!("{}: module {major}.{minor}", hex::encode(report.tee_tcb_svn)),
    );
    out.row("mr_seam", report.mr_seam);
    out.row("mr_signer_seam", report.mr_signer_seam);
    out.octets("seam_attributes", &report.seam_attributes);
    let attributes = report.td_attributes;
    out.row("td_attributes", format_args!("{:#018x}", attributes.0));
    let mut bits = flags(attributes.0, &ATTRIBUTES);
    let reserved = attributes.0 & Attributes::RESERVED;
    if reserved != 0 {
        bits.row("reserved_bits", format_args!("{reserved:#x}"));
    }
    out.sheet("td_attributes_bits", bits);
    out.row("xfam", format_args!("{:#018x}", report.xfam));
    let named = XFAM.iter().filter(|(mask, _)| report.xfam & mask != 0).map(|(_, name)| *name);
    out.values("xfam_features", named);
    out.row("mr_td", report.mr_td);
    for (number, value) in (0_usize..).zip(&report.rtmr) {
        out.row(&format!("rtmr{number}"), value);
    }
    out.row("mr_config_id", report.mr_config_id);
    out.row("mr_owner", report.mr_owner);
    out.row("mr_owner_config", report.mr_owner_config);
    out.octets("report_data", &report.report_data);
    if let Some(td15) = &report.td15 {
        out.octets("tee_tcb_svn2", &td15.tee_tcb_svn2);
        out.row("mr_service_td", td15.mr_service_td);
    }
    if let Some(ex) = &report.td15_ex {
        out.plain("vm_id", ex.vm_id);
        out.row("td_id", ex.td_id);
        out.row("dev_info_hash", ex.dev_info_hash);
        out.row("init_service_td_hash", ex.init_service_td_hash);
        out.octets("init_service_td_attributes", &ex.init_service_td_attributes);
        out.octets("init_cpu_svn", &ex.init_cpu_svn);
        out.octets("init_tee_tcb_svn", &ex.init_tee_tcb_svn);
        out.octets("init_tee_fmspc", &ex.init_tee_fmspc);
        out.row("cur_service_td_hash", ex.cur_service_td_hash);
        out.octets("cur_service_td_attributes", &ex.cur_service_td_attributes);
    }
    out
}

fn qe_report(report: &QeReport) -> Sheet {
    let mut out = Sheet::new();
    out.octets("cpu_svn", &report.cpu_svn);
    out.octets("misc_select", &report.misc_select);
    out.octets("attributes", &report.attributes);
    out.told("debug", Value::Bool(report.is_debug()), if report.is_debug() { "yes" } else { "no" });
    out.octets("mr_enclave", &report.mr_enclave);
    out.octets("mr_signer", &report.mr_signer);
    out.plain("isv_prod_id", report.isv_prod_id);
    out.plain("isv_svn", report.isv_svn);
    out.octets("report_data", &report.report_data);
    out
}

const ATTRIBUTES: [(u64, &str); 8] = [
    (Attributes::DEBUG, "debug"),
    (Attributes::PROFILING, "profiling"),
    (Attributes::SERVTD_EXT, "servtd_ext"),
    (Attributes::SEPT_VE_DISABLE, "sept_ve_disable"),
    (Attributes::MIGRATABLE, "migratable"),
    (Attributes::PKS, "pks"),
    (Attributes::KEY_LOCKER, "key_locker"),
    (Attributes::PERFMON, "perfmon"),
];

/// Bits of `XFAM`: those of XCR0 and `IA32_XSS` (Intel SDM vol. 1 §13.1).
const XFAM: [(u64, &str); 17] = [
    (1, "x87"),
    (1 << 1, "SSE"),
    (1 << 2, "AVX"),
    (1 << 3, "BNDREGS"),
    (1 << 4, "BNDCSR"),
    (1 << 5, "AVX-512 opmask"),
    (1 << 6, "AVX-512 ZMM_Hi256"),
    (1 << 7, "AVX-512 Hi16_ZMM"),
    (1 << 8, "PT"),
    (1 << 9, "PKRU"),
    (1 << 10, "PASID"),
    (1 << 11, "CET_U"),
    (1 << 12, "CET_S"),
    (1 << 14, "UINTR"),
    (1 << 15, "LBR"),
    (1 << 17, "AMX TILECFG"),
    (1 << 18, "AMX TILEDATA"),
];
