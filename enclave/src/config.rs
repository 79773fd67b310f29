//! Configuration: what the file says ([`ConfigFile`]) and what it means ([`Config`]).
//!
//! Everything that changes what the enclave does is here, and nowhere else: no environment
//! variable and no flag. The complete effective configuration, defaults filled in, is written out
//! as TOML; those exact bytes travel in the evidence and their SHA-256 is in the binding
//! (`docs/protocol.md` §5.2).
//!
#![doc = concat!("```toml\n", include_str!("../example.toml"), "```")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fmt, time::Duration};

use attestation::Sha256;
use serde::{Deserialize, Serialize};
use tls::{PinError, Pins, SpkiPin};
use upstream::{Kind, Settings};

/// What the enclave does, after the file has been read and understood.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the router connects; loopback only without [`tls`](Self::tls).
    pub listen: SocketAddr,
    /// Length of a sealing key's epoch.
    pub epoch: Duration,
    /// The least padding of any answer.
    pub padding: Padding,
    /// Whether a request may name no binding.
    pub unbound: Unbound,
    /// Who signs evidence.
    pub platform: Platform,
    /// The one model.
    pub model: Model,
    /// What the engine may use.
    pub engine: Engine,
    /// What requests may use.
    pub limits: Limits,
    /// TLS for the whole listener, and who may connect. None: plain HTTP on loopback.
    pub tls: Option<Tls>,
    /// The server of this machine that answers in the engine's place, if any.
    pub upstream: Option<Settings>,
    effective: Vec<u8>,
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], which says what to change.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        Self::try_from(file)
    }

    /// The exact bytes of the effective configuration, which the evidence carries.
    pub fn effective(&self) -> &[u8] {
        &self.effective
    }

    /// The digest of [`effective`](Self::effective), which the binding holds.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.effective)
    }
}

/// The least padding of an answer (`docs/protocol.md` §5.7).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Each event fills one cell: hides what is said, shows how many events and when.
    #[default]
    P1,
    /// One cell per 40 ms: hides events and their timing, shows how long the answer takes.
    P2,
}

/// Whether a request may name no binding (`docs/protocol.md` §5.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unbound {
    /// Such a request is answered, and its receipt says `unbound`.
    Allowed,
    /// Such a request is refused.
    Refused,
}

/// Who signs evidence.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Platform {
    /// AMD SEV-SNP by Linux's configfs-tsm.
    SevSnp {
        /// Where configfs-tsm is.
        #[serde(default = "tsm_root")]
        root: PathBuf,
        /// The socket of the service that asks the accelerators; without it there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        accelerators: Option<PathBuf>,
    },
    /// Intel TDX by Linux's configfs-tsm.
    Tdx {
        /// Where configfs-tsm is.
        #[serde(default = "tsm_root")]
        root: PathBuf,
        /// The file with the firmware's event log.
        #[serde(default = "ccel")]
        event_log: PathBuf,
        /// The socket of the service that asks the accelerators; without it there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        accelerators: Option<PathBuf>,
    },
    /// A platform service on a unix socket.
    Socket {
        /// The socket.
        path: PathBuf,
        /// The socket of the service that asks the accelerators, which may be the same; without it
        /// there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        accelerators: Option<PathBuf>,
    },
}

impl Platform {
    /// The socket of the service that asks the accelerators, if the enclave uses any.
    pub fn accelerators(&self) -> Option<&Path> {
        match self {
            Self::SevSnp { accelerators, .. }
            | Self::Tdx { accelerators, .. }
            | Self::Socket { accelerators, .. } => accelerators.as_deref(),
        }
    }
}

/// The one model, by its file, that file's digest and the names that clients ask for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The file, relative to the configuration's folder.
    pub path: PathBuf,
    /// What the file must hash to.
    pub sha256: Sha256,
    /// The names, the canonical one first.
    pub names: Vec<String>,
}

/// What the engine may use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Threads that compute.
    pub threads: u16,
    /// Answers that are generated at the same time.
    pub slots: u16,
    /// Requests that wait for a slot.
    pub queue: u16,
    /// Tokens of prompt and answer together.
    pub context: u32,
    /// Memory for the keys and values of all answers, in MiB.
    pub kv_mib: u32,
}

/// What requests may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Octets of one request's plaintext.
    pub request_bytes: usize,
    /// Octets of all requests that are arriving, together.
    pub buffered_bytes: usize,
    /// Sealed requests in progress.
    pub requests: usize,
    /// Open connections.
    pub connections: usize,
    /// Requests that one sealing key accepts.
    pub requests_per_key: usize,
    /// Challenges that wait for the platform.
    pub evidence_requests: usize,
    /// Requests that wait for decapsulation.
    pub decapsulations: usize,
    /// The part of all processors that decapsulation may take, in percent.
    pub decapsulation_percent: u32,
    /// For a request's head.
    pub header: Duration,
    /// For a request's whole body.
    pub upload: Duration,
    /// For a client to take the next octets of its answer.
    pub stall: Duration,
    /// For an answer to end, from when its request is read; the time that it waits counts.
    pub answer: Duration,
    /// For answers to end after a signal to stop.
    pub drain: Duration,
}

/// TLS for the router's leg (`docs/protocol.md` §5.6).
#[derive(Clone, Debug)]
pub struct Tls {
    /// The keys of the router's client certificate; several while one follows another.
    pub router: Pins,
    /// Handshakes at the same time.
    pub handshakes: usize,
    /// For one handshake.
    pub handshake: Duration,
}

/// The file, as written; what is left out takes the defaults of [the module](self).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(default = "listen")]
    listen: SocketAddr,
    #[serde(default = "epoch")]
    epoch: String,
    #[serde(default)]
    padding: Padding,
    #[serde(default)]
    allow_unbound: bool,
    platform: Platform,
    model: Model,
    #[serde(default)]
    engine: Engine,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<UpstreamFile>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct UpstreamFile {
    kind: Kind,
    address: String,
    model: String,
    #[serde(default = "connect_s")]
    connect_s: u64,
    #[serde(default = "first_s")]
    first_s: u64,
    #[serde(default = "idle_s")]
    idle_s: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    router_spki: Vec<String>,
    #[serde(default = "handshakes")]
    handshakes: u64,
    #[serde(default = "handshake_s")]
    handshake_s: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    request_bytes: u64,
    buffered_bytes: u64,
    requests: u64,
    connections: u64,
    requests_per_key: u64,
    evidence_requests: u64,
    decapsulations: u64,
    decapsulation_percent: u64,
    header_s: u64,
    upload_s: u64,
    stall_s: u64,
    answer_s: u64,
    drain_s: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self { threads: 2, slots: 4, queue: 64, context: 2048, kv_mib: 4096 }
    }
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            request_bytes: 2 << 20,
            buffered_bytes: 64 << 20,
            requests: 256,
            connections: 1024,
            requests_per_key: 1 << 18,
            evidence_requests: 64,
            decapsulations: 64,
            decapsulation_percent: 10,
            header_s: 5,
            upload_s: 30,
            stall_s: 120,
            answer_s: 600,
            drain_s: 30,
        }
    }
}

impl TryFrom<ConfigFile> for Config {
    type Error = ConfigError;

    fn try_from(file: ConfigFile) -> Result<Self, ConfigError> {
        // A struct of plain values always serialises, with its keys in the order of its fields.
        let effective =
            toml::to_string(&file).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let ConfigFile {
            listen,
            epoch,
            padding,
            allow_unbound,
            platform,
            model,
            engine,
            limits,
            tls,
            upstream,
        } = file;
        let limits = Limits::try_from(limits)?;
        let upstream = upstream.map(|file| file.settings(limits.answer)).transpose()?;
        let tls = tls.map(Tls::try_from).transpose()?;
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(ConfigError::ListenNotLoopback(listen));
        }
        check_names(&model.names)?;
        within("engine.threads", engine.threads.into(), 1, 512)?;
        within("engine.slots", engine.slots.into(), 1, 64)?;
        within("engine.context", engine.context.into(), 16, 1 << 20)?;
        within("engine.kv_mib", engine.kv_mib.into(), 1, 1 << 24)?;
        Ok(Self {
            listen,
            epoch: parse_epoch(&epoch)?,
            padding,
            unbound: if allow_unbound { Unbound::Allowed } else { Unbound::Refused },
            platform,
            model,
            engine,
            limits,
            tls,
            upstream,
            effective: effective.into_bytes(),
        })
    }
}

impl TryFrom<LimitsFile> for Limits {
    type Error = ConfigError;

    fn try_from(file: LimitsFile) -> Result<Self, ConfigError> {
        let LimitsFile {
            request_bytes,
            buffered_bytes,
            requests,
            connections,
            requests_per_key,
            evidence_requests,
            decapsulations,
            decapsulation_percent,
            header_s,
            upload_s,
            stall_s,
            answer_s,
            drain_s,
        } = file;
        let count = |key, found, max| {
            within(key, found, 1, max).map(|found| usize::try_from(found).unwrap_or(usize::MAX))
        };
        let seconds = |key, found| within(key, found, 1, 3600).map(Duration::from_secs);
        // One request of the longest kind fits, with its header and the framing of its chunks.
        let framing = request_bytes.checked_div(8).unwrap_or(0).saturating_add(2048);
        let buffered_bytes_min = request_bytes.saturating_add(framing);
        within("limits.buffered_bytes", buffered_bytes, buffered_bytes_min, 1 << 40)?;
        let percent = within("limits.decapsulation_percent", decapsulation_percent, 1, 100)?;
        Ok(Self {
            // 2^30 octets per direction, at most (`docs/protocol.md` §5.4).
            request_bytes: count("limits.request_bytes", request_bytes, 1 << 30)?,
            buffered_bytes: count("limits.buffered_bytes", buffered_bytes, 1 << 40)?,
            requests: count("limits.requests", requests, 1 << 20)?,
            connections: count("limits.connections", connections, 1 << 20)?,
            requests_per_key: count("limits.requests_per_key", requests_per_key, 1 << 24)?,
            evidence_requests: count("limits.evidence_requests", evidence_requests, 1024)?,
            decapsulations: count("limits.decapsulations", decapsulations, 1 << 16)?,
            decapsulation_percent: u32::try_from(percent).unwrap_or(100),
            header: seconds("limits.header_s", header_s)?,
            upload: seconds("limits.upload_s", upload_s)?,
            stall: seconds("limits.stall_s", stall_s)?,
            answer: seconds("limits.answer_s", answer_s)?,
            drain: seconds("limits.drain_s", drain_s)?,
        })
    }
}

impl TryFrom<TlsFile> for Tls {
    type Error = ConfigError;

    fn try_from(file: TlsFile) -> Result<Self, ConfigError> {
        let TlsFile { router_spki, handshakes, handshake_s } = file;
        let pins: Result<Vec<SpkiPin>, _> = router_spki.iter().map(|pin| pin.parse()).collect();
        let handshakes = within("tls.handshakes", handshakes, 1, 1 << 16)?;
        Ok(Self {
            router: pins.and_then(Pins::new).map_err(ConfigError::RouterSpki)?,
            handshakes: usize::try_from(handshakes).unwrap_or(usize::MAX),
            handshake: Duration::from_secs(within("tls.handshake_s", handshake_s, 1, 60)?),
        })
    }
}

impl UpstreamFile {
    /// With how long an answer may take.
    fn settings(self, answer: Duration) -> Result<Settings, ConfigError> {
        let Self { kind, address, model, connect_s, first_s, idle_s } = self;
        let seconds = |key, found| within(key, found, 1, 86_400).map(Duration::from_secs);
        if model.is_empty() || model.len() > 512 {
            return Err(ConfigError::UpstreamModel);
        }
        let parsed = address.parse().map_err(|_| ConfigError::UpstreamAddress(address))?;
        Ok(Settings {
            kind,
            address: parsed,
            model,
            connect: seconds("upstream.connect_s", connect_s)?,
            first: seconds("upstream.first_s", first_s)?,
            idle: seconds("upstream.idle_s", idle_s)?,
            answer,
        })
    }
}

impl Model {
    /// Where the file is, for a configuration file in `folder`.
    pub fn file(&self, folder: &Path) -> PathBuf {
        folder.join(&self.path)
    }
}

/// Why a configuration was refused; each one says what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    /// Not TOML, an unknown or missing key, or a value of the wrong type.
    Syntax(String),
    /// `listen` is not a loopback address, and there is no `[tls]`.
    ListenNotLoopback(SocketAddr),
    /// `tls.router_spki` is no list of pins.
    RouterSpki(PinError),
    /// `upstream.address` is no socket of this machine.
    UpstreamAddress(String),
    /// `upstream.model` is empty or too long.
    UpstreamModel,
    /// `epoch` is not a time, or is too short or too long.
    Epoch(String),
    /// `model.names` is empty, or one of them is no name.
    Names,
    /// A number is outside its range.
    OutOfRange {
        /// The key, as the file writes it.
        key: &'static str,
        /// The smallest value taken.
        min: u64,
        /// The largest value taken.
        max: u64,
        /// What the file has.
        found: u64,
    },
}

impl ConfigError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "config-syntax",
            Self::ListenNotLoopback(_) => "config-listen-not-loopback",
            Self::RouterSpki(_) => "config-router-spki",
            Self::UpstreamAddress(_) => "config-upstream-address",
            Self::UpstreamModel => "config-upstream-model",
            Self::Epoch(_) => "config-epoch",
            Self::Names => "config-model-names",
            Self::OutOfRange { .. } => "config-out-of-range",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "the configuration does not parse: {why}"),
            Self::ListenNotLoopback(found) => write!(
                f,
                "`listen = \"{found}\"` is not a loopback address; other addresses need TLS: a table `[tls]` with `router_spki`"
            ),
            Self::RouterSpki(why) => write!(
                f,
                "`tls.router_spki` is refused: {why}; `veritee-router identity show` prints the router's"
            ),
            Self::UpstreamAddress(found) => write!(
                f,
                "`upstream.address = \"{found}\"` is neither `unix:/absolute/path` nor a loopback address with a port"
            ),
            Self::UpstreamModel => {
                f.write_str("`upstream.model` must have 1 to 512 octets")
            }
            Self::Epoch(found) => write!(
                f,
                "`epoch = \"{found}\"` is not a time like \"1h\" or \"30m\" between ten minutes and a day"
            ),
            Self::Names => f.write_str(
                "`model.names` must list 1 to 16 different names of printable ASCII without spaces, at most 128 characters each",
            ),
            Self::OutOfRange { key, min, max, found } => {
                write!(f, "`{key} = {found}` is outside {min}..={max}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

fn parse_epoch(text: &str) -> Result<Duration, ConfigError> {
    let bad = || ConfigError::Epoch(text.to_owned());
    let unit = text.char_indices().next_back().ok_or_else(bad)?;
    let (count, secs) = match unit {
        (at, 'h') => (text.get(..at), 3600),
        (at, 'm') => (text.get(..at), 60),
        (at, 's') => (text.get(..at), 1_u64),
        _ => return Err(bad()),
    };
    let count: u64 = count.and_then(|count| count.parse().ok()).ok_or_else(bad)?;
    let epoch = count.checked_mul(secs).map(Duration::from_secs).ok_or_else(bad)?;
    if (EPOCH_MIN..=EPOCH_MAX).contains(&epoch) { Ok(epoch) } else { Err(bad()) }
}

/// Model names are what [`attestation::ModelManifest`] takes.
fn check_names(names: &[String]) -> Result<(), ConfigError> {
    let is_name = |name: &String| {
        (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    if (1..=16).contains(&names.len()) && names.iter().all(is_name) && sorted.len() == names.len() {
        Ok(())
    } else {
        Err(ConfigError::Names)
    }
}

fn within(key: &'static str, found: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&found) {
        Ok(found)
    } else {
        Err(ConfigError::OutOfRange { key, min, max, found })
    }
}

const fn listen() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

fn epoch() -> String {
    "1h".to_owned()
}

const fn handshakes() -> u64 {
    64
}

const fn handshake_s() -> u64 {
    5
}

const fn connect_s() -> u64 {
    2
}

const fn first_s() -> u64 {
    120
}

const fn idle_s() -> u64 {
    60
}

fn tsm_root() -> PathBuf {
    PathBuf::from(collect::TSM_ROOT)
}

fn ccel() -> PathBuf {
    collect::CCEL.into()
}

/// Shortest epoch (`docs/protocol.md` §5.1).
const EPOCH_MIN: Duration = Duration::from_mins(10);
/// Longest epoch: keys that live longer protect the past worse.
const EPOCH_MAX: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[platform]\nkind = \"socket\"\npath = \"p.sock\"\n[model]\npath = \"m.gguf\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000001\"\nnames = [\"m\"]\n";

    const PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_minimal_file_takes_the_defaults_and_the_effective_text_states_them() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!(config.epoch, Duration::from_hours(1));
        assert_eq!(config.unbound, Unbound::Refused);
        assert_eq!(config.limits.request_bytes, 2 << 20);
        let effective = std::str::from_utf8(config.effective()).unwrap();
        for key in ["listen", "epoch", "padding", "allow_unbound", "threads", "upload_s = 30"] {
            assert!(effective.contains(key), "{key} in {effective}");
        }
        let again = Config::parse(effective).unwrap();
        assert_eq!(again.effective(), config.effective(), "effective is a fixed point");
        assert_eq!(again.digest(), config.digest());
    }

    #[test]
    fn example_states_every_key_with_its_default() {
        let example = include_str!("../example.toml");
        let model = &format!("[model]\npath = \"model.gguf\"\nsha256 = \"{:064}\"\n", 0);
        let names = "names = [\"smollm2-135m-instruct\"]\n";
        let minimal = format!("[platform]\nkind = \"sev-snp\"\n{model}{names}");
        let (example, minimal) =
            (Config::parse(example).unwrap(), Config::parse(&minimal).unwrap());
        let text = |config: &Config| String::from_utf8(config.effective().to_vec()).unwrap();
        assert_eq!(text(&example), text(&minimal));
        let keys = |text: &str| -> Vec<String> {
            let line = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
            text.lines().filter(|text| !text.starts_with('#')).filter_map(line).collect()
        };
        assert_eq!(keys(include_str!("../example.toml")), keys(&text(&example)));
    }

    #[test]
    fn the_table_for_tls_in_the_example_states_the_defaults() {
        let (_, table) = include_str!("../example.toml").split_once("# [tls]\n").unwrap();
        let table: String = table
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .fold("[tls]\n".to_owned(), |text, line| text + line + "\n");
        let with_all = Config::parse(&format!("{GOOD}{table}")).unwrap();
        let alone = Config::parse(&format!("{GOOD}[tls]\nrouter_spki = [\"{PIN}\"]\n")).unwrap();
        let text = std::str::from_utf8(with_all.effective()).unwrap();
        assert_eq!(text, std::str::from_utf8(alone.effective()).unwrap());
        let Tls { router, handshakes, handshake } = alone.tls.unwrap();
        assert_eq!(router, Pins::new([PIN.parse().unwrap()]).unwrap());
        assert_eq!((handshakes, handshake), (64, Duration::from_secs(5)));
        assert!(text.contains("handshake_s = 5"), "{text}");
        assert_eq!(Config::parse(text).unwrap().effective(), text.as_bytes());
    }

    #[test]
    fn the_table_for_an_upstream_in_the_example_states_the_defaults() {
        let (_, table) = include_str!("../example.toml").split_once("# [upstream]\n").unwrap();
        let table: String = table
            .lines()
            .map_while(|line| line.strip_prefix("# "))
            .fold("[upstream]\n".to_owned(), |text, line| text + line + "\n");
        let with_all = Config::parse(&format!("{GOOD}{table}")).unwrap();
        let least = "kind = \"vllm\"\naddress = \"unix:/run/engine.sock\"\nmodel = \"model\"\n";
        let alone = Config::parse(&format!("{GOOD}[upstream]\n{least}")).unwrap();
        let text = |config: &Config| String::from_utf8(config.effective().to_vec()).unwrap();
        assert_eq!(text(&with_all), text(&alone));
        let keys = |text: &str| -> Vec<String> {
            let (_, table) = text.split_once("[upstream]\n").unwrap();
            let line = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
            table.lines().map_while(line).collect()
        };
        assert_eq!(keys(&table), keys(&text(&alone)));
        let settings = alone.upstream.clone().unwrap();
        assert_eq!(settings.kind, Kind::Vllm);
        let waits = [settings.connect, settings.first, settings.idle, settings.answer];
        assert_eq!(waits, [2, 120, 60, 600].map(Duration::from_secs));
        assert_eq!(Config::parse(&text(&alone)).unwrap().effective(), alone.effective());
    }

    #[test]
    fn with_tls_any_address_may_be_listened_on() {
        let tls = format!("[tls]\nrouter_spki = [\"{PIN}\"]\n");
        let text = format!("listen = \"192.0.2.1:443\"\n{GOOD}");
        assert_eq!(Config::parse(&text).unwrap_err().code(), "config-listen-not-loopback");
        let config = Config::parse(&format!("{text}{tls}")).unwrap();
        assert_eq!(config.listen, "192.0.2.1:443".parse().unwrap());
    }

    #[test]
    fn every_setting_changes_the_digest() {
        let base = Config::parse(GOOD).unwrap().digest();
        for more in [
            "listen = \"127.0.0.1:1\"\n",
            "epoch = \"30m\"\n",
            "padding = \"p2\"\n",
            "allow_unbound = true\n",
        ] {
            assert_ne!(Config::parse(&format!("{more}{GOOD}")).unwrap().digest(), base, "{more}");
        }
        let tls = format!("[tls]\nrouter_spki = [\"{PIN}\"]\n");
        for more in
            ["[engine]\nthreads = 3\n", "[limits]\nrequests = 9\n", &tls, &tls.replace('0', "1")]
        {
            assert_ne!(Config::parse(&format!("{GOOD}{more}")).unwrap().digest(), base, "{more}");
        }
    }

    #[test]
    fn each_bad_file_is_refused_for_its_reason() {
        let top = |line: &str| format!("{line}\n{GOOD}");
        let end = |line: &str| format!("{GOOD}{line}\n");
        for (text, code) in [
            (top("surprise = 1"), "config-syntax"),
            (end("[limits]\nsurprise = 1"), "config-syntax"),
            (end("[engine]\nsurprise = 1"), "config-syntax"),
            (GOOD.replace("path = \"p.sock\"", "path = \"p\"\nroot = \"r\""), "config-syntax"),
            (GOOD.replace("socket", "tdx"), "config-syntax"),
            (GOOD.replace("01\"", "0\""), "config-syntax"),
            (top("listen = \"0.0.0.0:80\""), "config-listen-not-loopback"),
            (end("[tls]"), "config-syntax"),
            (end("[tls]\nrouter_spki = []"), "config-router-spki"),
            (end("[tls]\nrouter_spki = [\"sha256:00\"]"), "config-router-spki"),
            (end(&format!("[tls]\nrouter_spki = [\"{PIN}\", \"{PIN}\"]")), "config-router-spki"),
            (end(&format!("[tls]\nrouter_spki = [\"{PIN}\"]\nx = 1")), "config-syntax"),
            (
                end(&format!("[tls]\nrouter_spki = [\"{PIN}\"]\nhandshakes = 0")),
                "config-out-of-range",
            ),
            (
                end(&format!("[tls]\nrouter_spki = [\"{PIN}\"]\nhandshake_s = 61")),
                "config-out-of-range",
            ),
            (
                end("[upstream]\nkind = \"vllm\"\naddress = \"10.0.0.1:80\"\nmodel = \"m\""),
                "config-upstream-address",
            ),
            (
                end("[upstream]\nkind = \"vllm\"\naddress = \"127.0.0.1:80\"\nmodel = \"\""),
                "config-upstream-model",
            ),
            (
                end("[upstream]\nkind = \"other\"\naddress = \"127.0.0.1:80\"\nmodel = \"m\""),
                "config-syntax",
            ),
            (
                end(
                    "[upstream]\nkind = \"vllm\"\naddress = \"127.0.0.1:80\"\nmodel = \"m\"\nx = 1",
                ),
                "config-syntax",
            ),
            (end("[engine]\nkv_mib = 0"), "config-out-of-range"),
            (end("[limits]\nanswer_s = 0"), "config-out-of-range"),
            (top("epoch = \"9m\""), "config-epoch"),
            (top("epoch = \"25h\""), "config-epoch"),
            (top("epoch = \"1\""), "config-epoch"),
            (top("epoch = \"\""), "config-epoch"),
            (top("epoch = \"99999999999999999999h\""), "config-epoch"),
            (GOOD.replace("[\"m\"]", "[]"), "config-model-names"),
            (GOOD.replace("[\"m\"]", "[\"m\", \"m\"]"), "config-model-names"),
            (GOOD.replace("[\"m\"]", "[\"two words\"]"), "config-model-names"),
            (end("[engine]\nthreads = 0"), "config-out-of-range"),
            (end("[limits]\nupload_s = 0"), "config-out-of-range"),
            (end("[limits]\ndecapsulation_percent = 101"), "config-out-of-range"),
            (end("[limits]\nbuffered_bytes = 1024"), "config-out-of-range"),
        ] {
            assert_eq!(Config::parse(&text).unwrap_err().code(), code, "{text}");
        }
        let refused = Config::parse(&top("listen = \"192.0.2.1:80\"")).unwrap_err();
        assert!(refused.to_string().contains("TLS"));
    }
}
