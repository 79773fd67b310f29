//! Signatures of certificates and OCSP responses that verified before, so that none is verified twice.
//!
//! That the owner of a key signed some bytes is a fact that no time, policy or other endorsement can
//! change. So it is kept with the key and a digest of the bytes, and nothing else is: names, roles, dates,
//! revocation and anchors are looked at every time. Only what hangs from an anchor gets here, because a
//! chain is followed from its root down.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use attestation::Sha256;

use crate::crypto::P384_POINT_LEN;

/// That the owner of a key signed some bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Fact {
    /// SHA-256 of what holds the bytes and their signature.
    pub(super) signed: Sha256,
    /// The key.
    pub(super) point: [u8; P384_POINT_LEN],
}

/// The facts.
#[derive(Debug)]
pub(in crate::authenticate) struct Memo {
    capacity: usize,
    facts: Mutex<Facts>,
}

/// Each with the last time that it was of use, counted in uses.
#[derive(Debug)]
struct Facts {
    used: BTreeMap<Fact, u64>,
    clock: u64,
}

impl Memo {
    /// An empty one that keeps at most `capacity` facts, and forgets those that were not of use for longest.
    pub(in crate::authenticate) const fn new(capacity: usize) -> Self {
        let facts = Facts { used: BTreeMap::new(), clock: 0 };
        Self { capacity, facts: Mutex::new(facts) }
    }

    /// How many facts it keeps.
    pub(in crate::authenticate) fn len(&self) -> usize {
        self.lock().used.len()
    }

    /// Whether the fact is known, or is true by `verify`, which makes it known.
    pub(super) fn holds(&self, fact: Fact, verify: impl FnOnce() -> bool) -> bool {
        if self.knows(&fact) {
            return true;
        }
        let holds = verify();
        if holds {
            self.keep(fact);
        }
        holds
    }

    fn knows(&self, fact: &Fact) -> bool {
        let mut facts = self.lock();
        let Facts { used, clock } = &mut *facts;
        let Some(last) = used.get_mut(fact) else { return false };
        *clock = clock.saturating_add(1);
        *last = *clock;
        true
    }

    fn keep(&self, fact: Fact) {
        if self.capacity == 0 {
            return;
        }
        let mut facts = self.lock();
        let Facts { used, clock } = &mut *facts;
        *clock = clock.saturating_add(1);
        used.insert(fact, *clock);
        if used.len() > self.capacity {
            // The older half at once: else a full memo would look for its oldest fact every time.
            let mut ages: Vec<u64> = used.values().copied().collect();
            ages.sort_unstable();
            let median = ages.get(ages.len() / 2).copied().unwrap_or_default();
            used.retain(|_, last| *last >= median);
        }
    }

    /// Nothing panics while it is locked, so what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(name: u8) -> Fact {
        Fact { signed: Sha256::of(&[name]), point: [4; P384_POINT_LEN] }
    }

    #[test]
    fn what_is_true_is_verified_once_and_what_is_false_always() {
        let memo = Memo::new(4);
        let mut calls = 0;
        for (name, truth) in [(0, true), (0, true), (1, false), (1, false)] {
            let verify = || {
                calls += 1;
                truth
            };
            assert_eq!(memo.holds(fact(name), verify), truth);
        }
        assert_eq!((calls, memo.len()), (3, 1));
    }

    #[test]
    fn what_was_of_no_use_for_longest_is_forgotten() {
        let memo = Memo::new(4);
        for name in 0..4 {
            assert!(memo.holds(fact(name), || true));
        }
        assert!(memo.holds(fact(0), || false), "it is known");
        assert!(memo.holds(fact(4), || true));
        assert!(memo.len() <= 4);
        for (name, known) in [(1, false), (0, true), (4, true)] {
            assert_eq!(memo.holds(fact(name), || false), known, "{name}");
        }
    }

    #[test]
    fn what_one_key_signed_no_other_did() {
        let memo = Memo::new(4);
        assert!(memo.holds(fact(0), || true));
        assert!(!memo.holds(Fact { point: [5; P384_POINT_LEN], ..fact(0) }, || false));
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        let memo = Memo::new(0);
        assert!(memo.holds(fact(0), || true));
        assert!(!memo.holds(fact(0), || false));
        assert_eq!(memo.len(), 0);
    }
}
