//! What is counted and measured: ends of requests, broken promises, memory and descriptors of the programs.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::random::lock;

/// Everything that was counted.
#[derive(Debug)]
pub(crate) struct Figures {
    start: Instant,
    ends: Mutex<BTreeMap<(&'static str, String), u64>>,
    broken: Mutex<Vec<String>>,
    broken_count: AtomicU64,
    lives: Mutex<BTreeMap<String, Vec<Life>>>,
}

/// One life of one program: what it used, and when.
#[derive(Debug)]
struct Life {
    process: u32,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: u64,
    rss_kib: u64,
    descriptors: u64,
    cpu_ticks: u64,
}

impl Figures {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            ends: Mutex::default(),
            broken: Mutex::default(),
            broken_count: AtomicU64::new(0),
            lives: Mutex::default(),
        }
    }

    /// A request of a kind ended so.
    pub(crate) fn count(&self, kind: &'static str, end: impl Into<String>) {
        let mut ends = lock(&self.ends);
        let count = ends.entry((kind, end.into())).or_default();
        *count = count.saturating_add(1);
    }

    /// A promise was broken. It is told at once, and the run fails.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        let what = format!("{:8.1} s  BROKEN  {}", self.start.elapsed().as_secs_f64(), what.into());
        self.broken_count.fetch_add(1, SeqCst);
        say(&what);
        let mut broken = lock(&self.broken);
        if broken.len() < BROKEN_KEPT {
            broken.push(what);
        }
    }

    pub(crate) fn broken_count(&self) -> u64 {
        self.broken_count.load(SeqCst)
    }

    /// Puts down what the process uses now. Another process than before is a new life of the program.
    pub(crate) fn sample(&self, label: &str, id: u32) {
        let Some(sample) = Sample::of(id, self.start.elapsed()) else { return };
        let mut all = lock(&self.lives);
        let lives = all.entry(label.to_owned()).or_default();
        match lives.last_mut().filter(|life| life.process == id) {
            Some(life) => life.samples.push(sample),
            None => lives.push(Life { process: id, samples: vec![sample] }),
        }
    }

    /// One line about where the run is.
    pub(crate) fn progress(&self, kills: u64) {
        let ends = lock(&self.ends);
        let total: u64 = ends.values().sum();
        let whole: u64 =
            ends.iter().filter(|((_, end), _)| end == WHOLE).map(|(_, count)| count).sum();
        drop(ends);
        let mut line = format!(
            "{:8.1} s  requests {total}, as expected {whole}, kills {kills}, broken {}",
            self.start.elapsed().as_secs_f64(),
            self.broken_count()
        );
        for (label, lives) in lock(&self.lives).iter() {
            if let Some(sample) = lives.last().and_then(|life| life.samples.last()) {
                let Sample { rss_kib, descriptors, .. } = sample;
                line.extend([format!("; {label} {rss_kib} KiB {descriptors} fds")]);
            }
        }
        say(&line);
    }

    /// Everything, at the end.
    pub(crate) fn summary(&self, kills: &BTreeMap<String, u64>) {
        say("ends of requests");
        let mut total = 0_u64;
        for ((kind, end), count) in lock(&self.ends).iter() {
            say(&format!("  {kind:<22} {end:<34} {count:>8}"));
            total = total.saturating_add(*count);
        }
        say(&format!("  {:<57} {total:>8}", "all"));
        say("kills");
        for (kill, count) in kills {
            say(&format!("  {kill:<57} {count:>8}"));
        }
        say(
            "programs: lives; resident KiB in the longest life: first, last, highest, slope per hour after its first minute; descriptors: first, last, highest; processor share",
        );
        let seconds = self.start.elapsed().as_secs_f64();
        let mut share_all = 0.0;
        for (label, lives) in lock(&self.lives).iter() {
            let Some(longest) = lives.iter().max_by_key(|life| life.millis()) else { continue };
            let ticks: u64 = lives
                .iter()
                .filter_map(|life| life.samples.last())
                .map(|last| last.cpu_ticks)
                .sum();
            let share = float(ticks) / TICKS_PER_SECOND / seconds * 100.0;
            share_all += share;
            say(&format!(
                "  {label:<10} {:>3} lives; {}; {share:.1} %",
                lives.len(),
                longest.told()
            ));
        }
        say(&format!("  processor share of all programs together: {share_all:.1} % of one"));
        say(&format!("broken promises: {}", self.broken_count()));
        for what in lock(&self.broken).iter() {
            say(what);
        }
    }

    /// After the load has gone and the programs had time to rest, they must be about where they were when their life began.
    pub(crate) fn judge_rest(&self) {
        let mut grown = Vec::new();
        for (label, lives) in lock(&self.lives).iter() {
            let Some(life) = lives.last() else { continue };
            let (Some(first), Some(last)) = (life.samples.first(), life.samples.last()) else {
                continue;
            };
            if last.descriptors > first.descriptors.saturating_add(DESCRIPTORS_SLACK) {
                grown.push(format!(
                    "{label} holds {} descriptors at rest, {} at first",
                    last.descriptors, first.descriptors
                ));
            }
            if last.rss_kib > first.rss_kib.saturating_add(RSS_SLACK_KIB) {
                grown.push(format!(
                    "{label} has {} KiB at rest, {} at first",
                    last.rss_kib, first.rss_kib
                ));
            }
        }
        for what in grown {
            self.broken(what);
        }
    }
}

impl Life {
    fn millis(&self) -> u64 {
        let at = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.at_ms);
        at(self.samples.last()).saturating_sub(at(self.samples.first()))
    }

    fn told(&self) -> String {
        let highest = |of: fn(&Sample) -> u64| self.samples.iter().map(of).max().unwrap_or(0);
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return "never seen".to_owned();
        };
        format!(
            "{:>5} s: {} {} {} {:+.0}; {} {} {}",
            self.millis() / 1_000,
            first.rss_kib,
            last.rss_kib,
            highest(|sample| sample.rss_kib),
            self.slope_kib_per_hour(),
            first.descriptors,
            last.descriptors,
            highest(|sample| sample.descriptors),
        )
    }

    /// Least squares over all but the first minute.
    fn slope_kib_per_hour(&self) -> f64 {
        let begin = self.samples.first().map_or(0, |sample| sample.at_ms).saturating_add(60_000);
        let points: Vec<(f64, f64)> = self
            .samples
            .iter()
            .filter(|sample| sample.at_ms >= begin)
            .map(|sample| (float(sample.at_ms) / 3_600_000.0, float(sample.rss_kib)))
            .collect();
        let count = float(u64::try_from(points.len()).unwrap_or(0));
        if count < 3.0 {
            return 0.0;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let below: f64 = points.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
        if below > 0.0 { above / below } else { 0.0 }
    }
}

impl Sample {
    fn of(id: u32, at: Duration) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_kib = rss.trim().trim_end_matches(" kB").parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).ok()?.count();
        // After the name, which may hold spaces: state is field 3; utime and stime are 14 and 15.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().unwrap_or(0));
        let cpu_ticks = fields.next()?.saturating_add(fields.next()?);
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        Some(Self { at_ms, rss_kib, descriptors: u64::try_from(descriptors).ok()?, cpu_ticks })
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people to read"
)]
const fn float(number: u64) -> f64 {
    number as f64
}

/// One line, at once: a run of an hour is watched.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// The end of a request that went as it should.
pub(crate) const WHOLE: &str = "as expected";

/// Broken promises that the summary repeats.
const BROKEN_KEPT: usize = 50;

/// Linux on every platform that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Connections that a program may keep for later.
const DESCRIPTORS_SLACK: u64 = 24;

/// What allocators keep after load: arenas of the threads that served it.
const RSS_SLACK_KIB: u64 = 48 << 10;
