//! A host as its guest sees it: a CPU that signs, and the accelerators beside it.

use attestation::platform::{Request, Response, Signed};
use attestation::{CpuEvidence, Endorsements, ReportData};

use crate::error::SimError;
use crate::platform::SimulatedPlatform;
use crate::replay::{Devices, TdxHost};

/// A simulated host with one guest.
#[derive(Debug)]
pub struct Machine {
    /// The CPU.
    pub cpu: Cpu,
    /// The accelerators that the guest uses, if it has any.
    pub devices: Option<Devices>,
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
