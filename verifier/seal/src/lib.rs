//! Sealing a request to an attested key, and opening the one response that belongs to it.
//!
//! This crate stands above the verifier, so that to link encryption is to link verification: the
//! only way in is [`seal`], and it takes an [`Attested`](verifier::Attested) key, which only a
//! successful appraisal makes. There is one suite, X-Wing with AES-256-GCM, and nothing to choose.
//!
//! ```
//! use channel::{Fields, Request};
//! use seal::{Broken, Event, OpenStream, SealError, seal};
//! # use attestation::{SealingKey, UnixTime};
//! # use verifier::Attested;
//! # fn send(_: Vec<u8>) -> Vec<Vec<u8>> { Vec::new() }
//! # fn ask(key: &Attested<SealingKey>, request: &Request, now: UnixTime) -> Result<(), Box<dyn std::error::Error>> {
//! let (sealed, pending) = seal(key, request, now)?;   // Expired is an error
//! let mut stream = pending.open();
//! let mut events = Vec::new();
//! for bytes in send(sealed.into_bytes()) {
//!     stream.push(&bytes, &mut events)?;              // events: head, content …
//! }
//! let finished = stream.finish()?;                    // Ok only after the final chunk
//! let _receipt = finished.trailers.only(channel::names::RECEIPT)?;
//! # Ok(()) }
//! ```
//!
//! A key that nobody verified does not fit (the proof is a compile-fail test of the workspace):
//!
//! ```compile_fail
//! # use attestation::{SealingKey, UnixTime};
//! fn ask(key: &SealingKey, request: &channel::Request, now: UnixTime) {
//!     let _ = seal::seal(key, request, now);
//! }
//! ```
//!
//! A sealed request is sent once, and a pending response opened once:
//!
//! ```compile_fail
//! fn twice(sealed: seal::SealedRequest) -> (Vec<u8>, Vec<u8>) {
//!     (sealed.into_bytes(), sealed.into_bytes())
//! }
//! ```
#![forbid(unsafe_code)]

mod open;
mod request;
#[cfg(test)]
mod tests;

pub use open::{Broken, Event, Finished, OpenStream, PendingResponse, Transcript};
pub use request::{SealError, SealedRequest, seal};
