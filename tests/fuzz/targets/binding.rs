//! See `parsers::binding`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("binding"), |bytes: &[u8]| parsers::binding(bytes));
