//! One enclave of the simulated platform, whose evidence a policy accepts: what there is to seal to and to verify.

use attestation::binding::FreshnessProof;
use attestation::manifest::Weights;
use attestation::snp::Product;
use attestation::{
    Bundle, Challenge, CpuEvidence, Digest, Endorsements, Evidence, ModelManifest, NodeId,
    ReceiptKey, ReportData, SealingKey, Sha256, Statement, UnixTime, Unverified,
};
use sim::policy::Accepted;
use sim::{Pki, SimulatedPlatform};
use verifier::{AttestedKeys, Expectation, Policy};

use crate::harness::Failed;

/// The moment of everything.
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
}

impl Enclave {
    /// An enclave with this key.
    pub(crate) fn new(sealing: &SealingKey) -> Result<Self, Failed> {
        let validity = sim::validity_from(NOW, sim::VALIDITY_SECS_MAX);
        let (pki, platform) = SimulatedPlatform::shared(PRODUCT, validity, MEASUREMENT)?;
        let (receipts, manifest) = (ReceiptKey([9; 32]), manifest().encode());
        let config = b"padding = \"p1\"\n".to_vec();
        let statement = Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Sha256::of(&sealing.encode()),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: receipts.thumbprint(),
            manifest: Sha256::of(&manifest),
            config: Sha256::of(&config),
            accelerators: None,
            not_before: NOW,
            not_after: NOW.saturating_add(core::time::Duration::from_mins(50)),
        };
        let freshness = FreshnessProof::Challenge { challenge: Digest(CHALLENGE.0) };
        let report_data = ReportData::bind(&statement.binding_id(), &freshness.fresh());
        let report = platform.report(&report_data)?;
        let accepted = Accepted {
            manifest: Some(statement.manifest),
            names: vec![MODEL.to_owned()],
            configs: vec![statement.config],
        };
        let measurement = Digest(MEASUREMENT).to_string();
        let policy = sim::policy::render(1, PRODUCT, &measurement, &accepted, validity.not_after);
        let ark = pki.ark().to_vec();
        let policy = Policy::parse(&policy, &move |_| Ok(ark.clone()))
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
            accel: None,
            endorsements: platform.endorsements.to_pem().into_bytes(),
        };
        let evidence = Unverified::new(Evidence::from_wire(bundle.encode()));
        Ok(Self { pki, platform, report, evidence, policy })
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
