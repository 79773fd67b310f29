//! The answer: opened as it arrives, and finished only when everything has verified.
//!
//! What says that an answer is finished (finish reason, usage, `[DONE]`, a body that is not
//! streamed) is held back until the final chunk has authenticated and the receipt has verified
//! (`docs/protocol.md` §5.7).

use core::fmt;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use attestation::receipt::{FinishReason, Parameters};
use attestation::{Malformed, NodeId, UnixTime, Unverified};
use channel::names;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use seal::OpenStream;
use tokio::time::{Instant, timeout};
use verifier::receipt::{Claim, ReceiptRefused, Transcript, VerifiedReceipt};

use crate::attest::Enclave;
use crate::error::Error;
use crate::openai::{Event, Outline, Request};
use crate::sse::EventReader;

/// An answer whose head has authenticated.
#[derive(Debug)]
pub enum Answer {
    /// A stream of events.
    Stream(Box<AnswerStream>),
    /// Everything else: whole, and verified already.
    Whole(Box<WholeAnswer>),
}

/// An answer that was not streamed, whole and verified.
pub struct WholeAnswer {
    status: u16,
    retry_after: Option<u32>,
    body: Vec<u8>,
    id: Option<String>,
    closing: Closing,
}

impl WholeAnswer {
    /// The status that the enclave gave.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// When to ask again, in seconds, where the enclave says so.
    pub const fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The JSON body, without the padding after it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The completion's id, where the answer has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What closed the answer.
    pub const fn closing(&self) -> &Closing {
        &self.closing
    }

    /// What the enclave said against the request.
    pub(crate) fn into_refusal(self) -> Error {
        let outline = Outline::read(&self.body).unwrap_or_default();
        let message = outline.error.unwrap_or_else(|| "gave no stream and no reason".to_owned());
        Error::Declined { status: self.status, message }
    }
}

impl fmt::Debug for WholeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeAnswer")
            .field("status", &self.status)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// The proof that an answer is the enclave's, whole.
#[derive(Clone, Debug)]
pub struct Closing {
    receipt: VerifiedReceipt,
    signed: Vec<u8>,
    node_id: NodeId,
}

impl Closing {
    /// The receipt, which the attested key signed.
    pub const fn receipt(&self) -> &VerifiedReceipt {
        &self.receipt
    }

    /// The receipt's exact bytes, a `COSE_Sign1`.
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The enclave that answered.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }
}

/// A streamed answer that is arriving.
///
/// Every event is what the enclave sent in that position. The end of the stream, `Ok(None)`, comes
/// only after everything has verified; an error means that what came before is not a whole answer.
/// Dropping it cancels the generation.
pub struct AnswerStream {
    arriving: Option<Box<Arriving>>,
    parameters: Option<Parameters>,
    events: EventReader,
    ready: VecDeque<Event>,
    held: VecDeque<Event>,
    id: Option<String>,
    finish: Option<String>,
    usage: Option<attestation::receipt::Usage>,
    aborted: Option<String>,
    failed: Option<Error>,
    closing: Option<Closing>,
    enclave: Arc<Enclave>,
}

impl AnswerStream {
    /// The next event; none after the last one, once everything has verified.
    ///
    /// # Errors
    /// The answer broke, or does not verify. Every further call says so again.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let Some(arriving) = &mut self.arriving else { return Ok(None) };
            let step = match arriving.next().await {
                Ok(Some(events)) => self.take(&events),
                // What authenticated before the break is still the enclave's, in its position.
                Err((events, error)) => self.take(&events).and(Err(error)),
                Ok(None) => self.close(),
            };
            if let Err(error) = step {
                self.fail(error);
            }
        }
    }

    /// The enclave that answers.
    pub const fn enclave(&self) -> &Arc<Enclave> {
        &self.enclave
    }

    /// The completion's id, once an event has named it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What closed the answer, once it is whole and verified.
    pub const fn closing(&self) -> Option<&Closing> {
        self.closing.as_ref()
    }

    fn take(&mut self, pieces: &[seal::Event]) -> Result<(), Error> {
        for piece in pieces {
            // The head was taken before the stream was made, and there is one.
            let seal::Event::Content(octets) = piece else { continue };
            let mut events = Vec::new();
            self.events.push(octets, |data| events.push(Event::new(data)))?;
            events.into_iter().try_for_each(|event| self.sort(event))?;
        }
        Ok(())
    }

    /// Shows an event at once, or holds it back with everything after it.
    fn sort(&mut self, event: Event) -> Result<(), Error> {
        let outline = Outline::read(event.data())
            .ok_or(Malformed::invalid("answer event", "is not of the OpenAI API"))?;
        let Outline { id, finish, usage, error, finishes } = outline;
        self.id = self.id.take().or(id);
        self.finish = self.finish.take().or(finish);
        self.usage = self.usage.take().or(usage);
        self.aborted = self.aborted.take().or(error);
        if self.held.len() >= HELD_MAX {
            return Err(Malformed::TooLong { what: "end of the answer", limit: HELD_MAX }.into());
        }
        if finishes || !self.held.is_empty() {
            self.held.push_back(event);
        } else {
            self.ready.push_back(event);
        }
        Ok(())
    }

    /// The body has ended: verifies everything, then lets go of what was held back.
    fn close(&mut self) -> Result<(), Error> {
        let Some(arriving) = self.arriving.take() else { return Ok(()) };
        let (rest, closing) = arriving.finish(200, self.parameters.as_ref())?;
        self.take(&rest)?;
        let claims = closing.receipt.receipt();
        if let Some(why) = self.aborted.take() {
            return Err(Error::Aborted(why));
        }
        agree(
            claims.finish,
            self.finish.as_deref(),
            self.usage == Some(claims.usage) || self.usage.is_none(),
        )?;
        if !self.events.is_between_events() || !self.held.back().is_some_and(Event::is_done) {
            return Err(Error::Broken {
                code: "answer-unfinished",
                why: "the answer is authentic and does not say that it is finished".to_owned(),
            });
        }
        self.closing = Some(closing);
        self.ready.append(&mut self.held);
        Ok(())
    }

    fn fail(&mut self, error: Error) {
        self.arriving = None;
        self.held.clear();
        self.failed = Some(error);
    }
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream")
            .field("enclave", &self.enclave.node_id())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// A sealed response on its way.
pub(crate) struct Arriving {
    body: Incoming,
    open: OpenStream,
    /// The longest wait for the next chunk.
    idle: Duration,
    /// How long this chunk was waited for: octets that complete none are no answer.
    waited: Duration,
    enclave: Arc<Enclave>,
    sealed_at: UnixTime,
}

/// In which form an answer comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// As events.
    Stream,
    /// As one object, with this status.
    Whole(u16),
}

impl Form {
    /// Who asked for one object is shown nothing before all of it has verified, whatever comes.
    fn of(status: u16, media_type: &[u8], asked_for_stream: bool) -> Result<Self, Malformed> {
        if status != 200 || !media_type.starts_with(b"text/event-stream") {
            return Ok(Self::Whole(status));
        }
        if asked_for_stream {
            return Ok(Self::Stream);
        }
        Err(Malformed::invalid("answer", "is a stream, which nobody asked for"))
    }
}

/// What authenticated before the response broke, and why it broke.
type BrokeOff = (Vec<seal::Event>, Error);

impl Arriving {
    pub(crate) fn new(
        body: Incoming,
        open: OpenStream,
        idle: Duration,
        enclave: Arc<Enclave>,
        sealed_at: UnixTime,
    ) -> Self {
        Self { body, open, idle, waited: Duration::ZERO, enclave, sealed_at }
    }

    /// Reads the head, and with it the rest of an answer that is not streamed.
    pub(crate) async fn into_answer(
        mut self: Box<Self>,
        request: &Request,
    ) -> Result<Answer, Error> {
        let parameters = request.parameters.clone();
        let mut pieces = VecDeque::new();
        let (form, retry_after) = loop {
            match pieces.pop_front() {
                Some(seal::Event::Head { status, fields }) => {
                    let media_type = fields.only("content-type")?.unwrap_or_default();
                    let form = Form::of(status, media_type, request.is_stream())?;
                    break (form, seconds(fields.only("retry-after")?));
                }
                Some(_) => return Err(Error::Bug("a response without a head")),
                None => match self.next().await {
                    Ok(Some(events)) => pieces.extend(events),
                    Err((_, error)) => return Err(error),
                    Ok(None) => {
                        // A response that is whole has a head; this gives the reason why it is not.
                        self.finish(0, None)?;
                        return Err(Error::Bug("a whole response without a head"));
                    }
                },
            }
        };
        let pieces: Vec<_> = pieces.into();
        let Form::Whole(status) = form else {
            let enclave = Arc::clone(&self.enclave);
            let mut stream = AnswerStream {
                arriving: Some(self),
                parameters,
                events: EventReader::new(),
                ready: VecDeque::new(),
                held: VecDeque::new(),
                id: None,
                finish: None,
                usage: None,
                aborted: None,
                failed: None,
                closing: None,
                enclave,
            };
            if let Err(error) = stream.take(&pieces) {
                stream.fail(error);
            }
            return Ok(Answer::Stream(Box::new(stream)));
        };
        let mut answer = self.into_whole(status, &pieces, parameters).await?;
        answer.retry_after = retry_after;
        Ok(Answer::Whole(Box::new(answer)))
    }

    async fn into_whole(
        mut self: Box<Self>,
        status: u16,
        pieces: &[seal::Event],
        parameters: Option<Parameters>,
    ) -> Result<WholeAnswer, Error> {
        let mut body = Vec::new();
        append(&mut body, pieces)?;
        // The head may arrive alone: only the end of the body ends it.
        while let Some(events) = self.next().await.map_err(|(_, error)| error)? {
            append(&mut body, &events)?;
        }
        let (rest, closing) = self.finish(status, parameters.as_ref())?;
        append(&mut body, &rest)?;
        body.truncate(body.trim_ascii_end().len());
        let outline =
            Outline::read(&body).ok_or(Malformed::invalid("answer", "is not of the OpenAI API"))?;
        let claims = closing.receipt.receipt();
        if status == 200 {
            let usage = outline.usage.is_none_or(|usage| usage == claims.usage);
            agree(claims.finish, outline.finish.as_deref(), usage)?;
        }
        Ok(WholeAnswer { status, retry_after: None, body, id: outline.id, closing })
    }

    /// The next pieces that authenticate; none at the end of the body.
    async fn next(&mut self) -> Result<Option<Vec<seal::Event>>, BrokeOff> {
        let start = Instant::now();
        let left = self.idle.saturating_sub(self.waited);
        let frame = timeout(left, self.body.frame()).await.map_err(|_| {
            (Vec::new(), Error::unreachable("waiting for the answer", "nothing came in time"))
        })?;
        self.waited = self.waited.saturating_add(start.elapsed());
        let data = match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err((Vec::new(), Error::ConnectionDied)),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let mut events = Vec::new();
        match self.open.push(&data, &mut events) {
            Ok(()) => {
                if !events.is_empty() {
                    self.waited = Duration::ZERO;
                }
                Ok(Some(events))
            }
            Err(broken) => Err((events, broke(&broken))),
        }
    }

    /// Verifies the end of the response and its receipt.
    fn finish(
        self: Box<Self>,
        status: u16,
        parameters: Option<&Parameters>,
    ) -> Result<(Vec<seal::Event>, Closing), Error> {
        let Self { open, enclave, sealed_at, .. } = *self;
        let seal::Finished { events, trailers, transcript } =
            open.finish().map_err(|broken| broke(&broken))?;
        let missing = |why: &str| Error::Receipt { code: "receipt-missing", why: why.to_owned() };
        let text = trailers
            .only(names::RECEIPT)?
            .ok_or_else(|| missing("the answer came without a receipt"))?;
        let signed = decode(text).ok_or_else(|| missing("the receipt is not base64"))?;
        let keys = enclave.keys();
        let check = |parameters: &Parameters| {
            let expected = Transcript {
                binding_id: keys.binding_id(),
                request: transcript.request,
                req_mac: transcript.req_mac,
                res_mac: transcript.res_mac,
                par_mac: transcript.par_mac(&parameters.encode()),
                manifest: *keys.manifest_digest(),
            };
            let signed = Unverified::new(signed.clone());
            verifier::receipt::verify(&signed, keys.receipts(), &expected, sealed_at)
        };
        let nothing = Parameters::default();
        let mut verified = check(parameters.unwrap_or(&nothing));
        // What was refused may have been refused before its parameters were read.
        let other =
            matches!(verified, Err(ReceiptRefused::Mismatch { claim: Claim::Parameters, .. }));
        if other && status != 200 {
            verified = check(&nothing);
        }
        let receipt = verified
            .map_err(|refused| Error::Receipt { code: refused.code(), why: refused.to_string() })?;
        Ok((events, Closing { receipt, signed, node_id: enclave.node_id() }))
    }
}

impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arriving").field("enclave", &self.enclave.node_id()).finish_non_exhaustive()
    }
}

/// What the answer says of its end must be what the receipt says.
fn agree(claimed: FinishReason, shown: Option<&str>, same_usage: bool) -> Result<(), Error> {
    match claimed {
        FinishReason::Aborted => {
            return Err(Error::Aborted("the receipt says that it is not whole".to_owned()));
        }
        FinishReason::None if shown.is_none() => {}
        FinishReason::Stop | FinishReason::Length if shown == Some(claimed.as_str()) => {}
        // An answer that ends with calls ends by itself.
        FinishReason::Stop if shown == Some("tool_calls") => {}
        FinishReason::Stop | FinishReason::Length | FinishReason::None | FinishReason::Error => {
            return Err(Error::Receipt {
                code: "receipt-finish-mismatch",
                why: format!(
                    "the receipt says that the answer ended with {:?}, the answer says {:?}",
                    claimed.as_str(),
                    shown.unwrap_or("nothing")
                ),
            });
        }
    }
    if same_usage {
        return Ok(());
    }
    Err(Error::Receipt {
        code: "receipt-usage-mismatch",
        why: "the receipt counts other tokens than the answer".to_owned(),
    })
}

fn append(body: &mut Vec<u8>, pieces: &[seal::Event]) -> Result<(), Error> {
    for piece in pieces {
        let seal::Event::Content(octets) = piece else { continue };
        if body.len().saturating_add(octets.len()) > BODY_LEN_MAX {
            return Err(Malformed::TooLong { what: "answer", limit: BODY_LEN_MAX }.into());
        }
        body.extend_from_slice(octets);
    }
    Ok(())
}

fn broke(broken: &seal::Broken) -> Error {
    Error::Broken { code: broken.code(), why: broken.to_string() }
}

/// The value of a `retry-after` that counts seconds; the other form needs a clock that both trust.
fn seconds(value: Option<&[u8]>) -> Option<u32> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// Longest answer that is not streamed: far more text than any context holds.
const BODY_LEN_MAX: usize = 16 << 20;

/// Most events that are held back: finish reason, usage and `[DONE]`, and room for more choices.
const HELD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_shown_to_those_alone_who_asked_for_them() {
        let (events, json) = (&b"text/event-stream; charset=utf-8"[..], &b"application/json"[..]);
        for (status, media_type, asked, expected) in [
            (200, events, true, Some(Form::Stream)),
            (200, events, false, None),
            (200, json, true, Some(Form::Whole(200))),
            (200, json, false, Some(Form::Whole(200))),
            (500, events, true, Some(Form::Whole(500))),
            (200, &[], true, Some(Form::Whole(200))),
        ] {
            assert_eq!(Form::of(status, media_type, asked).ok(), expected, "{status} {asked}");
        }
    }

    #[test]
    fn an_answer_and_its_receipt_agree_on_the_end() {
        use FinishReason::{Aborted, Error as Failed, Length, None as Nothing, Stop};
        for (claimed, shown, same_usage, expected) in [
            (Stop, Some("stop"), true, None),
            (Stop, Some("tool_calls"), true, None),
            (Length, Some("tool_calls"), true, Some("receipt-finish-mismatch")),
            (Length, Some("length"), true, None),
            (Nothing, None, true, None),
            (Stop, Some("length"), true, Some("receipt-finish-mismatch")),
            (Stop, None, true, Some("receipt-finish-mismatch")),
            (Nothing, Some("stop"), true, Some("receipt-finish-mismatch")),
            (Failed, Some("error"), true, Some("receipt-finish-mismatch")),
            (Stop, Some("stop"), false, Some("receipt-usage-mismatch")),
            (Aborted, Some("stop"), true, Some("answer-aborted")),
            (Aborted, Some("aborted"), true, Some("answer-aborted")),
        ] {
            let error = agree(claimed, shown, same_usage).err();
            assert_eq!(error.as_ref().map(Error::code), expected, "{claimed:?} {shown:?}");
        }
    }
}
