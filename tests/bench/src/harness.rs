//! How figures are taken: interleaved rounds, medians, processor time where the figure is a cost.
//!
//! Ours, the peer and the floor run one after another in every round, in an order that rotates, each
//! for a batch of some 30 ms. So what disturbs the machine for longer than a batch disturbs all of
//! them alike, and the ratios stand where the numbers do not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a part of the figures returns.
pub(crate) type Outcome = Result<(), Failed>;
/// Why there is no figure.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// Rounds of every comparison, after one that warms up.
const ROUNDS: usize = 15;
/// How long one batch should take.
const BATCH: Duration = Duration::from_millis(30);
/// Most operations of a batch, however short they are.
const COUNT_MAX: usize = 1 << 20;

/// Which figures are wanted, what they need, and which were printed.
#[derive(Debug)]
pub(crate) struct Bench {
    only: String,
    /// The engine's model file.
    pub(crate) model: Option<PathBuf>,
    /// The folder of llama.cpp's programs, where they are.
    pub(crate) peers: Option<PathBuf>,
    printed: BTreeSet<String>,
}

impl Bench {
    pub(crate) fn new(only: String, model: Option<PathBuf>, peers: Option<PathBuf>) -> Self {
        Self { only, model, peers, printed: BTreeSet::new() }
    }

    /// Whether the figure of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.only)
    }

    pub(crate) fn has_printed(&self, name: &str) -> bool {
        self.printed.contains(name)
    }

    /// Says why there is no figure of this name.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.printed.insert(name.to_owned());
        println!("# {name}: {why}");
    }

    /// Runs a comparison and prints its figure.
    pub(crate) fn compare(&mut self, contest: Contest<'_>) {
        self.print(&contest.run());
    }

    /// Prints the one line of a figure, and under it what people want to know besides.
    pub(crate) fn print(&mut self, figure: &Figure) {
        self.printed.insert(figure.name.clone());
        println!("{}", figure.line());
        for note in figure.notes() {
            println!("#   {note}");
        }
    }
}

/// The clock that a comparison goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Processor time of the calling thread: for costs.
    Thread,
    /// Processor time of all threads of this process: for costs that are spread over them.
    Process,
    /// Time on the wall: for rates and delays.
    Wall,
    /// The time of day: for what another process judges by.
    Calendar,
}

impl Clock {
    /// How long `work` takes by this clock.
    pub(crate) fn time(self, work: impl FnOnce()) -> Duration {
        let start = self.now();
        work();
        self.now().saturating_sub(start)
    }

    /// The reading of the clock; only differences mean something.
    pub(crate) fn now(self) -> Duration {
        let id = match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
            Self::Wall => ClockId::Monotonic,
            Self::Calendar => ClockId::Realtime,
        };
        let now = clock_gettime(id);
        let (secs, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
    }
}

/// Runs a batch of so many operations and says how long they took; preparing them does not count.
pub(crate) type Runner<'a> = Box<dyn FnMut(Clock, usize) -> Duration + 'a>;

/// A batch that repeats `operation`.
pub(crate) fn repeat<'a, T>(mut operation: impl FnMut() -> T + 'a) -> Runner<'a> {
    Box::new(move |clock, count| {
        clock.time(|| {
            for _ in 0..count {
                std::hint::black_box(operation());
            }
        })
    })
}

/// A batch that applies `operation` to inputs that `prepare` makes, out of the clock's sight.
pub(crate) fn prepared<'a, I, T>(
    mut prepare: impl FnMut(usize) -> Vec<I> + 'a,
    mut operation: impl FnMut(I) -> T + 'a,
) -> Runner<'a> {
    Box::new(move |clock, count| {
        let inputs = prepare(count);
        let mut outputs = Vec::with_capacity(inputs.len());
        let took = clock.time(|| {
            for input in inputs {
                outputs.push(std::hint::black_box(operation(input)));
            }
        });
        drop(outputs);
        took
    })
}

/// A comparison of costs: nanoseconds an operation.
pub(crate) struct Contest<'a> {
    name: String,
    clock: Clock,
    target: &'static str,
    count_max: usize,
    ours: Runner<'a>,
    peer: Option<Runner<'a>>,
    floor: Option<Runner<'a>>,
    notes: Vec<String>,
}

impl<'a> Contest<'a> {
    pub(crate) fn new(name: &str, clock: Clock, ours: Runner<'a>) -> Self {
        Self {
            name: name.to_owned(),
            clock,
            target: "none",
            count_max: COUNT_MAX,
            ours,
            peer: None,
            floor: None,
            notes: Vec::new(),
        }
    }

    /// Somebody else's way to do the same.
    pub(crate) fn peer(mut self, peer: Runner<'a>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// What nobody can do without.
    pub(crate) fn floor(mut self, floor: Runner<'a>) -> Self {
        self.floor = Some(floor);
        self
    }

    /// What the figure should be, in words.
    pub(crate) fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// A batch never has more operations than this.
    pub(crate) fn at_most(mut self, count_max: usize) -> Self {
        self.count_max = count_max;
        self
    }

    /// A line for people under the figure.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Runs all rounds.
    pub(crate) fn run(self) -> Figure {
        let Self { name, clock, target, count_max, ours, peer, floor, mut notes } = self;
        let mut contestants: Vec<_> = [Some(ours), peer, floor]
            .into_iter()
            .enumerate()
            .filter_map(|(place, runner)| {
                let mut runner = runner?;
                // Finding out how many fit a batch warms up, too.
                let count = calibrate(&mut runner, clock, count_max);
                Some((place, runner, count))
            })
            .collect();
        let mut samples: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            contestants.rotate_left(1);
            for (place, runner, count) in &mut contestants {
                let each = nanos(runner(clock, *count)) / number(*count);
                if let Some(of_place) = samples.get_mut(*place) {
                    of_place.push(each);
                }
            }
        }
        let [ours, peer, floor] = samples.map(Samples::of);
        if target != "none" {
            notes.insert(0, format!("target: {target}"));
        }
        let ours = ours.unwrap_or_default();
        Figure { name, unit: "ns", ours, peer, floor, notes }
    }
}

/// How many operations fill a batch.
fn calibrate(runner: &mut Runner<'_>, clock: Clock, count_max: usize) -> usize {
    let mut count = 1;
    loop {
        let took = runner(clock, count);
        if took >= BATCH || count >= count_max {
            return count;
        }
        // Half a batch at most is guessed from what is shorter, so that no guess runs away.
        let growth = if took.saturating_mul(8) < BATCH { 4 } else { 2 };
        count = usize::min(count.saturating_mul(growth), count_max);
    }
}

/// What many rounds gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Half of the rounds are this close together, as a share of the median.
    pub(crate) spread: f64,
    pub(crate) rounds: usize,
}

impl Samples {
    /// None where there are none.
    pub(crate) fn of(mut all: Vec<f64>) -> Option<Self> {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&all, part);
        let (least, most) = (*all.first()?, *all.last()?);
        let (median, spread) = (at(0.5), at(0.75) - at(0.25));
        let spread = if median == 0.0 { 0.0 } else { spread / median };
        Some(Self { median, least, most, spread, rounds: all.len() })
    }
}

/// The value below which this part of the sorted values lies.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a short list"
)]
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = part * number(last);
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let value = |at: usize| sorted.get(at.min(last)).copied().unwrap_or_default();
    value(low) + (value(high) - value(low)) * place.fract()
}

/// One figure, as it is printed.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Samples,
    pub(crate) peer: Option<Samples>,
    pub(crate) floor: Option<Samples>,
    /// Lines for people.
    pub(crate) notes: Vec<String>,
}

impl Figure {
    /// A figure without peer or floor, from rounds that were taken elsewhere.
    pub(crate) fn alone(name: &str, unit: &'static str, rounds: Vec<f64>) -> Self {
        let ours = Samples::of(rounds).unwrap_or_default();
        Self { name: name.to_owned(), unit, ours, peer: None, floor: None, notes: Vec::new() }
    }

    /// The same, with a line for people more.
    pub(crate) fn noted(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    fn line(&self) -> String {
        let Self { name, unit, ours, peer, floor, notes: _ } = self;
        let part = |key: &str, samples: &Option<Samples>| {
            samples.map_or_else(String::new, |it| format!(" {key}={}", short(it.median)))
        };
        let over = |key: &str, samples: &Option<Samples>| {
            samples.map_or_else(String::new, |it| format!(" {key}={:.3}", ours.median / it.median))
        };
        format!(
            "bench {name} ours={}{}{} unit={unit}{}{}",
            short(ours.median),
            part("peer", peer),
            part("floor", floor),
            over("ratio", peer),
            over("overfloor", floor),
        )
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let spread = |name: &str, samples: Option<Samples>| {
            samples.map(|Samples { least, most, spread, .. }| {
                format!(
                    "{name} {}..{}, middle half within {:.1} %",
                    short(least),
                    short(most),
                    100.0 * spread
                )
            })
        };
        let parts = [
            spread("ours", Some(self.ours)),
            spread("peer", self.peer),
            spread("floor", self.floor),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let rounds = format!("{} rounds: {}", self.ours.rounds, parts.join("; "));
        [rounds].into_iter().chain(self.notes.clone())
    }
}

/// As many digits as mean something.
fn short(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// A count as a number to divide by.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts here are small")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_one_that_scripts_read() {
        let samples = |median| Samples { median, ..Samples::default() };
        let mut figure = Figure::alone("a.b", "ns", vec![1.0, 2.0, 3.0]);
        assert_eq!(figure.line(), "bench a.b ours=2.000 unit=ns");
        figure.floor = Some(samples(1.0));
        assert_eq!(figure.line(), "bench a.b ours=2.000 floor=1.000 unit=ns overfloor=2.000");
        figure.peer = Some(samples(1600.0));
        let line = "bench a.b ours=2.000 peer=1600 floor=1.000 unit=ns ratio=0.001 overfloor=2.000";
        assert_eq!(figure.line(), line);
    }

    #[test]
    fn medians_and_spreads_are_of_the_sorted_rounds() {
        let samples = Samples::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((samples.median, samples.least, samples.most), (3.0, 1.0, 5.0));
        assert!((samples.spread - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(Samples::of(vec![]), None);
        assert!((quantile(&[1.0, 2.0], 0.5) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn every_contestant_runs_in_every_round() {
        let calls = std::cell::RefCell::new(Vec::new());
        let runner = |name: &'static str| -> Runner<'_> {
            let calls = &calls;
            Box::new(move |_, count| {
                calls.borrow_mut().push(name);
                BATCH.saturating_mul(u32::try_from(count).unwrap())
            })
        };
        let contest = Contest::new("x", Clock::Wall, runner("ours"));
        let figure = contest.peer(runner("peer")).floor(runner("floor")).run();
        assert_eq!(figure.ours.rounds, ROUNDS);
        let calls = calls.borrow();
        // Three to calibrate, and then every round with another one first.
        assert_eq!(calls[3..9], ["peer", "floor", "ours", "floor", "ours", "peer"]);
        for name in ["ours", "peer", "floor"] {
            assert_eq!(calls.iter().filter(|call| **call == name).count(), ROUNDS + 1);
        }
    }
}
