//! Evidence of devices in the JSON that NVIDIA's tools write: a list of reports, each with its chain.
//!
//! | key | value |
//! |---|---|
//! | `arch` | `HOPPER`, `BLACKWELL` or `LS10` |
//! | `evidence` | the report, base64 |
//! | `certificate` | the chain in PEM, base64: the signing key's certificate first |
//! | `nonce` | the nonce that was asked with, hex |
//! | `driver_version`, `vbios_version` | what the report says too |
//!
//! One device may stand without a list around it. NVIDIA's attestation service takes a list in another
//! shape: `{"nonce", "arch", "evidence_list": [{"evidence", "certificate"}]}`. Other keys are not read:
//! nothing but the report is signed, so nothing else can matter.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{GpuReport, REPORT_LEN_MAX};
use crate::armor;
use crate::bytes::Malformed;
use crate::evidence;

/// Most devices in one piece of evidence: an NVL72 rack has 72 GPUs and 18 switches.
pub const DEVICES_MAX: usize = 128;
/// Most certificates in one chain: a genuine one has five.
const CERTIFICATES_MAX: usize = 8;
/// Longest chain in PEM: a genuine one has five kilobytes.
const CHAIN_LEN_MAX: usize = 64 << 10;

/// One device's report, with what stands beside it. Parsed, and not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceEvidence {
    /// The report.
    pub report: GpuReport,
    /// The chain in DER, as it came: the signing key's certificate first. Empty for a report alone.
    pub chain: Vec<Vec<u8>>,
    /// What the JSON says beside it, where it says so; nobody signed that.
    pub stated: Stated,
}

/// What the JSON says of a report beside it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stated {
    /// `HOPPER`, `BLACKWELL` or `LS10`.
    pub architecture: Option<String>,
    /// The nonce that was asked with.
    pub nonce: Option<[u8; 32]>,
    /// The driver's version.
    pub driver: Option<String>,
    /// The VBIOS' version.
    pub vbios: Option<String>,
}

impl DeviceEvidence {
    /// A report without anything beside it.
    pub fn of_report(report: GpuReport) -> Self {
        Self { report, chain: Vec::new(), stated: Stated::default() }
    }
}

/// Parses all devices of some JSON, in its order.
///
/// # Errors
/// Too long, no such JSON, no device or too many, or a report or chain that does not parse.
pub fn parse_devices(json: &[u8]) -> Result<Vec<DeviceEvidence>, Malformed> {
    if json.len() > evidence::LEN_MAX {
        return Err(Malformed::TooLong { what: WHAT, limit: evidence::LEN_MAX });
    }
    let devices: Devices<'_> = serde_json::from_slice(json)
        .map_err(|_| Malformed::invalid(WHAT, "is no list of devices in a form that is known"))?;
    if devices.0.is_empty() {
        return Err(Malformed::invalid(WHAT, "names no device"));
    }
    devices.0.into_iter().map(device).collect()
}

fn device(file: DeviceFile<'_>) -> Result<DeviceEvidence, Malformed> {
    let DeviceFile { arch, certificate, evidence, nonce, driver_version, vbios_version } = file;
    let nonce = nonce.map(|nonce| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(nonce.0.as_bytes(), &mut bytes)
            .map(|()| bytes)
            .map_err(|_| Malformed::invalid(WHAT, "has a nonce that is not 32 bytes in hex"))
    });
    let stated = Stated {
        architecture: arch.map(|text| text.0.into_owned()),
        nonce: nonce.transpose()?,
        driver: driver_version.map(|text| text.0.into_owned()),
        vbios: vbios_version.map(|text| text.0.into_owned()),
    };
    let report = decode(&evidence.0, REPORT_LEN_MAX)?;
    let chain = decode(&certificate.0, CHAIN_LEN_MAX)?;
    Ok(DeviceEvidence { report: GpuReport::parse(&report)?, chain: certificates(&chain)?, stated })
}

fn decode(text: &str, limit: usize) -> Result<Vec<u8>, Malformed> {
    if text.len() / 4 > limit / 3 {
        return Err(Malformed::TooLong { what: WHAT, limit });
    }
    armor::standard(text).ok_or(Malformed::invalid(WHAT, "has a member that is not base64"))
}

/// The certificates of a PEM text, in its order, each as often as it stands there.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    const BAD: Malformed = Malformed::invalid(WHAT, "has a chain that is not certificates in PEM");
    let mut rest = core::str::from_utf8(pem).map_err(|_| BAD)?.trim_ascii();
    let mut chain = Vec::new();
    while !rest.is_empty() {
        let body = rest.strip_prefix("-----BEGIN CERTIFICATE-----").ok_or(BAD)?;
        // No base64 has a dash.
        let (body, after) = body.split_at(body.find('-').ok_or(BAD)?);
        let after = after.strip_prefix("-----END CERTIFICATE-----").ok_or(BAD)?;
        if chain.len() >= CERTIFICATES_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: CERTIFICATES_MAX });
        }
        chain.push(armor::body(body).ok_or(BAD)?);
        rest = after.trim_ascii_start();
    }
    Ok(chain)
}

const WHAT: &str = "device evidence";

/// A string that is not copied unless it has escapes.
#[derive(Clone, Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[derive(Deserialize)]
struct DeviceFile<'a> {
    #[serde(borrow)]
    arch: Option<Text<'a>>,
    #[serde(borrow)]
    certificate: Text<'a>,
    #[serde(borrow)]
    evidence: Text<'a>,
    #[serde(borrow)]
    nonce: Option<Text<'a>>,
    #[serde(borrow)]
    driver_version: Option<Text<'a>>,
    #[serde(borrow)]
    vbios_version: Option<Text<'a>>,
}

/// The shape of NVIDIA's attestation service, or one device.
#[derive(Deserialize)]
struct ObjectFile<'a> {
    #[serde(borrow)]
    arch: Option<Text<'a>>,
    #[serde(borrow)]
    certificate: Option<Text<'a>>,
    #[serde(borrow)]
    evidence: Option<Text<'a>>,
    #[serde(borrow)]
    nonce: Option<Text<'a>>,
    #[serde(borrow)]
    driver_version: Option<Text<'a>>,
    #[serde(borrow)]
    vbios_version: Option<Text<'a>>,
    #[serde(borrow)]
    evidence_list: Option<Vec<DeviceFile<'a>>>,
}

struct Devices<'a>(Vec<DeviceFile<'a>>);

impl<'de> Deserialize<'de> for Devices<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DevicesVisitor)
    }
}

struct DevicesVisitor;

impl<'de> Visitor<'de> for DevicesVisitor {
    type Value = Devices<'de>;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("devices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Devices<'de>, A::Error> {
        let mut devices = Vec::new();
        while let Some(device) = list.next_element()? {
            if devices.len() >= DEVICES_MAX {
                return Err(serde::de::Error::custom("too many devices"));
            }
            devices.push(device);
        }
        Ok(Devices(devices))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Devices<'de>, A::Error> {
        let object = ObjectFile::deserialize(MapAccessDeserializer::new(map))?;
        let bad = || serde::de::Error::custom("neither a device nor a list of them");
        match object {
            ObjectFile {
                arch,
                certificate: Some(certificate),
                evidence: Some(evidence),
                nonce,
                driver_version,
                vbios_version,
                evidence_list: None,
            } => Ok(Devices(vec![DeviceFile {
                arch,
                certificate,
                evidence,
                nonce,
                driver_version,
                vbios_version,
            }])),
            ObjectFile {
                arch,
                certificate: None,
                evidence: None,
                nonce,
                driver_version: None,
                vbios_version: None,
                evidence_list: Some(mut list),
            } => {
                if list.len() > DEVICES_MAX {
                    return Err(bad());
                }
                for device in &mut list {
                    // What is said once is said of each; a device that says otherwise is compared with
                    // its report all the same.
                    device.arch = device.arch.take().or_else(|| arch.clone());
                    device.nonce = device.nonce.take().or_else(|| nonce.clone());
                }
                Ok(Devices(list))
            }
            ObjectFile { .. } => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const REPORT: usize = 2;

    /// A report of no measurement and no field.
    fn report(nonce: u8) -> Vec<u8> {
        let mut bytes = vec![0x11, 0xe0, 1, 0xff];
        bytes.extend_from_slice(&[nonce; 32]);
        bytes.extend_from_slice(&[0, 0x11, 0x60, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0; 32 + REPORT + 96]);
        bytes
    }

    fn pem(certificates: &[&[u8]]) -> String {
        let block = |der: &&[u8]| {
            let body = STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        STANDARD.encode(certificates.iter().map(block).collect::<String>())
    }

    fn object(more: &str) -> String {
        let (report, chain) = (STANDARD.encode(report(7)), pem(&[b"leaf", b"root", b"root"]));
        format!(r#"{{"evidence":"{report}","certificate":"{chain}"{more}}}"#)
    }

    #[test]
    fn all_forms_are_read() {
        let nonce = "07".repeat(32);
        let more = format!(r#","arch":"HOPPER","nonce":"{nonce}","driver_version":"1","uuid":3"#);
        let one = parse_devices(object(&more).as_bytes()).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].report.nonce(), &[7; 32]);
        assert_eq!(one[0].chain, [b"leaf", b"root", b"root"], "nothing is left out");
        let stated = &one[0].stated;
        assert_eq!(
            (stated.architecture.as_deref(), stated.nonce, stated.driver.as_deref()),
            (Some("HOPPER"), Some([7; 32]), Some("1"))
        );
        let two = format!("[{}, {}]", object(&more), object(""));
        assert_eq!(parse_devices(two.as_bytes()).unwrap().len(), 2);
        let service = format!(
            r#"{{"arch":"LS10","nonce":"{nonce}","evidence_list":[{}],"claims_version":"3.0"}}"#,
            object("")
        );
        let service = parse_devices(service.as_bytes()).unwrap();
        assert_eq!(service[0].stated.architecture.as_deref(), Some("LS10"));
        assert_eq!(service[0].stated.nonce, Some([7; 32]));
    }

    #[test]
    fn the_rest_is_refused() {
        let long = format!("[{}]", vec![object(""); DEVICES_MAX + 1].join(","));
        let many = format!(
            r#"{{"evidence":"{}","certificate":"{}"}}"#,
            STANDARD.encode(report(7)),
            pem(&[b"x".as_slice(); CERTIFICATES_MAX + 1])
        );
        for bad in [
            "[]".to_owned(),
            "{}".to_owned(),
            "7".to_owned(),
            object(r#","evidence_list":[]"#),
            r#"{"evidence_list":[]}"#.to_owned(),
            format!(r#"{{"evidence_list":{{"evidence_list":[{}]}}}}"#, object("")),
            object(r#","nonce":"07""#),
            object(r#","arch":"HOPPER","arch":"LS10""#),
            object(r#","certificate":"""#),
            object("").replace("LS0tLS1", "LS0tLS*"),
            object("").replace("EeAB", "EeAA"),
            format!("{} x", object("")),
            long,
            many,
        ] {
            assert!(parse_devices(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
