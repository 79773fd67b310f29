//! Evidence of NVIDIA devices, what is said of their revocation, and their reference values.

use std::sync::OnceLock;

use attestation::{
    Endorsements, Evidence, UnixTime, Unverified,
    gpu::{GpuReport, ReferenceValues, parse_devices},
};
use sim::nvidia::{DeviceRecipe, NvidiaPki, OcspRecipe, pem};
use verifier::{Expectation, Policy};

/// Reports, the JSON around them, and reference values: what parses is kept as it came, or means the same again.
pub fn device(bytes: &[u8]) {
    if let Ok(report) = GpuReport::parse(bytes) {
        let len = report.as_bytes().len();
        assert_eq!(report.as_bytes(), &bytes[..len]);
        assert!(bytes[len..].iter().all(|octet| *octet == 0));
        let opaque = report.opaque();
        let said = (opaque.driver(), opaque.vbios(), opaque.mode(), opaque.fwid(), opaque.own());
        assert!(!format!("{said:?}").is_empty());
        assert!(opaque.gpus().count() <= 8);
        assert!(opaque.links().count() <= 8_192);
        assert!(report.signed().is_some());
    }
    if let Ok(devices) = parse_devices(bytes) {
        assert!(!devices.is_empty() && devices.len() <= attestation::gpu::DEVICES_MAX);
    }
    if let Ok(values) = ReferenceValues::parse(bytes) {
        assert_eq!(ReferenceValues::parse(&values.encode()), Ok(values));
    }
}

/// An OCSP response that nobody signed helps nobody: what is accepted is what was signed.
pub fn ocsp(bytes: &[u8]) {
    let World { policy, evidence, responses } = world();
    let mut endorsements = Endorsements::new();
    // The first of the three answers is whatever the bytes are.
    drop(endorsements.add(bytes));
    for response in &responses[1..] {
        endorsements.add(response).expect("we write what we read");
    }
    let verdict = verifier::appraise(
        policy,
        &Unverified::new(Evidence::from_wire(evidence.clone())),
        &Unverified::new(endorsements),
        &Expectation::cached(),
        NOW,
    );
    assert!(verdict.is_err() || bytes.trim_ascii() == responses[0], "nobody signed this answer");
    assert!(verdict.is_ok() || bytes != responses[0], "the untouched case");
}

/// Inputs to start from.
pub(super) fn device_seeds() -> Vec<Vec<u8>> {
    let pki = NvidiaPki::shared().expect("the test PKI is made");
    let gpu = DeviceRecipe::hopper(&pki, 0).expect("a device is made");
    let switch = DeviceRecipe::switch(&pki, 0).expect("a device is made");
    let sign = |device: &DeviceRecipe| device.sign_report(&[7; 32]).expect("it is signed");
    let values = gpu.reference_values().remove(0).encode();
    vec![sign(&gpu), sign(&switch), world().evidence.clone(), values]
}

/// Inputs to start from.
pub(super) fn ocsp_seeds() -> Vec<Vec<u8>> {
    world().responses.clone()
}

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// An accepting case, made once.
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) evidence: Vec<u8>,
    pub(crate) responses: Vec<Vec<u8>>,
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let pki = NvidiaPki::shared().expect("the test PKI is made");
        let gpu = DeviceRecipe::hopper(&pki, 0).expect("a device is made");
        let sign = |place| OcspRecipe::about(&gpu, place, NOW).sign(&gpu).expect("it is signed");
        let responses = (1..=3).map(sign).collect();
        let report = gpu.sign_report(&[7; 32]).expect("it is signed");
        let chain = pem(&gpu.sign_chain().expect("it is signed"));
        let evidence = serde_json::json!([{
            "arch": "HOPPER",
            "evidence": sim::nvidia::base64(&report),
            "certificate": sim::nvidia::base64(chain.as_bytes()),
        }]);
        let text = "schema = 1\nname = \"d\"\nversion = 1\npurpose = \"evaluation\"\n\
            [freshness]\nevidence = \"cached\"\nbinding = \"if-present\"\n[config]\ndigests = \"any\"\n\
            [anchors]\nnvidia-gpu = [\"root\"]\n[nvidia-gpu]\nreference_values = \"any\"\n";
        let root = pki.root().to_vec();
        let policy = Policy::parse(text, &|_| Ok(root.clone())).expect("it is a policy");
        World { policy, evidence: evidence.to_string().into_bytes(), responses }
    })
}
