//! What bounds the work that strangers can cause: memory, and processor time for decapsulation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use channel::{Limit, Recipient, Refused, RequestHeader, RequestOpener};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Octets of all requests that are arriving, together (`docs/protocol.md` §5.4).
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }

    /// A share of nothing yet.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease { budget: Arc::clone(self), octets: 0 }
    }
}

/// A request's share of the [`Budget`]; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    octets: usize,
}

impl Lease {
    /// Takes `more` octets; false, and nothing taken, if the budget has not so many left.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let max = self.budget.max;
        let grown = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= max);
        let taken = self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        if taken.is_ok() {
            self.octets = self.octets.saturating_add(more);
        }
        taken.is_ok()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// Decapsulation takes at most its share of the processors, whoever asks, and its queue is bounded
/// (`docs/protocol.md` §5.9).
#[derive(Debug)]
pub(crate) struct Decapsulator {
    places: Semaphore,
    /// Fair, so requests go in their order.
    turnstile: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

/// Every place in the queue is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QueueFull;

impl Decapsulator {
    /// A queue of `queue_max`; the share is `percent` of `processors`.
    pub(crate) fn new(queue_max: usize, percent: u32, processors: usize, now: Instant) -> Self {
        let processors = u32::try_from(processors).unwrap_or(1).max(1);
        Self {
            places: Semaphore::new(queue_max.min(Semaphore::MAX_PERMITS)),
            turnstile: tokio::sync::Mutex::new(()),
            pace: Mutex::new(Pace {
                permille: percent.saturating_mul(10).saturating_mul(processors).max(1),
                credit: BURST,
                at: now,
                cost: COST_START,
            }),
        }
    }

    /// Looks the request up in its key's replay set and decapsulates, when it is its turn.
    pub(crate) async fn begin(
        &self,
        key: Arc<Recipient>,
        header: RequestHeader,
        limit: Limit,
    ) -> Result<Result<RequestOpener, Refused>, QueueFull> {
        let _place = self.places.try_acquire().map_err(|_| QueueFull)?;
        self.turn().await;
        let work = tokio::task::spawn_blocking(move || {
            let before = Instant::now();
            let begun = key.begin(&header, limit);
            (begun, before.elapsed())
        });
        // A panic there is counted by the hook; to this request it is a failure like any other.
        let Ok((begun, took)) = work.await else { return Ok(Err(Refused::Unauthentic)) };
        match begun {
            Ok(_) | Err(Refused::Unauthentic) => self.pace().learn(took),
            // Refused before the KEM ran.
            Err(_) => self.pace().refund(),
        }
        Ok(begun)
    }

    /// Waits until the share allows one more.
    async fn turn(&self) {
        let _mine = self.turnstile.lock().await;
        loop {
            let wait = self.pace().take(Instant::now());
            if wait.is_zero() {
                return;
            }
            sleep(wait).await;
        }
    }

    /// Plain numbers cannot be left half-changed, so a poisoned lock is as good as any.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bucket of processor time.
#[derive(Debug)]
struct Pace {
    /// Thousandths of one processor.
    permille: u32,
    credit: Duration,
    at: Instant,
    /// The least that one took: what was measured beyond is other work's time, not ours.
    cost: Duration,
}

impl Pace {
    /// Pays for one, or says how long until there is credit for it.
    fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        let earned = passed.saturating_mul(self.permille).checked_div(1000).unwrap_or_default();
        self.credit = self.credit.saturating_add(earned).min(BURST);
        if let Some(left) = self.credit.checked_sub(self.cost) {
            self.credit = left;
            return Duration::ZERO;
        }
        let missing = self.cost.saturating_sub(self.credit);
        let wait = missing.saturating_mul(1000).checked_div(self.permille).unwrap_or(BURST);
        wait.max(Duration::from_micros(1))
    }

    fn learn(&mut self, took: Duration) {
        self.cost = self.cost.min(took.max(COST_MIN));
    }

    fn refund(&mut self) {
        self.credit = self.credit.saturating_add(self.cost).min(BURST);
    }
}

/// Credit that idle time saves up: some two hundred decapsulations.
const BURST: Duration = Duration::from_millis(50);
/// What one decapsulation is taken to cost before any was measured (`docs/protocol.md` §1).
const COST_START: Duration = Duration::from_micros(250);
/// A clock that stands still must not make it free.
const COST_MIN: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_shared_and_comes_back() {
        let budget = Budget::new(10);
        let (mut a, mut b) = (budget.lease(), budget.lease());
        assert!(a.grow(6) && b.grow(4));
        assert!(!a.grow(1));
        drop(b);
        assert!(a.grow(4) && !a.grow(usize::MAX));
    }

    #[test]
    fn share_of_the_processors_is_kept() {
        let start = Instant::now();
        let mut pace = Pace { permille: 200, credit: BURST, at: start, cost: COST_START };
        let mut now = start;
        let mut done = 0_u32;
        while now.saturating_duration_since(start) < Duration::from_secs(1) {
            let wait = pace.take(now);
            if wait.is_zero() {
                done = done.saturating_add(1);
            }
            now = now.checked_add(wait).unwrap();
        }
        // A fifth of a processor for a second, and what was saved before, at 250 µs each.
        assert!((950..=1_010).contains(&done), "{done}");
    }

    #[test]
    fn idle_enclave_makes_nobody_wait_and_a_replay_costs_nothing() {
        let start = Instant::now();
        let mut pace = Pace { permille: 100, credit: COST_START, at: start, cost: COST_START };
        assert_eq!(pace.take(start), Duration::ZERO);
        assert_ne!(pace.take(start), Duration::ZERO);
        pace.refund();
        assert_eq!(pace.take(start), Duration::ZERO);
    }
}
