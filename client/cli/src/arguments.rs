//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use attestation::{Challenge, ReportData, UnixTime};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Confidential AI inference that anyone can verify.
///
/// Exit codes: 0 accepted or done, 10 rejected, 20 unavailable (try again), 30 malformed input,
/// 2 usage, 1 a bug of ours.
#[derive(Debug, Parser)]
#[command(name = "veritee", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judges evidence by a policy.
    Verify(Verify),
    /// Lays evidence out field by field, and what lies beside it; judges nothing.
    Explain(Explain),
    /// Looks at policies.
    Policy(Policy),
    /// Fetches what vendors say of their hardware, and looks after what is kept of it.
    Endorsements(Endorsements),
    /// Asks one question of a verified enclave.
    Chat(Chat),
    #[command(about = "Serves the OpenAI API on this machine, verified and sealed")]
    Proxy(Proxy),
    /// Starts a simulated stack, asks a question, and lets a lying operator try.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A file, `-` for standard input, or the URL of an enclave or router. Its kind is told by
    /// content, in binary, hex or base64: Veritee's bundle, a raw SEV-SNP report, a raw TDX quote,
    /// NVIDIA's JSON or a raw report of its devices, an Azure HCL report or its JSON.
    #[arg(value_name = "EVIDENCE")]
    pub(crate) evidence: String,
    /// A file or folder with certificates and revocation lists; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) endorsements: Vec<PathBuf>,
    /// The policy (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// A file with the public key of whoever signs policies (`veritee policy keygen`): a policy that
    /// is not signed by it is refused.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_key: Option<PathBuf>,
    /// The challenge that the evidence must answer; for a URL, random unless given.
    #[arg(long, value_name = "HEX", value_parser = challenge)]
    pub(crate) challenge: Option<Challenge>,
    /// The 64 bytes that raw vendor evidence must carry.
    #[arg(long, value_name = "HEX", value_parser = report_data)]
    pub(crate) report_data: Option<ReportData>,
    /// The boot's event log (CCEL), as a TDX guest reads it from `/sys/firmware/acpi/tables/data/CCEL`:
    /// it must replay to the registers that the hardware signed.
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// Judges for this moment instead of now.
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    pub(crate) at: Option<UnixTime>,
    /// A file with the API key that the router behind the URL asks for.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of the authorities that may vouch for the router behind an
    /// https URL, in place of the public ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) router_ca: Option<PathBuf>,
    /// Where to ask for endorsements that are missing, instead of what `veritee endorsements` uses.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Forbids the network. Otherwise it is used for evidence behind a URL, and for endorsements that
    /// are neither given nor kept.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes a page about the verdict as well, for an auditor to read, print and file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Says what of an acceptance ends next, when, and what the same evidence is refused for then.
    #[arg(long)]
    pub(crate) forecast: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A file, `-` for standard input, or the URL of an enclave or router. Its kind is told by content:
    /// all evidence that `veritee verify` takes, event logs, certificates, revocation lists, OCSP
    /// responses, Intel's collateral, reference values, receipts, signed results and policies.
    #[arg(value_name = "EVIDENCE")]
    pub(crate) evidence: String,
    /// The boot's event log (CCEL), to be listed event by event, as a policy may pin them.
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// A file with the API key that the router behind the URL asks for.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of the authorities that may vouch for the router behind an
    /// https URL, in place of the public ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) router_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Says what is wrong with a policy, or should be known before anybody relies on it.
    Lint {
        /// The policy (TOML).
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file or folder with TCB Info, to compare the advisories with that the policy allows; may
        /// be repeated.
        #[arg(long, value_name = "PATH")]
        endorsements: Vec<PathBuf>,
        /// Looks for this moment instead of now.
        #[arg(long, value_name = "RFC3339", value_parser = moment)]
        at: Option<UnixTime>,
    },
    /// Says in sentences what a policy accepts.
    Show {
        /// The policy (TOML).
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file with the public key of whoever signs policies: one that is not signed by it is
        /// refused.
        #[arg(long, value_name = "FILE")]
        policy_key: Option<PathBuf>,
    },
    /// Makes a key to sign policies with: FILE, and its public half in FILE.pub.
    Keygen {
        /// A file that is not there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Signs a policy and the files that it names; the signature goes beside it, into FILE.sig.
    Sign {
        /// The policy (TOML), in which `lint` finds no error.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The private key (`veritee policy keygen`).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Verifies NVIDIA's signed manifests (RIM) and writes their reference values for policies.
    ImportRim(ImportRim),
}

#[derive(Debug, Args)]
pub(crate) struct ImportRim {
    /// Manifests as NVIDIA serves them.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Verifies for this moment instead of now: signers of manifests are good for two years.
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    pub(crate) at: Option<UnixTime>,
    /// NVIDIA's id of the manifest, where the file's name does not have it.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Where to write: a file, or a folder for a file per manifest; standard output unless given.
    #[arg(short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Endorsements {
    #[command(subcommand)]
    pub(crate) command: EndorsementsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EndorsementsCommand {
    /// Fetches what is not kept, or due.
    Fetch(Fetch),
    /// Writes endorsements to one file (PEM), for `--endorsements` where there is no network.
    Bundle(Bundle),
    /// Says what is kept, when it ends, and when it will be fetched again.
    Status(Status),
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// The id of a reference integrity manifest of NVIDIA's, for `veritee policy import-rim`; may be
    /// repeated.
    #[arg(long, value_name = "ID", requires = "output")]
    pub(crate) rim: Vec<String>,
    /// The folder to write manifests to, each as ID.xml.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// Asks the services for everything, whatever is kept.
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) services: Services,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bundle {
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// The file, or `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: String,
    /// Takes what is kept, and forbids the network.
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) services: Services,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) services: Services,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// For what endorsements are wanted.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Evidence that says itself what it needs: a file, or `-` for standard input.
    #[arg(value_name = "EVIDENCE")]
    pub(crate) evidence: Option<String>,
    /// An AMD product, milan, genoa or turin: its chains and lists, and for evidence of report version 2
    /// the product that it does not say; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Vec<ProductName>,
    /// A family of Intel platforms (FMSPC, 12 hex digits): all that its TDX quotes need; may be repeated.
    #[arg(long, value_name = "HEX")]
    pub(crate) fmspc: Vec<String>,
    /// Intel's series of TCB recoveries, standard or early, in place of the configuration's.
    #[arg(long, value_name = "SERIES")]
    pub(crate) update: Option<Series>,
}

/// Where to ask.
#[derive(Debug, Args)]
pub(crate) struct Services {
    /// Where to ask and what to keep (TOML). Without it `veritee/endorsements.toml` in the user's folder
    /// of configurations, or else the vendors' own services.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
}

/// An AMD product.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProductName {
    Milan,
    Genoa,
    Turin,
}

/// A series of Intel's.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Series {
    Standard,
    Early,
}

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The router: https, or http on this machine.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) router: String,
    /// The policy (TOML). None is built in.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A file with the public key of whoever signs policies (`veritee policy keygen`): a policy that
    /// is not signed by it is refused.
    #[arg(long, requires = "policy", value_name = "FILE")]
    pub(crate) policy_key: Option<PathBuf>,
    /// A file or folder with certificates and revocation lists that the enclaves' host does not hand
    /// out; may be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) endorsements: Vec<PathBuf>,
    /// Where to ask for endorsements that are missing or have ended, instead of what `veritee
    /// endorsements` uses.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Asks no vendor: endorsements are those given, handed out or kept. The router is asked all the
    /// same.
    #[arg(long)]
    pub(crate) offline: bool,
    /// A file with the API key that the router asks for.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// A file with the certificates (PEM) of the authorities that may vouch for an https router, in
    /// place of the public ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) router_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The model; the only one that is verified, unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// How random the answer is, 0 to 2; at 0 it is the same every time.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Most tokens of the answer.
    #[arg(long, value_name = "COUNT", default_value_t = 512)]
    pub(crate) max_tokens: u64,
    /// The question, or `-` to read it from standard input.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: String,
}

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Where to listen; loopback only.
    #[arg(long, value_name = "127.0.0.1:PORT", default_value = "127.0.0.1:8700")]
    pub(crate) listen: SocketAddr,
    /// A web page's origin that may use the proxy; may be repeated.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
}

/// What the demonstration simulates.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DemoPlatform {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX, with its event log.
    Tdx,
    /// AMD SEV-SNP with eight GPUs and four switches.
    #[value(name = "snp+gpu")]
    SnpGpu,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The platform that is simulated.
    #[arg(long, value_enum, value_name = "PLATFORM", default_value_t = DemoPlatform::Snp)]
    pub(crate) platform: DemoPlatform,
    /// Serves the stack and the local proxy until it is stopped.
    #[arg(long)]
    pub(crate) serve: bool,
    /// The proxy's port, with --serve; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8700)]
    pub(crate) port: u16,
    /// The question.
    #[arg(
        long,
        value_name = "PROMPT",
        default_value = "Why is the sky blue? Answer in two sentences."
    )]
    pub(crate) prompt: String,
    /// A GGUF file to use instead of the default model.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
}

/// A challenge as it is written.
fn challenge(text: &str) -> Result<Challenge, String> {
    text.parse().map_err(|_| digits(text, 64, "openssl rand -hex 32 makes one"))
}

/// The 64 bytes of raw evidence as they are written.
fn report_data(text: &str) -> Result<ReportData, String> {
    text.parse()
        .map_err(|_| digits(text, 128, "`veritee explain EVIDENCE` shows those that it has"))
}

fn digits(text: &str, wanted: usize, next: &str) -> String {
    let len = text.chars().count();
    let has = if text.chars().all(|c| c.is_ascii_hexdigit()) {
        format!("it has {len}")
    } else {
        "it has other characters".to_owned()
    };
    format!("{wanted} hex digits are wanted, and {has}; {next}")
}

/// A moment as it is written.
fn moment(text: &str) -> Result<UnixTime, String> {
    text.parse().map_err(|_| {
        "a date and time of RFC 3339 is wanted, from 1970 on, as in 2026-11-23T09:30:00Z".to_owned()
    })
}
