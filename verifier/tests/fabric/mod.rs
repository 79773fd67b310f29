//! Accepted evidence of NVIDIA devices as data, so that a test changes one thing and looks at what that does.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

use std::sync::{Arc, LazyLock};

use attestation::gpu::ReferenceValues;
use attestation::{Challenge, Endorsements, Evidence, UnixTime, Unverified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sim::nvidia::{DeviceRecipe, NvidiaPki, OcspRecipe, connect, pem};
use verifier::{
    AttestationResult, ChainCache, Code, Expectation, Policy, Refused, Report, Severity, Verdict,
    appraise, appraise_with,
};

pub(crate) use crate::outcome::{codes, report};

/// The moment of every appraisal that does not say otherwise.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);
/// What every device signs.
pub(crate) const NONCE: [u8; 32] = [0xc4; 32];

/// Signatures of every fabric that any test judged.
static CHAINS: LazyLock<ChainCache> = LazyLock::new(ChainCache::default);

/// What is said of one certificate: by device and place in its chain.
type Ocsp = Box<dyn Fn(usize, usize, OcspRecipe) -> Vec<OcspRecipe>>;

/// Everything that goes into one appraisal.
pub(crate) struct Fabric {
    pub(crate) pki: Arc<NvidiaPki>,
    pub(crate) now: UnixTime,
    pub(crate) devices: Vec<DeviceRecipe>,
    /// Changes of the JSON: device, key, value; none takes the key out.
    pub(crate) edits: Vec<(usize, &'static str, Option<Value>)>,
    /// Changes of a chain in DER before it is written.
    pub(crate) rechain: fn(&mut Vec<Vec<u8>>),
    pub(crate) ocsp: Ocsp,
    pub(crate) reference: Vec<ReferenceValues>,
    pub(crate) policy: toml::Table,
    pub(crate) expectation: Expectation,
    /// The root that the policy names; none, the PKI's.
    pub(crate) root: Option<Vec<u8>>,
}

impl Fabric {
    /// One H100 in an enclave of its own.
    pub(crate) fn hopper() -> Self {
        let pki = NvidiaPki::shared().unwrap();
        Self::of(vec![DeviceRecipe::hopper(&pki, 0).unwrap()])
    }

    /// One B100.
    pub(crate) fn blackwell() -> Self {
        let pki = NvidiaPki::shared().unwrap();
        Self::of(vec![DeviceRecipe::blackwell(&pki, 0).unwrap()])
    }

    /// As many H100s and switches, in a protected fabric that is closed.
    pub(crate) fn hgx(gpus: u8, switches: u8) -> Self {
        let pki = NvidiaPki::shared().unwrap();
        let mut all: Vec<_> = (0..gpus).map(|n| DeviceRecipe::hopper(&pki, n).unwrap()).collect();
        let mut others: Vec<_> =
            (0..switches).map(|n| DeviceRecipe::switch(&pki, n).unwrap()).collect();
        connect(&mut all, &mut others);
        all.append(&mut others);
        Self::of(all)
    }

    fn of(devices: Vec<DeviceRecipe>) -> Self {
        let mut reference: Vec<ReferenceValues> = Vec::new();
        for values in devices.iter().flat_map(DeviceRecipe::reference_values) {
            if !reference.contains(&values) {
                reference.push(values);
            }
        }
        Self {
            pki: NvidiaPki::shared().unwrap(),
            now: NOW,
            devices,
            edits: Vec::new(),
            rechain: |_| {},
            ocsp: Box::new(|_, _, recipe| vec![recipe]),
            reference,
            policy: policy(),
            expectation: Expectation::challenged(Challenge(NONCE)),
            root: None,
        }
    }

    /// Sets a key of the policy.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        self.policy[section].as_table_mut().unwrap().insert(key.to_owned(), value.into());
    }

    /// Lets something else be said of one certificate of the first device.
    pub(crate) fn say(
        &mut self,
        place: usize,
        change: impl Fn(OcspRecipe) -> Vec<OcspRecipe> + 'static,
    ) {
        self.ocsp =
            Box::new(
                move |device, at, recipe| {
                    if (device, at) == (0, place) { change(recipe) } else { vec![recipe] }
                },
            );
    }

    /// Changes what is said of one certificate of the first device.
    pub(crate) fn change(&mut self, place: usize, change: impl Fn(&mut OcspRecipe) + 'static) {
        self.say(place, move |mut recipe| {
            change(&mut recipe);
            vec![recipe]
        });
    }

    /// The policy; its reference values stand in it.
    pub(crate) fn parsed_policy(&self) -> Policy {
        let mut table = self.policy.clone();
        for (section, is_switch) in [("nvidia-gpu", false), ("nvidia-switch", true)] {
            let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) else {
                continue;
            };
            let own: Vec<_> = self
                .reference
                .iter()
                .filter(|values| (values.chip == "LS10") == is_switch)
                .map(|values| toml::Value::try_from(values).unwrap())
                .collect();
            section.entry("reference_values").or_insert(toml::Value::Array(own));
        }
        let root = self.root.clone().unwrap_or_else(|| self.pki.root().to_vec());
        let text = toml::to_string(&table).unwrap();
        Policy::parse(&text, &|_| Ok(root.clone())).unwrap()
    }

    /// The list of devices' evidence, over `nonce`.
    pub(crate) fn json(&self, nonce: &[u8; 32]) -> Vec<u8> {
        let mut list: Vec<Map<String, Value>> = Vec::new();
        for device in &self.devices {
            let report = device.sign_report(nonce).unwrap();
            let mut chain = device.sign_chain().unwrap();
            (self.rechain)(&mut chain);
            let entry = json!({
                "arch": device.architecture.name(),
                "nonce": hex::encode(nonce),
                "evidence": STANDARD.encode(report),
                "certificate": STANDARD.encode(pem(&chain)),
            });
            list.push(entry.as_object().unwrap().clone());
        }
        for (device, key, value) in &self.edits {
            match value {
                Some(value) => drop(list[*device].insert((*key).to_owned(), value.clone())),
                None => drop(list[*device].remove(*key)),
            }
        }
        serde_json::to_vec(&list).unwrap()
    }

    /// What is said of all certificates between the signing keys' and the root.
    pub(crate) fn endorsements(&self) -> Endorsements {
        let mut all = Endorsements::new();
        for (number, device) in self.devices.iter().enumerate() {
            for place in 1..=3 {
                let recipe = OcspRecipe::about(device, place, NOW);
                for recipe in (self.ocsp)(number, place, recipe) {
                    all.add(&recipe.sign(device).unwrap()).unwrap();
                }
            }
        }
        all
    }

    /// Everything, judged: without a cache, and with one that knows all fabrics, which says the same.
    pub(crate) fn judge(&self) -> Result<AttestationResult, Refused> {
        let policy = self.parsed_policy();
        let evidence = Unverified::new(Evidence::from_wire(self.json(&NONCE)));
        let endorsements = Unverified::new(self.endorsements());
        let cold = appraise(&policy, &evidence, &endorsements, &self.expectation, self.now);
        for _ in 0..2 {
            let (expectation, now) = (&self.expectation, self.now);
            let warm = appraise_with(&CHAINS, &policy, &evidence, &endorsements, expectation, now);
            assert_eq!(format!("{warm:?}"), format!("{cold:?}"), "a cache changed the outcome");
        }
        cold
    }
}

fn policy() -> toml::Table {
    toml::from_str(
        r#"
        schema = 1
        name = "devices"
        version = 1
        purpose = "evaluation"
        [freshness]
        evidence = "challenged"
        binding = "if-present"
        [config]
        digests = "any"
        [anchors]
        nvidia-gpu = ["root.pem"]
        [nvidia-gpu]
        [nvidia-switch]
        "#,
    )
    .unwrap()
}

/// One thing that is changed, and the codes that it alone gives.
pub(crate) type Change<'a> = (&'a str, &'a [Code], &'a dyn Fn(&mut Fabric));

/// Starts from an accepted fabric, makes one defect, and wants exactly its codes.
pub(crate) fn each_is_refused(start: impl Fn() -> Fabric, defects: &[Change<'_>]) {
    let accepted = start().judge();
    assert!(accepted.is_ok(), "the start is refused: {:#?}", report(&accepted).findings);
    for (name, expected, break_it) in defects {
        let mut fabric = start();
        break_it(&mut fabric);
        let outcome = fabric.judge();
        let report = report(&outcome);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes(report, Severity::Reject), expected, "{name}: {:#?}", report.findings);
        assert_ne!(report.verdict, Verdict::Accepted, "{name}");
    }
}

/// Starts from an accepted fabric, changes one thing, and wants an acceptance with these warnings beside
/// those that every such evidence has.
pub(crate) fn each_is_accepted(start: impl Fn() -> Fabric, changes: &[Change<'_>]) {
    for (name, expected, change) in changes {
        let mut fabric = start();
        change(&mut fabric);
        let outcome = fabric.judge();
        let report = report(&outcome);
        assert!(outcome.is_ok(), "{name}: {:#?}", report.findings);
        let mut expected = expected.to_vec();
        expected.extend([Code::UntrustedAnchors, Code::BindingNotChecked]);
        expected.sort_unstable();
        assert_eq!(codes(report, Severity::Warn), expected, "{name}: {:#?}", report.findings);
    }
}
