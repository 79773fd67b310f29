//! The enclave from outside: an in-process instance with an engine of the tests' own, and a client
//! made from HPKE directly, which can misbehave.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod accelerators;
mod captured;
mod choices;
mod evidence;
mod front;
mod fronted;
mod lifecycle;
mod limits;
mod log;
mod program;
mod rotation;
mod sealed;
mod stream;
mod support;
mod tls;
