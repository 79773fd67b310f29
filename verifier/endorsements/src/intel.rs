//! Intel's Provisioning Certification Service, version 4.

use std::fmt;

use attestation::Malformed;
use attestation::tdx::TcbInfo;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::der::{Der, OBJECT, OCTET_STRING, SEQUENCE};
use crate::document::{Document, Kind, Part};
use crate::error::Why;
use crate::item::parts_of;
use crate::x509::{Certificate, Crl};

/// Which authority issued a PCK certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PckCa {
    /// For platforms of several packages, and all that are registered as such.
    Platform,
    /// For single packages.
    Processor,
}

impl PckCa {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Platform, Self::Processor];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// Its name in certificates.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "Intel SGX PCK Platform CA",
            Self::Processor => "Intel SGX PCK Processor CA",
        }
    }
}

/// Which of Intel's two series of TCB recoveries is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// Once platforms had time to update.
    #[default]
    Standard,
    /// As soon as it is published.
    Early,
}

impl Update {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Early => "early",
        }
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) fn pck_crl_path(ca: PckCa) -> String {
    format!("sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.as_str())
}

pub(crate) fn tcb_info_path(fmspc: [u8; 6], update: Update) -> String {
    format!("tdx/certification/v4/tcb?fmspc={}&update={update}", hex::encode(fmspc))
}

pub(crate) fn qe_identity_path(update: Update) -> String {
    format!("tdx/certification/v4/qe/identity?update={update}")
}

/// A list, in DER, PEM or, as Intel's own cache answers, hex; and its issuer's chain, where the answer
/// has one.
pub(crate) fn read_crl(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Part>, Malformed> {
    let mut parts = parts_of(body)?;
    if headers.contains_key(PCK_CRL_CHAIN) {
        parts.extend(chain(headers, PCK_CRL_CHAIN)?);
    }
    Ok(parts)
}

/// TCB Info and its issuer's chain.
pub(crate) fn read_tcb_info(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Part>, Malformed> {
    let mut parts = parts_of(body)?;
    parts.extend(chain(headers, TCB_INFO_CHAIN)?);
    Ok(parts)
}

/// QE identity and its issuer's chain.
pub(crate) fn read_qe_identity(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Part>, Malformed> {
    let mut parts = parts_of(body)?;
    parts.extend(chain(headers, QE_IDENTITY_CHAIN)?);
    Ok(parts)
}

/// A list of this issuer.
pub(crate) fn check_crl(document: &Document, issuer: &str) -> Result<(), Why> {
    if Crl::parse(document.only(Kind::Crl)?)?.issuer() != issuer {
        return Err(Why::OtherSubject("issuer"));
    }
    match document.of(Kind::Certificate).next() {
        Some(_) => check_chain(document, issuer),
        None => Ok(()),
    }
}

/// TDX TCB Info of this platform family.
pub(crate) fn check_tcb_info(document: &Document, fmspc: [u8; 6]) -> Result<(), Why> {
    if TcbInfo::parse(document.only(Kind::TcbInfo)?)?.fmspc != fmspc {
        return Err(Why::OtherSubject("FMSPC"));
    }
    check_chain(document, TCB_SIGNER)
}

/// The identity of TDX's quoting enclave.
pub(crate) fn check_qe_identity(document: &Document) -> Result<(), Why> {
    document.only(Kind::QeIdentity)?;
    check_chain(document, TCB_SIGNER)
}

/// Two certificates: the signer, called `signer`, and the root.
fn check_chain(document: &Document, signer: &str) -> Result<(), Why> {
    let certificates: Vec<&[u8]> = document.of(Kind::Certificate).collect();
    let [first, root] = certificates.as_slice() else {
        return Err(Malformed::invalid("chain", "is not a signer and a root").into());
    };
    let (first, root) = (Certificate::parse(first)?, Certificate::parse(root)?);
    if !first.names_issuer(&root) || !root.is_root() {
        return Err(Malformed::invalid("chain", "is not a signer and its root").into());
    }
    if first.subject() == signer && root.subject() == ROOT {
        Ok(())
    } else {
        Err(Why::OtherSubject("signer"))
    }
}

/// Certificates in PEM, percent-encoded, from one header.
fn chain(headers: &HeaderMap, name: &str) -> Result<Vec<Part>, Malformed> {
    let bad = || Malformed::invalid("answer", "has no chain of its issuer in one header");
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(bad)?;
    if values.next().is_some() {
        return Err(bad());
    }
    parts_of(value.as_bytes())
}

pub(crate) const ROOT: &str = "Intel SGX Root CA";
const TCB_SIGNER: &str = "Intel SGX TCB Signing";
const PCK_CRL_CHAIN: &str = "sgx-pck-crl-issuer-chain";
const TCB_INFO_CHAIN: &str = "tcb-info-issuer-chain";
const QE_IDENTITY_CHAIN: &str = "sgx-enclave-identity-issuer-chain";

/// Which authority issued a PCK certificate, and for which family of platforms.
pub(crate) fn pck(der: &[u8]) -> Result<(PckCa, [u8; 6]), Malformed> {
    let certificate = Certificate::parse(der)?;
    let issuer = certificate.issuer();
    let ca = PckCa::ALL.into_iter().find(|ca| ca.name() == issuer);
    let ca = ca.ok_or(Malformed::invalid("PCK certificate", "is issued by no PCK authority"))?;
    let fmspc = certificate.extension(SGX_EXTENSIONS).and_then(fmspc);
    fmspc
        .map(|fmspc| (ca, fmspc))
        .ok_or(Malformed::invalid("PCK certificate", "does not say of which family it is"))
}

/// The FMSPC among the SGX extensions: `SEQUENCE OF SEQUENCE { id, value }`.
fn fmspc(extensions: &[u8]) -> Option<[u8; 6]> {
    let mut list = Der::new(extensions).enter(SEQUENCE)?;
    while !list.is_empty() {
        let mut extension = list.enter(SEQUENCE)?;
        if extension.take(OBJECT)? == FMSPC {
            return extension.take(OCTET_STRING)?.try_into().ok();
        }
    }
    None
}

/// 1.2.840.113741.1.13.1: above everything that a PCK certificate says of its platform.
const SGX_EXTENSIONS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1];
/// 1.2.840.113741.1.13.1.4.
const FMSPC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1, 4];
