//! Handshakes with peers that are right, and with every kind that is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod authorities;
mod classical;
mod files;
mod pinned;
mod stalled;
mod support;
