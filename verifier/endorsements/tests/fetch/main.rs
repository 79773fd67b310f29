//! Fetching against a local service that answers as it is told, faults included.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test"
)]

mod faults;
mod keeping;
mod papers;
mod real;
mod service;
mod services;
mod stage;
mod tls;
