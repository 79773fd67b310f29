//! Intel's kinds: answers of the Provisioning Certification Service (PCS API v4) as they are sent,
//! and the collateral JSON into which public tools pack what belongs to one quote.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Endorsements, Kind, WHAT};
use crate::bytes::Malformed;
use crate::json::Object;

/// Adds what one JSON text holds.
pub(super) fn add(all: &mut Endorsements, text: &str) -> Result<(), Malformed> {
    const BAD: Malformed =
        Malformed::invalid(WHAT, "is JSON of neither an Intel PCS answer nor Intel collateral");
    if let Some(kind) = kind(text.as_bytes()) {
        return all.add_item(kind, text.as_bytes());
    }
    let Object(collateral) = serde_json::from_str::<Object<Collateral>>(text).map_err(|_| BAD)?;
    collateral.add_to(all)
}

/// Tells a signed document by its form, which is exactly the one that Intel sends: one member, its
/// signature, no spaces around them. What is between is looked at when it is verified.
pub(super) fn kind(item: &[u8]) -> Option<Kind> {
    Signed::of(item).map(|signed| signed.kind)
}

/// A signed document, taken apart and not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signed<'a> {
    pub(crate) kind: Kind,
    /// The bytes that are signed.
    pub(crate) body: &'a [u8],
    /// `r ‖ s`, big-endian.
    pub(crate) signature: [u8; 64],
}

impl<'a> Signed<'a> {
    /// Takes one apart. The body is whatever is between the fixed parts; that it is one JSON object
    /// is for its parser to see, so that it cannot hold a second signature or document.
    pub(crate) fn of(item: &'a [u8]) -> Option<Self> {
        let item = item.strip_suffix(b"\"}")?;
        let (item, digits) = item.split_at_checked(item.len().checked_sub(2 * 64)?)?;
        let item = item.strip_suffix(MIDDLE.as_bytes())?;
        let (kind, body) = [(Kind::TcbInfo, TCB_INFO), (Kind::QeIdentity, QE_IDENTITY)]
            .into_iter()
            .find_map(|(kind, start)| Some((kind, item.strip_prefix(start.as_bytes())?)))?;
        let mut signature = [0; 64];
        hex::decode_to_slice(digits, &mut signature).ok()?;
        let is_object = body.starts_with(b"{") && body.ends_with(b"}");
        is_object.then_some(Self { kind, body, signature })
    }
}

/// Writes a signed document as Intel sends it.
fn signed(start: &str, body: &str, signature: &str) -> String {
    [start, body, MIDDLE, signature, "\"}"].concat()
}

const TCB_INFO: &str = "{\"tcbInfo\":";
const QE_IDENTITY: &str = "{\"enclaveIdentity\":";
const MIDDLE: &str = ",\"signature\":\"";

/// Everything that belongs to one quote, as public tools write it. Members that are not named here
/// are left out: the file is not signed, so they are nobody's word.
#[derive(Deserialize)]
struct Collateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: Box<RawValue>,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: Box<RawValue>,
    qe_identity_signature: String,
    pck_certificate_chain: Option<String>,
}

impl Collateral {
    fn add_to(&self, all: &mut Endorsements) -> Result<(), Malformed> {
        let lists = [&self.root_ca_crl, &self.pck_crl];
        let chains = [
            Some(&self.pck_crl_issuer_chain),
            Some(&self.tcb_info_issuer_chain),
            Some(&self.qe_identity_issuer_chain),
            self.pck_certificate_chain.as_ref(),
        ];
        for part in lists.into_iter().chain(chains.into_iter().flatten()) {
            // A JSON text in here would be collateral within collateral.
            if part.trim_ascii_start().starts_with('{') {
                return Err(Malformed::invalid(WHAT, "has JSON where a chain or list belongs"));
            }
            all.add(part.trim_end_matches('\0').as_bytes())?;
        }
        for (kind, start, body, signature) in [
            (Kind::TcbInfo, TCB_INFO, &self.tcb_info, &self.tcb_info_signature),
            (Kind::QeIdentity, QE_IDENTITY, &self.qe_identity, &self.qe_identity_signature),
        ] {
            let item = signed(start, &exact(body)?, signature);
            if self::kind(item.as_bytes()) != Some(kind) {
                return Err(Malformed::invalid(WHAT, "has a document that is not one of Intel's"));
            }
            all.add_item(kind, item.as_bytes())?;
        }
        Ok(())
    }
}

/// The document's exact text: tools write it as a string, or put the object itself.
fn exact(value: &RawValue) -> Result<String, Malformed> {
    let text = value.get();
    if text.starts_with('"') {
        serde_json::from_str(text)
            .map_err(|_| Malformed::invalid(WHAT, "has a document that is no text"))
    } else {
        Ok(text.to_owned())
    }
}

/// A PEM chain as Intel's PCS sends it in a header: percent-encoded. `None` where it is not.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    if !text.starts_with("-----BEGIN%20") {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            let mut value = [0];
            hex::decode_to_slice(digits, &mut value).ok()?;
            out.extend_from_slice(&value);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &str = "-----BEGIN CERTIFICATE-----\nMAcwBaADAgEC\n-----END CERTIFICATE-----\n";
    /// A revocation list, as far as anybody looks here.
    const LIST: &str = "30053003020101";

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "pck_crl_issuer_chain": CERT,
            "root_ca_crl": LIST,
            "pck_crl": LIST,
            "tcb_info_issuer_chain": CERT,
            "tcb_info": "{\"id\":\"TDX\"}",
            "tcb_info_signature": "ab".repeat(64),
            "qe_identity_issuer_chain": CERT,
            "qe_identity": "{\"id\":\"TD_QE\"}",
            "qe_identity_signature": "cd".repeat(64),
        })
    }

    fn added(text: &str) -> Result<Endorsements, Malformed> {
        let mut all = Endorsements::new();
        all.add(text.as_bytes()).map(|()| all)
    }

    #[test]
    fn collateral_is_taken_apart() {
        let all = added(&sample().to_string()).unwrap();
        let counts = Kind::ALL.map(|kind| all.items(kind).len());
        assert_eq!(counts, [1, 1, 1, 1, 0]);
        let tcb_info = format!(r#"{{"tcbInfo":{{"id":"TDX"}},"signature":"{}"}}"#, "ab".repeat(64));
        assert_eq!(all.items(Kind::TcbInfo), [tcb_info.clone().into_bytes()]);
        // The same as the PCS sends it, and all of it in PEM, are the same again.
        let mut again = all.clone();
        again.add(tcb_info.as_bytes()).unwrap();
        assert_eq!(added(&again.to_pem()).unwrap(), all);
        let mut object = sample();
        object["tcb_info"] = serde_json::json!({"id": "TDX"});
        assert_eq!(added(&object.to_string()).unwrap(), all, "an object instead of its text");
    }

    #[test]
    fn a_signed_document_is_of_one_exact_form() {
        let item = format!(r#"{{"tcbInfo":{{"a":1}},"signature":"{}"}}"#, "0f".repeat(64));
        let parsed = Signed::of(item.as_bytes()).unwrap();
        assert_eq!((parsed.kind, parsed.body), (Kind::TcbInfo, b"{\"a\":1}".as_slice()));
        assert_eq!(parsed.signature, [0x0f; 64]);
        for bad in [
            item.replace(":{\"a\"", ": {\"a\""),
            item.replace("tcbInfo", "tcbinfo"),
            item.replace("0f0f\"}", "0f\"}"),
            item.replace("0f\"}", "0g\"}"),
            item.replace("\"}", "\" }"),
            item.replace("{\"a\":1}", "[1]"),
            item.replace("{\"a\":1}", ""),
            item.replace(",\"sig", " ,\"sig"),
        ] {
            assert!(bad != item && Signed::of(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn other_json_is_refused() {
        for key in ["pck_crl", "tcb_info", "qe_identity_signature"] {
            let mut missing = sample();
            drop(missing.as_object_mut().unwrap().remove(key));
            assert!(added(&missing.to_string()).is_err(), "without {key}");
        }
        let text = sample().to_string();
        for (from, to) in [
            ("\"tcb_info\":", "\"root_ca_crl\":\"\",\"tcb_info\":"), // twice
            (LIST, "3005"),
            (LIST, "{}"),
            ("abab\"", "ab\""),
        ] {
            let bad = text.replacen(from, to, 1);
            assert!(bad != text && added(&bad).is_err(), "{bad}");
        }
        assert!(added("{}").is_err() && added("[]").is_err());
        // One array of the members' values is no object.
        assert!(added(&format!("{{\"a\":{text}}}")).is_err());
    }

    #[test]
    fn a_chain_from_a_header_is_decoded() {
        let encoded = CERT.replace(' ', "%20").replace('\n', "%0A").replace('=', "%3D");
        assert_eq!(added(&encoded).unwrap().certificates().len(), 1);
        for bad in [encoded.replace("%0A", "%0"), encoded.replace("%0A", "%GG")] {
            assert!(added(&bad).is_err(), "{bad}");
        }
    }
}
