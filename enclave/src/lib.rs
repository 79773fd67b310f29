//! The enclave: opens sealed requests, has the engine answer them, seals the answers.
//!
//! It is the only program that sees a prompt, and it is built so that nothing leaves it but what is
//! sealed: [`boot`] makes keys and has the platform sign for them, for the model and for the
//! configuration ([`config`]); requests come sealed (`docs/protocol.md` §5.4), answers leave sealed
//! and receipted (§5.7, §5.8); the log knows a closed vocabulary ([`event`]), the metrics know even
//! less ([`metrics`]). It trusts no router, no clock and no environment.
//!
//! ```no_run
//! # async fn run(engine: std::sync::Arc<dyn engine::Engine>, text: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use enclave::{Clock, Config, boot::Boot};
//!
//! let clock = Clock::new(|| attestation::UnixTime::from_secs(1_800_000_000));
//! let boot = Boot::new(Config::parse(text)?, clock);
//! let (attester, accelerators) = (boot.attester()?, boot.accelerators());
//! let serving = boot.make_keys(attester, accelerators)?.load(engine)?.attest().await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! enclave::serve(listener, serving, std::future::pending()).await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

pub mod boot;
mod choices;
pub mod config;
pub mod event;
pub mod files;
pub mod metrics;
pub mod model;
pub mod openai;
pub mod problem;
pub mod process;

mod answer;
mod clock;
mod epochs;
mod front;
mod inner;
mod keys;
mod limits;
mod line;
mod ohttp;
mod pipe;
mod receipts;
mod route;
mod serve;
mod vectors;

pub use boot::{Boot, Serving};
pub use clock::Clock;
pub use config::Config;
pub use serve::serve;
