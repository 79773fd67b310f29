//! The binding statement: what an enclave's keys, model and configuration are, as one hash that
//! the hardware signs (`docs/protocol.md` §5.2).

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::bytes::{Malformed, Reader, Writer};
use crate::digest::{Digest, Sha256, Sha512, hex_array};
use crate::json;
use crate::keys::Challenge;
use crate::labels;
use crate::time::UnixTime;

/// 16 random bytes that name an enclave for one boot.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub [u8; 16]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        hex_array("node id", text).map(Self)
    }
}

/// Everything that one epoch of an enclave stands for: `S` of `docs/protocol.md` §5.2.
///
/// Freshness is not part of it: an epoch has one [`BindingId`] whoever asks, so nothing in it
/// links clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// The enclave, for this boot.
    pub node_id: NodeId,
    /// Hash of the exact `application/ohttp-keys` bytes.
    pub ohttp_keys: Sha256,
    /// A key of a compatibility protocol, where one is turned on.
    pub compat_key: Option<[u8; 32]>,
    /// Hash of the DER `SubjectPublicKeyInfo` of the enclave's TLS key.
    pub tls_spki: Sha256,
    /// COSE Key thumbprint of the receipt key (RFC 9679).
    pub receipt_key: Sha256,
    /// Hash of the exact model manifest.
    pub manifest: Sha256,
    /// Hash of the exact effective configuration.
    pub config: Sha256,
    /// Hash of the accelerators' evidence, where there are any.
    pub accelerators: Option<Sha256>,
    /// When the epoch's key starts to be used, by the enclave's clock.
    pub not_before: UnixTime,
    /// When clients stop sealing to the epoch's key, by the enclave's clock.
    pub not_after: UnixTime,
}

impl Statement {
    /// The exact bytes that are hashed and carried in the evidence.
    pub fn encode(&self) -> Vec<u8> {
        let writer = Writer::new()
            .bytes(labels::STATEMENT)
            .lv16(&self.node_id.0)
            .lv16(self.ohttp_keys.as_bytes());
        let writer = match &self.compat_key {
            Some(key) => writer.lv16(key),
            None => writer.u16(0),
        };
        let writer = writer
            .lv16(self.tls_spki.as_bytes())
            .lv16(self.receipt_key.as_bytes())
            .lv16(self.manifest.as_bytes())
            .lv16(self.config.as_bytes());
        let writer = match &self.accelerators {
            Some(digest) => writer.lv16(digest.as_bytes()),
            None => writer.u16(0),
        };
        writer.u64(self.not_before.as_secs()).u64(self.not_after.as_secs()).finish()
    }

    /// Parses what [`encode`](Self::encode) writes, exactly.
    ///
    /// # Errors
    /// Another label, a member of the wrong length, a window that ends before it starts, or
    /// trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "statement";
        let statement = Reader::read_all(WHAT, bytes, |r| {
            if r.take(labels::STATEMENT.len())? != labels::STATEMENT {
                return Err(Malformed::invalid(WHAT, "does not start with its label"));
            }
            Ok(Self {
                node_id: NodeId(r.lv16_array()?),
                ohttp_keys: Digest(r.lv16_array()?),
                compat_key: optional(r)?,
                tls_spki: Digest(r.lv16_array()?),
                receipt_key: Digest(r.lv16_array()?),
                manifest: Digest(r.lv16_array()?),
                config: Digest(r.lv16_array()?),
                accelerators: optional(r)?.map(Digest),
                not_before: UnixTime::from_secs(r.u64()?),
                not_after: UnixTime::from_secs(r.u64()?),
            })
        })?;
        if statement.not_after <= statement.not_before {
            return Err(Malformed::invalid(WHAT, "has a window that ends before it starts"));
        }
        // Times past the end of time would not survive a round trip.
        if statement.encode() == bytes {
            Ok(statement)
        } else {
            Err(Malformed::invalid(WHAT, "has a time that is out of range"))
        }
    }

    /// The epoch's name in requests and receipts.
    pub fn binding_id(&self) -> BindingId {
        BindingId::of_statement(&self.encode())
    }

    /// What the accelerators of this epoch must have signed.
    pub fn accelerator_nonce(&self) -> Sha256 {
        accelerator_nonce(&self.node_id, &self.ohttp_keys)
    }
}

/// What accelerators sign for one epoch of one enclave: the statement then holds the digest of their
/// evidence, so each side names the other (`docs/protocol.md` §5.2).
///
/// No challenge is in it: devices answer once per epoch, and the CPU answers challenges.
pub fn accelerator_nonce(node_id: &NodeId, ohttp_keys: &Sha256) -> Sha256 {
    Sha256::of_parts(&[labels::ACCELERATORS, &node_id.0, ohttp_keys.as_bytes()])
}

/// A member that is either absent (length 0) or 32 bytes.
fn optional(r: &mut Reader<'_>) -> Result<Option<[u8; 32]>, Malformed> {
    match r.lv16(32)? {
        [] => Ok(None),
        member => member
            .try_into()
            .map(Some)
            .map_err(|_| Malformed::invalid("statement", "has a member of the wrong length")),
    }
}

/// Names a binding statement: the hash of its bytes (`docs/protocol.md` §5.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BindingId(pub Sha256);

impl BindingId {
    /// The id of a statement by its exact bytes.
    pub fn of_statement(statement: &[u8]) -> Self {
        Self(Sha256::of_parts(&[labels::BINDING_ID, statement]))
    }
}

impl fmt::Display for BindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What shows that a report is not older than a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fresh {
    /// Nothing: evidence made once per epoch and cached.
    None,
    /// One verifier's challenge.
    Challenge(Challenge),
    /// The Merkle root over a batch of challenges.
    Root(Sha256),
}

/// The 64 bytes that a guest hands to the hardware to sign.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ReportData(pub [u8; 64]);

impl ReportData {
    /// The one function that defines the binding of keys to hardware (`docs/protocol.md` §5.2).
    pub fn bind(binding: &BindingId, fresh: &Fresh) -> Self {
        let writer = Writer::new().bytes(binding.0.as_bytes());
        let writer = match fresh {
            Fresh::None => writer.u8(0).u16(0),
            Fresh::Challenge(challenge) => writer.u8(1).lv16(&challenge.0),
            Fresh::Root(root) => writer.u8(3).lv16(root.as_bytes()),
        };
        Self(Sha512::of_parts(&[labels::REPORT_DATA, &writer.finish()]).0)
    }
}

impl fmt::Debug for ReportData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for ReportData {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        hex_array("report data", text).map(Self)
    }
}

/// The `freshness` member of an evidence bundle, as JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FreshnessProof {
    /// Cached evidence: answers no challenge.
    None,
    /// The report answers this one challenge.
    Challenge {
        /// The challenge, hex.
        challenge: Digest<32>,
    },
    /// The report answers a batch; the path leads from the verifier's challenge to the root.
    Batch {
        /// Merkle root over the batch.
        root: Sha256,
        /// Position of the verifier's challenge.
        index: u16,
        /// Number of challenges in the batch.
        size: u16,
        /// Audit path (RFC 9162 §2.1.3), nearest sibling first.
        path: Vec<Sha256>,
    },
}

impl FreshnessProof {
    /// What went into `REPORT_DATA`.
    pub const fn fresh(&self) -> Fresh {
        match self {
            Self::None => Fresh::None,
            Self::Challenge { challenge } => Fresh::Challenge(Challenge(challenge.0)),
            Self::Batch { root, .. } => Fresh::Root(*root),
        }
    }

    /// Whether the report answers `challenge`.
    pub fn answers(&self, challenge: &Challenge) -> bool {
        match self {
            Self::None => false,
            Self::Challenge { challenge: answered } => answered.ct_eq(&Digest(challenge.0)),
            Self::Batch { root, index, size, path } => {
                crate::merkle::verify(root, challenge, *index, *size, path)
            }
        }
    }
}

impl<'de> Deserialize<'de> for FreshnessProof {
    /// Takes an object with exactly the members of its type.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match json::object(deserializer)? {
            ProofMembers::None {} => Self::None,
            ProofMembers::Challenge { challenge } => Self::Challenge { challenge },
            ProofMembers::Batch { root, index, size, path } => {
                Self::Batch { root, index, size, path }
            }
        })
    }
}

/// [`FreshnessProof`] as it is read. `None` has braces, because serde lets a unit variant have
/// unknown members whatever else it is told.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum ProofMembers {
    None {},
    Challenge { challenge: Digest<32> },
    Batch { root: Sha256, index: u16, size: u16, path: Vec<Sha256> },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            node_id: NodeId([1; 16]),
            ohttp_keys: Digest([2; 32]),
            compat_key: None,
            tls_spki: Digest([3; 32]),
            receipt_key: Digest([4; 32]),
            manifest: Digest([5; 32]),
            config: Digest([6; 32]),
            accelerators: None,
            not_before: UnixTime::from_secs(1000),
            not_after: UnixTime::from_secs(4600),
        }
    }

    #[test]
    fn statement_round_trips_and_refuses_the_rest() {
        let with_options = Statement {
            compat_key: Some([7; 32]),
            accelerators: Some(Digest([8; 32])),
            ..statement()
        };
        for statement in [statement(), with_options] {
            let bytes = statement.encode();
            assert_eq!(Statement::parse(&bytes), Ok(statement));
            for len in 0..bytes.len() {
                assert!(Statement::parse(&bytes[..len]).is_err(), "cut at {len}");
            }
            assert!(Statement::parse(&[bytes.clone(), vec![0]].concat()).is_err());
            let mut other_label = bytes;
            other_label[0] ^= 1;
            assert!(Statement::parse(&other_label).is_err());
        }
        let empty = Statement { not_after: UnixTime::from_secs(1000), ..statement() };
        assert!(Statement::parse(&empty.encode()).is_err());
        // A time past the end of time has no second spelling.
        let mut late = statement().encode();
        let at = late.len().saturating_sub(8);
        late[at..].copy_from_slice(&u64::MAX.to_be_bytes());
        assert!(Statement::parse(&late).is_err());
    }

    /// The numbers come from the formulas of `docs/protocol.md` §5.2 and another language's hashes.
    #[test]
    fn the_binding_is_that_of_the_protocol() {
        let id = statement().binding_id();
        assert_eq!(statement().encode().len(), 227);
        assert_eq!(
            id.to_string(),
            "d9e4b57598ddd23509e06d4f23a8d2b6be9f07068049e0cad6e77e327fb3b01f"
        );
        for (fresh, report_data) in [
            (
                Fresh::None,
                "d7e25193da94ab28e324c2ea7ae57229e904c471d5d8f1f2c4c0091a03327e34\
                 160a3f4a737d3dd445767df7003f3c65696426975dc0c4ef3a7b537599ad1979",
            ),
            (
                Fresh::Challenge(Challenge([9; 32])),
                "94ee08e806c6d15e7ea42dab2345484fdc15f3ed5e32a4720f784a8f293bfea7\
                 fffc720bcab4f7ab26b9fe8846a1d63acae3c223a47e6e5a051fe29a85fb708a",
            ),
            (
                Fresh::Root(Digest([9; 32])),
                "40aa2a790367707dcdc99d01ce7cc446244aca20bc8cad20ad0b36572e63f998\
                 4a7605d952ac4ef0788576f24529e8e702a64f3e7bfda3da2b50e2c2312c2165",
            ),
        ] {
            assert_eq!(format!("{:?}", ReportData::bind(&id, &fresh)), report_data, "{fresh:?}");
        }
    }

    /// The numbers come from the formula of `docs/protocol.md` §5.2 and another language's hashes.
    #[test]
    fn the_accelerators_nonce_is_that_of_the_protocol() {
        let nonce = statement().accelerator_nonce();
        assert_eq!(
            nonce.to_string(),
            "5b3dbdc1df908efd988780fcbea0e9ab51b54477dacfdd35bb87b6d327792344"
        );
        let other = Statement { node_id: NodeId([2; 16]), ..statement() };
        assert_ne!(other.accelerator_nonce(), nonce);
        let other = Statement { ohttp_keys: Digest([3; 32]), ..statement() };
        assert_ne!(other.accelerator_nonce(), nonce);
        // An epoch's devices answer once: nothing that a challenge changes is in it.
        let later = Statement { not_after: UnixTime::from_secs(4601), ..statement() };
        assert_eq!(later.accelerator_nonce(), nonce);
    }

    #[test]
    fn every_member_and_the_freshness_change_the_report_data() {
        let base = statement();
        let mut seen = vec![ReportData::bind(&base.binding_id(), &Fresh::None).0];
        for bytes in (0..base.encode().len()).map(|at| {
            let mut bytes = base.encode();
            bytes[at] ^= 1;
            bytes
        }) {
            seen.push(ReportData::bind(&BindingId::of_statement(&bytes), &Fresh::None).0);
        }
        let id = base.binding_id();
        seen.push(ReportData::bind(&id, &Fresh::Challenge(Challenge([0; 32]))).0);
        seen.push(ReportData::bind(&id, &Fresh::Root(Digest([0; 32]))).0);
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn freshness_json_is_strict() {
        let none: FreshnessProof = serde_json::from_str(r#"{"type":"none"}"#).unwrap();
        assert!(!none.answers(&Challenge([0; 32])));
        let digest = Digest::<32>([9; 32]);
        let text = format!(r#"{{"type":"challenge","challenge":"{digest}"}}"#);
        let one: FreshnessProof = serde_json::from_str(&text).unwrap();
        assert!(one.answers(&Challenge([9; 32])));
        assert!(!one.answers(&Challenge([8; 32])));
        let batch = FreshnessProof::Batch { root: digest, index: 1, size: 2, path: vec![digest] };
        for proof in [none, one, batch] {
            let text = serde_json::to_string(&proof).unwrap();
            assert_eq!(serde_json::from_str::<FreshnessProof>(&text).unwrap(), proof);
        }
        for bad in [
            r#"{"type":"other"}"#.to_owned(),
            r#"{"type":"none","x":1}"#.to_owned(),
            format!(r#"{{"type":"none","challenge":"{digest}"}}"#),
            r#"{"type":"none","type":"none"}"#.to_owned(),
            r#"["none"]"#.to_owned(),
            format!(r#"["challenge","{digest}"]"#),
            r#""none""#.to_owned(),
            format!(r#"{{"type":"challenge","challenge":"{digest}","x":1}}"#),
            format!(r#"{{"type":"challenge","challenge":"{digest}","challenge":"{digest}"}}"#),
        ] {
            assert!(serde_json::from_str::<FreshnessProof>(&bad).is_err(), "{bad}");
        }
    }
}
