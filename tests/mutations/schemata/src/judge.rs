//! Runs mutants: each against the tests that reach it, until one fails.

use core::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::compile::{Places, Program};
use crate::weave::Point;

/// A test, and what it reaches.
#[derive(Clone, Debug)]
struct Test {
    program: usize,
    name: String,
    took: Duration,
    reaches: Vec<usize>,
}

/// How a mutant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A test failed.
    Caught,
    /// A test no longer ended.
    TimedOut,
    /// All tests that reach it passed.
    Survived,
    /// No test reaches it.
    Unreached,
    /// The tests that were tried passed, and the others would have taken too long.
    Open,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Caught, Self::TimedOut, Self::Survived, Self::Unreached, Self::Open];

    /// Its name in a list of results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::TimedOut => "timed-out",
            Self::Survived => "survived",
            Self::Unreached => "unreached",
            Self::Open => "open",
        }
    }

    /// Whether it counts as noticed.
    pub fn is_noticed(self) -> bool {
        matches!(self, Self::Caught | Self::TimedOut)
    }
}

/// The tests of a package, and what each of them reaches.
#[derive(Debug)]
pub struct Judge<'a> {
    places: &'a Places,
    programs: &'a [Program],
    vectors: PathBuf,
    tests: Vec<Test>,
    /// How long a mutant's tests may take together, by what each took without it.
    budget: Duration,
    /// How much runs at once.
    threads: usize,
    /// For each mutant, the tests that reach it.
    reached_by: HashMap<usize, Vec<usize>>,
}

impl<'a> Judge<'a> {
    /// Runs each test once, alone, without a mutant.
    pub fn new(
        places: &'a Places,
        programs: &'a [Program],
        vectors: PathBuf,
        budget: Duration,
        threads: usize,
    ) -> Result<Self> {
        let mut judge = Self {
            places,
            programs,
            vectors,
            budget,
            threads,
            tests: Vec::new(),
            reached_by: HashMap::new(),
        };
        let mut listed = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            let output = judge.command(program).args(["--list", "--format", "terse"]).output()?;
            ensure!(output.status.success(), "{} does not list its tests", program.name);
            let text = String::from_utf8(output.stdout)?;
            let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
            listed.extend(names.map(|name| (index, name.to_owned())));
        }
        let tests = in_parallel(threads, &listed, |number, (program, name)| {
            let record = places.about("record").join(number.to_string());
            let mut test = Test {
                program: *program,
                name: name.clone(),
                took: RECORD_MAX,
                reaches: Vec::new(),
            };
            let start = now();
            let (ended, _) = judge.run(&[&test], 0, Some(&record))?;
            test.took = start.elapsed();
            if ended != Some(true) {
                bail!("{name} does not pass as the code is");
            }
            let reached = fs::read_to_string(&record).unwrap_or_default();
            test.reaches = reached.lines().filter_map(|line| line.parse().ok()).collect();
            Ok(test)
        })?;
        for (index, test) in tests.iter().enumerate() {
            for number in &test.reaches {
                judge.reached_by.entry(*number).or_default().push(index);
            }
        }
        judge.tests = tests;
        Ok(judge)
    }

    /// How many tests there are, and how long they take, one after another.
    pub fn tests(&self) -> (usize, Duration) {
        (self.tests.len(), self.tests.iter().map(|test| test.took).sum())
    }

    /// Runs `points`, and adds what becomes of each to the file `results`.
    pub fn judge(&self, points: &[&Point], results: &Path) -> Result<()> {
        let results = Mutex::new(OpenOptions::new().append(true).create(true).open(results)?);
        let kills = Mutex::new(HashMap::new());
        let (done, start) = (AtomicUsize::new(0), now());
        in_parallel(self.threads, points, |_, point| {
            let (outcome, by) = self.outcome(point, &kills)?;
            let mut results =
                results.lock().map_err(|_| anyhow::anyhow!("another thread ended"))?;
            writeln!(results, "{}\t{}\t{}", outcome.name(), point.name(), by)?;
            let done = done.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if !outcome.is_noticed() {
                println!("{:<9} {}", outcome.name(), point.name().replace('\t', "  "));
            }
            if done.is_multiple_of(100) {
                eprintln!("{done} of {} after {} s", points.len(), start.elapsed().as_secs());
            }
            Ok(())
        })?;
        Ok(())
    }

    fn outcome(&self, point: &Point, kills: &Mutex<Kills>) -> Result<(Outcome, String)> {
        let Some(tests) = self.reached_by.get(&point.number) else {
            return Ok((Outcome::Unreached, String::new()));
        };
        let (function, file) =
            ((point.file.clone(), point.function.clone()), (point.file.clone(), String::new()));
        let locked = || kills.lock().map_err(|_| anyhow::anyhow!("another thread ended"));
        let mut order: Vec<_> = {
            let kills = locked()?;
            let times = |of: &(String, String), test: usize| {
                kills.get(of).and_then(|tests| tests.get(&test)).copied().unwrap_or(0)
            };
            // What caught a neighbour first; then what is named after the same things; then by the time it takes.
            let rank = |test: usize| {
                let near =
                    times(&function, test).saturating_mul(8).saturating_add(times(&file, test));
                let test = self.tests.get(test);
                let named = test.map_or(0, |test| self.named_alike(test, &point.file));
                (Reverse(near), Reverse(named), test.map(|test| test.took))
            };
            tests.iter().map(|test| (rank(*test), *test)).collect()
        };
        order.sort();
        let mut took = Duration::ZERO;
        let mut tried = 0_usize;
        for numbers in self.together(order.iter().map(|(_, number)| *number)) {
            let tests: Vec<_> =
                numbers.iter().filter_map(|number| self.tests.get(*number)).collect();
            took = took.saturating_add(tests.iter().map(|test| test.took).sum());
            if tried >= TRIED_MIN && took > self.budget {
                return Ok((Outcome::Open, format!("{tried} of {} tests tried", order.len())));
            }
            tried = tried.saturating_add(tests.len());
            let (ended, failed) = self.run(&tests, point.number, None)?;
            if ended == Some(true) {
                continue;
            }
            let mut run = numbers.iter().zip(&tests);
            let first = run.clone().next();
            let (by, test) = run
                .find(|(_, test)| failed.as_ref() == Some(&test.name))
                .or(first)
                .context("a run has tests")?;
            let mut kills = locked()?;
            for near in [function, file] {
                let times = kills.entry(near).or_default().entry(*by).or_insert(0);
                *times = times.saturating_add(1);
            }
            let outcome = if ended.is_some() { Outcome::Caught } else { Outcome::TimedOut };
            let program = self.programs.get(test.program).map_or("", |program| &program.name);
            return Ok((outcome, format!("{program}::{}", test.name)));
        }
        Ok((Outcome::Survived, format!("{} tests reach it", order.len())))
    }

    /// The first of `order` one by one, for most mutants are caught by them; the rest by program, since what its tests
    /// share, like keys, is then made once.
    fn together(&self, order: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
        let mut runs: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
        for (index, number) in order.enumerate() {
            let program = self.tests.get(number).map(|test| test.program);
            match runs.iter_mut().skip(ALONE).find(|(of, _)| *of == program) {
                Some((_, numbers)) if index >= ALONE => numbers.push(number),
                _ => runs.push((program, vec![number])),
            }
        }
        runs.into_iter().map(|(_, numbers)| numbers).collect()
    }

    /// How much of a file's path is in the names of a test and its program.
    fn named_alike(&self, test: &Test, file: &str) -> usize {
        let program = self.programs.get(test.program).map_or("", |program| &program.name);
        let parts = file.split(['/', '.']).skip(2);
        parts.filter(|part| program.contains(part) || test.name.contains(part)).count()
    }

    /// Whether the tests of one program pass; nothing where they do not end. With the one that fails first.
    fn run(
        &self,
        tests: &[&Test],
        alive: usize,
        record: Option<&Path>,
    ) -> Result<(Option<bool>, Option<String>)> {
        let program = tests.first().and_then(|test| self.programs.get(test.program));
        let mut command = self.command(program.context("no such program")?);
        command
            .args(["--exact", "--test-threads=1"])
            .args(tests.iter().map(|test| &test.name))
            .env("SCHEMATA_ALIVE", alive.to_string());
        if let Some(record) = record {
            if record.exists() {
                fs::remove_file(record)?;
            }
            command.env("SCHEMATA_RECORD", record);
        }
        let said = self.places.about("record").join(format!("said-{:?}", thread::current().id()));
        let mut child = command.stdout(fs::File::create(&said)?).spawn()?;
        let start = now();
        let took: Duration = tests.iter().map(|test| test.took).sum();
        let limit = took.saturating_mul(PATIENCE).saturating_add(Duration::from_secs(5));
        let mut pause = Duration::from_millis(1);
        let ended = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status.success());
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(pause);
            pause = pause.saturating_mul(2).min(Duration::from_millis(16));
        };
        // The first that failed, or what was begun last.
        let said = fs::read(&said)?;
        let said = String::from_utf8_lossy(&said);
        let begun = said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
        let mut failed = None;
        for (name, result) in begun {
            failed = Some(name.to_owned());
            if result == "FAILED" {
                break;
            }
        }
        Ok((ended, failed))
    }

    /// A mutant may ask for memory without end, so there is one.
    fn command(&self, program: &Program) -> Command {
        let folder = self.places.tree.join(&self.places.package);
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v 8000000; exec nice -n 5 \"$0\" \"$@\""])
            .arg(&program.path)
            .current_dir(&folder)
            .env("CARGO_MANIFEST_DIR", &folder)
            .env("VERITEE_VECTORS", &self.vectors)
            .env_remove("SCHEMATA_RECORD")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// How often a test caught a mutant, by file and function; by file alone where the function is empty.
type Kills = HashMap<(String, String), BTreeMap<usize, u64>>;

/// `act` on all of `items`, in their order, on a few threads.
fn in_parallel<T: Sync, U: Send>(
    threads: usize,
    items: &[T],
    act: impl Fn(usize, &T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, U)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return Ok(done) };
            done.push((index, act(index, item)?));
        }
    };
    let mut all = thread::scope(|scope| -> Result<Vec<_>> {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread ended"))??);
        }
        Ok(all)
    })?;
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, item)| item).collect())
}

#[expect(clippy::disallowed_methods, reason = "tests are measured, and what never ends is ended")]
fn now() -> Instant {
    Instant::now()
}

/// How many of a mutant's tests are tried whatever they take.
const TRIED_MIN: usize = 12;

/// How many of a mutant's tests run each in a process of its own.
const ALONE: usize = 4;

/// How many times as long as without a mutant a test may take.
const PATIENCE: u32 = 10;

/// How long a test may take without a mutant, a tenth of it.
const RECORD_MAX: Duration = Duration::from_secs(30);
