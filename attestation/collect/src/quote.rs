use attestation::ReportData;
use attestation::tdx::TdxQuote;

use crate::error::CollectError;

/// Cuts the zeros off that some hosts fill a quote up with, to a whole page or 8,000 bytes; the
/// lengths that the quote states say where it ends. A verifier that takes only exact quotes then
/// takes this one.
///
/// # Errors
/// [`CollectError::Stale`] if it signs something else, and [`CollectError::Malformed`] for what is
/// no TDX quote.
pub(crate) fn exact(mut bytes: Vec<u8>, report_data: &ReportData) -> Result<Vec<u8>, CollectError> {
    let quote = TdxQuote::parse(&bytes)?;
    if quote.report.report_data != report_data.0 {
        return Err(CollectError::Stale);
    }
    let end = bytes.len().saturating_sub(quote.padding);
    bytes.truncate(end);
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use attestation::tdx::INTEL_QE_VENDOR;

    use super::*;

    /// A quote of version 4 over `report_data` that nobody signed.
    pub(crate) fn quote(report_data: &[u8]) -> Vec<u8> {
        let header = [&[4, 0, 2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0][..], &INTEL_QE_VENDOR, &[0xaa; 20]];
        let body = [&[0xbb; 520][..], report_data];
        let certified = [&[0; 384 + 64][..], &[0, 0], &[5, 0, 0, 0, 0, 0]].concat();
        let certified_len = u32::try_from(certified.len()).unwrap();
        let data = [&[0xcc; 128][..], &[6, 0], &certified_len.to_le_bytes(), &certified].concat();
        let data_len = u32::try_from(data.len()).unwrap().to_le_bytes();
        [header.concat(), body.concat(), data_len.to_vec(), data].concat()
    }

    #[test]
    fn padding_is_cut_and_nothing_else_is() {
        let report_data = ReportData([7; 64]);
        let whole = quote(&report_data.0);
        assert_eq!(exact(whole.clone(), &report_data), Ok(whole.clone()));
        let padded = [whole.as_slice(), &[0; 4000]].concat();
        assert_eq!(exact(padded, &report_data), Ok(whole.clone()));
        assert_eq!(exact(whole.clone(), &ReportData([8; 64])), Err(CollectError::Stale));
        let code = |bytes: Vec<u8>| exact(bytes, &report_data).unwrap_err().code();
        assert_eq!(code([whole.as_slice(), &[0, 1]].concat()), "platform-malformed");
        assert_eq!(code(whole[..whole.len() - 1].to_vec()), "platform-malformed");
    }
}
