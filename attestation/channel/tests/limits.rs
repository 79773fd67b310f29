//! Where two limits meet, the sender learns which of them it was.

use channel::chunks::{CIPHERTEXT_MAX, Misframed, PLAINTEXT_MAX};
use channel::{ENC_LEN, Limit, Outer, Recipient, Refused, RequestHeader, Suite};

/// "Too large" is answered with 413, and a client may take it for what it is; a chunk that no client of the protocol makes is
/// answered like anything else that cannot be opened (`docs/protocol.md` §5.9).
#[test]
fn the_longest_chunk_is_too_large_before_it_is_too_long() {
    let to = Recipient::generate(1, 1);
    // Nobody sealed this: lengths are judged before anything is opened.
    let header = RequestHeader::new(1, Suite::XWingAes256Gcm, Box::new([9; ENC_LEN]));
    for (len, bytes_max, expected) in [
        (CIPHERTEXT_MAX, PLAINTEXT_MAX, None),
        (CIPHERTEXT_MAX, PLAINTEXT_MAX - 1, Some((Misframed::TooLarge, Outer::TooLarge))),
        (CIPHERTEXT_MAX + 1, PLAINTEXT_MAX - 1, Some((Misframed::ChunkTooLong, Outer::Key))),
        (CIPHERTEXT_MAX + 1, PLAINTEXT_MAX + 1, Some((Misframed::ChunkTooLong, Outer::Key))),
    ] {
        let mut opener = to.begin(&header, Limit { bytes_max }).unwrap();
        // The mark of the final chunk, and its octets.
        let pushed = opener.push(&[0]).and_then(|()| opener.push(&vec![0; len]));
        let refused = expected.map(|(why, _)| Refused::Framing(why));
        assert_eq!(pushed.err(), refused, "{len} octets, of {bytes_max} allowed");
        assert_eq!(refused.map(Refused::outer), expected.map(|(_, outer)| outer));
    }
}

/// A budget over all requests counts octets as they come, and not when a chunk is whole.
#[test]
fn what_is_gathered_counts_before_it_is_opened() {
    let to = Recipient::generate(1, 1);
    let header = RequestHeader::new(1, Suite::XWingAes256Gcm, Box::new([9; ENC_LEN]));
    let mut opener = to.begin(&header, Limit::default()).unwrap();
    assert_eq!(opener.buffered(), 0);
    // A chunk of 40 octets is announced, and comes in pieces.
    for (piece, held) in [(&[40, 1, 2][..], 2), (&[3; 20], 22), (&[4; 17], 39)] {
        opener.push(piece).unwrap();
        assert_eq!(opener.buffered(), held);
    }
}
