//! A TDX platform as data: Intel's authorities, what they say of a platform, and its quotes.
//!
//! Everything copies the structure of Intel's own: [`IntelPki`] issues, [`Collateral`] is what the provisioning
//! service says, [`QuoteRecipe`] what a TD says. A test that wants one defect changes one field before it signs.

use std::sync::Arc;

use attestation::endorsements::Kind;
use attestation::{Endorsements, ReportData, Secret, UnixTime};

use crate::certificate::{
    CertificateRecipe, Extension, KEY_USAGE_CERTIFICATES_AND_CRLS, Name, Signing, Validity,
    authority_key_id, key_id,
};
use crate::crl::CrlRecipe;
use crate::der::{self, oid, tag};
use crate::error::SimError;
use crate::keys::P256Key;

mod collateral;
mod log;
mod quote;

pub use collateral::{Collateral, Level, QeIdentityRecipe, TcbInfoRecipe};
pub use log::{EventLogRecipe, LoggedEvent};
pub use quote::{QuoteRecipe, Td15Recipe, TdReportRecipe};

/// The keys of a simulated Intel, and of one platform that it certified.
#[derive(Debug)]
pub struct IntelKeys {
    /// Of the root.
    pub root: P256Key,
    /// Of the authority that certifies platforms.
    pub platform_ca: P256Key,
    /// Of who signs TCB Info and QE Identity.
    pub tcb_signer: P256Key,
    /// Of the platform: its PCK.
    pub pck: P256Key,
    /// Of the quoting enclave.
    pub attestation: P256Key,
}

impl IntelKeys {
    /// New keys.
    pub fn generate() -> Result<Self, SimError> {
        Ok(Self {
            root: P256Key::generate()?,
            platform_ca: P256Key::generate()?,
            tcb_signer: P256Key::generate()?,
            pck: P256Key::generate()?,
            attestation: P256Key::generate()?,
        })
    }

    /// The key that quotes are signed with, in PKCS#8: all that a platform needs once it is certified.
    pub fn attestation_pkcs8(&self) -> Result<Secret<Vec<u8>>, SimError> {
        self.attestation.to_pkcs8()
    }
}

/// What a platform is, as its PCK's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckPlatform {
    /// PPID.
    pub ppid: [u8; 16],
    /// The SGX TCB, component by component.
    pub sgx: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// PCE-ID.
    pub pce_id: [u8; 2],
    /// FMSPC.
    pub fmspc: [u8; 6],
    /// 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Platform instance id.
    pub instance_id: [u8; 16],
    /// Whether processors may be added, whether Intel keeps its root keys, and multithreading.
    pub flags: [bool; 3],
}

impl Default for PckPlatform {
    /// A platform like those of clouds today.
    fn default() -> Self {
        let mut sgx = [0; 16];
        for (component, svn) in sgx.iter_mut().zip([3, 3, 2, 2, 4, 1, 0, 5]) {
            *component = svn;
        }
        Self {
            ppid: [0x51; 16],
            sgx,
            pce_svn: 13,
            pce_id: [0, 0],
            fmspc: [0x90, 0xc0, 0x6f, 0, 0, 0],
            sgx_type: 1,
            instance_id: [0x52; 16],
            flags: [true, false, true],
        }
    }
}

impl PckPlatform {
    /// The value of Intel's SGX extension.
    pub fn extension(&self) -> Vec<u8> {
        let at = |arcs: &[u64], value: Vec<u8>| {
            let oid = [oid::SGX, arcs].concat();
            der::sequence(&[&der::object(&oid), &value])
        };
        let components = (1_u64..).zip(self.sgx);
        let mut tcb: Vec<Vec<u8>> = components
            .map(|(number, svn)| at(&[2, number], der::integer(u64::from(svn))))
            .collect();
        tcb.push(at(&[2, 17], der::integer(u64::from(self.pce_svn))));
        // CPUSVN is the components again, as the processor writes them.
        tcb.push(at(&[2, 18], der::octet_string(&self.sgx)));
        let flags = (1_u64..).zip(self.flags);
        let flags: Vec<Vec<u8>> =
            flags.map(|(number, flag)| at(&[7, number], der::boolean(flag))).collect();
        let members = [
            at(&[1], der::octet_string(&self.ppid)),
            at(&[2], der::tlv(tag::SEQUENCE, &tcb.concat())),
            at(&[3], der::octet_string(&self.pce_id)),
            at(&[4], der::octet_string(&self.fmspc)),
            at(&[5], der::tlv(tag::ENUMERATED, &[self.sgx_type])),
            at(&[6], der::octet_string(&self.instance_id)),
            at(&[7], der::tlv(tag::SEQUENCE, &flags.concat())),
        ];
        der::tlv(tag::SEQUENCE, &members.concat())
    }
}

/// A simulated Intel.
#[derive(Debug, Clone)]
pub struct IntelPki {
    keys: Arc<IntelKeys>,
    validity: Validity,
    root: Vec<u8>,
    platform_ca: Vec<u8>,
    tcb_signer: Vec<u8>,
}

impl IntelPki {
    /// A PKI over these keys.
    pub fn new(keys: Arc<IntelKeys>, validity: Validity) -> Result<Self, SimError> {
        let empty = Vec::new;
        let mut pki =
            Self { keys, validity, root: empty(), platform_ca: empty(), tcb_signer: empty() };
        pki.root = pki.root_recipe().sign(&pki.keys.root)?;
        pki.platform_ca = pki.platform_ca_recipe().sign(&pki.keys.root)?;
        pki.tcb_signer = pki.tcb_signer_recipe().sign(&pki.keys.root)?;
        Ok(pki)
    }

    /// Its keys.
    pub fn keys(&self) -> &IntelKeys {
        &self.keys
    }

    /// The validity of all that it signs.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The certificate of the authority that certifies platforms, DER.
    pub fn platform_ca(&self) -> &[u8] {
        &self.platform_ca
    }

    /// The certificate of who signs TCB Info and QE Identity, DER.
    pub fn tcb_signer(&self) -> &[u8] {
        &self.tcb_signer
    }

    /// The root's recipe.
    pub fn root_recipe(&self) -> CertificateRecipe {
        self.authority("Intel SGX Root CA", 1, 1, self.keys.root.spki())
    }

    /// The recipe of the authority that certifies platforms.
    pub fn platform_ca_recipe(&self) -> CertificateRecipe {
        self.authority("Intel SGX PCK Platform CA", 2, 0, self.keys.platform_ca.spki())
    }

    /// The recipe of who signs TCB Info and QE Identity.
    pub fn tcb_signer_recipe(&self) -> CertificateRecipe {
        let (issuer, spki) = (("Intel SGX Root CA", &self.keys.root), self.keys.tcb_signer.spki());
        self.end_entity("Intel SGX TCB Signing", issuer, 3, spki)
    }

    /// The recipe of a platform's PCK.
    pub fn pck_recipe(&self, platform: &PckPlatform) -> CertificateRecipe {
        let issuer = ("Intel SGX PCK Platform CA", &self.keys.platform_ca);
        let mut recipe =
            self.end_entity("Intel SGX PCK Certificate", issuer, 4, self.keys.pck.spki());
        recipe.extensions.push(Extension::plain(oid::SGX, platform.extension()));
        recipe
    }

    /// The root's list, which revokes nothing.
    pub fn root_crl_recipe(&self, number: u64) -> CrlRecipe {
        self.list("Intel SGX Root CA", number, &self.keys.root)
    }

    /// The list of the authority that certifies platforms, which revokes nothing.
    pub fn pck_crl_recipe(&self, number: u64) -> CrlRecipe {
        self.list("Intel SGX PCK Platform CA", number, &self.keys.platform_ca)
    }

    /// The PCK's chain in PEM, as quotes carry it.
    pub fn pck_chain(&self, platform: &PckPlatform) -> Result<String, SimError> {
        let pck = self.pck_recipe(platform).sign(&self.keys.platform_ca)?;
        Ok(crate::bundle(&[&pck, &self.platform_ca, &self.root], &[])?.to_pem())
    }

    /// What Intel says of such a platform: the documents, who signed them, and lists that revoke nothing.
    pub fn endorse(
        &self,
        collateral: &Collateral,
        crl_number: u64,
    ) -> Result<Endorsements, SimError> {
        let refused = |malformed: attestation::Malformed| SimError::Argument(malformed.to_string());
        let root_crl = self.root_crl_recipe(crl_number).sign(&self.keys.root)?;
        let pck_crl = self.pck_crl_recipe(crl_number).sign(&self.keys.platform_ca)?;
        let mut all = crate::bundle(&[&self.tcb_signer], &[&root_crl, &pck_crl])?;
        let tcb_info = collateral.tcb_info.sign(&self.keys.tcb_signer)?;
        let qe_identity = collateral.qe_identity.sign(&self.keys.tcb_signer)?;
        all.add_item(Kind::TcbInfo, &tcb_info).map_err(refused)?;
        all.add_item(Kind::QeIdentity, &qe_identity).map_err(refused)?;
        Ok(all)
    }

    /// A quote of the platform, signed.
    pub fn quote(
        &self,
        recipe: &QuoteRecipe,
        platform: &PckPlatform,
        report_data: &ReportData,
    ) -> Result<Vec<u8>, SimError> {
        let chain = self.pck_chain(platform)?;
        recipe.clone().report_data(report_data).sign(&self.keys, chain.as_bytes())
    }

    fn authority(&self, name: &str, serial: u64, path: u64, spki: Vec<u8>) -> CertificateRecipe {
        let subject_key_id = key_id(&spki);
        let constraints = der::sequence(&[&der::boolean(true), &der::integer(path)]);
        CertificateRecipe {
            serial: der::integer(serial),
            signing: Signing::ecdsa_sha256(),
            issuer: Name::intel("Intel SGX Root CA"),
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            subject: Name::intel(name),
            spki,
            extensions: vec![
                authority_key(&self.keys.root),
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&subject_key_id)),
                Extension::critical(oid::KEY_USAGE, KEY_USAGE_CERTIFICATES_AND_CRLS.to_vec()),
                Extension::critical(oid::BASIC_CONSTRAINTS, constraints),
            ],
        }
    }

    fn end_entity(
        &self,
        name: &str,
        (issuer, issuer_key): (&str, &P256Key),
        serial: u64,
        spki: Vec<u8>,
    ) -> CertificateRecipe {
        let subject_key_id = key_id(&spki);
        CertificateRecipe {
            serial: der::integer(serial),
            signing: Signing::ecdsa_sha256(),
            issuer: Name::intel(issuer),
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            subject: Name::intel(name),
            spki,
            extensions: vec![
                authority_key(issuer_key),
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&subject_key_id)),
                Extension::critical(oid::KEY_USAGE, KEY_USAGE_SIGNATURES.to_vec()),
                Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[])),
            ],
        }
    }

    fn list(&self, issuer: &str, number: u64, key: &P256Key) -> CrlRecipe {
        CrlRecipe {
            signing: Signing::ecdsa_sha256(),
            issuer: Name::intel(issuer),
            this_update: self.validity.not_before,
            next_update: Some(self.validity.not_after),
            revoked: Vec::new(),
            extensions: vec![
                Extension::plain(oid::CRL_NUMBER, der::integer(number)),
                authority_key(key),
            ],
        }
    }
}

fn authority_key(issuer: &P256Key) -> Extension {
    Extension::plain(oid::AUTHORITY_KEY_ID, authority_key_id(&issuer.spki()))
}

/// RFC 3339 to the second, as Intel writes dates.
pub(crate) fn date(at: UnixTime) -> String {
    at.to_string()
}

/// `digitalSignature` and `nonRepudiation`.
const KEY_USAGE_SIGNATURES: [u8; 4] = [tag::BIT_STRING, 2, 6, 0xc0];
