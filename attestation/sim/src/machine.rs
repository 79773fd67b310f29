//! A host as its guest sees it: a CPU that signs, and the accelerators beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use attestation::platform::{Request, Response, Signed};
use attestation::{CpuEvidence, Digest, Endorsements, Malformed, ReportData, Sha384};

use crate::certificate::Validity;
use crate::error::SimError;
use crate::keys::P256Key;
use crate::nvidia::{self, DeviceRecipe, NvidiaPki, OcspRecipe};
use crate::pki::{Pki, bundle};
use crate::platform::SimulatedPlatform;
use crate::policy::Section;
use crate::replay::{Devices, TdxHost};
use crate::tdx::{Collateral, EventLogRecipe, IntelPki, PckPlatform, QuoteRecipe, TdReportRecipe};

/// A simulated host with one guest.
#[derive(Debug)]
pub struct Machine {
    /// The CPU.
    pub cpu: Cpu,
    /// The accelerators that the guest uses, if it has any.
    pub devices: Option<Devices>,
}

/// A machine, and what makes a policy accept it.
#[derive(Debug)]
pub struct Made {
    /// The machine.
    pub machine: Machine,
    /// The policy's sections.
    pub sections: Vec<Section>,
    /// The files that they name, beside the policy.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Made {
    /// Of a SEV-SNP host whose vendor is `pki`.
    pub fn sev_snp(pki: &Pki, host: SimulatedPlatform) -> Result<Self, SimError> {
        let measurement = Digest(host.template.measurement).to_string();
        let section = Section::sev_snp(pki.options().product, &measurement);
        let root = bundle(&[pki.ark()], &[])?.to_pem().into_bytes();
        let files = section.anchor.iter().map(|anchor| (anchor.clone(), root.clone())).collect();
        Ok(Self { machine: host.into(), sections: vec![section], files })
    }

    /// Of a TDX host whose vendor is `pki`, with a TD that has this measurement and logs its boot.
    pub fn tdx(pki: &IntelPki, measurement: &Sha384, crl_number: u64) -> Result<Self, SimError> {
        let log = EventLogRecipe::boot(measurement.as_bytes());
        let refused = |malformed: Malformed| SimError::Argument(malformed.to_string());
        let rtmr = log.registers().map_err(refused)?;
        let recipe = QuoteRecipe::healthy(TdReportRecipe::healthy(measurement.0, rtmr));
        let platform = PckPlatform::default();
        let collateral = Collateral::up_to_date(pki.validity(), &platform, &recipe);
        let endorsements = pki.endorse(&collateral, crl_number)?;
        let template = pki.quote(&recipe, &platform, &ReportData([0; 64]))?;
        let key = P256Key::from_pkcs8(pki.keys().attestation_pkcs8()?.expose())?;
        let host = TdxHost::new(template, key, Some(log.encode()), endorsements)?;
        let section = Section::tdx(&measurement.0, &rtmr);
        let root = bundle(&[pki.root()], &[])?.to_pem().into_bytes();
        let files = section.anchor.iter().map(|anchor| (anchor.clone(), root.clone())).collect();
        let machine = Machine { cpu: Cpu::Tdx(Box::new(host)), devices: None };
        Ok(Self { machine, sections: vec![section], files })
    }
}

/// A PKI's name for the file of its root.
const NVIDIA_ROOT: &str = "nvidia-root.pem";

impl Made {
    /// The same with GPUs, and with switches that tie them into one fabric, whose vendor is `pki`. What is said of
    /// revocation holds as long as the PKI.
    pub fn with_devices(
        mut self,
        pki: &Arc<NvidiaPki>,
        gpus: u8,
        switches: u8,
    ) -> Result<Self, SimError> {
        let recipes =
            |count: u8, make: fn(&Arc<NvidiaPki>, u8) -> Result<DeviceRecipe, SimError>| {
                (0..count).map(|number| make(pki, number)).collect::<Result<Vec<_>, _>>()
            };
        let mut all = recipes(gpus, DeviceRecipe::hopper)?;
        let mut between = recipes(switches, DeviceRecipe::switch)?;
        if switches > 0 {
            nvidia::connect(&mut all, &mut between);
        }
        all.append(&mut between);

        let refused = |malformed: Malformed| SimError::Argument(malformed.to_string());
        let mut endorsements = Endorsements::new();
        let mut said = BTreeSet::new();
        let (mut values, mut names) = (Vec::new(), [Vec::new(), Vec::new()]);
        for device in &all {
            for place in 1..=3 {
                let Validity { not_before, not_after } = pki.validity;
                let mut ocsp = OcspRecipe::about(device, place, not_before);
                ocsp.produced = not_before;
                for answer in &mut ocsp.answers {
                    (answer.this_update, answer.next_update) = (not_before, Some(not_after));
                }
                let about = ocsp
                    .answers
                    .iter()
                    .map(|answer| (answer.issuer.encode(), answer.serial.clone()));
                // Devices of one kind share their authorities.
                if said.insert(about.collect::<Vec<_>>()) {
                    endorsements.add(&ocsp.sign(device)?).map_err(refused)?;
                }
            }
            let [of_gpus, of_switches] = &mut names;
            let names = if device.architecture.is_switch() { of_switches } else { of_gpus };
            for reference in device.reference_values() {
                if !values.contains(&reference) {
                    let name = format!("{}.json", reference.id);
                    let json = serde_json::to_vec_pretty(&reference)
                        .map_err(|_| SimError::Crypto("writing reference values"))?;
                    names.push(name.clone());
                    self.files.push((name, json));
                    values.push(reference);
                }
            }
        }
        let root = bundle(&[pki.root()], &[])?.to_pem().into_bytes();
        self.files.push((NVIDIA_ROOT.to_owned(), root));
        let [of_gpus, of_switches] = names;
        self.sections.push(Section::devices("nvidia-gpu", Some(NVIDIA_ROOT), gpus, &of_gpus));
        if switches > 0 {
            self.sections.push(Section::devices("nvidia-switch", None, switches, &of_switches));
        }
        let all = all.into_iter().map(DeviceRecipe::into_device).collect::<Result<_, _>>()?;
        self.machine.devices = Some(Devices { all, endorsements });
        Ok(self)
    }
}

/// The CPU of a simulated host.
#[derive(Debug)]
pub enum Cpu {
    /// AMD SEV-SNP.
    SevSnp(Box<SimulatedPlatform>),
    /// Intel TDX.
    Tdx(Box<TdxHost>),
}

impl Cpu {
    /// What it signs over `report_data`, and the log that leads to it.
    pub fn sign(
        &self,
        report_data: &ReportData,
    ) -> Result<(CpuEvidence, Option<Vec<u8>>), SimError> {
        match self {
            Self::SevSnp(host) => Ok((CpuEvidence::sev_snp(host.report(report_data)?), None)),
            Self::Tdx(host) => {
                Ok((CpuEvidence::tdx(host.quote(report_data)?), host.event_log.clone()))
            }
        }
    }

    /// What its vendor says of it.
    pub fn endorsements(&self) -> &Endorsements {
        match self {
            Self::SevSnp(host) => &host.endorsements,
            Self::Tdx(host) => &host.endorsements,
        }
    }
}

impl Machine {
    /// Answers the guest, in the wire of [`attestation::platform`].
    pub fn answer(&self, request: &Request) -> Response {
        let signed = match request {
            Request::Report(report_data) => self.cpu.sign(report_data).ok().map(|signed| {
                let (cpu, event_log) = signed;
                (Signed::Cpu { cpu, event_log }, self.cpu.endorsements())
            }),
            Request::Accelerators(nonce) => self.devices.as_ref().and_then(|devices| {
                let evidence = devices.evidence(nonce).ok()?;
                Some((Signed::Accelerators(evidence), &devices.endorsements))
            }),
        };
        match signed {
            Some((signed, endorsements)) => {
                Response::Evidence { signed, endorsements: Box::new(endorsements.clone()) }
            }
            None => Response::Refused,
        }
    }
}

impl From<SimulatedPlatform> for Machine {
    fn from(host: SimulatedPlatform) -> Self {
        Self { cpu: Cpu::SevSnp(Box::new(host)), devices: None }
    }
}
