//! Turns conversations into text: the [`Engine`] trait, the embedded GGUF engine, and an echo for tests.
//!
//! [`EmbeddedEngine`] runs models of the architectures llama, qwen2, qwen3 and gemma3 from a GGUF file on the CPU. Its input is a
//! [`VerifiedModel`]: the bytes that are parsed are the bytes that were hashed. What it computes is
//! one numeric profile: the same bytes come out for every instruction set, thread count and batch
//! mix. It opens no file, no socket, reads no clock and no environment.
//!
//! Everything unsafe is in the private module `kernels`.

mod api;
mod dialogue;
mod echo;
mod embedded;
mod embedding;
mod gguf;
mod grammar;
mod kernels;
mod logprobs;
mod model;
mod plain;
#[cfg(test)]
mod recorded;
mod sampler;
mod scheduler;
mod schema;
mod stop;
mod template;
pub mod tiny;
mod tokenizer;
mod tools;
mod verified;

pub use api::{
    Completion, Embedding, EmbeddingInput, Engine, EngineError, FinishReason, Format, Generation,
    GenerationEvent, Message, ModelDescription, Order, Request, Role, Sampling, TemplateFault,
};
pub use attestation::Secret;
pub use echo::EchoEngine;
pub use embedded::{EmbeddedEngine, EngineOptions};
pub use gguf::{LoadError, TensorType};
pub use kernels::Instructions;
pub use logprobs::{Candidate, TokenLogprobs};
pub use scheduler::Pulse;
pub use tokenizer::{Controls, Tokenizer};
pub use tools::{CallDelta, Tool, ToolCall, ToolChoice, Tools};
pub use verified::{ReadError, VerifiedModel};
