//! The relying party's judge: decides whether evidence is acceptable, and is the only place where
//! keys become [`Attested`].
//!
//! [`appraise`] is a function of its arguments: no I/O, no clock, no randomness. It works in three
//! stages, and each sees only what the one before it has proven:
//!
//! 1. *authenticate*: the vendor's hardware says this, with a key that is still good;
//! 2. *bind*: what it signed stands for these keys, this model, this configuration, this moment;
//! 3. *appraise*: the policy accepts hardware, firmware, measurement, model and configuration.
//!
//! All checks of a stage run, and all findings are reported. There is one code path: no feature,
//! flag or argument weakens a check. A policy can, and every relaxation that it uses leaves a
//! finding.
#![forbid(unsafe_code)]

use core::cmp::Reverse;

use attestation::azure::{AzureEvidence, Hardware};
use attestation::gpu::{DeviceEvidence, GpuReport, parse_devices};
use attestation::{
    CpuPlatform, Endorsements, Evidence, EvidenceKind, Malformed, UnixTime, Unverified,
};

mod anchors;
mod appraise;
mod attested;
mod authenticate;
mod bind;
mod claims;
mod crypto;
pub mod ear;
mod finding;
mod ocsp;
pub mod policy;
pub mod receipt;
mod result;
mod x509;

pub use attested::{Attested, Expired};
pub use authenticate::ChainCache;
pub use bind::{Expectation, Freshness};
pub use claims::ClaimsSet;
pub use finding::{Code, Family, Finding, Severity};
pub use policy::Policy;
pub use result::{
    AnchorKind, AttestationResult, AttestedKeys, CrlNumber, Deadline, Horizon, PolicyId, Refused,
    Report, Verdict,
};

use crate::authenticate::azure::AuthenticAzure;
use crate::authenticate::nvidia::{self, Asked, AuthenticDevice};
use crate::authenticate::{Authentic, Context, CpuEvidence};
use crate::bind::{Bound, Parts};
use crate::claims::{Binding, Said};
use crate::finding::BUNDLE;

/// Judges `evidence`, with the help of `endorsements` and those that it carries, by `policy`, for
/// the moment `now`.
///
/// # Errors
/// [`Refused`], with the same report that an acceptance has: malformed, rejected or unavailable.
pub fn appraise(
    policy: &Policy,
    evidence: &Unverified<Evidence>,
    endorsements: &Unverified<Endorsements>,
    expectation: &Expectation,
    now: UnixTime,
) -> Result<AttestationResult, Refused> {
    // One that keeps nothing.
    let chains = ChainCache::new(0);
    appraise_with(&chains, policy, evidence, endorsements, expectation, now)
}

/// [`appraise`] that verifies no chain twice: one that is in `chains` costs no signature more.
///
/// The result is that of [`appraise`], always: `chains` holds no verdict, and what it yields is what
/// verifying again would. Periods of validity, the policy's anchors and lists count at every call.
///
/// # Errors
/// As [`appraise`].
pub fn appraise_with(
    chains: &ChainCache,
    policy: &Policy,
    evidence: &Unverified<Evidence>,
    endorsements: &Unverified<Endorsements>,
    expectation: &Expectation,
    now: UnixTime,
) -> Result<AttestationResult, Refused> {
    let appraisal = Appraisal::new(policy, chains, now);
    match Presented::parse(evidence, expectation) {
        Ok(mut presented) => {
            // What the caller has is what the caller means.
            if let Some(log) = evidence.inspect_untrusted().event_log_as_wire() {
                presented.event_log = Some(log.to_vec());
            }
            appraisal.run(presented, endorsements.inspect_untrusted(), expectation)
        }
        Err((platform, finding)) => Appraisal { platform, ..appraisal }.refuse(*finding),
    }
}

/// Evidence, taken apart as far as its kind says, and not believed.
struct Presented {
    platform: &'static str,
    cpu: Option<CpuEvidence>,
    accelerators: Option<Accelerators>,
    /// What Azure's paravisor and its TPM say besides.
    azure: Option<AzureEvidence>,
    /// The event log of the boot.
    event_log: Option<Vec<u8>>,
    /// What a bundle carries beside them.
    parts: Option<Parts>,
}

/// Evidence of accelerators.
struct Accelerators {
    devices: Vec<DeviceEvidence>,
    asked: Asked,
}

impl Accelerators {
    /// Whether one of them is no switch.
    fn has_gpus(&self) -> bool {
        !self.devices.iter().all(nvidia::is_switch)
    }
}

impl Presented {
    /// Accelerators without a CPU.
    fn of_devices(devices: Vec<DeviceEvidence>, expectation: &Expectation) -> Self {
        let nonce = match expectation.freshness {
            Freshness::Challenged(challenge) => Some(challenge.0),
            Freshness::Cached => None,
        };
        let only_switches = devices.iter().all(nvidia::is_switch);
        let platform = if only_switches { "nvidia-switch" } else { "nvidia-gpu" };
        let asked = Asked { nonce, ocsp_nonce: expectation.ocsp_nonce };
        let accelerators = Some(Accelerators { devices, asked });
        Self { platform, cpu: None, accelerators, azure: None, event_log: None, parts: None }
    }

    /// # Errors
    /// The platform, as far as it is known, and why there is nothing to appraise.
    fn parse(
        evidence: &Unverified<Evidence>,
        expectation: &Expectation,
    ) -> Result<Self, (&'static str, Box<Finding>)> {
        let bytes = evidence.inspect_untrusted().as_wire();
        let malformed =
            |malformed: Malformed| ("unknown", Box::new(Finding::malformed(&malformed)));
        let not_supported = |platform: &'static str| {
            let message =
                format!("evidence of {platform} is told by its content, and not appraised");
            let finding = Finding::reject(Code::PlatformNotSupported, message).actual(platform);
            (platform, Box::new(finding))
        };
        let of_cpu = |platform, cpu| Self {
            platform,
            cpu: Some(cpu),
            accelerators: None,
            azure: None,
            event_log: None,
            parts: None,
        };
        let of_azure = |azure: AzureEvidence| match &azure.report.hardware {
            Hardware::Snp(report) => {
                let cpu = CpuEvidence::SnpReport(report.clone());
                Ok(Self { azure: Some(azure), ..of_cpu("azure-sev-snp", cpu) })
            }
            Hardware::Tdx(_) => {
                let quote = azure.td_quote.clone().ok_or_else(|| {
                    let message =
                        "a report of TDX proves nothing to another machine without a quote of it";
                    let finding = Finding::reject(Code::AzureTdQuoteMissing, message);
                    ("azure-tdx", Box::new(finding))
                })?;
                let cpu = CpuEvidence::TdxQuote(quote);
                Ok(Self { azure: Some(azure), ..of_cpu("azure-tdx", cpu) })
            }
        };
        match EvidenceKind::detect(bytes).map_err(malformed)? {
            EvidenceKind::Bundle => {
                let (mut parts, cpu0) = Parts::parse(bytes).map_err(malformed)?;
                let nonce = Some(parts.accelerator_nonce());
                let asked = Asked { nonce, ocsp_nonce: expectation.ocsp_nonce };
                let devices = parts.accel.take().map(|json| parse_devices(&json)).transpose();
                let devices = devices.map_err(malformed)?;
                let accelerators = devices.map(|devices| Accelerators { devices, asked });
                let platform = cpu0.platform.name();
                let cpu = match cpu0.platform {
                    CpuPlatform::SevSnp => CpuEvidence::SnpReport(cpu0.bytes),
                    CpuPlatform::Tdx => CpuEvidence::TdxQuote(cpu0.bytes),
                };
                let event_log = parts.event_log.take();
                Ok(Self { accelerators, event_log, parts: Some(parts), ..of_cpu(platform, cpu) })
            }
            EvidenceKind::SnpReport(report) => {
                Ok(of_cpu("sev-snp", CpuEvidence::SnpReport(report)))
            }
            EvidenceKind::TdxQuote(quote) => Ok(of_cpu("tdx", CpuEvidence::TdxQuote(quote))),
            EvidenceKind::NvidiaJson => {
                let devices = parse_devices(bytes).map_err(malformed)?;
                Ok(Self::of_devices(devices, expectation))
            }
            EvidenceKind::NvidiaReport(report) => {
                let report = GpuReport::parse(&report).map_err(malformed)?;
                Ok(Self::of_devices(vec![DeviceEvidence::of_report(report)], expectation))
            }
            EvidenceKind::AzureHcl(report) => {
                of_azure(AzureEvidence::of_report(&report).map_err(malformed)?)
            }
            EvidenceKind::AzureJson => {
                of_azure(AzureEvidence::parse_json(bytes).map_err(malformed)?)
            }
            EvidenceKind::Foreign(platform) => Err(not_supported(platform)),
            _ => Err(not_supported("unknown")),
        }
    }
}

/// Authentic accelerators, and when what they rest on ends.
#[derive(Default)]
struct Devices {
    authentic: Vec<AuthenticDevice>,
    horizon: Horizon,
}

/// One appraisal on its way.
struct Appraisal<'a> {
    policy: &'a Policy,
    chains: &'a ChainCache,
    now: UnixTime,
    platform: &'static str,
    findings: Vec<Finding>,
}

impl<'a> Appraisal<'a> {
    fn new(policy: &'a Policy, chains: &'a ChainCache, now: UnixTime) -> Self {
        let mut findings = Vec::new();
        if policy.anchors() == AnchorKind::Untrusted {
            findings.push(Finding::warn(
                Code::UntrustedAnchors,
                "the policy brings its own roots: whoever holds their keys can make any evidence",
            ));
        }
        Self { policy, chains, now, platform: "unknown", findings }
    }

    fn run(
        mut self,
        presented: Presented,
        given: &Endorsements,
        expectation: &Expectation,
    ) -> Result<AttestationResult, Refused> {
        let Presented { platform, cpu, accelerators, mut azure, event_log, parts } = presented;
        self.platform = platform;
        let none = Endorsements::new();
        let of_azure = azure.as_mut().map(|azure| core::mem::take(&mut azure.endorsements));
        let of_bundle = parts.as_ref().map(|parts| &parts.endorsements);
        let carried = of_bundle.or(of_azure.as_ref()).unwrap_or(&none);
        let context = Context {
            policy: self.policy,
            endorsements: [given, carried],
            chains: self.chains,
            now: self.now,
        };
        // There is no CPU that what was found so far could be about.
        let first = if platform == "nvidia-switch" { "switch0" } else { "gpu0" };
        for finding in self.findings.iter_mut().filter(|_| cpu.is_none()) {
            finding.component = first.into();
        }
        let mut authentic = None;
        if let Some(cpu) = &cpu {
            match authenticate::cpu(cpu, context, &mut self.findings) {
                Ok(Some(found)) => authentic = Some(found),
                Ok(None) => appraise::not_evaluated(cpu, parts.is_some(), &mut self.findings),
                Err(finding) => return self.refuse(*finding),
            }
        }
        if cpu.is_none() && event_log.is_some() {
            let message =
                "an event log was given, and there is no CPU's evidence that it could be of";
            self.findings.push(Finding::reject(Code::EventLogNotApplicable, message));
        }
        let mut devices = Devices::default();
        let has_gpus = accelerators.as_ref().is_some_and(Accelerators::has_gpus);
        if let Some(accelerators) = accelerators {
            devices = self.accelerators(accelerators, context);
        }
        // Without a CPU it is some other devices that somebody asks about.
        if cpu.is_some() && self.policy.nvidia_gpu.is_some() && !has_gpus {
            let message = "the policy demands GPUs, and the evidence has none";
            self.findings.push(Finding::reject(Code::AcceleratorsMissing, message).of_bundle());
        }
        if cpu.is_none() {
            bind::check_accelerators(first, expectation, self.policy, &mut self.findings);
        }
        let mut bound = None;
        let mut models = Vec::new();
        let mut horizon = Horizon::default();
        let mut of_azure = None;
        if let Some(authentic) = &authentic {
            match azure {
                Some(azure) => of_azure = self.azure(azure, authentic, expectation),
                None => bound = self.bind(authentic, parts, expectation),
            }
            horizon = appraise::hardware(authentic, self.policy, self.now, &mut self.findings);
            appraise::event_log(authentic, event_log.as_deref(), self.policy, &mut self.findings);
        }
        if let Some(bound) = &bound {
            models = appraise::workload(bound, self.policy, &mut self.findings);
        }
        if let Some(authentic) = &authentic {
            horizon.extend(authentic.claims().horizon().clone());
        }
        horizon.extend(devices.horizon);
        let binding = bound.as_ref().map(Binding::of);
        let said = Said { cpu: authentic, azure: of_azure, devices: devices.authentic, binding };
        self.conclude(said, bound, models, horizon)
    }

    /// Judges what Azure's paravisor and its TPM say, from the hardware's word for it on.
    fn azure(
        &mut self,
        evidence: AzureEvidence,
        hardware: &Authentic,
        expectation: &Expectation,
    ) -> Option<AuthenticAzure> {
        let (policy, findings) = (self.policy, &mut self.findings);
        let Some(section) = &policy.azure else {
            let message = "the policy has no section for azure";
            findings.push(Finding::reject(Code::PlatformNotAllowed, message));
            return None;
        };
        let authentic = authenticate::azure::authenticate(evidence, hardware, findings);
        if let Some(azure) = &authentic {
            bind::azure::check(azure, expectation, policy, findings);
            appraise::azure::judge(azure, section, findings);
        } else {
            appraise::azure_not_evaluated(findings);
        }
        appraise::not_bound(findings);
        authentic
    }

    /// Judges accelerators, beside a CPU or alone.
    fn accelerators(&mut self, accelerators: Accelerators, context: Context<'_>) -> Devices {
        let Accelerators { devices, asked } = accelerators;
        let presented = appraise::nvidia::Presented::of(&devices);
        let (authentic, mut horizon) =
            nvidia::authenticate(devices, &asked, context, &mut self.findings);
        appraise::nvidia::not_evaluated(&authentic, presented, &mut self.findings);
        let findings = &mut self.findings;
        let judged_by =
            appraise::nvidia::judge(&authentic, presented, self.policy, self.now, findings);
        horizon.extend(judged_by);
        Devices { authentic, horizon }
    }

    /// What the hardware vouches for; nothing where a check of it fails, or where there is nothing.
    fn bind(
        &mut self,
        authentic: &Authentic,
        parts: Option<Parts>,
        expectation: &Expectation,
    ) -> Option<Bound> {
        let (policy, findings) = (self.policy, &mut self.findings);
        let bound = if let Some(parts) = parts {
            bind::bind(authentic, parts, expectation, policy, self.now, findings)
        } else {
            // Even where its 64 bytes are those stated, it says nothing of what runs on it.
            bind::check_raw(authentic, expectation, policy, findings);
            None
        };
        if bound.is_none() {
            appraise::not_bound(findings);
        }
        bound
    }

    /// The verdict, and, with an acceptance alone, the keys.
    fn conclude(
        self,
        said: Said,
        bound: Option<Bound>,
        models: Vec<String>,
        mut horizon: Horizon,
    ) -> Result<AttestationResult, Refused> {
        let policy = self.policy;
        let numbers = said.cpu.as_ref().map(|authentic| authentic.claims().numbers());
        if let Some(bound) = &bound {
            horizon.add_of(BUNDLE, "statement", bound.statement.not_after);
        }
        let latest = self.now.saturating_add(policy.max_age);
        let not_after = horizon.first().map_or(latest, |first| first.min(latest));
        let mut report = self.report();
        report.claims = said.into();
        report.horizon = horizon.sorted();
        if report.verdict != Verdict::Accepted {
            return Err(Refused { report: Box::new(report) });
        }
        report.not_after = Some(not_after);
        let keys = bound.map(|bound| AttestedKeys {
            sealing: Attested::new(bound.sealing, not_after),
            receipts: Attested::new(bound.receipts, not_after),
            manifest: Attested::new(bound.manifest, not_after),
            models,
            manifest_digest: bound.manifest_digest,
            binding_id: bound.binding_id,
            node_id: bound.statement.node_id,
        });
        Ok(AttestationResult {
            report,
            keys,
            not_after,
            policy_version: policy.version(),
            crl_numbers: numbers.unwrap_or_default(),
        })
    }

    fn refuse(mut self, finding: Finding) -> Result<AttestationResult, Refused> {
        self.findings.push(finding);
        Err(self.refused())
    }

    fn refused(self) -> Refused {
        Refused { report: Box::new(self.report()) }
    }

    fn report(self) -> Report {
        let Self { policy, chains: _, now, platform, findings } = self;
        let mut findings: Vec<_> =
            findings.into_iter().map(|finding| finding.of_platform(platform)).collect();
        findings.sort_by_key(|finding| (finding.severity, Reverse(Verdict::due_to(finding))));
        Report {
            verdict: Verdict::of(&findings),
            platform,
            findings,
            claims: ClaimsSet::default(),
            appraised_at: now,
            not_after: None,
            policy: policy.id().clone(),
            anchors: policy.anchors(),
            horizon: Horizon::default(),
        }
    }
}
