//! `veritee-sim`: makes a test PKI, renders its policy and serves simulated evidence.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::snp::Product;
use attestation::{Sha256, Sha384, UnixTime};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sim::SimError;
use sim::policy::Accepted;
use sim::serve::Service;
use sim::store::{CpuKind, Existing, InitOptions, Store};
use tokio::signal::unix::{SignalKind, signal};

/// The simulated platform of Veritee: evidence of SEV-SNP, TDX and GPUs under a test PKI of your own.
///
/// Only a policy that names this test PKI as its anchor accepts what it signs.
#[derive(Debug, Parser)]
#[command(name = "veritee-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a test PKI and renders `simulation.toml` beside it; takes some seconds.
    Init(Init),
    /// Renders `simulation.toml` again, for a model or a configuration that changed.
    Policy(Policy),
    /// Serves reports on a unix socket until SIGTERM.
    Serve(Serve),
    /// Says what the folder holds.
    Show(Folder),
}

#[derive(Debug, Args)]
struct Folder {
    /// The folder of the test PKI [default: veritee/simulation in the user's data folder].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Reference {
    /// SHA-256 of the model manifest, with or without `sha256:`.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    manifest_digest: Option<Sha256>,
    /// A name that clients may ask for the model by; may be repeated.
    #[arg(long, value_name = "NAME")]
    model_name: Vec<String>,
    /// SHA-256 of the enclave's effective configuration; may be repeated.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    config_digest: Vec<Sha256>,
}

#[derive(Debug, Args)]
struct Init {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    reference: Reference,
    /// Launch measurement that the simulated guest reports.
    #[arg(long, value_name = "HEX")]
    measurement: Option<Sha384>,
    /// Platform that is simulated.
    #[arg(long, value_enum, default_value_t = PlatformName::SevSnp)]
    platform: PlatformName,
    /// Product line that is simulated, of SEV-SNP.
    #[arg(long, value_enum, default_value_t = ProductName::Genoa)]
    product: ProductName,
    /// GPUs that the guest uses.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=8))]
    gpus: u8,
    /// Switches that tie the GPUs into one fabric; some need some GPUs.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    switches: u8,
    /// Days until the test PKI ends, at most 30.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=30))]
    days: u64,
    /// Replaces a test PKI that is still valid.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Policy {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    reference: Reference,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    folder: Folder,
    /// The socket to serve on.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PlatformName {
    SevSnp,
    Tdx,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProductName {
    Milan,
    Genoa,
    Turin,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    match run(cli.command, UnixTime::from_secs(since.as_secs())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            drop(writeln!(io::stderr(), "veritee-sim: {error}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(command: Command, now: UnixTime) -> Result<(), SimError> {
    match command {
        Command::Init(init) => {
            let folder = folder(init.folder)?;
            let product = match init.product {
                ProductName::Milan => Product::Milan,
                ProductName::Genoa => Product::Genoa,
                ProductName::Turin => Product::Turin,
            };
            let options = InitOptions {
                cpu: match init.platform {
                    PlatformName::SevSnp => CpuKind::SevSnp(product),
                    PlatformName::Tdx => CpuKind::Tdx,
                },
                devices: (init.gpus, init.switches),
                measurement: init.measurement.unwrap_or_else(|| Sha384::of(GUEST_DEFAULT)),
                accepted: accepted(init.reference),
                secs: init.days.saturating_mul(24 * 60 * 60),
                existing: if init.force { Existing::Replace } else { Existing::Keep },
            };
            show("made", &Store::init(&folder, options, now)?)
        }
        Command::Policy(policy) => {
            let mut store = Store::open(&folder(policy.folder)?, now)?;
            store.render_policy(accepted(policy.reference), now)?;
            show("rendered", &store)
        }
        Command::Show(target) => show("holds", &Store::open(&folder(target)?, now)?),
        Command::Serve(serve) => {
            run_service(&serve.socket, &Store::open(&folder(serve.folder)?, now)?)
        }
    }
}

fn run_service(socket: &std::path::Path, store: &Store) -> Result<(), SimError> {
    let machine = store.machine()?;
    let failed = || SimError::file(socket.to_owned());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(failed())?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
        let service = Service::bind(socket)?;
        say(&format!("ready socket={}\n", socket.display()))?;
        tokio::select! {
            () = service.run(machine) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn show(verb: &str, store: &Store) -> Result<(), SimError> {
    let accepted = store.accepted();
    let dir = store.folder().display();
    let next = if accepted.is_complete() {
        format!("veritee-sim serve --dir {dir} --socket {dir}/platform.sock")
    } else {
        format!(
            "veritee-sim policy --dir {dir} --manifest-digest … --model-name … --config-digest …"
        )
    };
    let manifest = accepted
        .manifest
        .map_or_else(|| "none yet".to_owned(), |digest| format!("sha256:{digest}"));
    let (gpus, switches) = store.devices();
    let configs = match accepted.configs.as_slice() {
        [] => "none yet".to_owned(),
        digests => {
            digests.iter().map(|digest| format!("sha256:{digest}")).collect::<Vec<_>>().join(", ")
        }
    };
    say(&format!(
        "\
{verb} a simulated platform: it proves nothing about hardware
folder       {dir}
platform     {}
devices      {gpus} GPUs, {switches} switches
measurement  {}
valid        {} to {}
policy       {} version {}
model        {} {manifest}
config       {configs}
next         {next}
",
        store.cpu(),
        store.measurement(),
        store.validity().not_before,
        store.validity().not_after,
        store.policy_path().display(),
        store.policy_version(),
        accepted.names.join(", "),
    ))
}

fn say(text: &str) -> Result<(), SimError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(SimError::file("standard output"))
}

fn accepted(reference: Reference) -> Accepted {
    let Reference { manifest_digest, model_name, config_digest } = reference;
    Accepted { manifest: manifest_digest, names: model_name, configs: config_digest }
}

fn folder(target: Folder) -> Result<PathBuf, SimError> {
    let data = || {
        let absolute =
            |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        Some(base?.join("veritee/simulation"))
    };
    target
        .dir
        .or_else(data)
        .ok_or_else(|| SimError::Argument("no home folder: name one with --dir".to_owned()))
}

fn digest(text: &str) -> Result<Sha256, String> {
    text.strip_prefix("sha256:")
        .unwrap_or(text)
        .parse()
        .map_err(|error: attestation::Malformed| error.to_string())
}

const fn exit_code(error: &SimError) -> u8 {
    match error {
        SimError::Argument(_) | SimError::Exists { .. } | SimError::Missing { .. } => 2,
        SimError::File { .. } | SimError::Expired { .. } => 20,
        SimError::Damaged { .. } => 30,
        SimError::Crypto(_) => 1,
    }
}

/// The default measurement is a digest of words, so that nobody takes it for a real image's.
const GUEST_DEFAULT: &[u8] = b"veritee simulated guest";
