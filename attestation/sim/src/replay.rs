//! Hardware that signs the same claims again and again: what its guest hands in goes into signed
//! evidence that is there, and the key that signed it signs it anew.
//!
//! So a platform that was made once is kept as its evidence and its keys, and nothing else.

use attestation::gpu::{Architecture, GpuReport, SIGNATURE_LEN};
use attestation::tdx::{HEADER_LEN, TdxQuote};
use attestation::{Endorsements, ReportData, Secret, Sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::SimError;
use crate::keys::{EcKey, P256Key};

/// A TDX host whose quotes differ in `REPORTDATA` alone.
#[derive(Debug)]
pub struct TdxHost {
    quote: Vec<u8>,
    key: P256Key,
    /// The log that leads to the quotes' registers.
    pub event_log: Option<Vec<u8>>,
    /// What comes with each quote.
    pub endorsements: Endorsements,
}

impl TdxHost {
    /// Takes a quote and the key that signed it.
    pub fn new(
        quote: Vec<u8>,
        key: P256Key,
        event_log: Option<Vec<u8>>,
        endorsements: Endorsements,
    ) -> Result<Self, SimError> {
        TdxQuote::parse(&quote).map_err(|error| SimError::Argument(error.to_string()))?;
        Ok(Self { quote, key, event_log, endorsements })
    }

    /// A quote over `report_data`.
    pub fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, SimError> {
        let failed = || SimError::Crypto("quoting");
        let parsed = TdxQuote::parse(&self.quote).map_err(|_| failed())?;
        let signed_len = parsed.signed.len();
        // Version 5 names the body's type and size before it.
        let body_at = if parsed.version == 5 { HEADER_LEN.saturating_add(6) } else { HEADER_LEN };
        let mut quote = self.quote.clone();
        put(&mut quote, body_at.saturating_add(REPORT_DATA), &report_data.0).ok_or_else(failed)?;
        let signature = self.key.sign(quote.get(..signed_len).ok_or_else(failed)?)?;
        // The length of the signature data comes first.
        put(&mut quote, signed_len.saturating_add(4), &signature).ok_or_else(failed)?;
        Ok(quote)
    }

    /// The quote that it was made of.
    pub fn template(&self) -> &[u8] {
        &self.quote
    }

    /// The key that signs.
    pub const fn key(&self) -> &P256Key {
        &self.key
    }
}

/// All accelerators of a guest.
#[derive(Debug)]
pub struct Devices {
    /// In the order in which their evidence is listed.
    pub all: Vec<Device>,
    /// What comes with their evidence.
    pub endorsements: Endorsements,
}

impl Devices {
    /// Everything that is needed to sign again, keys included.
    pub fn encode(&self) -> Result<Secret<Vec<u8>>, SimError> {
        let kept: Vec<_> = self.all.iter().map(Device::keep).collect::<Result<_, _>>()?;
        let json = serde_json::to_vec(&kept).map_err(|_| SimError::Crypto("writing devices"))?;
        Ok(Secret::new(json))
    }

    /// Reads what [`encode`](Self::encode) writes.
    pub fn decode(json: &[u8], endorsements: Endorsements) -> Result<Self, SimError> {
        let kept: Vec<KeptDevice> =
            serde_json::from_slice(json).map_err(|_| SimError::Crypto("reading devices"))?;
        let all = kept.into_iter().map(Device::kept).collect::<Result<_, _>>()?;
        Ok(Self { all, endorsements })
    }

    /// The list of all devices' evidence over `nonce`, as NVIDIA's tools write it.
    pub fn evidence(&self, nonce: &Sha256) -> Result<Vec<u8>, SimError> {
        let list: Vec<_> =
            self.all.iter().map(|device| device.evidence(nonce)).collect::<Result<_, _>>()?;
        serde_json::to_vec(&list).map_err(|_| SimError::Crypto("writing device evidence"))
    }
}

/// One GPU or switch, whose reports differ in the nonce alone.
#[derive(Debug)]
pub struct Device {
    /// Its generation.
    pub architecture: Architecture,
    /// A report that it signed.
    pub report: Vec<u8>,
    /// The key that signed it.
    pub key: EcKey,
    /// The key's chain in PEM, the key's certificate first.
    pub chain: String,
}

impl Device {
    fn keep(&self) -> Result<KeptDevice, SimError> {
        Ok(KeptDevice {
            architecture: self.architecture.name().to_owned(),
            report: STANDARD.encode(&self.report),
            key: STANDARD.encode(self.key.to_pkcs8()?.expose()),
            chain: self.chain.clone(),
        })
    }

    fn kept(kept: KeptDevice) -> Result<Self, SimError> {
        let KeptDevice { architecture, report, key, chain } = kept;
        let bad = || SimError::Crypto("reading a device");
        let known = Architecture::ALL.into_iter().find(|known| known.name() == architecture);
        let key = Secret::new(STANDARD.decode(key).map_err(|_| bad())?);
        Ok(Self {
            architecture: known.ok_or_else(bad)?,
            report: STANDARD.decode(report).map_err(|_| bad())?,
            key: EcKey::from_pkcs8(key.expose())?,
            chain,
        })
    }

    fn evidence(&self, nonce: &Sha256) -> Result<DeviceJson, SimError> {
        let failed = || SimError::Crypto("measuring a device");
        let mut report = self.report.clone();
        put(&mut report, NONCE, nonce.as_bytes()).ok_or_else(failed)?;
        let signed_len = report.len().checked_sub(SIGNATURE_LEN).ok_or_else(failed)?;
        let signature = self.key.sign(report.get(..signed_len).ok_or_else(failed)?)?;
        put(&mut report, signed_len, &signature).ok_or_else(failed)?;
        let parsed = GpuReport::parse(&report).map_err(|_| failed())?;
        Ok(DeviceJson {
            arch: self.architecture.name().to_owned(),
            nonce: nonce.to_string(),
            evidence: STANDARD.encode(&report),
            certificate: STANDARD.encode(&self.chain),
            driver_version: parsed.opaque().driver().map(str::to_owned),
            vbios_version: parsed.opaque().vbios(),
        })
    }
}

/// A device as it is kept; its key is no secret worth more than the folder that it lies in.
#[derive(Deserialize, Serialize)]
struct KeptDevice {
    architecture: String,
    report: String,
    key: String,
    chain: String,
}

/// One entry of the list.
#[derive(Debug, Serialize)]
struct DeviceJson {
    arch: String,
    nonce: String,
    evidence: String,
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vbios_version: Option<String>,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..)?.get_mut(..value.len())?.copy_from_slice(value);
    Some(())
}

/// Where `REPORTDATA` is in a TD's report of any form (TDX module ABI, `TDREPORT_STRUCT`).
const REPORT_DATA: usize = 520;
/// Where the nonce is in a device's report: after version, code and two parameters.
const NONCE: usize = 4;
