//! See `parsers::eventlog`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("eventlog"), |bytes: &[u8]| parsers::eventlog(bytes));
