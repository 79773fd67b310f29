//! A cell costs no memory: what an answer needs, it has from its first cells on (`docs/protocol.md` §5.7).
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use allocation_counter::measure;
use channel::padding::{CELL_CONTENT_LEN, CELL_LEN};
use channel::{Answer, Blinds, ENC_LEN, Exports, Fields, ReplyKeys, RequestHeader, Suite};

const SUITE: Suite = Suite::XWingAes256Gcm;
/// As many as a long answer has.
const CELLS: usize = 2_000;

/// Both ends of one exchange.
fn keys() -> (ReplyKeys, Blinds) {
    let header = RequestHeader::new(7, SUITE, Box::new([0; ENC_LEN]));
    let exports = Exports::derive(SUITE, |_, out| {
        out.fill(7);
        Ok::<_, ()>(())
    });
    ReplyKeys::new(&header, exports.unwrap())
}

/// An answer that has begun, and the buffer that its caller sends from.
fn begun() -> (Answer, Vec<u8>) {
    let (reply, blinds) = keys();
    let mut out = Vec::with_capacity(4 * CELL_LEN);
    let sealer = reply.into_sealer(&[7; 32]).0;
    let answer = Answer::begin(sealer, &blinds, 200, &Fields::new(), &mut out).unwrap();
    (answer, out)
}

#[test]
fn sealing_a_cell_allocates_nothing() {
    let (mut answer, mut out) = begun();
    let event = [b"data: ".as_slice(), &[b'x'; 200], b"\n\n"].concat();
    let content = vec![b'\n'; CELL_CONTENT_LEN];
    let mut sealed = 0;
    let counted = measure(|| {
        for _ in 0..CELLS {
            out.clear();
            answer.event(&event, &mut out).unwrap();
            answer.cell(&content, &mut out).unwrap();
            sealed += out.len();
        }
    });
    assert_eq!(sealed, CELLS * 2 * (2 + CELL_LEN + 16), "cells were sealed");
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn sealing_what_is_in_a_cell_already_allocates_nothing() {
    let (mut sealer, mut out) =
        (keys().0.into_sealer(&[7; 32]).0, Vec::with_capacity(2 * CELL_LEN));
    let plain = [b'x'; CELL_LEN];
    let counted = measure(|| {
        for _ in 0..CELLS {
            out.clear();
            sealer.seal(&plain, &mut out).unwrap();
        }
    });
    assert_eq!((out.len(), counted.count_total), (2 + CELL_LEN + 16, 0), "{counted:?}");
}

#[test]
fn opening_a_cell_allocates_nothing() {
    let (mut sealer, mut wire) = keys().0.into_sealer(&[7; 32]);
    let first = wire.len() + 2 + CELL_LEN + 16;
    for _ in 0..CELLS {
        sealer.seal(&[b'x'; CELL_LEN], &mut wire).unwrap();
    }
    let mut opener = keys().0.into_opener(CELLS * CELL_LEN);
    let mut count = 0;
    // The first takes the memory that the others use again.
    opener.push(&wire[..first], |plain| count += plain.len()).unwrap();
    let counted = measure(|| {
        for piece in wire[first..].chunks(700) {
            opener.push(piece, |plain| count += plain.len()).unwrap();
        }
    });
    assert_eq!(count, CELLS * CELL_LEN, "cells were opened");
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The count counts.
#[test]
fn what_allocates_is_counted() {
    let counted = measure(|| drop(std::hint::black_box(vec![1_u8; 10])));
    assert_eq!(counted.count_total, 1);
}
