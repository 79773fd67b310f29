//! As much of a TDX quote as its collector has to know: what it signs, and where it ends.
//!
//! | offset, version 4 | version 5 | member, little-endian (Intel DCAP Quoting Library API, appendix A) |
//! |---|---|---|
//! | 0 | 0 | version, 2 |
//! | 4 | 4 | TEE type, 4: `0x81` |
//! | | 48 | type of the body, 2, and its length, 4 |
//! | 568 | 574 | `REPORTDATA`, 64: the body has it at 520 |
//! | 632 | 54 + length | length of the signature data, 4, and the data |

use attestation::bytes::Reader;
use attestation::{Malformed, ReportData};

use crate::error::CollectError;

/// Cuts the zeros off that some hosts fill the quote up with, to a whole page or 8,000 bytes; the
/// length that the quote states says where it ends. A verifier that takes only exact quotes then
/// takes this one.
///
/// # Errors
/// [`CollectError::Stale`] if it signs something else, and [`CollectError::Malformed`] for what is
/// no TDX quote of a version that we know, or has something else than zeros after its end.
pub(crate) fn exact(quote: &[u8], report_data: &ReportData) -> Result<Vec<u8>, CollectError> {
    let mut r = Reader::new(WHAT, quote);
    let version = r.u16_le()?;
    r.take(2)?;
    if r.take(4)? != TEE_TDX {
        return Err(Malformed::invalid(WHAT, "is of another TEE").into());
    }
    r.take(40)?;
    let body_len = match version {
        4 => BODY_LEN,
        5 => {
            r.take(2)?;
            length(&mut r)?
        }
        _ => return Err(Malformed::invalid(WHAT, "has an unknown version").into()),
    };
    let body = r.take(body_len)?;
    let signed = body.get(REPORT_DATA..).and_then(|rest| rest.get(..64));
    let signed = signed.ok_or(Malformed::invalid(WHAT, "has a body that is too short"))?;
    let signature_len = length(&mut r)?;
    r.take(signature_len)?;
    let padding = r.rest();
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed::invalid(WHAT, "has something after its end").into());
    }
    if signed != report_data.0 {
        return Err(CollectError::Stale);
    }
    let end = quote.len().saturating_sub(padding.len());
    Ok(quote.get(..end).unwrap_or(quote).to_vec())
}

fn length(r: &mut Reader<'_>) -> Result<usize, Malformed> {
    usize::try_from(r.u32_le()?)
        .map_err(|_| Malformed::invalid(WHAT, "states a length that is too long"))
}

const WHAT: &str = "TDX quote";
const TEE_TDX: [u8; 4] = [0x81, 0, 0, 0];
/// Length of the body in version 4.
const BODY_LEN: usize = 584;
/// Where `REPORTDATA` is in a body of any kind.
const REPORT_DATA: usize = 520;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A quote over `report_data` whose signature is a stand-in.
    pub(crate) fn quote(version: u8, report_data: &[u8]) -> Vec<u8> {
        let header = [&[version, 0, 2, 0, 0x81, 0, 0, 0][..], &[0xaa; 40]].concat();
        let (kind, end): (&[u8], _) =
            if version == 5 { (&[3, 0, 0x88, 2, 0, 0], 64) } else { (&[], 0) };
        let body = [&[0xbb; 520][..], report_data, &vec![0xcc; end]].concat();
        [&header, kind, &body, &[9, 0, 0, 0], &[0xdd; 9]].concat()
    }

    #[test]
    fn padding_is_cut_and_nothing_else_is() {
        let report_data = ReportData([7; 64]);
        for version in [4, 5] {
            let whole = quote(version, &report_data.0);
            assert_eq!(exact(&whole, &report_data), Ok(whole.clone()), "{version}");
            let padded = [whole.as_slice(), &[0; 4000]].concat();
            assert_eq!(exact(&padded, &report_data), Ok(whole.clone()), "{version}");
            assert_eq!(exact(&whole, &ReportData([8; 64])), Err(CollectError::Stale));
            for len in 0..whole.len() {
                assert!(exact(&whole[..len], &report_data).is_err(), "{version}: {len}");
            }
            let code = |bytes: &[u8]| exact(bytes, &report_data).unwrap_err().code();
            assert_eq!(code(&[whole.as_slice(), &[0, 1]].concat()), "platform-malformed");
            for at in [0, 4] {
                let mut other = whole.clone();
                other[at] ^= 0x10;
                assert_eq!(code(&other), "platform-malformed", "{version}: byte {at}");
            }
        }
        // A body that ends before what it should sign.
        let mut short = quote(5, &report_data.0);
        short[50..54].copy_from_slice(&500_u32.to_le_bytes());
        assert_eq!(exact(&short, &report_data).unwrap_err().code(), "platform-malformed");
    }
}
