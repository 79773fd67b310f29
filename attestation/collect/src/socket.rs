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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::{env, fs, process, thread};

    use attestation::Endorsements;

    use super::*;

    /// Asks a service that reads the request and answers with these bytes.
    fn ask(
        name: &str,
        answer: impl FnOnce(Request) -> Vec<u8> + Send + 'static,
    ) -> Result<PlatformEvidence, CollectError> {
        let path = env::temp_dir().join(format!("veritee-socket-{}-{name}", process::id()));
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let service = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 70];
            stream.read_exact(&mut request).unwrap();
            let answer = answer(Request::parse(&request[4..]).unwrap());
            stream.write_all(&answer).unwrap();
        });
        let result = Socket::new(&path).report(&ReportData([7; 64]));
        service.join().unwrap();
        fs::remove_file(path).unwrap();
        result
    }

    fn evidence(report_data: [u8; 64]) -> Vec<u8> {
        let mut report = vec![0; 1184];
        report[0] = 3;
        report[0x50..0x90].copy_from_slice(&report_data);
        let mut endorsements = Endorsements::new();
        endorsements.add_certificate(&[1, 2, 3]).unwrap();
        Response::SevSnp { report, endorsements }.encode()
    }

    #[test]
    fn evidence_comes_through() {
        let evidence = ask("good", |request| evidence(request.report_data.0)).unwrap();
        assert_eq!(evidence.report[0x50..0x90], [7; 64]);
        assert_eq!(evidence.endorsements.certificates(), [vec![1, 2, 3]]);
    }

    #[test]
    fn a_service_that_lies_or_stops_is_an_error() {
        assert_eq!(ask("stale", |_| evidence([0; 64])), Err(CollectError::Stale));
        assert_eq!(ask("busy", |_| Response::Busy.encode()), Err(CollectError::Busy));
        assert_eq!(ask("refused", |_| Response::Refused.encode()), Err(CollectError::Refused));
        let code = |result: Result<_, CollectError>| result.unwrap_err().code();
        assert_eq!(code(ask("long", |_| vec![0xff; 4])), "platform-malformed");
        assert_eq!(code(ask("garbage", |_| vec![0, 0, 0, 1, 9])), "platform-malformed");
        assert_eq!(code(ask("cut", |_| vec![0, 0, 0, 9, 1])), "platform-io");
        assert_eq!(code(ask("silent", |_| Vec::new())), "platform-io");
    }

    #[test]
    fn without_its_socket_the_platform_is_absent() {
        let result = Socket::new("/nonexistent/platform.sock").report(&ReportData([7; 64]));
        assert_eq!(result.unwrap_err().code(), "platform-absent");
    }
}
