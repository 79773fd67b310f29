//! What Intel's provisioning service says of platforms: TCB Info and QE Identity (PCS API v4).

use std::fmt::Write as _;

use attestation::UnixTime;

use super::{PckPlatform, QuoteRecipe, date};
use crate::certificate::Validity;
use crate::error::SimError;
use crate::keys::P256Key;

/// The two documents that a quote is judged by.
#[derive(Debug, Clone)]
pub struct Collateral {
    /// Of the platform.
    pub tcb_info: TcbInfoRecipe,
    /// Of the quoting enclave.
    pub qe_identity: QeIdentityRecipe,
}

impl Collateral {
    /// Under which the platform and its quotes are up to date.
    pub fn up_to_date(validity: Validity, platform: &PckPlatform, quote: &QuoteRecipe) -> Self {
        let tcb_svn = quote.report.tee_tcb_svn;
        let [module_svn, module, ..] = tcb_svn;
        // Where the module has an identity of its own, its two numbers are no components.
        let mut tdx = tcb_svn;
        if module > 0 {
            let [first, second, ..] = &mut tdx;
            (*first, *second) = (0, 0);
        }
        let level = Level {
            sgx: platform.sgx,
            pce_svn: platform.pce_svn,
            tdx,
            date: validity.not_before,
            status: "UpToDate",
            advisories: Vec::new(),
        };
        Self {
            tcb_info: TcbInfoRecipe {
                issue_date: validity.not_before,
                next_update: validity.not_after,
                fmspc: platform.fmspc,
                pce_id: platform.pce_id,
                evaluation: EVALUATION,
                module,
                module_svn,
                module_status: "UpToDate",
                mr_signer_seam: quote.report.mr_signer_seam,
                levels: vec![level],
            },
            qe_identity: QeIdentityRecipe {
                issue_date: validity.not_before,
                next_update: validity.not_after,
                evaluation: EVALUATION,
                mr_signer: quote.qe_mr_signer,
                isv_prod_id: quote.qe_isv_prod_id,
                isv_svn: quote.qe_isv_svn,
                date: validity.not_before,
                status: "UpToDate",
            },
        }
    }
}

/// A TCB Info, before it is signed.
#[derive(Debug, Clone)]
pub struct TcbInfoRecipe {
    /// When it was issued.
    pub issue_date: UnixTime,
    /// When the next one comes.
    pub next_update: UnixTime,
    /// The family that it is for.
    pub fmspc: [u8; 6],
    /// The PCE that it is for.
    pub pce_id: [u8; 2],
    /// Number of the evaluation.
    pub evaluation: u32,
    /// The TDX module's version.
    pub module: u8,
    /// Its least security version.
    pub module_svn: u8,
    /// The state of that.
    pub module_status: &'static str,
    /// Who signed the module; zeros are Intel.
    pub mr_signer_seam: [u8; 48],
    /// The platform's levels, highest first.
    pub levels: Vec<Level>,
}

/// A TCB level of a platform.
#[derive(Debug, Clone)]
pub struct Level {
    /// The least SGX TCB, component by component.
    pub sgx: [u8; 16],
    /// The least PCESVN.
    pub pce_svn: u16,
    /// The least `TEE_TCB_SVN`, component by component.
    pub tdx: [u8; 16],
    /// What it covers.
    pub date: UnixTime,
    /// Its state.
    pub status: &'static str,
    /// What it leaves open.
    pub advisories: Vec<&'static str>,
}

impl TcbInfoRecipe {
    /// The signed document.
    pub fn sign(&self, signer: &P256Key) -> Result<Vec<u8>, SimError> {
        let module = format!(
            "\"mrsigner\":\"{}\",\"attributes\":\"{zeros}\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"",
            hex(&self.mr_signer_seam),
            zeros = "0".repeat(16),
        );
        let mut identities = String::new();
        if self.module > 0 {
            // Writing to a String cannot fail.
            let _ok = write!(
                identities,
                "\"tdxModuleIdentities\":[{{\"id\":\"TDX_{:02X}\",{module},\"tcbLevels\":[{{\"tcb\":{{\"isvsvn\":{}}},\
                 \"tcbDate\":\"{}\",\"tcbStatus\":\"{}\"}}]}}],",
                self.module,
                self.module_svn,
                date(self.issue_date),
                self.module_status,
            );
        }
        let levels: Vec<_> = self.levels.iter().map(Level::json).collect();
        let body = format!(
            "{{\"id\":\"TDX\",\"version\":3,\"issueDate\":\"{}\",\"nextUpdate\":\"{}\",\"fmspc\":\"{}\",\"pceId\":\"{}\",\
             \"tcbType\":0,\"tcbEvaluationDataNumber\":{},\"tdxModule\":{{{module}}},{identities}\"tcbLevels\":[{}]}}",
            date(self.issue_date),
            date(self.next_update),
            hex(&self.fmspc),
            hex(&self.pce_id),
            self.evaluation,
            levels.join(","),
        );
        signed("tcbInfo", &body, signer)
    }
}

impl Level {
    fn json(&self) -> String {
        let components = |svns: &[u8; 16]| svns.map(|svn| format!("{{\"svn\":{svn}}}")).join(",");
        let advisories = if self.advisories.is_empty() {
            String::new()
        } else {
            format!(",\"advisoryIDs\":[\"{}\"]", self.advisories.join("\",\""))
        };
        format!(
            "{{\"tcb\":{{\"sgxtcbcomponents\":[{}],\"pcesvn\":{},\"tdxtcbcomponents\":[{}]}},\
             \"tcbDate\":\"{}\",\"tcbStatus\":\"{}\"{advisories}}}",
            components(&self.sgx),
            self.pce_svn,
            components(&self.tdx),
            date(self.date),
            self.status,
        )
    }
}

/// A QE Identity, before it is signed.
#[derive(Debug, Clone)]
pub struct QeIdentityRecipe {
    /// When it was issued.
    pub issue_date: UnixTime,
    /// When the next one comes.
    pub next_update: UnixTime,
    /// Number of the evaluation.
    pub evaluation: u32,
    /// Who signed the quoting enclave.
    pub mr_signer: [u8; 32],
    /// Its product.
    pub isv_prod_id: u16,
    /// Its least security version.
    pub isv_svn: u16,
    /// What that covers.
    pub date: UnixTime,
    /// The state of that.
    pub status: &'static str,
}

impl QeIdentityRecipe {
    /// The signed document.
    pub fn sign(&self, signer: &P256Key) -> Result<Vec<u8>, SimError> {
        let body = format!(
            "{{\"id\":\"TD_QE\",\"version\":2,\"issueDate\":\"{}\",\"nextUpdate\":\"{}\",\"tcbEvaluationDataNumber\":{},\
             \"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\
             \"attributes\":\"11000000000000000000000000000000\",\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\
             \"mrsigner\":\"{}\",\"isvprodid\":{},\"tcbLevels\":[{{\"tcb\":{{\"isvsvn\":{}}},\"tcbDate\":\"{}\",\
             \"tcbStatus\":\"{}\"}}]}}",
            date(self.issue_date),
            date(self.next_update),
            self.evaluation,
            hex(&self.mr_signer),
            self.isv_prod_id,
            self.isv_svn,
            date(self.date),
            self.status,
        );
        signed("enclaveIdentity", &body, signer)
    }
}

/// The document around a body, as Intel sends it: the signature is over the body's exact bytes.
fn signed(name: &str, body: &str, signer: &P256Key) -> Result<Vec<u8>, SimError> {
    let signature = signer.sign(body.as_bytes())?;
    Ok(format!("{{\"{name}\":{body},\"signature\":\"{}\"}}", hex(&signature).to_lowercase())
        .into_bytes())
}

/// Upper case, as Intel writes most of it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02X}");
        text
    })
}

/// Above every floor that policies have today.
const EVALUATION: u32 = 20;
