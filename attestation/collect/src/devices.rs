use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attestation::{Endorsements, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::CollectError;

/// One way to ask all accelerators that the enclave uses. Calls block, for seconds.
pub trait Accelerators: Send {
    /// Has every device sign `nonce`.
    fn evidence(&mut self, nonce: &Sha256) -> Result<AcceleratorEvidence, CollectError>;
}

/// Any function of a nonce: tests play devices this way.
impl<F> Accelerators for F
where
    F: FnMut(&Sha256) -> Result<AcceleratorEvidence, CollectError> + Send,
{
    fn evidence(&mut self, nonce: &Sha256) -> Result<AcceleratorEvidence, CollectError> {
        self(nonce)
    }
}

/// What accelerators signed; raw, judged by nobody yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceleratorEvidence {
    /// The list of all devices' evidence: the bundle's `accel`, exactly.
    pub evidence: Vec<u8>,
    /// What the vendor says of the devices; often nothing.
    pub endorsements: Endorsements,
}

/// The accelerators, asked off the runtime's threads and one question at a time.
#[derive(Clone)]
pub struct Devices {
    accelerators: Arc<Mutex<Box<dyn Accelerators>>>,
    wait_max: Duration,
}

impl Devices {
    /// Asks through `accelerators`; an answer that takes more than a minute is none.
    pub fn new(accelerators: Box<dyn Accelerators>) -> Self {
        Self { accelerators: Arc::new(Mutex::new(accelerators)), wait_max: WAIT_MAX }
    }

    /// All devices' evidence over `nonce`. Needs a runtime.
    pub async fn evidence(&self, nonce: Sha256) -> Result<AcceleratorEvidence, CollectError> {
        let accelerators = Arc::clone(&self.accelerators);
        let asked = spawn_blocking(move || {
            // A device that panicked may be asked again: its state is its own.
            let mut accelerators = accelerators.lock().unwrap_or_else(PoisonError::into_inner);
            accelerators.evidence(&nonce)
        });
        match timeout(self.wait_max, asked).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CollectError::Closed),
            Err(_) => Err(CollectError::TimedOut),
        }
    }
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Devices(..)")
    }
}

/// Eight GPUs and four switches sign one after the other, each within a few seconds.
const WAIT_MAX: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use attestation::Digest;

    use super::*;

    fn answer(nonce: &Sha256) -> AcceleratorEvidence {
        let evidence = nonce.as_bytes().to_vec();
        AcceleratorEvidence { evidence, endorsements: Endorsements::new() }
    }

    #[tokio::test]
    async fn devices_answer_the_nonce_or_say_why_not() {
        let mut refusals = 1;
        let devices = Devices::new(Box::new(move |nonce: &Sha256| {
            if refusals > 0 {
                refusals -= 1;
                return Err(CollectError::Refused);
            }
            Ok(answer(nonce))
        }));
        let nonce = Digest([7; 32]);
        assert_eq!(devices.evidence(nonce).await, Err(CollectError::Refused));
        assert_eq!(devices.evidence(nonce).await, Ok(answer(&nonce)));
    }

    #[tokio::test]
    async fn a_device_that_hangs_or_dies_is_an_error() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mut devices = Devices::new(Box::new(move |nonce: &Sha256| {
            // It ends with the channel, and never before.
            stopped.recv().map_or_else(|_| Ok(answer(nonce)), |()| Err(CollectError::Refused))
        }));
        devices.wait_max = Duration::ZERO;
        assert_eq!(devices.evidence(Digest([7; 32])).await, Err(CollectError::TimedOut));
        drop(stop);
        let dies = |_: &Sha256| -> Result<AcceleratorEvidence, CollectError> { panic!("it dies") };
        let devices = Devices::new(Box::new(dies));
        for _ in 0..2 {
            assert_eq!(devices.evidence(Digest([7; 32])).await, Err(CollectError::Closed));
        }
    }
}
