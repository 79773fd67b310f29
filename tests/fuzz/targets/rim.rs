//! See `parsers::rim`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("rim"), |bytes: &[u8]| parsers::rim(bytes));
