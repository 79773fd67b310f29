//! Asks a model file one question, or measures how fast it is.
//!
//! `generate MODEL.gguf [--threads N] [--bench | QUESTION]`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program for a terminal")]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use attestation::{Secret, Sha256};
use engine::{
    EmbeddedEngine, Engine as _, EngineOptions, GenerationEvent, Instructions, Message, Order,
    Request, Role, Sampling, VerifiedModel,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut words, mut bench, mut threads) = (Vec::new(), false, 2);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => bench = true,
            "--threads" => {
                threads = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(2);
            }
            _ => words.push(argument),
        }
    }
    let result =
        match words.as_slice() {
            [path] if bench => measure(path, threads),
            [path, question] if !bench => answer(path, threads, question),
            _ => Err(String::from("usage: generate MODEL.gguf [--threads N] [--bench | QUESTION]")
                .into()),
        };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn load(
    path: &str,
    threads: usize,
    instructions: Instructions,
) -> Result<EmbeddedEngine, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    // Whatever file is named is the one that is meant; a server pins the digest in its configuration.
    let digest = Sha256::of(&bytes).0;
    let options = EngineOptions { threads, context: 2048, ..EngineOptions::default() };
    Ok(EmbeddedEngine::load_for(VerifiedModel::check(bytes, digest)?, options, instructions)?)
}

fn answer(path: &str, threads: usize, question: &str) -> Outcome {
    let engine = load(path, threads, Instructions::best())?;
    let mut generation = engine.start(Request::new(
        vec![Message::new(Role::User, Secret::new(question.to_owned()))],
        Order { max_tokens: Some(256), ..Order::default() },
    ))?;
    while let Some(event) = generation.events.blocking_recv() {
        match event {
            GenerationEvent::Delta(text, ..) => print!("{}", text.expose()),
            GenerationEvent::Call(call, _) => print!("{}", call.arguments.expose()),
            GenerationEvent::Vector(_) => return Err("a vector, where a text was asked for".into()),
            GenerationEvent::Finished { reason, completion_tokens } => {
                println!(
                    "\n[{reason:?}, {} + {completion_tokens} tokens]",
                    generation.prompt_tokens
                );
            }
            GenerationEvent::Failed(error) => return Err(error.into()),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn measure(path: &str, threads: usize) -> Outcome {
    for instructions in Instructions::available() {
        if instructions == Instructions::Portable {
            continue; // It is there to be right.
        }
        let start = Instant::now();
        let engine = load(path, threads, instructions)?;
        println!("{instructions:?}, {threads} threads, loaded in {:?}", start.elapsed());
        let token = |i: u32| (i.wrapping_mul(7919) % 49_000).saturating_add(100);
        for _ in 0..3 {
            for length in [512, 2047] {
                let prompt: Vec<u32> = (0..).map(token).take(length).collect();
                let start = Instant::now();
                let tokens = engine.continue_tokens(&prompt, Sampling::GREEDY, 1)?;
                tokens.iter().for_each(drop);
                println!("pp{length:<5}{:8.1} tok/s", rate(length, start.elapsed()));
            }
            for batch in [1_u32, 4, 8] {
                let start = Instant::now();
                let streams = (0..batch)
                    .map(|i| {
                        engine.continue_tokens(&[1, i.saturating_add(100)], Sampling::GREEDY, 64)
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let count: usize = streams.iter().map(|tokens| tokens.iter().count()).sum();
                println!("tg64x{batch} {:8.1} tok/s", rate(count, start.elapsed()));
            }
        }
    }
    Ok(())
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(tokens: usize, took: Duration) -> f64 {
    tokens as f64 / took.as_secs_f64()
}
