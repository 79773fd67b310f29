//! The harness of the end-to-end tests: the adversary as a component.
//!
//! [`relay`] stands where the operator stands, and does to the traffic whatever a [`script::Script`] says. [`framing`] lets
//! it cut sealed bodies at their chunks without a key. [`fleet`] is the honest rest, in process; [`programs`] starts it as programs,
//! and [`wire`] asks them and puts down what passes. [`scan`] looks for secrets
//! where they must not be.
//! [`parsers`] says what every parser owes to any bytes; the fuzz targets beside the tests share it. [`hostile`] is a
//! mebibyte of malice.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

pub mod fleet;
pub mod framing;
pub mod hostile;
pub mod lies;
pub mod octets;
pub mod parsers;
pub mod programs;
pub mod relay;
pub mod scan;
pub mod script;
pub mod wire;
