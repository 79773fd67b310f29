//! How long an answer takes to begin tells nothing of what others have asked.
//!
//! Pairs are interleaved, so that a busy machine slows both sides alike, and are compared by rank: the clock's
//! outliers weigh no more than any other. The control shows that the comparison sees what it looks for.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "small counts, and time is what is measured; helpers panic as tests do"
)]

use std::time::Instant;

use attestation::{Secret, Sha256};
use engine::{
    Completion, EmbeddedEngine, Engine as _, EngineOptions, GenerationEvent, Order, TensorType,
    VerifiedModel, tiny,
};

/// Of each kind.
const ASKED: u32 = 150;
/// Octets of a prompt; a token each.
const PROMPT: usize = 300;

#[test]
fn another_s_prompt_makes_no_answer_begin_sooner() {
    let engine = engine();
    let mut letters = Letters(1);
    let (mut hits, mut misses, mut shorts) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..ASKED {
        // Which comes first changes, so that no place in the order is one side's alone.
        for kind in 0..3 {
            let prompt = letters.text(PROMPT);
            match (kind + turn) % 3 {
                // Another tenant asked for the very same, a moment ago.
                0 => {
                    ask(&engine, 1, &prompt);
                    hits.push(ask(&engine, 2, &prompt));
                }
                1 => {
                    ask(&engine, 1, &letters.text(PROMPT));
                    misses.push(ask(&engine, 2, &prompt));
                }
                // What it would look like if half of a prompt did not have to be computed.
                _ => {
                    ask(&engine, 1, &letters.text(PROMPT));
                    shorts.push(ask(&engine, 2, prompt.get(..PROMPT / 2).unwrap()));
                }
            }
        }
    }
    let steps = |asked: &[Asked]| asked.iter().map(|asked| asked.steps).collect::<Vec<_>>();
    assert_eq!(steps(&hits), steps(&misses), "as much was computed");
    let z = |left: &[Asked], right: &[Asked]| mann_whitney(&seconds(left), &seconds(right));
    let apart = z(&hits, &misses);
    assert!(apart.abs() < 5.0, "a hit can be told from a miss: z = {apart}");
    let control = z(&shorts, &misses);
    assert!(control < -5.0, "the comparison would not see half a prompt: z = {control}");
}

/// How long an answer of one token took, and how many steps.
struct Asked {
    seconds: f64,
    steps: u64,
}

fn ask(engine: &EmbeddedEngine, tenant: u8, prompt: &str) -> Asked {
    let order = Order { max_tokens: Some(1), tenant: [tenant; 32], ..Order::default() };
    let completion = Completion { prompt: Secret::new(prompt.to_owned()), order };
    let before = (Instant::now(), rest(engine));
    let mut generation = engine.complete(completion).unwrap();
    loop {
        match generation.events.blocking_recv().unwrap() {
            GenerationEvent::Finished { .. } => break,
            GenerationEvent::Failed(error) => panic!("{error}"),
            GenerationEvent::Delta(..) | GenerationEvent::Call(..) | GenerationEvent::Vector(_) => {
            }
        }
    }
    let seconds = before.0.elapsed().as_secs_f64();
    Asked { seconds, steps: rest(engine) - before.1 }
}

/// The steps so far, once nothing is left to do.
fn rest(engine: &EmbeddedEngine) -> u64 {
    loop {
        let pulse = engine.pulse();
        if !pulse.working {
            return pulse.steps;
        }
        std::thread::yield_now();
    }
}

fn seconds(asked: &[Asked]) -> Vec<f64> {
    asked.iter().map(|asked| asked.seconds).collect()
}

/// How far the ranks of `left` among both are from chance, in standard deviations; below 0 where they are low.
fn mann_whitney(left: &[f64], right: &[f64]) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    let above = |l: &f64| right.iter().filter(|r| *r < l).count() as f64;
    let ties = |l: &f64| right.iter().filter(|r| (*r - l).abs() <= 0.0).count() as f64;
    let u: f64 = left.iter().map(|l| above(l) + ties(l) / 2.0).sum();
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

#[test]
fn ranks_are_compared_as_the_tables_say() {
    // U = 0 of 4 by 4: z = -8 / sqrt(12).
    let z = mann_whitney(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
    assert!((z + 8.0 / 12.0_f64.sqrt()).abs() < 1e-12);
    assert!(mann_whitney(&[1.0, 4.0], &[2.0, 3.0]).abs() < 1e-12);
}

fn engine() -> EmbeddedEngine {
    let bytes = tiny::model(TensorType::Q8_0);
    let digest = Sha256::of(&bytes).0;
    let options = EngineOptions { threads: 1, context: 512, ..EngineOptions::default() };
    EmbeddedEngine::load(VerifiedModel::check(bytes, digest).unwrap(), options).unwrap()
}

/// A linear congruence's letters.
struct Letters(u64);

impl Letters {
    fn text(&mut self, count: usize) -> String {
        let letter = |_| {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + u8::try_from((self.0 >> 33) % 26).unwrap())
        };
        (0..count).map(letter).collect()
    }
}
