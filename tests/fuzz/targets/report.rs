//! See `parsers::report`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("report"), |bytes: &[u8]| parsers::report(bytes));
