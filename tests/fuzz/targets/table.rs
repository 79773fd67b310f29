//! See `parsers::table`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("table"), |bytes: &[u8]| parsers::table(bytes));
