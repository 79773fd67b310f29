//! See `parsers::bundle`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("bundle"), |bytes: &[u8]| parsers::bundle(bytes));
