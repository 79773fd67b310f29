//! One client's line: what is said is padded, sealed, committed to and sent.

use std::sync::Arc;

use attestation::UnixTime;
use attestation::receipt::{FinishReason, Usage};
use channel::{Answer, Blinds, Fields, ResponseSealer, Unsealable, names};

use crate::boot::State;
use crate::event::Outcome;
use crate::openai::ApiError;
use crate::pipe::{Gone, Sender};
use crate::receipts::{Draft, End};

/// Why an answer has no end that the client sees.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    /// There is nobody to send it to.
    Gone,
    /// It cannot be sealed; the client sees a broken connection.
    Unsealable,
}

impl From<Gone> for Stopped {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Unsealable> for Stopped {
    fn from(_: Unsealable) -> Self {
        Self::Unsealable
    }
}

/// Whether a response takes more cells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    /// It does.
    Left,
    /// It has as many as a response may have; the final chunk still fits.
    Full,
}

/// A line whose response has not begun.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    state: &'a Arc<State>,
    sender: Sender,
    sealer: ResponseSealer,
    blinds: Blinds,
    out: Vec<u8>,
    draft: Draft,
}

impl<'a> Line<'a> {
    /// A line; `out` holds what goes before the first chunk.
    pub(crate) const fn new(
        state: &'a Arc<State>,
        sender: Sender,
        sealer: ResponseSealer,
        blinds: Blinds,
        out: Vec<u8>,
        draft: Draft,
    ) -> Self {
        Self { state, sender, sealer, blinds, out, draft }
    }

    pub(crate) const fn state(&self) -> &'a Arc<State> {
        self.state
    }

    pub(crate) const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When the enclave began to act.
    pub(crate) const fn started(&self) -> UnixTime {
        self.draft.started
    }

    /// Seals the head, and sends it.
    pub(crate) async fn open(self, status: u16, media: &str) -> Result<Open<'a>, Stopped> {
        let (open, mut out) = self.begin(status, media, None)?;
        open.sender.send(&mut out).await?;
        Ok(open)
    }

    /// A whole JSON answer.
    pub(crate) async fn whole(
        self,
        status: u16,
        json: &[u8],
        finish: FinishReason,
        usage: Usage,
    ) -> Result<Outcome, Stopped> {
        self.object(status, json, finish, usage, None).await
    }

    async fn object(
        self,
        status: u16,
        json: &[u8],
        finish: FinishReason,
        usage: Usage,
        retry_after: Option<u32>,
    ) -> Result<Outcome, Stopped> {
        let (mut open, mut out) = self.begin(status, "application/json", retry_after)?;
        open.answer.body(json, &mut out)?;
        open.sender.send(&mut out).await?;
        open.finish(finish, usage).await
    }

    /// An error, inside the seal, in the smallest size (`docs/protocol.md` §5.7).
    pub(crate) async fn error(self, error: &ApiError) -> Result<Outcome, Stopped> {
        let (body, usage) = (error.body(), Usage::default());
        self.object(error.status, &body, FinishReason::Error, usage, error.retry_after()).await
    }

    fn begin(
        self,
        status: u16,
        media: &str,
        retry_after: Option<u32>,
    ) -> Result<(Open<'a>, Vec<u8>), Stopped> {
        let Self { state, sender, sealer, blinds, mut out, draft } = self;
        let fields =
            Fields::new().with("content-type", media).and_then(|fields| match retry_after {
                Some(seconds) => fields.with("retry-after", seconds.to_string()),
                None => Ok(fields),
            });
        let fields = fields.map_err(|_| Stopped::Unsealable)?;
        let answer = Answer::begin(sealer, &blinds, status, &fields, &mut out)?;
        Ok((Open { state, sender, draft, answer, out: Vec::new() }, out))
    }
}

/// A line whose response has begun.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    state: &'a Arc<State>,
    sender: Sender,
    draft: Draft,
    answer: Answer,
    out: Vec<u8>,
}

impl Open<'_> {
    pub(crate) const fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Sends one event in cells of its own (P1), and empties it.
    pub(crate) async fn event(&mut self, event: &mut Vec<u8>) -> Result<Room, Stopped> {
        let sealed = self.answer.event(event, &mut self.out);
        zeroize::Zeroize::zeroize(event);
        self.sent(sealed).await
    }

    /// Sends one cell (P2).
    pub(crate) async fn cell(&mut self, cell: &[u8]) -> Result<Room, Stopped> {
        let sealed = self.answer.cell(cell, &mut self.out);
        self.sent(sealed).await
    }

    /// Seals the receipt into the final chunk, and ends the line.
    pub(crate) async fn finish(
        self,
        finish: FinishReason,
        usage: Usage,
    ) -> Result<Outcome, Stopped> {
        let Self { state, sender, draft, answer, mut out } = self;
        let end = End { finish, usage, res_mac: answer.res_mac(), ended: state.clock.now() };
        let receipt = state.receipts.sign(&draft, &end).ok_or(Stopped::Unsealable)?;
        let trailers = Fields::new()
            .with(names::RECEIPT, receipt)
            .and_then(|trailers| trailers.with(names::STATUS, finish.as_str()))
            .map_err(|_| Stopped::Unsealable)?;
        answer.finish(&trailers, &mut out)?;
        sender.send(&mut out).await?;
        sender.end().await?;
        Ok(match finish {
            FinishReason::Stop | FinishReason::Length | FinishReason::None => Outcome::Finished,
            FinishReason::Error => Outcome::Error,
            FinishReason::Aborted => Outcome::Aborted,
        })
    }

    async fn sent(&mut self, sealed: Result<(), Unsealable>) -> Result<Room, Stopped> {
        let room = match sealed {
            Ok(()) => Room::Left,
            Err(Unsealable::Exhausted) => Room::Full,
            Err(_) => return Err(Stopped::Unsealable),
        };
        if !self.out.is_empty() {
            self.sender.send(&mut self.out).await?;
        }
        Ok(room)
    }
}
