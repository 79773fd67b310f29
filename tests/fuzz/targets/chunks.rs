//! See `parsers::chunks`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("chunks"), |bytes: &[u8]| parsers::chunks(bytes));
