//! The answer to an opened request: everything from here on travels inside the seal.
//!
//! `docs/protocol.md` §5.7 says how answers are padded, §5.8 what the receipt commits to: `req_mac`
//! covers the message before its padding (all of the plaintext where it is no message), `par_mac`
//! the parameters as asked for ([`Parameters::default`] where the request has none).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use attestation::Secret;
use attestation::receipt::{FinishReason, Parameters, Usage};
use channel::padding::{CELL_CONTENT_LEN, TICK_MS, fill_with_comment};
use channel::{Cadence, Opened};
use engine::{Engine, EngineError, Generation, Order, Request};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use upstream::Route;
use zeroize::{Zeroize as _, Zeroizing};

use crate::boot::{Backend, State};
use crate::choices::{self, Choices, Happening, Piece, finish_name, receipt_finish};
use crate::config::Padding;
use crate::epochs::Epoch;
use crate::event::{DurationBucket, Event, Outcome, RequestId};
use crate::front;
use crate::inner::{Address, Ask, Inner};
use crate::keys::random;
use crate::limits::Lease;
use crate::line::{Line, Room, Stopped};
use crate::openai::{
    self, ApiError, Asked, ChatRequest, CompletionRequest, Delivery, Form, Telling, Tokens, Whole,
};
use crate::pipe::Sender;
use crate::receipts::{self, Draft};
use crate::vectors;

/// An opened request and what it holds while it is answered.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: RequestId,
    pub(crate) state: Arc<State>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) opened: Opened,
    pub(crate) lease: Lease,
    pub(crate) place: OwnedSemaphorePermit,
}

/// Answers a request, and says in the log how that ended.
pub(crate) async fn answer(job: Job, sender: Sender) {
    let Job { id, state, epoch, opened, lease, place } = job;
    let before = Instant::now();
    let answered = respond(&state, &epoch, opened, lease, sender).await;
    let outcome = answered.unwrap_or_else(|stopped| match stopped {
        Stopped::Gone => Outcome::Abandoned,
        Stopped::Unsealable => Outcome::Aborted,
    });
    let took = before.elapsed();
    state.metrics.answered(outcome, took);
    Event::Answered { request: id, outcome, took: DurationBucket::of(took) }.emit();
    drop(place);
}

async fn respond(
    state: &Arc<State>,
    epoch: &Epoch,
    opened: Opened,
    lease: Lease,
    sender: Sender,
) -> Result<Outcome, Stopped> {
    let Opened { request_digest, plaintext, reply, blinds } = opened;
    let started = state.clock.now();
    let address = Address {
        authority: &state.authority,
        binding: epoch.binding(),
        unbound: state.config.unbound,
        names: &state.names,
    };
    let Inner { ask, bound, message_len, content } = Inner::read(plaintext.expose(), &address);
    let message = plaintext.expose().get(..message_len).unwrap_or_default();
    let none = Parameters::default();
    let parameters = ask.as_ref().ok().and_then(Ask::parameters).unwrap_or(&none);
    let draft = Draft {
        binding: epoch.binding(),
        request: request_digest,
        req_mac: receipts::req_mac(&blinds, message),
        par_mac: receipts::par_mac(&blinds, parameters),
        bound,
        started,
    };
    drop((plaintext, lease));
    let (sealer, out) = reply.into_sealer(&random());
    let line = Line::new(state, sender, sealer, blinds, out, draft);
    match ask {
        Err(error) => line.error(&error).await,
        Ok(Ask::Models) => {
            let json = openai::models(&state.names, state.started);
            line.whole(200, &json, FinishReason::None, Usage::default()).await
        }
        Ok(Ask::Chat { request, tenant }) => match &state.backend {
            Backend::Engine(engine) => {
                drop(content);
                chat(line, engine, *request, tenant).await
            }
            Backend::Upstream(upstream) => {
                let asked = request.asked;
                front::answer(line, upstream, Route::Chat, asked, content, tenant).await
            }
        },
        Ok(Ask::Completion { request, tenant }) => match &state.backend {
            Backend::Engine(engine) => {
                drop(content);
                continuation(line, engine, *request, tenant).await
            }
            Backend::Upstream(upstream) => {
                let asked = request.asked;
                front::answer(line, upstream, Route::Completions, asked, content, tenant).await
            }
        },
        Ok(Ask::Embedding { request, tenant }) => match &state.backend {
            Backend::Engine(engine) => {
                drop(content);
                vectors::answer(line, engine, request, tenant, deadline(state)).await
            }
            Backend::Upstream(_) => {
                line.error(&ApiError::resource_unsupported("/v1/embeddings")).await
            }
        },
    }
}

async fn chat(
    line: Line<'_>,
    engine: &Arc<dyn Engine>,
    request: ChatRequest,
    tenant: [u8; 32],
) -> Result<Outcome, Stopped> {
    let ChatRequest { messages, tools, order, asked } = request;
    let order = Order { tenant, ..order };
    let request = Request { messages, tools, order };
    generate(line, engine, Form::Chat, asked, move |engine, seed| {
        engine.start(request.with_seed(seed))
    })
    .await
}

async fn continuation(
    line: Line<'_>,
    engine: &Arc<dyn Engine>,
    request: CompletionRequest,
    tenant: [u8; 32],
) -> Result<Outcome, Stopped> {
    let CompletionRequest { prompt, order, asked } = request;
    let order = Order { tenant, ..order };
    let request = engine::Completion { prompt, order };
    generate(line, engine, Form::Text, asked, move |engine, seed| {
        engine.complete(request.with_seed(seed))
    })
    .await
}

/// Answers with what the generations that `start` starts, one for a seed, come to.
async fn generate(
    line: Line<'_>,
    engine: &Arc<dyn Engine>,
    form: Form,
    asked: Asked,
    start: impl Fn(&dyn Engine, u64) -> Result<Generation, EngineError> + Send + 'static,
) -> Result<Outcome, Stopped> {
    let Asked { seed, choices, delivery, parameters } = asked;
    let seed = seed.unwrap_or_else(|| u64::from_ne_bytes(random()));
    let deadline = deadline(line.state());
    let Parameters { model, logprobs, .. } = parameters;
    let id = random();
    let (state, started) = (Arc::clone(line.state()), line.started());
    let completion = openai::Completion::new(form, id, started, &model, &state.fingerprint);
    let engine = Arc::clone(engine);
    // Rendering and counting a long prompt takes a while. Where one is refused, the others are dropped.
    let begun = tokio::task::spawn_blocking(move || {
        (0..choices).map(|choice| start(&*engine, choices::seed(seed, choice))).collect()
    });
    let generations: Vec<Generation> = match begun.await {
        Ok(Ok(generations)) => generations,
        Ok(Err(error)) => {
            let error = ApiError::from(error);
            let error = if form == Form::Text { error.with_text_in("prompt") } else { error };
            return line.error(&error).await;
        }
        Err(_) => return line.error(&ApiError::internal()).await,
    };
    let choices = Choices::new(generations, deadline);
    let completion = if logprobs { completion.with_logprobs() } else { completion };
    match (delivery, state.config.padding) {
        (Delivery::Whole, _) => whole(line, &completion, choices).await,
        (Delivery::Stream(usage), padding) => {
            let included = usage == openai::Usage::Included;
            let completion = if included { completion.with_usage() } else { completion };
            match padding {
                Padding::P1 => stream(line, &completion, included, choices).await,
                Padding::P2 => paced(line, &completion, included, choices).await,
            }
        }
    }
}

/// When an answer that is asked for now must have ended. An hour at most: no clock ends before.
fn deadline(state: &State) -> Instant {
    let now = Instant::now();
    now.checked_add(state.config.limits.answer).unwrap_or(now)
}

/// One JSON object, once the generations have ended.
async fn whole(
    line: Line<'_>,
    completion: &openai::Completion,
    mut choices: Choices,
) -> Result<Outcome, Stopped> {
    let mut wholes: Vec<Whole> = (0..choices.count()).map(|_| Whole::default()).collect();
    let ended = loop {
        match choices.next(line.sender()).await? {
            Happening::More(choice, piece) => {
                let at = usize::try_from(choice).unwrap_or(usize::MAX);
                let Some(whole) = wholes.get_mut(at) else { continue };
                match piece {
                    Piece::Text(text, logprobs) => {
                        whole.text.append(text.expose());
                        whole.logprobs.extend(logprobs);
                    }
                    Piece::Call(call, id) => whole.call(call, id),
                }
            }
            Happening::Ended(ended) => break ended,
        }
    };
    match ended {
        Ok(finishes) => {
            for (whole, finish) in wholes.iter_mut().zip(&finishes) {
                whole.finish = finish_name(*finish);
            }
            let usage = choices.usage();
            let json = completion.whole(&wholes, Tokens::of(usage));
            let json = Secret::new(json);
            line.whole(200, json.expose(), receipt_finish(&finishes), usage).await
        }
        Err(error) => line.error(&error.into()).await,
    }
}

/// P1: every event leaves at once, in cells of its own.
async fn stream(
    line: Line<'_>,
    completion: &openai::Completion,
    with_usage: bool,
    mut choices: Choices,
) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
    for choice in 0..choices.count() {
        completion.role_event(choice, &mut event);
        if !event.is_empty() {
            open.event(&mut event).await?;
        }
    }
    let mut tellings: Vec<Telling> = (0..choices.count()).map(Telling::new).collect();
    let ended = loop {
        match choices.next(open.sender()).await? {
            Happening::More(choice, piece) => {
                tell(completion, &mut tellings, choice, &piece, &mut event);
                if completion.has_logprobs() {
                    fill_cells(&mut event);
                }
                if open.event(&mut event).await? == Room::Full {
                    break Err(EngineError::Crashed);
                }
            }
            Happening::Ended(ended) => break ended,
        }
    };
    let last = last_events(completion, with_usage, choices.usage(), ended);
    drop(choices);
    for mut each in last.events {
        open.event(&mut each).await?;
    }
    open.finish(last.finish, last.usage).await
}

/// The event of a piece.
fn tell(
    completion: &openai::Completion,
    tellings: &mut [Telling],
    choice: u32,
    piece: &Piece,
    event: &mut Vec<u8>,
) {
    let at = usize::try_from(choice).unwrap_or(usize::MAX);
    let Some(telling) = tellings.get_mut(at) else { return };
    match piece {
        Piece::Text(text, logprobs) => {
            completion.text_event(telling, text.expose(), logprobs, event);
        }
        Piece::Call(call, id) => completion.call_event(choice, call, id.as_deref(), event),
    }
}

/// P2: one cell per tick from the first token on, whatever has come.
async fn paced(
    line: Line<'_>,
    completion: &openai::Completion,
    with_usage: bool,
    mut choices: Choices,
) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let mut cadence = Zeroizing::new(Cadence::new());
    let mut batches = Batches::of(choices.count());
    // Text alone needs no batches: it is cut to fill the cells.
    let text_alone = choices.count() == 1 && !completion.has_logprobs();
    let mut cell = Zeroizing::new(Vec::new());
    let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
    for choice in 0..choices.count() {
        event.zeroize();
        completion.role_event(choice, &mut event);
        cadence.push_event(&event);
    }
    let mut ticks: Option<Interval> = None;
    let mut last: Option<Last> = None;
    loop {
        let happened = tokio::select! {
            biased;
            () = tick(ticks.as_mut()) => None,
            event = choices.next(open.sender()), if last.is_none() => Some(event?),
            () = open.sender().gone() => return Err(Stopped::Gone),
        };
        let ended = match happened {
            None => {
                if cadence.is_empty() {
                    batches.leave(1, completion, &mut cadence);
                }
                cadence.tick(|text, out| completion.delta_event(text, out), &mut cell);
                let full = open.cell(&cell).await? == Room::Full;
                if let Some(last) = last.take_if(|_| full || cadence.is_empty()) {
                    return open.finish(last.finish, last.usage).await;
                }
                if full { Some(Err(EngineError::Crashed)) } else { None }
            }
            Some(Happening::More(_, Piece::Text(text, _))) if text_alone && batches.is_empty() => {
                cadence.push_text(text.expose());
                None
            }
            Some(Happening::More(choice, piece)) => {
                batches.push(choice, piece);
                None
            }
            Some(Happening::Ended(ended)) => Some(ended),
        };
        ticks.get_or_insert_with(ticking);
        if let Some(ended) = ended {
            let ends = last_events(completion, with_usage, choices.usage(), ended);
            batches.leave(usize::MAX, completion, &mut cadence);
            ends.events.iter().for_each(|event| cadence.push_event(event));
            last = Some(ends);
        }
    }
}

/// What waits for its tick and cannot be cut: text with the likelihoods of its tokens, or of several
/// choices.
///
/// It is coalesced as text alone is, but not without end: a client takes events of some length only.
struct Batches {
    waiting: VecDeque<(u32, Piece)>,
    tellings: Vec<Telling>,
}

impl Batches {
    fn of(choices: u32) -> Self {
        Self { waiting: VecDeque::new(), tellings: (0..choices).map(Telling::new).collect() }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, choice: u32, piece: Piece) {
        match (self.waiting.back_mut(), piece) {
            (Some((last, Piece::Text(text, entries))), Piece::Text(more, likely))
                if *last == choice
                    && entries.len() < BATCH_TOKENS
                    && text.expose().len() < BATCH_LEN =>
            {
                text.append(more.expose());
                entries.extend(likely);
            }
            (Some((last, Piece::Call(call, _))), Piece::Call(more, None))
                if *last == choice
                    && call.index == more.index
                    && call.arguments.expose().len() < BATCH_LEN =>
            {
                call.arguments.append(more.arguments.expose());
            }
            (_, piece) => self.waiting.push_back((choice, piece)),
        }
    }

    /// Moves the oldest so many, an event each.
    fn leave(&mut self, count: usize, completion: &openai::Completion, cadence: &mut Cadence) {
        let count = count.min(self.waiting.len());
        for (choice, piece) in self.waiting.drain(..count) {
            let mut event = Zeroizing::new(Vec::new());
            tell(completion, &mut self.tellings, choice, &piece, &mut event);
            cadence.push_event(&event);
        }
    }
}

/// Fills an event up to 1, 2, 4, 8, … cells: the alternatives' lengths would show in their number.
pub(crate) fn fill_cells(event: &mut Vec<u8>) {
    let cells = event.len().div_ceil(CELL_CONTENT_LEN).next_power_of_two();
    let len = cells.saturating_mul(CELL_CONTENT_LEN);
    let mut filled = Vec::with_capacity(len);
    filled.extend_from_slice(event);
    fill_with_comment(&mut filled, len);
    event.zeroize();
    *event = filled;
}

/// How a stream ends: its last events, and what the receipt says.
struct Last {
    events: Vec<Zeroizing<Vec<u8>>>,
    finish: FinishReason,
    usage: Usage,
}

fn last_events(
    completion: &openai::Completion,
    with_usage: bool,
    usage: Usage,
    ended: Result<Vec<engine::FinishReason>, EngineError>,
) -> Last {
    let event = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
        write(&mut event);
        event
    };
    match ended {
        Ok(finishes) => {
            let mut events: Vec<_> = (0..)
                .zip(&finishes)
                .map(|(choice, finish)| {
                    event(&|out| completion.finish_event(choice, finish_name(*finish), out))
                })
                .collect();
            if with_usage {
                events.push(event(&|out| completion.usage_event(Tokens::of(usage), out)));
            }
            events.push(event(&|out| out.extend_from_slice(openai::DONE)));
            Last { events, finish: receipt_finish(&finishes), usage }
        }
        Err(error) => {
            let error = ApiError::from(error);
            let events = vec![event(&|out| openai::error_event(&error, out))];
            Last { events, finish: FinishReason::Aborted, usage }
        }
    }
}

pub(crate) fn ticking() -> Interval {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The next tick; never, before the first token.
pub(crate) async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Room for an event without growing: tokens are short.
const EVENT_LEN: usize = 2048;
/// Tokens of an event of P2 to which no more are added: with their alternatives some 100 KiB at most.
const BATCH_TOKENS: usize = 16;
/// Octets of text of an event of P2 to which no more is added.
const BATCH_LEN: usize = 256;
