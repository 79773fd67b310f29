//! `veritee`: the command-line tool of clients and auditors.
#![forbid(unsafe_code)]

mod arguments;
mod chat;
mod demo;
mod endorse;
mod explain;
mod failure;
mod files;
mod forecast;
mod input;
mod output;
mod policy;
mod proxying;
mod report;
mod rims;
mod signing;
mod summary;
mod table;
mod verify;
mod world;

use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

fn main() -> ExitCode {
    if let Err(failure) = keep_memory() {
        return failure.tell();
    }
    let Arguments { command } = Arguments::parse();
    let world = World::read();
    run(command, &world).unwrap_or_else(|failure| failure.tell())
}

/// A core would hold prompts and answers: the kernel writes none, to a file or to a program that catches them, and lets nobody else
/// of the same user look.
fn keep_memory() -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|error| Failure::bug(format!("memory cannot be kept private: {error}")))
}

fn run(command: Command, world: &World) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::bug(format!("no runtime: {error}")))?;
    let out = &Out::standard();
    match command {
        Command::Verify(verify) => runtime.block_on(verify::run(verify, world, out)),
        Command::Explain(explain) => runtime.block_on(explain::run(&explain, out)),
        Command::Endorsements(command) => runtime.block_on(endorse::run(command, world, out)),
        Command::Policy(policy) => policy::run(&policy, world, out),
        Command::Chat(chat) => runtime.block_on(chat::run(chat, world, out)),
        Command::Proxy(proxy) => runtime.block_on(proxying::run(proxy, world, out)),
        Command::Demo(demo) => {
            let ended = runtime.block_on(demo::run(demo, world, out));
            // Threads that still wait for something must not hold up the end.
            runtime.shutdown_background();
            ended
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_kept_from_cores_and_neighbours() {
        keep_memory().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
