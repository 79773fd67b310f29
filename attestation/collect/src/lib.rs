//! Asks the platform for evidence: the only crate that talks to the hardware, or to what plays it.
//!
//! An [`Attester`] is one way to ask the CPU: [`Tsm`] is Linux's configfs-tsm, of SEV-SNP and of TDX,
//! [`SevGuest`] the older device of SEV-SNP guests, [`Socket`] a platform service on a unix socket.
//! They block, so a [`Collector`] runs one on a thread of its own and hands out what it says: one
//! report in flight, challenges batched, rotation first (`docs/protocol.md` §5.2).
//!
//! [`Accelerators`] are asked once per epoch, through [`Devices`]. The one way to them so far is
//! [`Socket`]: a service in the same guest that asks NVIDIA's driver (NVML). Asking the driver in
//! this process is planned, and not built.
#![forbid(unsafe_code)]

mod devices;
mod error;
#[cfg(target_os = "linux")]
mod guest;
mod queue;
mod quote;
mod socket;
mod tsm;

use attestation::{CpuEvidence, Endorsements, ReportData};

pub use devices::{AcceleratorEvidence, Accelerators, Devices};
pub use error::CollectError;
#[cfg(target_os = "linux")]
pub use guest::SevGuest;
pub use queue::{Collected, Collector, Limits};
pub use socket::Socket;
pub use tsm::{CCEL, TSM_ROOT, Tsm};

/// One way to ask the platform. Calls block, for seconds when the host is busy.
pub trait Attester: Send {
    /// Has the platform sign `report_data`.
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError>;
}

/// Any function of report data attests: tests play a platform this way.
impl<F> Attester for F
where
    F: FnMut(&ReportData) -> Result<PlatformEvidence, CollectError> + Send,
{
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
        self(report_data)
    }
}

/// What a platform signed, and what its vendor says of the hardware; raw, judged by nobody yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlatformEvidence {
    /// The report or quote, exactly.
    pub cpu: CpuEvidence,
    /// The log that leads to a TDX quote's registers, where the platform has one.
    pub event_log: Option<Vec<u8>>,
    /// Certificates and revocation lists that came with it; often none.
    pub endorsements: Endorsements,
}
