//! Intel TDX quotes (Intel DCAP Quoting Library API, appendix A) and what Intel says of platforms.
//!
//! All numbers are little-endian. A quote is a header, a body that is a TD's report, and the
//! signature data; zero bytes may follow, because some hosts hand out a buffer of fixed size.
//!
//! | offset | bytes | header |
//! |---|---|---|
//! | 0 | 2 | version: 4 or 5 |
//! | 2 | 2 | type of attestation key: 2, ECDSA P-256 |
//! | 4 | 4 | TEE type: 0x81, TDX |
//! | 8 | 2, 2 | in version 4 security versions of QE and PCE, which nobody signs for alone; reserved later |
//! | 12 | 16 | vendor of the quoting enclave: Intel's |
//! | 28 | 20 | user data |
//!
//! In version 4 the body follows, of 584 bytes; in version 5 its type (u16) and size (u32) come first:
//!
//! | type | size | body |
//! |---|---|---|
//! | 2 | 584 | TD report of TDX 1.0 |
//! | 3 | 648 | TD report of TDX 1.5 |
//! | 4 | 885 | TD report of TDX 1.5, extended |
//!
//! The signature data, behind its length (u32):
//!
//! | bytes | member |
//! |---|---|
//! | 64 | signature over header and body by the attestation key |
//! | 64 | the attestation key, a point without its first byte |
//! | 2, 4 | type 6, and the size of all that follows |
//! | 384 | the quoting enclave's report |
//! | 64 | signature over it by the platform's PCK |
//! | 2, n | authentication data of the quoting enclave |
//! | 2, 4, n | certification data: type 5, the PCK's chain in PEM |

use crate::bytes::{Malformed, Reader};
use crate::endorsements::{Kind, blocks};

mod identity;
mod report;
mod tcb;
mod tcb_info;

pub use identity::{QeIdentity, QeLevel};
pub use report::{Attributes, Form, Td15, Td15Ex, TdReport};
pub use tcb::{Advisories, Masked, TcbStatus};
pub use tcb_info::{ModuleIdentity, ModuleLevel, TcbInfo, TcbLevel};

/// Length of the header.
pub const HEADER_LEN: usize = 48;
/// Length of an enclave's report.
pub const QE_REPORT_LEN: usize = 384;
/// The vendor id of Intel's quoting enclaves.
pub const INTEL_QE_VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// TEE type of TDX.
pub const TEE_TDX: u32 = 0x81;
/// Attestation key type of ECDSA with P-256.
pub const KEY_ECDSA_P256: u16 = 2;
/// Certification data that is a report of the quoting enclave with what certifies it.
pub const CERTIFIED_BY_QE_REPORT: u16 = 6;
/// Certification data that is a PCK's chain in PEM.
pub const CERTIFIED_BY_PCK_CHAIN: u16 = 5;

const WHAT: &str = "TDX quote";

/// A quote, parsed and not yet believed.
#[derive(Clone, Debug)]
pub struct TdxQuote<'a> {
    /// The version of its format: 4 or 5.
    pub version: u16,
    /// 20 bytes of the quoting enclave's, which it signed.
    pub user_data: [u8; 20],
    /// The TD's report.
    pub report: TdReport,
    /// Header and body: what the attestation key signed.
    pub signed: &'a [u8],
    /// `r ‖ s`, big-endian, over [`signed`](Self::signed).
    pub signature: [u8; 64],
    /// The attestation key: `x ‖ y`.
    pub attestation_key: [u8; 64],
    /// The quoting enclave's report.
    pub qe_report: QeReport,
    /// Its bytes: what the PCK signed.
    pub qe_report_bytes: &'a [u8; QE_REPORT_LEN],
    /// `r ‖ s`, big-endian, over [`qe_report_bytes`](Self::qe_report_bytes).
    pub qe_report_signature: [u8; 64],
    /// What the quoting enclave hashed beside the attestation key.
    pub qe_authentication_data: &'a [u8],
    /// What certifies the key that signed the quoting enclave's report.
    pub certification: Certification<'a>,
    /// How many zero bytes follow the quote.
    pub padding: usize,
}

/// What a quote says about the PCK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Certification<'a> {
    /// The certificates in PEM, the PCK's first.
    PckChain(&'a [u8]),
    /// Another type, whose data say at most which platform it is.
    Other(u16),
}

/// The parts of an SGX enclave's report that say which enclave it is (Intel SDM vol. 3D §38.15).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct QeReport {
    /// `CPUSVN`.
    pub cpu_svn: [u8; 16],
    /// `MISCSELECT`.
    pub misc_select: [u8; 4],
    /// `ATTRIBUTES`.
    pub attributes: [u8; 16],
    /// `MRENCLAVE`.
    pub mr_enclave: [u8; 32],
    /// `MRSIGNER`.
    pub mr_signer: [u8; 32],
    /// `ISVPRODID`.
    pub isv_prod_id: u16,
    /// `ISVSVN`.
    pub isv_svn: u16,
    /// `REPORTDATA`.
    pub report_data: [u8; 64],
}

impl QeReport {
    /// Whether the enclave can be debugged (`ATTRIBUTES.DEBUG`).
    pub const fn is_debug(&self) -> bool {
        self.attributes[0] & 0x02 != 0
    }

    fn parse(bytes: &[u8; QE_REPORT_LEN]) -> Result<Self, Malformed> {
        Reader::read_all("report of the quoting enclave", bytes, |r| {
            let cpu_svn = r.array()?;
            let misc_select = r.array()?;
            r.take(28)?;
            let attributes = r.array()?;
            let mr_enclave = r.array()?;
            r.take(32)?;
            let mr_signer = r.array()?;
            r.take(96)?;
            let (isv_prod_id, isv_svn) = (r.u16_le()?, r.u16_le()?);
            r.take(60)?;
            let report_data = r.array()?;
            Ok(Self {
                cpu_svn,
                misc_select,
                attributes,
                mr_enclave,
                mr_signer,
                isv_prod_id,
                isv_svn,
                report_data,
            })
        })
    }
}

/// The certificates of a [`Certification::PckChain`], DER, in their order.
///
/// # Errors
/// Anything but PEM of certificates, or more of them than any chain has.
pub fn pck_chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    const BAD: Malformed = Malformed::invalid("chain of the PCK", "is not PEM of certificates");
    let text = core::str::from_utf8(pem).map_err(|_| BAD)?;
    let mut chain = Vec::new();
    for block in blocks(text) {
        let (label, der) = block?;
        if label != Kind::Certificate.label() {
            return Err(BAD);
        }
        chain.push(der);
        if chain.len() > CHAIN_LEN_MAX {
            return Err(Malformed::TooLong { what: "chain of the PCK", limit: CHAIN_LEN_MAX });
        }
    }
    if chain.is_empty() { Err(BAD) } else { Ok(chain) }
}

/// More certificates than any chain has: Intel's are three.
const CHAIN_LEN_MAX: usize = 8;

impl<'a> TdxQuote<'a> {
    /// Parses a quote to its last byte; nothing but zero bytes may follow it.
    ///
    /// # Errors
    /// Another version, key type, TEE type, vendor or body; lengths that do not add up; trailing
    /// bytes that are not zero.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(WHAT, bytes);
        let (version, user_data) = header(&mut r)?;
        let form = match version {
            4 => Form::Td10,
            _ => body_form(&mut r)?,
        };
        let report = TdReport::parse(form, r.take(form.size())?)?;
        let signed_len = bytes.len().saturating_sub(r.remaining());
        let signed = bytes.get(..signed_len).unwrap_or_default();
        let len = length(&mut r)?;
        let signature_data = r.take(len)?;
        let mut quote = signed_by(signature_data, version, user_data, report, signed)?;
        quote.padding = r.remaining();
        if r.rest().iter().all(|byte| *byte == 0) {
            Ok(quote)
        } else {
            Err(Malformed::Trailing { what: WHAT, extra: r.remaining() })
        }
    }
}

/// The version and the user data.
fn header(r: &mut Reader<'_>) -> Result<(u16, [u8; 20]), Malformed> {
    let version = r.u16_le()?;
    if version != 4 && version != 5 {
        return Err(Malformed::invalid(WHAT, "is of a version that is not known"));
    }
    if r.u16_le()? != KEY_ECDSA_P256 {
        return Err(Malformed::invalid(WHAT, "is not signed with ECDSA and P-256"));
    }
    if r.u32_le()? != TEE_TDX {
        return Err(Malformed::invalid(WHAT, "is not of a TD"));
    }
    r.take(4)?;
    if r.array()? != INTEL_QE_VENDOR {
        return Err(Malformed::invalid(WHAT, "is not of Intel's quoting enclave"));
    }
    Ok((version, r.array()?))
}

/// In version 5, which report the body is, by type and size alike.
fn body_form(r: &mut Reader<'_>) -> Result<Form, Malformed> {
    let body_type = r.u16_le()?;
    let size = length(r)?;
    let form = Form::of_body_type(body_type)
        .ok_or(Malformed::invalid(WHAT, "has a body that is no report of a TD"))?;
    if size == form.size() {
        Ok(form)
    } else {
        Err(Malformed::invalid(WHAT, "has a body whose size is not that of its type"))
    }
}

fn length(r: &mut Reader<'_>) -> Result<usize, Malformed> {
    // What does not fit is longer than any input.
    Ok(usize::try_from(r.u32_le()?).unwrap_or(usize::MAX))
}

fn signed_by<'a>(
    signature_data: &'a [u8],
    version: u16,
    user_data: [u8; 20],
    report: TdReport,
    signed: &'a [u8],
) -> Result<TdxQuote<'a>, Malformed> {
    Reader::read_all("signature data of a TDX quote", signature_data, |r| {
        let signature = r.array()?;
        let attestation_key = r.array()?;
        if r.u16_le()? != CERTIFIED_BY_QE_REPORT {
            return Err(Malformed::invalid(WHAT, "has no report of the quoting enclave"));
        }
        if length(r)? != r.remaining() {
            return Err(Malformed::invalid(WHAT, "has certification data of another size"));
        }
        let qe_report_bytes: &[u8; QE_REPORT_LEN] =
            r.take(QE_REPORT_LEN)?.try_into().map_err(|_| Malformed::Truncated { what: WHAT })?;
        let qe_report_signature = r.array()?;
        let len = usize::from(r.u16_le()?);
        let qe_authentication_data = r.take(len)?;
        let certification_type = r.u16_le()?;
        let len = length(r)?;
        let data = r.take(len)?;
        let certification = match certification_type {
            CERTIFIED_BY_PCK_CHAIN => Certification::PckChain(data),
            other => Certification::Other(other),
        };
        Ok(TdxQuote {
            version,
            user_data,
            report,
            signed,
            signature,
            attestation_key,
            qe_report: QeReport::parse(qe_report_bytes)?,
            qe_report_bytes,
            qe_report_signature,
            qe_authentication_data,
            certification,
            padding: 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quote whose every member can be told from the others.
    fn quote(version: u16, form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&2_u16.to_le_bytes());
        out.extend_from_slice(&0x81_u32.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&INTEL_QE_VENDOR);
        out.extend_from_slice(&[7; 20]);
        if version == 5 {
            let (body_type, size) = match form {
                Form::Td10 => (2_u16, 584_u32),
                Form::Td15 => (3, 648),
                Form::Td15Ex => (4, 885),
            };
            out.extend_from_slice(&body_type.to_le_bytes());
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.extend(vec![9; form.size()]);
        let mut data = vec![1; 64];
        data.extend_from_slice(&[2; 64]);
        let mut inner = vec![3; QE_REPORT_LEN];
        inner.extend_from_slice(&[4; 64]);
        inner.extend_from_slice(&[2, 0, 5, 5]);
        inner.extend_from_slice(&[5, 0, 3, 0, 0, 0]);
        inner.extend_from_slice(b"pem");
        data.extend_from_slice(&[6, 0]);
        data.extend_from_slice(&u32::try_from(inner.len()).unwrap().to_le_bytes());
        data.extend_from_slice(&inner);
        out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&data);
        out
    }

    const FORMS: [(u16, Form); 4] =
        [(4, Form::Td10), (5, Form::Td10), (5, Form::Td15), (5, Form::Td15Ex)];

    #[test]
    fn members_lie_where_the_specification_says() {
        for (version, form) in FORMS {
            let bytes = quote(version, form);
            let parsed = TdxQuote::parse(&bytes).unwrap();
            assert_eq!((parsed.version, parsed.report.form()), (version, form));
            assert_eq!(parsed.signed, &bytes[..parsed.signed.len()]);
            let head = if version == 4 { 48 } else { 54 };
            assert_eq!(parsed.signed.len(), head + form.size());
            assert_eq!(parsed.user_data, [7; 20]);
            assert_eq!((parsed.signature, parsed.attestation_key), ([1; 64], [2; 64]));
            assert_eq!(parsed.qe_report_bytes, &[3; QE_REPORT_LEN]);
            assert_eq!(parsed.qe_report_signature, [4; 64]);
            assert_eq!(parsed.qe_authentication_data, [5, 5]);
            assert_eq!(parsed.certification, Certification::PckChain(b"pem"));
            assert_eq!(parsed.padding, 0);
        }
    }

    #[test]
    fn lengths_are_exact_and_only_zeros_may_follow() {
        for (version, form) in FORMS {
            let bytes = quote(version, form);
            for len in 0..bytes.len() {
                assert!(TdxQuote::parse(&bytes[..len]).is_err(), "cut at {len}");
            }
            let mut padded = bytes.clone();
            padded.resize(8000, 0);
            assert_eq!(TdxQuote::parse(&padded).unwrap().padding, 8000 - bytes.len());
            padded[7999] = 1;
            assert!(TdxQuote::parse(&padded).is_err());
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        let bytes = quote(5, Form::Td15);
        let body = 54 + 648;
        for (what, at, value) in [
            ("version", 0, 6),
            ("version 3", 0, 3),
            ("key type", 2, 3),
            ("TEE type", 4, 0),
            ("TEE type's high bytes", 7, 1),
            ("vendor", 12, 0),
            ("vendor's end", 27, 0),
            ("SGX body", 48, 1),
            ("body of another type", 48, 2),
            ("unknown body", 48, 5),
            ("body's size", 50, 0x89),
            ("signature data's length", body, bytes[body].wrapping_sub(1)),
            ("certification type", body + 4 + 128, 5),
            ("certification size", body + 4 + 130, 0),
        ] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert!(bad != bytes && TdxQuote::parse(&bad).is_err(), "{what}");
        }
        // A version 4 quote has a body of TDX 1.0 and no other.
        let mut four = bytes;
        four[0] = 4;
        assert!(TdxQuote::parse(&four).is_err());
    }

    #[test]
    fn another_way_to_certify_is_told() {
        let mut bytes = quote(4, Form::Td10);
        let at = bytes.len() - 9;
        bytes[at] = 3;
        let parsed = TdxQuote::parse(&bytes).unwrap();
        assert_eq!(parsed.certification, Certification::Other(3));
    }

    #[test]
    fn a_chain_is_pem_of_certificates_alone() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAQI=\n-----END {label}-----\n");
        let two = block("CERTIFICATE").repeat(2) + "\0";
        assert_eq!(pck_chain(two.as_bytes()).unwrap(), [[1, 2], [1, 2]]);
        for bad in [
            String::new(),
            "text".to_owned(),
            block("X509 CRL"),
            two.replace("AQI=", "AQI"),
            two.replacen("END", "FIN", 1),
            block("CERTIFICATE").repeat(9),
        ] {
            assert!(pck_chain(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(pck_chain(&[0xff]).is_err());
    }

    #[test]
    fn an_enclaves_report_lies_where_the_manual_says() {
        let mut bytes = [0; QE_REPORT_LEN];
        for (at, value) in
            [(0, 1), (16, 2), (48, 3), (64, 4), (128, 5), (256, 6), (258, 7), (320, 8)]
        {
            bytes[at] = value;
        }
        let report = QeReport::parse(&bytes).unwrap();
        assert_eq!((report.cpu_svn[0], report.misc_select[0], report.attributes[0]), (1, 2, 3));
        assert_eq!((report.mr_enclave[0], report.mr_signer[0]), (4, 5));
        assert_eq!((report.isv_prod_id, report.isv_svn, report.report_data[0]), (6, 7, 8));
        assert!(report.is_debug());
        bytes[48] = 0xfd;
        assert!(!QeReport::parse(&bytes).unwrap().is_debug());
    }
}
