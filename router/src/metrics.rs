//! What the router counts: nothing that depends on content, and no label that a client could choose.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use tls::TlsError;

use crate::{
    guard::GuardCounts, keys::KeyCounts, problem::Problem, relay::Errand, route::ROUTE_NAMES,
    told::Lines,
};

/// The counters, from start to now.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [[AtomicU64; CLASSES.len()]; ROUTE_NAMES.len()],
    /// By code, of which there are as many as the router has problems.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    endings: [AtomicU64; ENDINGS.len()],
    first_byte: [Histogram; ERRANDS.len()],
    connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    /// TLS handshakes of clients that failed, by code, of which there are as many as [`TlsError`] has.
    handshakes: Mutex<BTreeMap<&'static str, u64>>,
    reloads: [[AtomicU64; OUTCOMES.len()]; CERTIFICATES.len()],
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    /// What of it the log tells.
    pub(crate) lines: Lines,
}

/// How long something took, in buckets.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len()],
    beyond: AtomicU64,
    sum_us: AtomicU64,
}

/// How a relayed response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both ends saw the end.
    Complete,
    /// The enclave's side died or fell silent; the client's connection was aborted.
    Broken,
    /// The client went away; the enclave's connection was closed.
    Abandoned,
}

/// What is true now, for the gauges.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) draining: bool,
    pub(crate) streams_open: usize,
    pub(crate) streams_max: u32,
    pub(crate) enclaves: Vec<EnclaveState>,
    /// None where the router asks for no keys.
    pub(crate) keys: Option<KeyCounts>,
}

/// One enclave of the configuration, as last seen.
#[derive(Debug)]
pub(crate) struct EnclaveState {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) seen: bool,
    pub(crate) ready: bool,
    pub(crate) missed: u32,
    /// None where it is reached by plain HTTP.
    pub(crate) tls: Option<GuardCounts>,
}

/// One of the router's own certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// To clients.
    Clients,
    /// To enclaves.
    Enclaves,
}

impl Ending {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Broken => "broken",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Metrics {
    /// Counts an answer by its route and its status class.
    pub(crate) fn answered(&self, route: &'static str, status: StatusCode) {
        let class = match status.as_u16() {
            200..=299 => 0,
            300..=399 => 1,
            400..=499 => 2,
            _ => 3,
        };
        let route = ROUTE_NAMES.iter().position(|name| *name == route);
        if let Some(counter) = route.and_then(|route| self.answers.get(route)?.get(class)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts an answer that the router gave itself.
    pub(crate) fn refused(&self, problem: Problem) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = refusals.entry(problem.code()).or_default();
        *counter = counter.saturating_add(1);
    }

    /// Counts the end of a relayed response.
    pub(crate) fn ended(&self, ending: Ending) {
        let index = ENDINGS.iter().position(|known| *known == ending);
        if let Some(counter) = index.and_then(|index| self.endings.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Notes how long an enclave took from the last octet of the request to the first of its answer.
    pub(crate) fn first_byte(&self, errand: Errand, took: Duration) {
        let index = ERRANDS.iter().position(|name| *name == errand.name());
        if let Some(histogram) = index.and_then(|index| self.first_byte.get(index)) {
            histogram.note(took);
        }
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn connected(&self) -> impl Drop + use<'_> {
        struct Connected<'a>(&'a AtomicU64);
        impl Drop for Connected<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        self.connections.fetch_add(1, Relaxed);
        Connected(&self.connections)
    }

    /// Counts a client's TLS handshake that failed.
    pub(crate) fn handshake_failed(&self, error: &TlsError) {
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = handshakes.entry(error.code()).or_default();
        *counter = counter.saturating_add(1);
    }

    /// Counts a change of one of the router's own certificates.
    pub(crate) fn reloaded<T, E>(&self, shown: Shown, outcome: &Result<T, E>) {
        let [clients, enclaves] = &self.reloads;
        let [taken, refused] = match shown {
            Shown::Clients => clients,
            Shown::Enclaves => enclaves,
        };
        let counter = if outcome.is_ok() { taken } else { refused };
        counter.fetch_add(1, Relaxed);
    }

    /// The Prometheus text of everything.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let Gauges { draining, streams_open, streams_max, enclaves, keys } = gauges;
        let mut page = Page(String::with_capacity(8 << 10));
        page.gauge("up", "1 while the router runs.", 1);
        page.gauge("draining", "1 while the router stops.", u8::from(*draining));
        let seen = enclaves.iter().filter(|enclave| enclave.seen).count();
        page.gauge("nodes", "Enclaves that have been seen.", seen);
        let ready = enclaves.iter().filter(|enclave| enclave.ready).count();
        page.gauge("nodes_ready", "Enclaves that are serving.", ready);
        page.gauge("streams_open", "Requests in flight to enclaves.", streams_open);
        page.gauge("streams_max", "Requests that may be in flight.", streams_max);
        let connections = self.connections.load(Relaxed);
        page.gauge("connections_open", "Connections of clients.", connections);
        render_enclaves(&mut page, enclaves);
        self.render_traffic(&mut page);
        self.render_tls(&mut page, enclaves);
        if let Some(keys) = keys {
            render_keys(&mut page, keys);
        }
        page.0
    }

    fn render_traffic(&self, page: &mut Page) {
        page.head("requests_total", "counter", "Answers by route and status class.");
        for (route, classes) in ROUTE_NAMES.iter().zip(&self.answers) {
            for (class, counter) in CLASSES.iter().zip(classes) {
                let labels = [("route", *route), ("class", *class)];
                page.line("requests_total", &labels, counter.load(Relaxed));
            }
        }
        page.head("refusals_total", "counter", "The router's own refusals; limits among them.");
        for (code, count) in self.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.line("refusals_total", &[("code", code)], count);
        }
        page.head(
            "connections_refused_total",
            "counter",
            "Connections of addresses that had all they may.",
        );
        page.line("connections_refused_total", &[], self.connections_refused.load(Relaxed));
        page.head("streams_total", "counter", "Relayed responses by how they ended.");
        for (ending, counter) in ENDINGS.iter().zip(&self.endings) {
            page.line("streams_total", &[("ending", ending.name())], counter.load(Relaxed));
        }
        page.head("bytes_total", "counter", "Octets of bodies relayed to and from enclaves.");
        let (up, down) = (self.bytes_up.load(Relaxed), self.bytes_down.load(Relaxed));
        page.line("bytes_total", &[("direction", "to-enclaves")], up);
        page.line("bytes_total", &[("direction", "from-enclaves")], down);
        page.head(
            "first_byte_seconds",
            "histogram",
            "From the last octet sent to an enclave to the first of its answer.",
        );
        for (errand, histogram) in ERRANDS.iter().zip(&self.first_byte) {
            histogram.render(page, "first_byte_seconds", errand);
        }
    }

    fn render_tls(&self, page: &mut Page, enclaves: &[EnclaveState]) {
        page.head("handshakes_failed_total", "counter", "TLS handshakes of clients that failed.");
        for (code, count) in self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.line("handshakes_failed_total", &[("code", code)], count);
        }
        page.head(
            "certificate_reloads_total",
            "counter",
            "Changes of the router's own certificates, taken or refused.",
        );
        for (certificate, outcomes) in CERTIFICATES.iter().zip(&self.reloads) {
            for (outcome, counter) in OUTCOMES.iter().zip(outcomes) {
                let labels = [("certificate", *certificate), ("outcome", *outcome)];
                page.line("certificate_reloads_total", &labels, counter.load(Relaxed));
            }
        }
        render_guards(page, enclaves);
    }
}

fn render_guards(page: &mut Page, enclaves: &[EnclaveState]) {
    page.head("enclave_tls_failures_total", "counter", "Connections to enclaves that TLS refused.");
    for EnclaveState { name, address, tls, .. } in enclaves {
        for (code, count) in tls.iter().flat_map(|counts| &counts.failures) {
            let labels = [("enclave", name.as_str()), ("address", address), ("code", *code)];
            page.line("enclave_tls_failures_total", &labels, count);
        }
    }
    page.head("pin_reloads_total", "counter", "Changes of files of pins, taken or refused.");
    for EnclaveState { name, address, tls, .. } in enclaves {
        let Some(GuardCounts { reloads: (taken, refused), .. }) = tls else { continue };
        for (outcome, count) in OUTCOMES.iter().zip([taken, refused]) {
            let labels = [("enclave", name.as_str()), ("address", address), ("outcome", *outcome)];
            page.line("pin_reloads_total", &labels, count);
        }
    }
}

fn render_enclaves(page: &mut Page, enclaves: &[EnclaveState]) {
    page.head("enclave_ready", "gauge", "1 while the enclave serves, by configured enclave.");
    for EnclaveState { name, address, ready, .. } in enclaves {
        let labels = [("enclave", name.as_str()), ("address", address)];
        page.line("enclave_ready", &labels, u8::from(*ready));
    }
    page.head("enclave_missed_looks", "gauge", "Looks in a row that did not find out.");
    for EnclaveState { name, address, missed, .. } in enclaves {
        let labels = [("enclave", name.as_str()), ("address", address)];
        page.line("enclave_missed_looks", &labels, missed);
    }
}

fn render_keys(page: &mut Page, keys: &KeyCounts) {
    let KeyCounts { live, reloads, refused_reloads, by_id } = keys;
    page.gauge("keys", "Keys that count.", live);
    page.head("key_reloads_total", "counter", "Changes of the file of keys, taken or refused.");
    page.line("key_reloads_total", &[("outcome", "taken")], reloads);
    page.line("key_reloads_total", &[("outcome", "refused")], refused_reloads);
    if by_id.is_empty() {
        return;
    }
    page.head("key_streams_open", "gauge", "Requests in flight, by key.");
    for (id, (open, _, _)) in by_id {
        page.line("key_streams_open", &[("key", &id.to_string())], open);
    }
    page.head("key_requests_total", "counter", "Requests let in, by key.");
    for (id, (_, requests, _)) in by_id {
        page.line("key_requests_total", &[("key", &id.to_string())], requests);
    }
    page.head("key_limited_total", "counter", "Requests that a limit stopped, by key.");
    for (id, (_, _, limited)) in by_id {
        page.line("key_limited_total", &[("key", &id.to_string())], limited);
    }
}

impl Histogram {
    fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound);
        let counter = bucket.and_then(|bucket| self.buckets.get(bucket)).unwrap_or(&self.beyond);
        counter.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn render(&self, page: &mut Page, name: &str, errand: &str) {
        let bucket = format!("{name}_bucket");
        let mut count = 0_u64;
        for (bound, counter) in BOUNDS_US.iter().zip(&self.buckets) {
            count = count.saturating_add(counter.load(Relaxed));
            let bound = Seconds(*bound).to_string();
            page.line(&bucket, &[("to", errand), ("le", &bound)], count);
        }
        count = count.saturating_add(self.beyond.load(Relaxed));
        page.line(&bucket, &[("to", errand), ("le", "+Inf")], count);
        let sum = Seconds(self.sum_us.load(Relaxed));
        page.line(&format!("{name}_sum"), &[("to", errand)], sum);
        page.line(&format!("{name}_count"), &[("to", errand)], count);
    }
}

/// Microseconds, written as seconds without rounding.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = Duration::from_micros(self.0);
        let text = format!("{}.{:06}", took.as_secs(), took.subsec_micros());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The page, as it grows.
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.push(format_args!("{PREFIX}{name}"));
        let mut before = "{";
        for (label, text) in labels {
            self.push(format_args!("{before}{label}=\"{}\"", Escaped(text)));
            before = ",";
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{after} {value}\n"));
    }

    /// Writing to a `String` cannot fail.
    fn push(&mut self, line: fmt::Arguments<'_>) {
        if self.0.write_fmt(line).is_err() {
            self.0.clear();
        }
    }
}

/// The value of a label, as the exposition format wants it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            char => f.write_char(char),
        })
    }
}

const PREFIX: &str = "veritee_router_";

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

const ENDINGS: [Ending; 3] = [Ending::Complete, Ending::Broken, Ending::Abandoned];

/// In the order of [`Shown`].
const CERTIFICATES: [&str; 2] = ["tls", "identity"];

const OUTCOMES: [&str; 2] = ["taken", "refused"];

const ERRANDS: [&str; 2] = ["evidence", "ohttp"];

/// From the router's own share, one millisecond, to the longest wait for a head by default and a little more.
const BOUNDS_US: [u64; 17] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            let line = format!("{PREFIX}{line}");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn answers_are_counted_by_route_and_class() {
        let metrics = Metrics::default();
        for status in [200, 204, 302, 404, 421, 503] {
            metrics.answered("/v1/fleet", StatusCode::from_u16(status).unwrap());
        }
        metrics.answered("/healthz", StatusCode::OK);
        metrics.ended(Ending::Broken);
        metrics.refused(Problem::Busy);
        has(
            &metrics.render(&Gauges::default()),
            &[
                "requests_total{route=\"/v1/fleet\",class=\"2xx\"} 2",
                "requests_total{route=\"/v1/fleet\",class=\"3xx\"} 1",
                "requests_total{route=\"/v1/fleet\",class=\"4xx\"} 2",
                "requests_total{route=\"/v1/fleet\",class=\"5xx\"} 1",
                "requests_total{route=\"/healthz\",class=\"2xx\"} 1",
                "streams_total{ending=\"broken\"} 1",
                "refusals_total{code=\"busy\"} 1",
            ],
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_its_bounds_are_inclusive() {
        let metrics = Metrics::default();
        for us in [1_000, 1_001, 2_500, 400_000_000] {
            metrics.first_byte(Errand::Sealed, Duration::from_micros(us));
        }
        has(
            &metrics.render(&Gauges::default()),
            &[
                "first_byte_seconds_bucket{to=\"ohttp\",le=\"0.001\"} 1",
                "first_byte_seconds_bucket{to=\"ohttp\",le=\"0.0025\"} 3",
                "first_byte_seconds_bucket{to=\"ohttp\",le=\"300\"} 3",
                "first_byte_seconds_bucket{to=\"ohttp\",le=\"+Inf\"} 4",
                "first_byte_seconds_sum{to=\"ohttp\"} 400.004501",
                "first_byte_seconds_count{to=\"ohttp\"} 4",
                "first_byte_seconds_count{to=\"evidence\"} 0",
            ],
        );
    }

    #[test]
    fn each_enclave_is_told_by_name_and_address_and_no_name_breaks_the_page() {
        let enclave = |address: &str, ready| EnclaveState {
            name: "a\"b\\c\nd".to_owned(),
            address: address.to_owned(),
            seen: true,
            ready,
            missed: 1,
            tls: None,
        };
        let enclaves = vec![enclave("127.0.0.1:1", true), enclave("127.0.0.1:2", false)];
        has(
            &Metrics::default().render(&Gauges { enclaves, ..Gauges::default() }),
            &[
                "nodes 2",
                "nodes_ready 1",
                "enclave_ready{enclave=\"a\\\"b\\\\c\\nd\",address=\"127.0.0.1:1\"} 1",
                "enclave_ready{enclave=\"a\\\"b\\\\c\\nd\",address=\"127.0.0.1:2\"} 0",
                "enclave_missed_looks{enclave=\"a\\\"b\\\\c\\nd\",address=\"127.0.0.1:2\"} 1",
            ],
        );
    }

    #[test]
    fn connections_are_counted_while_they_last() {
        let metrics = Metrics::default();
        let open = metrics.connected();
        has(&metrics.render(&Gauges::default()), &["connections_open 1"]);
        drop(open);
        has(&metrics.render(&Gauges::default()), &["connections_open 0"]);
    }
}
