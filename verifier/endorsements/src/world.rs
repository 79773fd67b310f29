//! What only a program may read: the clock, randomness, and the passing of time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use attestation::UnixTime;

/// The surroundings, given by the program; tests give their own.
pub trait World: Send + Sync {
    /// The time.
    fn now(&self) -> UnixTime;

    /// Fills `bytes` with randomness; `false` where the system gives none.
    fn random(&self, bytes: &mut [u8]) -> bool;

    /// Waits.
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
