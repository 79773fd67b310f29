//! See `parsers::receipt`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("receipt"), |bytes: &[u8]| parsers::receipt(bytes));
