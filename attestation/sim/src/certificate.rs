//! Certificates as data: a recipe says everything that a certificate says, and signing it is one call.
//!
//! [`CertificateRecipe::ark`] and its sisters copy the structure of AMD's own certificates field by field; a test that
//! wants one defect changes one field before it signs.

use attestation::UnixTime;
use attestation::snp::{Product, TcbVersion};
use ring::digest;

use crate::der::{self, Oid, oid, tag};
use crate::error::SimError;
use crate::keys::{Issuer, Padding};

/// Everything a certificate says, before it is signed.
#[derive(Debug, Clone)]
pub struct CertificateRecipe {
    /// The finished `INTEGER` of the serial number.
    pub serial: Vec<u8>,
    /// How it is signed, and what it says about that.
    pub signing: Signing,
    /// The issuer.
    pub issuer: Name,
    /// First moment of validity.
    pub not_before: UnixTime,
    /// Last moment of validity.
    pub not_after: UnixTime,
    /// The subject.
    pub subject: Name,
    /// The finished `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
    /// The extensions, in order.
    pub extensions: Vec<Extension>,
}

impl CertificateRecipe {
    /// The root, ARK, which signs itself.
    pub fn ark(product: Product, validity: Validity, spki: Vec<u8>) -> Self {
        let key_id = key_id(&spki);
        Self {
            serial: der::integer(serial_base(product)),
            signing: Signing::amd_authority(),
            issuer: Name::amd(&format!("ARK-{}", product.name())),
            not_before: validity.not_before,
            not_after: validity.not_after,
            subject: Name::amd(&format!("ARK-{}", product.name())),
            spki,
            extensions: vec![
                Extension::critical(oid::KEY_USAGE, KEY_USAGE_CERTIFICATES_AND_CRLS.to_vec()),
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&key_id)),
                Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[&der::boolean(true)])),
                Extension::plain(oid::CRL_DISTRIBUTION, crl_distribution(product, "vcek")),
            ],
        }
    }

    /// The intermediate that issues VCEKs, ASK.
    pub fn ask(product: Product, validity: Validity, spki: Vec<u8>, ark_spki: &[u8]) -> Self {
        Self::intermediate(
            &format!("SEV-{}", product.name()),
            (serial_base(product).saturating_add(1), "vcek"),
            product,
            validity,
            spki,
            ark_spki,
        )
    }

    /// The intermediate that issues VLEKs, ASVK.
    pub fn asvk(product: Product, validity: Validity, spki: Vec<u8>, ark_spki: &[u8]) -> Self {
        Self::intermediate(
            &format!("SEV-VLEK-{}", product.name()),
            (serial_base(product).saturating_add(0x0101), "vlek"),
            product,
            validity,
            spki,
            ark_spki,
        )
    }

    /// A VCEK: the key of one chip at one TCB.
    pub fn vcek(
        product: Product,
        validity: Validity,
        spki: Vec<u8>,
        tcb: TcbVersion,
        hwid: &[u8],
    ) -> Self {
        let mut extensions = tcb_extensions(product, tcb);
        // AMD writes the id bare, not wrapped in an OCTET STRING of its own (AMD 57230 §3.1).
        extensions.push(Extension::plain(oid::HWID, hwid.to_vec()));
        Self::vek("SEV-VCEK", &format!("SEV-{}", product.name()), validity, spki, extensions)
    }

    /// A VLEK: the key of a cloud provider at one TCB.
    pub fn vlek(
        product: Product,
        validity: Validity,
        spki: Vec<u8>,
        tcb: TcbVersion,
        csp_id: &str,
    ) -> Self {
        let mut extensions = tcb_extensions(product, tcb);
        let name = format!("CN={csp_id}");
        extensions.push(Extension::plain(oid::CSP_ID, der::tlv(tag::IA5, name.as_bytes())));
        Self::vek("SEV-VLEK", &format!("SEV-VLEK-{}", product.name()), validity, spki, extensions)
    }

    /// The extension with this id, to alter it.
    pub fn extension_mut(&mut self, oid: Oid) -> Option<&mut Extension> {
        self.extensions.iter_mut().find(|extension| extension.oid == oid)
    }

    /// The same without one extension.
    #[must_use]
    pub fn without(mut self, oid: Oid) -> Self {
        self.extensions.retain(|extension| extension.oid != oid);
        self
    }

    /// The same with another value for one extension, which is appended where it is absent.
    #[must_use]
    pub fn with_value(mut self, oid: Oid, value: Vec<u8>) -> Self {
        match self.extension_mut(oid) {
            Some(extension) => extension.value = value,
            None => self.extensions.push(Extension::plain(oid, value)),
        }
        self
    }

    /// The signed certificate in DER.
    pub fn sign(&self, issuer: &dyn Issuer) -> Result<Vec<u8>, SimError> {
        let validity = der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]);
        let mut fields = vec![
            der::explicit(0, &der::integer(2)),
            self.serial.clone(),
            self.signing.inner.clone(),
            self.issuer.encode(),
            validity,
            self.subject.encode(),
            self.spki.clone(),
        ];
        if !self.extensions.is_empty() {
            fields.push(der::explicit(3, &extensions(&self.extensions)));
        }
        self.signing.sign(issuer, &der::tlv(tag::SEQUENCE, &fields.concat()))
    }

    fn intermediate(
        name: &str,
        (serial, crl): (u64, &str),
        product: Product,
        validity: Validity,
        spki: Vec<u8>,
        ark_spki: &[u8],
    ) -> Self {
        let subject_key_id = key_id(&spki);
        Self {
            serial: der::integer(serial),
            signing: Signing::amd_authority(),
            issuer: Name::amd(&format!("ARK-{}", product.name())),
            not_before: validity.not_before,
            not_after: validity.not_after,
            subject: Name::amd(name),
            spki,
            extensions: vec![
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&subject_key_id)),
                Extension::plain(oid::AUTHORITY_KEY_ID, authority_key_id(ark_spki)),
                Extension::critical(
                    oid::BASIC_CONSTRAINTS,
                    der::sequence(&[&der::boolean(true), &der::integer(0)]),
                ),
                Extension::critical(oid::KEY_USAGE, KEY_USAGE_CERTIFICATES.to_vec()),
                Extension::plain(oid::CRL_DISTRIBUTION, crl_distribution(product, crl)),
            ],
        }
    }

    fn vek(
        subject: &str,
        issuer: &str,
        validity: Validity,
        spki: Vec<u8>,
        extensions: Vec<Extension>,
    ) -> Self {
        Self {
            // Every VCEK and VLEK of AMD's key server carries the serial number zero.
            serial: der::integer(0),
            signing: Signing::amd(),
            issuer: Name::amd(issuer),
            not_before: validity.not_before,
            not_after: validity.not_after,
            subject: Name::amd(subject),
            spki,
            extensions,
        }
    }
}

/// The moments between which a certificate is valid, both included.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// First moment.
    pub not_before: UnixTime,
    /// Last moment.
    pub not_after: UnixTime,
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Which.
    pub oid: Oid,
    /// Whether it is marked critical.
    pub critical: bool,
    /// The contents of `extnValue`, without the OCTET STRING around them.
    pub value: Vec<u8>,
}

impl Extension {
    /// An extension that is not critical.
    pub const fn plain(oid: Oid, value: Vec<u8>) -> Self {
        Self { oid, critical: false, value }
    }

    /// A critical extension.
    pub const fn critical(oid: Oid, value: Vec<u8>) -> Self {
        Self { oid, critical: true, value }
    }

    fn encode(&self) -> Vec<u8> {
        let critical = if self.critical { der::boolean(true) } else { Vec::new() };
        der::sequence(&[&der::object(self.oid), &critical, &der::octet_string(&self.value)])
    }
}

/// A distinguished name: (attribute, string tag, text), in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub Vec<(Oid, u8, String)>);

impl Name {
    /// AMD's name with this common name.
    pub fn amd(common_name: &str) -> Self {
        let utf8 = |oid, text: &str| (oid, tag::UTF8, text.to_owned());
        Self(vec![
            utf8(oid::UNIT, "Engineering"),
            (oid::COUNTRY, tag::PRINTABLE, "US".to_owned()),
            utf8(oid::LOCALITY, "Santa Clara"),
            utf8(oid::STATE, "CA"),
            utf8(oid::ORGANIZATION, "Advanced Micro Devices"),
            utf8(oid::COMMON_NAME, common_name),
        ])
    }

    /// Intel's name with this common name.
    pub fn intel(common_name: &str) -> Self {
        let utf8 = |oid, text: &str| (oid, tag::UTF8, text.to_owned());
        Self(vec![
            utf8(oid::COMMON_NAME, common_name),
            utf8(oid::ORGANIZATION, "Intel Corporation"),
            utf8(oid::LOCALITY, "Santa Clara"),
            utf8(oid::STATE, "CA"),
            (oid::COUNTRY, tag::PRINTABLE, "US".to_owned()),
        ])
    }

    /// NVIDIA's name with this common name.
    pub fn nvidia(common_name: &str) -> Self {
        Self(vec![
            (oid::COUNTRY, tag::PRINTABLE, "US".to_owned()),
            (oid::ORGANIZATION, tag::UTF8, "NVIDIA Corporation".to_owned()),
            (oid::COMMON_NAME, tag::UTF8, common_name.to_owned()),
        ])
    }

    /// The name in DER.
    pub fn encode(&self) -> Vec<u8> {
        let sets = self.0.iter().map(|(oid, tag, text)| {
            der::set(&der::sequence(&[&der::object(oid), &der::tlv(*tag, text.as_bytes())]))
        });
        der::tlv(tag::SEQUENCE, &sets.collect::<Vec<_>>().concat())
    }
}

/// How a certificate or CRL is signed, and what it says about that.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The signature that is really made.
    pub padding: Padding,
    /// The finished `AlgorithmIdentifier` inside the signed part.
    pub inner: Vec<u8>,
    /// The finished `AlgorithmIdentifier` outside it; RFC 5280 §4.1.1.2 wants the two equal.
    pub outer: Vec<u8>,
    /// Bytes of the signature to flip after it is made: (index, mask).
    pub flips: Vec<(usize, u8)>,
}

impl Signing {
    /// RSASSA-PSS, SHA-384, salt 48, the trailer field left to its default: AMD's VCEKs and VLEKs.
    pub fn amd() -> Self {
        Self::declared(Padding::PssSha384, pss(oid::SHA384, 48, false))
    }

    /// The same with the trailer field written out, as AMD's roots and intermediates have it.
    pub fn amd_authority() -> Self {
        Self::declared(Padding::PssSha384, pss(oid::SHA384, 48, true))
    }

    /// Signed as AMD does, with another salt length declared.
    pub fn wrong_salt(salt: u64) -> Self {
        Self::declared(Padding::PssSha384, pss(oid::SHA384, salt, true))
    }

    /// RSASSA-PSS with SHA-256 and salt 32, signed and declared.
    pub fn pss_sha256() -> Self {
        Self::declared(Padding::PssSha256, pss(oid::SHA256, 32, true))
    }

    /// PKCS #1 v1.5 with SHA-384, signed and declared.
    pub fn pkcs1() -> Self {
        Self::declared(
            Padding::Pkcs1Sha384,
            der::sequence(&[&der::object(oid::SHA384_WITH_RSA), &der::null()]),
        )
    }

    /// ECDSA with SHA-256, Intel's on P-256. A key on a curve has one way to sign, whatever the padding.
    pub fn ecdsa_sha256() -> Self {
        Self::declared(Padding::PssSha384, der::sequence(&[&der::object(oid::ECDSA_SHA256)]))
    }

    /// ECDSA with SHA-384, NVIDIA's on P-384.
    pub fn ecdsa_sha384() -> Self {
        Self::declared(Padding::PssSha384, der::sequence(&[&der::object(oid::ECDSA_SHA384)]))
    }

    /// A signature made one way, with an algorithm identifier that says what it likes.
    pub fn declared(padding: Padding, algorithm: Vec<u8>) -> Self {
        Self { padding, inner: algorithm.clone(), outer: algorithm, flips: Vec::new() }
    }

    pub(crate) fn sign(&self, key: &dyn Issuer, signed: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut signature = key.issue(self.padding, signed)?;
        for (index, mask) in &self.flips {
            if let Some(byte) = signature.get_mut(*index) {
                *byte ^= mask;
            }
        }
        Ok(der::sequence(&[signed, &self.outer, &der::bit_string(&signature)]))
    }
}

/// An RSASSA-PSS `AlgorithmIdentifier` with all its parameters written out (RFC 4055 §3.1).
pub fn pss(hash: Oid, salt: u64, trailer: bool) -> Vec<u8> {
    let hash = der::sequence(&[&der::object(hash), &der::null()]);
    let mask = der::sequence(&[&der::object(oid::MGF1), &hash]);
    let trailer = if trailer { der::explicit(3, &der::integer(1)) } else { Vec::new() };
    let parameters = der::sequence(&[
        &der::explicit(0, &hash),
        &der::explicit(1, &mask),
        &der::explicit(2, &der::integer(salt)),
        &trailer,
    ]);
    der::sequence(&[&der::object(oid::RSASSA_PSS), &parameters])
}

pub(crate) fn extensions(list: &[Extension]) -> Vec<u8> {
    der::tlv(tag::SEQUENCE, &list.iter().map(Extension::encode).collect::<Vec<_>>().concat())
}

pub(crate) fn authority_key_id(spki: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::tlv(tag::CONTEXT_PRIMITIVE, &key_id(spki))])
}

/// SHA-1 over the whole `SubjectPublicKeyInfo`: an identifier only, nothing trusts it (RFC 5280 §4.2.1.2).
pub(crate) fn key_id(spki: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki).as_ref().to_vec()
}

const fn serial_base(product: Product) -> u64 {
    match product {
        Product::Milan => 0x0001_0000,
        Product::Genoa => 0x0002_0000,
        Product::Turin => 0x0003_0000,
    }
}

fn crl_distribution(product: Product, kind: &str) -> Vec<u8> {
    let url = format!("https://kdsintf.amd.com/{kind}/v1/{}/crl", product.name());
    // GeneralName [6] uniformResourceIdentifier, in fullName [0], in distributionPoint [0] (RFC 5280 §4.2.1.13).
    let uri = der::tlv(tag::CONTEXT_PRIMITIVE | 6, url.as_bytes());
    let point = der::explicit(0, &der::explicit(0, &uri));
    der::sequence(&[&der::sequence(&[&point])])
}

/// The structure version, product name and security patch levels, in the order of AMD's own certificates.
fn tcb_extensions(product: Product, tcb: TcbVersion) -> Vec<Extension> {
    let level = |oid, svn: u8| Extension::plain(oid, der::integer(u64::from(svn)));
    let name = der::tlv(tag::IA5, product.name().as_bytes());
    let mut list = match product {
        Product::Milan | Product::Genoa => vec![
            Extension::plain(oid::STRUCT_VERSION, der::integer(0)),
            Extension::plain(oid::PRODUCT_NAME, name),
            level(oid::SPL_BOOTLOADER, tcb.bootloader),
            level(oid::SPL_TEE, tcb.tee),
            level(oid::SPL_4, 0),
            level(oid::SPL_5, 0),
            level(oid::SPL_6, 0),
            level(oid::SPL_7, 0),
            level(oid::SPL_SNP, tcb.snp),
        ],
        Product::Turin => vec![
            Extension::plain(oid::STRUCT_VERSION, der::integer(1)),
            Extension::plain(oid::PRODUCT_NAME, name),
            level(oid::SPL_FMC, tcb.fmc.unwrap_or(0)),
            level(oid::SPL_BOOTLOADER, tcb.bootloader),
            level(oid::SPL_TEE, tcb.tee),
            level(oid::SPL_SNP, tcb.snp),
            level(oid::SPL_5, 0),
            level(oid::SPL_6, 0),
            level(oid::SPL_7, 0),
        ],
    };
    list.push(level(oid::SPL_MICROCODE, tcb.microcode));
    list
}

/// `keyCertSign` and `cRLSign`, with the single unused bit counted as AMD's roots do.
pub(crate) const KEY_USAGE_CERTIFICATES_AND_CRLS: [u8; 4] = [tag::BIT_STRING, 2, 1, 0x06];
/// `keyCertSign`; AMD counts one unused bit here too, where DER would count two.
const KEY_USAGE_CERTIFICATES: [u8; 4] = [tag::BIT_STRING, 2, 1, 0x04];
