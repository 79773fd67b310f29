//! Chains that were verified before, so that the same one is not verified again.
//!
//! What following a chain yields depends on the certificates and lists that were given and carried,
//! in their order, on the anchors, on whether a list is demanded, and on the time, and on nothing
//! else where one signing key alone is offered. The key of an entry is a digest of all of these but
//! the time; of the time, an entry holds the window in which every comparison with it comes out the
//! same. Only chains without a finding are kept. So a hit is what following would have yielded, and a
//! miss, an expiry or a revocation takes the way that it always took.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use attestation::{Sha256, UnixTime};

use super::{nvidia, snp, tdx};

/// Endorsements that were verified, as typed values, for [`appraise_with`](crate::appraise_with):
/// chains that were followed to an anchor, and what they vouch for.
///
/// It holds no verdict on evidence, no key and no secret: whoever appraises without it comes to the
/// same result, later. Threads may share it; it is held for a look-up alone.
pub struct ChainCache {
    /// Signing keys of SEV-SNP.
    pub(super) snp: Store<snp::Chain>,
    /// What Intel says of platforms of TDX.
    pub(super) tdx: Store<Arc<tdx::Endorsed>>,
    /// Signatures of NVIDIA's certificates and OCSP responses.
    pub(super) nvidia: nvidia::Memo,
}

impl ChainCache {
    /// An empty one that will keep at most `capacity` chains of each platform, and forgets the one
    /// that was not used for longest. With a capacity of zero it keeps nothing.
    pub const fn new(capacity: usize) -> Self {
        Self {
            snp: Store::new(capacity),
            tdx: Store::new(capacity),
            nvidia: nvidia::Memo::new(capacity.saturating_mul(nvidia::FACTS_PER_CHAIN)),
        }
    }

    /// How many chains it holds.
    pub fn len(&self) -> usize {
        let Self { snp, tdx, nvidia } = self;
        snp.len().saturating_add(tdx.len()).saturating_add(nvidia.len())
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for ChainCache {
    /// Room for the enclaves that one client or service talks to in a day.
    fn default() -> Self {
        Self::new(256)
    }
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainCache({})", self.len())
    }
}

/// What was verified, of one kind.
pub(super) struct Store<T> {
    capacity: usize,
    /// The one that was used last is the last.
    entries: Mutex<Vec<Entry<T>>>,
}

#[derive(Clone)]
struct Entry<T> {
    key: Sha256,
    window: Window,
    value: T,
}

impl<T: Clone> Store<T> {
    const fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::new(Vec::new()) }
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    /// What verifying would yield without a finding, if that is known.
    pub(super) fn find(&self, key: &Sha256, now: UnixTime) -> Option<T> {
        let mut entries = self.lock();
        let at = entries.iter().position(|entry| entry.key == *key)?;
        entries.get_mut(at..)?.rotate_left(1);
        entries.last().filter(|entry| entry.window.holds(now)).map(|entry| entry.value.clone())
    }

    /// Keeps what was verified without a finding.
    pub(super) fn keep(&self, key: Sha256, window: Window, value: &T) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry { key, window, value: value.clone() };
        let mut entries = self.lock();
        // At another time the same endorsements may make another value.
        entries.retain(|entry| entry.key != key);
        let too_many = entries.len().saturating_add(1).saturating_sub(self.capacity);
        entries.drain(..too_many);
        entries.push(entry);
    }

    /// Nothing panics while it is locked, so what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lengths before what they count, so that no two lists are written alike.
pub(crate) fn push_len(len: usize, out: &mut Vec<u8>) {
    // No list in memory is longer than 64 bits can say.
    out.extend_from_slice(&u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes());
}

/// The moments around one at which no period starts or ends: every check of time says the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Window {
    /// The first of them.
    from: UnixTime,
    /// The last of them.
    to: UnixTime,
}

impl Window {
    /// All moments.
    #[cfg(test)]
    pub(super) const FOREVER: Self = Self { from: UnixTime::from_secs(0), to: UnixTime::END };

    /// The moments that lie on the same side of every start and every end as `now`. Periods include
    /// both.
    pub(super) fn around(
        now: UnixTime,
        periods: impl Iterator<Item = (UnixTime, UnixTime)>,
    ) -> Self {
        const SECOND: core::time::Duration = core::time::Duration::from_secs(1);
        let mut window = Self { from: UnixTime::from_secs(0), to: UnixTime::END };
        for (start, end) in periods {
            if now < start {
                window.to = window.to.min(start.saturating_sub(SECOND));
            } else {
                window.from = window.from.max(start);
            }
            if now > end {
                window.from = window.from.max(end.saturating_add(SECOND));
            } else {
                window.to = window.to.min(end);
            }
        }
        window
    }

    fn holds(self, now: UnixTime) -> bool {
        self.from <= now && now <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn what_is_kept_is_found_in_its_window_until_it_was_not_used_for_longest() {
        let store = Store::new(2);
        let keys = [0_u8, 1, 2].map(|name| Sha256::of(&[name]));
        let found = |key: usize, now| store.find(&keys[key], at(now));
        assert_eq!(found(0, 5), None);
        store.keep(keys[0], Window { from: at(5), to: at(7) }, &10);
        for (now, expected) in [(4, None), (5, Some(10)), (7, Some(10)), (8, None)] {
            assert_eq!(found(0, now), expected, "at {now}");
        }
        // At another time it is another value, in the same place.
        store.keep(keys[0], Window::FOREVER, &11);
        assert_eq!((found(0, 8), store.len()), (Some(11), 1));
        store.keep(keys[1], Window::FOREVER, &20);
        assert_eq!(found(0, 5), Some(11), "used again");
        store.keep(keys[2], Window::FOREVER, &30);
        assert_eq!([found(0, 5), found(1, 5), found(2, 5)], [Some(11), None, Some(30)]);
    }

    #[test]
    fn a_window_ends_where_a_comparison_would_change() {
        let periods = [(10, 90), (20, 80), (5, 15), (95, 99), (60, 40)];
        for now in 0..=100 {
            let window =
                Window::around(at(now), periods.iter().map(|(start, end)| (at(*start), at(*end))));
            let outcome = |now: u64| periods.map(|(start, end)| (now < start, now > end));
            for other in 0..=100 {
                let between = now.min(other)..=now.max(other);
                let same = between.clone().all(|moment| outcome(moment) == outcome(now));
                assert_eq!(window.holds(at(other)), same, "{now} and {other}");
            }
        }
    }
}
