//! See `parsers::endorsements`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::endorsements(bytes));
