//! See `parsers::chunks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::chunks(bytes));
