use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use attestation::ReportData;
use attestation::platform::{Request, Response, frame_len};

use crate::error::CollectError;
use crate::{Attester, Platform, PlatformEvidence, tsm};

/// A platform service on a unix socket, such as the simulated platform
/// ([`attestation::platform`] has the wire).
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    timeout: Duration,
}

impl Socket {
    /// The service at `path`; every read and write ends after ten seconds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), timeout: TIMEOUT }
    }

    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, CollectError> {
        let absent = CollectError::open("the platform socket");
        let mut stream = UnixStream::connect(&self.path).map_err(absent)?;
        let failed = || CollectError::io("talking to the platform socket");
        stream.set_read_timeout(Some(self.timeout)).map_err(failed())?;
        stream.set_write_timeout(Some(self.timeout)).map_err(failed())?;
        stream.write_all(request).map_err(failed())?;
        let mut header = [0; 4];
        stream.read_exact(&mut header).map_err(failed())?;
        let mut contents = vec![0; frame_len(header)?];
        stream.read_exact(&mut contents).map_err(failed())?;
        Ok(contents)
    }
}

impl Attester for Socket {
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
        let contents = self.exchange(&Request { report_data: *report_data }.encode())?;
        match Response::parse(&contents)? {
            Response::SevSnp { report, endorsements } => {
                tsm::check_snp_report(&report, report_data)?;
                Ok(PlatformEvidence { platform: Platform::SevSnp, report, endorsements })
            }
            Response::Busy => Err(CollectError::Busy),
            Response::Refused => Err(CollectError::Refused),
        }
    }
}

/// A local service answers in milliseconds; this is for one that hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
