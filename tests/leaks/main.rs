//! The leak hunt: canaries go through the real programs on every path, and are looked for wherever they must not be.
//!
//! `control` shows that the scanner finds every form of a canary where there is one; without it, to find nothing means nothing.
//! `canaries` sends them; `cores` makes the programs die.
#![forbid(unsafe_code)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a hunt that cannot go on fails"
)]

mod canaries;
mod control;
mod cores;
mod engine;
mod hunt;
