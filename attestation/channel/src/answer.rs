//! One answer from its head cell to its final chunk: padded, sealed and committed to.

use attestation::Sha256;
use attestation::digest::Mac;
use zeroize::Zeroizing;

use crate::bhttp::{self, Fields};
use crate::chunks::PLAINTEXT_MAX;
use crate::names;
use crate::padding::{CELL_CONTENT_LEN, CELL_LEN, FINAL_LEN, answer_chunks, fill_with_comment};
use crate::reply::{ResponseSealer, Unsealable};
use crate::schedule::Blinds;

/// The response to one request, as `docs/protocol.md` §5.7 pads it and §5.8 commits to it.
///
/// Every method appends to `out` what is to be sent next. A stream is [`event`](Self::event) (P1) or
/// [`cell`](Self::cell) (P2) as often as needed; any other answer is [`body`](Self::body) once. Then
/// [`res_mac`](Self::res_mac) goes into the receipt, and [`finish`](Self::finish) takes the trailers.
#[derive(Debug)]
pub struct Answer {
    sealer: ResponseSealer,
    mac: Mac,
    /// The plaintext of the chunk being made, kept from chunk to chunk.
    plain: Zeroizing<Vec<u8>>,
    content: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Seals the head into one cell.
    ///
    /// # Errors
    /// [`Unsealable::TooLong`] for a head that does not fit.
    pub fn begin(
        sealer: ResponseSealer,
        blinds: &Blinds,
        status: u16,
        fields: &Fields,
        out: &mut Vec<u8>,
    ) -> Result<Self, Unsealable> {
        let mac = Mac::new(&blinds.response);
        let plain = Zeroizing::new(Vec::with_capacity(CELL_LEN));
        let content = Zeroizing::new(Vec::with_capacity(CELL_LEN));
        let mut answer = Self { sealer, mac, plain, content };
        head_cell(status, fields, &mut answer.plain)?;
        answer.seal_plain(out)?;
        Ok(answer)
    }

    /// Seals one event into a cell of its own, or into several where it is larger (P1).
    ///
    /// # Errors
    /// An answer that has reached its limits.
    pub fn event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), Unsealable> {
        for piece in event.chunks(CELL_CONTENT_LEN) {
            self.content.clear();
            self.content.extend_from_slice(piece);
            fill_with_comment(&mut self.content, CELL_CONTENT_LEN);
            self.seal_content(out)?;
        }
        Ok(())
    }

    /// Seals the content of one cell, as [`Cadence::tick`](crate::Cadence::tick) makes it (P2).
    ///
    /// # Errors
    /// Content of another length than a cell's, and an answer that has reached its limits.
    pub fn cell(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Unsealable> {
        if content.len() != CELL_CONTENT_LEN {
            return Err(Unsealable::TooLong);
        }
        self.content.clear();
        self.content.extend_from_slice(content);
        self.seal_content(out)
    }

    /// Seals a whole JSON value, padded with white space to 4, 16, 64, … KiB.
    ///
    /// # Errors
    /// A value that is too long.
    pub fn body(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Unsealable> {
        let (count, len) = answer_chunks(json.len()).ok_or(Unsealable::TooLong)?;
        // Memory for full chunks at once: what is outgrown is given back with the answer in it.
        self.content = Zeroizing::new(Vec::with_capacity(len));
        self.plain = Zeroizing::new(Vec::with_capacity(PLAINTEXT_MAX));
        let mut pieces = json.chunks(len);
        for _ in 0..count {
            self.content.clear();
            self.content.extend_from_slice(pieces.next().unwrap_or_default());
            self.content.resize(len, b' ');
            self.seal_content(out)?;
        }
        Ok(())
    }

    /// `res_mac` of the answer if its content ends here: the end of the content is covered, the
    /// trailers are not.
    pub fn res_mac(&self) -> Sha256 {
        let (mut mac, mut end) = (self.mac.clone(), Vec::new());
        bhttp::content_end(&mut end);
        mac.update(&end);
        mac.finish()
    }

    /// Seals the end of the content and the trailers into the final chunk.
    ///
    /// # Errors
    /// [`Unsealable::TooLong`] for trailers that do not fit.
    pub fn finish(self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), Unsealable> {
        let Self { sealer, mut plain, .. } = self;
        plain.clear();
        bhttp::content_end(&mut plain);
        bhttp::trailers(trailers, &mut plain);
        if plain.len() > FINAL_LEN {
            return Err(Unsealable::TooLong);
        }
        plain.resize(FINAL_LEN, 0);
        sealer.seal_final(&plain, out)
    }

    fn seal_content(&mut self, out: &mut Vec<u8>) -> Result<(), Unsealable> {
        self.plain.clear();
        bhttp::content_chunk(&self.content, &mut self.plain);
        self.seal_plain(out)
    }

    fn seal_plain(&mut self, out: &mut Vec<u8>) -> Result<(), Unsealable> {
        self.mac.update(&self.plain);
        self.sealer.seal(&self.plain, out)
    }
}

/// A head of exactly [`CELL_LEN`] octets: a field of padding takes what is left.
fn head_cell(status: u16, fields: &Fields, cell: &mut Vec<u8>) -> Result<(), Unsealable> {
    /// Octets of a line of padding before its value's length.
    const LINE: usize = 1 + names::PADDING.len();
    bhttp::response_head(status, fields, cell);
    let Some(mut left) = CELL_LEN.checked_sub(cell.len()) else { return Err(Unsealable::TooLong) };
    let mut padded = fields.clone();
    // A value's length takes one octet below 64 and two from there on, so no value takes 65 with
    // its length; a second line, with an empty value, moves the sum away from there.
    if left == LINE.saturating_add(65) {
        padded.push(names::PADDING, "").map_err(|_| Unsealable::TooLong)?;
        left = left.saturating_sub(LINE.saturating_add(1));
    }
    if left > 0 {
        let room = left.checked_sub(LINE).ok_or(Unsealable::TooLong)?;
        let value = room.checked_sub(if room <= 64 { 1 } else { 2 }).ok_or(Unsealable::TooLong)?;
        padded.push(names::PADDING, vec![b'.'; value]).map_err(|_| Unsealable::TooLong)?;
    }
    cell.clear();
    bhttp::response_head(status, &padded, cell);
    if cell.len() == CELL_LEN { Ok(()) } else { Err(Unsealable::TooLong) }
}
