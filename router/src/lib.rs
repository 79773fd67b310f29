//! The operator's side of Veritee: a router that carries ciphertext and can read none of it.
//!
//! In OHTTP's words this is the *Relay*: it forwards `message/ohttp-chunked-*` bytes between clients and enclaves
//! (docs/protocol.md §5.4, §5.7) and passes evidence through unchanged (docs/protocol.md §5.3). It links neither the channel
//! nor the verifier, so it could not open a request if it wanted to. What it says of the fleet is a hint: clients believe
//! only what they verify.
//!
//! - `pool` learns which enclaves are there and ready, by asking each one's `/readyz`;
//! - `route` tells requests apart and answers what the router answers itself;
//! - `keys` knows who may ask, `limits` how much of it;
//! - `relay` carries one request to one enclave, streaming both ways;
//! - `upstream` makes and keeps the connections to one enclave, `guard` recognises it;
//! - `serve` accepts, bounds and drains connections;
//! - `metrics` counts for the operator, and nothing that depends on content; `told` bounds what clients can have logged.
#![forbid(unsafe_code)]

mod body;
mod config;
mod guard;
mod keys;
mod limits;
mod metrics;
mod owned;
mod pool;
mod problem;
mod relay;
mod route;
mod serve;
mod told;
mod upstream;

pub use config::{
    Certificate, Config, ConfigError, Enclave, KeyLimits, KeyMetrics, Keys, Limits, PinSource,
    Reach, Readers, Timeouts,
};
pub use keys::{Key, KeyId, KeySeed, KeysError, KeysFile, Overrides};
pub use serve::serve;
