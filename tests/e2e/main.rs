//! The whole stack, story by story: the libraries of the real programs, in process, with the hostile operator in between.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a story that cannot go on fails"
)]

mod happy;
mod hostile;
mod policies;
mod programs;
mod sdk;
mod told;
