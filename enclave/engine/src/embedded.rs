//! The engine that computes by itself.

use std::sync::{Arc, mpsc as threads};
use std::thread::JoinHandle;

use attestation::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::api::{
    Completion, Embedding, EmbeddingInput, Engine, EngineError, Format, Generation, Message,
    ModelDescription, Order, Request, Sampling,
};
use crate::embedding::Pool;
use crate::gguf::{Gguf, LoadError};
use crate::grammar::{Grammars, Held};
use crate::kernels::{Instructions, Isa, PROFILE, Team};
use crate::model::{Cache, Model, Shape};
use crate::scheduler::{Door, Job, Pulse, ROWS_MAX, Room, Scheduler};
use crate::template::{ChatTemplate, Prompt};
use crate::tokenizer::Tokenizer;
use crate::tools::{Speech, Tools};
use crate::verified::VerifiedModel;

/// How much an engine may take.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EngineOptions {
    /// Threads that compute; at least 1.
    pub threads: usize,
    /// Generations at the same time, from 1 to 64; each takes memory as its text grows.
    pub slots: usize,
    /// Generations that may wait for a slot.
    pub queue: usize,
    /// The longest prompt and answer together, in tokens; the model's own limit also holds.
    pub context: u32,
    /// Octets of the keys and values of all generations; at least what one of the longest needs.
    pub kv_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { threads: 2, slots: 8, queue: 64, context: 4096, kv_bytes: 4 << 30 }
    }
}

/// Runs a GGUF model of the architectures llama, qwen2, qwen3 and gemma3 on the CPU.
///
/// Dropping it ends its threads and fails what runs with [`EngineError::Stopping`].
pub struct EmbeddedEngine {
    description: ModelDescription,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    grammars: Grammars,
    door: Arc<Door>,
    slots: usize,
    /// How many numbers a vector has.
    width: usize,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedEngine {
    /// Loads a model on the best instructions that the processor has.
    ///
    /// # Errors
    /// The file is malformed, or needs what this engine does not have; the error names it.
    pub fn load(model: VerifiedModel, options: EngineOptions) -> Result<Self, LoadError> {
        Self::load_for(model, options, Instructions::best())
    }

    /// Loads a model on certain instructions; the output is the same for all.
    ///
    /// # Errors
    /// As [`Self::load`]; also [`LoadError::Unsupported`] where the processor lacks the instructions.
    pub fn load_for(
        model: VerifiedModel,
        options: EngineOptions,
        instructions: Instructions,
    ) -> Result<Self, LoadError> {
        let isa = Isa::new(instructions).ok_or_else(|| LoadError::Unsupported {
            what: "instruction set",
            name: format!("{instructions:?}"),
        })?;
        let EngineOptions { threads, slots, queue, context, kv_bytes } = options;
        let mut file = Gguf::parse(model.bytes())?;
        let tokenizer = Arc::new(Tokenizer::read(&file)?);
        let template = ChatTemplate::read(&file, &tokenizer)?;
        let tokenizer_sha256 = file.tokenizer_digest().0;
        let weights = Model::read(&mut file, usize::try_from(context).unwrap_or(usize::MAX))?;
        let description = ModelDescription {
            weights_sha256: model.sha256(),
            tokenizer_sha256,
            template_sha256: template.digest().0,
            numeric_profile: PROFILE,
            architecture: String::from(weights.family()),
            context_length: u32::try_from(weights.shape().context).unwrap_or(u32::MAX),
        };
        let width = weights.shape().width;
        let room = room(&weights.shape(), slots.clamp(1, ROWS_MAX / 2), kv_bytes)?;
        drop(model); // The packed weights are all that is needed from here on.

        let door = Arc::new(Door::new(queue));
        let team = Team::new(threads.clamp(1, THREADS_MAX)).map_err(|_| LoadError::Threads)?;
        let scheduler =
            Scheduler { model: weights, tokenizer: Arc::clone(&tokenizer), isa, team, room };
        let thread = std::thread::Builder::new().name(String::from("engine-0"));
        let inside = Arc::clone(&door);
        let thread =
            thread.spawn(move || scheduler.run(&inside)).map_err(|_| LoadError::Threads)?;
        let grammars = Grammars::new(Arc::clone(&tokenizer));
        Ok(Self {
            description,
            tokenizer,
            template,
            grammars,
            door,
            slots: room.slots,
            width,
            thread: Some(thread),
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How far it is with its work; for whoever wants to know whether it hangs.
    pub fn pulse(&self) -> Pulse {
        self.door.pulse()
    }

    /// The prompt that a conversation becomes.
    ///
    /// # Errors
    /// [`EngineError::Template`], or [`EngineError::BadRequest`] for what cannot be rendered safely.
    pub fn prompt(&self, messages: &[Message]) -> Result<Secret<String>, EngineError> {
        self.template
            .render(&self.tokenizer, messages, &Tools::default())
            .map(|prompt| prompt.plain())
    }

    /// Continues bare tokens; for measurements and for comparison with other engines.
    ///
    /// Ends after the token that ends a turn, or after `tokens_max`.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn continue_tokens(
        &self,
        prompt: &[u32],
        sampling: Sampling,
        tokens_max: u32,
    ) -> Result<threads::Receiver<u32>, EngineError> {
        let (sender, tokens) = threads::channel();
        let prompt = Zeroizing::new(prompt.to_vec());
        if !self.are_known(&prompt) {
            return Err(EngineError::BadRequest {
                field: "prompt",
                why: "must hold tokens of the vocabulary",
            });
        }
        let order = Order { sampling, max_tokens: Some(tokens_max), ..Order::default() };
        let mut generation = self.enter(prompt, order, &Tools::default(), Some(sender))?;
        // The events are not wanted, but a generation whose events nobody can read is cancelled.
        std::thread::Builder::new()
            .name(String::from("engine-drain"))
            .spawn(move || while generation.events.blocking_recv().is_some() {})
            .map_err(|_| EngineError::Crashed)?;
        Ok(tokens)
    }

    fn are_known(&self, tokens: &[u32]) -> bool {
        let vocabulary = self.tokenizer.vocabulary();
        tokens.iter().all(|token| usize::try_from(*token).is_ok_and(|token| token < vocabulary))
    }

    /// The tokens of a text that is wanted as a vector.
    fn read(&self, input: EmbeddingInput) -> Result<Zeroizing<Vec<u32>>, EngineError> {
        let bad = |why| Err(EngineError::BadRequest { field: "input", why });
        let tokens = match input {
            EmbeddingInput::Text(text) if text.expose().is_empty() => {
                return bad("must hold no empty text");
            }
            EmbeddingInput::Text(text) => {
                self.fits(text.expose().len(), 0)?;
                Prompt::bare(text).encode(&self.tokenizer)
            }
            EmbeddingInput::Tokens(tokens) if !self.are_known(tokens.expose()) => {
                return bad("must hold tokens of the vocabulary");
            }
            EmbeddingInput::Tokens(mut tokens) => {
                Zeroizing::new(core::mem::take(tokens.expose_mut()))
            }
        };
        let prompt_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let limit = self.description.context_length;
        match prompt_tokens {
            0 => bad("must hold no empty text"),
            count if count > limit => Err(EngineError::ContextTooLong { prompt_tokens, limit }),
            _ => Ok(tokens),
        }
    }

    /// A text that cannot fit is not worth the time of finding out by how much.
    fn fits(&self, bytes: usize, turns: usize) -> Result<(), EngineError> {
        let limit = self.description.context_length;
        let least = self.tokenizer.tokens_at_least(bytes).max(turns);
        let prompt_tokens = u32::try_from(least).unwrap_or(u32::MAX);
        if prompt_tokens >= limit {
            return Err(EngineError::ContextTooLong { prompt_tokens, limit });
        }
        Ok(())
    }

    fn enter(
        &self,
        prompt: Zeroizing<Vec<u32>>,
        order: Order,
        tools: &Tools,
        tokens: Option<threads::Sender<u32>>,
    ) -> Result<Generation, EngineError> {
        let limit = self.description.context_length;
        let prompt_tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        if prompt.is_empty() {
            return Err(EngineError::BadRequest { field: "messages", why: "must give a prompt" });
        }
        let left = limit.saturating_sub(prompt_tokens);
        if left == 0 {
            return Err(EngineError::ContextTooLong { prompt_tokens, limit });
        }
        let tokens_max = order.max_tokens.map_or(left, |max| max.min(left));
        // One text per token, or a text, a call's name and arguments, and the end: the channel is never
        // full, so nobody waits for a reader.
        let each = if tools.callable().is_empty() { 1 } else { 4 };
        let room = usize::try_from(tokens_max).unwrap_or(0).saturating_mul(each);
        let (events, receiver) = mpsc::channel(room.saturating_add(2));
        let held = self.grammars.of_tools(&order.format, tools)?;
        let speech = (!tools.callable().is_empty())
            .then(|| Speech::new(tools.forced() || matches!(order.format, Format::Text)));
        let (constraint, later) = match held {
            None => (None, None),
            Some(Held::Always(constraint)) => (Some(constraint), None),
            Some(Held::OnceOpened(later)) => (None, Some(later)),
        };
        let pool = None;
        let job =
            Job { prompt, order, constraint, later, speech, pool, tokens_max, events, tokens };
        self.door.enter(job, self.slots)?;
        Ok(Generation { prompt_tokens, events: receiver })
    }
}

impl Engine for EmbeddedEngine {
    fn start(&self, request: Request) -> Result<Generation, EngineError> {
        let Request { messages, tools, order } = request;
        if messages.is_empty() {
            return Err(EngineError::BadRequest { field: "messages", why: "must not be empty" });
        }
        order.check()?;
        tools.check()?;
        if order.logprobs.is_some() && !tools.callable().is_empty() {
            let why = "cannot be told of an answer that may call functions";
            return Err(EngineError::BadRequest { field: "logprobs", why });
        }
        let said = messages.iter().map(|message| message.content.expose().len());
        let bytes = said.fold(0, usize::saturating_add);
        // A crowd of turns is not worth counting either: a template writes at least one token for each that it shows.
        self.fits(bytes, messages.len())?;
        self.door.has_place(self.slots, order.tenant)?;
        let prompt = self.template.render(&self.tokenizer, &messages, &tools)?;
        self.fits(prompt.length(), 0)?;
        self.enter(prompt.encode(&self.tokenizer), order, &tools, None)
    }

    fn complete(&self, completion: Completion) -> Result<Generation, EngineError> {
        let Completion { prompt, order } = completion;
        if prompt.expose().is_empty() {
            return Err(EngineError::BadRequest { field: "prompt", why: "must not be empty" });
        }
        order.check()?;
        self.fits(prompt.expose().len(), 0)?;
        self.door.has_place(self.slots, order.tenant)?;
        let prompt = Prompt::bare(prompt).encode(&self.tokenizer);
        self.enter(prompt, order, &Tools::default(), None)
    }

    fn embed(&self, embedding: Embedding) -> Result<Generation, EngineError> {
        let Embedding { inputs, tenant } = embedding;
        let bad = |why| Err(EngineError::BadRequest { field: "input", why });
        let count = inputs.len();
        if count == 0 || count > Embedding::INPUTS_MAX {
            return bad("must be 1 to 2048 texts");
        }
        if count.saturating_mul(self.width) > NUMBERS_MAX {
            return bad("asks for more than a million numbers at once");
        }
        self.door.has_place(self.slots, tenant)?;
        let texts = inputs.into_iter().map(|input| self.read(input)).collect::<Result<_, _>>()?;
        let Some((prompt, pool)) = Pool::new(texts, self.width) else {
            return bad("must be 1 to 2048 texts");
        };
        let tokens = pool.tokens().saturating_add(prompt.len());
        let prompt_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        // A vector each, and the end.
        let (events, receiver) = mpsc::channel(count.saturating_add(2));
        self.door.enter(
            Job {
                prompt,
                order: Order { tenant, ..Order::default() },
                constraint: None,
                later: None,
                speech: None,
                pool: Some(pool),
                tokens_max: 0,
                events,
                tokens: None,
            },
            self.slots,
        )?;
        Ok(Generation { prompt_tokens, events: receiver })
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        self.door.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // Panics were caught where they happened.
        }
    }
}

impl core::fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EmbeddedEngine")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

/// What generations may take, where at least one of the longest finds room.
fn room(shape: &Shape, slots: usize, kv_bytes: u64) -> Result<Room, LoadError> {
    let page_len = u64::try_from(Cache::page_len(shape)).unwrap_or(u64::MAX);
    let longest = u64::try_from(Cache::pages(shape.context)).unwrap_or(u64::MAX);
    let pages = kv_bytes.checked_div(page_len).unwrap_or(0);
    if pages < longest {
        let needed = longest.saturating_mul(page_len);
        return Err(LoadError::Memory { needed, allowed: kv_bytes });
    }
    Ok(Room { slots, pages: usize::try_from(pages).unwrap_or(usize::MAX) })
}

/// Numbers of the vectors of one request: 4 MiB.
const NUMBERS_MAX: usize = 1 << 20;
/// Threads that compute; more than this is a mistake in a configuration.
const THREADS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FinishReason, GenerationEvent, Role};
    use crate::tiny;
    use attestation::Sha256;
    use std::sync::atomic::Ordering::SeqCst;

    fn engine(slots: usize) -> EmbeddedEngine {
        let bytes = tiny::model(crate::TensorType::Q4_0);
        let digest = Sha256::of(&bytes).0;
        let options = EngineOptions {
            threads: 1,
            slots,
            queue: 100,
            context: 512,
            ..EngineOptions::default()
        };
        EmbeddedEngine::load(VerifiedModel::check(bytes, digest).unwrap(), options).unwrap()
    }

    fn start(engine: &EmbeddedEngine, tenant: u8, tokens: u32) -> Generation {
        let sampling = Sampling { temperature: 1.0, seed: 3, ..Sampling::GREEDY };
        let tenant = [tenant; 32];
        let order = Order { sampling, max_tokens: Some(tokens), tenant, ..Order::default() };
        let messages = vec![Message::new(Role::User, Secret::new("x".to_owned()))];
        engine.start(Request::new(messages, order)).unwrap()
    }

    fn end(mut generation: Generation) -> Result<FinishReason, EngineError> {
        loop {
            match generation.events.blocking_recv().unwrap() {
                GenerationEvent::Delta(..)
                | GenerationEvent::Call(..)
                | GenerationEvent::Vector(_) => {}
                GenerationEvent::Finished { reason, .. } => return Ok(reason),
                GenerationEvent::Failed(error) => return Err(error),
            }
        }
    }

    #[test]
    fn a_panic_fails_what_runs_and_nothing_else() {
        let engine = engine(2);
        engine.door.fault.store(true, SeqCst);
        assert_eq!(end(start(&engine, 0, 300)), Err(EngineError::Crashed));
        assert!(end(start(&engine, 0, 20)).is_ok());
    }

    #[test]
    fn the_pulse_moves_with_each_step_and_rests_after_the_last() {
        let engine = engine(1);
        assert_eq!(engine.pulse(), Pulse { steps: 0, working: false });
        let mut before = 0;
        for tenant in 0..3 {
            assert!(end(start(&engine, tenant, 20)).is_ok());
            while engine.pulse().working {
                std::thread::yield_now();
            }
            let Pulse { steps, .. } = engine.pulse();
            assert!(steps > before);
            before = steps;
        }
    }

    #[test]
    fn who_finds_no_place_causes_no_work() {
        let engine = engine(1);
        engine.door.close();
        // What the template would have to be run for to be refused.
        let marks: String = ('\u{fdd0}'..='\u{fdef}').collect();
        let request =
            Request::new(vec![Message::new(Role::User, Secret::new(marks))], Order::default());
        assert_eq!(engine.start(request).map(drop), Err(EngineError::Stopping));
    }

    #[test]
    fn more_turns_than_tokens_are_refused_unread() {
        let engine = engine(1);
        let turn = || Message::new(Role::User, Secret::new(String::new()));
        let request =
            Request::new(std::iter::repeat_with(turn).take(60_000).collect(), Order::default());
        let expected = EngineError::ContextTooLong { prompt_tokens: 60_000, limit: 512 };
        assert_eq!(engine.start(request).map(drop), Err(expected));
    }
}
