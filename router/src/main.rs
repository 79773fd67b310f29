//! `veritee-router`: the operator's blind router.
#![forbid(unsafe_code)]

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use router::Config;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Carries sealed requests between clients and enclaves; it can read none of them.
#[derive(Parser)]
#[command(name = "veritee-router", version)]
struct Arguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Reads the configuration, says whether it is good, and stops.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match read(&arguments.config) {
        Ok(config) => config,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    let done = if arguments.check_config { say("configuration is good") } else { run(config) };
    done.map_or_else(|error| complain(&error, EXIT_UNAVAILABLE), |()| ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text).with_context(|| format!("{} is refused", path.display()))
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    say(&format!("ready router=http://{}", listener.local_addr()?))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    router::serve(listener, config, shutdown).await.context("the router stopped")
}

/// One line for the program that started us.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // Where standard error is closed nobody is left to tell.
    drop(writeln!(std::io::stderr(), "veritee-router: {error:#}"));
    ExitCode::from(code)
}

/// The configuration is not usable (docs of every program: 2 is usage).
const EXIT_USAGE: u8 = 2;

/// The address cannot be had; a retry may help.
const EXIT_UNAVAILABLE: u8 = 20;
