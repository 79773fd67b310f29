//! `make bench`: what the path costs, one line a figure (`docs/benchmarks.md`).
//!
//! `veritee-bench [--only PREFIX] [--model FILE] [--peers FOLDER]` prints
//! `bench <name> ours=<n> peer=<n> floor=<n> unit=<…> ratio=<ours/peer> overfloor=<ours/floor>`;
//! a figure without peer or floor leaves those keys out. Lines that start with `#` are for people.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program for a terminal, and for scripts that read it; without a figure it may end"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use harness::{Bench, Outcome};

mod channel;
mod e2e;
mod engine;
mod evidence;
mod gpus;
mod harness;
mod hostile;
mod program;
mod router;
mod service;
mod tdx;
mod verify;

/// A part of the figures: those that it may print, and what prints them.
struct Part {
    names: &'static [&'static str],
    figures: fn(&mut Bench) -> Outcome,
}

/// All parts, in the order in which they run: each a module with `NAMES` and `figures`, and one line here.
const PARTS: &[Part] = &[
    Part { names: channel::NAMES, figures: channel::figures },
    Part { names: e2e::NAMES, figures: e2e::figures },
    Part { names: verify::NAMES, figures: verify::figures },
    Part { names: tdx::NAMES, figures: tdx::figures },
    Part { names: gpus::NAMES, figures: gpus::figures },
    Part { names: hostile::NAMES, figures: hostile::figures },
    Part { names: service::NAMES, figures: service::figures },
    Part { names: router::NAMES, figures: router::figures },
    Part { names: engine::NAMES, figures: engine::figures },
];

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect();
    let asked = match Asked::parse(arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("veritee-bench: {why}\n\n{}", usage());
            return ExitCode::from(2);
        }
    };
    if asked.help {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let mut bench = Bench::new(asked.only, asked.model, engine::peers(asked.peers));
    let mut failed = false;
    for part in PARTS {
        let wanted: Vec<_> = part.names.iter().filter(|name| bench.wants(name)).collect();
        if wanted.is_empty() {
            continue;
        }
        if let Err(why) = (part.figures)(&mut bench) {
            eprintln!("veritee-bench: {why}");
            failed = true;
        }
        for name in wanted.into_iter().filter(|name| !bench.has_printed(name)) {
            eprintln!("veritee-bench: no figure for {name}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    help: bool,
    /// A prefix of names; empty for all.
    only: String,
    /// The engine's model file.
    model: Option<PathBuf>,
    /// The folder of llama.cpp's programs.
    peers: Option<PathBuf>,
}

impl Asked {
    fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => asked.help = true,
                "--only" => asked.only = value()?,
                "--model" => asked.model = Some(value()?.into()),
                "--peers" => asked.peers = Some(value()?.into()),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        if names().any(|name| name.starts_with(&asked.only)) {
            return Ok(asked);
        }
        Err(format!("no figure's name starts with {}", asked.only))
    }
}

fn names() -> impl Iterator<Item = &'static &'static str> {
    PARTS.iter().flat_map(|part| part.names)
}

fn usage() -> String {
    let list = names().fold(String::new(), |list, name| list + "  " + name + "\n");
    format!(
        "usage: veritee-bench [--only PREFIX] [--model FILE] [--peers FOLDER]\n\nFigures:\n{list}"
    )
}
