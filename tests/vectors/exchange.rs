//! Sealed exchanges: a private key from its seed, which no API of ours takes, and the halves of the protocol that do the rest.

use attestation::{SealingKey, Secret, keys::XWING_PUBLIC_LEN, labels};
use channel::{
    Answer, Blinds, Exports, Fields, HEADER_LEN, ReplyKeys, Request, RequestHeader, Suite, TAG_LEN,
    chunks::{PLAINTEXT_MAX, write_final_mark, write_len},
    padding::request_bucket,
};
use hpke::{
    Deserializable, Kem, OpModeR, Serializable,
    aead::{Aead, AeadCtxR, AesGcm128, AesGcm256},
    kdf::HkdfSha256,
    kem::XWing,
    setup_receiver,
};
use serde_json::Value;

use crate::{array, digest, number, octets};

pub(crate) fn sealing_key(input: &Value, output: &Value) -> &'static str {
    let private = <XWing as Kem>::PrivateKey::from_bytes(&octets(&input["seed"])).unwrap();
    let public: [u8; XWING_PUBLIC_LEN] = XWing::sk_to_pk(&private).to_bytes().into();
    assert_eq!(public.as_slice(), octets(&output["public"]));
    let key = SealingKey::new(number(&input["key_id"]).try_into().unwrap(), &public);
    let encoded = octets(&output["ohttp_keys"]);
    assert_eq!(attestation::Sha256::of(&encoded), digest(&output["sha256"]));
    assert_eq!((key.encode(), SealingKey::parse(&encoded)), (encoded, Ok(key)));
    "accepted"
}

pub(crate) fn exchange(input: &Value, output: &Value) -> &'static str {
    match number(&input["aead"]) {
        2 => exchange_with::<AesGcm256>(Suite::XWingAes256Gcm, input, output),
        _ => exchange_with::<AesGcm128>(Suite::XWingAes128Gcm, input, output),
    }
    "accepted"
}

fn exchange_with<A: Aead>(suite: Suite, input: &Value, output: &Value) {
    let sealed = octets(&output["request"]);
    let (head, chunks) = sealed.split_at(HEADER_LEN);
    let header = RequestHeader::parse(head).unwrap();
    let key_id = number(&input["key_id"]).try_into().unwrap();
    assert_eq!((header.key_id(), header.suite()), (key_id, suite));
    assert_eq!(header.enc().as_slice(), octets(&input["enc"]));
    assert_eq!(head[..7], octets(&output["header"]));
    assert_eq!(header.digest(), digest(&output["request_digest"]));
    assert_eq!(header.replay_key(), digest(&output["replay_key"]));
    let info = RequestHeader::info(key_id, suite);
    assert_eq!(info, octets(&output["info"]));

    let private = <XWing as Kem>::PrivateKey::from_bytes(&octets(&input["seed"])).unwrap();
    let enc = <XWing as Kem>::EncappedKey::from_bytes(header.enc().as_slice()).unwrap();
    let mut context: AeadCtxR<A, HkdfSha256, XWing> =
        setup_receiver(&OpModeR::Base, &private, &enc, &info).unwrap();

    let message = request(&input["request"]).encode();
    assert_eq!(*message.expose(), octets(&output["message"]));
    let mut padded = message.expose().clone();
    padded.resize(request_bucket(padded.len()).unwrap(), 0);
    assert_eq!(open(&mut context, chunks, padded.len()), padded);

    let exports = Exports::derive(suite, |label, out| context.export(label, out)).unwrap();
    let (reply, blinds) = ReplyKeys::new(&header, exports);
    let Blinds { request, response, parameters } = &blinds;
    for (blind, name) in [(request, "req"), (response, "res"), (parameters, "par")] {
        assert_eq!(blind.expose().as_slice(), octets(&output[format!("blind_{name}")]));
    }
    assert_eq!(blinds.request_mac(message.expose()), digest(&output["req_mac"]));

    let answer = &input["answer"];
    let said = answer["content"].as_str().unwrap().as_bytes();
    let (writer, mut out) = reply.into_sealer(&array(&input["entropy"]));
    let status = number(&answer["status"]).try_into().unwrap();
    let mut sealing =
        Answer::begin(writer, &blinds, status, &fields(&answer["fields"]), &mut out).unwrap();
    if answer["stream"] == true {
        sealing.event(said, &mut out).unwrap();
    } else {
        sealing.body(said, &mut out).unwrap();
    }
    assert_eq!(sealing.res_mac(), digest(&output["res_mac"]));
    sealing.finish(&fields(&answer["trailers"]), &mut out).unwrap();
    assert_eq!(out, octets(&output["response"]));

    let input = serde_json::json!({
        "aead": input["aead"], "enc": input["enc"], "secret": output["response_secret"], "response": output["response"],
    });
    assert_eq!(self::response(&input), "accepted");
}

/// Opens the chunks of a request, all of them full but the last.
fn open<A: Aead>(
    context: &mut AeadCtxR<A, HkdfSha256, XWing>,
    mut chunks: &[u8],
    len: usize,
) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let left = len.checked_sub(plain.len()).unwrap();
        let (mut mark, is_last) = (Vec::new(), left <= PLAINTEXT_MAX);
        let sealed = left.min(PLAINTEXT_MAX).checked_add(TAG_LEN).unwrap();
        if is_last {
            write_final_mark(&mut mark);
        } else {
            write_len(sealed, &mut mark);
        }
        let (chunk, rest) = chunks.strip_prefix(mark.as_slice()).unwrap().split_at(sealed);
        let aad = if is_last { labels::OHTTP_FINAL } else { b"" };
        plain.extend(context.open(chunk, aad).unwrap());
        chunks = rest;
        if is_last {
            assert!(chunks.is_empty());
            return plain;
        }
    }
}

/// What a client says of a response, from its first octet to its last.
pub(crate) fn response(input: &Value) -> &'static str {
    let suite = if input["aead"] == 2 { Suite::XWingAes256Gcm } else { Suite::XWingAes128Gcm };
    let enc: [u8; channel::ENC_LEN] = array(&input["enc"]);
    let header = RequestHeader::new(0, suite, Box::new(enc));
    let exports = Exports::derive(suite, |label, out| {
        if label == labels::OHTTP_RESPONSE {
            out.copy_from_slice(&octets(&input["secret"]));
        }
        Ok::<(), ()>(())
    });
    let (reply, _) = ReplyKeys::new(&header, exports.unwrap());
    let mut opener = reply.into_opener(1 << 20);
    let pushed = opener.push(&octets(&input["response"]), |_| {});
    match pushed.and_then(|()| opener.finish()) {
        Ok(_) => "accepted",
        Err(broken) => seal::Broken::Chunks(broken).code(),
    }
}

fn request(value: &Value) -> Request {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    Request {
        method: text("method"),
        scheme: text("scheme"),
        authority: text("authority"),
        path: text("path"),
        fields: fields(&value["fields"]),
        content: Secret::new(text("content").into_bytes()),
        trailers: Fields::new(),
    }
}

fn fields(value: &Value) -> Fields {
    value.as_array().unwrap().iter().fold(Fields::new(), |fields, line| {
        fields.with(line[0].as_str().unwrap(), line[1].as_str().unwrap()).unwrap()
    })
}
