//! See `parsers::device`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("device"), |bytes: &[u8]| parsers::device(bytes));
