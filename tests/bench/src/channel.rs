//! What sealing costs: a request of 4 KiB, and a cell of an answer.

use attestation::digest::Mac;
use attestation::{Secret, labels};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use channel::padding::{CELL_CONTENT_LEN, CELL_LEN, fill_with_comment};
use channel::{
    Answer, Blinds, Fields, HEADER_LEN, Limit, Recipient, ReplyKeys, Request, RequestHeader,
    ResponseSealer, Suite, bhttp,
};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, setup_receiver, setup_sender,
};

use crate::evidence::{Enclave, NOW};
use crate::harness::{Bench, Clock, Contest, Outcome, Runner, prepared, repeat};

pub(crate) const NAMES: &[&str] =
    &["channel.seal_4k", "channel.open_4k", "channel.cell_512", "channel.cell_512_mac"];

/// Octets of the padded request.
const REQUEST_LEN: usize = 4 << 10;
/// Requests that fit a batch, more or less: each batch opens requests that were never opened.
const REQUESTS_MAX: usize = 256;
/// Cells of a batch: fewer than an answer may have.
const CELLS_MAX: usize = 60_000;
/// An event as the engine's answers have them.
const EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
\"created\":1800000000,\"model\":\"model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\
\"finish_reason\":null}]}\n\n";

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    requests(bench)?;
    cells(bench);
    Ok(())
}

fn requests(bench: &mut Bench) -> Outcome {
    let to = Recipient::generate(7, 1 << 18);
    let keys = Enclave::new(to.public())?.attest()?;
    let (request, plain) = (request(), vec![b'x'; REQUEST_LEN]);
    // What the figure says has to be true of what is measured.
    let (sealed, _) = seal::seal(keys.sealing(), &request, NOW)?;
    let framing = 1 + 16;
    let expected = HEADER_LEN.saturating_add(REQUEST_LEN).saturating_add(framing);
    if sealed.into_bytes().len() != expected {
        return Err("the request is not sealed into 4 KiB".into());
    }

    let info = RequestHeader::info(7, Suite::XWingAes256Gcm);
    let public = <XWing as Kem>::PublicKey::from_bytes(to.public().public())
        .map_err(|why| format!("the public key: {why}"))?;
    if bench.wants("channel.seal_4k") {
        let ours =
            repeat(|| seal::seal(keys.sealing(), &request, NOW).expect("the key is attested"));
        let peer = repeat(|| bare_seal(&public, &info, &plain).expect("the key is one"));
        let contest = Contest::new("channel.seal_4k", Clock::Thread, ours).peer(peer);
        bench.compare(contest.target("ratio <= 1.25").note("peer: crate hpke, set up and seal"));
    }
    if bench.wants("channel.open_4k") {
        let sealed = |_| {
            let sealed = seal::seal(keys.sealing(), &request, NOW);
            sealed.expect("it was sealed before").0.into_bytes()
        };
        let ours = prepared(
            move |count| (0..count).map(sealed).collect(),
            |bytes: Vec<u8>| open(&to, &bytes).expect("the request opens"),
        );
        let (private, public) = XWing::gen_keypair();
        let bare = move |_| bare_seal(&public, &info, &plain).expect("the key is one");
        let info = RequestHeader::info(7, Suite::XWingAes256Gcm);
        let peer = prepared(
            move |count| (0..count).map(&bare).collect(),
            move |(enc, sealed): (Vec<u8>, Vec<u8>)| {
                bare_open(&private, &info, &enc, &sealed).expect("the request opens")
            },
        );
        let contest = Contest::new("channel.open_4k", Clock::Thread, ours).peer(peer);
        let contest = contest.at_most(REQUESTS_MAX).target("ratio <= 1.25");
        bench.compare(contest.note("peer: crate hpke, set up and open"));
    }
    Ok(())
}

/// A request whose message fills most of 4 KiB.
fn request() -> Request {
    Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "node.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new(),
        content: Secret::new(vec![b'x'; REQUEST_LEN.saturating_sub(100)]),
        trailers: Fields::new(),
    }
}

fn open(to: &Recipient, bytes: &[u8]) -> Option<channel::Opened> {
    let (header, chunks) = bytes.split_at_checked(HEADER_LEN)?;
    let mut opener = to.begin(&RequestHeader::parse(header).ok()?, Limit::default()).ok()?;
    opener.push(chunks).ok()?;
    opener.finish().ok()
}

type Sealed = (Vec<u8>, Vec<u8>);

fn bare_seal(
    public: &<XWing as Kem>::PublicKey,
    info: &[u8],
    plain: &[u8],
) -> Result<Sealed, hpke::HpkeError> {
    let (enc, mut context) =
        setup_sender::<AesGcm256, HkdfSha256, XWing>(&OpModeS::Base, public, info)?;
    Ok((enc.to_bytes().to_vec(), context.seal(plain, labels::OHTTP_FINAL)?))
}

fn bare_open(
    private: &<XWing as Kem>::PrivateKey,
    info: &[u8],
    enc: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, hpke::HpkeError> {
    let enc = <XWing as Kem>::EncappedKey::from_bytes(enc)?;
    let mut context =
        setup_receiver::<AesGcm256, HkdfSha256, XWing>(&OpModeR::Base, private, &enc, info)?;
    context.open(sealed, labels::OHTTP_FINAL)
}

fn cells(bench: &mut Bench) {
    if bench.wants("channel.cell_512") {
        let contest = Contest::new("channel.cell_512", Clock::Thread, sealed_cells());
        let contest = contest.floor(bare_cells(false)).at_most(CELLS_MAX);
        let contest = contest.target("ours <= 200 ns");
        bench.compare(
            contest.note("an event padded, framed and sealed; floor: AES-256-GCM of 512 octets"),
        );
    }
    if bench.wants("channel.cell_512_mac") {
        let contest = Contest::new("channel.cell_512_mac", Clock::Thread, answered_cells());
        let contest = contest.floor(bare_cells(true)).at_most(CELLS_MAX);
        let contest = contest.target("ours <= 550 ns");
        bench
            .compare(contest.note(
                "the same and the receipt's commitment; floor: AES-256-GCM and HMAC-SHA-256",
            ));
    }
}

/// Cells as an answer makes them, without the receipt's commitment.
fn sealed_cells() -> Runner<'static> {
    let (mut content, mut plain) = (Vec::with_capacity(CELL_LEN), Vec::with_capacity(CELL_LEN));
    let mut out = Vec::with_capacity(2 * CELL_LEN);
    Box::new(move |clock, count| {
        let (mut sealer, _) = sealer();
        clock.time(|| {
            for _ in 0..count {
                out.clear();
                content.clear();
                content.extend_from_slice(EVENT);
                fill_with_comment(&mut content, CELL_CONTENT_LEN);
                plain.clear();
                bhttp::content_chunk(&content, &mut plain);
                sealer.seal(&plain, &mut out).expect("a batch is shorter than an answer");
                std::hint::black_box(&out);
            }
        })
    })
}

/// Cells of an answer.
fn answered_cells() -> Runner<'static> {
    let mut out = Vec::with_capacity(2 * CELL_LEN);
    Box::new(move |clock, count| {
        let (sealer, blinds) = sealer();
        let answer = Answer::begin(sealer, &blinds, 200, &Fields::new(), &mut out);
        let mut answer = answer.expect("an empty head fits");
        clock.time(|| {
            for _ in 0..count {
                out.clear();
                answer.event(EVENT, &mut out).expect("a batch is shorter than an answer");
                std::hint::black_box(&out);
            }
        })
    })
}

/// The ciphers alone, over as many octets.
fn bare_cells(committed: bool) -> Runner<'static> {
    let mut cell = vec![b'x'; CELL_LEN];
    Box::new(move |clock, count| {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 octets");
        let (key, mut mac) = (LessSafeKey::new(key), Mac::new(&Secret::new([7; 32])));
        clock.time(|| {
            for index in 0..count {
                let mut nonce = [0; 12];
                let (counter, _) = nonce.split_at_mut(8);
                counter.copy_from_slice(&index.to_be_bytes());
                if committed {
                    mac.update(&cell);
                }
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut cell);
                std::hint::black_box(tag.is_ok());
            }
            std::hint::black_box(&mac);
        })
    })
}

/// The sealing side of one exchange.
fn sealer() -> (ResponseSealer, Blinds) {
    let enc = Box::new([0; channel::ENC_LEN]);
    let header = RequestHeader::new(7, Suite::XWingAes256Gcm, enc);
    let exports = channel::Exports::derive(Suite::XWingAes256Gcm, |_, out| {
        out.fill(7);
        Ok::<_, core::convert::Infallible>(())
    });
    let exports = exports.expect("nothing fails");
    let (reply, blinds) = ReplyKeys::new(&header, exports);
    (reply.into_sealer(&[7; 32]).0, blinds)
}
