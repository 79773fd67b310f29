//! Names of the fields and media types that this protocol gives a meaning.

/// Media type of a sealed request (draft-ietf-ohai-chunked-ohttp §6).
pub const MEDIA_REQUEST: &str = "message/ohttp-chunked-req";
/// Media type of a sealed response (draft-ietf-ohai-chunked-ohttp §6).
pub const MEDIA_RESPONSE: &str = "message/ohttp-chunked-res";
/// Media type of a key configuration (RFC 9458 §3).
pub const MEDIA_KEYS: &str = "application/ohttp-keys";

/// Sealed request field: the binding id that the client verified, in hex (`docs/protocol.md` §5.4).
pub const BINDING: &str = "veritee-binding";
/// Sealed request field: 32 bytes that tell tenants apart, in hex (`docs/protocol.md` §5.4).
pub const TENANT: &str = "veritee-tenant";
/// Sealed response field that fills the head cell (`docs/protocol.md` §5.7).
pub const PADDING: &str = "veritee-padding";
/// Sealed trailer: the receipt, base64url without padding (`docs/protocol.md` §5.8).
pub const RECEIPT: &str = "veritee-receipt";
/// Sealed trailer: how the answer ended (`docs/protocol.md` §5.9).
pub const STATUS: &str = "veritee-status";
