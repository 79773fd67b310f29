//! Veritee's evidence bundles (`docs/protocol.md` §5.2).

use attestation::binding::FreshnessProof;
use attestation::{
    Bundle, CpuPlatform, Endorsements, Malformed, ModelManifest, ReceiptKey, SealingKey, Sha256,
    Statement,
};

use super::sheet::Sheet;
use super::{boot, given, nvidia, snp, tdx};

pub(super) fn bundle(bytes: &[u8]) -> Result<Sheet, Malformed> {
    let bundle = Bundle::parse(bytes)?;
    let statement = Statement::parse(&bundle.statement)?;
    let keys = SealingKey::parse(&bundle.ohttp_keys)?;
    let receipts = ReceiptKey::parse(&bundle.receipt_key)?;
    let manifest = ModelManifest::parse(&bundle.manifest)?;
    let freshness: FreshnessProof = serde_json::from_slice(&bundle.freshness)
        .map_err(|_| Malformed::invalid("freshness", "is not a freshness proof"))?;
    let mut out = Sheet::new();
    out.sheet("statement", self::statement(&statement));
    let mut sealing = Sheet::new();
    sealing.row("algorithm", "X-Wing");
    sealing.plain("key_id", keys.key_id());
    sealing.row("sha256", Sha256::of(&bundle.ohttp_keys));
    out.sheet("sealing_key", sealing);
    let mut receipt = Sheet::new();
    receipt.row("algorithm", "Ed25519");
    receipt.row("thumbprint", receipts.thumbprint());
    out.sheet("receipt_key", receipt);
    out.sheet("freshness", self::freshness(&freshness));
    out.sheet("model", model(&manifest, &bundle.manifest));
    let mut config = Sheet::new();
    config.row("sha256", Sha256::of(&bundle.config));
    config.lines("text", &String::from_utf8_lossy(&bundle.config));
    out.sheet("configuration", config);
    let cpu = &bundle.cpu0.bytes;
    match bundle.cpu0.platform {
        CpuPlatform::SevSnp => out.sheet("cpu0_sev_snp", snp::report(cpu)?),
        CpuPlatform::Tdx => out.sheet("cpu0_tdx", tdx::quote(cpu)?),
    }
    if let Some(log) = &bundle.event_log {
        out.part("event_log", boot::event_log(log));
    }
    if let Some(accel) = &bundle.accel {
        let mut of = Sheet::new();
        of.row("sha256", Sha256::of(accel));
        of.part("devices", nvidia::devices(accel));
        out.sheet("accelerators", of);
    }
    if !bundle.endorsements.is_empty() {
        let mut endorsements = Endorsements::new();
        let read = endorsements.add(&bundle.endorsements);
        out.part("endorsements", read.map(|()| given::endorsements(&endorsements)));
    }
    Ok(out)
}

fn statement(statement: &Statement) -> Sheet {
    let mut out = Sheet::new();
    out.row("node_id", statement.node_id);
    out.row("binding_id", statement.binding_id());
    out.row("not_before", statement.not_before);
    out.row("not_after", statement.not_after);
    out.row("ohttp_keys", statement.ohttp_keys);
    out.optional("compat_key", statement.compat_key.map(hex::encode));
    out.row("tls_spki", statement.tls_spki);
    out.row("receipt_key", statement.receipt_key);
    out.row("manifest", statement.manifest);
    out.row("config", statement.config);
    out.optional("accelerators", statement.accelerators);
    out
}

fn freshness(proof: &FreshnessProof) -> Sheet {
    let mut out = Sheet::new();
    match proof {
        FreshnessProof::None => out.told("type", "none", "cached: answers no challenge"),
        FreshnessProof::Challenge { challenge } => {
            out.row("type", "challenge");
            out.row("challenge", challenge);
        }
        FreshnessProof::Batch { root, index, size, path } => {
            out.told(
                "type",
                "batch",
                format_args!("a batch of {size} challenges, yours at {index}"),
            );
            out.plain("index", *index);
            out.plain("size", *size);
            out.row("root", root);
            out.values("path", path);
        }
    }
    out
}

fn model(manifest: &ModelManifest, bytes: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    out.values("names", &manifest.names);
    out.row("weights_format", &manifest.weights.format);
    out.row("weights_sha256", manifest.weights.sha256);
    out.row("tokenizer_sha256", manifest.tokenizer_sha256);
    out.row("template_sha256", manifest.template_sha256);
    out.row("numeric_profile", &manifest.numeric_profile);
    out.row("manifest_sha256", Sha256::of(bytes));
    out
}
