//! Metrics that say how the enclave does and nothing about any one request.
//!
//! What `/metrics` shows is rendered once a minute, so that two polls around a request tell no more
//! than one; durations are in coarse buckets; tokens, caches and models are not counted at all
//! (`docs/protocol.md` §5.9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::event::Outcome;

/// How often what is shown changes (`docs/protocol.md` §5.9).
pub const INTERVAL: Duration = Duration::from_mins(1);

/// Panics of this process: the hook that counts them is global.
pub(crate) static PANICS: AtomicU64 = AtomicU64::new(0);

/// Processes that were started for the engine: one, and one for each that ended.
pub(crate) static ENGINE_STARTS: AtomicU64 = AtomicU64::new(0);

/// The counters, and what is shown of them.
#[derive(Debug)]
pub struct Metrics {
    opened: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
    answers: [AtomicU64; OUTCOMES.len()],
    seconds: [AtomicU64; BOUNDS.len()],
    evidence: AtomicU64,
    evidence_failures: AtomicU64,
    rotations: AtomicU64,
    shown: Mutex<Arc<str>>,
}

impl Metrics {
    /// Counters at zero, shown so.
    pub fn new() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        let metrics = Self {
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            answers: zeros(),
            seconds: std::array::from_fn(|_| AtomicU64::new(0)),
            evidence: AtomicU64::new(0),
            evidence_failures: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            shown: Mutex::new(Arc::from("")),
        };
        metrics.publish();
        metrics
    }

    /// What is shown: the state at the last [`publish`](Self::publish).
    pub fn shown(&self) -> Arc<str> {
        Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows the present state. Called every [`INTERVAL`].
    pub fn publish(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from(self.render());
    }

    pub(crate) fn opened(&self) {
        add(&self.opened);
    }

    pub(crate) fn refused(&self) {
        add(&self.refused);
    }

    pub(crate) fn busy(&self) {
        add(&self.busy);
    }

    pub(crate) fn answered(&self, outcome: Outcome, took: Duration) {
        let counters = self.answers.iter().zip(OUTCOMES);
        counters.filter(|(_, each)| *each == outcome).for_each(|(counter, _)| add(counter));
        let slot = BOUNDS.iter().position(|bound| bound.is_none_or(|bound| took < bound));
        if let Some(counter) = slot.and_then(|slot| self.seconds.get(slot)) {
            add(counter);
        }
    }

    pub(crate) fn evidence(&self) {
        add(&self.evidence);
    }

    pub(crate) fn evidence_failed(&self) {
        add(&self.evidence_failures);
    }

    pub(crate) fn rotated(&self) {
        add(&self.rotations);
    }

    fn render(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::from("veritee_enclave_up 1\n");
        let mut line = |name: &str, value: u64| {
            text.extend(["veritee_enclave_", name, " ", &value.to_string(), "\n"]);
        };
        line("requests_total{outcome=\"opened\"}", read(&self.opened));
        line("requests_total{outcome=\"refused\"}", read(&self.refused));
        line("requests_total{outcome=\"busy\"}", read(&self.busy));
        for (outcome, counter) in OUTCOMES.iter().zip(&self.answers) {
            line(&format!("answers_total{{outcome=\"{}\"}}", outcome.as_str()), read(counter));
        }
        let mut sum = 0_u64;
        for (bound, counter) in BOUNDS.iter().zip(&self.seconds) {
            sum = sum.saturating_add(read(counter));
            let le = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs().to_string());
            line(&format!("answer_seconds_bucket{{le=\"{le}\"}}"), sum);
        }
        line("evidence_requests_total", read(&self.evidence));
        line("evidence_failures_total", read(&self.evidence_failures));
        line("rotations_total", read(&self.rotations));
        line("panics_total", read(&PANICS));
        line("engine_starts_total", read(&ENGINE_STARTS));
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

const OUTCOMES: [Outcome; 4] =
    [Outcome::Finished, Outcome::Error, Outcome::Aborted, Outcome::Abandoned];
/// Upper bounds of the buckets of durations.
const BOUNDS: [Option<Duration>; 4] = [
    Some(Duration::from_secs(1)),
    Some(Duration::from_secs(10)),
    Some(Duration::from_secs(100)),
    None,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_changes_only_when_published() {
        let metrics = Metrics::new();
        let before = metrics.shown();
        metrics.opened();
        metrics.answered(Outcome::Finished, Duration::from_secs(3));
        assert_eq!(metrics.shown(), before);
        metrics.publish();
        let after = metrics.shown();
        for line in [
            "veritee_enclave_requests_total{outcome=\"opened\"} 1\n",
            "veritee_enclave_answers_total{outcome=\"finished\"} 1\n",
            "veritee_enclave_answer_seconds_bucket{le=\"1\"} 0\n",
            "veritee_enclave_answer_seconds_bucket{le=\"10\"} 1\n",
            "veritee_enclave_answer_seconds_bucket{le=\"+Inf\"} 1\n",
        ] {
            assert!(after.contains(line), "{line} in {after}");
        }
    }
}
