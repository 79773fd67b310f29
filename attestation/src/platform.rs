//! The wire between an enclave and a platform service on a unix socket, such as the simulated one.
//!
//! Both directions are frames: a 32-bit big-endian length, then that many bytes. A connection
//! carries one request and one response.
//!
//! | request | bytes | | response | bytes |
//! |---|---|---|---|---|
//! | version, 1 | 1 | | version, 1 | 1 |
//! | kind, 1: report | 1 | | status, 0: evidence, 1: busy, 2: refused | 1 |
//! | `REPORT_DATA` | 64 | | platform, 1: SEV-SNP | 1 |
//! | | | | report behind its 32-bit length | |
//! | | | | count of certificates, each behind its 32-bit length | 1 + |
//! | | | | count of revocation lists, each behind its 32-bit length | 1 + |
//!
//! A response of another status ends after it. The socket's peer is as untrusted as a hypervisor.

use crate::binding::ReportData;
use crate::bytes::{Malformed, Reader, Writer};
use crate::endorsements::{Endorsements, ITEM_LEN_MAX};

/// Longest frame: a report and a chain with its lists are far under it.
pub const FRAME_LEN_MAX: usize = 1 << 20;
/// Longest report: what Linux allows for `outblob` (`TSM_OUTBLOB_MAX`).
pub const REPORT_LEN_MAX: usize = 32 << 10;

/// Asks for a report over 64 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// What the platform signs.
    pub report_data: ReportData,
}

impl Request {
    /// The framed request.
    pub fn encode(&self) -> Vec<u8> {
        frame(&Writer::new().u8(VERSION).u8(KIND_REPORT).bytes(&self.report_data.0).finish())
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
            if r.u8()? != KIND_REPORT {
                return Err(Malformed::invalid(WHAT, "asks for another kind"));
            }
            Ok(Self { report_data: ReportData(r.array()?) })
        })
    }
}

/// What the service answers.
#[expect(clippy::large_enum_variant, reason = "one is made for a request, and moved twice")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// A SEV-SNP report and what its vendor says of the hardware.
    SevSnp {
        /// The raw report.
        report: Vec<u8>,
        /// Certificates and revocation lists.
        endorsements: Endorsements,
    },
    /// Try again later.
    Busy,
    /// The service did not understand, or cannot.
    Refused,
}

impl Response {
    /// The framed response.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new().u8(VERSION);
        let writer = match self {
            Self::SevSnp { report, endorsements } => {
                let writer = writer.u8(STATUS_EVIDENCE).u8(PLATFORM_SEV_SNP);
                let writer = writer.bytes(&length(report)).bytes(report);
                items(items(writer, endorsements.certificates()), endorsements.crls())
            }
            Self::Busy => writer.u8(STATUS_BUSY),
            Self::Refused => writer.u8(STATUS_REFUSED),
        };
        frame(&writer.finish())
    }

    /// Parses the contents of a frame, exactly.
    ///
    /// # Errors
    /// Another version, status or platform, a length past its limit, or trailing bytes.
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
            if r.u8()? != PLATFORM_SEV_SNP {
                return Err(Malformed::invalid(RESPONSE, "comes from another platform"));
            }
            let report = item(r, REPORT_LEN_MAX)?.to_vec();
            let mut endorsements = Endorsements::new();
            for _ in 0..r.u8()? {
                endorsements.add_certificate(item(r, ITEM_LEN_MAX)?)?;
            }
            for _ in 0..r.u8()? {
                endorsements.add_crl(item(r, ITEM_LEN_MAX)?)?;
            }
            Ok(Self::SevSnp { report, endorsements })
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

const VERSION: u8 = 1;
const KIND_REPORT: u8 = 1;
const STATUS_EVIDENCE: u8 = 0;
const STATUS_BUSY: u8 = 1;
const STATUS_REFUSED: u8 = 2;
const PLATFORM_SEV_SNP: u8 = 1;
const RESPONSE: &str = "platform response";

fn frame(contents: &[u8]) -> Vec<u8> {
    [&length(contents), contents].concat()
}

/// A length that does not fit becomes one that every reader refuses.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// [`Endorsements`] holds at most 64 items, so the count fits its byte.
fn items(writer: Writer, list: &[Vec<u8>]) -> Writer {
    let writer = writer.u8(u8::try_from(list.len()).unwrap_or(u8::MAX));
    list.iter().fold(writer, |writer, der| writer.bytes(&length(der)).bytes(der))
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

    fn contents(framed: &[u8]) -> &[u8] {
        let (header, contents) = framed.split_first_chunk::<4>().unwrap();
        assert_eq!(frame_len(*header), Ok(contents.len()));
        contents
    }

    fn evidence() -> Response {
        let mut endorsements = Endorsements::new();
        endorsements.add_certificate(&[1, 2, 3]).unwrap();
        endorsements.add_certificate(&[4]).unwrap();
        endorsements.add_crl(&[5; 300]).unwrap();
        Response::SevSnp { report: vec![7; 1184], endorsements }
    }

    #[test]
    fn requests_and_responses_survive_the_wire() {
        let request = Request { report_data: ReportData([9; 64]) };
        assert_eq!(Request::parse(contents(&request.encode())), Ok(request));
        for response in [evidence(), Response::Busy, Response::Refused] {
            assert_eq!(Response::parse(contents(&response.encode())), Ok(response));
        }
    }

    #[test]
    fn every_prefix_and_every_extension_is_refused() {
        let framed = evidence().encode();
        let whole = contents(&framed);
        for len in 0..whole.len() {
            assert!(Response::parse(&whole[..len]).is_err(), "{len}");
        }
        assert!(Response::parse(&[whole, &[0]].concat()).is_err());
        let request = Request { report_data: ReportData([9; 64]) }.encode();
        assert!(Request::parse(&contents(&request)[..65]).is_err());
        assert!(Request::parse(&[contents(&request), &[0]].concat()).is_err());
    }

    #[test]
    fn versions_kinds_and_lengths_are_checked() {
        let framed = evidence().encode();
        let whole = contents(&framed);
        for (index, value) in [(0, 2), (1, 3), (2, 2), (3, 1)] {
            let mut bad = whole.to_vec();
            bad[index] = value;
            assert!(Response::parse(&bad).is_err(), "byte {index}");
        }
        for index in [0, 1] {
            let request = Request { report_data: ReportData([9; 64]) }.encode();
            let mut bad = contents(&request).to_vec();
            bad[index] = 2;
            assert!(Request::parse(&bad).is_err(), "byte {index}");
        }
        assert!(frame_len([0, 0x10, 0, 0]).is_ok());
        assert!(frame_len([0, 0x10, 0, 1]).is_err());
    }
}
