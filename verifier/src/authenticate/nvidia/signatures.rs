//! The signatures of one appraisal: each is verified once, and of those that do not hold only so many.
//!
//! Reports, certificates and answers about them are looked at in all combinations that fit, and whoever sends evidence may
//! send many of each. What genuine devices sign holds at the first try, or nearly; so whoever sends more that does not is
//! given up on, whatever else there is.

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::memo::{Fact, Memo};

/// What was verified so far.
#[derive(Debug)]
pub(super) struct Signatures<'a> {
    memo: &'a Memo,
    known: RefCell<BTreeMap<Fact, bool>>,
    wrong: Cell<usize>,
    gave_up: Cell<bool>,
}

impl<'a> Signatures<'a> {
    /// Nothing yet, beside what `memo` knows.
    pub(super) const fn new(memo: &'a Memo) -> Self {
        let known = RefCell::new(BTreeMap::new());
        Self { memo, known, wrong: Cell::new(0), gave_up: Cell::new(false) }
    }

    /// Whether a fact that hangs from an anchor is known, or is true by `verify`, which makes it known for longer than
    /// this appraisal.
    pub(super) fn holds(&self, fact: Fact, verify: impl FnOnce() -> bool) -> bool {
        if let Some(holds) = self.known.borrow().get(&fact) {
            return *holds;
        }
        let holds = self.try_once(|| self.memo.holds(fact, verify));
        self.known.borrow_mut().insert(fact, holds);
        holds
    }

    /// Whether something is true by `verify` that is asked once.
    pub(super) fn try_once(&self, verify: impl FnOnce() -> bool) -> bool {
        if self.wrong.get() >= WRONG_MAX {
            self.gave_up.set(true);
            return false;
        }
        let holds = verify();
        if !holds {
            self.wrong.set(self.wrong.get().saturating_add(1));
        }
        holds
    }

    /// Whether something was not verified, because too much before it did not hold. Nothing may be accepted then: what
    /// was not looked at may be what speaks against it.
    pub(super) const fn gave_up(&self) -> bool {
        self.gave_up.get()
    }
}

/// Most signatures of one appraisal that do not hold.
pub(super) const WRONG_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use attestation::Sha256;

    use super::*;
    use crate::crypto::P384_POINT_LEN;

    #[test]
    fn what_holds_costs_once_and_what_does_not_only_so_often() {
        let memo = Memo::new(0);
        let signatures = Signatures::new(&memo);
        let calls = Cell::new(0_usize);
        let verify = |holds: bool| {
            calls.set(calls.get() + 1);
            holds
        };
        let fact = |number: usize| Fact {
            signed: Sha256::of(&number.to_be_bytes()),
            point: [4; P384_POINT_LEN],
        };
        for _ in 0..3 {
            assert!(signatures.holds(fact(0), || verify(true)));
            assert!(!signatures.holds(fact(1), || verify(false)));
        }
        assert_eq!(calls.get(), 2);
        for number in 2..2 * WRONG_MAX {
            assert!(!signatures.holds(fact(number), || verify(false)));
            assert_eq!(signatures.gave_up(), number > WRONG_MAX, "{number}");
        }
        assert_eq!(calls.get(), 1 + WRONG_MAX);
        assert!(!signatures.try_once(|| verify(true)), "given up on");
        assert!(signatures.holds(fact(0), || verify(false)), "known before");
    }
}
