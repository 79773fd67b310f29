//! Evidence as it travels: vendor formats told by content, and our bundle of everything bound.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::Malformed;
use crate::snp;

/// Longest evidence in any form: a TDX quote with collateral or eight GPUs' reports fit in it.
pub const LEN_MAX: usize = 4 << 20;

/// Evidence exactly as an attester produced it. It has no accessors but [`as_wire`](Self::as_wire).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence(Vec<u8>);

impl Evidence {
    /// Takes ownership of wire bytes. Parsing happens in the verifier.
    pub const fn from_wire(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes as received.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
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
    /// A raw TDX quote.
    TdxQuote,
    /// NVIDIA device evidence (JSON).
    NvidiaJson,
    /// An Azure HCL report.
    AzureHcl,
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
            return Some(Self::AzureHcl);
        }
        if bytes.len() == snp::REPORT_LEN {
            return Some(Self::SnpReport(bytes.to_vec()));
        }
        let is_tdx = matches!(bytes.first_chunk(), Some([4 | 5, 0]))
            && bytes.get(4..8) == Some(TEE_TDX.as_slice());
        is_tdx.then_some(Self::TdxQuote)
    }

    fn of_json(text: &[u8]) -> Result<Self, Malformed> {
        let keys: Keys =
            serde_json::from_slice(text).map_err(|_| Malformed::invalid(WHAT, "is not JSON"))?;
        match keys {
            Keys { of_bundle: true, .. } => Ok(Self::Bundle),
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
            keys.of_nvidia |= NVIDIA_KEYS.contains(&key.as_str());
        }
        Ok(keys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
        let first: Keys = list.next_element()?.unwrap_or_default();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Keys { of_bundle: false, ..first })
    }
}

/// Hex or base64 text of binary evidence.
fn decode_text(text: &[u8]) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    hex::decode(&compact)
        .ok()
        .or_else(|| STANDARD.decode(&compact).ok())
        .or_else(|| URL_SAFE_NO_PAD.decode(&compact).ok())
}

const WHAT: &str = "evidence";
/// Marks a CMW collection (RFC 9999): its value names the collection's type.
const COLLECTION_KEY: &str = "__cmwc_t";
/// Keys that NVIDIA's evidence has one of, in the forms that its tools write.
const NVIDIA_KEYS: [&str; 4] = ["evidence", "evidence_list", "arch", "gpu_evidences"];
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
    /// The CPU's evidence: a raw SNP report.
    pub cpu0: Vec<u8>,
    /// Certificates and revocation lists in PEM; may be empty.
    pub endorsements: Vec<u8>,
}

/// A member of the collection: its label and its media type.
type Member = (&'static str, &'static str);

const MEMBERS: [Member; 8] = [
    ("statement", "application/vnd.veritee.statement"),
    ("ohttp_keys", "application/ohttp-keys"),
    ("receipt_key", "application/cose-key"),
    ("manifest", "application/vnd.veritee.manifest+json"),
    ("config", "application/vnd.veritee.config+toml"),
    ("freshness", "application/vnd.veritee.freshness+json"),
    ("cpu0", "application/vnd.veritee.sev-snp-report"),
    ("endorsements", "application/x-pem-file"),
];

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
    /// another type.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: "bundle", limit: LEN_MAX });
        }
        serde_json::from_slice(bytes)
            .map_err(|_| Malformed::invalid("bundle", "is not a Veritee evidence bundle"))
    }

    fn members(&self) -> [&[u8]; 8] {
        let Self {
            statement,
            ohttp_keys,
            receipt_key,
            manifest,
            config,
            freshness,
            cpu0,
            endorsements,
        } = self;
        [statement, ohttp_keys, receipt_key, manifest, config, freshness, cpu0, endorsements]
    }
}

impl Serialize for Bundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(COLLECTION_KEY, COLLECTION_TYPE)?;
        for ((label, media_type), bytes) in MEMBERS.iter().zip(self.members()) {
            map.serialize_entry(label, &(media_type, URL_SAFE_NO_PAD.encode(bytes)))?;
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
        let mut found: [Option<Vec<u8>>; 8] = Default::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == COLLECTION_KEY {
                if typed || map.next_value::<String>()? != COLLECTION_TYPE {
                    return Err(de::Error::custom("another collection type"));
                }
                typed = true;
                continue;
            }
            let mut slots = MEMBERS.iter().zip(found.iter_mut());
            let ((_, media_type), slot) = slots
                .find(|((label, _), _)| *label == key)
                .ok_or_else(|| de::Error::custom("an unknown member"))?;
            let (given, text): (String, String) = map.next_value()?;
            if slot.is_some() || given != *media_type {
                return Err(de::Error::custom("a member twice, or of another type"));
            }
            *slot = Some(URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)?);
        }
        let missing = || de::Error::custom("a member is missing");
        match found {
            [
                Some(statement),
                Some(ohttp_keys),
                Some(receipt_key),
                Some(manifest),
                Some(config),
                Some(freshness),
                Some(cpu0),
                Some(endorsements),
            ] if typed => Ok(Bundle {
                statement,
                ohttp_keys,
                receipt_key,
                manifest,
                config,
                freshness,
                cpu0,
                endorsements,
            }),
            _ => Err(missing()),
        }
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
            cpu0: vec![7; 1184],
            endorsements: vec![],
        }
    }

    #[test]
    fn bundle_round_trips_and_refuses_the_rest() {
        let bytes = bundle().encode();
        assert_eq!(Bundle::parse(&bytes), Ok(bundle()));
        assert_eq!(EvidenceKind::detect(&bytes), Ok(EvidenceKind::Bundle));
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            text.replace("\"statement\"", "\"other\""),
            text.replace("\"ohttp_keys\"", "\"statement\""),
            text.replace("application/cose-key", "application/json"),
            text.replace("2026:evidence", "2026:other"),
            text.replacen('{', "{\"__cmwc_t\":\"tag:veritee.dev,2026:evidence\",", 1),
            text.replace("\"AQ\"", "\"AQ==\""),
            text.replace("\"AQ\"]", "\"AQ\",1]"),
            text.replace("\"config\":[\"application/vnd.veritee.config+toml\",\"BQ\"],", ""),
            format!("{text}{{}}"),
        ] {
            assert!(bad != text && Bundle::parse(bad.as_bytes()).is_err(), "{bad:.200}");
        }
    }

    #[test]
    fn kinds_are_told_by_content() {
        let report = vec![9_u8; 1184];
        let is_report = Ok(EvidenceKind::SnpReport(report.clone()));
        assert_eq!(EvidenceKind::detect(&report), is_report);
        assert_eq!(EvidenceKind::detect(hex::encode(&report).as_bytes()), is_report);
        let base64 = STANDARD.encode(&report) + "\n";
        assert_eq!(EvidenceKind::detect(base64.as_bytes()), is_report);
        let tdx = [4, 0, 2, 0, 0x81, 0, 0, 0, 0, 0];
        assert_eq!(EvidenceKind::detect(&tdx), Ok(EvidenceKind::TdxQuote));
        assert_eq!(EvidenceKind::detect(b"HCLA...."), Ok(EvidenceKind::AzureHcl));
        assert_eq!(EvidenceKind::detect(br#"[{"arch":"HOPPER"}]"#), Ok(EvidenceKind::NvidiaJson));
        // As long as a report, and not one.
        let padded = format!("{:1184}", r#"{"arch":"HOPPER"}"#);
        assert_eq!(EvidenceKind::detect(padded.as_bytes()), Ok(EvidenceKind::NvidiaJson));
        for bad in [r#"[{"__cmwc_t":1}]"#, r#"[1,{"arch":1}]"#, "[]", r#"{"a":{"arch":1}}"#] {
            assert!(EvidenceKind::detect(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [&b""[..], b"text", b"{}", b"{", &[0; 1183]] {
            assert!(EvidenceKind::detect(bad).is_err());
        }
    }
}
