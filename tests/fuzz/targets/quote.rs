//! See `parsers::quote`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("quote"), |bytes: &[u8]| parsers::quote(bytes));
