//! The client: verifies enclaves, seals to one of them, streams the answer and checks its receipt.
//!
//! ```no_run
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{Chat, Client, Clock};
//! # let clock = Clock::new(|| attestation::UnixTime::from_secs(0));
//! let policy = client::load_policy("simulation.toml".as_ref())?;
//! let client = Client::builder("http://127.0.0.1:8080", policy, clock).build()?;
//! let mut answer = client.chat(&Chat::question("smollm2-135m-instruct", "Hello")).await?;
//! while let Some(event) = answer.next().await? {
//!     // `Ok(None)` comes only after the final chunk and the receipt have verified.
//!     let _text = event.text();
//! }
//! # Ok(()) }
//! ```
//!
//! It never falls back: there is no plaintext, no unchunked form and no weaker suite to fall back
//! to. What the router says is a hint; what counts comes from verified evidence. The modules:
//!
//! - `config`: a client's parts, policies from files, the router's address;
//! - `attest`: fleet and evidence, fetched and appraised; `memory`: which versions were seen;
//! - `endorse`: whom it asks for endorsements that evidence lacks;
//! - `session`: verified enclaves, kept until they expire, and the choice among them;
//! - `request`, `retry`: one sealed request, and when to seal again;
//! - `response`: the answer, held back where it says that it is finished, until it is verified;
//! - `openai`: the little of the API that this takes.
#![forbid(unsafe_code)]

mod attest;
mod config;
mod endorse;
mod error;
mod memory;
mod openai;
mod random;
mod request;
mod response;
mod retry;
mod session;
mod signed;
mod sse;
mod transport;

pub use attest::{Access, Enclave, Fetched, fetch_evidence};
pub use config::{
    Builder, Clock, PolicyUnusable, RouterUrl, Timeouts, Unusable, anchor_reader, load_policy,
    read_policy,
};
pub use endorse::{Endorser, Finding, Found, Search, Unendorsed};
pub use error::{Error, Family};
pub use memory::Memory;
pub use openai::{Chat, Endpoint, Event, Message, Request, StreamOptions};
pub use response::{Answer, AnswerStream, Closing, WholeAnswer};
pub use session::{Client, NodeVerdict};
pub use signed::{
    PolicyFiles, load_policy_files, load_signed_policy, read_policy_key, signatures_beside,
};
pub use tls::{Authorities, AuthoritiesError, TlsError};
