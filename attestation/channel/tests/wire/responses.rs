//! What opens a response, and everything that breaks one (`docs/protocol.md` §5.7).

use channel::chunks::{Misframed, PLAINTEXT_MAX};
use channel::{Broken, ReplyKeys, Suite, Unsealable};

use crate::support::{exchange, open_response, seal};

/// The nonce and the frames of a response, and what opens it.
fn sealed(suite: Suite, chunks: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>, ReplyKeys) {
    let (opened, reply, _) = exchange(suite);
    let (mut sealer, nonce) = opened.reply.into_sealer(&[0x5a; 32]);
    let (last, others) = chunks.split_last().unwrap();
    let mut frames = Vec::new();
    for chunk in others {
        let mut frame = Vec::new();
        sealer.seal(chunk, &mut frame).unwrap();
        frames.push(frame);
    }
    let mut frame = Vec::new();
    sealer.seal_final(last, &mut frame).unwrap();
    frames.push(frame);
    (nonce, frames, reply)
}

const AES256: Suite = Suite::XWingAes256Gcm;

#[test]
fn opens_what_was_sealed_however_it_arrives() {
    for (suite, nonce_len) in [(AES256, 32), (Suite::XWingAes128Gcm, 16)] {
        for step in [1, 3, 500, usize::MAX] {
            let chunks = [b"head".as_slice(), &[7; PLAINTEXT_MAX], b"", b"x"];
            let (nonce, frames, reply) = sealed(suite, &[chunks[0], chunks[1], chunks[3]]);
            assert_eq!(nonce.len(), nonce_len);
            let bytes = [nonce, frames.concat()].concat();
            let opened = open_response(reply, &bytes, step).unwrap();
            assert_eq!(opened, [chunks[0], chunks[1], chunks[3]]);
        }
    }
}

#[test]
fn every_truncation_breaks_it() {
    let (nonce, frames, _) = sealed(AES256, &[b"one", b"two", b"end"]);
    let len = nonce.len() + frames.concat().len();
    for cut in 0..len {
        let (nonce, frames, reply) = sealed(AES256, &[b"one", b"two", b"end"]);
        let bytes = [nonce, frames.concat()].concat();
        let why = open_response(reply, &bytes[..cut], 7).unwrap_err();
        assert!(
            [Broken::Framing(Misframed::Truncated), Broken::Unauthentic].contains(&why),
            "cut at {cut}: {why}"
        );
    }
}

#[test]
fn every_flipped_bit_breaks_it() {
    let (opened, _, _) = exchange(AES256);
    let (mut sealer, nonce) = opened.reply.into_sealer(&[0x5a; 32]);
    let mut bytes = nonce;
    sealer.seal(b"one", &mut bytes).unwrap();
    sealer.seal_final(b"end", &mut bytes).unwrap();
    for at in 0..bytes.len() {
        // The opener is single-use, so each flip has an exchange of its own.
        let (nonce, frames, reply) = sealed(AES256, &[b"one", b"end"]);
        let mut other = [nonce, frames.concat()].concat();
        assert_eq!(other.len(), bytes.len());
        other[at] ^= 1 << (at % 8);
        assert!(open_response(reply, &other, 11).is_err(), "octet {at}");
    }
}

#[test]
fn chunks_keep_their_order_and_number() {
    let plays: [(&str, &[usize]); 7] = [
        ("reordered", &[1, 0, 2, 3]),
        ("duplicated", &[0, 0, 1, 2, 3]),
        ("first dropped", &[1, 2, 3]),
        ("middle dropped", &[0, 2, 3]),
        ("last before the end dropped", &[0, 1, 3]),
        ("only the end", &[3]),
        ("something after the end", &[0, 1, 2, 3, 0]),
    ];
    for (name, order) in plays {
        let (nonce, frames, reply) = sealed(AES256, &[b"a", b"b", b"c", b"end"]);
        let frames: Vec<u8> = order.iter().flat_map(|at| frames[*at].clone()).collect();
        let why = open_response(reply, &[nonce, frames].concat(), 13).unwrap_err();
        assert_eq!(why, Broken::Unauthentic, "{name}");
    }
}

#[test]
fn what_was_authentic_before_the_break_is_given_and_nothing_after() {
    let (nonce, frames, reply) = sealed(AES256, &[b"a", b"b", b"c", b"end"]);
    let bytes = [nonce, frames[0].clone(), frames[2].clone(), frames[1].clone()].concat();
    let (mut opener, mut seen) = (reply.into_opener(100), Vec::new());
    assert_eq!(opener.push(&bytes, |chunk| seen.push(chunk.to_vec())), Err(Broken::Unauthentic));
    assert_eq!(seen, [b"a"]);
    // A break is final, even where the right chunk follows.
    let again = opener.push(&frames[1], |chunk| seen.push(chunk.to_vec()));
    assert_eq!((again, seen.len()), (Err(Broken::Unauthentic), 1));
    assert_eq!(opener.finish(), Err(Broken::Unauthentic));
}

#[test]
fn answers_cannot_be_exchanged_or_spliced() {
    let (nonce, frames, _) = sealed(AES256, &[b"a", b"end"]);
    let (own_nonce, own_frames, reply) = sealed(AES256, &[b"a", b"end"]);
    let other = [nonce, frames.concat()].concat();
    assert_eq!(open_response(reply, &other, 100), Err(Broken::Unauthentic), "exchanged");
    let (_, _, reply) = sealed(AES256, &[b"a", b"end"]);
    let spliced = [own_nonce, own_frames[0].clone(), frames[1].clone()].concat();
    assert_eq!(open_response(reply, &spliced, 100), Err(Broken::Unauthentic), "spliced");
}

#[test]
fn a_request_is_no_response() {
    let to = channel::Recipient::generate(1, 1);
    let request = seal(&to, AES256, &[b"question", b"end"]);
    let reflected = [vec![0; 32], request.frames.concat()].concat();
    assert_eq!(open_response(request.reply, &reflected, 100), Err(Broken::Unauthentic));
}

#[test]
fn framing_is_judged_before_it_is_believed() {
    for (frame, why) in [
        (vec![0xff; 8], Misframed::ChunkTooLong),
        (vec![0x80, 0, 0x40, 0x11], Misframed::ChunkTooLong),
        (vec![16], Misframed::Empty),
    ] {
        let (nonce, _, reply) = sealed(AES256, &[b"end"]);
        let bytes = [nonce, frame].concat();
        assert_eq!(open_response(reply, &bytes, 1), Err(Broken::Framing(why)));
    }
    let (nonce, frames, reply) = sealed(AES256, &[b"longer than the limit", b"end"]);
    let mut opener = reply.into_opener(10);
    let why = opener.push(&[nonce, frames.concat()].concat(), |_| ()).unwrap_err();
    assert_eq!(why, Broken::Framing(Misframed::TooLarge));
}

#[test]
fn the_sealer_refuses_what_no_opener_takes() {
    let (opened, _, _) = exchange(AES256);
    let (mut sealer, mut out) = opened.reply.into_sealer(&[0; 32]);
    assert_eq!(sealer.seal(b"", &mut out), Err(Unsealable::Empty));
    assert_eq!(sealer.seal(&vec![0; PLAINTEXT_MAX + 1], &mut out), Err(Unsealable::TooLong));
    assert_eq!(out.len(), 32, "what was refused leaves no trace in the stream");
    for _ in 0..(1 << 16) - 1 {
        out.clear();
        sealer.seal(b"x", &mut out).unwrap();
    }
    assert_eq!(sealer.seal(b"x", &mut out), Err(Unsealable::Exhausted));
    sealer.seal_final(b"end", &mut out).unwrap();
    let (opened, _, _) = exchange(AES256);
    let (sealer, mut out) = opened.reply.into_sealer(&[0; 32]);
    let long = sealer.seal_final(&vec![0; PLAINTEXT_MAX + 1], &mut out);
    assert_eq!((long, out.len()), (Err(Unsealable::TooLong), 32));
}
