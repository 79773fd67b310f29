//! See `parsers::ocsp`.
#![no_main]

#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::plant("ocsp"), |bytes: &[u8]| parsers::ocsp(bytes));
