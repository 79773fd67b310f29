//! See `parsers::messages`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("messages"), |bytes: &[u8]| parsers::messages(bytes));
