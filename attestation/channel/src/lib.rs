//! The sealed channel between a client and an enclave: Chunked OHTTP carrying Binary HTTP.
//!
//! This is the half that both ends share and the half that opens; the half that seals a request is
//! the crate `seal`, above the verifier. Everything here is pure: no I/O and no clock; randomness is
//! an argument, except for making a key pair. The names on the wire are those of OHTTP (RFC 9458,
//! draft-ietf-ohai-chunked-ohttp); in its words the enclave is *Gateway* and *Target*, and the
//! operator's router is the *Relay*.
//!
//! An enclave reads a request and answers it like this (`docs/protocol.md` §5.4 to §5.8):
//!
//! ```
//! use channel::{Answer, Fields, KeyRing, Limit, RequestHeader, Rotation};
//! # use std::time::Duration;
//! # fn serve(ring: &KeyRing, body: &[u8], entropy: [u8; 32]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//! let (head, rest) = body.split_at_checked(channel::HEADER_LEN).ok_or("short")?;
//! let header = RequestHeader::parse(head)?;                   // refused before any cryptography
//! let key = ring.lookup(header.key_id(), Duration::ZERO)?;
//! let mut opener = key.begin(&header, Limit::default())?;     // replay set, then decapsulation
//! opener.push(rest)?;
//! let opened = opener.finish()?;                              // final chunk, then the replay set
//! let parsed = channel::Request::parse(opened.plaintext.expose())?;
//!
//! let (sealer, mut out) = opened.reply.into_sealer(&entropy);
//! let mut answer = Answer::begin(sealer, &opened.blinds, 200, &Fields::new(), &mut out)?;
//! answer.event(b"data: {}\n\n", &mut out)?;
//! let _res_mac = answer.res_mac();                            // goes into the receipt
//! answer.finish(&Fields::new(), &mut out)?;
//! # Ok(out) }
//! ```
#![forbid(unsafe_code)]

pub mod bhttp;
pub mod chunks;
pub mod names;
pub mod padding;
pub mod schedule;

mod answer;
mod header;
mod keys;
mod recipient;
mod refused;
mod replay;
mod reply;
mod stack;
mod suite;
mod varint;

pub use answer::Answer;
pub use bhttp::{Fields, Request};
pub use header::{HEADER_LEN, RequestHeader};
pub use keys::{KeyRing, Rotation, RotationError};
pub use padding::Cadence;
pub use recipient::{Limit, Opened, Recipient, RequestOpener};
pub use refused::{Outer, Refused};
pub use replay::ReplaySet;
pub use reply::{Broken, ReplyKeys, ResponseOpener, ResponseSealer, Unsealable};
pub use schedule::{Blinds, Exports};
pub use suite::{ENC_LEN, Suite, TAG_LEN};
