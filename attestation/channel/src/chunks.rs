//! Framing of chunks, the same in both directions (draft-ietf-ohai-chunked-ohttp §6).
//!
//! ```text
//! { varint(len) ‖ ciphertext[len] }*  ‖  varint(0) ‖ final ciphertext, to the end of the stream
//! ```
//!
//! A length of zero starts the final chunk, so the end is authenticated: its AAD is `"final"`, that
//! of the others is empty. A chunk other than the final one must not be empty.

use core::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::suite::TAG_LEN;
use crate::varint;

/// Longest plaintext of a chunk (draft-ietf-ohai-chunked-ohttp §6.1).
pub const PLAINTEXT_MAX: usize = 1 << 14;
/// Longest ciphertext of a chunk.
pub const CIPHERTEXT_MAX: usize = PLAINTEXT_MAX + TAG_LEN;
/// Most chunks in one direction (`docs/protocol.md` §5.4).
pub const CHUNKS_MAX: u32 = 1 << 16;
/// Most plaintext octets in one direction (`docs/protocol.md` §5.4).
pub const BYTES_MAX: usize = 1 << 30;
/// AAD of every chunk but the final one.
pub(crate) const AAD: &[u8] = b"";

/// How a stream of chunks is not framed as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Misframed {
    /// It ends before its final chunk does.
    Truncated,
    /// A chunk is longer than a chunk may be.
    ChunkTooLong,
    /// A chunk other than the final one has no content, or not even a tag.
    Empty,
    /// There are more chunks than [`CHUNKS_MAX`].
    TooManyChunks,
    /// The plaintext is longer than its limit.
    TooLarge,
}

impl fmt::Display for Misframed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the stream ends before its final chunk does",
            Self::ChunkTooLong => "a chunk is longer than 16 KiB",
            Self::Empty => "a chunk other than the final one is empty",
            Self::TooManyChunks => "the stream has too many chunks",
            Self::TooLarge => "the stream is longer than its limit",
        })
    }
}

impl core::error::Error for Misframed {}

/// Appends the length that announces a chunk of `ciphertext_len` octets.
pub fn write_len(ciphertext_len: usize, out: &mut Vec<u8>) {
    varint::write(ciphertext_len, out);
}

/// Appends the mark that announces the final chunk.
pub fn write_final_mark(out: &mut Vec<u8>) {
    varint::write(FINAL_MARK, out);
}

/// The length that announces the final chunk.
pub(crate) const FINAL_MARK: usize = 0;

/// Cuts a stream that arrives in any pieces into the ciphertexts of its chunks.
#[derive(Debug)]
pub(crate) struct Deframer {
    state: State,
    /// The chunk being gathered; it is opened in place, hence zeroised.
    chunk: Zeroizing<Vec<u8>>,
    chunks: u32,
    budget: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Length { octets: [u8; varint::LEN_MAX], have: usize },
    Chunk { len: usize },
    Final,
}

const START: State = State::Length { octets: [0; varint::LEN_MAX], have: 0 };

impl Deframer {
    /// Takes up to `bytes_max` octets of plaintext.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let chunk = Zeroizing::new(Vec::new());
        Self { state: START, chunk, chunks: 0, budget: bytes_max.min(BYTES_MAX) }
    }

    /// Takes the next piece; calls `each` with the ciphertext of every chunk that it completes.
    pub(crate) fn push<E: From<Misframed>>(
        &mut self,
        mut piece: &[u8],
        mut each: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((first, rest)) = piece.split_first() {
            match self.state {
                State::Length { mut octets, have } => {
                    piece = rest;
                    if let Some(slot) = octets.get_mut(have) {
                        *slot = *first;
                    }
                    let have = have.saturating_add(1);
                    self.state = match varint::read(octets.get(..have).unwrap_or_default()) {
                        Some((len, _)) => self.announced(len)?,
                        None => State::Length { octets, have },
                    };
                }
                State::Chunk { len } => {
                    piece = self.gather(piece, len);
                    if self.chunk.len() == len {
                        each(&mut self.chunk)?;
                        self.chunk.zeroize();
                        self.state = START;
                    }
                }
                State::Final => {
                    let room = CIPHERTEXT_MAX.min(self.budget.saturating_add(TAG_LEN));
                    if piece.len() > room.saturating_sub(self.chunk.len()) {
                        let over = self.chunk.len().saturating_add(piece.len()) > CIPHERTEXT_MAX;
                        let why = if over { Misframed::ChunkTooLong } else { Misframed::TooLarge };
                        return Err(why.into());
                    }
                    piece = self.gather(piece, CIPHERTEXT_MAX);
                }
            }
        }
        Ok(())
    }

    /// The ciphertext of the final chunk, once the stream has ended.
    pub(crate) fn finish(self) -> Result<Zeroizing<Vec<u8>>, Misframed> {
        match self.state {
            State::Final if self.chunk.len() >= TAG_LEN => Ok(self.chunk),
            State::Final | State::Length { .. } | State::Chunk { .. } => Err(Misframed::Truncated),
        }
    }

    /// How many octets it holds.
    pub(crate) fn buffered(&self) -> usize {
        self.chunk.len()
    }

    /// Judges a length before anything is allocated for it.
    fn announced(&mut self, len: u64) -> Result<State, Misframed> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len == 0 {
            self.count()?;
            return Ok(State::Final);
        }
        if len > CIPHERTEXT_MAX {
            return Err(Misframed::ChunkTooLong);
        }
        let plaintext = len.checked_sub(TAG_LEN).filter(|len| *len > 0).ok_or(Misframed::Empty)?;
        self.budget = self.budget.checked_sub(plaintext).ok_or(Misframed::TooLarge)?;
        self.count()?;
        Ok(State::Chunk { len })
    }

    fn count(&mut self) -> Result<(), Misframed> {
        if self.chunks >= CHUNKS_MAX {
            return Err(Misframed::TooManyChunks);
        }
        self.chunks = self.chunks.saturating_add(1);
        Ok(())
    }

    /// Moves octets of the piece into the chunk until that has `len`; gives back the rest.
    fn gather<'a>(&mut self, piece: &'a [u8], len: usize) -> &'a [u8] {
        let missing = len.saturating_sub(self.chunk.len()).min(piece.len());
        let (taken, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
        self.chunk.extend_from_slice(taken);
        rest
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers")]

    use super::*;

    /// Chunk lengths and the final chunk's length, or why not; the stream comes in pieces of `step`.
    fn cut(stream: &[u8], step: usize, limit: usize) -> Result<(Vec<usize>, usize), Misframed> {
        let (mut lens, mut deframer) = (Vec::new(), Deframer::new(limit));
        for piece in stream.chunks(step) {
            deframer.push(piece, |chunk| {
                lens.push(chunk.len());
                Ok::<(), Misframed>(())
            })?;
        }
        Ok((lens, deframer.finish()?.len()))
    }

    fn stream(lens: &[usize], last: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for len in lens {
            write_len(*len, &mut out);
            out.resize(out.len() + len, 7);
        }
        write_final_mark(&mut out);
        out.resize(out.len() + last, 7);
        out
    }

    #[test]
    fn cuts_the_same_however_the_pieces_fall() {
        let lens = [17, 63, 64, 16_383, CIPHERTEXT_MAX];
        let bytes = stream(&lens, 16);
        for step in [1, 2, 3, 7, 100, bytes.len()] {
            assert_eq!(cut(&bytes, step, BYTES_MAX), Ok((lens.to_vec(), 16)), "step {step}");
        }
    }

    #[test]
    fn every_truncation_is_seen() {
        let bytes = stream(&[20, 100], 30);
        for len in 0..bytes.len() - 30 + 16 {
            assert_eq!(cut(&bytes[..len], 9, BYTES_MAX), Err(Misframed::Truncated), "{len}");
        }
    }

    #[test]
    fn lengths_are_judged_before_they_are_believed() {
        for (bytes, why) in [
            (vec![0xff; 8], Misframed::ChunkTooLong),
            (vec![0xc0, 0, 0, 0, 0, 0, 0x40, 0x11], Misframed::ChunkTooLong),
            (vec![16], Misframed::Empty),
            (vec![0x40, 16], Misframed::Empty),
            (vec![1], Misframed::Empty),
        ] {
            assert_eq!(cut(&bytes, 1, BYTES_MAX), Err(why), "{bytes:x?}");
        }
        let long = stream(&[], CIPHERTEXT_MAX + 1);
        assert_eq!(cut(&long, 1000, BYTES_MAX), Err(Misframed::ChunkTooLong));
        assert!(cut(&stream(&[], CIPHERTEXT_MAX), 1000, BYTES_MAX).is_ok());
    }

    #[test]
    fn longer_forms_of_a_length_are_the_same_length() {
        let mut bytes = vec![0xc0, 0, 0, 0, 0, 0, 0, 20];
        bytes.resize(28, 7);
        bytes.extend([0x80, 0, 0, 0]);
        bytes.resize(28 + 4 + 16, 7);
        for step in [1, 5, 100] {
            assert_eq!(cut(&bytes, step, BYTES_MAX), Ok((vec![20], 16)));
        }
    }

    #[test]
    fn the_limit_counts_plaintext() {
        let bytes = stream(&[16 + 10, 16 + 10], 16 + 5);
        assert!(cut(&bytes, 8, 25).is_ok());
        assert_eq!(cut(&bytes, 8, 24), Err(Misframed::TooLarge));
        assert_eq!(cut(&bytes, 8, 19), Err(Misframed::TooLarge));
    }

    #[test]
    fn chunks_are_counted() {
        let most = vec![17; usize::try_from(CHUNKS_MAX).unwrap() - 1];
        assert!(cut(&stream(&most, 16), 1 << 16, BYTES_MAX).is_ok());
        let more = [most, vec![17]].concat();
        assert_eq!(cut(&stream(&more, 16), 1 << 16, BYTES_MAX), Err(Misframed::TooManyChunks));
    }
}
