//! See `parsers::appraise`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("appraise"), |bytes: &[u8]| parsers::appraise(bytes));
