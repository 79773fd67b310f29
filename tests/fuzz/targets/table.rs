//! See `parsers::table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::table(bytes));
