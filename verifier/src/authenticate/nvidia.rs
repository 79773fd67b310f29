//! NVIDIA GPUs and switches: reports signed by a key that the device made at boot, whose certificate
//! chains through the chip's own to NVIDIA.

use std::borrow::Cow;

use attestation::endorsements::Kind;
use attestation::gpu::{Architecture, DeviceEvidence, GpuReport, Pdi};
use attestation::{Digest, Endorsements, UnixTime};

use super::Context;
use super::given;
use crate::finding::{Code, Finding};
use crate::policy::{DevicePolicy, Policy};
use crate::result::Horizon;
use crate::x509::Certificate;

mod chain;
mod fwid;
mod memo;
mod ocsp;
mod report;
mod signatures;

use memo::Fact;
pub(super) use memo::Memo;

use signatures::{Signatures, WRONG_MAX};

/// How many signatures to remember for each chain that a cache has room for: those of eight GPUs' and
/// four switches' chains and of what is said of them are under a hundred.
pub(super) const FACTS_PER_CHAIN: usize = 16;

/// What a device says of itself, before anybody checked it.
#[derive(Debug)]
pub(crate) struct Device {
    /// Its name in findings: `gpu0`, `switch2`.
    pub(crate) name: String,
    /// The report.
    pub(crate) report: GpuReport,
    /// The certificates' names of it.
    pub(crate) identity: Identity,
}

/// Who a device is, by its certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The chip: `GH100`, `GB100`, `LS10`.
    pub(crate) chip: String,
    /// The chip's generation.
    pub(crate) architecture: Architecture,
    /// The chip with its stepping and engine, as NVIDIA's tools show it.
    pub(crate) model: String,
    /// Serial number of the signing key's certificate.
    pub(crate) ueid: String,
    /// Serial number of the chip's certificate.
    pub(crate) serial: String,
    /// The name that the fabric knows the device by.
    pub(crate) pdi: Option<Pdi>,
    /// The digest of the firmware that the signing key belongs to.
    pub(crate) fwid: Option<Digest<48>>,
}

/// A device whose signature, chain and revocation were checked.
#[derive(Debug)]
pub(crate) struct AuthenticDevice(Device);

impl AuthenticDevice {
    /// The claims.
    pub(crate) const fn device(&self) -> &Device {
        &self.0
    }
}

/// What the checks of one device work with.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    context: Context<'a>,
    evidence: &'a DeviceEvidence,
    /// Certificates that were given beside the evidence: for a report that carries none.
    pool: &'a [Certificate<'a>],
    /// The policy's roots.
    anchors: &'a [Certificate<'a>],
    responses: &'a [crate::ocsp::Response<'a>],
    signatures: &'a Signatures<'a>,
    /// What was found out of certificates of devices before this one.
    known: &'a ocsp::Known<'a>,
    /// What the device must have signed, where that is known.
    nonce: Option<&'a [u8; 32]>,
    /// The nonce that the OCSP responses must repeat, where that is known.
    ocsp_nonce: Option<&'a [u8; 32]>,
}

/// What is asked of all devices alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// What each device must have signed; none where nobody asked with a challenge.
    pub(crate) nonce: Option<[u8; 32]>,
    /// What each OCSP response must repeat, where that is known.
    pub(crate) ocsp_nonce: Option<[u8; 32]>,
}

/// The devices that are authentic, and when what they rest on ends. All checks of each run.
pub(crate) fn authenticate(
    evidence: Vec<DeviceEvidence>,
    asked: &Asked,
    context: Context<'_>,
    findings: &mut Vec<Finding>,
) -> (Vec<AuthenticDevice>, Horizon) {
    let mut ends = Horizon::default();
    let found = verify(&evidence, asked, context, findings);
    let devices = evidence.into_iter().zip(found).filter_map(|(evidence, found)| {
        let Found { name, identity, horizon } = found?;
        ends.extend(horizon);
        Some(AuthenticDevice(Device { name, report: evidence.report, identity }))
    });
    (devices.collect(), ends)
}

/// What is known of a device that is authentic, beside its report.
struct Found {
    name: String,
    identity: Identity,
    horizon: Horizon,
}

/// The chain of the device before, and whether the authorities in it hold: others share them.
struct Before<'a> {
    chain: chain::Chain<'a>,
    authorities_hold: bool,
}

/// What is found of each device, as far as they are looked at.
fn verify(
    evidence: &[DeviceEvidence],
    asked: &Asked,
    context: Context<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Option<Found>> {
    let pool = if evidence.iter().any(|device| device.chain.is_empty()) {
        given::certificates(context.endorsements, findings)
    } else {
        Vec::new()
    };
    let anchors: Vec<_> =
        context.policy.anchors.nvidia().filter_map(|der| Certificate::parse(der).ok()).collect();
    let responses = responses(context.endorsements, findings);
    let signatures = Signatures::new(&context.chains.nvidia);
    let known = ocsp::Known::default();
    let mut names = Names::default();
    let mut before = None;
    let mut all = Vec::with_capacity(evidence.len());
    for evidence in evidence {
        let inputs = Inputs {
            context,
            evidence,
            pool: &pool,
            anchors: &anchors,
            responses: &responses,
            signatures: &signatures,
            known: &known,
            nonce: asked.nonce.as_ref(),
            ocsp_nonce: asked.ocsp_nonce.as_ref(),
        };
        let mut own = Vec::new();
        let name = names.next(is_switch(evidence));
        let found = device(&name, inputs, &mut before, &mut own);
        if signatures.gave_up() {
            let message = format!(
                "of certificates, reports and answers, more than {WRONG_MAX} are not signed as they should be"
            );
            own.push(Finding::reject(Code::EvidenceMalformed, message));
        }
        findings.extend(own.into_iter().map(|finding| finding.of(name.clone())));
        if signatures.gave_up() {
            break;
        }
        all.push(found);
    }
    all
}

/// The section of the policy that is about a device.
pub(crate) const fn section(policy: &Policy, architecture: Architecture) -> Option<&DevicePolicy> {
    if architecture.is_switch() {
        match &policy.nvidia_switch {
            Some(switch) => Some(&switch.device),
            None => None,
        }
    } else {
        match &policy.nvidia_gpu {
            Some(gpu) => Some(&gpu.device),
            None => None,
        }
    }
}

fn device<'a>(
    name: &str,
    inputs: Inputs<'a>,
    before: &mut Option<Before<'a>>,
    findings: &mut Vec<Finding>,
) -> Option<Found> {
    let first = findings.len();
    let mut horizon = Horizon::default();
    let mut own = Vec::new();
    let chain = chain::resolve(inputs, before.as_ref().map(|before| &before.chain), findings)?;
    let authorities_hold = before
        .as_ref()
        .is_some_and(|before| before.authorities_hold && before.chain.shares_authorities(&chain));
    let verified = chain::verify(&chain, inputs, authorities_hold, &mut own, findings);
    let chain_holds = !findings.iter().skip(first).any(super::fails);
    report::form(inputs, findings);
    report::signature(inputs, chain.leaf(), findings);
    let identity = verified.identity?;
    report::matches(&identity, inputs, findings);
    let section = section(inputs.context.policy, identity.architecture);
    let Some(section) = section else {
        let key = if identity.architecture.is_switch() { "nvidia-switch" } else { "nvidia-gpu" };
        let message = format!("the policy has no section for {key}");
        findings.push(Finding::reject(Code::PlatformNotAllowed, message).expected(key));
        return None;
    };
    // Who may answer for a chain that does not hold is nobody's to say.
    if chain_holds {
        ocsp::check(&chain, section.revocation, inputs, &mut own, findings);
        *before = Some(Before { chain, authorities_hold: verified.authorities_hold });
    }
    for (what, ends) in own {
        horizon.add_of(Cow::Owned(name.to_owned()), what, ends);
    }
    let passes = !findings.iter().skip(first).any(super::fails);
    passes.then(|| Found { name: name.to_owned(), identity, horizon })
}

/// What ends, and when.
type Ends = Vec<(Cow<'static, str>, UnixTime)>;

/// The OCSP responses, each once, given ones first.
fn responses<'a>(
    endorsements: [&'a Endorsements; 2],
    findings: &mut Vec<Finding>,
) -> Vec<crate::ocsp::Response<'a>> {
    let mut parsed: Vec<crate::ocsp::Response<'_>> = Vec::new();
    let already = endorsements[0].digests(Kind::OcspResponse);
    let [given, carried] =
        endorsements.map(|all| all.ocsp_responses().iter().zip(all.digests(Kind::OcspResponse)));
    let carried = carried.filter(|(_, digest)| !already.contains(digest));
    for (der, digest) in given.chain(carried) {
        let before = parsed.last().map(|response| response.certificates.as_slice());
        match crate::ocsp::Response::parse(der, *digest, before.unwrap_or_default()) {
            Ok(response) => parsed.push(response),
            Err(error) => {
                findings.push(Finding::reject(Code::EndorsementsMalformed, error.to_string()));
            }
        }
    }
    parsed
}

/// Whether a report is a switch's, before anybody knows: by its form alone, for a name.
pub(crate) fn is_switch(evidence: &DeviceEvidence) -> bool {
    evidence.report.measurements().len() == Architecture::Ls10.blocks()
}

/// Names for devices: `gpu0`, `gpu1`, `switch0`, …, in the order of the evidence.
#[derive(Debug, Default)]
struct Names {
    gpus: u32,
    switches: u32,
}

impl Names {
    fn next(&mut self, is_switch: bool) -> String {
        let (kind, count) =
            if is_switch { ("switch", &mut self.switches) } else { ("gpu", &mut self.gpus) };
        let name = format!("{kind}{count}");
        *count = count.saturating_add(1);
        name
    }
}
