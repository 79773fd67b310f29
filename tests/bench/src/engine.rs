//! How fast the embedded engine is: tokens a second, by the clock on the wall, beside llama.cpp on the same
//! file with the same threads, round by round.
//!
//! | figure | measures |
//! |---|---|
//! | `pp512` | a prompt of 512 tokens, until the first token of the answer |
//! | `tg64` | 64 tokens of one answer, after a prompt of two |
//! | `batch8` | 64 tokens of each of eight answers at once, after prompts of 16 |
//! | `pp2048` | a prompt of 2,048 tokens; the floor is one of 512 |
//! | `avx2` | `pp512` on the kernels for AVX2; the floor is on the best that the processor has |
//!
//! The other quantisations are made of the default model by `make peers`, which also builds llama.cpp;
//! where either is absent, its figures are without a peer, or not there at all, and say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use attestation::Sha256;
use engine::{EmbeddedEngine, EngineOptions, Instructions, Sampling, VerifiedModel};

use crate::harness::{Bench, Clock, Failed, Figure, Outcome, Samples, number};

pub(crate) const NAMES: &[&str] = &[
    "engine.q4_1.pp512.t1",
    "engine.q4_1.tg64.t1",
    "engine.q4_1.batch8.t1",
    "engine.q4_1.pp512.t2",
    "engine.q4_1.tg64.t2",
    "engine.q4_1.batch8.t2",
    "engine.q8_0.pp512.t1",
    "engine.q8_0.tg64.t1",
    "engine.q8_0.batch8.t1",
    "engine.q8_0.pp512.t2",
    "engine.q8_0.tg64.t2",
    "engine.q8_0.batch8.t2",
    "engine.q4_0.pp512.t1",
    "engine.q4_0.tg64.t1",
    "engine.q4_0.batch8.t1",
    "engine.q4_0.pp512.t2",
    "engine.q4_0.tg64.t2",
    "engine.q4_0.batch8.t2",
    "engine.q4_1.pp2048.t1",
    "engine.q4_1.avx2.t1",
];

/// Rounds: each takes seconds, not milliseconds.
const ROUNDS: usize = 5;

/// What is measured of every quantisation and number of threads.
struct Task {
    name: &'static str,
    ours: Work,
    peer: fn(&Path) -> Command,
    /// Where the peer's line of JSON has its rate.
    rate: &'static str,
    target: &'static str,
}

/// Does its work and says how many tokens that were.
type Work = fn(&EmbeddedEngine) -> Result<usize, Failed>;

const TASKS: &[Task] = &[
    Task {
        name: "pp512",
        ours: |engine| prompt(engine, 512),
        peer: |bin| arguments(bin, "llama-bench", "-o jsonl -r 1 -p 512 -n 0"),
        rate: "\"avg_ts\":",
        target: "2.0",
    },
    Task {
        name: "tg64",
        ours: |engine| answers(engine, 1, 2),
        peer: |bin| arguments(bin, "llama-bench", "-o jsonl -r 1 -p 0 -n 64"),
        rate: "\"avg_ts\":",
        target: "1.8",
    },
    Task {
        name: "batch8",
        ours: |engine| answers(engine, 8, 16),
        peer: |bin| {
            let options = "--output-format jsonl -c 4096 -npp 16 -ntg 64 -npl 8";
            arguments(bin, "llama-batched-bench", options)
        },
        rate: "\"speed_tg\":",
        target: "2.5",
    },
];

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let default = bench.model.clone().ok_or("the engine's figures need --model FILE")?;
    for (quant, file) in [
        ("q4_1", None),
        ("q8_0", Some("SmolLM2-135M-Instruct.Q8_0.gguf")),
        ("q4_0", Some("SmolLM2-135M-Instruct.Q4_0.gguf")),
    ] {
        let model = file.map_or_else(|| default.clone(), |file| default.with_file_name(file));
        for threads in [1, 2] {
            let wanted = TASKS.iter().map(|task| (task, figure_name(quant, task.name, threads)));
            let wanted: Vec<_> = wanted.filter(|(_, name)| bench.wants(name)).collect();
            if wanted.is_empty() {
                continue;
            }
            if !model.is_file() {
                let why = format!("{} is absent: `make peers` makes it", model.display());
                for (_, name) in &wanted {
                    bench.skip(name, &why);
                }
                continue;
            }
            let engine = load(&model, threads, Instructions::best())?;
            let peers = bench.peers.clone();
            let mut contests: Vec<_> =
                wanted.into_iter().map(|(task, name)| Contest::new(task, name)).collect();
            // One round more than counts, to warm up.
            for round in 0..=ROUNDS {
                contests.rotate_left(1);
                for contest in &mut contests {
                    contest.round(&engine, peers.as_deref(), &model, threads, round > 0)?;
                }
            }
            contests.sort_by_key(|contest| NAMES.iter().position(|name| *name == contest.name));
            for contest in contests {
                bench.print(&contest.figure());
            }
        }
    }
    long_prompts(bench, &default)?;
    older_kernels(bench, &default)
}

fn figure_name(quant: &str, task: &str, threads: usize) -> String {
    format!("engine.{quant}.{task}.t{threads}")
}

/// One task, and what its rounds gave.
struct Contest<'t> {
    task: &'t Task,
    name: String,
    ours: Vec<f64>,
    paid: Vec<f64>,
    peer: Vec<f64>,
}

impl<'t> Contest<'t> {
    const fn new(task: &'t Task, name: String) -> Self {
        Self { task, name, ours: Vec::new(), paid: Vec::new(), peer: Vec::new() }
    }

    fn round(
        &mut self,
        engine: &EmbeddedEngine,
        peers: Option<&Path>,
        model: &Path,
        threads: usize,
        counts: bool,
    ) -> Outcome {
        let cpu = Clock::Process.now();
        let (rate, tokens) = measured(self.task.ours, engine)?;
        let paid = Clock::Process.now().saturating_sub(cpu).as_secs_f64();
        if counts {
            self.ours.push(rate);
            self.paid.push(tokens / paid);
        }
        if let (Some(peers), true) = (peers, counts) {
            self.peer.push(self.task.peer_rate(peers, model, threads)?);
        }
        Ok(())
    }

    fn figure(self) -> Figure {
        let Self { task, name, ours, paid, peer } = self;
        let mut figure = Figure::alone(&name, "tok/s", ours);
        figure.peer = Samples::of(peer);
        if figure.peer.is_some() {
            figure.notes.push(format!("target: ratio ≥ {}", task.target));
        } else {
            figure.notes.push("no peer: `make peers` builds llama.cpp".to_owned());
        }
        let paid = Samples::of(paid).unwrap_or_default().median;
        figure.notes.push(format!("{paid:.1} tokens for each second of processor time"));
        figure
    }
}

impl Task {
    /// What llama.cpp says of itself; it warms up first.
    fn peer_rate(&self, bin: &Path, model: &Path, threads: usize) -> Result<f64, Failed> {
        let mut command = (self.peer)(bin);
        command.arg("-m").arg(model).arg("-t").arg(threads.to_string());
        let told = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&told.stdout);
        let rate = text.lines().rev().find_map(|line| {
            let (_, after) = line.split_once(self.rate)?;
            after.split([',', '}']).next()?.trim().parse().ok()
        });
        let why = || format!("{} of llama.cpp told no rate", self.name);
        Ok(rate.ok_or_else(why)?)
    }
}

fn arguments(bin: &Path, program: &str, options: &str) -> Command {
    let mut command = Command::new(bin.join(program));
    command.args(options.split(' '));
    command
}

/// A prompt of 2,048 tokens beside one of 512: what attention to more costs.
fn long_prompts(bench: &mut Bench, model: &Path) -> Outcome {
    let name = "engine.q4_1.pp2048.t1";
    if !bench.wants(name) {
        return Ok(());
    }
    let engine = Rc::new(load(model, 1, Instructions::best())?);
    let short = Rc::clone(&engine);
    let figure = beside(
        name,
        move || rate(|engine| prompt(engine, 2047), &engine),
        move || rate(|engine| prompt(engine, 512), &short),
    )?;
    bench.print(&figure.noted("target: overfloor ≥ 0.8"));
    Ok(())
}

/// The kernels for AVX2 beside the best ones.
fn older_kernels(bench: &mut Bench, model: &Path) -> Outcome {
    let name = "engine.q4_1.avx2.t1";
    if !bench.wants(name) {
        return Ok(());
    }
    let older = load(model, 1, Instructions::Avx2)?;
    let best = load(model, 1, Instructions::best())?;
    let figure = beside(
        name,
        || rate(|engine| prompt(engine, 512), &older),
        || rate(|engine| prompt(engine, 512), &best),
    )?;
    bench.print(&figure.noted("target: overfloor ≥ 0.7"));
    Ok(())
}

fn beside(
    name: &str,
    ours: impl Fn() -> Result<f64, Failed>,
    floor: impl Fn() -> Result<f64, Failed>,
) -> Result<Figure, Failed> {
    let (mut rates, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (rate, below) = (ours()?, floor()?);
        if round > 0 {
            rates.push(rate);
            floors.push(below);
        }
    }
    let mut figure = Figure::alone(name, "tok/s", rates);
    figure.floor = Samples::of(floors);
    Ok(figure)
}

fn rate(work: Work, engine: &EmbeddedEngine) -> Result<f64, Failed> {
    measured(work, engine).map(|(rate, _)| rate)
}

/// Tokens a second by the clock on the wall, and how many there were.
fn measured(work: Work, engine: &EmbeddedEngine) -> Result<(f64, f64), Failed> {
    let before = Clock::Wall.now();
    let tokens = number(work(engine)?);
    let taken = Clock::Wall.now().saturating_sub(before).as_secs_f64();
    Ok((tokens / taken, tokens))
}

fn prompt(engine: &EmbeddedEngine, tokens: usize) -> Result<usize, Failed> {
    engine.continue_tokens(&text(0, tokens), Sampling::GREEDY, 1)?.iter().for_each(drop);
    Ok(tokens)
}

fn answers(engine: &EmbeddedEngine, streams: u32, prompt: usize) -> Result<usize, Failed> {
    let start = |stream| engine.continue_tokens(&text(stream, prompt), Sampling::GREEDY, 64);
    let streams = (0..streams).map(start).collect::<Result<Vec<_>, _>>()?;
    Ok(streams.iter().map(|stream| stream.iter().count()).sum())
}

/// Tokens that mean nothing.
fn text(start: u32, tokens: usize) -> Vec<u32> {
    let token = |i: u32| (i.wrapping_mul(7919) % 49_000).wrapping_add(100).wrapping_add(start);
    (0_u32..).map(token).take(tokens).collect()
}

fn load(path: &Path, threads: usize, instructions: Instructions) -> Result<EmbeddedEngine, Failed> {
    let bytes = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    // Whatever file is named is the one that is measured.
    let digest = Sha256::of(&bytes).0;
    let options = EngineOptions { threads, context: 2048, ..EngineOptions::default() };
    Ok(EmbeddedEngine::load_for(VerifiedModel::check(bytes, digest)?, options, instructions)?)
}

/// Where the peers' programs are, if they are there.
pub(crate) fn peers(folder: Option<PathBuf>) -> Option<PathBuf> {
    folder.filter(|folder| folder.join("llama-bench").is_file())
}
