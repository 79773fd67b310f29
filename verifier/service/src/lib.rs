//! Verification as a service: evidence in, a signed Attestation Result out.
//!
//! For relying parties that would rather trust an issuer than link the verifier. What is signed is
//! an EAR ([`verifier::ear`]) as a JWT; what decides is [`verifier::appraise_with`], as everywhere.
//!
//! - `config`: what the file says, and what it means;
//! - `policies`, `endorsements`: files that are followed while the service runs; `memory`: which versions counted;
//! - `keys`, `jws`: the signing key, the keys that are published, and the signature;
//! - `appraise`: one request, from its body to its answer; `route`: which path does what;
//! - `serve`: connections, from the first to the last; `workers`: the threads that answer them; `metrics`, `problem`: what is told of it.
#![forbid(unsafe_code)]

mod appraise;
mod config;
mod endorsements;
mod files;
mod jws;
mod keys;
mod memory;
mod metrics;
mod policies;
mod problem;
mod route;
mod serve;
mod state;
mod workers;

pub use config::{Config, ConfigError, Limits, Signing, Timeouts, Tls};
pub use files::FileError;
pub use keys::{Algorithm, KeyError, PublicKey, SigningKey};
pub use policies::{PolicyStatus, Standing};
pub use serve::serve;
pub use state::{Clock, Service, Unusable};
