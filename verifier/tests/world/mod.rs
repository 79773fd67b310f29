//! An accepting case as data, so that a test changes one thing and looks at what that does.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::sync::LazyLock;

use attestation::binding::FreshnessProof;
use attestation::manifest::Weights;
use attestation::snp::{Product, TcbVersion};
use attestation::{
    Bundle, Challenge, CpuEvidence, Digest, Endorsements, Evidence, ModelManifest, NodeId,
    ReceiptKey, ReportData, SealingKey, Sha256, Statement, UnixTime, Unverified,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sim::certificate::CertificateRecipe;
use sim::report::{KEY_VLEK, ReportBuilder, healthy_tcb};
use sim::{ChipId, CrlRecipe, EcKey, Pki, PkiOptions, RsaKey, SignatureForm};
use verifier::{
    AttestationResult, ChainCache, Code, Expectation, Policy, Refused, Report, Severity, Verdict,
    appraise, appraise_with,
};

pub(crate) use crate::outcome::{codes, report};

/// The moment of every appraisal that does not say otherwise.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);
/// The challenge that the evidence answers.
pub(crate) const CHALLENGE: Challenge = Challenge([0xc4; 32]);
/// The provider of VLEKs.
pub(crate) const CSP: &str = "cc-us-east-2.amazonaws.com";
/// The name under which the policy knows the model.
pub(crate) const MODEL: &str = "test-model";

/// Everything that goes into one appraisal.
pub(crate) struct World {
    pub(crate) pki: Pki,
    pub(crate) now: UnixTime,
    pub(crate) report: ReportBuilder,
    pub(crate) form: SignatureForm,
    pub(crate) vek_key: EcKey,
    pub(crate) vek: CertificateRecipe,
    pub(crate) issuer: CertificateRecipe,
    pub(crate) ark: CertificateRecipe,
    pub(crate) crl: Option<CrlRecipe>,
    /// Signs the list.
    pub(crate) crl_key: Signer,
    /// Signs the intermediate.
    pub(crate) issuer_key: Signer,
    /// Which certificates are given.
    pub(crate) give: Given,
    pub(crate) statement: Statement,
    pub(crate) sealing: SealingKey,
    pub(crate) receipts: ReceiptKey,
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) freshness: FreshnessProof,
    /// What the hardware signs, where it is not the binding.
    pub(crate) report_data: Option<ReportData>,
    /// Raw vendor evidence instead of a bundle.
    pub(crate) raw: bool,
    pub(crate) policy: toml::Table,
    pub(crate) expectation: Expectation,
    /// The accelerators' evidence that the bundle carries.
    pub(crate) accel: Option<Vec<u8>>,
    /// What the bundle carries beside its evidence.
    pub(crate) carried: Endorsements,
}

/// The chains of every world that any test judged.
static CHAINS: LazyLock<ChainCache> = LazyLock::new(ChainCache::default);

/// Evidence with all that it takes to judge it, but the time.
pub(crate) struct Case {
    pub(crate) policy: Policy,
    pub(crate) evidence: Unverified<Evidence>,
    pub(crate) endorsements: Unverified<Endorsements>,
    pub(crate) expectation: Expectation,
}

impl Case {
    /// Judged with nothing remembered.
    pub(crate) fn cold(&self, now: UnixTime) -> Result<AttestationResult, Refused> {
        let Self { policy, evidence, endorsements, expectation } = self;
        appraise(policy, evidence, endorsements, expectation, now)
    }

    /// Judged with the chains that were verified before.
    pub(crate) fn warm(
        &self,
        chains: &ChainCache,
        now: UnixTime,
    ) -> Result<AttestationResult, Refused> {
        let Self { policy, evidence, endorsements, expectation } = self;
        appraise_with(chains, policy, evidence, endorsements, expectation, now)
    }

    /// Whether that makes no difference: the outcome is that of judging cold, which it yields.
    pub(crate) fn is_judged_alike(
        &self,
        chains: &ChainCache,
        now: UnixTime,
    ) -> Result<AttestationResult, Refused> {
        let (cold, warm) = (self.cold(now), self.warm(chains, now));
        assert_eq!(format!("{warm:?}"), format!("{cold:?}"), "a cache changed the outcome");
        cold
    }
}

/// One of the authorities.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    Ark,
    Ask,
    Asvk,
}

/// Which certificates are given beside the evidence.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) vek: bool,
    pub(crate) issuer: bool,
    pub(crate) ark: bool,
}

impl World {
    /// A VCEK's evidence that the policy accepts.
    pub(crate) fn new(product: Product) -> Self {
        let pki = pki(product);
        let tcb = healthy_tcb(product);
        let chip = ChipId::of(product, 1);
        let vek_key = EcKey::generate().unwrap();
        let vek = pki.vcek_recipe(&vek_key, tcb, &chip);
        let mut report = ReportBuilder::new(product, sim::newest_version(product)).tcb(tcb);
        report.chip_id = chip.0;
        report.measurement = [0x42; 48];
        let sealing = SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]);
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let receipts = ReceiptKey(pair.public_key().as_ref().try_into().unwrap());
        let manifest = manifest(&[MODEL]).encode();
        let config = b"tick_ms = 40\n".to_vec();
        let statement = Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Sha256::of(&sealing.encode()),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: receipts.thumbprint(),
            manifest: Sha256::of(&manifest),
            config: Sha256::of(&config),
            accelerators: None,
            not_before: NOW.saturating_sub(core::time::Duration::from_mins(10)),
            not_after: NOW.saturating_add(core::time::Duration::from_mins(50)),
        };
        let policy = policy(product, tcb, &statement);
        Self {
            accel: None,
            carried: Endorsements::new(),
            now: NOW,
            report,
            form: SignatureForm::Genuine,
            vek,
            vek_key,
            issuer: pki.ask_recipe().unwrap(),
            ark: pki.ark_recipe().unwrap(),
            crl: Some(pki.crl_recipe(5).unwrap()),
            crl_key: Signer::Ark,
            issuer_key: Signer::Ark,
            give: Given { vek: true, issuer: true, ark: true },
            statement,
            sealing,
            receipts,
            manifest,
            config,
            freshness: FreshnessProof::Challenge { challenge: Digest(CHALLENGE.0) },
            report_data: None,
            raw: false,
            policy,
            expectation: Expectation::challenged(CHALLENGE),
            pki,
        }
    }

    /// The same, signed by a cloud provider's key.
    pub(crate) fn vlek(product: Product) -> Self {
        let mut world = Self::new(product);
        world.vek = world.pki.vlek_recipe(&world.vek_key, healthy_tcb(product), CSP);
        world.issuer = world.pki.asvk_recipe().unwrap();
        world.report.key_info = KEY_VLEK;
        world.report.chip_id = [0; 64];
        world.set("sev-snp", "signing_keys", toml::Value::Array(vec!["vlek".into()]));
        world.set("sev-snp", "csp_ids", toml::Value::Array(vec![CSP.into()]));
        world
    }

    /// Sets a key of the policy.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        let mut table = &mut self.policy;
        for part in section.split('.') {
            let entry = table.entry(part).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().unwrap();
        }
        table.insert(key.to_owned(), value.into());
    }

    /// The policy's text.
    pub(crate) fn policy_text(&self) -> String {
        toml::to_string(&self.policy).unwrap()
    }

    /// The policy; its anchor is the world's root.
    pub(crate) fn parsed_policy(&self) -> Policy {
        self.policy_under(&self.pki.sign_as_ark(&self.ark).unwrap())
    }

    /// The policy with this root as its anchor.
    pub(crate) fn policy_under(&self, ark: &[u8]) -> Policy {
        Policy::parse(&self.policy_text(), &|_| Ok(ark.to_vec())).unwrap()
    }

    /// Everything, judged: without a cache, and with the one of all worlds, which says the same.
    pub(crate) fn judge(&self) -> Result<AttestationResult, Refused> {
        let case = self.case();
        drop(case.is_judged_alike(&CHAINS, self.now));
        case.is_judged_alike(&CHAINS, self.now)
    }

    /// What is judged, signed once, so that it can be judged again.
    pub(crate) fn case(&self) -> Case {
        Case {
            policy: self.parsed_policy(),
            evidence: self.evidence(),
            endorsements: self.endorsements(),
            expectation: self.expectation,
        }
    }

    /// The evidence on the wire.
    pub(crate) fn evidence(&self) -> Unverified<Evidence> {
        let fresh = self.freshness.fresh();
        let bound = ReportData::bind(&self.statement.binding_id(), &fresh);
        let report = self.report.clone().report_data(&self.report_data.unwrap_or(bound));
        let report = report.sign_as(&self.vek_key, self.form).unwrap();
        let wire = if self.raw { report } else { self.bundle(report).encode() };
        Unverified::new(Evidence::from_wire(wire))
    }

    /// The bundle around a report.
    pub(crate) fn bundle(&self, report: Vec<u8>) -> Bundle {
        Bundle {
            statement: self.statement.encode(),
            ohttp_keys: self.sealing.encode(),
            receipt_key: self.receipts.encode(),
            manifest: self.manifest.clone(),
            config: self.config.clone(),
            freshness: serde_json::to_vec(&self.freshness).unwrap(),
            cpu0: CpuEvidence::sev_snp(report),
            event_log: None,
            accel: self.accel.clone(),
            endorsements: self.carried.to_pem().into_bytes(),
        }
    }

    /// What is given beside the evidence.
    pub(crate) fn endorsements(&self) -> Unverified<Endorsements> {
        let mut all = Endorsements::new();
        let vek_issuer = match self.vek.issuer.0.last().map(|(_, _, name)| name.contains("VLEK")) {
            Some(true) => &self.pki.keys().asvk,
            _ => &self.pki.keys().ask,
        };
        if self.give.vek {
            all.add_certificate(&self.vek.sign(vek_issuer).unwrap()).unwrap();
        }
        if self.give.issuer {
            all.add_certificate(&self.issuer.sign(self.key(self.issuer_key)).unwrap()).unwrap();
        }
        if self.give.ark {
            all.add_certificate(&self.pki.sign_as_ark(&self.ark).unwrap()).unwrap();
        }
        if let Some(crl) = &self.crl {
            all.add_crl(&crl.sign(self.key(self.crl_key)).unwrap()).unwrap();
        }
        Unverified::new(all)
    }

    fn key(&self, signer: Signer) -> &RsaKey {
        let keys = self.pki.keys();
        match signer {
            Signer::Ark => &keys.ark,
            Signer::Ask => &keys.ask,
            Signer::Asvk => &keys.asvk,
        }
    }
}

/// A PKI over the keys that all tests share, from an hour before [`NOW`].
pub(crate) fn pki(product: Product) -> Pki {
    let start = NOW.saturating_sub(core::time::Duration::from_hours(1));
    let validity = sim::validity_from(start, sim::VALIDITY_SECS_MAX);
    Pki::shared(PkiOptions { product, validity }).unwrap()
}

/// A manifest that serves these names.
pub(crate) fn manifest(names: &[&str]) -> ModelManifest {
    ModelManifest {
        schema: 1,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        weights: Weights { format: "gguf".to_owned(), sha256: Digest([1; 32]) },
        tokenizer_sha256: Digest([2; 32]),
        template_sha256: Digest([3; 32]),
        numeric_profile: "veritee-1".to_owned(),
    }
}

/// A policy that relaxes nothing but the anchor.
fn policy(product: Product, tcb: TcbVersion, statement: &Statement) -> toml::Table {
    let name = product.name().to_ascii_lowercase();
    let fmc = tcb.fmc.map_or_else(String::new, |fmc| format!(", fmc = {fmc}"));
    let TcbVersion { bootloader, tee, snp, microcode, .. } = tcb;
    let text = format!(
        r#"
        schema = 1
        name = "checks"
        version = 3
        purpose = "simulation"
        [freshness]
        evidence = "challenged"
        max_age = "1h"
        binding = "required"
        [models]
        "{MODEL}" = "sha256:{}"
        [config]
        digests = ["sha256:{}"]
        [anchors]
        sev-snp = ["ark.pem"]
        [sev-snp]
        products = ["{name}"]
        measurements = ["{}"]
        [sev-snp.min_tcb.{name}]
        bootloader = {bootloader}
        tee = {tee}
        snp = {snp}
        microcode = {microcode}
        {}
        "#,
        statement.manifest,
        statement.config,
        "42".repeat(48),
        fmc.trim_start_matches(", "),
    );
    toml::from_str(&text).unwrap()
}

/// One thing that is wrong, and the codes that it alone gives.
pub(crate) type Defect<'a> = (&'a str, &'a [Code], &'a dyn Fn(&mut World));

/// Starts from an accepting world, makes one defect, and wants exactly its codes.
pub(crate) fn each_is_refused(start: impl Fn() -> World, defects: &[Defect<'_>]) {
    let accepted = start().judge();
    assert!(accepted.is_ok(), "the start is refused: {:#?}", report(&accepted).findings);
    for (name, expected, break_it) in defects {
        let mut world = start();
        break_it(&mut world);
        let outcome = world.judge();
        let report = report(&outcome);
        assert!(outcome.is_err(), "{name}: accepted");
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes(report, Severity::Reject), expected, "{name}: {:#?}", report.findings);
        assert_ne!(report.verdict, Verdict::Accepted, "{name}");
    }
}

/// Starts from an accepting world, changes one thing, and wants an acceptance with these warnings
/// beside the one for the anchors.
pub(crate) fn each_is_accepted(start: impl Fn() -> World, changes: &[Defect<'_>]) {
    for (name, expected, change) in changes {
        let mut world = start();
        change(&mut world);
        let outcome = world.judge();
        let report = report(&outcome);
        assert!(outcome.is_ok(), "{name}: {:#?}", report.findings);
        let mut expected = expected.to_vec();
        expected.push(Code::UntrustedAnchors);
        expected.sort_unstable();
        assert_eq!(codes(report, Severity::Warn), expected, "{name}: {:#?}", report.findings);
    }
}
