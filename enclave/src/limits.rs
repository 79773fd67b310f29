//! What bounds the work that strangers can cause: memory, and processor time for decapsulation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use channel::{Limit, Recipient, Refused, RequestHeader, RequestOpener};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    places: Arc<Semaphore>,
    /// Fair, so requests go in their order.
    turnstile: tokio::sync::Mutex<()>,
    account: Arc<Mutex<Account>>,
}

/// What one piece of work holds until it is done, whether or not anybody still waits for it.
#[derive(Debug)]
struct Bill {
    account: Arc<Mutex<Account>>,
    reserved: Duration,
    /// What it took; what was set aside for it, where it panicked.
    cost: Duration,
    _place: OwnedSemaphorePermit,
}

/// Every place in the queue is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct QueueFull;

impl Decapsulator {
    /// A queue of `queue_max`; the share is `percent` of `processors`.
    pub(crate) fn new(queue_max: usize, percent: u32, processors: usize, now: Instant) -> Self {
        let processors = u32::try_from(processors).unwrap_or(1).max(1);
        let permille = percent.saturating_mul(10).saturating_mul(processors).max(1);
        Self {
            places: Arc::new(Semaphore::new(queue_max.min(Semaphore::MAX_PERMITS))),
            turnstile: tokio::sync::Mutex::new(()),
            account: Arc::new(Mutex::new(Account::new(permille, now))),
        }
    }

    /// Looks the request up in its key's replay set and decapsulates, when it is its turn.
    pub(crate) async fn begin(
        &self,
        key: Arc<Recipient>,
        header: RequestHeader,
        limit: Limit,
    ) -> Result<Result<RequestOpener, Refused>, QueueFull> {
        let begun = self.run(move || metered(|| key.begin(&header, limit))).await?;
        // A panic there is counted by the hook; to this request it is a failure like any other.
        Ok(begun.unwrap_or(Err(Refused::Unauthentic)))
    }

    /// Runs `work`, which says what it cost, when it is its turn; nothing comes of work that panics.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> (T, Duration) + Send + 'static,
    ) -> Result<Option<T>, QueueFull> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| QueueFull)?;
        let reserved = self.turn().await;
        let account = Arc::clone(&self.account);
        let mut bill = Bill { account, reserved, cost: reserved, _place: place };
        let worked = tokio::task::spawn_blocking(move || {
            let (value, cost) = work();
            bill.cost = cost;
            drop(bill);
            value
        });
        Ok(worked.await.ok())
    }

    /// Waits until the share allows one more; gives what was set aside for it.
    async fn turn(&self) -> Duration {
        let _mine = self.turnstile.lock().await;
        loop {
            let reserved = open(&self.account).reserve(Instant::now());
            match reserved {
                Ok(reserved) => return reserved,
                Err(wait) => sleep(wait).await,
            }
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        open(&self.account).settle(self.reserved, self.cost);
    }
}

/// Plain numbers cannot be left half-changed, so a poisoned lock is as good as any.
fn open(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processor time: what comes in is the share, what goes out is what the work has cost.
///
/// Nothing is spent on an estimate. Work is begun while the account is not empty, what it is
/// expected to cost is set aside, and what it did cost is charged; what was spent beyond the
/// expectation is a debt that later work waits for. So in any period the work takes no more than
/// its share, [`SAVED_MAX`], and what the work in progress takes beyond expectation.
#[derive(Debug)]
struct Account {
    /// Thousandths of one processor.
    permille: u32,
    saved: Duration,
    owed: Duration,
    at: Instant,
    /// What the last one cost.
    expected: Duration,
}

impl Account {
    const fn new(permille: u32, now: Instant) -> Self {
        Self { permille, saved: SAVED_MAX, owed: Duration::ZERO, at: now, expected: COST_START }
    }

    /// Sets time for one aside, or says how long until there is some.
    fn reserve(&mut self, now: Instant) -> Result<Duration, Duration> {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        self.earn(passed.saturating_mul(self.permille).checked_div(1000).unwrap_or_default());
        if let Some(left) = self.saved.checked_sub(self.expected) {
            self.saved = left;
            return Ok(self.expected);
        }
        let missing = self.owed.saturating_add(self.expected).saturating_sub(self.saved);
        let wait = missing.saturating_mul(1000).checked_div(self.permille).unwrap_or(SAVED_MAX);
        Err(wait.max(Duration::from_micros(1)))
    }

    /// Charges what work did cost, for which `reserved` was set aside.
    fn settle(&mut self, reserved: Duration, cost: Duration) {
        if let Some(less) = reserved.checked_sub(cost) {
            self.earn(less);
        } else {
            let more = cost.saturating_sub(reserved);
            self.owed = self.owed.saturating_add(more.saturating_sub(self.saved));
            self.saved = self.saved.saturating_sub(more);
        }
        self.expected = cost.clamp(COST_MIN, SAVED_MAX);
    }

    /// Debts are paid first, and not everything can be saved.
    fn earn(&mut self, time: Duration) {
        let rest = time.saturating_sub(self.owed);
        self.owed = self.owed.saturating_sub(time);
        self.saved = self.saved.saturating_add(rest).min(SAVED_MAX);
    }
}

/// Runs `work` and says how much processor time of this thread it took: other work's time, which a
/// busy machine lets pass meanwhile, is not its cost.
fn metered<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_time();
    let value = work();
    (value, thread_time().saturating_sub(before))
}

fn thread_time() -> Duration {
    // The kernel counts up from zero: no part of it is negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Processor time that an idle enclave saves up: some two hundred decapsulations.
const SAVED_MAX: Duration = Duration::from_millis(50);
/// What one decapsulation is expected to cost before any was measured (`docs/protocol.md` §1).
const COST_START: Duration = Duration::from_micros(250);
/// The least that is set aside: a request that is refused before the KEM runs costs next to nothing.
const COST_MIN: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::time::timeout_at;

    use super::*;

    const QUEUE: usize = 8;

    #[test]
    fn budget_is_shared_and_comes_back() {
        let budget = Budget::new(10);
        let (mut a, mut b) = (budget.lease(), budget.lease());
        assert!(a.grow(6) && b.grow(4));
        assert!(!a.grow(1));
        drop(b);
        assert!(a.grow(4) && !a.grow(usize::MAX));
    }

    /// Work of these costs, one after the other, as fast as `permille` of a processor allows: how
    /// much was done in `period`, and what it cost.
    fn spend(permille: u32, period: Duration, costs: &[Duration]) -> (u32, Duration) {
        let start = Instant::now();
        let mut account = Account::new(permille, start);
        let (mut now, mut done, mut spent) = (start, 0_u32, Duration::ZERO);
        let mut costs = costs.iter().cycle();
        while now.saturating_duration_since(start) < period {
            match account.reserve(now) {
                Ok(reserved) => {
                    let cost = *costs.next().unwrap();
                    account.settle(reserved, cost);
                    done = done.saturating_add(1);
                    spent = spent.saturating_add(cost);
                }
                Err(wait) => now = now.checked_add(wait).unwrap(),
            }
        }
        (done, spent)
    }

    #[test]
    fn share_of_the_processors_is_kept_whatever_the_work_costs() {
        let micros = Duration::from_micros;
        let second = Duration::from_secs(1);
        // A fifth of a processor for a second, and what was saved before.
        let allowed = Duration::from_millis(250);
        for costs in [
            &[micros(250)][..],
            &[micros(10)],
            &[micros(3_000)],
            // Cheap work never makes the expensive kind look cheap.
            &[micros(50), micros(20_000)],
            &[micros(0), micros(0), micros(0), micros(900)],
            &[micros(400_000)],
        ] {
            let (done, spent) = spend(200, second, costs);
            let dearest = *costs.iter().max().unwrap();
            assert!(spent <= allowed.saturating_add(dearest), "{spent:?} of {costs:?}");
            // And it is not withheld either.
            let least = allowed.saturating_sub(dearest).mul_f64(0.9);
            assert!(spent >= least || done >= 4_000, "{spent:?}, {done} of {costs:?}");
        }
    }

    #[test]
    fn idle_enclave_makes_nobody_wait_and_what_is_refused_early_costs_nothing() {
        let start = Instant::now();
        let mut account = Account { saved: COST_START, ..Account::new(100, start) };
        let reserved = account.reserve(start).unwrap();
        assert!(account.reserve(start).is_err(), "the rest is set aside");
        account.settle(reserved, Duration::ZERO);
        assert!(account.reserve(start).is_ok());
    }

    #[tokio::test]
    async fn who_finds_every_place_taken_is_told_so_and_others_keep_theirs() {
        let decapsulator = Decapsulator::new(QUEUE, 10, 1, Instant::now());
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let may_go = Arc::new(Mutex::new(may_go));
        let ask = || {
            let may_go = Arc::clone(&may_go);
            let work = move || {
                assert!(may_go.lock().unwrap().recv().is_err());
                ((), Duration::ZERO)
            };
            Box::pin(decapsulator.run(work))
        };
        let mut asked: Vec<_> = std::iter::repeat_with(ask).take(QUEUE).collect();
        for asked in &mut asked {
            assert_eq!(asked.now_or_never(), None);
        }
        assert_eq!(ask().now_or_never(), Some(Err(QueueFull)));
        drop(go);
        assert_eq!(join_all(asked).await, vec![Ok(Some(())); QUEUE]);
        assert_eq!(decapsulator.places.available_permits(), QUEUE);
    }

    /// Sixteen that never tire, and eight places: some find none, and the rest take their share of
    /// the (simulated) time, no more. (A place may be given back on another thread at any time, so
    /// what is free when somebody was turned away says nothing.)
    #[tokio::test(start_paused = true)]
    async fn flood_gets_its_share_and_no_more() {
        let start = Instant::now();
        let decapsulator = Decapsulator::new(QUEUE, 10, 2, start);
        let spent = Arc::new(AtomicU64::new(0));
        let turned_away = AtomicU64::new(0);
        let until = start.checked_add(Duration::from_secs(10)).unwrap();
        let tireless = async || {
            while Instant::now() < until {
                let (spent, cost) = (Arc::clone(&spent), Duration::from_micros(700));
                let work = move || {
                    spent.fetch_add(700, Ordering::Relaxed);
                    ((), cost)
                };
                match timeout_at(until, decapsulator.run(work)).await {
                    Ok(Ok(_)) | Err(_) => {}
                    Ok(Err(QueueFull)) => {
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        };
        join_all((0..QUEUE.saturating_mul(2)).map(|_| tireless())).await;
        // A tenth of two processors for ten seconds, and what was saved before.
        let (spent, share) = (spent.load(Ordering::Relaxed), 2_050_000);
        assert!(spent <= share + 700 * 8 && spent >= share / 10 * 9, "{spent} µs");
        assert!(turned_away.load(Ordering::Relaxed) > 1_000);
        assert_eq!(decapsulator.places.available_permits(), QUEUE);
    }

    #[tokio::test]
    async fn work_that_panics_is_charged_and_gives_its_place_back() {
        let decapsulator = Decapsulator::new(1, 10, 1, Instant::now());
        let before = open(&decapsulator.account).saved;
        let panicking = decapsulator.run(|| -> ((), Duration) { panic!("on purpose") });
        assert_eq!(panicking.await, Ok(None));
        assert!(open(&decapsulator.account).saved < before);
        assert_eq!(decapsulator.places.available_permits(), 1);
    }

    /// Otherwise who hangs up meanwhile has it for what was set aside, and the place for nothing.
    #[tokio::test]
    async fn work_for_whom_nobody_waits_is_charged_and_keeps_its_place() {
        const COST: Duration = Duration::from_millis(20);
        let decapsulator = Decapsulator::new(1, 10, 1, Instant::now());
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        {
            let work = move || {
                assert!(may_go.recv().is_err());
                ((), COST)
            };
            let mut asked = std::pin::pin!(decapsulator.run(work));
            assert_eq!(asked.as_mut().now_or_never(), None);
        }
        assert_eq!(decapsulator.places.available_permits(), 0);
        drop(go);
        drop(decapsulator.places.acquire().await.unwrap());
        assert_eq!(open(&decapsulator.account).saved, SAVED_MAX.saturating_sub(COST));
    }

    #[test]
    fn waiting_costs_nothing_and_working_does() {
        let ((), slept) = metered(|| std::thread::sleep(Duration::from_millis(50)));
        assert!(slept < Duration::from_millis(25), "{slept:?}");
        let mut hashed = attestation::Sha256::of(b"");
        let (count, worked) = metered(|| {
            let from = thread_time();
            let mut count = 0_u64;
            while thread_time().saturating_sub(from) < Duration::from_millis(20) {
                hashed = attestation::Sha256::of(&hashed.0);
                count = count.saturating_add(1);
            }
            count
        });
        assert!(worked >= Duration::from_millis(20), "{worked:?} for {count}");
    }
}
