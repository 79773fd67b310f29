//! An engine that says what it was told, for tests and benches of everything around an engine.

use core::fmt;
use std::time::Duration;

use attestation::{Secret, Sha256};
use tokio::sync::mpsc;

use crate::api::{
    Completion, Engine, EngineError, FinishReason, Format, Generation, GenerationEvent,
    ModelDescription, Request, Role,
};

/// Echoes the last user message in a given number of events at a given pace.
///
/// "Tokens" are Unicode scalar values of the prompt and events of the answer. It is deterministic,
/// honours `max_tokens`, and stops when its [`Generation`] is dropped. It needs no async runtime.
pub struct EchoEngine {
    description: ModelDescription,
    events: u32,
    pace: Duration,
    slots: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    slots_max: usize,
}

impl EchoEngine {
    /// Answers in up to `events` pieces, `pace` apart (zero: all at once).
    pub fn new(events: u32, pace: Duration) -> Self {
        Self {
            description: ModelDescription {
                weights_sha256: Sha256::of(b"veritee echo weights").0,
                tokenizer_sha256: Sha256::of(b"veritee echo tokenizer").0,
                template_sha256: Sha256::of(b"veritee echo template").0,
                numeric_profile: "echo",
                architecture: String::from("echo"),
                context_length: ECHO_CONTEXT,
            },
            events: events.max(1),
            pace,
            slots: std::sync::Arc::default(),
            slots_max: usize::MAX,
        }
    }

    /// Serves at most `slots` paced generations at once; more are `Busy`.
    #[must_use]
    pub fn with_slots(mut self, slots: usize) -> Self {
        self.slots_max = slots;
        self
    }
}

impl Engine for EchoEngine {
    fn start(&self, request: Request) -> Result<Generation, EngineError> {
        request.order.sampling.check()?;
        refuse_logprobs(request.order.logprobs)?;
        if !matches!(request.order.format, Format::Text) {
            let why = "cannot be held to: this engine echoes";
            return Err(EngineError::BadRequest { field: "response_format", why });
        }
        let mut prompt = 0_usize;
        for message in &request.messages {
            prompt = prompt.saturating_add(message.content.expose().chars().count());
        }
        let prompt_tokens = count(prompt)?;
        let said = request.messages.iter().rev().find(|message| message.role == Role::User);
        let Some(said) = said else {
            return Err(EngineError::BadRequest {
                field: "messages",
                why: "must hold a user message",
            });
        };
        self.echo(said.content.expose(), prompt_tokens, request.order.max_tokens)
    }

    fn complete(&self, completion: Completion) -> Result<Generation, EngineError> {
        completion.order.sampling.check()?;
        refuse_logprobs(completion.order.logprobs)?;
        let prompt = completion.prompt.expose();
        self.echo(prompt, count(prompt.chars().count())?, completion.order.max_tokens)
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

impl EchoEngine {
    fn echo(
        &self,
        said: &str,
        prompt_tokens: u32,
        max_tokens: Option<u32>,
    ) -> Result<Generation, EngineError> {
        let mut echo = split(said, self.events);
        let limit = max_tokens.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let reason = if echo.len() > limit { FinishReason::Length } else { FinishReason::Stop };
        echo.truncate(limit);

        let (sender, events) = mpsc::channel(echo.len().saturating_add(2));
        if self.pace.is_zero() {
            say(&sender, echo, reason, Duration::ZERO);
        } else {
            let place = Place::take(&self.slots, self.slots_max)?;
            let interval = self.pace;
            std::thread::Builder::new()
                .name(String::from("echo"))
                .spawn(move || {
                    say(&sender, echo, reason, interval);
                    drop(place);
                })
                .map_err(|_| EngineError::Busy { retry_after_s: 1 })?;
        }
        Ok(Generation { prompt_tokens, events })
    }
}

/// An echo has no probabilities.
const fn refuse_logprobs(logprobs: Option<u32>) -> Result<(), EngineError> {
    match logprobs {
        Some(_) => Err(EngineError::BadRequest {
            field: "logprobs",
            why: "cannot be told: this engine echoes",
        }),
        None => Ok(()),
    }
}

/// So many tokens, where they leave room for an answer.
fn count(prompt: usize) -> Result<u32, EngineError> {
    let prompt_tokens = u32::try_from(prompt).unwrap_or(u32::MAX);
    if prompt_tokens >= ECHO_CONTEXT {
        return Err(EngineError::ContextTooLong { prompt_tokens, limit: ECHO_CONTEXT });
    }
    Ok(prompt_tokens)
}

impl fmt::Debug for EchoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, pace, .. } = self;
        f.debug_struct("EchoEngine")
            .field("events", events)
            .field("pace", pace)
            .finish_non_exhaustive()
    }
}

/// One of the places that [`EchoEngine::with_slots`] limits.
struct Place(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Place {
    fn take(
        places: &std::sync::Arc<std::sync::atomic::AtomicUsize>,
        max: usize,
    ) -> Result<Self, EngineError> {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};
        places
            .fetch_update(AcqRel, Acquire, |taken| {
                taken.checked_add(1).filter(|taken| *taken <= max)
            })
            .map_err(|_| EngineError::Busy { retry_after_s: 1 })?;
        Ok(Self(std::sync::Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

fn say(
    sender: &mpsc::Sender<GenerationEvent>,
    pieces: Vec<Secret<String>>,
    reason: FinishReason,
    pace: Duration,
) {
    let mut said = 0_u32;
    for piece in pieces {
        said = said.saturating_add(1);
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
        if sender.try_send(GenerationEvent::Delta(piece, said, Vec::new())).is_err() {
            return; // The reader left; the channel holds everything, so it cannot be full.
        }
    }
    // A reader that left misses nothing.
    drop(sender.try_send(GenerationEvent::Finished { reason, completion_tokens: said }));
}

/// Cuts `text` into at most `events` pieces of nearly equal length.
fn split(text: &str, events: u32) -> Vec<Secret<String>> {
    let count = text.chars().count();
    let events = usize::try_from(events).unwrap_or(usize::MAX);
    let length = count.div_ceil(events).max(1);
    let mut pieces = Vec::with_capacity(count.div_ceil(length));
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        pieces.push(Secret::new(piece.to_owned()));
        rest = after;
    }
    pieces
}

/// The echo's context: far above what tests say, and still a limit that they can reach.
const ECHO_CONTEXT: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Message, Order};

    fn ask(
        engine: &EchoEngine,
        text: &str,
        max_tokens: Option<u32>,
    ) -> (Vec<String>, GenerationEvent) {
        let request = Request::new(
            vec![
                Message::new(Role::User, Secret::new(text.to_owned())),
                Message::new(Role::Assistant, Secret::new("no".to_owned())),
            ],
            Order { max_tokens, ..Order::default() },
        );
        let mut generation = engine.start(request).unwrap();
        let mut pieces = vec![];
        loop {
            match generation.events.blocking_recv().unwrap() {
                GenerationEvent::Delta(text, ..) => pieces.push(text.expose().clone()),
                GenerationEvent::Call(..) | GenerationEvent::Vector(_) => panic!("no echo"),
                end @ (GenerationEvent::Finished { .. } | GenerationEvent::Failed(_)) => {
                    return (pieces, end);
                }
            }
        }
    }

    #[test]
    fn echoes_in_so_many_pieces() {
        for (events, expected) in
            [(1, vec!["grüße"]), (2, vec!["grü", "ße"]), (9, vec!["g", "r", "ü", "ß", "e"])]
        {
            let (pieces, end) =
                ask(&EchoEngine::new(events, Duration::from_micros(10)), "grüße", None);
            assert_eq!(pieces, expected);
            assert!(matches!(end, GenerationEvent::Finished { reason: FinishReason::Stop, .. }));
        }
    }

    #[test]
    fn max_tokens_cuts_the_echo() {
        let (pieces, end) = ask(&EchoEngine::new(5, Duration::ZERO), "abcde", Some(2));
        assert_eq!(pieces, ["a", "b"]);
        assert!(matches!(
            end,
            GenerationEvent::Finished { reason: FinishReason::Length, completion_tokens: 2 }
        ));
    }

    #[test]
    fn slots_are_limited_and_come_back() {
        let engine = EchoEngine::new(1, Duration::from_millis(20)).with_slots(1);
        let request = || {
            Request::new(
                vec![Message::new(Role::User, Secret::new("x".to_owned()))],
                Order::default(),
            )
        };
        let mut first = engine.start(request()).unwrap();
        assert!(matches!(engine.start(request()), Err(EngineError::Busy { .. })));
        while first.events.blocking_recv().is_some() {}
        for _ in 0..1000 {
            if engine.start(request()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the slot never came back");
    }
}
