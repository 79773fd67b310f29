//! See `parsers::gguf`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("gguf"), |bytes: &[u8]| parsers::gguf(bytes));
