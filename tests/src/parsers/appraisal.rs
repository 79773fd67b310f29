//! The whole appraisal of every kind of evidence, with the time as input.

use std::{sync::OnceLock, time::Duration};

use attestation::{
    Bundle, CpuEvidence, Digest, Endorsements, Evidence, NodeId, ReportData, SealingKey, Sha256,
    Statement, UnixTime, Unverified, azure::AzureEvidence, binding::FreshnessProof,
    gpu::parse_devices, snp::Product, tdx::TdxQuote,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sim::{
    Pki, SimulatedPlatform,
    azure::{self, QuoteRecipe, TpmKey},
    machine::Made,
    nvidia::NvidiaPki,
    policy::{Accepted, Section},
    tdx::{IntelKeys, IntelPki},
};
use verifier::{Expectation, Policy};

use super::{CHALLENGE, RECEIPTS, manifest, place};

/// The whole appraisal, with the time as input.
///
/// Five octets are the moment, the next is the form of evidence; then every four edit one octet of the evidence or its
/// endorsements. Whatever they do, what is accepted is what was signed and bound, at a moment when it holds.
pub fn appraise(bytes: &[u8]) {
    let Some((moment, rest)) = bytes.split_first_chunk::<5>() else { return };
    let Some((form, edits)) = rest.split_first() else { return };
    let mut octets = [0; 8];
    octets[3..].copy_from_slice(moment);
    let now = UnixTime::from_secs(u64::from_be_bytes(octets));
    let cases = cases();
    let case = &cases[usize::from(*form).checked_rem(cases.len()).unwrap_or_default()];
    let (mut members, mut given) = (case.members.clone(), case.given.clone());
    for edit in edits.chunks_exact(4).take(8) {
        let which = usize::from(edit[0]).checked_rem(members.len().saturating_add(1));
        let member = members.get_mut(which.unwrap_or_default()).unwrap_or(&mut given);
        let at = place(edit, member.len());
        if let Some(octet) = member.get_mut(at) {
            *octet ^= edit[3];
        }
    }
    let mut endorsements = Endorsements::new();
    // What is no endorsement helps nobody: the judgement goes on without it.
    drop(endorsements.add(&given));
    let wire = (case.form.wire)(&members);
    let verdict = verifier::appraise(
        &case.policy,
        &Unverified::new(Evidence::from_wire(wire.clone())),
        &Unverified::new(endorsements),
        &case.expectation,
        now,
    );
    let same = members == case.members && given == case.given;
    match verdict {
        Ok(result) => {
            assert!(now < result.not_after(), "accepted for a moment that is over");
            let genuine = (case.form.wire)(&case.members);
            assert_eq!(
                (case.form.vouched)(&wire),
                (case.form.vouched)(&genuine),
                "nobody signed this"
            );
            assert_eq!(result.keys().is_some(), case.form.has_keys);
        }
        Err(refused) => {
            assert!(
                !same || now != case.now,
                "the untouched case of {}: {:#?}",
                case.form.name,
                refused.report()
            );
            assert!(!refused.code().is_empty());
        }
    }
}

/// The untouched cases at their moments, then one octet of each member of each.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (case, form) in cases().iter().zip(0_u8..) {
        let moment = case.now.as_secs().to_be_bytes();
        let edit = |edits: &[u8]| [&moment[3..], &[form], edits].concat();
        seeds.push(edit(&[]));
        let last = u8::try_from(case.members.len()).expect("there are few");
        seeds.extend((0..=last).map(|member| edit(&[member, 0, 40, 1])));
    }
    seeds
}

/// A form of evidence.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    /// Puts the members together.
    wire: fn(&[Vec<u8>]) -> Vec<u8>,
    /// What must be as it was in anything that is accepted.
    vouched: fn(&[u8]) -> Vec<Vec<u8>>,
    /// Whether it leads to keys.
    has_keys: bool,
}

/// An accepting case.
struct Case {
    form: Form,
    policy: Policy,
    members: Vec<Vec<u8>>,
    given: Vec<u8>,
    expectation: Expectation,
    now: UnixTime,
}

const SNP: Form = Form {
    name: "SEV-SNP",
    wire: |members| bundle(members, false, false),
    vouched: of_bundle,
    has_keys: true,
};
const TDX: Form = Form { name: "TDX", wire: |members| bundle(members, true, false), ..SNP };
const SNP_GPU: Form =
    Form { name: "SEV-SNP and GPUs", wire: |members| bundle(members, false, true), ..SNP };
const DEVICES: Form = Form { name: "GPUs", wire: devices, vouched: of_devices, has_keys: false };
const AZURE: Form = Form { name: "Azure", wire: on_azure, vouched: of_azure, has_keys: false };

/// One of each form, made once.
fn cases() -> &'static [Case; 5] {
    static CASES: OnceLock<[Case; 5]> = OnceLock::new();
    CASES.get_or_init(|| [sev_snp(), tdx(), sev_snp_and_gpus(), gpus(), azure()])
}

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const MEASUREMENT: [u8; 48] = [0x5a; 48];

fn amd() -> (Pki, SimulatedPlatform) {
    let validity = sim::validity_from(NOW, sim::VALIDITY_SECS_MAX);
    SimulatedPlatform::shared(Product::Genoa, validity, MEASUREMENT).expect("the test PKI is made")
}

fn sev_snp() -> Case {
    let (pki, platform) = amd();
    bound(SNP, Made::sev_snp(&pki, platform).expect("it is made"))
}

fn tdx() -> Case {
    let keys = IntelKeys::generate().expect("keys");
    let validity = sim::validity_from(NOW, sim::VALIDITY_SECS_MAX);
    let pki = IntelPki::new(keys.into(), validity).expect("certificates");
    bound(TDX, Made::tdx(&pki, &Digest(MEASUREMENT), 1).expect("it is made"))
}

fn sev_snp_and_gpus() -> Case {
    let (pki, platform) = amd();
    let made = Made::sev_snp(&pki, platform).expect("it is made");
    bound(SNP_GPU, with_a_gpu(made))
}

fn with_a_gpu(made: Made) -> Made {
    let validity = sim::validity_from(NOW, sim::VALIDITY_SECS_MAX);
    let pki = NvidiaPki::generate(validity).expect("the test PKI is made");
    made.with_devices(&pki.into(), 1, 0).expect("devices are made")
}

/// A bundle that a machine binds to itself.
fn bound(form: Form, made: Made) -> Case {
    let Made { machine, sections, files } = made;
    let manifest = manifest().encode();
    let config = b"padding = \"p1\"\n".to_vec();
    let sealing = SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]);
    let mut statement = Statement {
        node_id: NodeId([1; 16]),
        ohttp_keys: Sha256::of(&sealing.encode()),
        compat_key: None,
        tls_spki: Digest([3; 32]),
        receipt_key: RECEIPTS.thumbprint(),
        manifest: Sha256::of(&manifest),
        config: Sha256::of(&config),
        accelerators: None,
        not_before: NOW.saturating_sub(Duration::from_mins(10)),
        not_after: NOW.saturating_add(Duration::from_mins(50)),
    };
    let mut endorsements = machine.cpu.endorsements().clone();
    let accel = machine.devices.map(|devices| {
        let accel = devices.evidence(&statement.accelerator_nonce()).expect("devices sign");
        statement.accelerators = Some(Sha256::of(&accel));
        endorsements.extend(&devices.endorsements).expect("there are few");
        accel
    });
    let proof = FreshnessProof::Challenge { challenge: Digest(CHALLENGE.0) };
    let data = ReportData::bind(&statement.binding_id(), &proof.fresh());
    let (cpu, event_log) = machine.cpu.sign(&data).expect("the simulated platform signs");
    let accepted = Accepted {
        manifest: Some(Sha256::of(&manifest)),
        names: vec!["m".to_owned()],
        configs: vec![Sha256::of(&config)],
    };
    let mut members = vec![
        statement.encode(),
        sealing.encode(),
        RECEIPTS.encode(),
        manifest,
        config,
        serde_json::to_vec(&proof).expect("a proof is JSON"),
        cpu.bytes,
        Vec::new(),
    ];
    members.extend(event_log);
    members.extend(accel);
    Case {
        form,
        policy: policy(&accepted, &sections, &files),
        members,
        given: endorsements.to_pem().into_bytes(),
        expectation: Expectation::challenged(CHALLENGE),
        now: NOW,
    }
}

fn policy(accepted: &Accepted, sections: &[Section], files: &[(String, Vec<u8>)]) -> Policy {
    let text = sim::policy::render_all(1, accepted, NOW, sections);
    let read = |name: &str| {
        let file = files.iter().find(|(known, _)| known == name);
        file.map(|(_, bytes)| bytes.clone()).ok_or_else(|| "no such file".to_owned())
    };
    Policy::parse(&text, &read).expect("the policy parses")
}

fn bundle(members: &[Vec<u8>], is_tdx: bool, has_devices: bool) -> Vec<u8> {
    let [
        statement,
        ohttp_keys,
        receipt_key,
        manifest,
        config,
        freshness,
        cpu,
        endorsements,
        rest @ ..,
    ] = members
    else {
        panic!("a bundle has eight members at least");
    };
    let cpu = cpu.clone();
    Bundle {
        statement: statement.clone(),
        ohttp_keys: ohttp_keys.clone(),
        receipt_key: receipt_key.clone(),
        manifest: manifest.clone(),
        config: config.clone(),
        freshness: freshness.clone(),
        cpu0: if is_tdx { CpuEvidence::tdx(cpu) } else { CpuEvidence::sev_snp(cpu) },
        event_log: rest.first().filter(|_| is_tdx).cloned(),
        accel: rest.first().filter(|_| has_devices).cloned(),
        endorsements: endorsements.clone(),
    }
    .encode()
}

/// What the report signs and everything that it binds.
fn of_bundle(wire: &[u8]) -> Vec<Vec<u8>> {
    let bundle = Bundle::parse(wire).expect("it was accepted");
    let Bundle { statement, ohttp_keys, receipt_key, manifest, config, accel, cpu0, .. } = bundle;
    let signed = match TdxQuote::parse(&cpu0.bytes) {
        Ok(quote) => quote.signed.to_vec(),
        Err(_) => cpu0.bytes[..0x2a0].to_vec(),
    };
    vec![statement, ohttp_keys, receipt_key, manifest, config, accel.unwrap_or_default(), signed]
}

/// Devices alone, as their tools write them: each report, then its chain.
fn gpus() -> Case {
    let Made { machine, sections, files } =
        with_a_gpu(Made { machine: amd().1.into(), sections: Vec::new(), files: Vec::new() });
    let devices = machine.devices.expect("it has one");
    let json = devices.evidence(&Sha256::of(b"nonce")).expect("devices sign");
    let list: Vec<Value> = serde_json::from_slice(&json).expect("it is JSON");
    let octets = |device: &Value, name: &str| {
        STANDARD.decode(device[name].as_str().unwrap_or_default()).expect("it is base64")
    };
    let members = list
        .iter()
        .flat_map(|device| [octets(device, "evidence"), octets(device, "certificate")])
        .collect();
    let keys = sections.iter().map(|section| section.keys.as_str()).collect::<String>();
    // No statement binds it, and nobody asked for it.
    let text = format!(
        "schema = 1\nname = \"d\"\nversion = 1\npurpose = \"evaluation\"\n[freshness]\nevidence = \"cached\"\n\
         binding = \"if-present\"\n[config]\ndigests = \"any\"\n[anchors]\nnvidia-gpu = [\"nvidia-root.pem\"]\n\
         [nvidia-gpu]\n{keys}"
    );
    let read = |name: &str| {
        let file = files.iter().find(|(known, _)| known == name);
        file.map(|(_, bytes)| bytes.clone()).ok_or_else(|| "no such file".to_owned())
    };
    Case {
        form: DEVICES,
        policy: Policy::parse(&text, &read).expect("the policy parses"),
        members,
        given: devices.endorsements.to_pem().into_bytes(),
        expectation: Expectation::cached(),
        now: NOW,
    }
}

fn devices(members: &[Vec<u8>]) -> Vec<u8> {
    let device = |pair: &[Vec<u8>]| {
        let [report, chain] = [&pair[0], &pair[1]].map(|it| STANDARD.encode(it));
        json!({ "arch": "HOPPER", "evidence": report, "certificate": chain })
    };
    Value::Array(members.chunks_exact(2).map(device).collect()).to_string().into_bytes()
}

fn of_devices(wire: &[u8]) -> Vec<Vec<u8>> {
    let devices = parse_devices(wire).expect("it was accepted");
    devices.iter().map(|device| device.report.as_bytes().to_vec()).collect()
}

/// A machine on Azure: the paravisor's report, what the TPM signed, its signature, and the registers.
fn azure() -> Case {
    let (pki, platform) = amd();
    let key = TpmKey::generate().expect("a key is made");
    let runtime = azure::runtime_data(&key).expect("a key is JSON").to_string().into_bytes();
    let hardware = platform.report(&ReportData(azure::report_data(&runtime)));
    let report = azure::hcl_report(&hardware.expect("the platform signs"), false, &runtime);
    let quote = QuoteRecipe::new(&CHALLENGE.0, &[[7; 32]; 24]);
    let message = quote.message();
    let signature = key.sign(&message).expect("it signs");
    let given = platform.endorsements.to_pem().into_bytes();
    let Made { mut sections, files, .. } = Made::sev_snp(&pki, platform).expect("it is made");
    let keys = format!("pcrs.4 = [\"{}\"]\n", hex::encode([7; 32]));
    sections.push(Section { platform: "azure".to_owned(), anchor: None, keys });
    let accepted = Accepted { configs: vec![Digest([2; 32])], ..Accepted::default() };
    Case {
        form: AZURE,
        policy: policy(&accepted, &sections, &files),
        members: vec![report, message, signature, quote.pcrs.concat()],
        given,
        expectation: Expectation::challenged(CHALLENGE).with_report_data(ReportData([0xab; 64])),
        now: NOW,
    }
}

fn on_azure(members: &[Vec<u8>]) -> Vec<u8> {
    let pcrs: Vec<_> = members[3].chunks_exact(32).map(hex::encode).collect();
    let [message, signature] = [&members[1], &members[2]].map(hex::encode);
    let quote = json!({ "signature": signature, "message": message, "pcrs": pcrs });
    azure::evidence(&members[0], &quote, None)
}

fn of_azure(wire: &[u8]) -> Vec<Vec<u8>> {
    let evidence = AzureEvidence::parse_json(wire).expect("it was accepted");
    let quote = evidence.tpm_quote.expect("it was accepted");
    let attestation::azure::Hardware::Snp(hardware) = evidence.report.hardware else {
        panic!("another hardware");
    };
    let runtime = evidence.report.runtime_digest.as_bytes().to_vec();
    vec![hardware[..0x2a0].to_vec(), runtime, quote.message, quote.pcrs.map(|it| it.0).concat()]
}
