//! Reports of SEV-SNP (AMD 56860 §7.3).

use attestation::Malformed;
use attestation::snp::{GuestPolicy, PlatformInfo, Product, SigningKey, SnpReport, TcbVersion};
use serde_json::{Value, json};

use super::sheet::Sheet;

pub(super) fn report(bytes: &[u8]) -> Result<Sheet, Malformed> {
    let report = SnpReport::parse(bytes)?;
    let mut out = Sheet::new();
    let product = report.product();
    out.plain("version", report.version());
    out.row("product", product.map_or("not said before version 3", Product::name));
    if let Some([family, model, stepping]) = report.cpuid() {
        out.row("cpuid", format_args!("family {family:#x}, model {model:#x}, stepping {stepping}"));
    }
    out.row("measurement", report.measurement());
    out.octets("report_data", &report.report_data());
    out.plain("vmpl", report.vmpl());
    out.plain("guest_svn", report.guest_svn());
    guest_policy(&mut out, report.policy());
    platform_info(&mut out, report.platform_info());
    let info = report.key_info();
    out.row("signing_key", signing_key(info.signing_key()));
    out.plain("author_key_given", info.author_key_en());
    out.plain("chip_key_masked", info.mask_chip_key());
    for (name, raw) in [
        ("reported_tcb", report.reported_tcb()),
        ("committed_tcb", report.committed_tcb()),
        ("current_tcb", report.current_tcb()),
        ("launch_tcb", report.launch_tcb()),
    ] {
        let parsed = product.and_then(|product| TcbVersion::from_raw(product, raw).ok());
        match parsed {
            Some(tcb) => out.told(name, tcb_json(tcb), tcb),
            None => out.octets(name, &raw),
        }
    }
    for (name, (major, minor, build)) in [
        ("current_firmware", report.current_firmware()),
        ("committed_firmware", report.committed_firmware()),
    ] {
        out.row(name, format_args!("{major}.{minor} build {build}"));
    }
    if let Some((launch, current)) = report.mitigations() {
        out.row("launch_mitigations", format_args!("{launch:#x}"));
        out.row("current_mitigations", format_args!("{current:#x}"));
    }
    out.row("chip_id", report.chip_id());
    out.row("host_data", report.host_data());
    out.row("family_id", report.family_id());
    out.row("image_id", report.image_id());
    out.row("id_key_digest", report.id_key_digest());
    out.row("author_key_digest", report.author_key_digest());
    out.row("report_id", report.report_id());
    out.row("report_id_ma", report.report_id_ma());
    let algorithm = match report.signature_algo() {
        1 => "ECDSA with P-384 and SHA-384".to_owned(),
        other => format!("{other}, which names none"),
    };
    out.row("signature_algorithm", algorithm);
    let (r, s, _) = report.signature();
    out.octets("signature_r_le", &r);
    out.octets("signature_s_le", &s);
    Ok(out)
}

fn tcb_json(tcb: TcbVersion) -> Value {
    let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
    json!({ "fmc": fmc, "bootloader": bootloader, "tee": tee, "snp": snp, "microcode": microcode })
}

fn signing_key(key: SigningKey) -> String {
    match key {
        SigningKey::Vcek => "VCEK, the chip's own".to_owned(),
        SigningKey::Vlek => "VLEK, a cloud provider's".to_owned(),
        SigningKey::None => "none".to_owned(),
        SigningKey::Reserved(value) => format!("{value}, which names no key"),
    }
}

fn guest_policy(out: &mut Sheet, policy: GuestPolicy) {
    let (major, minor) = policy.abi();
    let mut bits = flags(policy.0, &GUEST_POLICY);
    bits.row("abi_at_least", format_args!("{major}.{minor}"));
    if policy.unknown() != 0 {
        bits.row("unknown_bits", format_args!("{:#x}", policy.unknown()));
    }
    out.row("guest_policy", format_args!("{policy:?}"));
    out.sheet("guest_policy_bits", bits);
}

fn platform_info(out: &mut Sheet, info: PlatformInfo) {
    let mut bits = flags(info.0, &PLATFORM_INFO);
    if info.unknown() != 0 {
        bits.row("unknown_bits", format_args!("{:#x}", info.unknown()));
    }
    out.row("platform_info", format_args!("{info:?}"));
    out.sheet("platform_info_bits", bits);
}

/// Each bit by its name.
pub(super) fn flags(value: u64, names: &[(u64, &str)]) -> Sheet {
    let mut out = Sheet::new();
    for (mask, name) in names {
        let is_set = value & mask != 0;
        out.told(name, is_set, if is_set { "yes" } else { "no" });
    }
    out
}

const GUEST_POLICY: [(u64, &str); 9] = [
    (GuestPolicy::DEBUG, "debug"),
    (GuestPolicy::MIGRATE_MA, "migrate_ma"),
    (GuestPolicy::SMT, "smt"),
    (GuestPolicy::SINGLE_SOCKET, "single_socket"),
    (GuestPolicy::CXL_ALLOW, "cxl_allow"),
    (GuestPolicy::MEM_AES_256_XTS, "mem_aes_256_xts"),
    (GuestPolicy::RAPL_DIS, "rapl_dis"),
    (GuestPolicy::CIPHERTEXT_HIDING_DRAM, "ciphertext_hiding_dram"),
    (GuestPolicy::PAGE_SWAP_DISABLE, "page_swap_disable"),
];

const PLATFORM_INFO: [(u64, &str); 7] = [
    (PlatformInfo::SMT_EN, "smt_en"),
    (PlatformInfo::TSME_EN, "tsme_en"),
    (PlatformInfo::ECC_EN, "ecc_en"),
    (PlatformInfo::RAPL_DIS, "rapl_dis"),
    (PlatformInfo::CIPHERTEXT_HIDING_DRAM_EN, "ciphertext_hiding_dram_en"),
    (PlatformInfo::ALIAS_CHECK_COMPLETE, "alias_check_complete"),
    (PlatformInfo::TIO_EN, "tio_en"),
];
