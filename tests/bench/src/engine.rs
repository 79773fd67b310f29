//! How fast the embedded engine is with the default model: tokens a second, by the clock on the wall.
//!
//! | figure | measures |
//! |---|---|
//! | `pp512` | a prompt of 512 tokens, until the first token of the answer |
//! | `tg64` | 64 tokens of one answer, after a prompt of two |
//! | `batch8` | 64 tokens of each of eight answers at once |
//!
//! There is no peer yet.

use std::path::Path;
use std::rc::Rc;

use attestation::Sha256;
use engine::{EmbeddedEngine, EngineOptions, Sampling, VerifiedModel};

use crate::harness::{Bench, Clock, Failed, Figure, Outcome, Samples, number};

pub(crate) const NAMES: &[&str] = &[
    "engine.q4_1.pp512.t1",
    "engine.q4_1.tg64.t1",
    "engine.q4_1.batch8.t1",
    "engine.q4_1.pp512.t2",
    "engine.q4_1.tg64.t2",
    "engine.q4_1.batch8.t2",
];

/// Rounds: each takes seconds, not milliseconds.
const ROUNDS: usize = 10;
const PROMPT: usize = 512;
const ANSWER: u32 = 64;

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let model = bench.model.clone().ok_or("the engine's figures need --model FILE")?;
    let mut tasks: Vec<Task> = Vec::new();
    for threads in [1, 2] {
        let wanted = TASKS.iter().filter_map(|(task, work)| {
            let name = format!("engine.q4_1.{task}.t{threads}");
            bench.wants(&name).then_some((name, *work))
        });
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            continue;
        }
        let engine = Rc::new(load(&model, threads)?);
        tasks.extend(wanted.into_iter().map(|(name, work)| {
            let (engine, rates, paid) = (Rc::clone(&engine), Vec::new(), Vec::new());
            Task { name, work, engine, rates, paid }
        }));
    }
    // One round more than counts, to warm up.
    for round in 0..=ROUNDS {
        tasks.rotate_left(1);
        for Task { work, engine, rates, paid, .. } in &mut tasks {
            let (wall, cpu) = (Clock::Wall.now(), Clock::Process.now());
            let tokens = number(work(engine)?);
            let taken = |clock: Clock, since| clock.now().saturating_sub(since).as_secs_f64();
            if round > 0 {
                rates.push(tokens / taken(Clock::Wall, wall));
                paid.push(tokens / taken(Clock::Process, cpu));
            }
        }
    }
    tasks.sort_by_key(|task| NAMES.iter().position(|known| *known == task.name));
    for Task { name, rates, paid, .. } in tasks {
        let mut figure = Figure::alone(&name, "tok/s", rates);
        let paid = Samples::of(paid).unwrap_or_default().median;
        figure.notes.push(format!("{paid:.1} tokens for each second of processor time"));
        bench.print(&figure);
    }
    Ok(())
}

/// What is measured, and what it gave: tokens by the clock on the wall, and by processor time.
struct Task {
    name: String,
    work: Work,
    engine: Rc<EmbeddedEngine>,
    rates: Vec<f64>,
    paid: Vec<f64>,
}

/// Does its work and says how many tokens that were.
type Work = fn(&EmbeddedEngine) -> Result<usize, Failed>;

const TASKS: &[(&str, Work)] = &[("pp512", prompt), ("tg64", answer), ("batch8", answers)];

fn prompt(engine: &EmbeddedEngine) -> Result<usize, Failed> {
    let prompt = (0_u32..).map(|i| (i.wrapping_mul(7919) % 49_000).wrapping_add(100));
    let prompt: Vec<u32> = prompt.take(PROMPT).collect();
    engine.continue_tokens(&prompt, Sampling::GREEDY, 1)?.iter().for_each(drop);
    Ok(PROMPT)
}

fn answer(engine: &EmbeddedEngine) -> Result<usize, Failed> {
    Ok(engine.continue_tokens(&[1, 100], Sampling::GREEDY, ANSWER)?.iter().count())
}

fn answers(engine: &EmbeddedEngine) -> Result<usize, Failed> {
    let start = |token| engine.continue_tokens(&[1, token], Sampling::GREEDY, ANSWER);
    let streams = (100_u32..108).map(start).collect::<Result<Vec<_>, _>>()?;
    Ok(streams.iter().map(|stream| stream.iter().count()).sum())
}

fn load(path: &Path, threads: usize) -> Result<EmbeddedEngine, Failed> {
    let bytes = std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))?;
    // Whatever file is named is the one that is measured.
    let digest = Sha256::of(&bytes).0;
    let options = EngineOptions { threads, context: 2048, ..EngineOptions::default() };
    Ok(EmbeddedEngine::load(VerifiedModel::check(bytes, digest)?, options)?)
}
