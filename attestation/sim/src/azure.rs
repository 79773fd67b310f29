//! Azure's paravisor and its virtual TPM: the report that hardware vouches for, and quotes.

use std::fmt;

use attestation::Sha256;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::SimError;

/// The key of RSA-2048 that signs a virtual TPM's quotes.
pub struct TpmKey(rsa::KeyPair);

impl TpmKey {
    /// A new key.
    pub fn generate() -> Result<Self, SimError> {
        rsa::KeyPair::generate(KeySize::Rsa2048)
            .map(Self)
            .map_err(|_| SimError::Crypto("RSA key generation"))
    }

    /// The modulus, big-endian.
    pub fn modulus(&self) -> Result<[u8; 256], SimError> {
        // An RSAPublicKey (RFC 8017 §A.1.1): two headers of 4 octets and a zero precede the modulus, and the exponent
        // with its header follows.
        let key = self.0.public_key().as_ref();
        key.get(9..265)
            .and_then(|modulus| modulus.try_into().ok())
            .filter(|_| key.ends_with(&[2, 3, 1, 0, 1]) && key.len() == 270)
            .ok_or(SimError::Crypto("writing an RSA public key"))
    }

    /// Signs by RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SimError::Crypto("RSA signature"))?;
        Ok(signature)
    }
}

impl fmt::Debug for TpmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TpmKey(..)")
    }
}

/// What the paravisor says, as Azure's does: this key, secure boot, a TPM, a console.
pub fn runtime_data(key: &TpmKey) -> Result<Value, SimError> {
    let key = URL_SAFE_NO_PAD.encode(key.modulus()?);
    Ok(json!({
        "keys": [{ "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": key }],
        "vm-configuration": {
            "console-enabled": true,
            "secure-boot": true,
            "tpm-enabled": true,
            "tpm-persisted": false,
            "vmUniqueId": "00000000-0000-0000-0000-000000000001",
        },
        "user-data": "AB".repeat(64),
    }))
}

/// The 64 octets that the hardware signs for runtime data: their SHA-256, and zeros.
pub fn report_data(runtime: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    if let Some(start) = data.first_chunk_mut() {
        *start = Sha256::of(runtime).0;
    }
    data
}

/// The paravisor's report around what the hardware says: an SNP report, or a `TDREPORT`.
pub fn hcl_report(hardware: &[u8], is_tdx: bool, runtime: &[u8]) -> Vec<u8> {
    const HARDWARE_LEN: usize = 1184;
    let len = u32::try_from(runtime.len()).unwrap_or(u32::MAX);
    let data_len = len.saturating_add(20);
    let (version, kind) = if is_tdx { (2_u32, 4) } else { (1, 2) };
    let mut report = b"HCLA".to_vec();
    for number in [version, data_len.saturating_add(32 + 1184), 2] {
        report.extend(number.to_le_bytes());
    }
    report.extend([0; 16]);
    report.extend(hardware);
    report.resize(32_usize.saturating_add(HARDWARE_LEN), 0);
    for number in [data_len, 1, kind, 1, len] {
        report.extend(number.to_le_bytes());
    }
    report.extend(runtime);
    // The NV index has a fixed size.
    report.resize(report.len().max(2600), 0);
    report
}

/// A quote before it is signed (TPM 2.0 part 2, §10.12). The default is of all 24 registers of SHA-256.
#[derive(Debug, Clone)]
pub struct QuoteRecipe {
    /// What it answers.
    pub extra_data: Vec<u8>,
    /// Algorithm and bits of each bank that it is of.
    pub selections: Vec<(u16, [u8; 3])>,
    /// The registers' values.
    pub pcrs: [[u8; 32]; 24],
    /// The digest, where it is not that of the registers selected.
    pub digest: Option<[u8; 32]>,
}

impl QuoteRecipe {
    /// A genuine quote of all registers.
    pub fn new(extra_data: &[u8], pcrs: &[[u8; 32]; 24]) -> Self {
        let selections = vec![(SHA256, [0xff; 3])];
        Self { extra_data: extra_data.to_vec(), selections, pcrs: *pcrs, digest: None }
    }

    /// What the TPM signs.
    pub fn message(&self) -> Vec<u8> {
        let mut message = 0xff54_4347_u32.to_be_bytes().to_vec();
        message.extend(0x8018_u16.to_be_bytes());
        let name = [&SHA256.to_be_bytes()[..], &[0x4e; 32]].concat();
        sized(&name, &mut message);
        sized(&self.extra_data, &mut message);
        message.extend(1_798_044_u64.to_be_bytes());
        message.extend([2_u32, 0].map(u32::to_be_bytes).concat());
        message.push(1);
        message.extend(0x2020_0312_0012_0003_u64.to_be_bytes());
        message.extend(u32::try_from(self.selections.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (algorithm, bits) in &self.selections {
            message.extend(algorithm.to_be_bytes());
            message.push(3);
            message.extend(bits);
        }
        sized(&self.digest.unwrap_or_else(|| self.of_selected()), &mut message);
        message
    }

    /// The quote as collectors write it in JSON, signed by `key`.
    pub fn sign(&self, key: &TpmKey) -> Result<Value, SimError> {
        let message = self.message();
        Ok(json!({
            "signature": hex::encode(&key.sign(&message)?),
            "message": hex::encode(&message),
            "pcrs": self.pcrs.iter().map(hex::encode).collect::<Vec<_>>(),
        }))
    }

    fn of_selected(&self) -> [u8; 32] {
        let Some((_, [low, middle, high])) = self.selections.first() else { return [0; 32] };
        let bits = u32::from_le_bytes([*low, *middle, *high, 0]);
        let selected = self.pcrs.iter().zip(0_u32..);
        let values: Vec<&[u8]> = selected
            .filter(|(_, number)| bits.checked_shr(*number).is_some_and(|rest| rest & 1 == 1))
            .map(|(value, _)| value.as_slice())
            .collect();
        Sha256::of_parts(&values).0
    }
}

/// Evidence as collectors write it in JSON.
pub fn evidence(hcl_report: &[u8], tpm_quote: &Value, td_quote: Option<&[u8]>) -> Vec<u8> {
    let mut evidence = json!({
        "version": 1,
        "hcl_report": URL_SAFE_NO_PAD.encode(hcl_report),
        "tpm_quote": tpm_quote,
    });
    if let (Some(quote), Some(map)) = (td_quote, evidence.as_object_mut()) {
        map.insert("td_quote".to_owned(), URL_SAFE_NO_PAD.encode(quote).into());
    }
    evidence.to_string().into_bytes()
}

/// The bank of SHA-256.
pub const SHA256: u16 = 0x0b;

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}
