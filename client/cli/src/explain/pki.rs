//! Certificates, revocation lists and answers about certificates, as they were given: whoever reads
//! them wants to see those too that no verifier takes.

use attestation::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der::{self, dotted};
use super::sheet::{Sheet, time};

pub(super) fn certificate(der: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    out.row("sha256", attestation::Sha256::of(der));
    let Ok((rest, certificate)) = X509Certificate::from_der(der) else {
        out.row("certificate", "cannot be read: it is none in DER");
        return out;
    };
    out.row("subject", certificate.subject());
    out.row("issuer", certificate.issuer());
    out.octets("serial", certificate.raw_serial());
    out.row("not_before", time(certificate.validity().not_before.timestamp()));
    out.row("not_after", time(certificate.validity().not_after.timestamp()));
    out.row("key", key(certificate.public_key()));
    out.octets("key_bits", &certificate.public_key().subject_public_key.data);
    out.row("signed_with", algorithm(certificate.signature_algorithm.algorithm.as_bytes()));
    extensions(&mut out, certificate.extensions());
    if !rest.is_empty() {
        out.plain("octets_after_it", rest.len());
    }
    out
}

/// What a key is good for.
fn key(info: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = || {
        let parameters = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
        Some(algorithm(parameters.as_bytes()))
    };
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA of {} bits", rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            format!("elliptic, {}", curve().unwrap_or_else(|| "no curve is named".to_owned()))
        }
        _ => algorithm(info.algorithm.algorithm.as_bytes()),
    }
}

fn extensions(out: &mut Sheet, extensions: &[X509Extension<'_>]) {
    let sheets = extensions.iter().map(|extension| {
        let mut of = Sheet::new();
        let id = dotted(extension.oid.as_bytes());
        let name = NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
        of.row("id", &id);
        of.optional("name", name);
        of.plain("critical", extension.critical);
        if let ParsedExtension::BasicConstraints(constraints) = extension.parsed_extension() {
            of.plain("ca", constraints.ca);
            of.optional("path_length", constraints.path_len_constraint);
        } else if let ParsedExtension::KeyUsage(usage) = extension.parsed_extension() {
            of.row("usage", usage);
        } else if id == SGX {
            let mut values = Sheet::new();
            sgx(&mut values, extension.value, 0);
            of.sheet("platform", values);
        } else {
            value(&mut of, extension.value);
        }
        of
    });
    out.list("extension", sheets.collect());
}

/// A value that is one string or number is shown as that.
fn value(out: &mut Sheet, value: &[u8]) {
    match der::any(value) {
        Some((der::UTF8_STRING | der::PRINTABLE_STRING | der::IA5_STRING, text, [])) => {
            out.row("text", String::from_utf8_lossy(text));
        }
        Some((der::INTEGER, [number @ 0..=0x7f] | [0, number], [])) => out.plain("number", *number),
        _ => out.octets("value", value),
    }
}

/// What a PCK certificate says of its platform: `SEQUENCE OF SEQUENCE { id, value }`, and the TCB the same again (Intel
/// SGX PCK Certificate Specification §1.3.5).
fn sgx(out: &mut Sheet, list: &[u8], depth: u8) {
    let Some((der::SEQUENCE, mut list, [])) = der::any(list) else {
        return out.octets("unreadable", list);
    };
    while let Some((der::SEQUENCE, pair, rest)) = der::any(list) {
        list = rest;
        let Some((der::OBJECT, id, value)) = der::any(pair) else {
            out.octets("unreadable", pair);
            continue;
        };
        let id = dotted(id);
        let name = SGX_NAMES.iter().find(|(known, _)| id.strip_prefix(SGX) == Some(*known));
        let name = name.map_or(id.as_str(), |(_, name)| *name);
        match der::any(value) {
            Some((der::SEQUENCE, _, [])) if depth < SGX_DEPTH_MAX => {
                let mut inner = Sheet::new();
                sgx(&mut inner, value, depth.saturating_add(1));
                out.sheet(name, inner);
            }
            Some((der::INTEGER | der::ENUMERATED, number, [])) if number.len() <= 4 => {
                let number = number.iter().fold(0_u32, |sum, octet| sum << 8 | u32::from(*octet));
                out.plain(name, number);
            }
            Some((der::BOOLEAN, [flag], [])) => out.plain(name, *flag != 0),
            Some((_, contents, [])) => out.octets(name, contents),
            _ => out.octets(name, value),
        }
    }
    if !list.is_empty() {
        out.octets("unreadable", list);
    }
}

pub(super) fn crl(der: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    out.row("sha256", attestation::Sha256::of(der));
    let Ok((rest, list)) = CertificateRevocationList::from_der(der) else {
        out.row("revocation_list", "cannot be read: it is none in DER");
        return out;
    };
    out.row("issuer", list.issuer());
    out.row("this_update", time(list.last_update().timestamp()));
    let next = list.next_update().map(|next| time(next.timestamp()));
    out.row("next_update", next.map_or_else(|| "none".to_owned(), |next| next.to_string()));
    out.row("signed_with", algorithm(list.signature_algorithm.algorithm.as_bytes()));
    let all = &list.tbs_cert_list.revoked_certificates;
    out.plain("revoked_certificates", all.len());
    let revoked = all.iter().take(REVOKED_MAX).map(|entry| {
        let mut of = Sheet::new();
        of.octets("serial", entry.raw_serial());
        of.row("date", time(entry.revocation_date.timestamp()));
        of.optional("reason", entry.reason_code().map(|(_, reason)| reason));
        of
    });
    out.list("revoked", revoked.collect());
    if all.len() > REVOKED_MAX {
        out.plain("revoked_not_shown", all.len().saturating_sub(REVOKED_MAX));
    }
    extensions(&mut out, list.extensions());
    if !rest.is_empty() {
        out.plain("octets_after_it", rest.len());
    }
    out
}

pub(super) fn ocsp(der: &[u8]) -> Sheet {
    let mut out = Sheet::new();
    out.row("sha256", attestation::Sha256::of(der));
    if read_ocsp(&mut out, der).is_none() {
        out.row("rest", "cannot be read: it is not what RFC 6960 §4.2.1 describes");
    }
    out
}

/// `OCSPResponse` (RFC 6960 §4.2.1); what was read before something was not is shown.
fn read_ocsp(out: &mut Sheet, der: &[u8]) -> Option<()> {
    let whole = der::only(der, der::SEQUENCE)?;
    let (status, rest) = der::element(whole, der::ENUMERATED)?;
    out.row(
        "response_status",
        match status {
            [0] => "successful".to_owned(),
            other => format!("refused, {}", hex::encode(other)),
        },
    );
    if rest.is_empty() {
        return Some(());
    }
    let (_, rest) = der::element(der::only(der::only(rest, 0xa0)?, der::SEQUENCE)?, der::OBJECT)?;
    let basic = der::only(der::only(rest, der::OCTET_STRING)?, der::SEQUENCE)?;
    let (data, rest) = der::element(basic, der::SEQUENCE)?;
    let (signed_with, rest) = der::element(rest, der::SEQUENCE)?;
    let (_, certificates) = der::element(rest, der::BIT_STRING)?;
    let (responder, data) = match der::any(data)? {
        (0xa0, _, data) => der::any(data).map(|(tag, it, rest)| ((tag, it), rest))?,
        (tag, responder, rest) => ((tag, responder), rest),
    };
    match responder {
        (0xa2, key) => out.octets("responder_key_hash", der::only(key, der::OCTET_STRING)?),
        (_, name) => out.octets("responder_name", name),
    }
    let (produced, data) = der::element(data, der::GENERALIZED_TIME)?;
    out.row("produced_at", generalized(produced));
    let (mut answers, extensions) = der::element(data, der::SEQUENCE)?;
    let mut sheets = Vec::new();
    while !answers.is_empty() && sheets.len() < ANSWERS_MAX {
        let (one, rest) = der::element(answers, der::SEQUENCE)?;
        sheets.push(answer(one)?);
        answers = rest;
    }
    out.list("answer", sheets);
    if let Some(nonce) = nonce(extensions) {
        out.octets("nonce", nonce);
    }
    out.row(
        "signed_with",
        der::element(signed_with, der::OBJECT).map_or_else(String::new, |(id, _)| algorithm(id)),
    );
    let mut sheets = Vec::new();
    if !certificates.is_empty() {
        let mut list = der::only(der::only(certificates, 0xa0)?, der::SEQUENCE)?;
        while !list.is_empty() && sheets.len() < ANSWERS_MAX {
            let (_, after) = der::element(list, der::SEQUENCE)?;
            sheets.push(certificate(list.get(..list.len().checked_sub(after.len())?)?));
            list = after;
        }
    }
    out.list("certificate", sheets);
    Some(())
}

fn answer(one: &[u8]) -> Option<Sheet> {
    let mut out = Sheet::new();
    let (id, rest) = der::element(one, der::SEQUENCE)?;
    let (hash, id) = der::element(id, der::SEQUENCE)?;
    out.row(
        "hash",
        der::element(hash, der::OBJECT).map_or_else(String::new, |(id, _)| algorithm(id)),
    );
    let (name, id) = der::element(id, der::OCTET_STRING)?;
    let (key, id) = der::element(id, der::OCTET_STRING)?;
    out.octets("issuer_name_hash", name);
    out.octets("issuer_key_hash", key);
    out.octets("serial", der::element(id, der::INTEGER)?.0);
    let (status, contents, rest) = der::any(rest)?;
    match status {
        0x80 => out.row("status", "good"),
        0xa1 => {
            out.row("status", "revoked");
            let (when, why) = der::element(contents, der::GENERALIZED_TIME)?;
            out.row("revoked_at", generalized(when));
            if let Some((0xa0, reason, _)) = der::any(why) {
                // 6 is a hold (RFC 5280 §5.3.1).
                out.octets("reason", der::element(reason, der::ENUMERATED)?.0);
            }
        }
        _ => out.row("status", "unknown"),
    }
    let (this, rest) = der::element(rest, der::GENERALIZED_TIME)?;
    out.row("this_update", generalized(this));
    if let Some((0xa0, next, _)) = der::any(rest) {
        out.row("next_update", generalized(der::only(next, der::GENERALIZED_TIME)?));
    }
    Some(out)
}

/// The nonce among the extensions of a response (RFC 6960 §4.4.1).
fn nonce(extensions: &[u8]) -> Option<&[u8]> {
    let mut list = der::only(der::only(extensions, 0xa1)?, der::SEQUENCE)?;
    while let Some((der::SEQUENCE, extension, rest)) = der::any(list) {
        list = rest;
        let (id, value) = der::element(extension, der::OBJECT)?;
        if dotted(id) == "1.3.6.1.5.5.7.48.1.2" {
            let (_, value, _) = der::any(value).filter(|(tag, _, _)| *tag == der::OCTET_STRING)?;
            return Some(der::only(value, der::OCTET_STRING).unwrap_or(value));
        }
    }
    None
}

/// `YYYYMMDDHHMMSSZ` as everybody else writes it, or as it stands there.
fn generalized(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let part = |range: core::ops::Range<usize>| text.get(range).unwrap_or_default();
    let written = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14),
    );
    written.parse::<UnixTime>().map_or(text, |time| time.to_string())
}

/// What an algorithm or a curve is called.
fn algorithm(id: &[u8]) -> String {
    let id = dotted(id);
    let name = ALGORITHMS.iter().find(|(known, _)| *known == id);
    name.map_or_else(|| id.clone(), |(_, name)| (*name).to_owned())
}

/// Most entries of a list that are shown.
const REVOKED_MAX: usize = 1024;
/// Most answers, and most certificates, of a response.
const ANSWERS_MAX: usize = 32;
/// TCB, and what the configuration is, lie one deeper.
const SGX_DEPTH_MAX: u8 = 2;
const SGX: &str = "1.2.840.113741.1.13.1";

const SGX_NAMES: [(&str, &str); 28] = [
    (".1", "ppid"),
    (".2", "tcb"),
    (".2.1", "sgx_component_1"),
    (".2.2", "sgx_component_2"),
    (".2.3", "sgx_component_3"),
    (".2.4", "sgx_component_4"),
    (".2.5", "sgx_component_5"),
    (".2.6", "sgx_component_6"),
    (".2.7", "sgx_component_7"),
    (".2.8", "sgx_component_8"),
    (".2.9", "sgx_component_9"),
    (".2.10", "sgx_component_10"),
    (".2.11", "sgx_component_11"),
    (".2.12", "sgx_component_12"),
    (".2.13", "sgx_component_13"),
    (".2.14", "sgx_component_14"),
    (".2.15", "sgx_component_15"),
    (".2.16", "sgx_component_16"),
    (".2.17", "pce_svn"),
    (".2.18", "cpu_svn"),
    (".3", "pce_id"),
    (".4", "fmspc"),
    (".5", "sgx_type"),
    (".6", "platform_instance_id"),
    (".7", "configuration"),
    (".7.1", "dynamic_platform"),
    (".7.2", "cached_keys"),
    (".7.3", "smt_enabled"),
];

const NAMES: [(&str, &str); 24] = [
    ("2.5.29.14", "subject key identifier"),
    ("2.5.29.15", "key usage"),
    ("2.5.29.19", "basic constraints"),
    ("2.5.29.20", "CRL number"),
    ("2.5.29.31", "CRL distribution points"),
    ("2.5.29.32", "certificate policies"),
    ("2.5.29.35", "authority key identifier"),
    ("2.5.29.37", "extended key usage"),
    ("1.3.6.1.5.5.7.1.1", "authority information access"),
    ("1.3.6.1.5.5.7.48.1.5", "OCSP no check"),
    ("1.3.6.1.4.1.3704.1.1", "structure version"),
    ("1.3.6.1.4.1.3704.1.2", "product"),
    ("1.3.6.1.4.1.3704.1.3.1", "bootloader SPL"),
    ("1.3.6.1.4.1.3704.1.3.2", "TEE SPL"),
    ("1.3.6.1.4.1.3704.1.3.3", "SNP SPL"),
    ("1.3.6.1.4.1.3704.1.3.8", "microcode SPL"),
    ("1.3.6.1.4.1.3704.1.3.9", "FMC SPL"),
    ("1.3.6.1.4.1.3704.1.4", "chip (hwID)"),
    ("1.3.6.1.4.1.3704.1.5", "provider (CSP)"),
    ("1.2.840.113741.1.13.1", "SGX extensions"),
    ("2.23.133.5.4.1", "TCB information (DICE)"),
    ("2.23.133.5.4.1.1", "FWID (DICE)"),
    ("2.23.133.5.4.4", "UEID (DICE)"),
    ("2.23.133.5.4.5", "multiple TCB information (DICE)"),
];

const ALGORITHMS: [(&str, &str); 12] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
    ("1.2.840.10045.2.1", "elliptic curve"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.3.14.3.2.26", "SHA-1"),
    ("2.16.840.1.101.3.4.2.1", "SHA-256"),
    ("2.16.840.1.101.3.4.2.2", "SHA-384"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everywhere_or_as_they_stand() {
        assert_eq!(generalized(b"20261123000000Z"), "2026-11-23T00:00:00Z");
        for odd in ["", "2026", "20261323000000Z", "\u{e9}"] {
            assert_eq!(generalized(odd.as_bytes()), odd);
        }
    }
}
