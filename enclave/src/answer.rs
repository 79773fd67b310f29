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
use engine::{Engine, EngineError, Generation, GenerationEvent, Request, Sampling, TokenLogprobs};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use zeroize::{Zeroize as _, Zeroizing};

use crate::boot::State;
use crate::config::Padding;
use crate::epochs::Epoch;
use crate::event::{DurationBucket, Event, Outcome, RequestId};
use crate::inner::{Address, Ask, Inner};
use crate::keys::random;
use crate::limits::Lease;
use crate::line::{Line, Room, Stopped};
use crate::openai::{self, ApiError, ChatRequest, CompletionRequest, Delivery, Form, Tokens};
use crate::pipe::{Gone, Sender};
use crate::receipts::{self, Draft};

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
    let Inner { ask, bound, message_len } = Inner::read(plaintext.expose(), &address);
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
        Ok(Ask::Chat { request, tenant }) => chat(line, *request, tenant).await,
        Ok(Ask::Completion { request, tenant }) => continuation(line, *request, tenant).await,
    }
}

async fn chat(line: Line<'_>, request: ChatRequest, tenant: [u8; 32]) -> Result<Outcome, Stopped> {
    let ChatRequest { messages, sampling, seeded, max_tokens, logprobs, delivery, parameters } =
        request;
    let asked = Asked { form: Form::Chat, sampling, seeded, delivery, parameters };
    generate(line, asked, move |engine, sampling, stop| {
        engine.start(Request { messages, sampling, max_tokens, stop, logprobs, tenant })
    })
    .await
}

async fn continuation(
    line: Line<'_>,
    request: CompletionRequest,
    tenant: [u8; 32],
) -> Result<Outcome, Stopped> {
    let CompletionRequest { prompt, sampling, seeded, max_tokens, delivery, parameters } = request;
    let asked = Asked { form: Form::Text, sampling, seeded, delivery, parameters };
    let max_tokens = Some(max_tokens);
    generate(line, asked, move |engine, sampling, stop| {
        let logprobs = None;
        engine.complete(engine::Completion { prompt, sampling, max_tokens, stop, logprobs, tenant })
    })
    .await
}

/// What matters of a request once its words are the engine's.
struct Asked {
    form: Form,
    sampling: Sampling,
    seeded: bool,
    delivery: Delivery,
    parameters: Parameters,
}

/// Answers with what the generation that `start` starts comes to.
async fn generate(
    line: Line<'_>,
    asked: Asked,
    start: impl FnOnce(&dyn Engine, Sampling, Vec<String>) -> Result<Generation, EngineError>
    + Send
    + 'static,
) -> Result<Outcome, Stopped> {
    let Asked { form, mut sampling, seeded, delivery, parameters } = asked;
    if !seeded {
        sampling.seed = u64::from_ne_bytes(random());
    }
    let Parameters { model, stop, logprobs, .. } = parameters;
    let id = random();
    let (state, started) = (Arc::clone(line.state()), line.started());
    let completion = openai::Completion::new(form, id, started, &model, &state.fingerprint);
    let engine = Arc::clone(&state.engine);
    // Rendering and counting a long prompt takes a while.
    let begun = tokio::task::spawn_blocking(move || start(&*engine, sampling, stop));
    let generation = match begun.await {
        Ok(Ok(generation)) => generation,
        Ok(Err(error)) => {
            let error = ApiError::from(error);
            let error = if form == Form::Text { error.of_completion() } else { error };
            return line.error(&error).await;
        }
        Err(_) => return line.error(&ApiError::internal()).await,
    };
    let completion = if logprobs { completion.with_logprobs() } else { completion };
    match (delivery, state.config.padding) {
        (Delivery::Whole, _) => whole(line, &completion, generation).await,
        (Delivery::Stream(usage), padding) => {
            let included = usage == openai::Usage::Included;
            let completion = if included { completion.with_usage() } else { completion };
            match padding {
                Padding::P1 => stream(line, &completion, included, generation).await,
                Padding::P2 => paced(line, &completion, included, generation).await,
            }
        }
    }
}

/// What a generation came to.
#[derive(Clone, Copy, Debug)]
struct Finished {
    reason: engine::FinishReason,
    completion_tokens: u32,
}

impl Finished {
    const fn finish(self) -> FinishReason {
        match self.reason {
            engine::FinishReason::Stop => FinishReason::Stop,
            engine::FinishReason::Length => FinishReason::Length,
        }
    }
}

/// One JSON object, once the generation has ended.
async fn whole(
    line: Line<'_>,
    completion: &openai::Completion,
    mut generation: Generation,
) -> Result<Outcome, Stopped> {
    let (mut text, mut logprobs) = (Secret::new(String::new()), Vec::new());
    let ended = loop {
        match next(line.sender(), &mut generation).await? {
            GenerationEvent::Delta(delta, _, entries) => {
                text.append(delta.expose());
                logprobs.extend(entries);
            }
            GenerationEvent::Finished { reason, completion_tokens } => {
                break Ok(Finished { reason, completion_tokens });
            }
            GenerationEvent::Failed(error) => break Err(error),
        }
    };
    match ended {
        Ok(finished) => {
            let finish = finished.finish();
            let (prompt, completed) = (generation.prompt_tokens, finished.completion_tokens);
            let tokens = Tokens::new(prompt, completed);
            let json = completion.whole(text.expose(), &logprobs, finish.as_str(), tokens);
            let json = Secret::new(json);
            let usage = Usage { prompt, completion: completed, cached: 0 };
            line.whole(200, json.expose(), finish, usage).await
        }
        Err(error) => line.error(&error.into()).await,
    }
}

/// P1: every event leaves at once, in cells of its own.
async fn stream(
    line: Line<'_>,
    completion: &openai::Completion,
    with_usage: bool,
    mut generation: Generation,
) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
    completion.role_event(&mut event);
    if !event.is_empty() {
        open.event(&mut event).await?;
    }
    let mut said = 0;
    let ended = loop {
        match next(open.sender(), &mut generation).await? {
            GenerationEvent::Delta(delta, tokens, logprobs) => {
                said = tokens;
                completion.likely_event(delta.expose(), &logprobs, &mut event);
                if completion.has_logprobs() {
                    fill_cells(&mut event);
                }
                if open.event(&mut event).await? == Room::Full {
                    break Err(EngineError::Crashed);
                }
            }
            GenerationEvent::Finished { reason, completion_tokens } => {
                break Ok(Finished { reason, completion_tokens });
            }
            GenerationEvent::Failed(error) => break Err(error),
        }
    };
    let prompt = generation.prompt_tokens;
    drop(generation);
    let last = last_events(completion, with_usage, prompt, said, ended);
    for mut each in last.events {
        open.event(&mut each).await?;
    }
    open.finish(last.finish, last.usage).await
}

/// P2: one cell per tick from the first token on, whatever has come.
async fn paced(
    line: Line<'_>,
    completion: &openai::Completion,
    with_usage: bool,
    mut generation: Generation,
) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let mut cadence = Zeroizing::new(Cadence::new());
    let mut batches = Batches::default();
    let mut cell = Zeroizing::new(Vec::new());
    let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
    completion.role_event(&mut event);
    cadence.push_event(&event);
    let mut ticks: Option<Interval> = None;
    let mut last: Option<Last> = None;
    let mut said = 0;
    let prompt = generation.prompt_tokens;
    loop {
        let happened = tokio::select! {
            biased;
            () = tick(ticks.as_mut()) => None,
            event = next(open.sender(), &mut generation), if last.is_none() => Some(event?),
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
            Some(GenerationEvent::Delta(delta, tokens, logprobs)) => {
                said = tokens;
                if completion.has_logprobs() {
                    batches.push(delta, logprobs);
                } else {
                    cadence.push_text(delta.expose());
                }
                None
            }
            Some(GenerationEvent::Finished { reason, completion_tokens }) => {
                Some(Ok(Finished { reason, completion_tokens }))
            }
            Some(GenerationEvent::Failed(error)) => Some(Err(error)),
        };
        ticks.get_or_insert_with(ticking);
        if let Some(ended) = ended {
            let ends = last_events(completion, with_usage, prompt, said, ended);
            batches.leave(usize::MAX, completion, &mut cadence);
            ends.events.iter().for_each(|event| cadence.push_event(event));
            last = Some(ends);
        }
    }
}

/// Text that waits for its tick with the likelihoods of its tokens.
///
/// It is coalesced as text alone is, but not without end: a client takes events of some length only.
#[derive(Default)]
struct Batches(VecDeque<(Secret<String>, Vec<TokenLogprobs>)>);

impl Batches {
    fn push(&mut self, delta: Secret<String>, logprobs: Vec<TokenLogprobs>) {
        match self.0.back_mut() {
            Some((text, entries)) if entries.len() < BATCH_TOKENS => {
                text.append(delta.expose());
                entries.extend(logprobs);
            }
            _ => self.0.push_back((delta, logprobs)),
        }
    }

    /// Moves the oldest so many, an event each.
    fn leave(&mut self, count: usize, completion: &openai::Completion, cadence: &mut Cadence) {
        let count = count.min(self.0.len());
        for (text, logprobs) in self.0.drain(..count) {
            let mut event = Zeroizing::new(Vec::new());
            completion.likely_event(text.expose(), &logprobs, &mut event);
            cadence.push_event(&event);
        }
    }
}

/// Fills an event up to 1, 2, 4, 8, … cells: the alternatives' lengths would show in their number.
fn fill_cells(event: &mut Vec<u8>) {
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
    prompt: u32,
    said: u32,
    ended: Result<Finished, EngineError>,
) -> Last {
    let event = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut event = Zeroizing::new(Vec::with_capacity(EVENT_LEN));
        write(&mut event);
        event
    };
    match ended {
        Ok(finished) => {
            let finish = finished.finish();
            let completed = finished.completion_tokens;
            let mut events = vec![event(&|out| completion.finish_event(finish.as_str(), out))];
            if with_usage {
                let tokens = Tokens::new(prompt, completed);
                events.push(event(&|out| completion.usage_event(tokens, out)));
            }
            events.push(event(&|out| out.extend_from_slice(openai::DONE)));
            Last { events, finish, usage: Usage { prompt, completion: completed, cached: 0 } }
        }
        Err(error) => {
            let error = ApiError::from(error);
            let events = vec![event(&|out| openai::error_event(&error, out))];
            let usage = Usage { prompt, completion: said, cached: 0 };
            Last { events, finish: FinishReason::Aborted, usage }
        }
    }
}

/// What the generation does next. The client's leaving ends the wait, and with it the generation.
async fn next(sender: &Sender, generation: &mut Generation) -> Result<GenerationEvent, Gone> {
    tokio::select! {
        biased;
        () = sender.gone() => Err(Gone),
        event = generation.events.recv() => {
            // An engine that ends without a word has crashed.
            Ok(event.unwrap_or(GenerationEvent::Failed(EngineError::Crashed)))
        }
    }
}

fn ticking() -> Interval {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The next tick; never, before the first token.
async fn tick(ticks: Option<&mut Interval>) {
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
