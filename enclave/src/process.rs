//! The engine in a process of its own.
//!
//! The server holds the keys and reads what strangers send; the engine reads a model's file and
//! multiplies. Neither needs what the other has, so they do not share memory: the engine is this same
//! program, started again with nothing but a socket to the server and the model's open file. It can
//! open no file, make no connection and start no program (`sandbox`). When it dies, what it was
//! answering fails, the keys are where they were, and another is started (`remote`).
//!
//! - `frame`: what the two say to each other;
//! - `remote`: the server's end, an [`Engine`](engine::Engine);
//! - `child`: the engine's end;
//! - `pulse`: whether it hangs;
//! - `sandbox`: what the engine's process gives up before it reads a byte.

pub mod child;
mod frame;
mod pulse;
mod remote;
mod sandbox;

pub use remote::{ProcessError, RemoteEngine};
