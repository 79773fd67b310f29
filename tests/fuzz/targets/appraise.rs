//! See `parsers::appraise`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::appraise(bytes));
