//! Configuration: what the file says ([`File`]) and what it means ([`Config`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tls::{IdentityFiles, PinError, Pins};

use crate::keys::Algorithm;

/// What the service does, after the file has been read and understood.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; on loopback unless there is `tls`.
    pub listen: SocketAddr,
    /// The folder of policies.
    pub policies: PathBuf,
    /// The public key whose owner must have signed each policy; without it nobody need have.
    pub policy_key: Option<PathBuf>,
    /// The folder that remembers which versions of policies counted; without it, until the service stops.
    pub memory: Option<PathBuf>,
    /// Files and folders of endorsements that count for every request.
    pub endorsements: Vec<PathBuf>,
    /// What signs.
    pub signing: Signing,
    /// Between two looks at policies, endorsements and keys.
    pub reload: Duration,
    /// What those who connect see, and who may; without it they speak plain HTTP.
    pub tls: Option<Tls>,
    /// What all requests together may use.
    pub limits: Limits,
    /// How long the service waits, for whom.
    pub timeouts: Timeouts,
}

/// What signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signing {
    /// The private key; without one the service makes one that lasts until it stops.
    pub key: Option<PathBuf>,
    /// The algorithm of a key that the service makes.
    pub algorithm: Algorithm,
    /// Public keys to publish beside it: the next one, and those that it follows.
    pub publish: Vec<PathBuf>,
    /// The developer in `ear_verifier_id`.
    pub developer: String,
}

/// TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// What is shown to those who connect.
    pub files: IdentityFiles,
    /// Who may connect, by public key; everybody where there are none.
    pub clients: Option<Pins>,
}

/// What all requests together may use.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
pub struct Limits {
    /// Octets of one request's body.
    pub body_bytes_max: usize,
    /// Requests that are being read or judged.
    pub requests_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// TLS handshakes at the same time.
    pub handshakes_max: usize,
    /// Verified chains that are remembered.
    pub chains_max: usize,
}

/// How long the service waits, for whom.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake, and for a request head; an idle connection is closed after the same time.
    pub request_head: Duration,
    /// For a whole body.
    pub upload: Duration,
    /// For requests under way to end after a signal to stop.
    pub drain: Duration,
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// What is to be changed in it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        Self::try_from(file)
    }

    /// The defaults, on a free port of loopback.
    pub fn on_loopback(policies: PathBuf) -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            listen,
            policies,
            policy_key: None,
            memory: None,
            endorsements: Vec::new(),
            signing: SigningFile::default().into(),
            reload: Duration::from_millis(RELOAD_MS_DEFAULT),
            tls: None,
            limits: LimitsFile::default().into(),
            timeouts: TimeoutsFile::default().into(),
        }
    }

    /// The same, with relative paths below `folder`: those in a file are relative to it.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> Self {
        let below = |path: &mut PathBuf| *path = folder.join(&*path);
        below(&mut self.policies);
        self.policy_key.iter_mut().for_each(below);
        self.memory.iter_mut().for_each(below);
        self.endorsements.iter_mut().for_each(below);
        self.signing.key.iter_mut().for_each(below);
        self.signing.publish.iter_mut().for_each(below);
        if let Some(Tls { files, .. }) = &mut self.tls {
            below(&mut files.certificate);
            below(&mut files.key);
        }
        self
    }
}

/// Why a configuration was refused; each one says what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    Syntax(String),
    /// `listen` is not a loopback address, and there is no `[tls]`.
    ListenNotLoopback(SocketAddr),
    /// A path that is empty.
    NoFile(&'static str),
    /// Pins of clients that are none.
    Clients(PinError),
    /// `signing.developer` is empty, or longer than a name is.
    Developer,
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

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => f.write_str(why.trim_end()),
            Self::ListenNotLoopback(found) => {
                write!(f, "`listen = \"{found}\"` is not on loopback: add `[tls]`")
            }
            Self::NoFile(key) => write!(f, "`{key}` is empty; name a file or folder"),
            Self::Clients(why) => write!(f, "`tls.clients`: {why}"),
            Self::Developer => {
                write!(f, "`signing.developer` has 1 to {DEVELOPER_LEN_MAX} characters")
            }
            Self::OutOfRange { key, min, max, found } => {
                write!(f, "`{key} = {found}` is outside {min}..={max}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The file, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: SocketAddr,
    policies: PathBuf,
    policy_key: Option<PathBuf>,
    memory: Option<PathBuf>,
    #[serde(default)]
    endorsements: Vec<PathBuf>,
    #[serde(default = "reload_ms_default")]
    reload_ms: u64,
    #[serde(default)]
    signing: SigningFile,
    tls: Option<TlsFile>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    timeouts: TimeoutsFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SigningFile {
    key: Option<PathBuf>,
    algorithm: Algorithm,
    publish: Vec<PathBuf>,
    developer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
struct LimitsFile {
    body_bytes_max: u64,
    requests_max: u64,
    connections_max: u64,
    handshakes_max: u64,
    chains_max: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "units stand last in every name")]
struct TimeoutsFile {
    request_head_ms: u64,
    upload_ms: u64,
    drain_ms: u64,
}

impl Default for SigningFile {
    fn default() -> Self {
        Self {
            key: None,
            algorithm: Algorithm::default(),
            publish: Vec::new(),
            developer: "veritee".to_owned(),
        }
    }
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            body_bytes_max: 2 << 20,
            requests_max: 64,
            connections_max: 1_024,
            handshakes_max: 64,
            chains_max: 1_024,
        }
    }
}

impl Default for TimeoutsFile {
    fn default() -> Self {
        Self { request_head_ms: 10_000, upload_ms: 10_000, drain_ms: 10_000 }
    }
}

const fn reload_ms_default() -> u64 {
    RELOAD_MS_DEFAULT
}

impl From<SigningFile> for Signing {
    fn from(file: SigningFile) -> Self {
        let SigningFile { key, algorithm, publish, developer } = file;
        Self { key, algorithm, publish, developer }
    }
}

impl From<LimitsFile> for Limits {
    fn from(file: LimitsFile) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let LimitsFile {
            body_bytes_max,
            requests_max,
            connections_max,
            handshakes_max,
            chains_max,
        } = file;
        Self {
            body_bytes_max: size(body_bytes_max),
            requests_max: size(requests_max),
            connections_max: size(connections_max),
            handshakes_max: size(handshakes_max),
            chains_max: size(chains_max),
        }
    }
}

impl From<TimeoutsFile> for Timeouts {
    fn from(file: TimeoutsFile) -> Self {
        let TimeoutsFile { request_head_ms, upload_ms, drain_ms } = file;
        Self {
            request_head: Duration::from_millis(request_head_ms),
            upload: Duration::from_millis(upload_ms),
            drain: Duration::from_millis(drain_ms),
        }
    }
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let File {
            listen,
            policies,
            policy_key,
            memory,
            endorsements,
            reload_ms,
            signing,
            tls,
            limits,
            timeouts,
        } = file;
        if !listen.ip().is_loopback() && tls.is_none() {
            return Err(ConfigError::ListenNotLoopback(listen));
        }
        named("policies", &policies)?;
        policy_key.iter().try_for_each(|path| named("policy_key", path))?;
        memory.iter().try_for_each(|path| named("memory", path))?;
        endorsements.iter().try_for_each(|path| named("endorsements", path))?;
        signing.key.iter().try_for_each(|path| named("signing.key", path))?;
        signing.publish.iter().try_for_each(|path| named("signing.publish", path))?;
        if signing.developer.is_empty() || signing.developer.chars().count() > DEVELOPER_LEN_MAX {
            return Err(ConfigError::Developer);
        }
        for (key, found, min, max) in [
            ("reload_ms", reload_ms, 10, 60_000),
            // The least that a bundle takes, and four times the longest evidence.
            ("limits.body_bytes_max", limits.body_bytes_max, 64 << 10, 16 << 20),
            ("limits.requests_max", limits.requests_max, 1, 4_096),
            ("limits.connections_max", limits.connections_max, 1, 65_536),
            ("limits.handshakes_max", limits.handshakes_max, 1, 65_536),
            ("limits.chains_max", limits.chains_max, 0, 65_536),
            ("timeouts.request_head_ms", timeouts.request_head_ms, 10, 600_000),
            ("timeouts.upload_ms", timeouts.upload_ms, 10, 600_000),
            ("timeouts.drain_ms", timeouts.drain_ms, 0, 600_000),
        ] {
            if !(min..=max).contains(&found) {
                return Err(ConfigError::OutOfRange { key, min, max, found });
            }
        }
        let tls = tls.map(Tls::try_from).transpose()?;
        Ok(Self {
            listen,
            policies,
            policy_key,
            memory,
            endorsements,
            signing: signing.into(),
            reload: Duration::from_millis(reload_ms),
            tls,
            limits: limits.into(),
            timeouts: timeouts.into(),
        })
    }
}

impl TryFrom<TlsFile> for Tls {
    type Error = ConfigError;

    fn try_from(file: TlsFile) -> Result<Self, ConfigError> {
        let TlsFile { certificate, key, clients } = file;
        named("tls.certificate", &certificate)?;
        named("tls.key", &key)?;
        let pins = |clients: Vec<String>| {
            let pins: Result<Vec<_>, _> = clients.iter().map(|pin| pin.parse()).collect();
            pins.and_then(Pins::new).map_err(ConfigError::Clients)
        };
        let clients = clients.map(pins).transpose()?;
        Ok(Self { files: IdentityFiles { certificate, key }, clients })
    }
}

fn named(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.as_os_str().is_empty() { Err(ConfigError::NoFile(key)) } else { Ok(()) }
}

const RELOAD_MS_DEFAULT: u64 = 1_000;

/// Longest name of a developer.
const DEVELOPER_LEN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "listen = \"127.0.0.1:0\"\npolicies = \"policies\"\n";

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = format!(
            "{GOOD}policy_key = \"policies.pub\"\nmemory = \"state\"\nendorsements = [\"amd\"]\n[signing]\nkey = \"ear.key\"\npublish = [\"/next.pub\"]\n"
        );
        let config = Config::parse(&text).unwrap().below(Path::new("/etc/veritee"));
        assert_eq!(config.policies, Path::new("/etc/veritee/policies"));
        assert_eq!(config.policy_key.as_deref(), Some(Path::new("/etc/veritee/policies.pub")));
        assert_eq!(config.memory.as_deref(), Some(Path::new("/etc/veritee/state")));
        assert_eq!(config.endorsements, [Path::new("/etc/veritee/amd")]);
        assert_eq!(config.signing.key.as_deref(), Some(Path::new("/etc/veritee/ear.key")));
        assert_eq!(config.signing.publish, [Path::new("/next.pub")]);
    }

    #[test]
    fn each_slip_is_refused_for_its_reason() {
        assert!(Config::parse(GOOD).is_ok());
        let open = SocketAddr::from(([0, 0, 0, 0], 443));
        let range = |key, min, max, found| ConfigError::OutOfRange { key, min, max, found };
        for (text, expected) in [
            (GOOD.replace("127.0.0.1:0", "0.0.0.0:443"), ConfigError::ListenNotLoopback(open)),
            (GOOD.replace("\"policies\"", "\"\""), ConfigError::NoFile("policies")),
            (format!("{GOOD}policy_key = \"\"\n"), ConfigError::NoFile("policy_key")),
            (format!("{GOOD}memory = \"\"\n"), ConfigError::NoFile("memory")),
            (format!("{GOOD}endorsements = [\"\"]\n"), ConfigError::NoFile("endorsements")),
            (format!("{GOOD}[signing]\nkey = \"\"\n"), ConfigError::NoFile("signing.key")),
            (
                format!("{GOOD}[signing]\npublish = [\"\"]\n"),
                ConfigError::NoFile("signing.publish"),
            ),
            (format!("{GOOD}[signing]\ndeveloper = \"\"\n"), ConfigError::Developer),
            (
                format!("{GOOD}[tls]\ncertificate = \"c\"\nkey = \"k\"\nclients = [\"sha1:00\"]\n"),
                ConfigError::Clients(PinError::Syntax),
            ),
            (format!("{GOOD}reload_ms = 1\n"), range("reload_ms", 10, 60_000, 1)),
            (
                format!("{GOOD}[limits]\nbody_bytes_max = 1\n"),
                range("limits.body_bytes_max", 65_536, 16_777_216, 1),
            ),
            (
                format!("{GOOD}[limits]\nrequests_max = 0\n"),
                range("limits.requests_max", 1, 4_096, 0),
            ),
        ] {
            assert_eq!(Config::parse(&text).unwrap_err(), expected, "{text}");
        }
        for text in [
            format!("{GOOD}polices = \"x\"\n"),
            format!("{GOOD}[signing]\nkeys = \"x\"\n"),
            format!("{GOOD}[signing]\nalgorithm = \"none\"\n"),
            format!("{GOOD}[signing]\nalgorithm = \"HS256\"\n"),
            format!("{GOOD}[limits]\nbody = 1\n"),
            format!("{GOOD}[timeouts]\nbody = 1\n"),
        ] {
            assert!(matches!(Config::parse(&text), Err(ConfigError::Syntax(_))), "{text}");
        }
    }
}
