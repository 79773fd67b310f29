//! Certificates and lists as Intel writes them (Intel SGX PCK certificate and CRL specification).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use attestation::UnixTime;

use sim::certificate::{Extension, Name};
use sim::der::{self, Oid, oid, tag};
use sim::{P256Key, SimError};

use super::platform::{FMSPC, INSTANCE, SGX};

/// A key that signs the same bytes alike, so that what is made twice is the same.
#[derive(Debug)]
pub(crate) struct Key {
    key: P256Key,
    made: RefCell<BTreeMap<Vec<u8>, [u8; 64]>>,
}

impl Key {
    /// A new key.
    pub(crate) fn generate() -> Result<Self, SimError> {
        Ok(Self { key: P256Key::generate()?, made: RefCell::default() })
    }

    /// The point, uncompressed.
    pub(crate) fn public(&self) -> &[u8] {
        self.key.public()
    }

    /// `r ‖ s`, big-endian.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], SimError> {
        if let Some(made) = self.made.borrow().get(message) {
            return Ok(*made);
        }
        let signature = self.key.sign(message)?;
        self.made.borrow_mut().insert(message.to_vec(), signature);
        Ok(signature)
    }
}

/// A certificate as data.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// Its serial number.
    pub(crate) serial: u64,
    /// The `AlgorithmIdentifier`, as it stands in both places.
    pub(crate) algorithm: Vec<u8>,
    /// Who issued it.
    pub(crate) issuer: Name,
    /// Whose it is.
    pub(crate) subject: Name,
    /// First moment.
    pub(crate) not_before: UnixTime,
    /// Last moment.
    pub(crate) not_after: UnixTime,
    /// The `SubjectPublicKeyInfo`.
    pub(crate) spki: Vec<u8>,
    /// Its extensions.
    pub(crate) extensions: Vec<Extension>,
}

/// Which authority certified a platform.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Authority {
    /// Of platforms.
    Platform,
    /// Of processors.
    Processor,
}

impl Authority {
    /// Its common name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "Intel SGX PCK Platform CA",
            Self::Processor => "Intel SGX PCK Processor CA",
        }
    }
}

const YEAR: Duration = Duration::from_hours(8784);
/// OID of the extension of SGX.
pub(crate) const SGX_EXTENSION: Oid = &[1, 2, 840, 113_741, 1, 13, 1];
const PRIME256V1: Oid = &[1, 2, 840, 10_045, 3, 1, 7];
const ECDSA_SHA256: Oid = &[1, 2, 840, 10_045, 4, 3, 2];
/// `keyCertSign` and `cRLSign`.
const USAGE_AUTHORITY: [u8; 4] = [3, 2, 1, 6];
/// `digitalSignature` and `contentCommitment`.
const USAGE_LEAF: [u8; 4] = [3, 2, 6, 0xc0];

/// Intel's name with this common name.
pub(crate) fn name(common_name: &str) -> Name {
    let utf8 = |oid, text: &str| (oid, tag::UTF8, text.to_owned());
    Name(vec![
        utf8(oid::COMMON_NAME, common_name),
        utf8(oid::ORGANIZATION, "Intel Corporation"),
        utf8(oid::LOCALITY, "Santa Clara"),
        utf8(oid::STATE, "CA"),
        (oid::COUNTRY, tag::PRINTABLE, "US".to_owned()),
    ])
}

/// ECDSA with SHA-256, as an `AlgorithmIdentifier`.
pub(crate) fn ecdsa_sha256() -> Vec<u8> {
    der::sequence(&[&der::object(ECDSA_SHA256)])
}

/// A key of P-256, as a `SubjectPublicKeyInfo`.
pub(crate) fn spki(key: &Key) -> Vec<u8> {
    let algorithm = der::sequence(&[&der::object(oid::EC_PUBLIC_KEY), &der::object(PRIME256V1)]);
    der::sequence(&[&algorithm, &der::bit_string(key.public())])
}

impl Certificate {
    /// An authority's.
    pub(crate) fn authority(
        subject: &str,
        issuer: &str,
        key: &Key,
        now: UnixTime,
        serial: u64,
    ) -> Self {
        let mut certificate = Self::leaf(subject, issuer, key, now, serial);
        certificate.extensions = vec![
            Extension::critical(oid::KEY_USAGE, USAGE_AUTHORITY.to_vec()),
            Extension::critical(
                oid::BASIC_CONSTRAINTS,
                der::sequence(&[&der::boolean(true), &der::integer(1)]),
            ),
        ];
        certificate
    }

    /// One that issues nothing.
    pub(crate) fn leaf(subject: &str, issuer: &str, key: &Key, now: UnixTime, serial: u64) -> Self {
        Self {
            serial,
            algorithm: ecdsa_sha256(),
            issuer: name(issuer),
            subject: name(subject),
            not_before: now.saturating_sub(YEAR),
            not_after: now.saturating_add(YEAR),
            spki: spki(key),
            extensions: vec![
                Extension::critical(oid::KEY_USAGE, USAGE_LEAF.to_vec()),
                Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[])),
            ],
        }
    }

    /// A platform's.
    pub(crate) fn pck(
        extension: &PckExtension,
        authority: Authority,
        key: &Key,
        now: UnixTime,
    ) -> Self {
        let mut certificate =
            Self::leaf("Intel SGX PCK Certificate", authority.name(), key, now, 3);
        certificate.extensions.push(Extension::plain(SGX_EXTENSION, extension.encode()));
        certificate
    }

    /// The same with another extension of SGX.
    pub(crate) fn set_extension(&mut self, extension: &PckExtension) {
        self.extensions.retain(|extension| extension.oid != SGX_EXTENSION);
        self.extensions.push(Extension::plain(SGX_EXTENSION, extension.encode()));
    }

    /// The signed certificate in DER.
    pub(crate) fn sign(&self, issuer: &Key) -> Result<Vec<u8>, SimError> {
        let validity = der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]);
        let mut fields = vec![
            der::explicit(0, &der::integer(2)),
            der::integer(self.serial),
            self.algorithm.clone(),
            self.issuer.encode(),
            validity,
            self.subject.encode(),
            self.spki.clone(),
        ];
        if !self.extensions.is_empty() {
            fields.push(der::explicit(3, &extensions(&self.extensions)));
        }
        sign(&der::tlv(tag::SEQUENCE, &fields.concat()), &self.algorithm, issuer)
    }
}

/// A revocation list as data.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList {
    /// Who issues it.
    pub(crate) issuer: Name,
    /// Since when it is good.
    pub(crate) this_update: UnixTime,
    /// Until when.
    pub(crate) next_update: Option<UnixTime>,
    /// Serial numbers of what it revokes.
    pub(crate) revoked: Vec<u64>,
    /// Its extensions.
    pub(crate) extensions: Vec<Extension>,
}

impl RevocationList {
    /// One that revokes something else.
    pub(crate) fn new(issuer: &str, now: UnixTime) -> Self {
        Self {
            issuer: name(issuer),
            this_update: now.saturating_sub(Duration::from_hours(1)),
            next_update: Some(now.saturating_add(Duration::from_hours(720))),
            revoked: vec![77],
            extensions: vec![Extension::plain(oid::CRL_NUMBER, der::integer(7))],
        }
    }

    /// The signed list in DER.
    pub(crate) fn sign(&self, issuer: &Key) -> Result<Vec<u8>, SimError> {
        let mut fields = vec![
            der::integer(1),
            ecdsa_sha256(),
            self.issuer.encode(),
            der::time(self.this_update),
        ];
        fields.extend(self.next_update.map(der::time));
        if !self.revoked.is_empty() {
            let entries = self.revoked.iter().map(|serial| {
                der::sequence(&[&der::integer(*serial), &der::time(self.this_update)])
            });
            fields.push(der::tlv(tag::SEQUENCE, &entries.collect::<Vec<_>>().concat()));
        }
        if !self.extensions.is_empty() {
            fields.push(der::explicit(0, &extensions(&self.extensions)));
        }
        sign(&der::tlv(tag::SEQUENCE, &fields.concat()), &ecdsa_sha256(), issuer)
    }
}

/// What a PCK's certificate says of its platform; a member that is `None` is left out.
#[derive(Clone, Debug)]
pub(crate) struct PckExtension {
    /// The platform's provisioning id.
    pub(crate) ppid: Option<[u8; 16]>,
    /// The components of its TCB.
    pub(crate) sgx: Vec<u8>,
    /// `PCESVN`.
    pub(crate) pce_svn: Option<u64>,
    /// `CPUSVN`.
    pub(crate) cpu_svn: Option<[u8; 16]>,
    /// `PCE-ID`.
    pub(crate) pce_id: Option<[u8; 2]>,
    /// `FMSPC`.
    pub(crate) fmspc: Option<Vec<u8>>,
    /// The type of SGX.
    pub(crate) sgx_type: Option<u8>,
    /// The platform's instance id.
    pub(crate) instance_id: Option<[u8; 16]>,
    /// Dynamic platform, cached keys, SMT.
    pub(crate) configuration: Option<[bool; 3]>,
    /// Finished DER that follows the rest.
    pub(crate) more: Vec<u8>,
}

impl PckExtension {
    /// Of a platform that is up to date.
    pub(crate) fn new() -> Self {
        Self {
            ppid: Some([0x99; 16]),
            sgx: SGX.to_vec(),
            pce_svn: Some(11),
            cpu_svn: Some(SGX),
            pce_id: Some([0; 2]),
            fmspc: Some(FMSPC.to_vec()),
            sgx_type: Some(1),
            instance_id: Some(INSTANCE),
            configuration: Some([true, false, true]),
            more: Vec::new(),
        }
    }

    /// Its DER.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut tcb = Vec::new();
        for (number, svn) in (1_u64..).zip(&self.sgx) {
            tcb.extend(pair(&[2, number], &der::integer(u64::from(*svn))));
        }
        tcb.extend(self.pce_svn.map(|svn| pair(&[2, 17], &der::integer(svn))).unwrap_or_default());
        tcb.extend(octets(&[2, 18], self.cpu_svn.as_ref().map(<[u8; 16]>::as_slice)));
        let mut all = octets(&[1], self.ppid.as_ref().map(<[u8; 16]>::as_slice));
        all.extend(pair(&[2], &der::tlv(tag::SEQUENCE, &tcb)));
        all.extend(octets(&[3], self.pce_id.as_ref().map(<[u8; 2]>::as_slice)));
        all.extend(octets(&[4], self.fmspc.as_deref()));
        if let Some(kind) = self.sgx_type {
            all.extend(pair(&[5], &der::tlv(tag::ENUMERATED, &[kind])));
        }
        all.extend(octets(&[6], self.instance_id.as_ref().map(<[u8; 16]>::as_slice)));
        if let Some(flags) = self.configuration {
            let flags =
                (1_u64..).zip(flags).map(|(number, flag)| pair(&[7, number], &der::boolean(flag)));
            let flags = flags.collect::<Vec<_>>().concat();
            all.extend(pair(&[7], &der::tlv(tag::SEQUENCE, &flags)));
        }
        all.extend_from_slice(&self.more);
        der::tlv(tag::SEQUENCE, &all)
    }
}

impl Default for PckExtension {
    fn default() -> Self {
        Self::new()
    }
}

/// A pair of an OID under that of the extension, and a value.
pub(crate) fn pair(number: &[u64], value: &[u8]) -> Vec<u8> {
    let oid = [SGX_EXTENSION, number].concat();
    der::sequence(&[&der::object(&oid), value])
}

fn octets(number: &[u64], bytes: Option<&[u8]>) -> Vec<u8> {
    bytes.map(|bytes| pair(number, &der::octet_string(bytes))).unwrap_or_default()
}

fn extensions(list: &[Extension]) -> Vec<u8> {
    let encode = |extension: &Extension| {
        let critical = if extension.critical { der::boolean(true) } else { Vec::new() };
        let value = der::octet_string(&extension.value);
        der::sequence(&[&der::object(extension.oid), &critical, &value])
    };
    der::tlv(tag::SEQUENCE, &list.iter().map(encode).collect::<Vec<_>>().concat())
}

/// The frame of a certificate or list around its signed part.
fn sign(tbs: &[u8], algorithm: &[u8], key: &Key) -> Result<Vec<u8>, SimError> {
    let signature = key.sign(tbs)?;
    let (r, s) = signature.split_at(32);
    let signature = der::sequence(&[&der::unsigned(r), &der::unsigned(s)]);
    Ok(der::sequence(&[tbs, algorithm, &der::bit_string(&signature)]))
}
