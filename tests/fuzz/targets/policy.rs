//! See `parsers::policy`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("policy"), |bytes: &[u8]| parsers::policy(bytes));
