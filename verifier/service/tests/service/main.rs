//! The service over real connections: what it answers, what it refuses, what it follows.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail anywhere"
)]

#[path = "../../../tests/outcome/mod.rs"]
mod outcome;
#[path = "../../../tests/world/mod.rs"]
mod world;

mod files;
mod http;
mod limits;
mod running;
mod second;
mod secure;
mod trusted;
mod verdicts;
