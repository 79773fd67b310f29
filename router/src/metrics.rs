//! What the router counts: nothing that depends on content.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use http::StatusCode;

/// The counters, from start to now.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [AtomicU64; 4],
    complete: AtomicU64,
    broken: AtomicU64,
    abandoned: AtomicU64,
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
    /// Counts an answer by its status class.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() {
            200..=299 => 0,
            300..=399 => 1,
            400..=499 => 2,
            _ => 3,
        };
        if let Some(counter) = self.answers.get(class) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts the end of a relayed response.
    pub(crate) fn ended(&self, ending: Ending) {
        let counter = match ending {
            Ending::Complete => &self.complete,
            Ending::Broken => &self.broken,
            Ending::Abandoned => &self.abandoned,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// The Prometheus text of everything.
    pub(crate) fn render(&self, nodes: usize, ready: usize, streams: usize) -> String {
        let mut text = String::with_capacity(1024);
        for (name, help, value) in [
            ("up", "1 while the router runs.", 1),
            ("nodes", "Enclaves that have been seen.", nodes),
            ("nodes_ready", "Enclaves that are serving.", ready),
            ("streams_open", "Requests in flight to enclaves.", streams),
        ] {
            push(
                &mut text,
                format_args!(
                    "# HELP veritee_router_{name} {help}\n# TYPE veritee_router_{name} gauge\n"
                ),
            );
            push(&mut text, format_args!("veritee_router_{name} {value}\n"));
        }
        push(
            &mut text,
            format_args!("# HELP veritee_router_answers_total Answers by status class.\n"),
        );
        push(&mut text, format_args!("# TYPE veritee_router_answers_total counter\n"));
        for (class, counter) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(&self.answers) {
            let value = counter.load(Relaxed);
            push(
                &mut text,
                format_args!("veritee_router_answers_total{{class=\"{class}\"}} {value}\n"),
            );
        }
        push(
            &mut text,
            format_args!(
                "# HELP veritee_router_streams_total Relayed responses by how they ended.\n"
            ),
        );
        push(&mut text, format_args!("# TYPE veritee_router_streams_total counter\n"));
        for (ending, counter) in [
            (Ending::Complete, &self.complete),
            (Ending::Broken, &self.broken),
            (Ending::Abandoned, &self.abandoned),
        ] {
            let (name, value) = (ending.name(), counter.load(Relaxed));
            push(
                &mut text,
                format_args!("veritee_router_streams_total{{ending=\"{name}\"}} {value}\n"),
            );
        }
        text
    }
}

/// Writing to a `String` cannot fail.
fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    if text.write_fmt(line).is_err() {
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let metrics = Metrics::default();
        for status in [200, 204, 302, 404, 421, 503] {
            metrics.answered(StatusCode::from_u16(status).unwrap());
        }
        metrics.ended(Ending::Broken);
        let text = metrics.render(3, 2, 1);
        for line in [
            "veritee_router_answers_total{class=\"2xx\"} 2",
            "veritee_router_answers_total{class=\"3xx\"} 1",
            "veritee_router_answers_total{class=\"4xx\"} 2",
            "veritee_router_answers_total{class=\"5xx\"} 1",
            "veritee_router_streams_total{ending=\"broken\"} 1",
            "veritee_router_nodes_ready 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
