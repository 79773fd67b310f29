use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use attestation::gpu;
use attestation::platform::{Request, Response, Signed, frame_len};
use attestation::{CpuEvidence, CpuPlatform, Endorsements, Malformed, ReportData, Sha256};

use crate::error::CollectError;
use crate::{AcceleratorEvidence, Accelerators, Attester, PlatformEvidence, quote, tsm};

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

    fn ask(&self, request: Request) -> Result<(Signed, Endorsements), CollectError> {
        match Response::parse(&self.exchange(&request.encode())?)? {
            Response::Evidence { signed, endorsements } => Ok((signed, *endorsements)),
            Response::Busy => Err(CollectError::Busy),
            Response::Refused => Err(CollectError::Refused),
        }
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
        let (signed, endorsements) = self.ask(Request::Report(*report_data))?;
        let Signed::Cpu { cpu, event_log } = signed else { return Err(OTHER) };
        let cpu = match cpu.platform {
            CpuPlatform::SevSnp => {
                tsm::check_snp_report(&cpu.bytes, report_data)?;
                cpu
            }
            CpuPlatform::Tdx => CpuEvidence::tdx(quote::exact(cpu.bytes, report_data)?),
        };
        Ok(PlatformEvidence { cpu, event_log, endorsements })
    }
}

impl Accelerators for Socket {
    fn evidence(&mut self, nonce: &Sha256) -> Result<AcceleratorEvidence, CollectError> {
        match self.ask(Request::Accelerators(*nonce))? {
            (Signed::Accelerators(evidence), endorsements) => {
                let devices = gpu::parse_devices(&evidence)?;
                if devices.iter().any(|device| device.report.nonce() != nonce.as_bytes()) {
                    return Err(CollectError::Stale);
                }
                Ok(AcceleratorEvidence { evidence, endorsements })
            }
            (Signed::Cpu { .. }, _) => Err(OTHER),
        }
    }
}

/// The service answered another question.
const OTHER: CollectError =
    CollectError::Malformed(Malformed::invalid("platform response", "is not what was asked for"));

/// A local service answers in milliseconds; this is for one that hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::{env, fs, process, thread};

    use attestation::Digest;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];

    /// Asks for a report.
    fn ask(
        name: &str,
        answer: impl FnOnce(Request) -> Vec<u8> + Send + 'static,
    ) -> Result<PlatformEvidence, CollectError> {
        serve(name, answer, |mut socket| socket.report(&ReportData([7; 64])))
    }

    /// Asks a service that reads the request and answers with these bytes.
    fn serve<T>(
        name: &str,
        answer: impl FnOnce(Request) -> Vec<u8> + Send + 'static,
        ask: impl FnOnce(Socket) -> T,
    ) -> T {
        let path = env::temp_dir().join(format!("veritee-socket-{}-{name}", process::id()));
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let service = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut header = [0; 4];
            stream.read_exact(&mut header).unwrap();
            let mut request = vec![0; frame_len(header).unwrap()];
            stream.read_exact(&mut request).unwrap();
            let answer = answer(Request::parse(&request).unwrap());
            stream.write_all(&answer).unwrap();
        });
        let result = ask(Socket::new(&path));
        service.join().unwrap();
        fs::remove_file(path).unwrap();
        result
    }

    fn respond(signed: Signed) -> Vec<u8> {
        let mut endorsements = Box::new(Endorsements::new());
        endorsements.add(CERT).unwrap();
        Response::Evidence { signed, endorsements }.encode()
    }

    fn asked(request: Request) -> [u8; 64] {
        let Request::Report(report_data) = request else { panic!("it asks for a report") };
        report_data.0
    }

    fn evidence(report_data: [u8; 64]) -> Vec<u8> {
        let mut report = vec![0; 1184];
        report[0] = 3;
        report[0x50..0x90].copy_from_slice(&report_data);
        respond(Signed::Cpu { cpu: CpuEvidence::sev_snp(report), event_log: None })
    }

    fn tdx(report_data: [u8; 64]) -> Vec<u8> {
        let padded = [quote::tests::quote(&report_data), vec![0; 99]].concat();
        respond(Signed::Cpu { cpu: CpuEvidence::tdx(padded), event_log: Some(vec![5; 9]) })
    }

    #[test]
    fn evidence_comes_through() {
        let evidence = ask("good", |request| evidence(asked(request))).unwrap();
        assert_eq!(evidence.cpu.platform, CpuPlatform::SevSnp);
        assert_eq!(evidence.cpu.bytes[0x50..0x90], [7; 64]);
        assert_eq!(evidence.endorsements.certificates(), [CERT]);

        let evidence = ask("tdx", |request| tdx(asked(request))).unwrap();
        assert_eq!(evidence.cpu, CpuEvidence::tdx(quote::tests::quote(&[7; 64])));
        assert_eq!(evidence.event_log, Some(vec![5; 9]));
    }

    #[test]
    fn accelerators_answer_the_nonce() {
        let answer = |request| {
            let Request::Accelerators(nonce) = request else { panic!("it asks for devices") };
            respond(Signed::Accelerators(device(nonce.0)))
        };
        let nonce = Digest([7; 32]);
        let devices = serve("devices", answer, |mut socket| socket.evidence(&nonce)).unwrap();
        assert_eq!(devices.evidence, device([7; 32]));
        assert_eq!(devices.endorsements.certificates(), [CERT]);
        let refused = serve(
            "no-devices",
            |_| Response::Refused.encode(),
            |mut socket| socket.evidence(&nonce),
        );
        assert_eq!(refused, Err(CollectError::Refused));
        let stale = |_| respond(Signed::Accelerators(device([8; 32])));
        let stale = serve("old-devices", stale, |mut socket| socket.evidence(&nonce));
        assert_eq!(stale, Err(CollectError::Stale));
    }

    /// One device whose report has a nonce and nothing else.
    fn device(nonce: [u8; 32]) -> Vec<u8> {
        let request = [&[0x11, 0xe0, 1, 0xff][..], &nonce, &[0]].concat();
        let report = [&request[..], &[0x11, 0x60], &[0; 6], &[0; 32 + 2 + 96]].concat();
        let report = STANDARD.encode(report);
        format!("[{{\"evidence\":\"{report}\",\"certificate\":\"\"}}]").into_bytes()
    }

    #[test]
    fn an_answer_to_the_other_question_is_refused() {
        let devices = ask("other", |_| respond(Signed::Accelerators(vec![1])));
        assert_eq!(devices, Err(OTHER));
        let nonce = Digest([7; 32]);
        let report = serve("other-2", |_| evidence([7; 64]), |mut socket| socket.evidence(&nonce));
        assert_eq!(report, Err(OTHER));
    }

    #[test]
    fn a_service_that_lies_or_stops_is_an_error() {
        assert_eq!(ask("stale", |_| evidence([0; 64])), Err(CollectError::Stale));
        assert_eq!(ask("stale-tdx", |_| tdx([0; 64])), Err(CollectError::Stale));
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
