//! The closed language of the enclave's log: what is not in [`Event`] cannot be said.
//!
//! Nothing a client sealed can get in: an event holds random identifiers, sizes and durations in
//! buckets, and codes from our own code, never text from outside (`docs/protocol.md` §5.9). Every
//! event is one line of JSON.

use std::fmt;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use attestation::NodeId;
use tokio::time::Instant;

use crate::metrics::PANICS;

/// What may be logged.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The enclave serves.
    Ready {
        /// This boot's name.
        node: NodeId,
    },
    /// A sealed request was refused before anything in it was acted on.
    Refused {
        /// The request.
        request: RequestId,
        /// A code of ours.
        reason: &'static str,
    },
    /// So many refusals since the last one that was told were not told: they came too fast.
    Untold {
        /// How many; the metrics count each.
        refusals: u64,
    },
    /// A sealed request was opened.
    Opened {
        /// The request.
        request: RequestId,
        /// How much was sealed.
        sealed: SizeBucket,
    },
    /// An answer ended.
    Answered {
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        took: DurationBucket,
    },
    /// A new key epoch began.
    Rotated {
        /// How many epochs this boot has had.
        epoch: u64,
    },
    /// The platform gave no evidence.
    EvidenceFailed {
        /// A code of `collect`.
        reason: &'static str,
    },
    /// The engine reads its model.
    Loading {
        /// So many octets are in,
        read: u64,
        /// of so many.
        len: u64,
    },
    /// The engine's process has its model.
    EngineReady {
        /// Whether the kernel promised to keep its memory from disks.
        locked: bool,
    },
    /// The engine's process ended; what it was answering failed, and another is started.
    EngineEnded,
    /// The server that answers is well, after it was not.
    UpstreamReady,
    /// The server that answers is gone, or not well; requests are told to come back.
    UpstreamLost,
    /// The enclave stops taking requests.
    Draining,
    /// The enclave has stopped.
    Stopped {
        /// Whether every answer was finished.
        whole: bool,
    },
    /// A task of ours panicked: a defect, which ended that task alone.
    Panicked {
        /// Where in our source.
        file: &'static str,
        /// The line there.
        line: u32,
    },
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Whole.
    Finished,
    /// An error was answered, sealed.
    Error,
    /// It broke off, and the client was told so.
    Aborted,
    /// The client went away, or left its answer unread.
    Abandoned,
}

impl Outcome {
    /// The word in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Error => "error",
            Self::Aborted => "aborted",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A random name of one request, for this log alone.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct RequestId([u8; 8]);

impl RequestId {
    /// A new name.
    pub fn random() -> Self {
        Self(crate::keys::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of octets, as coarse as the log may know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SizeBucket(&'static str);

impl SizeBucket {
    /// The bucket of `len`.
    pub const fn of(len: usize) -> Self {
        Self(match len {
            0..=16_384 => "<=16KiB",
            16_385..=262_144 => "<=256KiB",
            _ => ">256KiB",
        })
    }
}

/// A duration, as coarse as the log may know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DurationBucket(&'static str);

impl DurationBucket {
    /// The bucket of `took`.
    pub const fn of(took: Duration) -> Self {
        Self(match took.as_secs() {
            0 => "<1s",
            1..=9 => "<10s",
            10..=99 => "<100s",
            _ => ">=100s",
        })
    }
}

impl Event {
    /// Writes the event.
    pub fn emit(self) {
        match self {
            Self::Ready { node } => tracing::info!(target: TARGET, event = "ready", %node),
            Self::Refused { request, reason } => {
                tracing::info!(target: TARGET, event = "refused", %request, reason);
            }
            Self::Untold { refusals } => {
                tracing::info!(target: TARGET, event = "untold", refusals);
            }
            Self::Opened { request, sealed: SizeBucket(sealed) } => {
                tracing::info!(target: TARGET, event = "opened", %request, sealed);
            }
            Self::Answered { request, outcome, took: DurationBucket(took) } => {
                let outcome = outcome.as_str();
                tracing::info!(target: TARGET, event = "answered", %request, outcome, took);
            }
            Self::Rotated { epoch } => tracing::info!(target: TARGET, event = "rotated", epoch),
            Self::EvidenceFailed { reason } => {
                tracing::warn!(target: TARGET, event = "evidence-failed", reason);
            }
            Self::Loading { read, len } => {
                tracing::info!(target: TARGET, event = "loading", read, len);
            }
            Self::EngineReady { locked } => {
                tracing::info!(target: TARGET, event = "engine-ready", locked);
            }
            Self::EngineEnded => tracing::error!(target: TARGET, event = "engine-ended"),
            Self::UpstreamReady => tracing::info!(target: TARGET, event = "upstream-ready"),
            Self::UpstreamLost => tracing::warn!(target: TARGET, event = "upstream-lost"),
            Self::Draining => tracing::info!(target: TARGET, event = "draining"),
            Self::Stopped { whole } => tracing::info!(target: TARGET, event = "stopped", whole),
            Self::Panicked { file, line } => {
                tracing::error!(target: TARGET, event = "panicked", file, line);
            }
        }
    }
}

/// Refusals, of which so many are told in a second: who sends nonsense should not fill a disk.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Refusals {
    /// Writes a refusal, and how many were not written before it; or only counts it.
    pub(crate) fn tell(&self, refusal: Event, now: Instant) {
        if let Some(refusals) = self.next(now) {
            if refusals > 0 {
                Event::Untold { refusals }.emit();
            }
            refusal.emit();
        }
    }

    /// Whether the next one is told, and then how many were not since the last.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Window { since, told, untold } = &mut *state;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (*since, *told) = (Some(now), 0);
        }
        if *told < TOLD_PER_SECOND {
            *told = told.saturating_add(1);
            return Some(std::mem::take(untold));
        }
        *untold = untold.saturating_add(1);
        None
    }
}

/// Counts panics and logs where they happened; what they say could hold content, and is dropped.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            PANICS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (file, line) = panic
                .location()
                .map_or(("unknown", 0), |place| (leak_free(place.file()), place.line()));
            Event::Panicked { file, line }.emit();
        }));
    });
}

const SECOND: Duration = Duration::from_secs(1);
/// Refusals that the log tells in a second. In a flood one is like the other.
const TOLD_PER_SECOND: u32 = 20;

/// The log's target: the program shows no other crate's lines.
pub const TARGET: &str = "veritee_enclave";

/// Source paths in panics are compiled in, but not typed so. Only their crate's part is told.
fn leak_free(file: &str) -> &'static str {
    const OURS: [&str; 4] = ["enclave/src", "enclave/engine", "attestation/channel", "attestation"];
    OURS.into_iter().find(|part| file.contains(part)).unwrap_or("dependency")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_told_in_part_and_counted_whole() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let at = |ms| start.checked_add(Duration::from_millis(ms)).unwrap();
        for _ in 0..TOLD_PER_SECOND {
            assert_eq!(refusals.next(start), Some(0));
        }
        for ms in 0..999 {
            assert_eq!(refusals.next(at(ms)), None);
        }
        assert_eq!(refusals.next(at(1_000)), Some(999));
        assert_eq!(refusals.next(at(1_000)), Some(0));
    }

    #[test]
    fn sizes_and_durations_are_coarse() {
        assert_eq!(SizeBucket::of(1), SizeBucket::of(16_384));
        assert_ne!(SizeBucket::of(16_384), SizeBucket::of(16_385));
        let secs = |secs| DurationBucket::of(Duration::from_secs(secs));
        assert_eq!(secs(1), secs(9));
        assert_ne!(secs(9), secs(10));
        assert_eq!(secs(100), secs(100_000));
    }
}
