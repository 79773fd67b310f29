//! The wire between an enclave and a platform service on a unix socket, such as the simulated one.
//!
//! Both directions are frames: a 32-bit big-endian length, then that many bytes. A connection
//! carries one request and one response.
//!
//! | request | bytes | | response | bytes |
//! |---|---|---|---|---|
//! | version, 2 | 1 | | version, 2 | 1 |
//! | kind, 1: report, 2: accelerators | 1 | | status, 0: evidence, 1: busy, 2: refused | 1 |
//! | `REPORT_DATA`, or the accelerators' nonce | 64, 32 | | platform, 1: SEV-SNP, 2: TDX, 3: accelerators | 1 |
//! | | | | report, quote or the accelerators' JSON behind its 32-bit length | |
//! | | | | event log behind its 32-bit length; empty but for TDX | |
//! | | | | endorsements in PEM behind their 32-bit length; may be empty | |
//!
//! A response of another status ends after it. The socket's peer is as untrusted as a hypervisor.

use crate::binding::ReportData;
use crate::bytes::{Malformed, Reader, Writer};
use crate::digest::{Digest, Sha256};
use crate::endorsements::Endorsements;
use crate::evidence::{CpuEvidence, CpuPlatform};

/// Longest frame: a quote with its log and its vendor's word, or a dozen devices, are far under it.
pub const FRAME_LEN_MAX: usize = 1 << 20;
/// Longest report: what Linux allows for `outblob` (`TSM_OUTBLOB_MAX`).
pub const REPORT_LEN_MAX: usize = 32 << 10;
/// Longest event log; Linux shows the whole area of it, which firmware makes 64 KiB long.
pub const EVENT_LOG_LEN_MAX: usize = 256 << 10;
/// Longest evidence of all accelerators: eight GPUs and four switches take a quarter of it.
pub const ACCELERATORS_LEN_MAX: usize = 768 << 10;

/// What the service is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// The CPU's report over these 64 bytes.
    Report(ReportData),
    /// All accelerators' evidence over this nonce.
    Accelerators(Sha256),
}

impl Request {
    /// The framed request.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().u8(VERSION);
        let writer = match self {
            Self::Report(report_data) => writer.u8(KIND_REPORT).bytes(&report_data.0),
            Self::Accelerators(nonce) => writer.u8(KIND_ACCELERATORS).bytes(nonce.as_bytes()),
        };
        frame(&writer.finish())
    }

    /// Parses the contents of a frame, exactly.
    ///
    /// # Errors
    /// Another version or kind, or another length.
    pub fn parse(contents: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "platform request";
        Reader::read_all(WHAT, contents, |r| {
            if r.u8()? != VERSION {
                return Err(Malformed::invalid(WHAT, "has another version"));
            }
            match r.u8()? {
                KIND_REPORT => Ok(Self::Report(ReportData(r.array()?))),
                KIND_ACCELERATORS => Ok(Self::Accelerators(Digest(r.array()?))),
                _ => Err(Malformed::invalid(WHAT, "asks for another kind")),
            }
        })
    }
}

/// What the service answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// What the platform signed, and what its vendors say of the hardware.
    Evidence {
        /// What was signed.
        signed: Signed,
        /// Certificates, revocation lists and their like.
        endorsements: Box<Endorsements>,
    },
    /// Try again later.
    Busy,
    /// The service did not understand, or cannot.
    Refused,
}

/// What a platform signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signed {
    /// The CPU's report or quote.
    Cpu {
        /// Its bytes.
        cpu: CpuEvidence,
        /// The log that leads to a TDX quote's registers.
        event_log: Option<Vec<u8>>,
    },
    /// The list of all accelerators' evidence.
    Accelerators(Vec<u8>),
}

impl Response {
    /// The framed response.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().u8(VERSION);
        let writer = match self {
            Self::Evidence { signed, endorsements } => {
                let (platform, evidence, log) = match signed {
                    Signed::Cpu { cpu, event_log } => {
                        let platform = match cpu.platform {
                            CpuPlatform::SevSnp => PLATFORM_SEV_SNP,
                            CpuPlatform::Tdx => PLATFORM_TDX,
                        };
                        (platform, &cpu.bytes, event_log.as_deref().unwrap_or_default())
                    }
                    Signed::Accelerators(evidence) => {
                        (PLATFORM_ACCELERATORS, evidence, [].as_slice())
                    }
                };
                let writer = writer.u8(STATUS_EVIDENCE).u8(platform);
                let pem = endorsements.to_pem();
                [evidence, log, pem.as_bytes()]
                    .iter()
                    .fold(writer, |writer, part| writer.bytes(&length(part)).bytes(part))
            }
            Self::Busy => writer.u8(STATUS_BUSY),
            Self::Refused => writer.u8(STATUS_REFUSED),
        };
        frame(&writer.finish())
    }

    /// Parses the contents of a frame, exactly.
    ///
    /// # Errors
    /// Another version, status or platform, a length past its limit, an event log beside what has
    /// none, endorsements that are none, or trailing bytes.
    pub fn parse(contents: &[u8]) -> Result<Self, Malformed> {
        Reader::read_all(RESPONSE, contents, |r| {
            if r.u8()? != VERSION {
                return Err(Malformed::invalid(RESPONSE, "has another version"));
            }
            match r.u8()? {
                STATUS_EVIDENCE => {}
                STATUS_BUSY => return Ok(Self::Busy),
                STATUS_REFUSED => return Ok(Self::Refused),
                _ => return Err(Malformed::invalid(RESPONSE, "has an unknown status")),
            }
            let platform = r.u8()?;
            let limit = match platform {
                PLATFORM_ACCELERATORS => ACCELERATORS_LEN_MAX,
                _ => REPORT_LEN_MAX,
            };
            let evidence = item(r, limit)?.to_vec();
            let log = item(r, EVENT_LOG_LEN_MAX)?;
            let event_log = (!log.is_empty()).then(|| log.to_vec());
            let signed = match platform {
                PLATFORM_TDX => Signed::Cpu { cpu: CpuEvidence::tdx(evidence), event_log },
                _ if event_log.is_some() => {
                    return Err(Malformed::invalid(RESPONSE, "has a log that nothing leads to"));
                }
                PLATFORM_SEV_SNP => Signed::Cpu { cpu: CpuEvidence::sev_snp(evidence), event_log },
                PLATFORM_ACCELERATORS => Signed::Accelerators(evidence),
                _ => return Err(Malformed::invalid(RESPONSE, "comes from another platform")),
            };
            let mut endorsements = Box::new(Endorsements::new());
            let pem = item(r, FRAME_LEN_MAX)?;
            if !pem.is_empty() {
                endorsements.add(pem)?;
            }
            Ok(Self::Evidence { signed, endorsements })
        })
    }
}

/// The length of the contents that follow this frame header.
///
/// # Errors
/// Longer than [`FRAME_LEN_MAX`].
pub fn frame_len(header: [u8; 4]) -> Result<usize, Malformed> {
    usize::try_from(u32::from_be_bytes(header))
        .ok()
        .filter(|len| *len <= FRAME_LEN_MAX)
        .ok_or(Malformed::TooLong { what: "platform frame", limit: FRAME_LEN_MAX })
}

const VERSION: u8 = 2;
const KIND_REPORT: u8 = 1;
const KIND_ACCELERATORS: u8 = 2;
const STATUS_EVIDENCE: u8 = 0;
const STATUS_BUSY: u8 = 1;
const STATUS_REFUSED: u8 = 2;
const PLATFORM_SEV_SNP: u8 = 1;
const PLATFORM_TDX: u8 = 2;
const PLATFORM_ACCELERATORS: u8 = 3;
const RESPONSE: &str = "platform response";

fn frame(contents: &[u8]) -> Vec<u8> {
    [&length(contents), contents].concat()
}

/// A length that does not fit becomes one that every reader refuses.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn item<'a>(r: &mut Reader<'a>, limit: usize) -> Result<&'a [u8], Malformed> {
    match usize::try_from(u32::from_be_bytes(r.array()?)) {
        Ok(len) if len <= limit => r.take(len),
        _ => Err(Malformed::TooLong { what: RESPONSE, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What endorsements tell from others.
    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];
    const LIST: &[u8] = &[0x30, 5, 0x30, 3, 0x02, 1, 1];

    fn contents(framed: &[u8]) -> &[u8] {
        let (header, contents) = framed.split_first_chunk::<4>().unwrap();
        assert_eq!(frame_len(*header), Ok(contents.len()));
        contents
    }

    fn evidence(signed: Signed) -> Response {
        let mut endorsements = Box::new(Endorsements::new());
        endorsements.add(CERT).unwrap();
        endorsements.add(LIST).unwrap();
        Response::Evidence { signed, endorsements }
    }

    fn cpu(cpu: CpuEvidence, event_log: Option<Vec<u8>>) -> Signed {
        Signed::Cpu { cpu, event_log }
    }

    fn snp() -> Response {
        evidence(cpu(CpuEvidence::sev_snp(vec![7; 1184]), None))
    }

    fn tdx() -> Response {
        evidence(cpu(CpuEvidence::tdx(vec![7; 5000]), Some(vec![8; 300])))
    }

    #[test]
    fn requests_and_responses_survive_the_wire() {
        for request in
            [Request::Report(ReportData([9; 64])), Request::Accelerators(Digest([9; 32]))]
        {
            assert_eq!(Request::parse(contents(&request.encode())), Ok(request));
        }
        let bare = Response::Evidence {
            signed: cpu(CpuEvidence::tdx(vec![7; 5000]), None),
            endorsements: Box::default(),
        };
        let devices = evidence(Signed::Accelerators(vec![b'['; ACCELERATORS_LEN_MAX]));
        for response in [snp(), tdx(), bare, devices, Response::Busy, Response::Refused] {
            assert_eq!(Response::parse(contents(&response.encode())), Ok(response));
        }
    }

    #[test]
    fn every_prefix_and_every_extension_is_refused() {
        for whole in [snp(), tdx()] {
            let framed = whole.encode();
            let whole = contents(&framed);
            for len in 0..whole.len() {
                assert!(Response::parse(&whole[..len]).is_err(), "{len}");
            }
            assert!(Response::parse(&[whole, &[0]].concat()).is_err());
        }
        for request in
            [Request::Report(ReportData([9; 64])), Request::Accelerators(Digest([9; 32]))]
        {
            let framed = request.encode();
            let whole = contents(&framed);
            assert!(Request::parse(&whole[..whole.len() - 1]).is_err());
            assert!(Request::parse(&[whole, &[0]].concat()).is_err());
        }
    }

    #[test]
    fn versions_kinds_and_lengths_are_checked() {
        let framed = snp().encode();
        let whole = contents(&framed);
        // The last is the first octet of the report's length.
        for (index, value) in [(0, 1), (1, 3), (2, 0), (2, 4), (3, 1)] {
            let mut bad = whole.to_vec();
            bad[index] = value;
            assert!(Response::parse(&bad).is_err(), "byte {index}");
        }
        // The event log of a TDX quote is nobody else's, and another report is not so long.
        for (of_tdx, platform) in [(tdx(), PLATFORM_SEV_SNP), (tdx(), PLATFORM_ACCELERATORS)] {
            let mut bad = contents(&of_tdx.encode()).to_vec();
            bad[2] = platform;
            assert!(Response::parse(&bad).is_err(), "platform {platform}");
        }
        let long = evidence(cpu(CpuEvidence::sev_snp(vec![7; REPORT_LEN_MAX + 1]), None));
        assert!(Response::parse(contents(&long.encode())).is_err());
        let mut no_pem = contents(&snp().encode()).to_vec();
        let end = no_pem.len() - 1;
        no_pem[end] = b'x';
        no_pem[end - 1] = b'x';
        assert!(Response::parse(&no_pem).is_err());
        for index in [0, 1] {
            let request = Request::Report(ReportData([9; 64])).encode();
            let mut bad = contents(&request).to_vec();
            bad[index] = 3;
            assert!(Request::parse(&bad).is_err(), "byte {index}");
        }
        assert!(frame_len([0, 0x10, 0, 0]).is_ok());
        assert!(frame_len([0, 0x10, 0, 1]).is_err());
    }
}
