//! What hides lengths: request buckets, response cells, and the cadence of streams.
//!
//! | what | plaintext octets, framing included | filled with |
//! |---|---|---|
//! | request | 1, 2, 4, 8, … KiB | zeros after the message (RFC 9292 §3.8) |
//! | head of a response | one cell of 512 | the field `veritee-padding` |
//! | P1: one event | one cell, or several where it is larger | an SSE comment |
//! | P2: one tick of 40 ms | exactly one cell | an SSE comment |
//! | JSON answer | 4, 16, 64, … KiB, in full chunks | white space after the value |
//! | final chunk | 1,024 | zeros after the trailers (RFC 9292 §3.8) |
//!
//! The SDKs that read SSE skip comments and empty lines (`docs/protocol.md` §5.7).

use core::fmt;
use std::collections::VecDeque;

use attestation::Secret;
use zeroize::{Zeroize, Zeroizing};

use crate::chunks::{BYTES_MAX, PLAINTEXT_MAX};

/// Plaintext octets of a cell, framing included (`docs/protocol.md` §5.7).
pub const CELL_LEN: usize = 512;
/// Content octets of a cell: its length takes the other two.
pub const CELL_CONTENT_LEN: usize = CELL_LEN - 2;
/// Plaintext octets of every final chunk: a receipt has some 600 in base64, and room to grow.
pub const FINAL_LEN: usize = 1024;
/// The tick of P2, in milliseconds (`docs/protocol.md` §5.7).
pub const TICK_MS: u64 = 40;

const REQUEST_MIN: usize = 1 << 10;
const ANSWER_MIN: usize = 4 << 10;
/// Room for what an event says besides its text: names, ids and numbers.
const EVENT_ROOM: usize = 1 << 10;
/// The framing of a piece of content that fills a chunk: its length takes two octets.
const CONTENT_LEN_OCTETS: usize = 2;

/// The length that a request message of `len` octets is padded to; none if it is too long to send.
pub fn request_bucket(len: usize) -> Option<usize> {
    len.checked_next_power_of_two().map(|len| len.max(REQUEST_MIN)).filter(|len| *len <= BYTES_MAX)
}

/// How an answer of `len` octets of JSON is sent: how many chunks, and the content octets of each.
/// None if it is too long to send.
pub fn answer_chunks(len: usize) -> Option<(usize, usize)> {
    let mut total = ANSWER_MIN;
    loop {
        let chunk = total.min(PLAINTEXT_MAX);
        let count = total.checked_div(chunk)?;
        let content = chunk.checked_sub(CONTENT_LEN_OCTETS)?;
        if content.checked_mul(count)? >= len {
            return Some((count, content));
        }
        total = total.checked_mul(4).filter(|total| *total <= BYTES_MAX)?;
    }
}

/// Fills `out` up to `len` octets with an SSE comment, or with empty lines where none fits.
///
/// What is in `out` must end with an event's empty line, or be empty.
pub fn fill_with_comment(out: &mut Vec<u8>, len: usize) {
    let missing = len.saturating_sub(out.len());
    if missing >= 3 {
        out.push(b':');
        out.resize(len.saturating_sub(2), b'.');
    }
    out.resize(len, b'\n');
}

/// P2 of `docs/protocol.md` §5.7: what has come since the last tick leaves in one cell per tick.
///
/// It has no clock: the caller ticks every [`TICK_MS`], starting at the first token, until
/// [`is_empty`](Self::is_empty). Text that comes between two ticks is coalesced into one event,
/// which `render` makes; what does not fit a cell leaves with the next.
pub struct Cadence {
    waiting: VecDeque<Waiting>,
    rendered: Secret<Vec<u8>>,
}

enum Waiting {
    Text(Zeroizing<String>),
    Event(Zeroizing<Vec<u8>>),
}

impl Cadence {
    /// Nothing waits.
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new(), rendered: Secret::new(Vec::new()) }
    }

    /// Adds text of the answer.
    pub fn push_text(&mut self, text: &str) {
        if let Some(Waiting::Text(last)) = self.waiting.back_mut() {
            // A string that outgrows its memory leaves a copy behind, so it is replaced instead.
            let joined = Zeroizing::new([last.as_str(), text].concat());
            *last = joined;
        } else {
            self.waiting.push_back(Waiting::Text(Zeroizing::new(text.to_owned())));
        }
    }

    /// Adds an event that is not coalesced, in its place after the text before it.
    pub fn push_event(&mut self, event: &[u8]) {
        self.waiting.push_back(Waiting::Event(Zeroizing::new(event.to_vec())));
    }

    /// Whether nothing waits, so that no further tick is needed.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.rendered.expose().is_empty()
    }

    /// Puts the content of this tick's cell, [`CELL_CONTENT_LEN`] octets, into `cell`.
    pub fn tick(&mut self, mut render: impl FnMut(&str, &mut Vec<u8>), cell: &mut Vec<u8>) {
        while self.rendered.expose().len() < CELL_CONTENT_LEN {
            match self.waiting.pop_front() {
                Some(Waiting::Text(text)) => {
                    // JSON writes an octet in six at most; what outgrows its memory is left behind.
                    self.rendered.reserve(text.len().saturating_mul(6).saturating_add(EVENT_ROOM));
                    render(&text, self.rendered.expose_mut());
                }
                Some(Waiting::Event(event)) => self.rendered.append(&event),
                None => break,
            }
        }
        cell.clear();
        cell.reserve(CELL_CONTENT_LEN);
        let rendered = self.rendered.expose_mut();
        let len = rendered.len().min(CELL_CONTENT_LEN);
        cell.extend(rendered.drain(..len));
        fill_with_comment(cell, CELL_CONTENT_LEN);
    }
}

impl Default for Cadence {
    fn default() -> Self {
        Self::new()
    }
}

impl Zeroize for Cadence {
    fn zeroize(&mut self) {
        self.waiting.clear();
        self.rendered.expose_mut().zeroize();
    }
}

impl fmt::Debug for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cadence(..)")
    }
}
