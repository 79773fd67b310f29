//! What can be asked for: how it is called, where it is, what an answer has to be.

use std::fmt;

use attestation::snp::{Product, TcbVersion};
use attestation::{Endorsements, Malformed, Sha256};
use http::HeaderMap;

use crate::config::{Config, Vendor};
use crate::document::{Document, Kind, Part};
use crate::error::Why;
use crate::intel::{PckCa, Update};
use crate::ocsp::{self, Answer, NONCE_LEN};
use crate::x509::Certificate;
use crate::{amd, intel, nvidia};

/// Which of AMD's two kinds of keys.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AmdKey {
    /// A chip's own.
    Vcek,
    /// One that a cloud provider loaded.
    Vlek,
}

impl AmdKey {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

/// One thing that a vendor's service has.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// The certificate of a chip's key for a TCB.
    AmdVcek {
        /// The product.
        product: Product,
        /// The octets of `CHIP_ID` that name the chip.
        hwid: Vec<u8>,
        /// The TCB that the report states.
        tcb: TcbVersion,
    },
    /// A product's intermediate and root.
    AmdChain(Product, AmdKey),
    /// A product's revocation list.
    AmdCrl(Product, AmdKey),
    /// The revocation list of one of Intel's PCK authorities.
    IntelPckCrl(PckCa),
    /// The revocation list of Intel's root.
    IntelRootCrl,
    /// TDX TCB Info of a platform family.
    IntelTcbInfo {
        /// The family.
        fmspc: [u8; 6],
        /// The series.
        update: Update,
    },
    /// The identity of TDX's quoting enclave.
    IntelQeIdentity {
        /// The series.
        update: Update,
    },
    /// The status of a certificate of a GPU's or switch's chain.
    NvidiaOcsp {
        /// The certificate, DER.
        certificate: Vec<u8>,
        /// Its issuer's, DER.
        issuer: Vec<u8>,
    },
    /// A reference integrity manifest, which `veritee policy import-rim` reads.
    NvidiaRim {
        /// Its id.
        id: String,
    },
}

/// One question to one service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    pub(crate) url: String,
    /// Posted; nothing is got.
    pub(crate) post: Option<Vec<u8>>,
    /// Answers have to repeat it.
    pub(crate) nonce: Option<[u8; NONCE_LEN]>,
}

impl Item {
    /// An item for the VCEK of a chip.
    pub fn vcek(product: Product, chip_id: &[u8; 64], tcb: TcbVersion) -> Self {
        let hwid = chip_id.get(..amd::hwid_len(product)).unwrap_or(chip_id).to_vec();
        Self::AmdVcek { product, hwid, tcb }
    }

    /// A manifest by its id.
    ///
    /// # Errors
    /// An id that cannot be one.
    pub fn rim(id: &str) -> Result<Self, Malformed> {
        if nvidia::is_rim_id(id) {
            Ok(Self::NvidiaRim { id: id.to_owned() })
        } else {
            Err(Malformed::invalid(
                "RIM id",
                "has other characters than letters, digits, _, - and .",
            ))
        }
    }

    /// Its name: stable, and safe to show.
    pub fn name(&self) -> String {
        match self {
            Self::AmdVcek { product, hwid, tcb } => {
                let tcb = hex::encode(tcb.to_raw(*product));
                format!("amd/{product}/vcek/{}/{tcb}", hex::encode(hwid))
            }
            Self::AmdChain(product, key) => format!("amd/{product}/{}-chain", key.as_str()),
            Self::AmdCrl(product, key) => format!("amd/{product}/{}-crl", key.as_str()),
            Self::IntelPckCrl(ca) => format!("intel/pck-crl/{}", ca.as_str()),
            Self::IntelRootCrl => "intel/root-crl".to_owned(),
            Self::IntelTcbInfo { fmspc, update } => {
                format!("intel/tdx-tcb-info/{}/{update}", hex::encode(fmspc))
            }
            Self::IntelQeIdentity { update } => format!("intel/tdx-qe-identity/{update}"),
            Self::NvidiaOcsp { certificate, issuer } => {
                format!("nvidia/ocsp/{}", Sha256::of_parts(&[certificate, issuer]))
            }
            Self::NvidiaRim { id } => format!("nvidia/rim/{id}"),
        }
    }

    /// Whose service has it.
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::AmdVcek { .. } | Self::AmdChain(..) | Self::AmdCrl(..) => Vendor::Amd,
            Self::IntelPckCrl(_)
            | Self::IntelRootCrl
            | Self::IntelTcbInfo { .. }
            | Self::IntelQeIdentity { .. } => Vendor::Intel,
            Self::NvidiaOcsp { .. } | Self::NvidiaRim { .. } => Vendor::Nvidia,
        }
    }

    /// Whether having it may answer a finding of the verifier's with this code.
    pub fn answers(&self, code: &str) -> bool {
        let codes: &[&str] = match self {
            Self::AmdVcek { .. } => &["vek-missing"],
            // The verifier has AMD's own; under roots of the policy's another one is needed, which has
            // the same name.
            Self::AmdChain(..) => {
                &["vek-missing", "intermediate-missing", "certificate-signature-invalid"]
            }
            Self::AmdCrl(..) | Self::IntelPckCrl(_) | Self::IntelRootCrl => {
                &["crl-missing", "crl-expired"]
            }
            Self::IntelTcbInfo { .. } => {
                &["tcb-info-missing", "tcb-info-expired", "tcb-signer-missing"]
            }
            Self::IntelQeIdentity { .. } => {
                &["qe-identity-missing", "qe-identity-expired", "tcb-signer-missing"]
            }
            Self::NvidiaOcsp { .. } => &["ocsp-missing", "ocsp-expired"],
            Self::NvidiaRim { .. } => &[],
        };
        codes.contains(&code)
    }

    /// What is asked, at one address after the other until one answers.
    pub(crate) fn questions(
        &self,
        config: &Config,
        nonce: [u8; NONCE_LEN],
    ) -> Result<Vec<Question>, Malformed> {
        let get = |bases: &[String], path: &str| -> Vec<Question> {
            bases.iter().map(|base| Question::get(join(base, path))).collect()
        };
        Ok(match self {
            Self::AmdVcek { product, hwid, tcb } => {
                get(&config.amd, &amd::vcek_path(*product, hwid, *tcb))
            }
            Self::AmdChain(product, key) => {
                get(&config.amd, &amd::path(*product, *key, "cert_chain"))
            }
            Self::AmdCrl(product, key) => get(&config.amd, &amd::path(*product, *key, "crl")),
            Self::IntelPckCrl(ca) => get(&config.intel, &intel::pck_crl_path(*ca)),
            Self::IntelRootCrl => {
                config.intel_root_crl.iter().cloned().map(Question::get).collect()
            }
            Self::IntelTcbInfo { fmspc, update } => {
                get(&config.intel, &intel::tcb_info_path(*fmspc, *update))
            }
            Self::IntelQeIdentity { update } => {
                get(&config.intel, &intel::qe_identity_path(*update))
            }
            Self::NvidiaOcsp { certificate, issuer } => {
                let certificate = Certificate::parse(certificate)?;
                let request = ocsp::request(&certificate, &Certificate::parse(issuer)?, &nonce);
                let ask = |url: &String| Question {
                    url: url.clone(),
                    post: Some(request.clone()),
                    nonce: Some(nonce),
                };
                config.nvidia_ocsp.iter().map(ask).collect()
            }
            Self::NvidiaRim { id } => get(&config.nvidia_rim, &nvidia::rim_path(id)),
        })
    }

    /// Reads an answer: only what was asked for, to the last octet.
    pub(crate) fn read(
        &self,
        question: &Question,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Document, Why> {
        let parts = match self {
            Self::AmdVcek { .. } | Self::AmdChain(..) => amd::read_certificates(body)?,
            Self::AmdCrl(..) => amd::read_crl(body)?,
            Self::IntelPckCrl(_) | Self::IntelRootCrl => intel::read_crl(headers, body)?,
            Self::IntelTcbInfo { .. } => intel::read_tcb_info(headers, body)?,
            Self::IntelQeIdentity { .. } => intel::read_qe_identity(headers, body)?,
            Self::NvidiaOcsp { .. } => {
                let answer = Answer::parse(body)?;
                if question.nonce.is_some_and(|nonce| !answer.repeats(&nonce)) {
                    return Err(Why::Nonce);
                }
                vec![Part::new(Kind::OcspResponse, body.to_vec())]
            }
            Self::NvidiaRim { id } => nvidia::read_rim(id, body)?,
        };
        let document = Document::read(parts)?;
        self.check(&document)?;
        Ok(document)
    }

    /// Whether `document` is about this item, and has the parts that it must have.
    pub(crate) fn check(&self, document: &Document) -> Result<(), Why> {
        match self {
            Self::AmdVcek { product: _, hwid, tcb } => amd::check_vcek(document, hwid, *tcb),
            Self::AmdChain(product, key) => amd::check_chain(document, *product, *key),
            Self::AmdCrl(product, _) => amd::check_crl(document, *product),
            Self::IntelPckCrl(ca) => intel::check_crl(document, ca.name()),
            Self::IntelRootCrl => intel::check_crl(document, intel::ROOT),
            Self::IntelTcbInfo { fmspc, update: _ } => intel::check_tcb_info(document, *fmspc),
            Self::IntelQeIdentity { update: _ } => intel::check_qe_identity(document),
            Self::NvidiaOcsp { certificate, issuer } => {
                nvidia::check_ocsp(document, certificate, issuer)
            }
            Self::NvidiaRim { .. } => nvidia::check_rim(document),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Question {
    pub(crate) const fn get(url: String) -> Self {
        Self { url, post: None, nonce: None }
    }
}

/// Certificates, lists and what else the pool tells apart, in each of its forms.
pub(crate) fn parts_of(bytes: &[u8]) -> Result<Vec<Part>, Malformed> {
    let mut pool = Endorsements::new();
    pool.add(bytes)?;
    let kinds = Kind::ALL.into_iter().filter_map(|kind| Some((kind, kind.in_pool()?)));
    let parts = kinds.flat_map(|(kind, items)| {
        pool.items(items).iter().map(move |item| Part::new(kind, item.clone()))
    });
    Ok(parts.collect())
}

fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}
