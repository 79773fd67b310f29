//! What an engine promises to whoever serves it.

use core::fmt;

use attestation::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::logprobs::TokenLogprobs;
use crate::plain::{Word, text, word};

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

    /// What the model manifest is made of.
    fn description(&self) -> &ModelDescription;
}

/// One question to an engine.
#[derive(Deserialize, Serialize)]
pub struct Request {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// The most tokens to generate; without it, what the context has left.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; they are never part of it.
    pub stop: Vec<String>,
    /// Whether to tell how likely each token was, beside how many others: 20 at most.
    pub logprobs: Option<u32>,
    /// Who asks, as far as fairness goes; an opaque value of the server's making.
    pub tenant: [u8; 32],
}

impl fmt::Debug for Request {
    /// Shows no client's words; stop texts are some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, sampling, max_tokens, stop, logprobs, tenant: _ } = self;
        f.debug_struct("Request")
            .field("messages", &messages.len())
            .field("sampling", sampling)
            .field("max_tokens", max_tokens)
            .field("stop", &stop.len())
            .field("logprobs", logprobs)
            .finish_non_exhaustive()
    }
}

/// A text to continue.
#[derive(Deserialize, Serialize)]
pub struct Completion {
    /// The text. What it spells of control tokens is control tokens: there is nobody else's word in it.
    #[serde(with = "text")]
    pub prompt: Secret<String>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// The most tokens to generate; without it, what the context has left.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; they are never part of it.
    pub stop: Vec<String>,
    /// Whether to tell how likely each token was, beside how many others: 20 at most.
    pub logprobs: Option<u32>,
    /// Who asks, as far as fairness goes; an opaque value of the server's making.
    pub tenant: [u8; 32],
}

impl fmt::Debug for Completion {
    /// Shows no client's words; stop texts are some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prompt: _, sampling, max_tokens, stop, logprobs, tenant: _ } = self;
        f.debug_struct("Completion")
            .field("sampling", sampling)
            .field("max_tokens", max_tokens)
            .field("stop", &stop.len())
            .field("logprobs", logprobs)
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
}

impl Role {
    /// The word that chat templates know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// Reads the word that clients write; `developer` means `system`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// How the next token is chosen.
///
/// The order is: temperature, then `top_k`, then `top_p`. The same seed gives the same bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sampling {
    /// Zero is greedy; at most 2.
    pub temperature: f32,
    /// Keeps the likeliest tokens whose probabilities add up to this much; in (0, 1].
    pub top_p: f32,
    /// Keeps so many of the likeliest tokens; at least 1.
    pub top_k: Option<u32>,
    /// Where the random draws start.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, top_k: None, seed: 0 };

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
            Self::ContextTooLong { .. } => "context-length-exceeded",
            Self::Template(_) => "chat-template-refused",
            Self::BadRequest { .. } => "invalid-value",
            Self::Crashed => "engine-crashed",
            Self::Stopping => "engine-stopping",
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { retry_after_s } => {
                write!(f, "every place is taken; ask again in {retry_after_s} s")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_words() {
        let request = Request {
            messages: vec![Message { role: Role::User, content: Secret::new("canary".to_owned()) }],
            sampling: Sampling::GREEDY,
            max_tokens: None,
            stop: vec!["canary".to_owned()],
            logprobs: None,
            tenant: [0; 32],
        };
        let event = GenerationEvent::Delta(Secret::new("canary".to_owned()), 1, vec![]);
        assert!(!format!("{request:?} {:?} {event:?}", request.messages).contains("canary"));
        let completion = Completion {
            prompt: Secret::new("canary".to_owned()),
            sampling: Sampling::GREEDY,
            max_tokens: None,
            stop: vec!["canary".to_owned()],
            logprobs: None,
            tenant: [0; 32],
        };
        assert!(!format!("{completion:?}").contains("canary"));
    }

    #[test]
    fn sampling_is_refused_by_field() {
        let bad = [
            (Sampling { temperature: -0.1, ..Sampling::GREEDY }, "temperature"),
            (Sampling { temperature: 2.1, ..Sampling::GREEDY }, "temperature"),
            (Sampling { top_p: 1.1, ..Sampling::GREEDY }, "top_p"),
            (Sampling { top_k: Some(0), ..Sampling::GREEDY }, "top_k"),
        ];
        for (sampling, expected) in bad {
            assert!(
                matches!(sampling.check(), Err(EngineError::BadRequest { field, .. }) if field == expected)
            );
        }
        assert_eq!(Sampling::GREEDY.check(), Ok(()));
    }

    #[test]
    fn roles_have_the_names_that_clients_write() {
        assert_eq!(Role::parse("developer"), Some(Role::System));
        for role in [Role::System, Role::User, Role::Assistant] {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("tool"), None);
    }
}
