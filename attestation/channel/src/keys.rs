//! Key epochs: one key is offered, the one before is accepted for a while, then it is gone.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::recipient::Recipient;
use crate::refused::Refused;

/// Shortest epoch (`docs/protocol.md` §5.1).
const EPOCH_MIN: Duration = Duration::from_mins(10);

/// How long keys live. All times are durations since boot on a monotonic clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    epoch: Duration,
    grace: Duration,
    requests_max: usize,
}

impl Rotation {
    /// Epochs of `epoch`, a grace of `grace` after each, at most `requests_max` requests per key.
    ///
    /// # Errors
    /// An epoch shorter than ten minutes, a grace longer than the epoch, and a key that would accept
    /// nothing.
    pub fn new(
        epoch: Duration,
        grace: Duration,
        requests_max: usize,
    ) -> Result<Self, RotationError> {
        if epoch < EPOCH_MIN {
            return Err(RotationError::EpochTooShort);
        }
        // A longer grace would keep two old keys, and the eight bits of an id would wrap sooner.
        if grace > epoch {
            return Err(RotationError::GraceTooLong);
        }
        if requests_max == 0 {
            return Err(RotationError::NoRequests);
        }
        Ok(Self { epoch, grace, requests_max })
    }

    /// Length of an epoch.
    pub const fn epoch(&self) -> Duration {
        self.epoch
    }

    /// Length of the grace after an epoch.
    pub const fn grace(&self) -> Duration {
        self.grace
    }
}

impl Default for Rotation {
    /// One hour, ten minutes of grace, 2^18 requests (`docs/protocol.md` §5.1). The set of that many
    /// requests takes some 16 MiB.
    fn default() -> Self {
        Self {
            epoch: Duration::from_hours(1),
            grace: Duration::from_mins(10),
            requests_max: 1 << 18,
        }
    }
}

/// Why a [`Rotation`] is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RotationError {
    /// The epoch is shorter than ten minutes.
    EpochTooShort,
    /// The grace is longer than the epoch.
    GraceTooLong,
    /// A key would accept no request.
    NoRequests,
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EpochTooShort => "a key epoch must last at least ten minutes",
            Self::GraceTooLong => "the grace of a key must not be longer than its epoch",
            Self::NoRequests => "a key must accept at least one request",
        })
    }
}

impl core::error::Error for RotationError {}

/// The keys of an enclave: the current one, and those in grace.
///
/// Rotation has two steps, because evidence for the next key takes time: [`stage`](Self::stage)
/// makes the key, the enclave collects evidence for it, [`promote`](Self::promote) offers it.
#[derive(Debug)]
pub struct KeyRing {
    rotation: Rotation,
    current: Epoch,
    staged: Option<Epoch>,
    grace: Vec<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    number: u64,
    key: Arc<Recipient>,
    /// When clients stop sealing to it. For a staged key: not known before it is promoted.
    ends: Duration,
}

impl KeyRing {
    /// Starts with epoch 0 at `now`.
    pub fn new(rotation: Rotation, now: Duration) -> Self {
        let current = Epoch::new(0, &rotation, now);
        Self { rotation, current, staged: None, grace: Vec::new() }
    }

    /// The key that is offered.
    pub const fn current(&self) -> &Arc<Recipient> {
        &self.current.key
    }

    /// The number of the current epoch.
    pub const fn epoch(&self) -> u64 {
        self.current.number
    }

    /// When the current epoch ends: the latest `not_after` that evidence for its key may have.
    pub const fn ends(&self) -> Duration {
        self.current.ends
    }

    /// Whether it is time to rotate: the epoch ends within `lead`, or its key is nearly full, so that
    /// there is another when it is.
    pub fn is_due(&self, now: Duration, lead: Duration) -> bool {
        now.saturating_add(lead) >= self.current.ends || self.current.key.is_nearly_full()
    }

    /// Makes the next epoch's key, or gives the one that was made already. Nothing accepts it yet.
    pub fn stage(&mut self, now: Duration) -> &Arc<Recipient> {
        let number = self.current.number.wrapping_add(1);
        let rotation = self.rotation;
        &self.staged.get_or_insert_with(|| Epoch::new(number, &rotation, now)).key
    }

    /// Offers the staged key, whose epoch starts `now`; the one before goes into its grace. False if
    /// none is staged.
    pub fn promote(&mut self, now: Duration) -> bool {
        let Some(next) = self.staged.take() else { return false };
        let next = Epoch { ends: now.saturating_add(self.rotation.epoch), ..next };
        self.grace.push(core::mem::replace(&mut self.current, next));
        self.expire(now);
        true
    }

    /// Zeroises the keys whose grace is over, and those in grace that are full. Call it often.
    pub fn expire(&mut self, now: Duration) {
        let grace = self.rotation.grace;
        self.grace.retain(|epoch| {
            let keep = epoch.is_accepted(now, grace) && !epoch.key.is_full();
            if !keep {
                epoch.key.retire();
            }
            keep
        });
        if !self.current.is_accepted(now, grace) {
            // The platform gave no evidence for a successor in all that time.
            self.current.key.retire();
        }
    }

    /// The key with this id, if it is accepted now. One in grace that is full has ended: whoever still
    /// seals to it is to ask for the next.
    ///
    /// # Errors
    /// [`Refused::UnknownKey`].
    pub fn lookup(&self, key_id: u8, now: Duration) -> Result<&Arc<Recipient>, Refused> {
        let grace = self.grace.iter().filter(|epoch| !epoch.key.is_full());
        core::iter::once(&self.current)
            .chain(grace)
            .find(|epoch| epoch.key.public().key_id() == key_id)
            .filter(|epoch| epoch.is_accepted(now, self.rotation.grace))
            .map(|epoch| &epoch.key)
            .ok_or(Refused::UnknownKey)
    }
}

impl Epoch {
    fn new(number: u64, rotation: &Rotation, now: Duration) -> Self {
        let [key_id, ..] = number.to_le_bytes();
        let key = Arc::new(Recipient::generate(key_id, rotation.requests_max));
        Self { number, key, ends: now.saturating_add(rotation.epoch) }
    }

    fn is_accepted(&self, now: Duration, grace: Duration) -> bool {
        now < self.ends.saturating_add(grace)
    }
}
