//! Evidence of confidential virtual machines on Azure: the report that the paravisor keeps in the virtual TPM, and what
//! that TPM signed.
//!
//! Hardware attests a key of the virtual TPM, once, when the machine starts; that key then signs TPM quotes. So an answer
//! to a challenge takes both: the hardware's report for the key, and the key's quote for the challenge.
//!
//! The report lies at NV index `0x01400001`. All numbers are little-endian.
//!
//! | offset | octets | |
//! |---|---|---|
//! | 0 | 4 | `HCLA` |
//! | 4 | 4 | version, 1 or 2 |
//! | 8 | 4 | length of all but the padding |
//! | 12 | 4 | request type: 2 |
//! | 16 | 16 | zeros |
//! | 32 | 1184 | an SNP report, or a `TDREPORT` of 1024 octets and zeros |
//! | 1216 | 4 | length from here on: 20 and the runtime data |
//! | 1220 | 4 | version: 1 |
//! | 1224 | 4 | 2: SEV-SNP, 4: TDX |
//! | 1228 | 4 | hash: 1 is SHA-256 |
//! | 1232 | 4 | length of the runtime data |
//! | 1236 | n | runtime data, JSON |
//! | | | padding: zeros |
//!
//! The first half of the hardware's `REPORT_DATA` is the SHA-256 of the runtime data, the second half is zero.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::bytes::{Malformed, Reader};
use crate::digest::{Digest, Sha256, Sha384};
use crate::endorsements::Endorsements;
use crate::snp;

mod tpm;

pub use tpm::{Attest, Clock, PCRS, Selection, TpmQuote};

/// Longest report: the NV index holds 2600 octets.
pub const REPORT_LEN_MAX: usize = 1 << 16;
/// Length of a `TDREPORT`.
pub const TD_REPORT_LEN: usize = 1024;
/// Length of a modulus of the TPM's keys.
pub const MODULUS_LEN: usize = 256;

/// Evidence that was taken apart, and nothing of it believed.
#[derive(Clone, Debug)]
pub struct AzureEvidence {
    /// The paravisor's report.
    pub report: HclReport,
    /// What the virtual TPM signed; a raw report has none.
    pub tpm_quote: Option<TpmQuote>,
    /// What Intel's quoting enclave made of the report's `TDREPORT`.
    pub td_quote: Option<Vec<u8>>,
    /// The certificate of the chip's key, as the platform hands it out.
    pub endorsements: Endorsements,
}

/// The paravisor's report.
#[derive(Clone, Debug)]
pub struct HclReport {
    /// What the hardware says.
    pub hardware: Hardware,
    /// SHA-256 of the runtime data's exact octets.
    pub runtime_digest: Sha256,
    /// What the hardware vouches for by that digest.
    pub runtime: RuntimeData,
}

/// What kind of hardware made a report.
#[derive(Clone, Debug)]
pub enum Hardware {
    /// An attestation report of SEV-SNP, raw.
    Snp(Vec<u8>),
    /// A report that only a quoting enclave of the same machine can check.
    Tdx(TdReport),
}

impl AzureEvidence {
    /// Takes a raw report: it comes without a quote of the virtual TPM.
    ///
    /// # Errors
    /// As [`HclReport::parse`].
    pub fn of_report(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            report: HclReport::parse(bytes)?,
            tpm_quote: None,
            td_quote: None,
            endorsements: Endorsements::new(),
        })
    }

    /// Takes the JSON that collectors write: `hcl_report` (or `report`), `tpm_quote` (or `quote`) with `message`,
    /// `signature` and `pcrs`, for TDX `td_quote`, for SEV-SNP `vcek`, and `version`, which is absent, 1 or 2. Octets are
    /// lists of numbers or text: hex in the quote, base64 elsewhere; a certificate may be PEM.
    ///
    /// # Errors
    /// Other keys, a part that does not parse, or one that is of the other platform.
    pub fn parse_json(bytes: &[u8]) -> Result<Self, Malformed> {
        let EvidenceFile { version, hcl_report, tpm_quote, td_quote, vcek } =
            serde_json::from_slice(bytes)
                .map_err(|_| Malformed::invalid(WHAT, "is not the JSON that collectors write"))?;
        if version.is_some_and(|version| !(1..=2).contains(&version)) {
            return Err(Malformed::invalid(WHAT, "is of another version than 1 and 2"));
        }
        let report = HclReport::parse(&hcl_report.0)?;
        let mut endorsements = Endorsements::new();
        if let Some(Certificate(certificate)) = vcek {
            endorsements.add(&certificate)?;
        }
        match report.hardware {
            Hardware::Snp(_) if td_quote.is_some() => {
                Err(Malformed::invalid(WHAT, "has a TD quote beside a report of SEV-SNP"))
            }
            Hardware::Tdx(_) if !endorsements.certificates().is_empty() => {
                Err(Malformed::invalid(WHAT, "has AMD's certificate beside a report of TDX"))
            }
            Hardware::Snp(_) | Hardware::Tdx(_) => {
                let TpmQuoteFile { message, signature, pcrs } = tpm_quote;
                let pcrs: Vec<_> = pcrs.into_iter().map(|Hex(pcr)| pcr).collect();
                let tpm_quote = Some(TpmQuote::parse(message.0, &signature.0, &pcrs)?);
                Ok(Self {
                    report,
                    tpm_quote,
                    td_quote: td_quote.map(|Base64(it)| it),
                    endorsements,
                })
            }
        }
    }
}

impl HclReport {
    /// Takes a report apart.
    ///
    /// # Errors
    /// Lengths that disagree, another type or hash, padding that is not zero, runtime data without an attestation key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > REPORT_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: REPORT_LEN_MAX });
        }
        let mut reader = Reader::new(WHAT, bytes);
        let bad = |why| Malformed::invalid(WHAT, why);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(bad("does not start with HCLA"));
        }
        if !(1..=2).contains(&reader.u32_le()?) {
            return Err(bad("is of another version than 1 and 2"));
        }
        let len = reader.u32_le()?;
        if reader.u32_le()? != REQUEST_TYPE {
            return Err(bad("is of another request type than 2"));
        }
        if reader.array()? != [0; 16] {
            return Err(bad("has something in its reserved octets"));
        }
        let hardware = reader.take(snp::REPORT_LEN)?;
        let data_len = reader.u32_le()?;
        if data_len.checked_add(HEAD_LEN) != Some(len) {
            return Err(bad("has two lengths that disagree"));
        }
        if reader.u32_le()? != DATA_VERSION {
            return Err(bad("has runtime data of another version than 1"));
        }
        let kind = reader.u32_le()?;
        if reader.u32_le()? != HASH_SHA256 {
            return Err(bad("hashes its runtime data with another algorithm than SHA-256"));
        }
        let runtime_len = reader.u32_le()?;
        if runtime_len.checked_add(DATA_HEAD_LEN) != Some(data_len) {
            return Err(bad("has two lengths of runtime data that disagree"));
        }
        let runtime = reader.take(usize::try_from(runtime_len).unwrap_or(usize::MAX))?;
        if reader.rest().iter().any(|octet| *octet != 0) {
            return Err(bad("has something in its padding"));
        }
        let hardware = match kind {
            KIND_SNP => Hardware::Snp(hardware.to_vec()),
            KIND_TDX => Hardware::Tdx(TdReport::parse(hardware)?),
            _ => return Err(bad("is of neither SEV-SNP nor TDX")),
        };
        let runtime_digest = Sha256::of(runtime);
        Ok(Self { hardware, runtime_digest, runtime: RuntimeData::parse(runtime)? })
    }
}

/// A report of the TDX module for its own machine (`TDREPORT_STRUCT`, Intel TDX module ABI §3.9): an authentication code
/// that only that machine knows, and what is quoted. To anybody else it proves nothing; the quote does.
#[derive(Clone, Eq, PartialEq)]
pub struct TdReport(Box<[u8; TD_REPORT_LEN]>);

impl TdReport {
    /// Takes a report, and the zeros that fill its place.
    ///
    /// # Errors
    /// Another type, something in the padding, or hashes that are not of the parts that they name.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "TD report";
        let (report, padding) = bytes
            .split_first_chunk::<TD_REPORT_LEN>()
            .ok_or(Malformed::Truncated { what: WHAT })?;
        if padding.iter().any(|octet| *octet != 0) {
            return Err(Malformed::invalid(WHAT, "has something in its padding"));
        }
        let report = Self(Box::new(*report));
        if report.0.first() != Some(&TYPE_TDX) {
            return Err(Malformed::invalid(WHAT, "is of another type than TDX"));
        }
        for (stated, from, len) in [(32, 256, 239), (80, 512, 512)] {
            if report.at(stated, 48) != Sha384::of(report.at(from, len)).0 {
                return Err(Malformed::invalid(
                    WHAT,
                    "has a hash that is not of the part it names",
                ));
            }
        }
        Ok(report)
    }

    /// `REPORTDATA`.
    pub fn report_data(&self) -> &[u8] {
        self.at(128, 64)
    }

    /// The body that a quote of this report has: of TDX 1.0, then what TDX 1.5 adds (Intel DCAP Quoting Library API,
    /// appendix A.3.3 and A.3.4).
    pub fn quote_body(&self) -> Vec<u8> {
        [
            self.at(264, 16),  // TEE_TCB_SVN
            self.at(280, 96),  // MRSEAM, MRSIGNERSEAM
            self.at(376, 8),   // SEAMATTRIBUTES
            self.at(512, 400), // TDATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to RTMR3
            self.at(128, 64),  // REPORTDATA
            self.at(384, 16),  // TEE_TCB_SVN_2
            self.at(912, 48),  // SERVTD_HASH
        ]
        .concat()
    }

    fn at(&self, from: usize, len: usize) -> &[u8] {
        self.0.get(from..).and_then(|rest| rest.get(..len)).unwrap_or_default()
    }
}

impl fmt::Debug for TdReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TdReport(report data {})", hex::encode(self.report_data()))
    }
}

/// What the paravisor says of the machine and its TPM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuntimeData {
    /// The key that signs TPM quotes.
    pub attestation_key: RsaPublicKey,
    /// How the machine is configured.
    pub vm: VmConfiguration,
    /// What the guest asked to have included; older paravisors have no place for it.
    pub user_data: Option<Digest<64>>,
}

/// A key of RSA-2048 with the exponent 65537.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RsaPublicKey {
    /// The modulus, big-endian.
    pub modulus: Digest<MODULUS_LEN>,
}

/// How the paravisor configured the machine. What a paravisor adds later is passed over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct VmConfiguration {
    /// Whether there is a serial console.
    pub console_enabled: bool,
    /// Whether the firmware verifies what it starts.
    pub secure_boot: bool,
    /// Whether there is a virtual TPM.
    pub tpm_enabled: bool,
    /// Whether the virtual TPM's state outlives the machine; older paravisors do not say.
    pub tpm_persisted: Option<bool>,
    /// Digest of the certificate that seals what is persisted.
    pub root_cert_thumbprint: Option<String>,
    /// The machine's name.
    #[serde(rename = "vmUniqueId")]
    pub vm_unique_id: String,
}

impl RuntimeData {
    /// Parses the JSON.
    ///
    /// # Errors
    /// Anything but an object with the members above, or not exactly one attestation key of RSA-2048.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "runtime data";
        let RuntimeFile { keys, vm_configuration, user_data } = serde_json::from_slice(bytes)
            .map_err(|_| Malformed::invalid(WHAT, "is not the JSON that paravisors write"))?;
        let mut of_attestation = keys.iter().filter(|key| key.kid == ATTESTATION_KEY);
        let (Some(key), None) = (of_attestation.next(), of_attestation.next()) else {
            return Err(Malformed::invalid(WHAT, "does not have exactly one attestation key"));
        };
        let user_data = user_data
            .map(|text| {
                let mut octets = [0; 64];
                hex::decode_to_slice(text, &mut octets)
                    .map(|()| Digest(octets))
                    .map_err(|_| Malformed::invalid(WHAT, "has user data that are not 64 octets"))
            })
            .transpose()?;
        Ok(Self { attestation_key: key.parse()?, vm: vm_configuration, user_data })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuntimeFile {
    keys: Vec<Jwk>,
    vm_configuration: VmConfiguration,
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    n: String,
    e: String,
}

impl Jwk {
    fn parse(&self) -> Result<RsaPublicKey, Malformed> {
        const WHAT: &str = "attestation key";
        if self.kty != "RSA" || self.e != EXPONENT {
            return Err(Malformed::invalid(WHAT, "is not of RSA with the exponent 65537"));
        }
        let octets = URL_SAFE_NO_PAD.decode(&self.n).unwrap_or_default();
        let modulus: Option<[u8; MODULUS_LEN]> = octets.try_into().ok();
        modulus
            .filter(|modulus| modulus.first().is_some_and(|highest| *highest >= 0x80))
            .map(|modulus| RsaPublicKey { modulus: Digest(modulus) })
            .ok_or(Malformed::invalid(WHAT, "is not of 2048 bits"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceFile {
    version: Option<u32>,
    #[serde(alias = "report")]
    hcl_report: Base64,
    #[serde(alias = "quote")]
    tpm_quote: TpmQuoteFile,
    td_quote: Option<Base64>,
    vcek: Option<Certificate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TpmQuoteFile {
    message: Hex,
    signature: Hex,
    pcrs: Vec<Hex>,
}

/// Octets as a list of numbers, or in hex.
struct Hex(Vec<u8>);
/// Octets as a list of numbers, or in base64 of either alphabet.
struct Base64(Vec<u8>);
/// A certificate in PEM, or its DER in base64.
struct Certificate(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Octets(|text: &str| hex::decode(text).ok())).map(Self)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Octets(base64)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Certificate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets = if text.trim_start().starts_with("-----BEGIN ") {
            Some(text.into_bytes())
        } else {
            base64(&text)
        };
        octets.map(Self).ok_or_else(|| de::Error::custom("neither PEM nor base64"))
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    [URL_SAFE_NO_PAD, URL_SAFE, STANDARD].into_iter().find_map(|engine| engine.decode(text).ok())
}

struct Octets(fn(&str) -> Option<Vec<u8>>);

impl<'de> Visitor<'de> for Octets {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("octets, as a list or as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        (self.0)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut octets = Vec::new();
        while let Some(octet) = list.next_element()? {
            octets.push(octet);
        }
        Ok(octets)
    }
}

const WHAT: &str = "Azure evidence";
const MAGIC: &[u8] = b"HCLA";
const REQUEST_TYPE: u32 = 2;
const DATA_VERSION: u32 = 1;
const KIND_SNP: u32 = 2;
const KIND_TDX: u32 = 4;
const HASH_SHA256: u32 = 1;
/// The header and the hardware's report.
const HEAD_LEN: u32 = 32 + 1184;
/// What precedes the runtime data.
const DATA_HEAD_LEN: u32 = 20;
const TYPE_TDX: u8 = 0x81;
/// The name of the key that signs quotes.
const ATTESTATION_KEY: &str = "HCLAkPub";
/// 65537 in base64.
const EXPONENT: &str = "AQAB";

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"MODULUS"},{"kid":"HCLEkPub","key_ops":["encrypt"],"kty":"RSA","e":"AQAB","n":"x"}],"vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":"ID"},"user-data":"USER"}"#;

    fn runtime() -> String {
        JSON.replace("MODULUS", &URL_SAFE_NO_PAD.encode([0x80; 256]))
            .replace("USER", &"AB".repeat(64))
    }

    fn report(hardware: &[u8], kind: u32, runtime: &str) -> Vec<u8> {
        let len = u32::try_from(runtime.len()).unwrap();
        let mut report = MAGIC.to_vec();
        report.extend(
            [1, len.saturating_add(HEAD_LEN.saturating_add(DATA_HEAD_LEN)), REQUEST_TYPE]
                .map(u32::to_le_bytes)
                .concat(),
        );
        report.extend([0; 16]);
        report.extend(hardware);
        let data = [DATA_HEAD_LEN.saturating_add(len), DATA_VERSION, kind, HASH_SHA256, len];
        report.extend(data.map(u32::to_le_bytes).concat());
        report.extend(runtime.as_bytes());
        report.extend([0; 100]);
        report
    }

    fn td_report() -> Vec<u8> {
        let mut report: Vec<u8> =
            (0..TD_REPORT_LEN).map(|at| u8::try_from(at % 251).unwrap()).collect();
        report[0] = TYPE_TDX;
        let [tcb, info] = [Sha384::of(&report[256..495]).0, Sha384::of(&report[512..]).0];
        report[32..80].copy_from_slice(&tcb);
        report[80..128].copy_from_slice(&info);
        report.resize(snp::REPORT_LEN, 0);
        report
    }

    #[test]
    fn a_report_says_what_it_holds() {
        let parsed = HclReport::parse(&report(&[7; 1184], KIND_SNP, &runtime())).unwrap();
        assert!(matches!(parsed.hardware, Hardware::Snp(report) if report == [7; 1184]));
        assert_eq!(parsed.runtime_digest, Sha256::of(runtime().as_bytes()));
        assert_eq!(parsed.runtime.attestation_key.modulus, Digest([0x80; 256]));
        assert_eq!(parsed.runtime.user_data, Some(Digest([0xab; 64])));
        assert!(parsed.runtime.vm.secure_boot && parsed.runtime.vm.tpm_persisted.is_none());
        let parsed = HclReport::parse(&report(&td_report(), KIND_TDX, &runtime())).unwrap();
        let Hardware::Tdx(td) = parsed.hardware else { panic!("it is of TDX") };
        assert_eq!((td.report_data(), td.quote_body().len()), (&td_report()[128..192], 648));
        assert_eq!(td.quote_body()[520..584], td_report()[128..192]);
    }

    #[test]
    fn every_other_report_is_refused() {
        let good = report(&[7; 1184], KIND_SNP, &runtime());
        for (at, what) in [
            (0, "magic"),
            (4, "version"),
            (8, "length"),
            (12, "request type"),
            (16, "reserved"),
            (31, "reserved"),
            (1216, "length of data"),
            (1220, "version of data"),
            (1224, "kind"),
            (1228, "hash"),
            (1232, "length of runtime data"),
            (1236, "runtime data"),
            (good.len() - 1, "padding"),
        ] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(HclReport::parse(&bad).is_err(), "{what}");
        }
        for len in 0..good.len() - 100 {
            assert!(HclReport::parse(&good[..len]).is_err(), "{len} octets");
        }
        let long = [good, vec![0; REPORT_LEN_MAX]].concat();
        assert!(matches!(HclReport::parse(&long), Err(Malformed::TooLong { .. })));
    }

    #[test]
    fn a_td_report_hashes_its_parts() {
        assert!(TdReport::parse(&td_report()).is_ok());
        for at in [0, 32, 80, 256, 494, 512, 1023, 1024, 1183] {
            let mut bad = td_report();
            bad[at] ^= 1;
            assert!(TdReport::parse(&bad).is_err(), "octet {at}");
        }
    }

    #[test]
    fn runtime_data_have_one_attestation_key_of_rsa_2048() {
        assert!(RuntimeData::parse(runtime().as_bytes()).is_ok());
        let short = URL_SAFE_NO_PAD.encode([0x80; 255]);
        for (from, to) in [
            ("HCLAkPub", "HCLXkPub"),
            ("HCLEkPub", "HCLAkPub"),
            ("RSA", "EC"),
            ("AQAB", "Aw"),
            (URL_SAFE_NO_PAD.encode([0x80; 256]).as_str(), &short),
            (URL_SAFE_NO_PAD.encode([0x80; 256]).as_str(), &URL_SAFE_NO_PAD.encode([0x7f; 256])),
            ("\"ABAB", "\"AB"),
            ("\"ABAB", "\"XXAB"),
            ("\"secure-boot\":true", "\"secure-boot\":1"),
            ("\"secure-boot\":true,", ""),
            ("\"secure-boot\":true,", "\"secure-boot\":true,\"secure-boot\":true,"),
        ] {
            let bad = runtime().replacen(from, to, 1);
            assert!(RuntimeData::parse(bad.as_bytes()).is_err(), "{from} as {to}");
        }
        // What a later paravisor adds is passed over, and older ones have no user data.
        for (from, to) in
            [("\"secure-boot\"", "\"more\":1,\"secure-boot\""), (",\"user-data\"", ",\"else\"")]
        {
            assert!(RuntimeData::parse(runtime().replacen(from, to, 1).as_bytes()).is_ok(), "{to}");
        }
    }

    #[test]
    fn collectors_json_is_exact() {
        let hcl = report(&[7; 1184], KIND_SNP, &runtime());
        let pcrs = vec![hex::encode([1; 32]); PCRS];
        let quote = serde_json::json!({
            "message": hex::encode(tpm::tests::message(b"challenge")),
            "signature": hex::encode([2; 256]),
            "pcrs": pcrs,
        });
        let file = serde_json::json!({ "version": 1, "hcl_report": URL_SAFE_NO_PAD.encode(&hcl), "tpm_quote": quote });
        let parse =
            |file: &serde_json::Value| AzureEvidence::parse_json(file.to_string().as_bytes());
        let parsed = parse(&file).unwrap();
        assert_eq!(parsed.tpm_quote.unwrap().attest.extra_data, b"challenge");
        // Lists of numbers, under the first names.
        let lists = serde_json::json!({ "report": hcl, "quote": {
            "message": tpm::tests::message(b"challenge"), "signature": vec![2; 256], "pcrs": vec![vec![1; 32]; PCRS],
        }});
        assert!(parse(&lists).is_ok());
        let mut defects = Vec::new();
        let mut defect = |what: &'static str, change: &dyn Fn(&mut serde_json::Value)| {
            let mut bad = file.clone();
            change(&mut bad);
            defects.push((what, bad));
        };
        defect("version", &|bad| bad["version"] = 3.into());
        defect("another key", &|bad| bad["more"] = 1.into());
        defect("both names", &|bad| bad["report"] = bad["hcl_report"].clone());
        defect("no report", &|bad| drop(bad.as_object_mut().unwrap().remove("hcl_report")));
        defect("no quote", &|bad| drop(bad.as_object_mut().unwrap().remove("tpm_quote")));
        defect("a TD quote", &|bad| bad["td_quote"] = "AAAA".into());
        defect("no certificate", &|bad| bad["vcek"] = "AAAA".into());
        defect("no base64", &|bad| bad["hcl_report"] = "*".into());
        defect("no hex", &|bad| bad["tpm_quote"]["message"] = "zz".into());
        defect("no octets", &|bad| bad["tpm_quote"]["message"] = vec![256].into());
        defect("23 registers", &|bad| bad["tpm_quote"]["pcrs"] = pcrs[1..].into());
        defect("a short register", &|bad| bad["tpm_quote"]["pcrs"][0] = "00".into());
        defect("a short signature", &|bad| bad["tpm_quote"]["signature"] = "00".into());
        for (what, bad) in defects {
            assert!(parse(&bad).is_err(), "{what}");
        }
        let tdx = report(&td_report(), KIND_TDX, &runtime());
        let mut file = file;
        file["hcl_report"] = URL_SAFE_NO_PAD.encode(&tdx).into();
        file["td_quote"] = "AAAA".into();
        assert_eq!(parse(&file).unwrap().td_quote, Some(vec![0; 3]));
        file["vcek"] = STANDARD.encode([0x30, 7, 0x30, 5, 0xa0, 3, 2, 1, 2]).into();
        assert!(parse(&file).is_err(), "AMD's certificate beside TDX");
    }
}
