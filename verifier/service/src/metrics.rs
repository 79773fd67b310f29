//! What is counted, in the Prometheus text format. No label is of a caller's making.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use verifier::Report;

use crate::policies::{PolicyStatus, Standing};

/// What is followed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Followed {
    Policies,
    Endorsements,
    Keys,
}

impl Followed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Endorsements => "endorsements",
            Self::Keys => "keys",
        }
    }
}

/// Everything that only grows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    verdicts: Mutex<BTreeMap<(&'static str, String, &'static str), u64>>,
    followed: Mutex<BTreeMap<(Followed, bool), u64>>,
    buckets: [AtomicU64; BOUNDS_US.len()],
    beyond: AtomicU64,
    sum_us: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
}

/// Everything that comes and goes.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) draining: bool,
    pub(crate) policies: Vec<PolicyStatus>,
    pub(crate) requests: usize,
    pub(crate) requests_max: usize,
    pub(crate) ephemeral: bool,
}

impl Metrics {
    /// An answer left.
    pub(crate) fn answered(&self, route: &'static str, status: StatusCode) {
        add(&self.answers, (route, status.as_u16()));
    }

    /// A verdict was given: which, on what, and the code of its first refusal.
    pub(crate) fn judged(&self, report: &Report) {
        let refusal =
            report.worst().filter(|finding| finding.severity == verifier::Severity::Reject);
        let code = refusal.map_or("none", |finding| finding.code.as_str());
        add(&self.verdicts, (report.platform, report.verdict.to_string(), code));
    }

    /// A file was read again, and taken or not.
    pub(crate) fn followed(&self, what: Followed, taken: bool) {
        add(&self.followed, (what, taken));
    }

    /// A request was judged, and signed, in this time.
    pub(crate) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().zip(&self.buckets).find(|(bound, _)| us <= **bound);
        bucket.map_or(&self.beyond, |(_, bucket)| bucket).fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// The page.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut page = Page(String::new());
        page.gauge("up", "1 while the process lives.", 1);
        page.gauge("draining", "1 while the service stops.", u64::from(gauges.draining));
        page.gauge(
            "key_ephemeral",
            "1 where the signing key is gone when the service stops.",
            u64::from(gauges.ephemeral),
        );
        page.gauge("requests", "Requests that are being read or judged.", size(gauges.requests));
        page.gauge("requests_max", "As many as may be.", size(gauges.requests_max));
        page.head("policies", "gauge", "Files of policies by standing.");
        for (standing, label) in [
            (Standing::Current, "current"),
            (Standing::Stale, "stale"),
            (Standing::Refused, "refused"),
        ] {
            let count = gauges.policies.iter().filter(|status| status.standing == standing).count();
            page.line("policies", &[("standing", label)], size(count));
        }
        page.head("answers_total", "counter", "Answers by path and status.");
        for ((route, status), count) in &*lock(&self.answers) {
            let status = status.to_string();
            page.line("answers_total", &[("route", route), ("status", &status)], *count);
        }
        page.head("verdicts_total", "counter", "Verdicts by platform and first refusal.");
        for ((platform, verdict, code), count) in &*lock(&self.verdicts) {
            let labels = [("platform", *platform), ("verdict", verdict), ("code", *code)];
            page.line("verdicts_total", &labels, *count);
        }
        page.head("reloads_total", "counter", "Files that changed, by what came of it.");
        for ((what, taken), count) in &*lock(&self.followed) {
            let outcome = if *taken { "taken" } else { "refused" };
            page.line("reloads_total", &[("of", what.as_str()), ("outcome", outcome)], *count);
        }
        for (name, help, counter) in [
            (
                "connections_refused_total",
                "Connections that could not be set up.",
                &self.connections_refused,
            ),
            ("handshakes_failed_total", "TLS handshakes that failed.", &self.handshakes_failed),
        ] {
            page.head(name, "counter", help);
            page.line(name, &[], counter.load(Relaxed));
        }
        self.histogram(&mut page);
        page.0
    }

    fn histogram(&self, page: &mut Page) {
        page.head("appraise_seconds", "histogram", "From a whole body to a signed answer.");
        let mut count = 0_u64;
        for (bound, bucket) in BOUNDS_US.iter().zip(&self.buckets) {
            count = count.saturating_add(bucket.load(Relaxed));
            page.line("appraise_seconds_bucket", &[("le", &seconds(*bound))], count);
        }
        count = count.saturating_add(self.beyond.load(Relaxed));
        page.line("appraise_seconds_bucket", &[("le", "+Inf")], count);
        page.line("appraise_seconds_sum", &[], seconds(self.sum_us.load(Relaxed)));
        page.line("appraise_seconds_count", &[], count);
    }
}

fn add<K: Ord>(counters: &Mutex<BTreeMap<K, u64>>, key: K) {
    let mut counters = lock(counters);
    let count = counters.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Microseconds, written as seconds without rounding.
fn seconds(us: u64) -> String {
    let took = Duration::from_micros(us);
    let text = format!("{}.{:06}", took.as_secs(), took.subsec_micros());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The page, as it grows. Writing to a `String` cannot fail.
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let head = format!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
        self.0.push_str(&head);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> =
            labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{PREFIX}{name}{labels} {value}").unwrap_or_default();
    }
}

const PREFIX: &str = "veritee_verifier_";

/// From the least that a verdict takes to what nobody should wait for.
const BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
