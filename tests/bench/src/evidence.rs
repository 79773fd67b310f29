//! One enclave of the simulated platform, whose evidence a policy accepts: what there is to seal to and to verify.

use std::sync::Arc;

use attestation::binding::FreshnessProof;
use attestation::manifest::Weights;
use attestation::snp::Product;
use attestation::{
    Bundle, Challenge, CpuEvidence, Digest, Endorsements, Evidence, ModelManifest, NodeId,
    ReceiptKey, ReportData, SealingKey, Sha256, Statement, UnixTime, Unverified,
};
use sim::machine::{Cpu, Made};
use sim::nvidia::NvidiaPki;
use sim::policy::Accepted;
use sim::{Machine, Pki, SimulatedPlatform};
use verifier::{AttestedKeys, Expectation, Policy};

use crate::harness::Failed;

/// The moment of everything that is judged in this process alone.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// The challenge that the evidence answers.
pub(crate) const CHALLENGE: Challenge = Challenge([0xc4; 32]);
/// The product: the one that every cloud offers.
const PRODUCT: Product = Product::Genoa;
/// What the guest measures.
const MEASUREMENT: [u8; 48] = [0x42; 48];

/// The evidence of one enclave, and the policy that accepts it.
pub(crate) struct Enclave {
    pub(crate) pki: Pki,
    pub(crate) platform: SimulatedPlatform,
    /// The raw report.
    pub(crate) report: Vec<u8>,
    /// The bundle around it, with its endorsements.
    pub(crate) evidence: Unverified<Evidence>,
    pub(crate) policy: Policy,
    /// The policy as a file says it; the root that it names is the PKI's.
    pub(crate) policy_text: String,
    /// The evidence of its GPUs and switches.
    pub(crate) accel: Option<Vec<u8>>,
}

impl Enclave {
    /// An enclave with this key.
    pub(crate) fn new(sealing: &SealingKey) -> Result<Self, Failed> {
        Self::at(NOW, sealing)
    }

    /// An enclave with this key that started at `now`.
    pub(crate) fn at(now: UnixTime, sealing: &SealingKey) -> Result<Self, Failed> {
        Self::beside(now, sealing, 0, 0)
    }

    /// An enclave with this key that started at `now` beside so many GPUs, tied together by so many switches.
    pub(crate) fn beside(
        now: UnixTime,
        sealing: &SealingKey,
        gpus: u8,
        switches: u8,
    ) -> Result<Self, Failed> {
        let validity = sim::validity_from(now, sim::VALIDITY_SECS_MAX);
        let (pki, platform) = SimulatedPlatform::shared(PRODUCT, validity, MEASUREMENT)?;
        let mut made = Made::sev_snp(&pki, platform)?;
        if gpus > 0 {
            made = made.with_devices(&Arc::new(NvidiaPki::generate(validity)?), gpus, switches)?;
        }
        let Made { machine: Machine { cpu, devices }, sections, files } = made;
        let Cpu::SevSnp(platform) = cpu else { return Err("another CPU was made".into()) };
        let (receipts, manifest) = (ReceiptKey([9; 32]), manifest().encode());
        let config = b"padding = \"p1\"\n".to_vec();
        let mut statement = Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Sha256::of(&sealing.encode()),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: receipts.thumbprint(),
            manifest: Sha256::of(&manifest),
            config: Sha256::of(&config),
            accelerators: None,
            not_before: now,
            not_after: now.saturating_add(core::time::Duration::from_mins(50)),
        };
        let accel = devices
            .as_ref()
            .map(|devices| devices.evidence(&statement.accelerator_nonce()))
            .transpose()?;
        statement.accelerators = accel.as_deref().map(Sha256::of);
        let mut endorsements = platform.endorsements.clone();
        if let Some(devices) = &devices {
            endorsements.extend(&devices.endorsements)?;
        }
        let freshness = FreshnessProof::Challenge { challenge: Digest(CHALLENGE.0) };
        let report_data = ReportData::bind(&statement.binding_id(), &freshness.fresh());
        let report = platform.report(&report_data)?;
        let accepted = Accepted {
            manifest: Some(statement.manifest),
            names: vec![MODEL.to_owned()],
            configs: vec![statement.config],
        };
        let policy_text = sim::policy::render_all(1, &accepted, validity.not_after, &sections);
        let policy = Policy::parse(&policy_text, &|name| {
            let file = files.iter().find(|(file, _)| file == name);
            file.map(|(_, content)| content.clone()).ok_or_else(|| "is no file".to_owned())
        })
        .map_err(|why| format!("the policy: {why}"))?;
        let bundle = Bundle {
            statement: statement.encode(),
            ohttp_keys: sealing.encode(),
            receipt_key: receipts.encode(),
            manifest,
            config,
            freshness: serde_json::to_vec(&freshness)?,
            cpu0: CpuEvidence::sev_snp(report.clone()),
            event_log: None,
            accel: accel.clone(),
            endorsements: endorsements.to_pem().into_bytes(),
        };
        let evidence = Unverified::new(Evidence::from_wire(bundle.encode()));
        let platform = *platform;
        Ok(Self { pki, platform, report, evidence, policy, policy_text, accel })
    }

    /// The keys that its evidence vouches for.
    pub(crate) fn attest(&self) -> Result<AttestedKeys, Failed> {
        let none = Unverified::new(Endorsements::new());
        let expectation = Expectation::challenged(CHALLENGE);
        let result = verifier::appraise(&self.policy, &self.evidence, &none, &expectation, NOW);
        let result = result.map_err(|refused| format!("{:?}", refused.report().findings))?;
        Ok(result.into_keys().ok_or("a bundle vouches for keys")?)
    }
}

const MODEL: &str = "model";

fn manifest() -> ModelManifest {
    ModelManifest {
        schema: 1,
        names: vec![MODEL.to_owned()],
        weights: Weights { format: "gguf".to_owned(), sha256: Digest([1; 32]) },
        tokenizer_sha256: Digest([2; 32]),
        template_sha256: Digest([3; 32]),
        numeric_profile: "veritee-1".to_owned(),
    }
}
