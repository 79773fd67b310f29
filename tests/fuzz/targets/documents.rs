//! See `parsers::documents`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("documents"), |bytes: &[u8]| parsers::documents(bytes));
