//! `veritee explain`: decodes evidence for people, and judges nothing.

use std::process::ExitCode;

use attestation::azure::AzureEvidence;
use attestation::binding::FreshnessProof;
use attestation::snp::{GuestPolicy, PlatformInfo, Product, SigningKey, SnpReport, TcbVersion};
use attestation::{
    Bundle, CpuPlatform, EvidenceKind, Malformed, ModelManifest, ReceiptKey, SealingKey, Sha256,
    Statement, UnixTime,
};
use client::Family;

use crate::arguments::Explain;
use crate::failure::Failure;
use crate::input;
use crate::output::Out;
use crate::verify;

mod boot;

/// Says what the evidence says.
pub(crate) async fn run(explain: &Explain, out: &Out) -> Result<ExitCode, Failure> {
    let bytes = if verify::is_url(&explain.evidence) {
        let access = input::access(explain.key_file.as_deref(), explain.router_ca.as_deref())?;
        verify::fetch(&explain.evidence, None, access, out).await?.0
    } else {
        input::evidence(&explain.evidence)?
    };
    let text = decode(&bytes).map_err(|error| {
        let next = "give evidence as it was fetched; `veritee verify --help` lists the kinds";
        Failure::new(Family::Malformed, "evidence-malformed", error.to_string(), next)
    })?;
    out.line(format_args!("{CAUTION}\n"))?;
    out.text(text)?;
    if let Some(path) = &explain.event_log {
        let log = boot::event_log(&input::event_log(path)?).map_err(|error| {
            let next = "give the log as the guest reads it from its CCEL area";
            Failure::new(Family::Malformed, "event-log-malformed", error.to_string(), next)
        })?;
        out.text(log)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn decode(bytes: &[u8]) -> Result<String, Malformed> {
    Ok(match EvidenceKind::detect(bytes)? {
        EvidenceKind::Bundle => bundle(&Bundle::parse(bytes)?)?,
        EvidenceKind::SnpReport(report) => report_text(&SnpReport::parse(&report)?),
        EvidenceKind::TdxQuote(_) => not_yet("a TDX quote"),
        EvidenceKind::NvidiaJson => not_yet("NVIDIA device evidence"),
        EvidenceKind::AzureHcl(report) => boot::azure(&AzureEvidence::of_report(&report)?)?,
        EvidenceKind::AzureJson => boot::azure(&AzureEvidence::parse_json(bytes)?)?,
        EvidenceKind::NvidiaReport(_) | _ => not_yet("evidence of another kind"),
    })
}

fn not_yet(what: &str) -> String {
    format!("This is {what}. Its contents are not decoded yet.\n")
}

fn bundle(bundle: &Bundle) -> Result<String, Malformed> {
    let statement = Statement::parse(&bundle.statement)?;
    let keys = SealingKey::parse(&bundle.ohttp_keys)?;
    let receipts = ReceiptKey::parse(&bundle.receipt_key)?;
    let manifest = ModelManifest::parse(&bundle.manifest)?;
    let freshness: FreshnessProof = serde_json::from_slice(&bundle.freshness)
        .map_err(|_| Malformed::invalid("freshness", "is not a freshness proof"))?;
    let cpu = match bundle.cpu0.platform {
        CpuPlatform::SevSnp => report_text(&SnpReport::parse(&bundle.cpu0.bytes)?),
        CpuPlatform::Tdx => not_yet("a TDX quote"),
    };
    let mut out = Text::new("Veritee evidence bundle");
    out.row("enclave", statement.node_id);
    out.row("binding", statement.binding_id());
    out.row("window", window(statement.not_before, statement.not_after));
    out.row(
        "sealing key",
        format_args!("X-Wing, key id {}, sha256 {}", keys.key_id(), statement.ohttp_keys),
    );
    out.row("receipt key", format_args!("Ed25519, thumbprint {}", receipts.thumbprint()));
    out.row("TLS key", format_args!("sha256 {}", statement.tls_spki));
    out.row("freshness", freshness_text(&freshness));
    out.head("Model");
    out.row("names", manifest.names.join(", "));
    out.row(
        "weights",
        format_args!("{} sha256 {}", manifest.weights.format, manifest.weights.sha256),
    );
    out.row("tokenizer", format_args!("sha256 {}", manifest.tokenizer_sha256));
    out.row("template", format_args!("sha256 {}", manifest.template_sha256));
    out.row("arithmetic", &manifest.numeric_profile);
    out.row("manifest", format_args!("sha256 {}", statement.manifest));
    out.head("Configuration");
    out.row("digest", format_args!("sha256 {}", statement.config));
    for line in String::from_utf8_lossy(&bundle.config).lines() {
        out.row("", line);
    }
    if let Some(accel) = &bundle.accel {
        out.head("Accelerators");
        out.row("evidence", format_args!("{} octets, sha256 {}", accel.len(), Sha256::of(accel)));
    }
    Ok(out.0 + "\n" + &cpu)
}

fn window(from: UnixTime, to: UnixTime) -> String {
    format!("{from} to {to}, by the enclave's clock")
}

fn freshness_text(proof: &FreshnessProof) -> String {
    match proof {
        FreshnessProof::None => "cached: answers no challenge".to_owned(),
        FreshnessProof::Challenge { challenge } => format!("answers the challenge {challenge}"),
        FreshnessProof::Batch { root, index, size, .. } => {
            format!("answers a batch of {size} challenges, yours at {index}; root {root}")
        }
    }
}

fn report_text(report: &SnpReport) -> String {
    let mut out = Text::new("SEV-SNP attestation report");
    let product = report.product();
    out.row("version", report.version());
    out.row("product", product.map_or("not said before version 3", Product::name));
    out.row("measurement", report.measurement());
    out.row("report data", hex::encode(report.report_data()));
    out.row("VMPL", report.vmpl());
    out.row("guest SVN", report.guest_svn());
    out.row("guest policy", guest_policy(report.policy()));
    out.row("platform", platform_info(report.platform_info()));
    out.row("signing key", signing_key(report.key_info().signing_key()));
    for (name, raw) in [
        ("reported TCB", report.reported_tcb()),
        ("committed TCB", report.committed_tcb()),
        ("current TCB", report.current_tcb()),
        ("launch TCB", report.launch_tcb()),
    ] {
        let parsed = product.and_then(|product| TcbVersion::from_raw(product, raw).ok());
        out.row(name, parsed.map_or_else(|| hex::encode(raw), |tcb| tcb.to_string()));
    }
    for (name, (major, minor, build)) in
        [("firmware", report.current_firmware()), ("committed", report.committed_firmware())]
    {
        out.row(name, format_args!("{major}.{minor} build {build}"));
    }
    if let Some((launch, current)) = report.mitigations() {
        out.row("mitigations", format_args!("{launch:#x} at launch, {current:#x} now"));
    }
    out.row("chip", report.chip_id());
    out.row("host data", report.host_data());
    out.row("family id", report.family_id());
    out.row("image id", report.image_id());
    out.row("id key", report.id_key_digest());
    out.row("author key", report.author_key_digest());
    out.row("report id", report.report_id());
    out.row("migration", report.report_id_ma());
    out.0
}

fn signing_key(key: SigningKey) -> String {
    match key {
        SigningKey::Vcek => "VCEK, the chip's own".to_owned(),
        SigningKey::Vlek => "VLEK, a cloud provider's".to_owned(),
        SigningKey::None => "none".to_owned(),
        SigningKey::Reserved(value) => format!("{value}, which names no key"),
    }
}

fn guest_policy(policy: GuestPolicy) -> String {
    let (major, minor) = policy.abi();
    let debug = if policy.has(GuestPolicy::DEBUG) { "DEBUG ALLOWED" } else { "no debugging" };
    let migration =
        if policy.has(GuestPolicy::MIGRATE_MA) { "migration allowed" } else { "no migration" };
    let smt = if policy.has(GuestPolicy::SMT) { "SMT allowed" } else { "no SMT" };
    format!("{policy:?}: {debug}, {migration}, {smt}, ABI at least {major}.{minor}")
}

fn platform_info(info: PlatformInfo) -> String {
    let mut words = Vec::new();
    for (mask, word) in [
        (PlatformInfo::SMT_EN, "SMT on"),
        (PlatformInfo::TSME_EN, "TSME on"),
        (PlatformInfo::ALIAS_CHECK_COMPLETE, "memory checked for aliases"),
    ] {
        if info.has(mask) {
            words.push(word);
        }
    }
    format!(
        "{info:?}: {}",
        if words.is_empty() { "none of the bits shown".to_owned() } else { words.join(", ") }
    )
}

/// Lines of names and values.
struct Text(String);

impl Text {
    fn new(title: &str) -> Self {
        Self(format!("{title}\n"))
    }

    fn head(&mut self, title: &str) {
        self.line(title);
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        // Values come from whoever made the evidence: a terminal must not obey them.
        let value: String = value.to_string().chars().filter(|c| !c.is_control()).collect();
        self.line(&format!("  {name:<14}{value}"));
    }
}

const CAUTION: &str =
    "Nothing here is verified: this is what the bytes say, true or not. To judge: veritee verify.";
