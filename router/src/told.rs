//! How much of the log strangers can fill: so many lines of a kind in a second are told, and the others counted.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use crate::relay::Errand;

/// The kinds of lines that a client can cause. A flood of one hides no other.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Requests that were refused, by the router or by an enclave.
    pub(crate) refused: Told,
    /// Sealed requests that were answered, and ended.
    pub(crate) sealed: [Told; 2],
    /// The same of evidence.
    pub(crate) evidence: [Told; 2],
    /// Whatever else was answered.
    pub(crate) others: Told,
}

impl Default for Lines {
    fn default() -> Self {
        let told = || Told::new(TOLD_PER_SECOND);
        Self {
            refused: Told::new(REFUSED_PER_SECOND),
            sealed: [told(), told()],
            evidence: [told(), told()],
            others: told(),
        }
    }
}

impl Lines {
    /// Of the ends of relayed responses.
    pub(crate) fn ended(&self, errand: Errand, status: StatusCode) -> &Told {
        let Self { refused, sealed: [_, sealed], evidence: [_, evidence], .. } = self;
        match errand {
            _ if !status.is_success() => refused,
            Errand::Sealed => sealed,
            Errand::CachedEvidence | Errand::FreshEvidence => evidence,
        }
    }
}

/// Lines of one kind.
#[derive(Debug)]
pub(crate) struct Told {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Told {
    fn new(per_second: u32) -> Self {
        Self { per_second, state: Mutex::default() }
    }

    /// Whether the next line is told: then `tell` is given how many were not since the last, if any.
    pub(crate) fn tell(&self, now: Instant, tell: impl FnOnce(Option<u64>)) {
        if let Some(untold) = self.next(now) {
            tell((untold > 0).then_some(untold));
        }
    }

    fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { since, told, untold } = &mut *state;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (*since, *told) = (Some(now), 0);
        }
        if *told < self.per_second {
            *told = told.saturating_add(1);
            return Some(std::mem::take(untold));
        }
        *untold = untold.saturating_add(1);
        None
    }
}

/// Lines of one kind that are told in a second. Refusals cost those who cause them nothing, and one is like the other.
const TOLD_PER_SECOND: u32 = 100;
const REFUSED_PER_SECOND: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_and_counted_whole() {
        let (lines, start) = (Told::new(2), Instant::now());
        let at = |ms| start.checked_add(Duration::from_millis(ms)).unwrap();
        assert_eq!((lines.next(start), lines.next(at(500))), (Some(0), Some(0)));
        for ms in 0..1_000 {
            assert_eq!(lines.next(at(ms)), None);
        }
        assert_eq!(lines.next(at(1_000)), Some(1_000));
        assert_eq!((lines.next(at(1_999)), lines.next(at(1_999))), (Some(0), None));
    }
}
