//! The generations that one request runs: as many as it wants choices.

use std::future::poll_fn;
use std::task::Poll;

use attestation::Secret;
use attestation::receipt::{FinishReason, Usage};
use engine::{CallDelta, EngineError, Generation, GenerationEvent, TokenLogprobs};
use tokio::time::{Instant, sleep_until};

use crate::keys::random;
use crate::pipe::{Gone, Sender};

/// Choices that are being generated; dropping them cancels all.
#[derive(Debug)]
pub(crate) struct Choices {
    prompt: u32,
    running: Vec<Running>,
    /// When they must have ended.
    deadline: Instant,
}

#[derive(Debug)]
struct Running {
    /// None once it has ended.
    generation: Option<Generation>,
    finish: engine::FinishReason,
    said: u32,
}

/// What the choices do next.
#[derive(Debug)]
pub(crate) enum Happening {
    /// One of them says more.
    More(u32, Piece),
    /// All have ended, each for its reason; or one has failed, and with it all.
    Ended(Result<Vec<engine::FinishReason>, EngineError>),
}

/// More of a choice.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Text, and how likely the tokens were that begin in it.
    Text(Secret<String>, Vec<TokenLogprobs>),
    /// A call that begins, by its id, or goes on.
    Call(CallDelta, Option<String>),
}

impl Choices {
    /// Of generations of the same prompt, which are cancelled where they have not ended by then.
    pub(crate) fn new(generations: Vec<Generation>, deadline: Instant) -> Self {
        let prompt = generations.first().map_or(0, |generation| generation.prompt_tokens);
        let running = |generation| Running {
            generation: Some(generation),
            finish: engine::FinishReason::Stop,
            said: 0,
        };
        Self { prompt, running: generations.into_iter().map(running).collect(), deadline }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }

    /// The tokens so far; the prompt's once.
    pub(crate) fn usage(&self) -> Usage {
        let said = self.running.iter().map(|running| running.said);
        Usage { prompt: self.prompt, completion: said.fold(0, u32::saturating_add), cached: 0 }
    }

    /// What happens next. The client's leaving ends the wait, and with it the generations.
    pub(crate) async fn next(&mut self, sender: &Sender) -> Result<Happening, Gone> {
        loop {
            let event = tokio::select! {
                biased;
                () = sender.gone() => return Err(Gone),
                () = sleep_until(self.deadline) => return Ok(self.fail(EngineError::OutOfTime)),
                event = self.event() => event,
            };
            // An engine that ends without a word has crashed.
            let (at, event) = match event {
                Some((at, event)) => {
                    (at, event.unwrap_or(GenerationEvent::Failed(EngineError::Crashed)))
                }
                None => return Ok(Happening::Ended(Ok(self.finishes()))),
            };
            let choice = u32::try_from(at).unwrap_or(u32::MAX);
            let Some(running) = self.running.get_mut(at) else { continue };
            match event {
                GenerationEvent::Delta(text, said, logprobs) => {
                    running.said = said;
                    return Ok(Happening::More(choice, Piece::Text(text, logprobs)));
                }
                GenerationEvent::Call(call, said) => {
                    running.said = said;
                    let id = call.name.as_ref().map(|_| call_id());
                    return Ok(Happening::More(choice, Piece::Call(call, id)));
                }
                GenerationEvent::Finished { reason, completion_tokens } => {
                    running.said = completion_tokens;
                    running.finish = reason;
                    running.generation = None;
                }
                GenerationEvent::Failed(error) => return Ok(self.fail(error)),
                // An engine that answers with vectors has not heard what was asked.
                GenerationEvent::Vector(_) => return Ok(self.fail(EngineError::Crashed)),
            }
        }
    }

    /// Cancels all of them: one has failed, or their time is up.
    fn fail(&mut self, error: EngineError) -> Happening {
        for each in &mut self.running {
            each.generation = None;
        }
        Happening::Ended(Err(error))
    }

    /// The next event of any that runs; none where none does.
    async fn event(&mut self) -> Option<(usize, Option<GenerationEvent>)> {
        poll_fn(|context| {
            let mut over = true;
            for (at, running) in self.running.iter_mut().enumerate() {
                let Some(generation) = &mut running.generation else { continue };
                over = false;
                if let Poll::Ready(event) = generation.events.poll_recv(context) {
                    return Poll::Ready(Some((at, event)));
                }
            }
            if over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn finishes(&self) -> Vec<engine::FinishReason> {
        self.running.iter().map(|running| running.finish).collect()
    }
}

/// The seed of a choice; the first one's is the request's.
pub(crate) const fn seed(of_request: u64, choice: u32) -> u64 {
    // An odd number far from every small one: neighbouring seeds share no draws.
    let mut seed = of_request;
    let mut left = choice;
    while let Some(less) = left.checked_sub(1) {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        left = less;
    }
    seed
}

/// The name of an end in the `OpenAI` API.
pub(crate) const fn finish_name(finish: engine::FinishReason) -> &'static str {
    match finish {
        engine::FinishReason::Stop => "stop",
        engine::FinishReason::Length => "length",
        engine::FinishReason::ToolCalls => "tool_calls",
    }
}

/// A name that nobody can guess.
fn call_id() -> String {
    format!("call_{}", hex::encode(random::<12>()))
}

/// What the receipt says of the ends: the first choice's. To end with calls is to end by itself.
pub(crate) fn receipt_finish(finishes: &[engine::FinishReason]) -> FinishReason {
    match finishes.first() {
        Some(engine::FinishReason::Length) => FinishReason::Length,
        Some(engine::FinishReason::Stop | engine::FinishReason::ToolCalls) | None => {
            FinishReason::Stop
        }
    }
}
