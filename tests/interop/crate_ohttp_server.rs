//! The crate `ohttp` as a server, as far as its suites allow: with X-Wing it has AES-128-GCM alone, and our client has AES-256-GCM alone.
//!
//! So they do not meet, and that is said with a code; what they would say to each other otherwise is the same, octet for octet: the
//! header, the key schedule, the chunks and Binary HTTP. It is shown here with our own formats under that crate's suite.

use std::io;

use attestation::{Malformed, SealingKey, keys::XWING_PUBLIC_LEN};
use channel::{
    ENC_LEN, Exports, HEADER_LEN, ReplyKeys, RequestHeader, Suite,
    bhttp::{Fields, Request},
    chunks::{write_final_mark, write_len},
};
use futures_util::io::{AsyncReadExt as _, AsyncWriteExt as _, Cursor};
use hpke::{
    Deserializable as _, OpModeS, Serializable as _,
    aead::{AeadCtxS, AesGcm128},
    kdf::HkdfSha256,
    kem::XWing,
    setup_sender,
};
use ohttp::{
    KeyConfig, Server, SymmetricSuite,
    hpke::{Aead, Kdf, Kem},
};
use tests::{
    fleet::{Fleet, Plan},
    script::Script,
};

use crate::{PROMPT, crate_ohttp::Sink};

const SUITE: Suite = Suite::XWingAes128Gcm;
const KEY_ID: u8 = 9;

/// A server that offers what that crate can.
fn server() -> Server {
    let suites = vec![SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm)];
    Server::new(KeyConfig::new(KEY_ID, Kem::XWing, suites).unwrap()).unwrap()
}

#[tokio::test]
async fn it_opens_our_chunks_and_we_open_its() {
    for pieces in [1, 2, 7] {
        let server = server();
        let config = server.config().encode().unwrap();
        // key_id(1) kem(2) public(1216) suites
        let public: &[u8; XWING_PUBLIC_LEN] = config[3..][..XWING_PUBLIC_LEN].try_into().unwrap();
        let public = <XWing as hpke::Kem>::PublicKey::from_bytes(public).unwrap();
        let info = RequestHeader::info(KEY_ID, SUITE);
        let (enc, mut context): (_, AeadCtxS<AesGcm128, HkdfSha256, XWing>) =
            setup_sender(&OpModeS::Base, &public, &info).unwrap();
        let mut encapsulated = Box::new([0; ENC_LEN]);
        enc.write_exact(encapsulated.as_mut_slice());
        let header = RequestHeader::new(KEY_ID, SUITE, encapsulated);

        let mut plain = request().encode().expose().clone();
        plain.resize(2048, 0);
        let mut sealed = header.encode();
        assert_eq!(sealed.len(), HEADER_LEN);
        let each = plain.len().div_ceil(pieces);
        let mut chunks = plain.chunks(each).peekable();
        while let Some(chunk) = chunks.next() {
            let (is_last, mut framed) = (chunks.peek().is_none(), Vec::new());
            let aad: &[u8] = if is_last { b"final" } else { b"" };
            let ciphertext = context.seal(chunk, aad).unwrap();
            if is_last {
                write_final_mark(&mut framed);
            } else {
                write_len(ciphertext.len(), &mut framed);
            }
            sealed.extend([framed, ciphertext].concat());
        }

        let mut theirs = server.decapsulate_stream(Cursor::new(sealed));
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, plain);
        let message = bhttp::Message::read_bhttp(&mut io::Cursor::new(&received)).unwrap();
        assert_eq!(message.content(), PROMPT.as_bytes());
        assert_eq!(message.control().method(), Some(&b"POST"[..]));
        assert_eq!(message.header().get(b"content-type"), Some(&b"application/json"[..]));

        // Written in pieces; that crate makes a chunk of each.
        let sink = Sink::default();
        let mut answer = theirs.response(sink.clone()).unwrap();
        for piece in PROMPT.as_bytes().chunks(PROMPT.len().div_ceil(pieces)) {
            answer.write_all(piece).await.unwrap();
            answer.flush().await.unwrap();
        }
        answer.close().await.unwrap();

        let exports = Exports::derive(SUITE, |label, out| context.export(label, out)).unwrap();
        let (reply, _) = ReplyKeys::new(&header, exports);
        let mut ours = reply.into_opener(1 << 20);
        let mut heard = Vec::new();
        for octet in sink.take() {
            ours.push(&[octet], |chunk| heard.extend_from_slice(chunk)).unwrap();
        }
        heard.extend_from_slice(&ours.finish().unwrap());
        assert_eq!(String::from_utf8(heard).unwrap(), PROMPT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_refuses_a_key_without_its_suite() {
    let list = KeyConfig::encode_list(&[server().config()]).unwrap();
    let refused = SealingKey::parse(&list).unwrap_err();
    assert_eq!(refused, Malformed::Truncated { what: "ohttp_keys" });
    // Shown by an operator as an enclave's, it is refused before anything is sealed.
    let fleet = Fleet::start(Plan::default()).await;
    fleet.relay.play(Script::swap_member("ohttp_keys", &list));
    let refused = fleet.client().enclaves().await.unwrap_err();
    assert_eq!(refused.code(), "evidence-malformed");
    assert!(fleet.relay.sealed().is_empty());
}

fn request() -> Request {
    Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "node.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new().with("content-type", "application/json").unwrap(),
        content: attestation::Secret::new(PROMPT.as_bytes().to_vec()),
        trailers: Fields::new(),
    }
}
