//! Threads that share one loop at a time.
//!
//! A loop's iterations are taken one by one from a counter, by the caller and by every thread that
//! is awake; the caller goes on when the counter is used up and everyone who joined has finished. A
//! thread that the operating system has put aside is thus not waited for unless it holds an
//! iteration. Waiting spins for microseconds, then yields, then sleeps: on a busy machine a
//! spinning thread would take the very time that it waits for.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A caller's helpers; dropping it ends them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The loop's number in the high half; [`OPEN`]; in the low bits how many have joined it.
    state: AtomicU64,
    job: UnsafeCell<Job>,
    next: AtomicUsize,
    panicked: AtomicBool,
    ending: AtomicBool,
    asleep: AtomicUsize,
    bed: Mutex<()>,
    alarm: Condvar,
}

#[derive(Clone, Copy)]
struct Job {
    body: *const (dyn Fn(usize) + Sync),
    count: usize,
}

// SAFETY: `job` is written by the caller alone, while the loop is closed and nobody has joined;
// it is read only by those who joined an open loop. The body that it points to is `Sync` and
// outlives the loop, because `Team::each` does not return before everyone has left.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `threads`, the caller among them.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { body: &|_| (), count: 0 }),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            alarm: Condvar::new(),
        });
        let mut team = Self { shared, threads: Vec::new() };
        for number in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new().name(format!("engine-{number}"));
            team.threads.push(thread.spawn(move || shared.serve())?);
        }
        Ok(team)
    }

    /// How many threads share a loop.
    pub(crate) fn size(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs `body` for every number below `count`, and returns when all are done.
    ///
    /// # Panics
    /// If an iteration panicked, after the others have ended.
    pub(crate) fn each(&mut self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        if count <= 1 || self.threads.is_empty() {
            (0..count).for_each(body);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes, and this function outlives every use of `body`.
        let body: *const (dyn Fn(usize) + Sync) = unsafe { core::mem::transmute(body) };
        // SAFETY: `&mut self` makes this the only caller; the last loop is closed and left.
        unsafe { *shared.job.get() = Job { body, count } };
        shared.next.store(0, Relaxed);
        let number = (shared.state.load(Relaxed) >> 32).wrapping_add(1);
        shared.state.store(number << 32 | OPEN, SeqCst);
        if shared.asleep.load(SeqCst) > 0 {
            drop(shared.bed.lock().unwrap_or_else(PoisonError::into_inner));
            shared.alarm.notify_all();
        }
        // SAFETY: the job is this one until the loop is closed below.
        let mine = catch_unwind(AssertUnwindSafe(|| unsafe { shared.work() }));
        let mut left = shared.state.fetch_and(!OPEN, AcqRel) & JOINED;
        let mut waited = 0_u32;
        while left > 0 {
            pause(&mut waited);
            left = shared.state.load(Acquire) & JOINED;
        }
        let theirs = shared.panicked.swap(false, AcqRel);
        if let Err(panic) = mine {
            std::panic::resume_unwind(panic);
        }
        assert!(!theirs, "a thread of the team panicked");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ending.store(true, SeqCst);
        drop(self.shared.bed.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.alarm.notify_all();
        for thread in self.threads.drain(..) {
            drop(thread.join()); // Its panics were caught where they happened.
        }
    }
}

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Team({})", self.size())
    }
}

impl Shared {
    /// A helper's life.
    fn serve(&self) {
        let mut last = 0;
        let mut waited = 0_u32;
        while !self.ending.load(Acquire) {
            let state = self.state.load(Acquire);
            if state & OPEN == 0 || state >> 32 == last {
                if waited < SPINS + YIELDS {
                    pause(&mut waited);
                } else {
                    self.sleep(last);
                    waited = 0;
                }
                continue;
            }
            if self.state.compare_exchange(state, state + 1, AcqRel, Acquire).is_err() {
                continue;
            }
            last = state >> 32;
            // SAFETY: joined while open, so the job stands until this thread leaves.
            if catch_unwind(AssertUnwindSafe(|| unsafe { self.work() })).is_err() {
                self.panicked.store(true, SeqCst);
            }
            self.state.fetch_sub(1, AcqRel);
            waited = 0;
        }
    }

    /// Sleeps until a loop other than `last` opens.
    fn sleep(&self, last: u64) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.fetch_add(1, SeqCst);
        loop {
            let state = self.state.load(SeqCst);
            if self.ending.load(SeqCst) || (state & OPEN != 0 && state >> 32 != last) {
                break;
            }
            bed = self.alarm.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.fetch_sub(1, SeqCst);
    }

    /// Takes iterations until none is left.
    ///
    /// # Safety
    /// The calling thread has opened the loop, or joined it while it was open.
    unsafe fn work(&self) {
        // SAFETY: see the `Sync` implementation.
        let Job { body, count } = unsafe { *self.job.get() };
        // SAFETY: the body outlives the loop.
        let body = unsafe { &*body };
        loop {
            let at = self.next.fetch_add(1, AcqRel);
            if at >= count {
                return;
            }
            body(at);
        }
    }
}

/// Waits a little: a spin, later the rest of the time slice.
fn pause(waited: &mut u32) {
    *waited = waited.saturating_add(1);
    if *waited < SPINS {
        core::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// A slice whose parts are written by several threads.
#[derive(Clone, Copy)]
pub(super) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out parts of a unique borrow; `part` is unsafe, and its callers keep them disjoint.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// `length` elements from `start` on.
    ///
    /// # Safety
    /// No two parts that live at the same time overlap.
    #[inline(always)]
    pub(super) unsafe fn part(&self, start: usize, length: usize) -> &'a mut [T] {
        assert!(
            start.checked_add(length).is_some_and(|end| end <= self.length),
            "outside of the slice"
        );
        // SAFETY: inside the slice, as asserted; unique, as the caller promises.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;
/// Spins before yielding: about ten microseconds, the length of a short gap between loops.
const SPINS: u32 = 2_000;
/// Yields before sleeping: about a millisecond on an idle machine.
const YIELDS: u32 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iteration_runs_once() {
        for threads in [1, 2, 3, 5] {
            let mut team = Team::new(threads).unwrap();
            for count in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let hits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    team.each(count, &|at| {
                        hits[at].fetch_add(1, SeqCst);
                    });
                    assert!(hits.iter().all(|hits| hits.load(SeqCst) == 1), "{threads} {count}");
                }
            }
        }
    }

    #[test]
    fn a_team_that_slept_wakes_up() {
        let mut team = Team::new(3).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(30));
            let sum = AtomicUsize::new(0);
            team.each(64, &|at| {
                sum.fetch_add(at, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 2016);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let mut team = Team::new(3).unwrap();
        for bad in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.each(20, &|at| assert!(at != bad, "as planned"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            team.each(10, &|at| {
                sum.fetch_add(at, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 45);
        }
    }
}
