//! See `parsers::binding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::binding(bytes));
