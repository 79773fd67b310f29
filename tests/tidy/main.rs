//! The repository tests itself: what `ARCHITECTURE.md` and the documents promise about the code, kept true.
//!
//! Every check names the file and says what to do. `cargo tidy` runs these alone.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a check that cannot be made fails"
)]

mod dag;
mod docs;
mod files;
mod judge;
mod repository;
