//! The whole stack, story by story: the libraries of the real programs, in process, with the hostile operator in between.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a story that cannot go on fails"
)]

mod floods;
mod happy;
mod hostile;
mod logs;
mod malformed;
mod pitfalls;
mod platforms;
mod policies;
mod programs;
mod rebinding;
mod sdk;
mod tls;
mod told;
