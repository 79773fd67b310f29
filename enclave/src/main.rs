//! `veritee-enclave`: answers sealed requests inside a confidential guest.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use attestation::{ModelManifest, Sha256, UnixTime};
use clap::{Parser, ValueEnum};
use enclave::files::VerifiedFiles;
use enclave::process::{self, RemoteEngine};
use enclave::{Boot, Clock, Config, event, model};
use engine::Engine;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use zeroizing_alloc::ZeroAlloc;

/// Memory that is given back is wiped first: what was said is nowhere once its answer is.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// Answers sealed requests; what it does is in its configuration, which its evidence binds.
#[derive(Parser)]
#[command(name = "veritee-enclave", version)]
struct Arguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE", required_unless_present = "engine_process")]
    config: Option<PathBuf>,
    /// Reads the configuration and the model, prints their digests, and stops.
    #[arg(long)]
    check_config: bool,
    /// Prints the digests as JSON.
    #[arg(long, requires = "check_config")]
    json: bool,
    /// Where the engine runs.
    #[arg(long, value_enum, default_value_t = Place::Process)]
    engine: Place,
    /// Is the engine of the process that started this one.
    #[arg(long, hide = true)]
    engine_process: bool,
}

/// Where the engine runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Place {
    /// In a process of its own, which can open no file and make no connection.
    Process,
    /// Beside the keys; for tests.
    InProcess,
}

fn main() -> ExitCode {
    if let Err(error) = keep_memory() {
        return complain(&error, EXIT_UNAVAILABLE);
    }
    let arguments = Arguments::parse();
    if arguments.engine_process {
        // Who started it sees that it ended; there is nobody else to tell.
        return process::child::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let path = arguments.config.unwrap_or_default();
    let config = match read(&path) {
        Ok(config) => config,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    // Paths in the configuration are relative to it, not to wherever the program was started.
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let (done, failed) = if arguments.check_config {
        (check(&config, &folder, arguments.json), EXIT_USAGE)
    } else {
        (run(config, &folder, arguments.engine), EXIT_UNAVAILABLE)
    };
    done.map_or_else(|error| complain(&error, failed), |()| ExitCode::SUCCESS)
}

/// A core would hold prompts and keys: the kernel writes none, to a file or to a program that catches them, and lets nobody else of
/// the same user look.
fn keep_memory() -> anyhow::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("cores cannot be forbidden")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("memory cannot be closed")
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text).with_context(|| format!("{} is refused", path.display()))
}

/// Says what a policy must pin: the digests of the configuration and of the model's manifest.
fn check(config: &Config, folder: &Path, json: bool) -> anyhow::Result<()> {
    let manifest = manifest(config, folder);
    // A configuration may be checked where the model is not.
    let manifest_digest = match manifest {
        Ok(manifest) => Some(Sha256::of(&manifest.encode())),
        Err(model::ModelError::Unreadable { .. }) => None,
        Err(error) => return Err(error).context("the model is not usable"),
    };
    let config_digest = config.digest();
    if json {
        return say(&serde_json::to_string(&serde_json::json!({
            "config_digest": config_digest,
            "manifest_digest": manifest_digest,
            "model_names": config.model.names,
        }))?);
    }
    say("configuration is valid")?;
    say(&format!("config digest    sha256:{config_digest}"))?;
    match manifest_digest {
        Some(digest) => say(&format!("manifest digest  sha256:{digest}")),
        None => say("manifest digest  unknown: the model's file cannot be read here"),
    }
}

fn manifest(config: &Config, folder: &Path) -> Result<ModelManifest, model::ModelError> {
    let names = &config.model.names;
    if let Some(settings) = &config.upstream {
        return Ok(VerifiedFiles::read(&config.model, folder)?.manifest(names, settings.kind));
    }
    let engine = model::start(config, model::read(&config.model, folder)?)?;
    Ok(model::manifest(names, engine.description()))
}

#[tokio::main]
async fn run(config: Config, folder: &Path, place: Place) -> anyhow::Result<()> {
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr))
        .with(filter_fn(|line| line.target() == event::TARGET))
        .init();
    event::install_panic_hook();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listen = config.listen;
    let files = config.upstream.as_ref().map(|_| VerifiedFiles::read(&config.model, folder));
    let engine: Option<Arc<dyn Engine>> = match place {
        _ if files.is_some() => None,
        Place::Process => Some(Arc::new(RemoteEngine::launch(&config, folder).await?)),
        Place::InProcess => {
            let verified = model::read(&config.model, folder)?;
            Some(Arc::new(model::start(&config, verified)?))
        }
    };
    let boot = Boot::new(config, Clock::new(now));
    let (attester, accelerators) = (boot.attester()?, boot.accelerators());
    let keyed = boot.make_keys(attester, accelerators)?;
    let loaded = match (files.transpose()?, engine) {
        (Some(files), _) => keyed.front(&files)?,
        (None, Some(engine)) => keyed.load(engine)?,
        (None, None) => anyhow::bail!("there is neither an engine nor a server"),
    };
    let serving = loaded.attest().await?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let scheme = if serving.speaks_tls() { "https" } else { "http" };
    let (node, spki) = (serving.node_id(), serving.spki());
    say(&format!("ready enclave={scheme}://{address} node={node} spki={spki}"))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    enclave::serve(listener, serving, shutdown).await.context("the enclave stopped")
}

/// The wall clock, which in an enclave is the host's.
#[expect(clippy::disallowed_methods, reason = "a program reads the clock in one place, here")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// One line for the program that started us.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    // Errors of libraries tell their cause themselves; contexts do not.
    let mut told = error.to_string();
    for cause in error.chain().map(ToString::to_string) {
        if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    // Where standard error is closed nobody is left to tell.
    drop(writeln!(std::io::stderr(), "veritee-enclave: {told}"));
    ExitCode::from(code)
}

/// The configuration is not usable.
const EXIT_USAGE: u8 = 2;
/// The model, the platform or the address cannot be had; a retry may help.
const EXIT_UNAVAILABLE: u8 = 20;

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
