//! See `parsers::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::policy(bytes));
