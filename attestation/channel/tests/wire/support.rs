//! A client of the tests' own, made from HPKE directly: it can misbehave.

use attestation::{SealingKey, labels};
use channel::chunks::{write_final_mark, write_len};
use channel::{
    Blinds, Broken, Exports, HEADER_LEN, Limit, Opened, Recipient, Refused, ReplyKeys,
    RequestHeader, Suite, TAG_LEN,
};
use hpke::aead::{Aead, AeadCtxS, AesGcm128, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeS, Serializable, setup_sender};

/// A sealed request in its parts.
pub(crate) struct Sealed {
    pub(crate) header: Vec<u8>,
    /// One frame per chunk, length included; the last is the final one.
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) reply: ReplyKeys,
    pub(crate) blinds: Blinds,
}

impl Sealed {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.header.clone(), self.frames.concat()].concat()
    }
}

/// Seals `chunks` to `to`, the last one as the final chunk.
pub(crate) fn seal(to: &Recipient, suite: Suite, chunks: &[&[u8]]) -> Sealed {
    seal_to(to.public(), suite, chunks)
}

/// The same for a bare key.
pub(crate) fn seal_to(to: &SealingKey, suite: Suite, chunks: &[&[u8]]) -> Sealed {
    match suite {
        Suite::XWingAes256Gcm => seal_with::<AesGcm256>(to, suite, chunks),
        Suite::XWingAes128Gcm => seal_with::<AesGcm128>(to, suite, chunks),
    }
}

fn seal_with<A: Aead>(to: &SealingKey, suite: Suite, chunks: &[&[u8]]) -> Sealed {
    let public = <XWing as Kem>::PublicKey::from_bytes(to.public()).unwrap();
    let info = RequestHeader::info(to.key_id(), suite);
    let (enc, mut context): (_, AeadCtxS<A, HkdfSha256, XWing>) =
        setup_sender(&OpModeS::Base, &public, &info).unwrap();
    let enc = Box::new(enc.to_bytes().as_slice().try_into().unwrap());
    let header = RequestHeader::new(to.key_id(), suite, enc);

    let (last, others) = chunks.split_last().unwrap();
    let mut frames = Vec::new();
    for chunk in others {
        let mut frame = Vec::new();
        write_len(chunk.len() + TAG_LEN, &mut frame);
        frame.extend(context.seal(chunk, b"").unwrap());
        frames.push(frame);
    }
    let mut frame = Vec::new();
    write_final_mark(&mut frame);
    frame.extend(context.seal(last, labels::OHTTP_FINAL).unwrap());
    frames.push(frame);

    let exports = Exports::derive(suite, |label, out| context.export(label, out)).unwrap();
    let (reply, blinds) = ReplyKeys::new(&header, exports);
    Sealed { header: header.encode(), frames, reply, blinds }
}

/// Opens a request that arrives in pieces of `step` octets.
pub(crate) fn open_in(to: &Recipient, bytes: &[u8], step: usize) -> Result<Opened, Refused> {
    let (head, rest) = bytes.split_at_checked(HEADER_LEN).unwrap_or((bytes, &[]));
    let mut opener = to.begin(&RequestHeader::parse(head)?, Limit::default())?;
    for piece in rest.chunks(step) {
        opener.push(piece)?;
    }
    opener.finish()
}

/// Opens a request that arrives at once.
pub(crate) fn open(to: &Recipient, bytes: &[u8]) -> Result<Opened, Refused> {
    open_in(to, bytes, bytes.len().max(1))
}

/// Opens a response that arrives in pieces of `step` octets: its chunks, the final one last.
pub(crate) fn open_response(
    reply: ReplyKeys,
    bytes: &[u8],
    step: usize,
) -> Result<Vec<Vec<u8>>, Broken> {
    let (mut opener, mut chunks) = (reply.into_opener(1 << 20), Vec::new());
    for piece in bytes.chunks(step) {
        opener.push(piece, |chunk| chunks.push(chunk.to_vec()))?;
    }
    chunks.push(opener.finish()?.to_vec());
    Ok(chunks)
}

/// A key pair, and the two ends of one request's answer.
pub(crate) fn exchange(suite: Suite) -> (Opened, ReplyKeys, Blinds) {
    let to = Recipient::generate(3, 10);
    let sealed = seal(&to, suite, &[b"question"]);
    let opened = open(&to, &sealed.bytes()).unwrap();
    (opened, sealed.reply, sealed.blinds)
}
