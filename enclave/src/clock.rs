use std::fmt;
use std::sync::Arc;

use attestation::UnixTime;

/// The wall clock, which is the host's: it dates what the enclave says and decides nothing.
///
/// Key epochs run on monotonic time (`docs/protocol.md` §5.1).
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present, as far as the host tells.
    pub fn now(&self) -> UnixTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}
