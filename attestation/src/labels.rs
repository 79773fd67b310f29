//! Every domain-separation string of the product, in one place.
//!
//! A tidy test checks that no two are equal and that `docs/protocol.md` names each.

/// Starts a binding statement (`docs/protocol.md` §5.2).
pub const STATEMENT: &[u8] = b"veritee-binding-v1\0";
/// Prefix of the hash that is a binding's id (`docs/protocol.md` §5.2).
pub const BINDING_ID: &[u8] = b"veritee-binding-id-v1\0";
/// Prefix of the hash that becomes `REPORT_DATA` (`docs/protocol.md` §5.2).
pub const REPORT_DATA: &[u8] = b"veritee-report-data-v1\0";
/// Prefix of the hash that is the accelerators' nonce (`docs/protocol.md` §5.2).
pub const ACCELERATORS: &[u8] = b"veritee-accel-v1\0";
/// Version string inside a receipt (`docs/protocol.md` §5.8).
pub const RECEIPT: &str = "veritee-receipt-v1";
/// Export label of the blind that opens `req_mac` (`docs/protocol.md` §5.8).
pub const BLIND_REQUEST: &[u8] = b"veritee receipt req v1";
/// Export label of the blind that opens `res_mac` (`docs/protocol.md` §5.8).
pub const BLIND_RESPONSE: &[u8] = b"veritee receipt res v1";
/// Export label of the blind that opens `par_mac` (`docs/protocol.md` §5.8).
pub const BLIND_PARAMETERS: &[u8] = b"veritee receipt par v1";
/// Starts what a policy's signature is over (`docs/policy.md`).
pub const POLICY: &[u8] = b"veritee-policy-v1\0";
/// HPKE `info` prefix of a request (draft-ietf-ohai-chunked-ohttp §6).
pub const OHTTP_REQUEST: &[u8] = b"message/bhttp chunked request";
/// Export label of a response (draft-ietf-ohai-chunked-ohttp §6).
pub const OHTTP_RESPONSE: &[u8] = b"message/bhttp chunked response";
/// Expand label of a response's AEAD key (RFC 9458 §4.4).
pub const OHTTP_KEY: &[u8] = b"key";
/// Expand label of a response's AEAD nonce (RFC 9458 §4.4).
pub const OHTTP_NONCE: &[u8] = b"nonce";
/// AAD of a final chunk, in both directions (draft-ietf-ohai-chunked-ohttp §6).
pub const OHTTP_FINAL: &[u8] = b"final";
