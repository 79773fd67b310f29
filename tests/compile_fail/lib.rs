//! Nothing: this package is its test, which shows what does not compile.
#![forbid(unsafe_code)]
