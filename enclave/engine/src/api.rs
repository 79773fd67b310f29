//! What an engine promises to whoever serves it.

use core::fmt;

use attestation::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::logprobs::TokenLogprobs;
use crate::plain::{Word, numbers, text, word};
use crate::tools::{CallDelta, ToolCall, Tools};

/// Something that continues conversations.
pub trait Engine: Send + Sync + 'static {
    /// Starts a generation and returns at once; dropping the [`Generation`] cancels it within one step.
    ///
    /// It waits for nothing, but turns the conversation into tokens: milliseconds of computation
    /// for a long one.
    ///
    /// # Errors
    /// The request cannot be served: see [`EngineError`].
    fn start(&self, request: Request) -> Result<Generation, EngineError>;

    /// Starts to continue a text as it stands, with no conversation around it; else as [`start`](Self::start).
    ///
    /// # Errors
    /// As [`start`](Self::start); an engine for conversations alone refuses every text.
    fn complete(&self, completion: Completion) -> Result<Generation, EngineError> {
        drop(completion);
        let why = "cannot be a bare text: this engine continues conversations alone";
        Err(EngineError::BadRequest { field: "prompt", why })
    }

    /// Starts to turn texts into vectors, one [`GenerationEvent::Vector`] each, in order; else as
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// As [`start`](Self::start); an engine that has no vectors refuses every text.
    fn embed(&self, embedding: Embedding) -> Result<Generation, EngineError> {
        drop(embedding);
        let why = "cannot become a vector: this engine continues conversations alone";
        Err(EngineError::BadRequest { field: "input", why })
    }

    /// What the model manifest is made of.
    fn description(&self) -> &ModelDescription;
}

/// One question to an engine.
#[derive(Deserialize, Serialize)]
pub struct Request {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The functions that the answer may call.
    pub tools: Tools,
    /// What is wanted of the answer.
    pub order: Order,
}

impl Request {
    /// A conversation without functions.
    pub fn new(messages: Vec<Message>, order: Order) -> Self {
        Self { messages, tools: Tools::default(), order }
    }

    /// The same question, with draws that start elsewhere.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self {
            messages: self.messages.iter().map(Message::copy).collect(),
            tools: self.tools.copy(),
            order: self.order.with_seed(seed),
        }
    }
}

impl fmt::Debug for Request {
    /// Shows no client's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, tools, order } = self;
        f.debug_struct("Request")
            .field("messages", &messages.len())
            .field("tools", tools)
            .field("order", order)
            .finish()
    }
}

/// A text to continue.
#[derive(Deserialize, Serialize)]
pub struct Completion {
    /// The text. What it spells of control tokens is control tokens: there is nobody else's word in it.
    #[serde(with = "text")]
    pub prompt: Secret<String>,
    /// What is wanted of the answer.
    pub order: Order,
}

impl Completion {
    /// The same text, with draws that start elsewhere.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { prompt: copy(&self.prompt), order: self.order.with_seed(seed) }
    }
}

impl fmt::Debug for Completion {
    /// Shows no client's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prompt: _, order } = self;
        f.debug_struct("Completion").field("order", order).finish_non_exhaustive()
    }
}

/// Texts that are wanted as vectors.
#[derive(Deserialize, Serialize)]
pub struct Embedding {
    /// The texts, 1 to 2,048; each is read by itself.
    pub inputs: Vec<EmbeddingInput>,
    /// Who asks, as far as fairness goes; an opaque value of the server's making.
    pub tenant: [u8; 32],
}

impl fmt::Debug for Embedding {
    /// Shows no client's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedding").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

/// A text that is wanted as a vector.
#[derive(Debug, Deserialize, Serialize)]
pub enum EmbeddingInput {
    /// As it was written. What it spells of control tokens is control tokens.
    Text(#[serde(with = "text")] Secret<String>),
    /// As the tokens that whoever asks made of it.
    Tokens(#[serde(with = "numbers")] Secret<Vec<u32>>),
}

impl Embedding {
    /// The most texts of one request (`OpenAI`'s API reference).
    pub const INPUTS_MAX: usize = 2048;
}

/// What is wanted of an answer. By default, the greedy one, to its end, for nobody in particular.
#[derive(Deserialize, Serialize)]
pub struct Order {
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// What is added to the logits of some tokens, each named once; -100 bans a token.
    pub bias: Vec<(u32, f32)>,
    /// The most tokens to generate; without it, what the context has left.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; they are never part of it.
    pub stop: Vec<String>,
    /// Whether to tell how likely each token was, beside how many others: 20 at most.
    pub logprobs: Option<u32>,
    /// What form the answer has, if it ends by itself.
    pub format: Format,
    /// Who asks, as far as fairness goes; an opaque value of the server's making.
    pub tenant: [u8; 32],
}

impl Order {
    fn with_seed(&self, seed: u64) -> Self {
        Self {
            sampling: Sampling { seed, ..self.sampling },
            bias: self.bias.clone(),
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            logprobs: self.logprobs,
            format: self.format.copy(),
            tenant: self.tenant,
        }
    }

    /// Checks that everything is in its range.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] that names the first field that is not.
    pub fn check(&self) -> Result<(), EngineError> {
        self.sampling.check()?;
        let bad = |field, why| Err(EngineError::BadRequest { field, why });
        if self.bias.len() > BIASES_MAX
            || !self.bias.iter().all(|(_, bias)| (-BIAS_MAX..=BIAS_MAX).contains(bias))
        {
            return bad("logit_bias", "must be at most 300 numbers between -100 and 100");
        }
        if self.max_tokens == Some(0) {
            return bad("max_tokens", "must be at least 1");
        }
        if self.stop.len() > STOPS_MAX
            || self.stop.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX)
        {
            return bad("stop", "must be at most 16 texts of 1 to 1024 bytes");
        }
        if !self.stop.is_empty() && !matches!(self.format, Format::Text) {
            return bad("stop", "cannot be used with `response_format`: it would cut the JSON");
        }
        if self.logprobs > Some(TokenLogprobs::ALTERNATIVES_MAX) {
            return bad("top_logprobs", "must be at most 20");
        }
        Ok(())
    }
}

impl Default for Order {
    fn default() -> Self {
        Self {
            sampling: Sampling::GREEDY,
            bias: Vec::new(),
            max_tokens: None,
            stop: Vec::new(),
            logprobs: None,
            format: Format::Text,
            tenant: [0; 32],
        }
    }
}

/// What form an answer has.
///
/// An answer that ends by itself ([`FinishReason::Stop`]) has it; one that is cut off is the start of
/// one that has it.
#[derive(Debug, Deserialize, Serialize)]
pub enum Format {
    /// Any text.
    Text,
    /// A JSON object.
    Object,
    /// JSON that is valid under this schema.
    Schema(#[serde(with = "text")] Secret<String>),
}

impl Format {
    fn copy(&self) -> Self {
        match self {
            Self::Text => Self::Text,
            Self::Object => Self::Object,
            Self::Schema(schema) => Self::Schema(copy(schema)),
        }
    }
}

impl fmt::Debug for Order {
    /// Shows no client's words; stop texts are some, and a bias names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sampling, bias, max_tokens, stop, logprobs, format, tenant: _ } = self;
        f.debug_struct("Order")
            .field("sampling", sampling)
            .field("bias", &bias.len())
            .field("max_tokens", max_tokens)
            .field("stop", &stop.len())
            .field("logprobs", logprobs)
            .field("format", format)
            .finish_non_exhaustive()
    }
}

/// One turn of a conversation.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    /// Whose turn it was.
    pub role: Role,
    /// What was said.
    #[serde(with = "text")]
    pub content: Secret<String>,
    /// The calls that the turn made: the model's alone makes any.
    pub calls: Vec<ToolCall>,
    /// Which call the turn answers: a tool's alone does.
    pub answers: Option<String>,
}

impl Message {
    /// A turn that is nothing but text.
    pub const fn new(role: Role, content: Secret<String>) -> Self {
        Self { role, content, calls: Vec::new(), answers: None }
    }

    fn copy(&self) -> Self {
        Self {
            role: self.role,
            content: copy(&self.content),
            calls: self.calls.iter().map(ToolCall::copy).collect(),
            answers: self.answers.clone(),
        }
    }
}

/// A secret is never copied but by saying so.
pub(crate) fn copy(text: &Secret<String>) -> Secret<String> {
    Secret::new(text.expose().clone())
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Role {
    /// Instructions from the application (`OpenAI`'s `developer` is the same role).
    System,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
    /// A function that the model called.
    Tool,
}

impl Role {
    /// The word that chat templates know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// Reads the word that clients write; `developer` means `system`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            "tool" => Some(Self::Tool),
            _ => None,
        }
    }
}

/// How the next token is chosen.
///
/// The order is: penalties and biases, temperature, `top_k`, `top_p`, `min_p`. The same seed gives
/// the same bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sampling {
    /// Zero is greedy; at most 2.
    pub temperature: f32,
    /// Keeps the likeliest tokens whose probabilities add up to this much; in (0, 1].
    pub top_p: f32,
    /// Keeps so many of the likeliest tokens; at least 1.
    pub top_k: Option<u32>,
    /// Keeps the tokens that are at least this much as likely as the likeliest; in [0, 1].
    pub min_p: f32,
    /// Taken off a token's logit as often as the answer has it; between -2 and 2.
    pub frequency_penalty: f32,
    /// Taken off a token's logit once the answer has it; between -2 and 2.
    pub presence_penalty: f32,
    /// Where the random draws start.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        min_p: 0.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        seed: 0,
    };

    /// Whether it minds what has been said.
    pub(crate) fn penalises(&self) -> bool {
        self.frequency_penalty.abs() > 0.0 || self.presence_penalty.abs() > 0.0
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] that names the first field that is not.
    pub fn check(&self) -> Result<(), EngineError> {
        let bad = |field, why| Err(EngineError::BadRequest { field, why });
        if !(0.0..=2.0).contains(&self.temperature) {
            return bad("temperature", "must be between 0 and 2");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", "must be above 0 and at most 1");
        }
        if self.top_k == Some(0) {
            return bad("top_k", "must be at least 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return bad("min_p", "must be between 0 and 1");
        }
        if !(-2.0..=2.0).contains(&self.frequency_penalty) {
            return bad("frequency_penalty", "must be between -2 and 2");
        }
        if !(-2.0..=2.0).contains(&self.presence_penalty) {
            return bad("presence_penalty", "must be between -2 and 2");
        }
        Ok(())
    }
}

/// A generation that runs; dropping it cancels it.
#[derive(Debug)]
pub struct Generation {
    /// The prompt's length in tokens.
    pub prompt_tokens: u32,
    /// What happens, in order; the last event is `Finished` or `Failed`.
    ///
    /// The channel holds a whole answer, so a slow reader delays nobody.
    pub events: mpsc::Receiver<GenerationEvent>,
}

/// One thing that happened in a generation.
#[derive(Debug, Deserialize, Serialize)]
pub enum GenerationEvent {
    /// More text, how many tokens have been generated so far, and how likely the tokens were that
    /// begin in this text, where that was asked for. A token without text is not among them.
    Delta(#[serde(with = "text")] Secret<String>, u32, Vec<TokenLogprobs>),
    /// More of a call, and how many tokens have been generated so far.
    Call(CallDelta, u32),
    /// The vector of the next text: as many numbers as the model is wide, of length 1.
    Vector(#[serde(with = "numbers")] Secret<Vec<f32>>),
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// How many tokens were generated, the one that ended the answer included.
        completion_tokens: u32,
    },
    /// The answer will not be completed.
    Failed(EngineError),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FinishReason {
    /// The model ended its turn, or wrote a stop text.
    Stop,
    /// The model ended its turn with calls.
    ToolCalls,
    /// `max_tokens` or the context was used up.
    Length,
}

/// Why a request is not served. It never holds a client's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EngineError {
    /// Every place is taken; ask again.
    Busy {
        /// Seconds after which asking again makes sense.
        retry_after_s: u32,
    },
    /// As many requests of this tenant wait as may; others are still let in.
    TenantBusy {
        /// Seconds after which asking again makes sense.
        retry_after_s: u32,
    },
    /// The prompt leaves no room for an answer.
    ContextTooLong {
        /// The prompt's length in tokens (or, when it was not worth counting, a lower bound).
        prompt_tokens: u32,
        /// Prompt and answer together may be this long.
        limit: u32,
    },
    /// The model's chat template did not take this conversation.
    Template(TemplateFault),
    /// A field is out of its range.
    BadRequest {
        /// The field, by its name in the request.
        #[serde(with = "word")]
        field: Word,
        /// What it must be.
        #[serde(with = "word")]
        why: Word,
    },
    /// A defect of ours ended the generation; others go on.
    Crashed,
    /// The engine is shutting down.
    Stopping,
    /// The answer took longer than whoever runs the engine allows.
    OutOfTime,
}

/// What went wrong in a chat template.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TemplateFault {
    /// The template refused the conversation (`raise_exception`), for the order of its roles perhaps.
    Refused,
    /// The template failed to evaluate.
    Failed,
    /// The template wanted more time or space than it may have.
    Exhausted,
}

impl EngineError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "engine-busy",
            Self::TenantBusy { .. } => "tenant-busy",
            Self::ContextTooLong { .. } => "context-length-exceeded",
            Self::Template(_) => "chat-template-refused",
            Self::BadRequest { .. } => "invalid-value",
            Self::Crashed => "engine-crashed",
            Self::Stopping => "engine-stopping",
            Self::OutOfTime => "engine-out-of-time",
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { retry_after_s } => {
                write!(f, "every place is taken; ask again in {retry_after_s} s")
            }
            Self::TenantBusy { retry_after_s } => {
                write!(f, "too many requests of this tenant wait; ask again in {retry_after_s} s")
            }
            Self::ContextTooLong { prompt_tokens, limit } => {
                write!(
                    f,
                    "the prompt has {prompt_tokens} tokens; prompt and answer together may have {limit}"
                )
            }
            Self::Template(fault) => f.write_str(match fault {
                TemplateFault::Refused => "the model's chat template refuses this conversation",
                TemplateFault::Failed => "the model's chat template failed on this conversation",
                TemplateFault::Exhausted => {
                    "the model's chat template took too long on this conversation"
                }
            }),
            Self::BadRequest { field, why } => write!(f, "`{field}` {why}"),
            Self::Crashed => f.write_str("the engine failed; the request may be sent again"),
            Self::Stopping => f.write_str("the engine is shutting down"),
            Self::OutOfTime => f.write_str("the answer took longer than it may"),
        }
    }
}

impl core::error::Error for EngineError {}

/// What a model is, as its manifest states it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ModelDescription {
    /// SHA-256 of the model file.
    pub weights_sha256: [u8; 32],
    /// SHA-256 of what decides how text becomes tokens.
    ///
    /// Hashed are `veritee tokenizer v1` and a zero byte, then for every metadata key that starts
    /// with `tokenizer.`, the chat template's apart, in byte order: the key's length, the key, the
    /// value's length, and the value as the file has it (type, then contents). Lengths are 8 bytes,
    /// little endian.
    pub tokenizer_sha256: [u8; 32],
    /// SHA-256 of the chat template's bytes.
    pub template_sha256: [u8; 32],
    /// Which arithmetic: one profile, one output.
    #[serde(with = "word")]
    pub numeric_profile: Word,
    /// The architecture's name.
    pub architecture: String,
    /// The longest prompt and answer together, in tokens.
    pub context_length: u32,
}

/// Stop texts per request; `OpenAI` allows 4.
const STOPS_MAX: usize = 16;
/// Bytes in a stop text.
const STOP_BYTES_MAX: usize = 1024;
/// Tokens with a bias.
const BIASES_MAX: usize = 300;
/// The greatest bias, and minus the one that bans.
pub(crate) const BIAS_MAX: f32 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_words() {
        let order = Order { stop: vec!["canary".to_owned()], ..Order::default() };
        let messages = vec![Message::new(Role::User, Secret::new("canary".to_owned()))];
        let request = Request::new(messages, order);
        let event = GenerationEvent::Delta(Secret::new("canary".to_owned()), 1, vec![]);
        assert!(!format!("{request:?} {:?} {event:?}", request.messages).contains("canary"));
        let stop = vec!["canary".to_owned()];
        let format = Format::Schema(Secret::new("canary".to_owned()));
        let order = Order { stop, format, ..Order::default() };
        let completion = Completion { prompt: Secret::new("canary".to_owned()), order };
        assert!(!format!("{completion:?}").contains("canary"));
    }

    #[test]
    fn sampling_is_refused_by_field() {
        let bad = [
            (Sampling { temperature: -0.1, ..Sampling::GREEDY }, "temperature"),
            (Sampling { temperature: 2.1, ..Sampling::GREEDY }, "temperature"),
            (Sampling { top_p: 1.1, ..Sampling::GREEDY }, "top_p"),
            (Sampling { top_k: Some(0), ..Sampling::GREEDY }, "top_k"),
            (Sampling { min_p: 1.1, ..Sampling::GREEDY }, "min_p"),
            (Sampling { frequency_penalty: -2.1, ..Sampling::GREEDY }, "frequency_penalty"),
            (Sampling { presence_penalty: f32::NAN, ..Sampling::GREEDY }, "presence_penalty"),
        ];
        for (sampling, expected) in bad {
            assert!(
                matches!(sampling.check(), Err(EngineError::BadRequest { field, .. }) if field == expected)
            );
        }
        assert_eq!(Sampling::GREEDY.check(), Ok(()));
        for bias in [vec![(1, 100.5)], vec![(1, f32::NAN)], vec![(1, 0.0); 301]] {
            let error = Order { bias, ..Order::default() }.check();
            assert!(matches!(error, Err(EngineError::BadRequest { field: "logit_bias", .. })));
        }
        assert_eq!(Order { bias: vec![(1, -100.0); 300], ..Order::default() }.check(), Ok(()));
    }

    #[test]
    fn roles_have_the_names_that_clients_write() {
        assert_eq!(Role::parse("developer"), Some(Role::System));
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("function"), None);
    }
}
