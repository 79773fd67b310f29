//! The `OpenAI` API as far as this enclave speaks it: requests in, answers and errors out.
//!
//! A request is read strictly: a field that would change the answer and is not supported yet is
//! refused by its name, a field without effect on the answer (`user`) is taken and ignored.

mod embedding;
mod error;
mod object;
mod request;
mod response;

pub use embedding::{EmbeddingRequest, Embeddings, Encoding};
pub use error::ApiError;
pub use request::{Asked, ChatRequest, CompletionRequest, Delivery, Usage};
pub use response::{Completion, Form, Telling, Tokens, Whole, models};
pub(crate) use response::{DONE, error_event};
