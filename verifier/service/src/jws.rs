//! A JWS in compact form (RFC 7515 §7.1): header, payload and signature in base64url, with dots.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::{KeyError, SigningKey};

/// Signs `payload`.
pub(crate) fn sign(key: &SigningKey, payload: &[u8]) -> Result<String, KeyError> {
    // Four letters for three octets, and room for the signature: nothing is copied to grow.
    let payload_len = payload.len().div_ceil(3).saturating_mul(4);
    let len = key.header().len().saturating_add(payload_len).saturating_add(SIGNATURE_LEN_MAX);
    let mut token = String::with_capacity(len);
    token.push_str(key.header());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// The first part of every token that `kid` signs. It is the same each time, so it is made once.
///
/// The type tells a token from others that one key may sign (RFC 8725 §3.11; RFC 9782 §5).
pub(crate) fn header(algorithm: &str, kid: &str) -> String {
    let header = serde_json::json!({ "alg": algorithm, "typ": TYPE, "kid": kid });
    URL_SAFE_NO_PAD.encode(header.to_string())
}

/// Letters of a signature, and the dots.
const SIGNATURE_LEN_MAX: usize = 96;

const TYPE: &str = "eat+jwt";
