//! Many streams at once, one after another, and what is heard of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ways::{Asked, Broke, Way};
use crate::harness::{Clock, Failed, number, quantile};

/// So many streams at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) streams: usize,
    /// Events of each, for a prompt that is long enough.
    pub(crate) events: u32,
    /// They begin spread over so much time, so that beginnings do not meet.
    pub(crate) stagger: Duration,
}

/// What was heard in one window.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Milliseconds to the first octet of the first event, sorted.
    pub(crate) firsts: Vec<f64>,
    /// Requests that were told to come back.
    pub(crate) refused: usize,
    events: u64,
    lasted: Duration,
    /// Processor time of this process.
    processor: Duration,
}

/// What the streams count together.
#[derive(Debug, Default)]
struct Counts {
    events: AtomicU64,
    refused: AtomicUsize,
    firsts: Mutex<Vec<f64>>,
    failed: Mutex<Option<String>>,
}

impl Load {
    /// Starts the streams, waits until all of them speak, and listens for so long.
    pub(crate) async fn listen<W: Way>(&self, way: &W, window: Duration) -> Result<Taken, Failed> {
        let counts = Arc::new(Counts::default());
        let mut streams = JoinSet::new();
        for number in 0..self.streams {
            let (way, counts) = (way.clone(), Arc::clone(&counts));
            let parts = u32::try_from(self.streams).unwrap_or(1);
            let begin = self.stagger.checked_div(parts).unwrap_or_default();
            let begin = begin.saturating_mul(u32::try_from(number).unwrap_or(0));
            let prompt = prompt(self.events);
            streams.spawn(async move {
                sleep(begin).await;
                while let Err(why) = speak(&way, &prompt, &counts).await {
                    *lock(&counts.failed) = Some(why.to_string());
                }
            });
        }
        // Until the last has begun and the first ones have begun anew.
        sleep(self.stagger.saturating_add(WARM)).await;
        lock(&counts.firsts).clear();
        let (events, refused) = (counts.events.load(Relaxed), counts.refused.load(Relaxed));
        let (from, processor) = (super::now(), Clock::Process.now());
        sleep(window).await;
        let taken = Taken {
            events: counts.events.load(Relaxed).saturating_sub(events),
            refused: counts.refused.load(Relaxed).saturating_sub(refused),
            lasted: super::now().saturating_sub(from),
            processor: Clock::Process.now().saturating_sub(processor),
            firsts: sorted(std::mem::take(&mut lock(&counts.firsts))),
        };
        streams.shutdown().await;
        // What is still in flight for streams that were dropped ends before somebody else is measured.
        sleep(WARM).await;
        match lock(&counts.failed).take() {
            Some(why) => Err(why.into()),
            None => Ok(taken),
        }
    }
}

/// Stream after stream, until one fails.
async fn speak<W: Way>(way: &W, prompt: &str, counts: &Counts) -> Result<(), Broke> {
    loop {
        let asked = super::now();
        let mut first = None;
        let event = || {
            if first.is_none() {
                first = Some(super::now().saturating_sub(asked));
            }
            counts.events.fetch_add(1, Relaxed);
        };
        match way.ask(prompt, event).await? {
            Asked::Answered => {
                let first = first.ok_or("an answer without an event")?;
                lock(&counts.firsts).push(first.as_secs_f64() * 1e3);
            }
            Asked::Refused => {
                counts.refused.fetch_add(1, Relaxed);
                sleep(COME_BACK).await;
            }
        }
    }
}

impl Taken {
    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        self.heard() / self.lasted.as_secs_f64()
    }

    /// Nanoseconds of processor time an event.
    pub(crate) fn cost(&self) -> f64 {
        self.processor.as_secs_f64() * 1e9 / self.heard()
    }

    /// How many processors this process took.
    pub(crate) fn processors(&self) -> f64 {
        self.processor.as_secs_f64() / self.lasted.as_secs_f64()
    }

    /// The time to the first event that this part of the streams kept below.
    pub(crate) fn first(&self, part: f64) -> f64 {
        quantile(&self.firsts, part)
    }

    fn heard(&self) -> f64 {
        number(usize::try_from(self.events).unwrap_or(usize::MAX))
    }
}

/// Long enough for so many events, and as long as a question often is.
fn prompt(events: u32) -> String {
    "abcd".repeat(usize::try_from(events).unwrap_or(1))
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between being told to come back and doing so.
const COME_BACK: Duration = Duration::from_millis(25);
const WARM: Duration = Duration::from_millis(150);
