//! See `parsers::gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| parsers::gguf(bytes));
