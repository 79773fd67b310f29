//! The channel from outside: everything that a peer or a router can do to the bytes.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests may stop with a panic"
)]

mod answers;
mod epochs;
mod interop;
mod memory;
mod messages;
mod requests;
mod responses;
mod support;
