//! NVIDIA's certificates, field by field.

use attestation::UnixTime;
use ring::digest;

use super::NvidiaPki;
use crate::certificate::{Extension, Name, extensions};
use crate::der::{self, Oid, oid, tag};
use crate::error::SimError;
use crate::keys::EcKey;

/// Everything that a certificate of NVIDIA's says, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcCertificate {
    /// The serial number's octets.
    pub serial: Vec<u8>,
    /// The issuer.
    pub issuer: Name,
    /// The subject.
    pub subject: Name,
    /// First moment of validity.
    pub not_before: UnixTime,
    /// Last moment of validity.
    pub not_after: UnixTime,
    /// The finished `SubjectPublicKeyInfo`.
    pub spki: Vec<u8>,
    /// The extensions, in order.
    pub extensions: Vec<Extension>,
    /// The finished `AlgorithmIdentifier`, which stands in it twice.
    pub algorithm: Vec<u8>,
    /// Whether one bit of the signature is flipped.
    pub is_forged: bool,
}

impl EcCertificate {
    /// The root.
    pub(super) fn root(pki: &NvidiaPki) -> Self {
        let name = name("NVIDIA Device Identity CA", "NVIDIA");
        Self::ca(pki, &[0x2d, 1], name.clone(), name, pki.root.spki(), SIGNS_LISTS_TOO)
    }

    /// The generation's. That of the switches is the one of their GPUs.
    pub(super) fn identity(pki: &NvidiaPki, chip: &str) -> Self {
        let (subject, issuer) = (identity(chip), name("NVIDIA Device Identity CA", "NVIDIA"));
        Self::ca(pki, &[0x4c, 2], subject, issuer, pki.identity.spki(), SIGNS_LISTS_TOO)
    }

    /// The provisioning line's.
    pub(super) fn provisioner(pki: &NvidiaPki, chip: &str) -> Self {
        let (subject, issuer) = (provisioner(chip), identity(chip));
        Self::ca(pki, &[0x6a, 3], subject, issuer, pki.provisioner.spki(), SIGNS_LISTS_TOO)
    }

    /// The chip's.
    pub(super) fn chip(pki: &NvidiaPki, chip: &str, serial: &[u8; 9], key: &EcKey) -> Self {
        let (subject, issuer) = (device(chip, "BROM", serial), provisioner(chip));
        Self::ca(pki, serial, subject, issuer, key.spki(), SIGNS_CERTIFICATES)
    }

    /// The signing key's.
    pub(super) fn leaf(
        pki: &NvidiaPki,
        chip: &str,
        chip_serial: &[u8; 9],
        number: u8,
        key: &EcKey,
        chip_key: &EcKey,
        fwid: &[u8; 48],
    ) -> Self {
        let mut serial = [0x53; 20];
        if let Some(last) = serial.last_mut() {
            *last = number;
        }
        let (subject, issuer) =
            (device(chip, "FMC LF", &serial), device(chip, "BROM", chip_serial));
        let fwid = if chip == "GB100" {
            Extension::plain(TCB_INFO, tcb_info(fwid, 0))
        } else {
            Extension::plain(COMPOSITE, composite(&chip_key.spki(), fwid))
        };
        let spki = key.spki();
        Self {
            extensions: vec![
                Extension::critical(oid::KEY_USAGE, vec![tag::BIT_STRING, 2, 7, 0x80]),
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&key_id(&spki))),
                fwid,
            ],
            ..Self::ca(pki, &serial, subject, issuer, spki, SIGNS_CERTIFICATES)
        }
    }

    /// The responder's, which `issuer` named for it.
    pub(super) fn responder(pki: &NvidiaPki, issuer: Name) -> Self {
        let spki = pki.responder.spki();
        Self {
            extensions: vec![
                Extension::critical(oid::KEY_USAGE, vec![tag::BIT_STRING, 2, 7, 0x80]),
                Extension::critical(
                    EXTENDED_KEY_USAGE,
                    der::sequence(&[&der::object(OCSP_SIGNING)]),
                ),
            ],
            ..Self::ca(
                pki,
                &[0x11, 4],
                name("NVIDIA NDIS OCSP Responder", "NVIDIA Corporation"),
                issuer,
                spki,
                SIGNS_CERTIFICATES,
            )
        }
    }

    fn ca(
        pki: &NvidiaPki,
        serial: &[u8],
        subject: Name,
        issuer: Name,
        spki: Vec<u8>,
        usage: [u8; 4],
    ) -> Self {
        Self {
            serial: serial.to_vec(),
            issuer,
            subject,
            not_before: pki.validity.not_before,
            not_after: pki.validity.not_after,
            extensions: vec![
                Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&[&der::boolean(true)])),
                Extension::critical(oid::KEY_USAGE, usage.to_vec()),
                Extension::plain(oid::SUBJECT_KEY_ID, der::octet_string(&key_id(&spki))),
            ],
            spki,
            algorithm: ecdsa_sha384(),
            is_forged: false,
        }
    }

    /// The common name of the subject.
    pub fn rename(&mut self, common_name: &str) {
        for (attribute, _, text) in &mut self.subject.0 {
            if *attribute == oid::COMMON_NAME {
                common_name.clone_into(text);
            }
        }
    }

    /// The signed certificate in DER.
    pub fn sign(&self, issuer: &EcKey) -> Result<Vec<u8>, SimError> {
        let validity = der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]);
        let tbs = der::sequence(&[
            &der::explicit(0, &der::integer(2)),
            &der::unsigned(&self.serial),
            &self.algorithm,
            &self.issuer.encode(),
            &validity,
            &self.subject.encode(),
            &self.spki,
            &der::explicit(3, &extensions(&self.extensions)),
        ]);
        let signature = sign(issuer, &tbs, self.is_forged)?;
        Ok(der::sequence(&[&tbs, &self.algorithm, &der::bit_string(&signature)]))
    }
}

/// An ECDSA signature in DER.
pub(super) fn sign(key: &EcKey, message: &[u8], is_forged: bool) -> Result<Vec<u8>, SimError> {
    let mut signature = key.sign(message)?;
    if is_forged && let Some(octet) = signature.get_mut(40) {
        *octet ^= 1;
    }
    let (r, s) = signature.split_at(48);
    Ok(der::sequence(&[&der::unsigned(r), &der::unsigned(s)]))
}

/// `ecdsa-with-SHA384`.
pub(super) fn ecdsa_sha384() -> Vec<u8> {
    der::sequence(&[&der::object(ECDSA_SHA384)])
}

/// `CompositeDeviceID`: version, the chip's key, the digest.
pub fn composite(chip_key: &[u8], fwid: &[u8; 48]) -> Vec<u8> {
    der::sequence(&[&der::integer(1), chip_key, &one_fwid(fwid)])
}

/// `DiceTcbInfo` as a Blackwell has it, with these flags in its first octet.
pub fn tcb_info(fwid: &[u8; 48], flags: u8) -> Vec<u8> {
    let context = |number: u8, value: &[u8]| der::tlv(tag::CONTEXT_PRIMITIVE | number, value);
    let fwids = [one_fwid(fwid), one_fwid(&[0; 48])].concat();
    der::sequence(&[
        &context(0, b"NVIDIA"),
        &context(1, b"GB100 A01 GSP"),
        &context(2, b"1"),
        &context(3, &[1]),
        &context(4, &[0]),
        &context(5, &[0]),
        &der::tlv(tag::CONTEXT | 6, &fwids),
        &context(7, &[0, flags, 0, 0, 1]),
        &context(8, &[0xc0]),
        &context(9, &[0]),
    ])
}

fn one_fwid(fwid: &[u8; 48]) -> Vec<u8> {
    der::sequence(&[&der::object(oid::SHA384), &der::octet_string(fwid)])
}

fn name(common_name: &str, organization: &str) -> Name {
    Name(vec![
        (oid::COMMON_NAME, tag::UTF8, common_name.to_owned()),
        (oid::ORGANIZATION, tag::UTF8, organization.to_owned()),
    ])
}

fn identity(chip: &str) -> Name {
    let generation = if chip == "LS_10" { "GH100" } else { chip };
    name(&format!("NVIDIA {generation} Identity"), "NVIDIA Corporation")
}

fn provisioner(chip: &str) -> Name {
    let mut name = name(&format!("NVIDIA {chip} Provisioner ICA 1"), "NVIDIA Corporation");
    name.0.push((oid::COUNTRY, tag::PRINTABLE, "US".to_owned()));
    name
}

fn device(chip: &str, role: &str, serial: &[u8]) -> Name {
    let engine = if chip == "LS_10" { "FSP" } else { "GSP" };
    let serial = serial.iter().fold(String::new(), |text, octet| text + &format!("{octet:02X}"));
    Name(vec![
        (SERIAL_NUMBER, tag::PRINTABLE, serial),
        (oid::COUNTRY, tag::PRINTABLE, "US".to_owned()),
        (oid::ORGANIZATION, tag::UTF8, "NVIDIA Corporation".to_owned()),
        (oid::COMMON_NAME, tag::UTF8, format!("{chip} A01 {engine} {role}")),
    ])
}

/// SHA-1 over the whole `SubjectPublicKeyInfo`: an identifier only, nothing trusts it.
fn key_id(spki: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki).as_ref().to_vec()
}

/// `keyCertSign` and `cRLSign`, as NVIDIA's authorities have it.
const SIGNS_LISTS_TOO: [u8; 4] = [tag::BIT_STRING, 2, 1, 0x06];
/// `keyCertSign`.
const SIGNS_CERTIFICATES: [u8; 4] = [tag::BIT_STRING, 2, 2, 0x04];
const ECDSA_SHA384: Oid = &[1, 2, 840, 10_045, 4, 3, 3];
const SERIAL_NUMBER: Oid = &[2, 5, 4, 5];
const EXTENDED_KEY_USAGE: Oid = &[2, 5, 29, 37];
const OCSP_SIGNING: Oid = &[1, 3, 6, 1, 5, 5, 7, 3, 9];
/// The digest of the firmware, on Hopper and LS10.
pub(super) const COMPOSITE: Oid = &[2, 23, 133, 5, 4, 1];
/// The digest of the firmware, on Blackwell.
pub(super) const TCB_INFO: Oid = &[2, 23, 133, 5, 4, 1, 1];
