//! `veritee`: the command-line tool of clients and auditors.
#![forbid(unsafe_code)]

mod arguments;
mod chat;
mod demo;
mod explain;
mod failure;
mod input;
mod output;
mod policy;
mod proxying;
mod table;
mod verify;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let world = World::read();
    run(command, &world).unwrap_or_else(|failure| failure.tell())
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
        Command::Policy(policy) => policy::run(&policy, out),
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
