use attestation::{CpuEvidence, Endorsements, ReportData};
use sev::firmware::guest::Firmware;

use crate::error::CollectError;
use crate::{Attester, PlatformEvidence, tsm};

/// SEV-SNP guests by `/dev/sev-guest`, for kernels before 6.7, which have no configfs-tsm.
///
/// The plain request only: the extended one has the host's certificate table parsed in place
/// behind a raw pointer, unbounded, and the host is not trusted. Endorsements come another way.
#[derive(Debug)]
pub struct SevGuest {
    firmware: Firmware,
    vmpl: u32,
}

impl SevGuest {
    /// Opens the device, to ask as privilege level `vmpl`.
    pub fn open(vmpl: u32) -> Result<Self, CollectError> {
        let firmware = Firmware::open().map_err(CollectError::open("/dev/sev-guest"))?;
        Ok(Self { firmware, vmpl })
    }
}

impl Attester for SevGuest {
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
        let report = self
            .firmware
            .get_report(None, Some(report_data.0), Some(self.vmpl))
            .map_err(|_| CollectError::Refused)?;
        tsm::check_snp_report(&report, report_data)?;
        Ok(PlatformEvidence {
            cpu: CpuEvidence::sev_snp(report),
            event_log: None,
            endorsements: Endorsements::new(),
        })
    }
}
