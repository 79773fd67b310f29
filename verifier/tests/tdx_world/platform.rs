//! A TDX platform under a vendor of our own: root, platform authority, PCK and signer of documents, lists,
//! TCB Info, QE Identity, and quotes, byte for byte.
//!
//! Everything is data: a test takes what a verifier accepts, changes one thing, and writes it all.

use std::time::Duration;

use attestation::endorsements::Kind;
use attestation::tdx::{Attributes, QeReport};
use attestation::tdx::{Form, INTEL_QE_VENDOR, KEY_ECDSA_P256, TEE_TDX, Td15, Td15Ex, TdReport};
use attestation::{Digest, Endorsements, Sha256, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sim::SimError;

use super::pki::{Authority, Certificate, Key, PckExtension, RevocationList};

/// A platform of TDX with everything that Intel would say of it.
#[derive(Debug)]
pub(crate) struct Tdx {
    /// The keys of all parties.
    pub(crate) keys: Keys,
    /// Who signs what.
    pub(crate) signers: Signers,
    /// The root's certificate.
    pub(crate) root: Certificate,
    /// The certificate of the authority that certified the platform.
    pub(crate) authority: Certificate,
    /// The platform's certificate.
    pub(crate) pck: Certificate,
    /// The certificate of the signer of documents.
    pub(crate) tcb_signer: Option<Certificate>,
    /// The root's list.
    pub(crate) root_list: Option<RevocationList>,
    /// The authority's list.
    pub(crate) pck_list: Option<RevocationList>,
    /// TCB Info, without its signature.
    pub(crate) tcb_info: Option<Value>,
    /// QE Identity, without its signature.
    pub(crate) qe_identity: Option<Value>,
    /// The quote.
    pub(crate) quote: Quote,
}

/// The keys of all parties.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The root's.
    pub(crate) root: Key,
    /// The platform authority's.
    pub(crate) authority: Key,
    /// The platform's.
    pub(crate) pck: Key,
    /// The signer of documents'.
    pub(crate) tcb_signer: Key,
    /// The quoting enclave's.
    pub(crate) attestation: Key,
    /// Nobody's.
    pub(crate) stranger: Key,
}

/// A party.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Party {
    Root,
    Authority,
    Pck,
    TcbSigner,
    Attestation,
    Stranger,
}

/// Who signs what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signers {
    pub(crate) root: Party,
    pub(crate) authority: Party,
    pub(crate) pck: Party,
    pub(crate) tcb_signer: Party,
    pub(crate) root_list: Party,
    pub(crate) pck_list: Party,
    pub(crate) tcb_info: Party,
    pub(crate) qe_identity: Party,
    pub(crate) qe_report: Party,
    pub(crate) quote: Party,
}

impl Keys {
    /// New keys.
    pub(crate) fn generate() -> Result<Self, SimError> {
        Ok(Self {
            root: Key::generate()?,
            authority: Key::generate()?,
            pck: Key::generate()?,
            tcb_signer: Key::generate()?,
            attestation: Key::generate()?,
            stranger: Key::generate()?,
        })
    }

    /// A party's key.
    pub(crate) fn of(&self, party: Party) -> &Key {
        match party {
            Party::Root => &self.root,
            Party::Authority => &self.authority,
            Party::Pck => &self.pck,
            Party::TcbSigner => &self.tcb_signer,
            Party::Attestation => &self.attestation,
            Party::Stranger => &self.stranger,
        }
    }
}

/// A quote as data.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    /// The version of its format: 4 or 5.
    pub(crate) version: u16,
    /// The TD's report, whose form the body has.
    pub(crate) report: TdReport,
    /// The quoting enclave's report. Its first half of `REPORTDATA` is written when it is signed.
    pub(crate) qe_report: QeReport,
    /// What the quoting enclave hashes beside its key.
    pub(crate) qe_authentication_data: Vec<u8>,
    /// What vouches for the attestation key, where it is not the hash of it.
    pub(crate) vouched: Option<[u8; 32]>,
    /// The type of certification data.
    pub(crate) certification_type: u16,
    /// The certification data, where they are not the PCK's chain.
    pub(crate) certification: Option<Vec<u8>>,
    /// Zero bytes that follow.
    pub(crate) padding: usize,
}

/// The family of the platform.
pub(crate) const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
/// `TEE_TCB_SVN` of the platform: module of version 1, security version 5.
pub(crate) const TEE_TCB_SVN: [u8; 16] = [5, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The components of the platform's TCB.
pub(crate) const SGX: [u8; 16] = [4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// `MRSIGNER` of the quoting enclave.
pub(crate) const QE_SIGNER: [u8; 32] = [0xdc; 32];
/// The evaluation of the documents.
pub(crate) const EVALUATION: u32 = 20;
/// The platform's instance id.
pub(crate) const INSTANCE: [u8; 16] = [0x1d; 16];

const DAY: Duration = Duration::from_hours(24);

impl Tdx {
    /// A platform that is up to date at `now`, and a quote of this form on it.
    pub(crate) fn new(form: Form, now: UnixTime) -> Result<Self, SimError> {
        let keys = Keys::generate()?;
        let root =
            Certificate::authority("Intel SGX Root CA", "Intel SGX Root CA", &keys.root, now, 1);
        let authority = Certificate::authority(
            Authority::Platform.name(),
            "Intel SGX Root CA",
            &keys.authority,
            now,
            2,
        );
        let pck = Certificate::pck(&PckExtension::new(), Authority::Platform, &keys.pck, now);
        let tcb_signer = Certificate::leaf(
            "Intel SGX TCB Signing",
            "Intel SGX Root CA",
            &keys.tcb_signer,
            now,
            4,
        );
        Ok(Self {
            root_list: Some(RevocationList::new("Intel SGX Root CA", now)),
            pck_list: Some(RevocationList::new(Authority::Platform.name(), now)),
            tcb_info: Some(tcb_info(now)),
            qe_identity: Some(qe_identity(now)),
            quote: Quote::new(form),
            signers: Signers {
                root: Party::Root,
                authority: Party::Root,
                pck: Party::Authority,
                tcb_signer: Party::Root,
                root_list: Party::Root,
                pck_list: Party::Authority,
                tcb_info: Party::TcbSigner,
                qe_identity: Party::TcbSigner,
                qe_report: Party::Pck,
                quote: Party::Attestation,
            },
            keys,
            root,
            authority,
            pck,
            tcb_signer: Some(tcb_signer),
        })
    }

    /// The root's certificate, DER: what a policy names as its anchor.
    pub(crate) fn root_der(&self) -> Result<Vec<u8>, SimError> {
        self.root.sign(self.keys.of(self.signers.root))
    }

    /// The PCK's chain, DER: its certificate, its authority's, the root's.
    pub(crate) fn chain(&self) -> Result<[Vec<u8>; 3], SimError> {
        Ok([
            self.pck.sign(self.keys.of(self.signers.pck))?,
            self.authority.sign(self.keys.of(self.signers.authority))?,
            self.root_der()?,
        ])
    }

    /// What Intel's service would hand out.
    pub(crate) fn endorsements(&self) -> Result<Endorsements, SimError> {
        let mut all = Endorsements::new();
        let mut add = |kind, item: &[u8]| {
            all.add_item(kind, item).map_err(|error| SimError::Argument(error.to_string()))
        };
        if let Some(signer) = &self.tcb_signer {
            add(Kind::Certificate, &signer.sign(self.keys.of(self.signers.tcb_signer))?)?;
        }
        for (list, party) in
            [(&self.root_list, self.signers.root_list), (&self.pck_list, self.signers.pck_list)]
        {
            if let Some(list) = list {
                add(Kind::Crl, &list.sign(self.keys.of(party))?)?;
            }
        }
        if let Some(info) = &self.tcb_info {
            add(Kind::TcbInfo, &self.document("tcbInfo", info, self.signers.tcb_info)?)?;
        }
        if let Some(identity) = &self.qe_identity {
            let party = self.signers.qe_identity;
            add(Kind::QeIdentity, &self.document("enclaveIdentity", identity, party)?)?;
        }
        Ok(all)
    }

    /// A document with its signature, as Intel sends it.
    pub(crate) fn document(
        &self,
        name: &str,
        body: &Value,
        party: Party,
    ) -> Result<Vec<u8>, SimError> {
        let body = body.to_string();
        let signature = hex(&self.keys.of(party).sign(body.as_bytes())?);
        Ok(format!(r#"{{"{name}":{body},"signature":"{signature}"}}"#).into_bytes())
    }

    /// The quote's bytes.
    pub(crate) fn quote(&self) -> Result<Vec<u8>, SimError> {
        let quote = &self.quote;
        let key = point(&self.keys.attestation);
        let mut qe_report = quote.qe_report;
        let hash = Sha256::of_parts(&[key, &quote.qe_authentication_data]).0;
        if let Some(half) = qe_report.report_data.first_chunk_mut::<32>() {
            *half = quote.vouched.unwrap_or(hash);
        }
        let qe_report = encode_enclave(&qe_report);
        let certification = match &quote.certification {
            Some(data) => data.clone(),
            None => pem(&self.chain()?).into_bytes(),
        };
        let signed = quote.signed();
        let mut certified = qe_report.clone();
        certified.extend_from_slice(&self.keys.of(self.signers.qe_report).sign(&qe_report)?);
        certified.extend_from_slice(&len16(&quote.qe_authentication_data)?);
        certified.extend_from_slice(&quote.qe_authentication_data);
        certified.extend_from_slice(&quote.certification_type.to_le_bytes());
        certified.extend_from_slice(&len32(&certification)?);
        certified.extend_from_slice(&certification);
        let mut data = self.keys.of(self.signers.quote).sign(&signed)?.to_vec();
        data.extend_from_slice(key);
        data.extend_from_slice(&6_u16.to_le_bytes());
        data.extend_from_slice(&len32(&certified)?);
        data.append(&mut certified);
        let mut out = signed;
        out.extend_from_slice(&len32(&data)?);
        out.append(&mut data);
        out.extend(std::iter::repeat_n(0, quote.padding));
        Ok(out)
    }
}

impl Quote {
    /// A quote of a healthy TD; version 4 where the report is of TDX 1.0.
    pub(crate) fn new(form: Form) -> Self {
        let td15 = (form >= Form::Td15)
            .then_some(Td15 { tee_tcb_svn2: TEE_TCB_SVN, mr_service_td: Digest([0; 48]) });
        let td15_ex = (form == Form::Td15Ex).then_some(Td15Ex {
            vm_id: 0,
            td_id: Digest([0x7d; 32]),
            dev_info_hash: Digest([0; 48]),
            init_service_td_hash: Digest([0; 48]),
            init_service_td_attributes: [0; 8],
            init_cpu_svn: SGX,
            init_tee_tcb_svn: TEE_TCB_SVN,
            init_tee_fmspc: [0; 12],
            cur_service_td_hash: Digest([0; 48]),
            cur_service_td_attributes: [0; 8],
        });
        let mut attributes = [0; 16];
        attributes[0] = 0x11;
        Self {
            version: if form == Form::Td10 { 4 } else { 5 },
            report: TdReport {
                tee_tcb_svn: TEE_TCB_SVN,
                mr_seam: Digest([0x5e; 48]),
                mr_signer_seam: Digest([0; 48]),
                seam_attributes: [0; 8],
                td_attributes: Attributes(Attributes::SEPT_VE_DISABLE),
                xfam: 0x0006_02e7,
                mr_td: Digest([0x42; 48]),
                mr_config_id: Digest([0; 48]),
                mr_owner: Digest([0; 48]),
                mr_owner_config: Digest([0; 48]),
                rtmr: [0x10, 0x11, 0x12, 0x13].map(|byte| Digest([byte; 48])),
                report_data: [0; 64],
                td15,
                td15_ex,
            },
            qe_report: QeReport {
                cpu_svn: SGX,
                misc_select: [0; 4],
                attributes,
                mr_enclave: [0xe1; 32],
                mr_signer: QE_SIGNER,
                isv_prod_id: 2,
                isv_svn: 4,
                report_data: [0; 64],
            },
            qe_authentication_data: (0..32).collect(),
            vouched: None,
            certification_type: 5,
            certification: None,
            padding: 0,
        }
    }

    /// Header and body.
    fn signed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&KEY_ECDSA_P256.to_le_bytes());
        out.extend_from_slice(&TEE_TDX.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&INTEL_QE_VENDOR);
        out.extend_from_slice(&[0; 20]);
        let form = self.report.form();
        if self.version == 5 {
            out.extend_from_slice(&form.body_type().to_le_bytes());
            out.extend_from_slice(&u32::try_from(form.size()).unwrap_or(0).to_le_bytes());
        }
        out.extend_from_slice(&encode_report(&self.report));
        out
    }
}

/// A TD's report, member after member.
fn encode_report(report: &TdReport) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&report.tee_tcb_svn);
    out.extend_from_slice(&report.mr_seam.0);
    out.extend_from_slice(&report.mr_signer_seam.0);
    out.extend_from_slice(&report.seam_attributes);
    out.extend_from_slice(&report.td_attributes.0.to_le_bytes());
    out.extend_from_slice(&report.xfam.to_le_bytes());
    for digest in [&report.mr_td, &report.mr_config_id, &report.mr_owner, &report.mr_owner_config] {
        out.extend_from_slice(&digest.0);
    }
    for rtmr in &report.rtmr {
        out.extend_from_slice(&rtmr.0);
    }
    out.extend_from_slice(&report.report_data);
    if let Some(td15) = &report.td15 {
        out.extend_from_slice(&td15.tee_tcb_svn2);
        out.extend_from_slice(&td15.mr_service_td.0);
    }
    if let Some(ex) = &report.td15_ex {
        out.push(ex.vm_id);
        out.extend_from_slice(&ex.td_id.0);
        out.extend_from_slice(&ex.dev_info_hash.0);
        out.extend_from_slice(&ex.init_service_td_hash.0);
        out.extend_from_slice(&ex.init_service_td_attributes);
        out.extend_from_slice(&ex.init_cpu_svn);
        out.extend_from_slice(&ex.init_tee_tcb_svn);
        out.extend_from_slice(&ex.init_tee_fmspc);
        out.extend_from_slice(&ex.cur_service_td_hash.0);
        out.extend_from_slice(&ex.cur_service_td_attributes);
    }
    out
}

/// An enclave's report, member after member.
fn encode_enclave(report: &QeReport) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&report.cpu_svn);
    out.extend_from_slice(&report.misc_select);
    out.extend_from_slice(&[0; 28]);
    out.extend_from_slice(&report.attributes);
    out.extend_from_slice(&report.mr_enclave);
    out.extend_from_slice(&[0; 32]);
    out.extend_from_slice(&report.mr_signer);
    out.extend_from_slice(&[0; 96]);
    out.extend_from_slice(&report.isv_prod_id.to_le_bytes());
    out.extend_from_slice(&report.isv_svn.to_le_bytes());
    out.extend_from_slice(&[0; 60]);
    out.extend_from_slice(&report.report_data);
    out
}

/// TCB Info of the platform's family: one level that is up to date, and one below it that is not.
pub(crate) fn tcb_info(now: UnixTime) -> Value {
    let module = |id: &str, isvsvn: [u8; 2]| {
        json!({
            "id": id,
            "mrsigner": "0".repeat(96),
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": [
                module_level(isvsvn[0], "UpToDate", &[]),
                module_level(isvsvn[1], "OutOfDate", &["INTEL-SA-00001"]),
            ],
        })
    };
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": now.saturating_sub(DAY),
        "nextUpdate": now.saturating_add(DAY.saturating_mul(29)),
        "fmspc": hex(&FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION,
        "tdxModule": {
            "mrsigner": "0".repeat(96),
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        },
        "tdxModuleIdentities": [module("TDX_03", [3, 2]), module("TDX_01", [5, 2])],
        "tcbLevels": [
            level(&SGX, 11, &TEE_TCB_SVN, "UpToDate", &[]),
            level(&lower(&SGX, 0), 11, &lower(&TEE_TCB_SVN, 2), "OutOfDate", &["INTEL-SA-00002"]),
        ],
    })
}

/// A level of TCB Info.
pub(crate) fn level(
    sgx: &[u8; 16],
    pce_svn: u16,
    tdx: &[u8; 16],
    status: &str,
    advisories: &[&str],
) -> Value {
    let components = |svns: &[u8; 16]| svns.map(|svn| json!({ "svn": svn })).to_vec();
    json!({
        "tcb": {
            "sgxtcbcomponents": components(sgx),
            "pcesvn": pce_svn,
            "tdxtcbcomponents": components(tdx),
        },
        "tcbDate": "2026-08-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

/// A level of a TDX module or of a quoting enclave.
pub(crate) fn module_level(isvsvn: u8, status: &str, advisories: &[&str]) -> Value {
    json!({
        "tcb": { "isvsvn": isvsvn },
        "tcbDate": "2026-08-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": advisories,
    })
}

/// The identity of the quoting enclave.
pub(crate) fn qe_identity(now: UnixTime) -> Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": now.saturating_sub(DAY),
        "nextUpdate": now.saturating_add(DAY.saturating_mul(29)),
        "tcbEvaluationDataNumber": EVALUATION,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex(&QE_SIGNER),
        "isvprodid": 2,
        "tcbLevels": [
            module_level(4, "UpToDate", &[]),
            module_level(2, "OutOfDate", &["INTEL-SA-00003"]),
        ],
    })
}

/// The same with the component at `index` one lower.
pub(crate) fn lower(svns: &[u8; 16], index: usize) -> [u8; 16] {
    let mut lower = *svns;
    if let Some(svn) = lower.get_mut(index) {
        *svn = svn.saturating_sub(1);
    }
    lower
}

/// Certificates in PEM, as the quoting enclave writes them: with a zero byte at the end.
pub(crate) fn pem(chain: &[Vec<u8>]) -> String {
    let block = |der: &Vec<u8>| {
        let body = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    chain.iter().map(block).collect::<String>() + "\0"
}

/// `x ‖ y`.
fn point(key: &Key) -> &[u8] {
    key.public().get(1..).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"))
}

fn len16(bytes: &[u8]) -> Result<[u8; 2], SimError> {
    u16::try_from(bytes.len()).map(u16::to_le_bytes).map_err(|_| too_long())
}

fn len32(bytes: &[u8]) -> Result<[u8; 4], SimError> {
    u32::try_from(bytes.len()).map(u32::to_le_bytes).map_err(|_| too_long())
}

fn too_long() -> SimError {
    SimError::Argument("a part of the quote is longer than its length can say".to_owned())
}
