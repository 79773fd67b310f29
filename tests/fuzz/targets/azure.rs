//! See `parsers::azure`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("azure"), |bytes: &[u8]| parsers::azure(bytes));
