//! What an appraisal of a machine with accelerators costs: SEV-SNP, eight GPUs and the four switches between them.

use attestation::gpu::{DeviceEvidence, GpuReport, parse_devices};
use attestation::{EvidenceKind, SealingKey};
use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED;
use verifier::ChainCache;

use crate::evidence::{Enclave, NOW};
use crate::harness::{Bench, Clock, Contest, Failed, Outcome, repeat};
use crate::verify::{Needed, Signature, judge, key};

pub(crate) const NAMES: &[&str] = &["verify.gpu8.warm", "verify.parse.gpu"];

const GPUS: u8 = 8;
const SWITCHES: u8 = 4;

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let sealing = SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]);
    let enclave = Enclave::beside(NOW, &sealing, GPUS, SWITCHES)?;
    let json = enclave.accel.as_deref().ok_or("no accelerators")?;
    let devices = parse_devices(json)?;
    if bench.wants("verify.gpu8.warm") {
        let mut needed = vec![Needed::of(&enclave)?.report];
        for device in &devices {
            needed.push(signature(device)?);
        }
        let chains = ChainCache::default();
        judge(&enclave, &chains);
        let wire_len = enclave.evidence.inspect_untrusted().as_wire().len();
        let contest =
            Contest::new("verify.gpu8.warm", Clock::Thread, repeat(|| judge(&enclave, &chains)))
                .floor(repeat(|| needed.iter().for_each(Signature::verify)))
                .target("overfloor <= 1.2")
                .note(format!("a bundle of {wire_len} octets, {} of them the devices' evidence", json.len()))
                .note(format!(
                    "floor: the report under the VCEK and those of {GPUS} GPUs and {SWITCHES} switches, P-384 each"
                ))
                .note("known before: every certificate of the chains, every OCSP response");
        bench.compare(contest);
    }
    if bench.wants("verify.parse.gpu") {
        let device = devices.first().ok_or("no device")?;
        let (raw, nonce) = (device.report.as_bytes(), device.report.nonce());
        let parse = || {
            let Ok(EvidenceKind::NvidiaReport(report)) = EvidenceKind::detect(raw) else {
                return false;
            };
            GpuReport::parse(&report).expect("it is a report").nonce() == nonce
        };
        let all = Contest::new("", Clock::Thread, repeat(|| parse_devices(json)));
        let all = all.run().ours.median / 1000.0;
        let contest = Contest::new("verify.parse.gpu", Clock::Thread, repeat(parse))
            .target("10 us")
            .note(format!(
                "a raw report of {} octets told by its content and parsed, its nonce compared",
                raw.len()
            ))
            .note(format!("the JSON of all {} devices, chains in PEM: {all:.1} us", devices.len()));
        bench.compare(contest);
    }
    Ok(())
}

/// What a device signed.
fn signature(device: &DeviceEvidence) -> Result<Signature, Failed> {
    let (message, octets) = device.report.signed().ok_or("a report without a signature")?;
    Ok(Signature {
        name: "a device's report, P-384",
        algorithm: &ECDSA_P384_SHA384_FIXED,
        key: key(device.chain.first().ok_or("a device without a chain")?)?,
        message: message.to_vec(),
        octets: octets.to_vec(),
    })
}
