//! A host as its guest sees it: a CPU that signs, and the accelerators beside it.

use attestation::platform::{Request, Response, Signed};
use attestation::{CpuEvidence, Digest, Endorsements, ReportData};

use crate::error::SimError;
use crate::pki::{Pki, bundle};
use crate::platform::SimulatedPlatform;
use crate::policy::Section;
use crate::replay::{Devices, TdxHost};

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
        let files = vec![(section.anchor.to_owned(), root)];
        Ok(Self { machine: host.into(), sections: vec![section], files })
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
