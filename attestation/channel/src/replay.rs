//! The set of requests that a key has accepted: exact, bounded, and never forgetful.

use core::fmt;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use attestation::Sha256;

use crate::refused::Refused;

/// Which requests a key has accepted (`docs/protocol.md` §5.5).
///
/// It is looked up before decapsulation and inserted into, atomically, once the final chunk has
/// authenticated; of two copies in flight one loses. It never evicts: a full set ends its key.
pub struct ReplaySet {
    capacity: usize,
    seen: Mutex<HashSet<Sha256>>,
}

impl ReplaySet {
    /// A set that takes `capacity` requests.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, seen: Mutex::new(HashSet::new()) }
    }

    /// Refuses a request that was accepted before, and every request once the set is full.
    ///
    /// # Errors
    /// [`Refused::Replayed`], [`Refused::ReplaySetFull`].
    pub fn look_up(&self, key: &Sha256) -> Result<(), Refused> {
        Self::judge(&self.lock(), self.capacity, key)
    }

    /// Accepts a request once.
    ///
    /// # Errors
    /// [`Refused::Replayed`], [`Refused::ReplaySetFull`].
    pub fn insert(&self, key: Sha256) -> Result<(), Refused> {
        let mut seen = self.lock();
        Self::judge(&seen, self.capacity, &key)?;
        seen.insert(key);
        Ok(())
    }

    /// Whether no further request will be accepted.
    pub fn is_full(&self) -> bool {
        self.lock().len() >= self.capacity
    }

    /// Whether at most an eighth of its requests is left.
    pub fn is_nearly_full(&self) -> bool {
        self.lock().len() >= self.capacity.saturating_sub(self.capacity / 8)
    }

    fn judge(seen: &HashSet<Sha256>, capacity: usize, key: &Sha256) -> Result<(), Refused> {
        if seen.contains(key) {
            return Err(Refused::Replayed);
        }
        if seen.len() >= capacity { Err(Refused::ReplaySetFull) } else { Ok(()) }
    }

    /// A panic elsewhere cannot leave a half-made insertion, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, HashSet<Sha256>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplaySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplaySet({} of {})", self.lock().len(), self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_once_and_never_evicts() {
        let (set, [a, b, c]) = (ReplaySet::new(2), [b"a", b"b", b"c"].map(|name| Sha256::of(name)));
        assert_eq!(set.look_up(&a), Ok(()));
        assert_eq!(set.insert(a), Ok(()));
        assert_eq!(set.insert(a), Err(Refused::Replayed));
        assert_eq!(set.look_up(&a), Err(Refused::Replayed));
        assert_eq!(set.insert(b), Ok(()));
        assert!(set.is_full());
        assert_eq!(set.insert(c), Err(Refused::ReplaySetFull));
        assert_eq!(set.look_up(&c), Err(Refused::ReplaySetFull));
        assert_eq!(set.look_up(&a), Err(Refused::Replayed), "a full set still knows what it took");
    }

    #[test]
    fn it_is_nearly_full_when_an_eighth_is_left() {
        let set = ReplaySet::new(16);
        for number in 0..13_u8 {
            assert_eq!(set.insert(Sha256::of(&[number])), Ok(()));
        }
        assert!(!set.is_nearly_full());
        assert_eq!(set.insert(Sha256::of(b"fourteenth")), Ok(()));
        assert!(set.is_nearly_full() && !set.is_full());
    }

    #[test]
    fn of_copies_in_flight_one_wins() {
        let (set, key) = (ReplaySet::new(100), Sha256::of(b"x"));
        let wins = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| set.insert(key).is_ok())).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(wins, 1);
    }
}
