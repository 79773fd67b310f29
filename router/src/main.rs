//! `veritee-router`: the operator's blind router.
#![forbid(unsafe_code)]

mod command;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use router::{Certificate, Config, KeysError, KeysFile};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Carries sealed requests between clients and enclaves; it can read none of them.
#[derive(Parser)]
#[command(
    name = "veritee-router",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Reads the configuration, says whether it is good, and stops.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<command::Command>,
}

fn main() -> ExitCode {
    let Arguments { config, check_config, command } = Arguments::parse();
    let done = match (command, config) {
        (Some(command), _) => command.run(),
        // `--check-config` says what starting would: a file of keys that is refused is part of the configuration.
        (None, Some(path)) if check_config => {
            read(&path).and_then(|_| say("configuration is good"))
        }
        (None, Some(path)) => read(&path).and_then(run),
        (None, None) => Err(Failure::Usage(anyhow::anyhow!("`--config FILE` is needed"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => complain(&error, EXIT_USAGE),
        Err(Failure::Unavailable(error)) => complain(&error, EXIT_UNAVAILABLE),
    }
}

/// Why the program stops, by what its caller should do.
enum Failure {
    /// Correct the arguments or a file.
    Usage(anyhow::Error),
    /// Try again.
    Unavailable(anyhow::Error),
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        Self::Usage(error.into())
    }
}

/// Reads the configuration and looks at the files that it names and that must be there.
fn read(path: &Path) -> Result<Config, Failure> {
    let config = read_alone(path).map_err(Failure::Usage)?;
    if let Some(keys) = &config.keys {
        KeysFile::load(&keys.file)?;
    }
    for (section, shown) in [("[tls]", &config.tls), ("[identity]", &config.identity)] {
        if let Some(Certificate { files, .. }) = shown {
            files
                .load()
                .with_context(|| format!("`{section}` is refused"))
                .map_err(Failure::Usage)?;
        }
    }
    Ok(config)
}

fn read_alone(path: &Path) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::parse(&text).with_context(|| format!("{} is refused", path.display()))?;
    Ok(config.below(path.parent().unwrap_or(Path::new(""))))
}

fn run(config: Config) -> Result<(), Failure> {
    serve(config).map_err(Failure::Unavailable)
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
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
    raise_descriptors(&config);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    write(&format!("ready router={scheme}://{}", listener.local_addr()?))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    router::serve(listener, config, shutdown).await.context("the router stopped")
}

/// Every stream needs two descriptors; the usual soft limit is there for programs that are older than ours.
fn raise_descriptors(config: &Config) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    let streams = u64::from(config.limits.streams_max);
    let needed = streams.saturating_add(config.limits.connections_max.into());
    if current.is_some_and(|current| current < needed) {
        tracing::warn!(current, needed, "fewer descriptors than the limits promise");
    }
}

/// One line for the program that started us.
fn say(line: &str) -> Result<(), Failure> {
    write(line).map_err(Failure::Unavailable)
}

fn write(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// One line for a person; where standard error is closed nobody is left to tell.
fn remark(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    remark(&format!("veritee-router: {error:#}"));
    ExitCode::from(code)
}

/// The configuration is not usable (docs of every program: 2 is usage).
const EXIT_USAGE: u8 = 2;

/// The address cannot be had; a retry may help.
const EXIT_UNAVAILABLE: u8 = 20;
