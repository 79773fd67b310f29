use core::fmt;

use attestation::{SealingKey, UnixTime, labels};
use channel::chunks::{PLAINTEXT_MAX, write_final_mark, write_len};
use channel::padding::request_bucket;
use channel::{ENC_LEN, Exports, HEADER_LEN, ReplyKeys, Request, RequestHeader, Suite, TAG_LEN};
use hpke::aead::{AeadCtxS, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, HpkeError, Kem, OpModeS, Serializable, setup_sender};
use verifier::{Attested, Expired};
use zeroize::Zeroizing;

use crate::open::PendingResponse;

/// The one suite: whatever else a key offers, nothing weaker is ever used.
const SUITE: Suite = Suite::XWingAes256Gcm;

type Context = AeadCtxS<AesGcm256, HkdfSha256, XWing>;

/// Seals `request` to an attested key.
///
/// The message is padded to 1, 2, 4, 8, … KiB, so its length shows as a bucket. Every call makes
/// another ciphertext; none can be made or sent twice.
///
/// # Errors
/// See [`SealError`].
pub fn seal(
    key: &Attested<SealingKey>,
    request: &Request,
    now: UnixTime,
) -> Result<(SealedRequest, PendingResponse), SealError> {
    seal_to(key.at(now)?, request)
}

/// A request that is sealed: `hdr ‖ enc ‖ chunks` (`docs/protocol.md` §5.4).
///
/// It cannot be cloned, and its bytes are taken once: a ciphertext is never sent twice (§5.6).
pub struct SealedRequest(Vec<u8>);

impl SealedRequest {
    /// The bytes to send.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for SealedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRequest({} octets)", self.0.len())
    }
}

/// Why a request was not sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SealError {
    /// The evidence for the key has ended: verify anew.
    Expired(Expired),
    /// The request is longer than a request may be.
    TooLong,
    /// The attested key is no key of the suite, or the cipher refused.
    Key,
}

impl SealError {
    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired(expired) => expired.code(),
            Self::TooLong => "request-too-long",
            Self::Key => "sealing-key-invalid",
        }
    }
}

impl From<Expired> for SealError {
    fn from(expired: Expired) -> Self {
        Self::Expired(expired)
    }
}

impl From<HpkeError> for SealError {
    fn from(_: HpkeError) -> Self {
        Self::Key
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(expired) => expired.fmt(f),
            Self::TooLong => f.write_str("the request is longer than a request may be"),
            Self::Key => f.write_str("the attested key is not a key of the suite"),
        }
    }
}

impl core::error::Error for SealError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Expired(expired) => Some(expired),
            Self::TooLong | Self::Key => None,
        }
    }
}

/// The sealing itself. It is private: outside this crate the key must be attested.
pub(crate) fn seal_to(
    key: &SealingKey,
    request: &Request,
) -> Result<(SealedRequest, PendingResponse), SealError> {
    let message = request.encode();
    let bucket = request_bucket(message.expose().len()).ok_or(SealError::TooLong)?;

    let public = <XWing as Kem>::PublicKey::from_bytes(key.public())?;
    let info = RequestHeader::info(key.key_id(), SUITE);
    let (enc, mut context): (_, Context) = setup_sender(&OpModeS::Base, &public, &info)?;
    let mut enc_bytes = Box::new([0; ENC_LEN]);
    enc.write_exact(enc_bytes.as_mut_slice());
    let header = RequestHeader::new(key.key_id(), SUITE, enc_bytes);

    let mut padded = Zeroizing::new(Vec::with_capacity(bucket));
    padded.extend_from_slice(message.expose());
    padded.resize(bucket, 0);
    let bytes = seal_chunks(&header, &mut context, &padded)?;

    let exports = Exports::derive(SUITE, |label, out| context.export(label, out))?;
    let (reply, blinds) = ReplyKeys::new(&header, exports);
    let req_mac = blinds.request_mac(message.expose());
    let pending = PendingResponse { reply, blinds, request: header.digest(), req_mac };
    Ok((SealedRequest(bytes), pending))
}

/// `hdr ‖ enc ‖ chunks`: all chunks are full, and the final one holds what is left.
fn seal_chunks(
    header: &RequestHeader,
    context: &mut Context,
    padded: &[u8],
) -> Result<Vec<u8>, HpkeError> {
    let per_chunk = TAG_LEN.saturating_add(4);
    let chunks = padded.len().div_ceil(PLAINTEXT_MAX);
    let overhead = per_chunk.saturating_mul(chunks).saturating_add(HEADER_LEN);
    let mut out = Vec::with_capacity(padded.len().saturating_add(overhead));
    out.extend_from_slice(&header.encode());
    let mut rest = padded;
    while let Some((chunk, more)) =
        rest.split_at_checked(PLAINTEXT_MAX).filter(|(_, r)| !r.is_empty())
    {
        write_len(chunk.len().saturating_add(TAG_LEN), &mut out);
        seal_chunk(context, b"", chunk, &mut out)?;
        rest = more;
    }
    write_final_mark(&mut out);
    seal_chunk(context, labels::OHTTP_FINAL, rest, &mut out)?;
    Ok(out)
}

/// Appends one ciphertext, made in place: no other copy of the plaintext comes to be.
fn seal_chunk(
    context: &mut Context,
    aad: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), HpkeError> {
    let start = out.len();
    out.extend_from_slice(plain);
    let body = InOutBuf::from(out.get_mut(start..).unwrap_or_default());
    let tag = context.seal_inout_detached(body, aad)?;
    out.extend_from_slice(&tag.to_bytes());
    Ok(())
}
