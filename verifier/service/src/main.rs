//! `veritee-verifier`: verification as a service.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use attestation::UnixTime;
use clap::Parser;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use service::{Clock, Config, Service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Judges evidence by named policies, and signs what comes of it.
#[derive(Parser)]
#[command(name = "veritee-verifier", version)]
struct Arguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Reads the configuration and everything that it names, says whether all of it is good, and
    /// stops.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    if let Err(error) = keep_memory() {
        return complain(&error, EXIT_UNAVAILABLE);
    }
    let Arguments { config, check_config } = Arguments::parse();
    if !check_config {
        tracing_subscriber::fmt()
            .json()
            .with_writer(std::io::stderr)
            .with_max_level(tracing::Level::INFO)
            .init();
    }
    let service = match read(&config) {
        Ok(service) => service,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    let (done, failed) =
        if check_config { (check(&service), EXIT_USAGE) } else { (run(service), EXIT_UNAVAILABLE) };
    done.map_or_else(|error| complain(&error, failed), |()| ExitCode::SUCCESS)
}

/// A core would hold the signing key: the kernel writes none, and lets nobody else of the same user
/// look.
fn keep_memory() -> anyhow::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("cores cannot be forbidden")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("memory cannot be closed")
}

fn read(path: &Path) -> anyhow::Result<Service> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = Config::parse(&text).with_context(|| format!("{} is refused", path.display()))?;
    // Paths in the configuration are relative to it, not to wherever the program was started.
    let config = config.below(path.parent().unwrap_or(Path::new("")));
    if let Some(tls) = &config.tls {
        tls.files.load().context("`[tls]` is refused")?;
    }
    Ok(Service::load(config, Clock::new(now))?)
}

/// Starting goes on with the policies that are good; a check wants all of them to be.
fn check(service: &Service) -> anyhow::Result<()> {
    service.strictly()?;
    for status in service.policies() {
        let (name, digest) = (status.name.unwrap_or_default(), status.digest);
        let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
        say(&format!("policy {name} sha256:{digest}"))?;
    }
    say("configuration is good")
}

// Answers come from threads that the service starts; this one accepts and listens for signals.
#[tokio::main(flavor = "current_thread")]
async fn run(service: Service) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let service = Arc::new(service);
    let (listen, scheme) = service.address();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    say(&format!("ready verifier={scheme}://{address} kid={}", service.kid()))?;
    let reload = Arc::new(Notify::new());
    let ask = Arc::clone(&reload);
    let asking = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            ask.notify_one();
        }
    });
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let served = service::serve(listener, service, reload, shutdown).await;
    asking.abort();
    served.context("the verifier stopped")
}

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
    // Where standard error is closed nobody is left to tell.
    drop(writeln!(std::io::stderr(), "veritee-verifier: {error:#}"));
    ExitCode::from(code)
}

/// The configuration, or a file that it names, is not usable.
const EXIT_USAGE: u8 = 2;
/// The address cannot be had; a retry may help.
const EXIT_UNAVAILABLE: u8 = 20;
