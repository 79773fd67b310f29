//! See `parsers::endorsements`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("endorsements"), |bytes: &[u8]| parsers::endorsements(bytes));
