//! The harness: a fleet in process, and an adversary in its way.
#![forbid(unsafe_code)]
