//! Evidence as it travels: vendor formats told by content, and our bundle of everything bound.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::armor;
use crate::bytes::Malformed;
use crate::{gpu, snp, tdx};

/// Longest evidence in any form: a TDX quote with collateral or eight GPUs' reports fit in it.
pub const LEN_MAX: usize = 4 << 20;

/// Evidence exactly as an attester produced it. It has no accessors but those of its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    wire: Vec<u8>,
    event_log: Option<Vec<u8>>,
}

impl Evidence {
    /// Takes ownership of wire bytes. Parsing happens in the verifier.
    pub const fn from_wire(bytes: Vec<u8>) -> Self {
        Self { wire: bytes, event_log: None }
    }

    /// The same evidence with the event log of the boot that it is of, where that came by itself.
    #[must_use]
    pub fn with_event_log(self, log: Vec<u8>) -> Self {
        Self { event_log: Some(log), ..self }
    }

    /// The bytes as received.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }

    /// The event log that came beside them.
    pub fn event_log_as_wire(&self) -> Option<&[u8]> {
        self.event_log.as_deref()
    }
}

/// What kind of evidence some bytes are, told by content alone.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EvidenceKind {
    /// Our own bundle (JSON).
    Bundle,
    /// A raw SEV-SNP attestation report, decoded from hex or base64 where it came so.
    SnpReport(Vec<u8>),
    /// A raw TDX quote, decoded likewise; zero bytes may follow it.
    TdxQuote(Vec<u8>),
    /// NVIDIA device evidence (JSON).
    NvidiaJson,
    /// A raw report of an NVIDIA device, decoded from hex or base64 where it came so.
    NvidiaReport(Vec<u8>),
    /// An Azure HCL report, decoded from hex or base64 where it came so.
    AzureHcl(Vec<u8>),
    /// An Azure HCL report with what the virtual TPM signed (JSON).
    AzureJson,
    /// Evidence of a platform that is told and not taken apart here, by its name.
    Foreign(&'static str),
}

impl EvidenceKind {
    /// Tells the kind of `bytes`.
    ///
    /// # Errors
    /// Over [`LEN_MAX`], or no kind that we know.
    pub fn detect(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: LEN_MAX });
        }
        // JSON may be as long as a report, and no report of a version that we know starts like it.
        let text = bytes.trim_ascii();
        // As we write it: no other kind has this key, and whoever parses the bundle reads the rest.
        if text.starts_with(COLLECTION_START) {
            return Ok(Self::Bundle);
        }
        if text.starts_with(b"{") || text.starts_with(b"[") {
            return Self::of_json(text);
        }
        if let Some(kind) = Self::of_binary(bytes) {
            return Ok(kind);
        }
        decode_text(text)
            .and_then(|decoded| Self::of_binary(&decoded))
            .ok_or(Malformed::invalid(WHAT, "is of no kind that this version knows"))
    }

    fn of_binary(bytes: &[u8]) -> Option<Self> {
        /// TEE type of TDX in a quote's header (Intel DCAP Quoting Library API, appendix A.3.1).
        const TEE_TDX: [u8; 4] = [0x81, 0, 0, 0];
        if bytes.starts_with(b"HCLA") {
            return Some(Self::AzureHcl(bytes.to_vec()));
        }
        if bytes.len() == snp::REPORT_LEN {
            return Some(Self::SnpReport(bytes.to_vec()));
        }
        if gpu::is_report(bytes) {
            return Some(Self::NvidiaReport(bytes.to_vec()));
        }
        let is_tdx = matches!(bytes.first_chunk(), Some([4 | 5, 0]))
            && bytes.get(4..8) == Some(TEE_TDX.as_slice());
        if is_tdx {
            return Some(Self::TdxQuote(bytes.to_vec()));
        }
        Self::foreign(bytes).map(Self::Foreign)
    }

    /// Tells evidence of other platforms, so that who brings it hears that, and not that it is garbage.
    fn foreign(bytes: &[u8]) -> Option<&'static str> {
        /// TEE type of SGX; in quotes of version 3 the place is reserved and zero (Intel DCAP Quoting Library API,
        /// appendix A.4).
        const TEE_SGX: [u8; 4] = [0; 4];
        /// `COSE_Sign1` with ECDSA and SHA-384, as AWS Nitro enclaves sign their documents.
        const NITRO: [u8; 7] = [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0];
        /// The tag of a token of Arm's confidential compute (draft-ffm-rats-cca-token §3.1).
        const CCA: [u8; 3] = [0xd9, 0x01, 0x8f];
        let is_sgx = matches!(bytes.first_chunk(), Some([3..=5, 0]))
            && bytes.get(4..8) == Some(TEE_SGX.as_slice())
            && bytes.get(12..28) == Some(tdx::INTEL_QE_VENDOR.as_slice());
        // A tag may stand before it (RFC 9052 §4.2).
        let untagged = bytes.strip_prefix(&[0xd2]).unwrap_or(bytes);
        if is_sgx {
            Some("sgx")
        } else if untagged.starts_with(&NITRO) {
            Some("aws-nitro")
        } else {
            bytes.starts_with(&CCA).then_some("arm-cca")
        }
    }

    fn of_json(text: &[u8]) -> Result<Self, Malformed> {
        let keys: Keys =
            serde_json::from_slice(text).map_err(|_| Malformed::invalid(WHAT, "is not JSON"))?;
        match keys {
            Keys { of_bundle: true, .. } => Ok(Self::Bundle),
            Keys { of_azure: true, .. } => Ok(Self::AzureJson),
            Keys { of_nvidia: true, .. } => Ok(Self::NvidiaJson),
            Keys { .. } => {
                Err(Malformed::invalid(WHAT, "is JSON of no kind that this version knows"))
            }
        }
    }
}

/// Which telling keys an object has, or the first object of a list. Nothing of the JSON is kept: as
/// a tree of values it would take twenty times its length.
#[derive(Default)]
struct Keys {
    of_bundle: bool,
    of_azure: bool,
    of_nvidia: bool,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            keys.of_bundle |= key == COLLECTION_KEY;
            keys.of_azure |= AZURE_KEYS.contains(&key.as_str());
            keys.of_nvidia |= NVIDIA_KEYS.contains(&key.as_str());
        }
        Ok(keys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
        let first: Keys = list.next_element()?.unwrap_or_default();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Keys { of_bundle: false, of_azure: false, ..first })
    }
}

/// Hex or base64 text of binary evidence.
fn decode_text(text: &[u8]) -> Option<Vec<u8>> {
    armor::without_blanks(core::str::from_utf8(text).ok()?, |letters| {
        // Some tools write hex as a programming language does.
        hex::decode(letters.strip_prefix(b"0x").unwrap_or(letters))
            .ok()
            .or_else(|| armor::standard(letters))
            .or_else(|| armor::url_safe_no_pad(letters))
    })
}

const WHAT: &str = "evidence";
/// Marks a CMW collection (RFC 9999): its value names the collection's type.
const COLLECTION_KEY: &str = "__cmwc_t";
const COLLECTION_START: &[u8] = b"{\"__cmwc_t\":";
/// Keys that Azure's evidence has one of, in the forms that collectors write.
const AZURE_KEYS: [&str; 3] = ["hcl_report", "tpm_quote", "vcek"];
/// Keys that NVIDIA's evidence has one of, in the forms that its tools write.
const NVIDIA_KEYS: [&str; 3] = ["evidence", "evidence_list", "arch"];
/// The type of our collection.
const COLLECTION_TYPE: &str = "tag:veritee.dev,2026:evidence";

/// An evidence bundle: a CMW collection in JSON whose members carry the hashed bytes verbatim
/// (`docs/protocol.md` §5.2). Nothing in it is believed before the verifier has bound it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundle {
    /// The binding statement.
    pub statement: Vec<u8>,
    /// The `application/ohttp-keys` resource.
    pub ohttp_keys: Vec<u8>,
    /// The receipt key as a `COSE_Key`.
    pub receipt_key: Vec<u8>,
    /// The model manifest.
    pub manifest: Vec<u8>,
    /// The effective configuration.
    pub config: Vec<u8>,
    /// The freshness proof, JSON.
    pub freshness: Vec<u8>,
    /// The CPU's evidence.
    pub cpu0: CpuEvidence,
    /// The log of what went into the measurement registers, raw (CCEL); beside a TDX quote alone.
    pub event_log: Option<Vec<u8>>,
    /// The accelerators' evidence: the exact bytes that the statement's digest is of.
    pub accel: Option<Vec<u8>>,
    /// Certificates, revocation lists and what else vendors sign, in PEM; may be empty.
    pub endorsements: Vec<u8>,
}

/// What a CPU signed, and which kind of CPU it is said to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CpuEvidence {
    /// The kind, which on the wire is the member's media type.
    pub platform: CpuPlatform,
    /// The exact bytes.
    pub bytes: Vec<u8>,
}

impl CpuEvidence {
    /// A raw SEV-SNP attestation report.
    pub const fn sev_snp(report: Vec<u8>) -> Self {
        Self { platform: CpuPlatform::SevSnp, bytes: report }
    }

    /// A raw TDX quote.
    pub const fn tdx(quote: Vec<u8>) -> Self {
        Self { platform: CpuPlatform::Tdx, bytes: quote }
    }
}

/// The kinds of CPU whose evidence a bundle can carry.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CpuPlatform {
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel TDX.
    Tdx,
}

impl CpuPlatform {
    const ALL: [Self; 2] = [Self::SevSnp, Self::Tdx];

    /// The name in policies and verdicts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::SevSnp => "application/vnd.veritee.sev-snp-report",
            Self::Tdx => "application/vnd.veritee.tdx-quote",
        }
    }
}

/// The labels of the collection. Each is there once, or at most once where it is optional.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Label {
    Statement,
    OhttpKeys,
    ReceiptKey,
    Manifest,
    Config,
    Freshness,
    Cpu0,
    EventLog,
    Accel,
    Endorsements,
}

/// In the order in which they are written.
const LABELS: [Label; 10] = [
    Label::Statement,
    Label::OhttpKeys,
    Label::ReceiptKey,
    Label::Manifest,
    Label::Config,
    Label::Freshness,
    Label::Cpu0,
    Label::EventLog,
    Label::Accel,
    Label::Endorsements,
];

impl Label {
    const fn text(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::OhttpKeys => "ohttp_keys",
            Self::ReceiptKey => "receipt_key",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Freshness => "freshness",
            Self::Cpu0 => "cpu0",
            Self::EventLog => "event_log",
            Self::Accel => "accel",
            Self::Endorsements => "endorsements",
        }
    }

    /// The one media type of the member; the CPU's has one per platform.
    const fn media_type(self, cpu: CpuPlatform) -> &'static str {
        match self {
            Self::Statement => "application/vnd.veritee.statement",
            Self::OhttpKeys => "application/ohttp-keys",
            Self::ReceiptKey => "application/cose-key",
            Self::Manifest => "application/vnd.veritee.manifest+json",
            Self::Config => "application/vnd.veritee.config+toml",
            Self::Freshness => "application/vnd.veritee.freshness+json",
            Self::Cpu0 => cpu.media_type(),
            Self::EventLog => "application/vnd.veritee.ccel",
            Self::Accel => "application/vnd.veritee.nvidia-evidence+json",
            Self::Endorsements => "application/x-pem-file",
        }
    }
}

impl Bundle {
    /// The bundle as JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and maps always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses a bundle: every member once, each of its media type, and nothing else.
    ///
    /// # Errors
    /// Over [`LEN_MAX`], no such JSON, a member that is missing, unknown, given twice or of
    /// another type, or an event log beside what has none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: "bundle", limit: LEN_MAX });
        }
        serde_json::from_slice(bytes)
            .map_err(|_| Malformed::invalid("bundle", "is not a Veritee evidence bundle"))
    }

    const fn member(&self, label: Label) -> Option<&Vec<u8>> {
        match label {
            Label::Statement => Some(&self.statement),
            Label::OhttpKeys => Some(&self.ohttp_keys),
            Label::ReceiptKey => Some(&self.receipt_key),
            Label::Manifest => Some(&self.manifest),
            Label::Config => Some(&self.config),
            Label::Freshness => Some(&self.freshness),
            Label::Cpu0 => Some(&self.cpu0.bytes),
            Label::EventLog => self.event_log.as_ref(),
            Label::Accel => self.accel.as_ref(),
            Label::Endorsements => Some(&self.endorsements),
        }
    }
}

impl Serialize for Bundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(COLLECTION_KEY, COLLECTION_TYPE)?;
        for label in LABELS {
            if let Some(bytes) = self.member(label) {
                let media_type = label.media_type(self.cpu0.platform);
                let value = (media_type, URL_SAFE_NO_PAD.encode(bytes));
                map.serialize_entry(label.text(), &value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Bundle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BundleVisitor)
    }
}

struct BundleVisitor;

impl<'de> Visitor<'de> for BundleVisitor {
    type Value = Bundle;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CMW collection of Veritee's evidence")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bundle, A::Error> {
        let mut typed = false;
        let mut platform = None;
        let mut found: [Option<Vec<u8>>; LABELS.len()] = Default::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == COLLECTION_KEY {
                if typed || map.next_value::<String>()? != COLLECTION_TYPE {
                    return Err(de::Error::custom("another collection type"));
                }
                typed = true;
                continue;
            }
            let mut slots = LABELS.into_iter().zip(found.iter_mut());
            let (label, slot) = slots
                .find(|(label, _)| label.text() == key)
                .ok_or_else(|| de::Error::custom("an unknown member"))?;
            let (given, Octets(octets)): (String, Octets) = map.next_value()?;
            let of_type = |cpu: &CpuPlatform| label.media_type(*cpu) == given;
            let cpu = CpuPlatform::ALL.into_iter().find(of_type);
            if slot.is_some() || cpu.is_none() {
                return Err(de::Error::custom("a member twice, or of another type"));
            }
            if label == Label::Cpu0 {
                platform = cpu;
            }
            *slot = Some(octets);
        }
        let missing = || de::Error::custom("a member is missing");
        let [
            Some(statement),
            Some(ohttp_keys),
            Some(receipt_key),
            Some(manifest),
            Some(config),
            Some(freshness),
            Some(cpu0),
            event_log,
            accel,
            Some(endorsements),
        ] = found
        else {
            return Err(missing());
        };
        let platform = platform.filter(|_| typed).ok_or_else(missing)?;
        // Only TDX has the registers that such a log leads to: elsewhere nothing could check it.
        if event_log.is_some() && platform != CpuPlatform::Tdx {
            return Err(de::Error::custom("an event log beside what has none"));
        }
        let cpu0 = CpuEvidence { platform, bytes: cpu0 };
        Ok(Bundle {
            statement,
            ohttp_keys,
            receipt_key,
            manifest,
            config,
            freshness,
            cpu0,
            event_log,
            accel,
            endorsements,
        })
    }
}

/// A member's octets, decoded from where their base64url stands.
struct Octets(Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OctetsVisitor)
    }
}

struct OctetsVisitor;

impl Visitor<'_> for OctetsVisitor {
    type Value = Octets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64url without padding")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Octets, E> {
        armor::url_safe_no_pad(text)
            .map(Octets)
            .ok_or_else(|| E::custom("not base64url without padding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            statement: vec![1],
            ohttp_keys: vec![2],
            receipt_key: vec![3],
            manifest: vec![4],
            config: vec![5],
            freshness: vec![6],
            cpu0: CpuEvidence::sev_snp(vec![7; 1184]),
            event_log: None,
            accel: None,
            endorsements: vec![],
        }
    }

    /// With every member that there is.
    fn full() -> Bundle {
        Bundle {
            cpu0: CpuEvidence::tdx(vec![7; 5000]),
            event_log: Some(vec![8]),
            accel: Some(vec![9]),
            ..bundle()
        }
    }

    #[test]
    fn bundle_round_trips_and_refuses_the_rest() {
        let gpus = Bundle { accel: Some(b"[]".to_vec()), ..bundle() };
        let tdx = Bundle { cpu0: CpuEvidence::tdx(vec![7]), ..bundle() };
        // An empty member is not an absent one.
        let empty = Bundle { accel: Some(Vec::new()), ..bundle() };
        for bundle in [bundle(), gpus, tdx, empty, full()] {
            let bytes = bundle.encode();
            assert_eq!(Bundle::parse(&bytes), Ok(bundle));
            assert_eq!(EvidenceKind::detect(&bytes), Ok(EvidenceKind::Bundle));
        }
        let text = String::from_utf8(full().encode()).unwrap();
        for (from, to) in [
            ("\"statement\"", "\"other\""),
            ("\"ohttp_keys\"", "\"statement\""),
            ("application/cose-key", "application/json"),
            ("2026:evidence", "2026:other"),
            ("{", "{\"__cmwc_t\":\"tag:veritee.dev,2026:evidence\","),
            ("\"AQ\"", "\"AQ==\""),
            ("\"AQ\"]", "\"AQ\",1]"),
            ("\"config\":[\"application/vnd.veritee.config+toml\",\"BQ\"],", ""),
            ("\"accel\"", "\"accel0\""),
            ("\"accel\"", "\"event_log\""),
            ("veritee.nvidia-evidence+json", "veritee.nvidia-evidence"),
            ("veritee.ccel", "veritee.tdx-quote"),
            // A CPU of no kind, and an event log where nothing leads to it.
            ("veritee.tdx-quote", "veritee.ccel"),
            ("veritee.tdx-quote", "veritee.sev-snp-report"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert!(bad != text && Bundle::parse(bad.as_bytes()).is_err(), "{from} -> {to}");
        }
        for (label, media_type) in [
            ("cpu0", "vnd.veritee.tdx-quote"),
            ("event_log", "vnd.veritee.ccel"),
            ("accel", "vnd.veritee.nvidia-evidence+json"),
        ] {
            let again = format!("{{\"{label}\":[\"application/{media_type}\",\"Bw\"],");
            let bad = text.replacen('{', &again, 1);
            assert!(Bundle::parse(bad.as_bytes()).is_err(), "{label} twice");
        }
        assert!(Bundle::parse(format!("{text}{{}}").as_bytes()).is_err());
    }

    #[test]
    fn kinds_are_told_by_content() {
        let report = vec![9_u8; 1184];
        let is_report = Ok(EvidenceKind::SnpReport(report.clone()));
        assert_eq!(EvidenceKind::detect(&report), is_report);
        assert_eq!(EvidenceKind::detect(hex::encode(&report).as_bytes()), is_report);
        let prefixed = format!("0x{}", hex::encode(&report));
        assert_eq!(EvidenceKind::detect(prefixed.as_bytes()), is_report);
        let base64 = base64::engine::general_purpose::STANDARD.encode(&report) + "\n";
        assert_eq!(EvidenceKind::detect(base64.as_bytes()), is_report);
        let tdx = [4, 0, 2, 0, 0x81, 0, 0, 0, 0, 0];
        assert_eq!(EvidenceKind::detect(&tdx), Ok(EvidenceKind::TdxQuote(tdx.to_vec())));
        assert_eq!(
            EvidenceKind::detect(b"HCLA...."),
            Ok(EvidenceKind::AzureHcl(b"HCLA....".to_vec()))
        );
        assert_eq!(EvidenceKind::detect(br#"{"hcl_report":""}"#), Ok(EvidenceKind::AzureJson));
        assert_eq!(EvidenceKind::detect(br#"[{"arch":"HOPPER"}]"#), Ok(EvidenceKind::NvidiaJson));
        // As long as a report, and not one.
        let padded = format!("{:1184}", r#"{"arch":"HOPPER"}"#);
        assert_eq!(EvidenceKind::detect(padded.as_bytes()), Ok(EvidenceKind::NvidiaJson));
        for bad in [r#"[{"__cmwc_t":1}]"#, r#"[1,{"arch":1}]"#, "[]", r#"{"a":{"arch":1}}"#] {
            assert!(EvidenceKind::detect(bad.as_bytes()).is_err(), "{bad}");
        }
        // Written in another order, or with spaces, it is a bundle all the same.
        for bundle in [r#"{"__cmwc_t":1}"#, r#"{ "a":[{}], "__cmwc_t":1}"#] {
            assert_eq!(EvidenceKind::detect(bundle.as_bytes()), Ok(EvidenceKind::Bundle));
        }
        for bad in [&b""[..], b"text", b"{}", b"{", &[0; 1183]] {
            assert!(EvidenceKind::detect(bad).is_err());
        }
    }
}
