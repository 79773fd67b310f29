//! Against the `ohttp` crate, in both roles, and against HPKE with another implementation's framing.
//!
//! It speaks AES-128-GCM alone, and its client can neither read our AES-256-GCM nor write it; that
//! suite differs in lengths only, which the tests of the schedule pin.

use channel::{Answer, Fields, Recipient, Request, Suite};
use futures_executor::block_on;
use futures_util::io::{AsyncReadExt, AsyncWriteExt, Cursor};

use crate::support::{open_in, open_response, seal};

const AES128: Suite = Suite::XWingAes128Gcm;

/// The recipient's configuration as that crate takes it: one, without the other AEAD.
fn config(to: &Recipient) -> Vec<u8> {
    let key = to.public();
    [&[key.key_id(), 0x64, 0x7a], key.public().as_slice(), &[0, 4, 0, 1, 0, 1]].concat()
}

/// Where that crate's client writes to: it does not give its sink back.
#[derive(Clone, Default)]
struct Sink(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl futures_util::io::AsyncWrite for Sink {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.borrow_mut().extend_from_slice(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_close(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[test]
fn their_client_is_answered() {
    let to = Recipient::generate(9, 10);
    let mut message = bhttp::Message::request(
        b"POST".to_vec(),
        b"https".to_vec(),
        b"node.veritee.invalid".to_vec(),
        b"/v1/chat/completions".to_vec(),
    );
    message.put_header("content-type", "application/json");
    message.write_content(vec![b'x'; 40_000]);
    let mut plain = Vec::new();
    message.write_bhttp(bhttp::Mode::IndeterminateLength, &mut plain).unwrap();

    let client = ohttp::ClientRequest::from_encoded_config(&config(&to)).unwrap();
    let sink = Sink::default();
    let mut request = client.encapsulate_stream(sink.clone()).unwrap();
    block_on(async {
        request.write_all(&plain).await.unwrap();
        request.close().await.unwrap();
    });
    let bytes = sink.0.borrow().clone();
    let opened = open_in(&to, &bytes, 1000).unwrap();
    assert_eq!(*opened.plaintext.expose(), plain);
    let parsed = Request::parse(opened.plaintext.expose()).unwrap();
    assert_eq!(parsed.request.path, "/v1/chat/completions");
    assert_eq!(parsed.request.content.expose().len(), 40_000);
    assert_eq!(parsed.message_len, plain.len());

    let (sealer, mut out) = opened.reply.into_sealer(&[0x77; 32]);
    let fields = Fields::new().with("content-type", "text/event-stream").unwrap();
    let mut answer = Answer::begin(sealer, &opened.blinds, 200, &fields, &mut out).unwrap();
    answer.event(b"data: one\n\n", &mut out).unwrap();
    answer.event(b"data: two\n\n", &mut out).unwrap();
    let trailers = Fields::new().with("veritee-receipt", "abc").unwrap();
    answer.finish(&trailers, &mut out).unwrap();

    let mut response = request.response(Cursor::new(out)).unwrap();
    let mut answered = Vec::new();
    block_on(response.read_to_end(&mut answered)).unwrap();
    let message = bhttp::Message::read_bhttp(&mut std::io::Cursor::new(answered)).unwrap();
    assert_eq!(message.control().status().unwrap().code(), 200);
    assert_eq!(message.header().get(b"content-type"), Some(b"text/event-stream".as_slice()));
    assert_eq!(message.trailer().get(b"veritee-receipt"), Some(b"abc".as_slice()));
    let events: Vec<&str> = std::str::from_utf8(message.content())
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(':'))
        .collect();
    assert_eq!(events, ["data: one", "data: two"]);
}

#[test]
fn their_client_sees_every_truncation_of_our_answer() {
    let to = Recipient::generate(9, 10);
    let client = ohttp::ClientRequest::from_encoded_config(&config(&to)).unwrap();
    let sink = Sink::default();
    let mut request = client.encapsulate_stream(sink.clone()).unwrap();
    block_on(async {
        request.write_all(b"question").await.unwrap();
        request.close().await.unwrap();
    });
    let opened = open_in(&to, &sink.0.borrow(), 1000).unwrap();
    let (mut sealer, mut out) = opened.reply.into_sealer(&[0x77; 32]);
    let mut ends = vec![out.len()];
    for chunk in [b"one".as_slice(), b"two"] {
        sealer.seal(chunk, &mut out).unwrap();
        ends.push(out.len());
    }
    sealer.seal_final(b"end", &mut out).unwrap();
    for end in ends {
        let mut response = request.response(Cursor::new(out[..end].to_vec())).unwrap();
        assert!(block_on(response.read_to_end(&mut Vec::new())).is_err(), "cut at {end}");
    }
    let mut response = request.response(Cursor::new(out)).unwrap();
    let mut whole = Vec::new();
    block_on(response.read_to_end(&mut whole)).unwrap();
    assert_eq!(whole, b"onetwoend");
}

#[test]
fn their_server_answers_our_half() {
    let pair = ohttp::KeyConfig::new(
        4,
        ohttp::hpke::Kem::XWing,
        vec![ohttp::SymmetricSuite::new(
            ohttp::hpke::Kdf::HkdfSha256,
            ohttp::hpke::Aead::Aes128Gcm,
        )],
    )
    .unwrap();
    let encoded = pair.encode().unwrap();
    let server = ohttp::Server::new(pair).unwrap();
    // Our own recipient cannot be built from their private key, so only its public half is taken.
    let public = encoded[3..3 + 1216].try_into().unwrap();
    let key = attestation::SealingKey::new(4, public);
    let sealed = crate::support::seal_to(&key, AES128, &[&[b'q'; 16_384], b"rest"]);

    let bytes = sealed.bytes();
    let mut request = server.decapsulate_stream(&bytes[..]);
    let mut plain = Vec::new();
    block_on(request.read_to_end(&mut plain)).unwrap();
    assert_eq!(plain, [&[b'q'; 16_384][..], b"rest"].concat());

    let sink = Sink::default();
    let mut response = request.response(sink.clone()).unwrap();
    block_on(async {
        response.write_all(b"one").await.unwrap();
        response.write_all(b"two").await.unwrap();
        response.close().await.unwrap();
    });
    let answered = sink.0.borrow().clone();
    let chunks = open_response(sealed.reply, &answered, 10).unwrap();
    assert_eq!(chunks, [b"one".as_slice(), b"two", b""]);
}

#[test]
fn both_suites_share_one_key() {
    let to = Recipient::generate(9, 10);
    for suite in [AES128, Suite::XWingAes256Gcm] {
        let opened = open_in(&to, &seal(&to, suite, &[b"question"]).bytes(), 100).unwrap();
        assert_eq!(opened.plaintext.expose(), b"question");
    }
}
