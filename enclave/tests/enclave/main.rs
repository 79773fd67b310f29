//! The enclave from outside: an in-process instance with an engine of the tests' own, and a client
//! made from HPKE directly, which can misbehave.

mod evidence;
mod lifecycle;
mod limits;
mod log;
mod program;
mod rotation;
mod sealed;
mod stream;
mod support;
