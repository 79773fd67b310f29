//! What a recipient opens, and everything that it refuses (`docs/protocol.md` §5.4, §5.5).

use channel::chunks::{Misframed, PLAINTEXT_MAX};
use channel::{HEADER_LEN, Limit, Recipient, Refused, RequestHeader, Suite};

use crate::support::{open, open_in, seal};

const SUITES: [Suite; 2] = [Suite::XWingAes256Gcm, Suite::XWingAes128Gcm];

fn recipient() -> Recipient {
    Recipient::generate(7, 1000)
}

#[test]
fn opens_what_was_sealed_however_it_arrives() {
    let to = recipient();
    for suite in SUITES {
        for step in [1, 2, 1000, usize::MAX] {
            let sealed = seal(&to, suite, &[b"one", &[2; PLAINTEXT_MAX], b"three"]);
            let opened = open_in(&to, &sealed.bytes(), step).unwrap();
            let plain = [b"one".as_slice(), &[2; PLAINTEXT_MAX], b"three"].concat();
            assert_eq!(*opened.plaintext.expose(), plain);
            // Both ends derive the same blinds, and no blind twice.
            let (ours, theirs) = (&sealed.blinds, &opened.blinds);
            let pairs = [
                (&ours.request, &theirs.request),
                (&ours.response, &theirs.response),
                (&ours.parameters, &theirs.parameters),
            ];
            assert!(pairs.iter().all(|(ours, theirs)| ours.expose() == theirs.expose()));
            assert_ne!(ours.request.expose(), ours.response.expose());
            assert_ne!(ours.request.expose(), ours.parameters.expose());
            let header = RequestHeader::parse(&sealed.header).unwrap();
            assert_eq!(opened.request_digest, header.digest());
        }
    }
}

#[test]
fn an_empty_final_chunk_is_a_final_chunk() {
    let to = recipient();
    let opened = open(&to, &seal(&to, SUITES[0], &[b"all", b""]).bytes()).unwrap();
    assert_eq!(opened.plaintext.expose(), b"all");
}

#[test]
fn every_truncation_is_refused() {
    let to = recipient();
    let bytes = seal(&to, SUITES[0], &[b"first", b"second", b"last"]).bytes();
    for len in 0..HEADER_LEN {
        assert_eq!(open(&to, &bytes[..len]).unwrap_err(), Refused::Length, "{len}");
    }
    for len in HEADER_LEN..bytes.len() {
        let why = open(&to, &bytes[..len]).unwrap_err();
        let expected = [Refused::Framing(Misframed::Truncated), Refused::Unauthentic];
        assert!(expected.contains(&why), "{len}: {why}");
    }
    assert!(open(&to, &bytes).is_ok(), "what was refused was not remembered as seen");
}

#[test]
fn every_flipped_bit_of_the_chunks_is_refused() {
    let to = recipient();
    let bytes = seal(&to, SUITES[0], &[b"first", b"last"]).bytes();
    for at in HEADER_LEN..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            assert!(open(&to, &other).is_err(), "octet {at} bit {bit}");
        }
    }
}

#[test]
fn chunks_keep_their_order_and_number() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"aaaa", b"bbbb", b"cccc", b"last"]);
    let [a, b, c, last] = sealed.frames.clone().try_into().unwrap();
    for (name, frames) in [
        ("reordered", vec![&b, &a, &c, &last]),
        ("swapped at the end", vec![&a, &c, &b, &last]),
        ("duplicated", vec![&a, &a, &b, &c, &last]),
        ("first dropped", vec![&b, &c, &last]),
        ("middle dropped", vec![&a, &c, &last]),
        ("final early", vec![&a, &b, &last]),
        ("something after the end", vec![&a, &b, &c, &last, &last]),
    ] {
        let frames: Vec<u8> = frames.into_iter().flatten().copied().collect();
        let bytes = [sealed.header.clone(), frames].concat();
        assert_eq!(open(&to, &bytes).unwrap_err(), Refused::Unauthentic, "{name}");
    }
    // The last chunk presented as an ordinary one, and an ordinary one as the last.
    let as_ordinary = [sealed.header.clone(), vec![20], last[1..].to_vec()].concat();
    assert_eq!(open(&to, &as_ordinary).unwrap_err(), Refused::Unauthentic);
    let as_last = [sealed.header.clone(), vec![0], a[1..].to_vec()].concat();
    assert_eq!(open(&to, &as_last).unwrap_err(), Refused::Unauthentic);
    assert!(open(&to, &sealed.bytes()).is_ok());
}

#[test]
fn requests_cannot_be_spliced() {
    let to = recipient();
    let one = seal(&to, SUITES[0], &[b"aaaa", b"last"]);
    let two = seal(&to, SUITES[0], &[b"aaaa", b"last"]);
    for frames in [[&one.frames[0], &two.frames[1]], [&two.frames[0], &one.frames[1]]] {
        let bytes = [one.header.clone(), frames.map(Clone::clone).concat()].concat();
        assert_eq!(open(&to, &bytes).unwrap_err(), Refused::Unauthentic);
    }
    let header = [two.header.clone(), one.frames.concat()].concat();
    assert_eq!(open(&to, &header).unwrap_err(), Refused::Unauthentic);
}

#[test]
fn a_response_is_no_request() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"question"]);
    let opened = open(&to, &sealed.bytes()).unwrap();
    let (mut reply, _) = opened.reply.into_sealer(&[5; 32]);
    let mut frames = Vec::new();
    reply.seal(b"answer", &mut frames).unwrap();
    reply.seal_final(b"end", &mut frames).unwrap();
    let other = seal(&to, SUITES[0], &[b"other"]);
    let reflected = [other.header.clone(), frames].concat();
    assert_eq!(open(&to, &reflected).unwrap_err(), Refused::Unauthentic);
}

#[test]
fn the_header_is_bound() {
    let to = recipient();
    let bytes = seal(&to, SUITES[0], &[b"question"]).bytes();
    let mut other = bytes.clone();
    other[0] ^= 1;
    assert_eq!(open(&to, &other).unwrap_err(), Refused::UnknownKey);
    let mut other = bytes.clone();
    other[6] = 1;
    assert_eq!(open(&to, &other).unwrap_err(), Refused::Unauthentic, "suite exchanged");
    assert_eq!(open(&recipient(), &bytes).unwrap_err(), Refused::Unauthentic, "another key");
}

#[test]
fn a_changed_encapsulated_key_never_opens() {
    // Otherwise the replay set, which names a request by it, could be walked around.
    let to = recipient();
    let bytes = seal(&to, SUITES[0], &[b"question"]).bytes();
    for at in (7..HEADER_LEN).step_by(5).chain(HEADER_LEN - 33..HEADER_LEN) {
        let mut other = bytes.clone();
        other[at] ^= 0x80 >> (at % 8);
        assert_eq!(open(&to, &other).unwrap_err(), Refused::Unauthentic, "octet {at}");
    }
}

#[test]
fn an_empty_chunk_is_refused_even_from_the_sender() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"", b"last"]);
    assert_eq!(open(&to, &sealed.bytes()).unwrap_err(), Refused::Framing(Misframed::Empty));
}

#[test]
fn chunks_of_more_than_16_kib_are_refused() {
    let to = recipient();
    let long = vec![0; PLAINTEXT_MAX + 1];
    for chunks in [[long.as_slice(), b"last"], [b"first", long.as_slice()]] {
        let bytes = seal(&to, SUITES[0], &chunks).bytes();
        assert_eq!(open(&to, &bytes).unwrap_err(), Refused::Framing(Misframed::ChunkTooLong));
    }
}

#[test]
fn lengths_may_be_written_longer_and_never_larger() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"four", b"last"]);
    let (chunk, last) = (&sealed.frames[0][1..], &sealed.frames[1][1..]);
    for (len, end) in [
        (vec![0x40, 20], vec![0x40, 0]),
        (vec![0x80, 0, 0, 20], vec![0x80, 0, 0, 0]),
        (vec![0xc0, 0, 0, 0, 0, 0, 0, 20], vec![0xc0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let sealed = seal(&to, SUITES[0], &[b"four", b"last"]);
        let (chunk, last) = (sealed.frames[0][1..].to_vec(), sealed.frames[1][1..].to_vec());
        let bytes = [sealed.header.clone(), len, chunk, end, last].concat();
        assert_eq!(open(&to, &bytes).unwrap().plaintext.expose(), b"fourlast");
    }
    let largest = [&sealed.header[..], &[0xff; 8], chunk, &[0], last].concat();
    assert_eq!(open(&to, &largest).unwrap_err(), Refused::Framing(Misframed::ChunkTooLong));
}

#[test]
fn a_request_is_accepted_once() {
    let to = recipient();
    let bytes = seal(&to, SUITES[0], &[b"question"]).bytes();
    assert!(open(&to, &bytes).is_ok());
    assert_eq!(open(&to, &bytes).unwrap_err(), Refused::Replayed);
    // Replayed behind another end: the encapsulated key alone is the name.
    let cut = &bytes[..bytes.len() - 1];
    assert_eq!(open(&to, cut).unwrap_err(), Refused::Replayed);
}

#[test]
fn of_two_copies_in_flight_the_second_to_end_is_refused() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"question"]);
    let header = RequestHeader::parse(&sealed.header).unwrap();
    let mut openers = [(); 2].map(|()| to.begin(&header, Limit::default()).unwrap());
    for opener in &mut openers {
        opener.push(&sealed.frames.concat()).unwrap();
    }
    let [first, second] = openers;
    assert!(first.finish().is_ok());
    assert_eq!(second.finish().unwrap_err(), Refused::Replayed);
}

#[test]
fn a_full_set_ends_the_key() {
    let to = Recipient::generate(1, 2);
    let requests: Vec<_> = (0..3).map(|_| seal(&to, SUITES[0], &[b"x"]).bytes()).collect();
    assert!(open(&to, &requests[0]).is_ok());
    assert!(!to.is_full());
    assert!(open(&to, &requests[1]).is_ok());
    assert!(to.is_full());
    assert_eq!(open(&to, &requests[2]).unwrap_err(), Refused::ReplaySetFull);
}

#[test]
fn a_retired_key_begins_nothing_and_ends_what_was_begun() {
    let to = recipient();
    let (begun, late) = (seal(&to, SUITES[0], &[b"begun"]), seal(&to, SUITES[0], &[b"late"]));
    let mut opener =
        to.begin(&RequestHeader::parse(&begun.header).unwrap(), Limit::default()).unwrap();
    to.retire();
    assert_eq!(open(&to, &late.bytes()).unwrap_err(), Refused::KeyRetired);
    opener.push(&begun.frames.concat()).unwrap();
    assert_eq!(opener.finish().unwrap().plaintext.expose(), b"begun");
}

#[test]
fn the_limit_holds_while_the_request_arrives() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[&[0; 1000], &[0; 1000], b"end"]);
    let header = RequestHeader::parse(&sealed.header).unwrap();
    let mut opener = to.begin(&header, Limit { bytes_max: 1999 }).unwrap();
    opener.push(&sealed.frames[0]).unwrap();
    assert_eq!(opener.buffered(), 1000);
    let too_large = Refused::Framing(Misframed::TooLarge);
    assert_eq!(opener.push(&sealed.frames[1]).unwrap_err(), too_large);
    // A refusal is final.
    assert_eq!(opener.push(&[]).unwrap_err(), too_large);
    assert_eq!(opener.finish().unwrap_err(), too_large);
}

#[test]
fn noise_is_refused_without_a_panic() {
    let to = recipient();
    let sealed = seal(&to, SUITES[0], &[b"question"]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..500 {
        let mut noise = sealed.header.clone();
        for _ in 0..state % 97 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(state.to_be_bytes()[0]);
        }
        state = state.wrapping_add(1);
        assert!(open_in(&to, &noise, 5).is_err());
    }
}
