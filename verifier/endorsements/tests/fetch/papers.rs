//! Documents of the form that the vendors' have, under keys of our own.

use attestation::snp::{Product, TcbVersion};
use attestation::{Sha384, UnixTime};
use endorsements::Item;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use sim::{ChipId, CrlRecipe, Pki, PkiOptions, Validity};
use time::OffsetDateTime;

use crate::stage::NOW;

pub(crate) const TCB: TcbVersion =
    TcbVersion { fmc: None, bootloader: 9, tee: 0, snp: 23, microcode: 72 };

pub(crate) fn at(offset: i64) -> UnixTime {
    UnixTime::from_secs(NOW.checked_add_signed(offset).unwrap())
}

pub(crate) const DAY: i64 = 24 * 60 * 60;

/// AMD's chain of a product.
pub(crate) fn pki(product: Product) -> Pki {
    let validity = Validity { not_before: at(-DAY), not_after: at(25 * DAY) };
    Pki::shared(PkiOptions { product, validity }).unwrap()
}

pub(crate) fn vcek(pki: &Pki, tcb: TcbVersion, chip: u8) -> Vec<u8> {
    let chip = ChipId::of(pki.options().product, chip);
    pki.issue_vcek(tcb, &chip).unwrap().certificate
}

pub(crate) fn vcek_item(product: Product, tcb: TcbVersion, chip: u8) -> Item {
    Item::vcek(product, &ChipId::of(product, chip).0, tcb)
}

pub(crate) fn amd_crl(product: Product, number: u64, from: i64, to: i64) -> Vec<u8> {
    let pki = pki(product);
    let CrlRecipe { signing, issuer, revoked, extensions, .. } = pki.crl_recipe(number).unwrap();
    let recipe = CrlRecipe {
        signing,
        issuer,
        this_update: at(from),
        next_update: Some(at(to)),
        revoked,
        extensions,
    };
    pki.sign_crl(&recipe).unwrap()
}

pub(crate) fn pem(certificates: &[&[u8]]) -> String {
    certificates.iter().fold(String::new(), |mut all, der| {
        let mut one = attestation::Endorsements::new();
        one.add_certificate(der).unwrap();
        all.push_str(&one.to_pem());
        all
    })
}

/// A root and an issuer under it.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(at(-DAY));
    params.not_after = date(at(3000 * DAY));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn date(time: UnixTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(time.as_secs()).unwrap()).unwrap()
}

impl Authority {
    pub(crate) fn new(root: &str, issuer: &str) -> Self {
        let root = CertifiedIssuer::self_signed(params(root), key()).unwrap();
        let issuer = CertifiedIssuer::signed_by(params(issuer), key(), &root).unwrap();
        Self { root, issuer }
    }

    pub(crate) fn intel(signer: &str) -> Self {
        Self::new("Intel SGX Root CA", signer)
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    pub(crate) fn issuer(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// A certificate of the issuer's.
    pub(crate) fn issue(&self, name: &str) -> Vec<u8> {
        params(name).signed_by(&key(), &self.issuer).unwrap().der().to_vec()
    }

    /// Issuer and root as Intel's headers have them.
    pub(crate) fn header(&self) -> String {
        let pem = pem(&[&self.issuer(), &self.root()]);
        let escape = |octet: u8| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(octet).to_string(),
            other => format!("%{other:02X}"),
        };
        pem.bytes().map(escape).collect()
    }

    pub(crate) fn crl(&self, number: u64, from: i64, to: i64) -> Vec<u8> {
        crl(&self.issuer, number, from, to)
    }

    pub(crate) fn root_crl(&self, number: u64, from: i64, to: i64) -> Vec<u8> {
        crl(&self.root, number, from, to)
    }
}

fn crl(issuer: &CertifiedIssuer<'static, KeyPair>, number: u64, from: i64, to: i64) -> Vec<u8> {
    let params = CertificateRevocationListParams {
        this_update: date(at(from)),
        next_update: date(at(to)),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().to_vec()
}

pub(crate) const FMSPC: [u8; 6] = [0, 0xa0, 0x6d, 8, 0, 0];

/// TDX TCB Info of [`FMSPC`]; nobody here looks at the signature.
pub(crate) fn tcb_info(number: u32, from: i64, to: i64) -> Vec<u8> {
    let zeros = "0".repeat(96);
    let more = format!(
        "\"fmspc\":\"00A06D080000\",\"pceId\":\"0000\",\"tcbType\":0,\"tdxModule\":{{\"mrsigner\":\"{zeros}\",\
         \"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"}}"
    );
    signed("tcbInfo", "TDX", 3, (number, from, to), &more)
}

/// The identity of TDX's quoting enclave, likewise.
pub(crate) fn qe_identity(number: u32, from: i64, to: i64) -> Vec<u8> {
    let (attributes, signer) = ("0".repeat(32), "0".repeat(64));
    let more = format!(
        "\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"{attributes}\",\
         \"attributesMask\":\"{attributes}\",\"mrsigner\":\"{signer}\",\"isvprodid\":2"
    );
    signed("enclaveIdentity", "TD_QE", 2, (number, from, to), &more)
}

fn signed(member: &str, id: &str, version: u32, when: (u32, i64, i64), more: &str) -> Vec<u8> {
    let (number, from, to) = (when.0, at(when.1), at(when.2));
    let signature = "00".repeat(64);
    format!(
        "{{\"{member}\":{{\"id\":\"{id}\",\"version\":{version},\"issueDate\":\"{from}\",\
         \"nextUpdate\":\"{to}\",\"tcbEvaluationDataNumber\":{number},{more},\"tcbLevels\":[]}},\
         \"signature\":\"{signature}\"}}"
    )
    .into_bytes()
}

/// An OCSP response about `serial` of `issuer`.
pub(crate) struct Response<'a> {
    pub(crate) issuer: &'a [u8],
    pub(crate) serial: Vec<u8>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) from: i64,
    pub(crate) to: Option<i64>,
    pub(crate) status: u8,
}

impl Response<'_> {
    pub(crate) fn der(&self) -> Vec<u8> {
        use sim::der::{bit_string, null, object, octet_string, oid, sequence, tlv};
        let time = |offset| {
            let text = at(offset).to_string();
            tlv(0x18, text.replace(['-', ':', 'T'], "").as_bytes())
        };
        let (_, issuer) = x509_parser::parse_x509_certificate(self.issuer).unwrap();
        let id = sequence(&[
            &sequence(&[&object(oid::SHA384)]),
            &octet_string(&Sha384::of(issuer.subject().as_raw()).0),
            &octet_string(&Sha384::of(&issuer.public_key().subject_public_key.data).0),
            &tlv(2, &self.serial),
        ]);
        let next = self.to.map(|to| tlv(0xa0, &time(to))).unwrap_or_default();
        let single = sequence(&[&id, &tlv(0x80, &[]), &time(self.from), &next]);
        let nonce = self.nonce.as_ref().map(|nonce| {
            let extension = sequence(&[&object(NONCE), &octet_string(&octet_string(nonce))]);
            tlv(0xa1, &sequence(&[&extension]))
        });
        let data = sequence(&[
            &tlv(0xa1, issuer.subject().as_raw()),
            &time(self.from),
            &sequence(&[&single]),
            &nonce.unwrap_or_default(),
        ]);
        let algorithm = sequence(&[&object(oid::SHA384_WITH_RSA), &null()]);
        let basic = sequence(&[&data, &algorithm, &bit_string(&[1, 2, 3])]);
        let bytes = sequence(&[&object(BASIC), &octet_string(&basic)]);
        sequence(&[&tlv(0x0a, &[self.status]), &tlv(0xa0, &bytes)])
    }
}

/// The nonce of a request: the last octets of it.
pub(crate) fn nonce_of(request: &[u8]) -> Vec<u8> {
    request.get(request.len().saturating_sub(32)..).unwrap().to_vec()
}

pub(crate) fn serial(certificate: &[u8]) -> Vec<u8> {
    x509_parser::parse_x509_certificate(certificate).unwrap().1.raw_serial().to_vec()
}

const NONCE: sim::der::Oid = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];
const BASIC: sim::der::Oid = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
