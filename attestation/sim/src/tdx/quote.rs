//! Quotes as data (Intel DCAP Quoting Library API, appendix A; the layout is [`attestation::tdx`]'s).

use attestation::tdx::{
    CERTIFIED_BY_PCK_CHAIN, CERTIFIED_BY_QE_REPORT, INTEL_QE_VENDOR, KEY_ECDSA_P256, TEE_TDX,
};
use attestation::{ReportData, Sha256};

use super::IntelKeys;
use crate::error::SimError;

/// A TD's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReportRecipe {
    /// `TEE_TCB_SVN`.
    pub tee_tcb_svn: [u8; 16],
    /// `MRSEAM`.
    pub mr_seam: [u8; 48],
    /// `MRSIGNERSEAM`.
    pub mr_signer_seam: [u8; 48],
    /// `SEAMATTRIBUTES`.
    pub seam_attributes: [u8; 8],
    /// `TDATTRIBUTES`.
    pub td_attributes: u64,
    /// `XFAM`.
    pub xfam: u64,
    /// `MRTD`.
    pub mr_td: [u8; 48],
    /// `MRCONFIGID`.
    pub mr_config_id: [u8; 48],
    /// `MROWNER`.
    pub mr_owner: [u8; 48],
    /// `MROWNERCONFIG`.
    pub mr_owner_config: [u8; 48],
    /// `RTMR0` to `RTMR3`.
    pub rtmr: [[u8; 48]; 4],
    /// `REPORTDATA`.
    pub report_data: [u8; 64],
    /// What TDX 1.5 adds; without it the quote is of version 4.
    pub td15: Option<Td15Recipe>,
}

/// What TDX 1.5 adds to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Td15Recipe {
    /// `TEE_TCB_SVN2`.
    pub tee_tcb_svn2: [u8; 16],
    /// `MRSERVICETD`.
    pub mr_service_td: [u8; 48],
}

impl TdReportRecipe {
    /// A TD that nothing is wrong with, of TDX 1.5.
    pub fn healthy(mr_td: [u8; 48], rtmr: [[u8; 48]; 4]) -> Self {
        let mut tee_tcb_svn = [0; 16];
        for (component, svn) in tee_tcb_svn.iter_mut().zip([5, 1, 6]) {
            *component = svn;
        }
        Self {
            tee_tcb_svn,
            mr_seam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: SEPT_VE_DISABLE,
            xfam: XFAM,
            mr_td,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmr,
            report_data: [0; 64],
            td15: Some(Td15Recipe { tee_tcb_svn2: tee_tcb_svn, mr_service_td: [0; 48] }),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.tee_tcb_svn);
        out.extend(self.mr_seam);
        out.extend(self.mr_signer_seam);
        out.extend(self.seam_attributes);
        out.extend(self.td_attributes.to_le_bytes());
        out.extend(self.xfam.to_le_bytes());
        out.extend(self.mr_td);
        out.extend(self.mr_config_id);
        out.extend(self.mr_owner);
        out.extend(self.mr_owner_config);
        out.extend(self.rtmr.concat());
        out.extend(self.report_data);
        if let Some(Td15Recipe { tee_tcb_svn2, mr_service_td }) = &self.td15 {
            out.extend(tee_tcb_svn2);
            out.extend(mr_service_td);
        }
        out
    }
}

/// A quote: a TD's report, and the quoting enclave that vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteRecipe {
    /// The TD's report.
    pub report: TdReportRecipe,
    /// `MRSIGNER` of the quoting enclave.
    pub qe_mr_signer: [u8; 32],
    /// Its `ATTRIBUTES`.
    pub qe_attributes: [u8; 16],
    /// Its `ISVPRODID`.
    pub qe_isv_prod_id: u16,
    /// Its `ISVSVN`.
    pub qe_isv_svn: u16,
    /// What it hashes beside its key.
    pub qe_authentication_data: Vec<u8>,
    /// The second half of what it reports, which is zero.
    pub qe_report_data_high: [u8; 32],
}

impl QuoteRecipe {
    /// A quote that nothing is wrong with.
    pub fn healthy(report: TdReportRecipe) -> Self {
        let mut qe_attributes = [0; 16];
        let [first, ..] = &mut qe_attributes;
        // Initialised, and able to get the provisioning key.
        *first = 0x11;
        Self {
            report,
            qe_mr_signer: [0x0e; 32],
            qe_attributes,
            qe_isv_prod_id: 2,
            qe_isv_svn: 4,
            qe_authentication_data: (0..32).collect(),
            qe_report_data_high: [0; 32],
        }
    }

    /// The same over this report data.
    #[must_use]
    pub const fn report_data(mut self, report_data: &ReportData) -> Self {
        self.report.report_data = report_data.0;
        self
    }

    /// The signed quote, which carries this chain of the PCK.
    pub fn sign(&self, keys: &IntelKeys, chain: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut quote = self.header();
        let body = self.report.encode();
        if self.report.td15.is_some() {
            quote.extend(BODY_TD15.to_le_bytes());
            quote.extend(length(&body));
        }
        quote.extend(body);
        let signature = keys.attestation.sign(&quote)?;
        // Intel writes the point without the byte of its form.
        let key = keys.attestation.public().get(1..).unwrap_or_default();
        let qe_report = self.qe_report(key);
        let mut certified = qe_report.clone();
        certified.extend(keys.pck.sign(&qe_report)?);
        certified.extend(short(&self.qe_authentication_data));
        certified.extend(&self.qe_authentication_data);
        certified.extend(CERTIFIED_BY_PCK_CHAIN.to_le_bytes());
        certified.extend(length(chain));
        certified.extend(chain);
        let mut data = [&signature[..], key].concat();
        data.extend(CERTIFIED_BY_QE_REPORT.to_le_bytes());
        data.extend(length(&certified));
        data.extend(certified);
        quote.extend(length(&data));
        quote.extend(data);
        Ok(quote)
    }

    fn header(&self) -> Vec<u8> {
        let version: u16 = if self.report.td15.is_some() { 5 } else { 4 };
        let mut out = Vec::new();
        out.extend(version.to_le_bytes());
        out.extend(KEY_ECDSA_P256.to_le_bytes());
        out.extend(TEE_TDX.to_le_bytes());
        out.extend([0; 4]);
        out.extend(INTEL_QE_VENDOR);
        out.extend([0; 20]);
        out
    }

    /// An enclave's report (Intel SDM vol. 3D §38.15).
    fn qe_report(&self, key: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 16];
        out.extend([0; 4]);
        out.extend([0; 28]);
        out.extend(self.qe_attributes);
        out.extend([0x0a; 32]);
        out.extend([0; 32]);
        out.extend(self.qe_mr_signer);
        out.extend([0; 96]);
        out.extend(self.qe_isv_prod_id.to_le_bytes());
        out.extend(self.qe_isv_svn.to_le_bytes());
        out.extend([0; 60]);
        let hash = Sha256::of_parts(&[key, &self.qe_authentication_data]);
        out.extend(hash.as_bytes());
        out.extend(self.qe_report_data_high);
        out
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn short(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes()
}

/// A report of TDX 1.5 as the body of version 5.
const BODY_TD15: u16 = 3;
/// `TDATTRIBUTES` bit 28: the host cannot inject exceptions.
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// x87, SSE, AVX and AVX-512, as Linux guests have.
const XFAM: u64 = 0xe7;
