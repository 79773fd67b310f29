//! The repository tests itself: what `ARCHITECTURE.md` and the documents promise about the code, kept true.
//!
//! Every check names the file and says what to do. `cargo tidy` runs these alone.

mod dag;
mod docs;
mod files;
mod judge;
mod repository;
