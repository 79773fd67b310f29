//! Sealed bodies as an adversary sees them: chunks whose borders are public and whose content is not.

/// Octets before the first chunk of a request: header and encapsulated key (docs/protocol.md §5.4).
pub const REQUEST_HEAD: usize = 7 + 1120;

/// Octets before the first chunk of a response to our client: the nonce (docs/protocol.md §5.7).
pub const RESPONSE_HEAD: usize = 32;

/// A sealed body in its parts. What is not a sealed body is all head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// What comes before the first chunk.
    pub head: Vec<u8>,
    /// Every chunk but the last: ciphertext without its length.
    pub chunks: Vec<Vec<u8>>,
    /// The last chunk, where there is one: ciphertext without its mark.
    pub last: Option<Vec<u8>>,
}

impl Framed {
    /// Takes a body apart; what does not parse is dropped.
    pub fn parse(body: &[u8], head_len: usize) -> Self {
        let (head, mut rest) = body.split_at(head_len.min(body.len()));
        let mut framed = Self { head: head.to_vec(), chunks: Vec::new(), last: None };
        while let Some((length, after)) = varint(rest) {
            if length == 0 {
                framed.last = Some(after.to_vec());
                break;
            }
            let Some((chunk, after)) =
                usize::try_from(length).ok().and_then(|length| after.split_at_checked(length))
            else {
                break;
            };
            framed.chunks.push(chunk.to_vec());
            rest = after;
        }
        framed
    }

    /// The pieces on the wire, in order: head, each chunk with its length, the last one with its mark.
    pub fn pieces(&self) -> Vec<Vec<u8>> {
        let mut pieces = vec![self.head.clone()];
        for chunk in &self.chunks {
            let mut piece = length(chunk.len());
            piece.extend_from_slice(chunk);
            pieces.push(piece);
        }
        if let Some(last) = &self.last {
            let mut piece = vec![0];
            piece.extend_from_slice(last);
            pieces.push(piece);
        }
        pieces
    }

    /// All pieces together, the length of each chunk written by `spell`, which is given the chunk's number and length.
    pub fn spelled(&self, spell: impl Fn(usize, usize) -> Vec<u8>) -> Vec<u8> {
        let mut body = self.head.clone();
        for (index, chunk) in self.chunks.iter().enumerate() {
            body.extend(spell(index, chunk.len()));
            body.extend_from_slice(chunk);
        }
        if let Some(last) = &self.last {
            body.push(0);
            body.extend_from_slice(last);
        }
        body
    }

    /// Where each piece starts on the wire, and where the body ends.
    pub fn borders(&self) -> Vec<usize> {
        let mut at = 0_usize;
        let mut borders = vec![at];
        for piece in self.pieces() {
            at = at.saturating_add(piece.len());
            borders.push(at);
        }
        borders
    }

    /// All pieces together.
    pub fn encode(&self) -> Vec<u8> {
        self.pieces().concat()
    }
}

/// A variable-length integer of RFC 9000 §16, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let more = (1_usize << (first >> 6)).saturating_sub(1);
    let (tail, rest) = rest.split_at_checked(more)?;
    let value =
        tail.iter().fold(u64::from(first & 0x3f), |value, octet| (value << 8) | u64::from(*octet));
    Some((value, rest))
}

/// A length in 1, 2, 4 or 8 octets, whichever is asked for: RFC 9000 §16 does not ask for the shortest.
pub fn long(length: u64, octets: usize) -> Vec<u8> {
    let mut form = length.to_be_bytes()[8_usize.saturating_sub(octets)..].to_vec();
    form[0] |= match octets {
        1 => 0x00,
        2 => 0x40,
        4 => 0x80,
        _ => 0xc0,
    };
    form
}

/// The shortest form of a length below 2^30.
pub fn length(length: usize) -> Vec<u8> {
    let value = u32::try_from(length).expect("a chunk is short");
    match value {
        0..=0x3f => vec![value.to_be_bytes()[3]],
        0x40..=0x3fff => {
            let [_, _, high, low] = value.to_be_bytes();
            vec![high | 0x40, low]
        }
        _ => {
            let [first, rest @ ..] = value.to_be_bytes();
            [&[first | 0x80][..], &rest[..]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_being_taken_apart() {
        let framed = Framed {
            head: vec![7; RESPONSE_HEAD],
            chunks: vec![vec![1; 17], vec![2; 64], vec![3; 20_000]],
            last: Some(vec![4; 16]),
        };
        assert_eq!(Framed::parse(&framed.encode(), RESPONSE_HEAD), framed);
    }

    #[test]
    fn lengths_may_be_written_longer() {
        let framed =
            Framed { head: vec![7; 32], chunks: vec![vec![1; 17]; 2], last: Some(vec![4]) };
        for octets in [1, 2, 4, 8] {
            let body = framed.spelled(|_, length| long(u64::try_from(length).unwrap(), octets));
            assert_eq!(Framed::parse(&body, 32), framed, "{octets}");
        }
        assert_eq!(framed.borders(), [0, 32, 50, 68, 70]);
    }

    #[test]
    fn a_cut_body_has_no_last_chunk() {
        let framed =
            Framed { head: vec![7; 32], chunks: vec![vec![1; 17]; 2], last: Some(vec![4; 16]) };
        let body = framed.encode();
        for end in 0..body.len() {
            let cut = Framed::parse(&body[..end], RESPONSE_HEAD);
            let whole = end > 32 + 18 + 18;
            assert_eq!(cut.last.is_some(), whole, "{end}");
        }
    }
}
