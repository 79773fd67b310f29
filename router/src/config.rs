//! Configuration: what the file says ([`File`]) and what it means ([`Config`]).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use serde::Deserialize;

/// What the router does, after the file has been read and understood.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect. Loopback only in this release.
    pub listen: SocketAddr,
    /// The fleet, in the order of the file.
    pub enclaves: Vec<Enclave>,
    /// What one client, and all clients together, may use.
    pub limits: Limits,
    /// How long the router waits, for whom.
    pub timeouts: Timeouts,
    /// Who may send requests to enclaves; everybody where there is none.
    pub keys: Option<Keys>,
}

/// Who may send requests to enclaves, and how many.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The file that `veritee-router keys` writes.
    pub file: PathBuf,
    /// Between two looks at the file.
    pub reload: Duration,
    /// What a key may use that has no limits of its own.
    pub limits: KeyLimits,
    /// Requests without a good key that one address is told 401 for, in a minute.
    pub unauthorized_per_minute: u32,
    /// Whether `/metrics` counts by key: it then tells whoever reads it who asks how much.
    pub metrics: KeyMetrics,
}

/// What one key may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests in a minute; that many may come at once.
    pub requests_per_minute: u32,
    /// Requests in flight.
    pub streams_max: u32,
    /// Requests that enclaves could not open, in a minute (`docs/protocol.md` §5.9).
    pub failures_per_minute: u32,
}

/// What `/metrics` says of single keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMetrics {
    /// Nothing.
    Together,
    /// Three numbers for each key of the file.
    ById,
}

/// One enclave of the fleet: where it is, and what the operator calls it.
#[derive(Clone, Debug)]
pub struct Enclave {
    /// `http://host:port`, without a path.
    pub url: Uri,
    /// A name for logs; the address where none was given.
    pub name: String,
}

/// What one client, and all clients together, may use.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
pub struct Limits {
    /// Octets of one sealed request.
    pub body_bytes_max: u64,
    /// Requests in flight to enclaves, all together.
    pub streams_max: u32,
    /// Open connections of clients, all together.
    pub connections_max: u32,
}

/// How long the router waits, for whom.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a client's request head; an idle connection is closed after the same time.
    pub request_head: Duration,
    /// For a client's whole request body.
    pub upload: Duration,
    /// For a TCP connection to an enclave.
    pub connect: Duration,
    /// For an enclave's response head, once it has the request.
    pub response_head: Duration,
    /// For the next octet of a response, and for a client to take one.
    pub idle: Duration,
    /// For open streams to end after a signal to stop.
    pub drain: Duration,
    /// Between two looks at an enclave's readiness.
    pub poll: Duration,
}

impl Config {
    /// Reads the text of a configuration file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File =
            toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        Self::try_from(file)
    }

    /// The defaults, on a free port of loopback, for enclaves at `urls`.
    pub fn on_loopback(urls: &[&str]) -> Result<Self, ConfigError> {
        let enclaves =
            urls.iter().map(|url| EnclaveFile { url: (*url).to_owned(), name: None }).collect();
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self::try_from(File {
            listen,
            enclaves,
            limits: LimitsFile::default(),
            timeouts: TimeoutsFile::default(),
            keys: None,
        })
    }

    /// The same, with relative paths below `folder`: those in a file are relative to it.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> Self {
        if let Some(keys) = &mut self.keys {
            keys.file = folder.join(&keys.file);
        }
        self
    }
}

impl KeyLimits {
    /// The largest value of each.
    pub const MAX: u32 = 1_000_000;
}

/// Why a configuration was refused; each one says what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    Syntax(String),
    /// `listen` is not a loopback address.
    ListenNotLoopback(SocketAddr),
    /// No enclave is named.
    NoEnclaves,
    /// More enclaves than the router polls.
    TooManyEnclaves(usize),
    /// An enclave's address is not `http://` on loopback with a port and no path.
    EnclaveUrl(String),
    /// Two enclaves share an address.
    EnclaveTwice(String),
    /// `[keys]` names no file.
    NoKeysFile,
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
            Self::Syntax(why) => write!(f, "the configuration does not parse: {why}"),
            Self::ListenNotLoopback(found) => write!(
                f,
                "`listen = \"{found}\"` is not a loopback address; other addresses need TLS, which this release does not have yet"
            ),
            Self::NoEnclaves => write!(f, "no enclave is named; add `[[enclaves]]` with a `url`"),
            Self::TooManyEnclaves(found) => {
                write!(f, "{found} enclaves are named; at most {ENCLAVES_MAX} are polled")
            }
            Self::EnclaveUrl(found) => write!(
                f,
                "enclave url `{found}` is not `http://HOST:PORT` with a loopback HOST and no path; other hosts need TLS, which this release does not have yet"
            ),
            Self::EnclaveTwice(found) => write!(f, "enclave url `{found}` is named twice"),
            Self::NoKeysFile => {
                write!(
                    f,
                    "`keys.file` is empty; name the file that `veritee-router keys add` writes"
                )
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
    #[serde(default)]
    enclaves: Vec<EnclaveFile>,
    #[serde(default)]
    limits: LimitsFile,
    #[serde(default)]
    timeouts: TimeoutsFile,
    keys: Option<KeysSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysSection {
    file: PathBuf,
    #[serde(default = "reload_ms_default")]
    reload_ms: u64,
    #[serde(default)]
    limits: KeyLimitsFile,
    #[serde(default = "unauthorized_per_minute_default")]
    unauthorized_per_minute: u32,
    #[serde(default)]
    metrics_by_id: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyLimitsFile {
    requests_per_minute: u32,
    streams_max: u32,
    failures_per_minute: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnclaveFile {
    url: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
struct LimitsFile {
    body_bytes_max: u64,
    streams_max: u32,
    connections_max: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
struct TimeoutsFile {
    request_head_ms: u64,
    upload_ms: u64,
    connect_ms: u64,
    response_head_ms: u64,
    idle_ms: u64,
    drain_ms: u64,
    poll_ms: u64,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self { body_bytes_max: BODY_BYTES_DEFAULT, streams_max: 512, connections_max: 1024 }
    }
}

impl Default for TimeoutsFile {
    fn default() -> Self {
        Self {
            request_head_ms: 5_000,
            upload_ms: 30_000,
            connect_ms: 2_000,
            response_head_ms: 120_000,
            idle_ms: 120_000,
            drain_ms: 30_000,
            poll_ms: 1_000,
        }
    }
}

impl Default for KeyLimitsFile {
    fn default() -> Self {
        Self { requests_per_minute: 600, streams_max: 64, failures_per_minute: 30 }
    }
}

const fn reload_ms_default() -> u64 {
    1_000
}

const fn unauthorized_per_minute_default() -> u32 {
    60
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let File { listen, enclaves, limits, timeouts, keys } = file;
        if !listen.ip().is_loopback() {
            return Err(ConfigError::ListenNotLoopback(listen));
        }
        if enclaves.is_empty() {
            return Err(ConfigError::NoEnclaves);
        }
        if enclaves.len() > ENCLAVES_MAX {
            return Err(ConfigError::TooManyEnclaves(enclaves.len()));
        }
        let enclaves =
            enclaves.into_iter().map(Enclave::try_from).collect::<Result<Vec<_>, _>>()?;
        for (index, enclave) in enclaves.iter().enumerate() {
            if enclaves
                .iter()
                .take(index)
                .any(|earlier| earlier.url.authority() == enclave.url.authority())
            {
                return Err(ConfigError::EnclaveTwice(enclave.url.to_string()));
            }
        }
        Ok(Self {
            listen,
            enclaves,
            limits: limits.try_into()?,
            timeouts: timeouts.try_into()?,
            keys: keys.map(Keys::try_from).transpose()?,
        })
    }
}

impl TryFrom<KeysSection> for Keys {
    type Error = ConfigError;

    fn try_from(section: KeysSection) -> Result<Self, ConfigError> {
        let KeysSection { file, reload_ms, limits, unauthorized_per_minute, metrics_by_id } =
            section;
        let KeyLimitsFile { requests_per_minute, streams_max, failures_per_minute } = limits;
        let rate =
            |key, found: u32| within(key, found.into(), 1, KeyLimits::MAX.into()).map(|_| found);
        if file.as_os_str().is_empty() {
            return Err(ConfigError::NoKeysFile);
        }
        Ok(Self {
            file,
            reload: within("keys.reload_ms", reload_ms, 10, 60_000).map(Duration::from_millis)?,
            limits: KeyLimits {
                requests_per_minute: rate("keys.limits.requests_per_minute", requests_per_minute)?,
                streams_max: rate("keys.limits.streams_max", streams_max)?,
                failures_per_minute: rate("keys.limits.failures_per_minute", failures_per_minute)?,
            },
            unauthorized_per_minute: rate("keys.unauthorized_per_minute", unauthorized_per_minute)?,
            metrics: if metrics_by_id { KeyMetrics::ById } else { KeyMetrics::Together },
        })
    }
}

impl TryFrom<EnclaveFile> for Enclave {
    type Error = ConfigError;

    fn try_from(file: EnclaveFile) -> Result<Self, ConfigError> {
        let EnclaveFile { url, name } = file;
        let Ok(parsed) = url.parse::<Uri>() else { return Err(ConfigError::EnclaveUrl(url)) };
        let plain =
            parsed.scheme_str() == Some("http") && parsed.path() == "/" && parsed.query().is_none();
        let authority = parsed.authority().filter(|authority| !authority.as_str().contains('@'));
        match authority {
            Some(authority)
                if plain && parsed.port().is_some() && is_loopback(authority.host()) =>
            {
                let name = name.unwrap_or_else(|| authority.to_string());
                Ok(Self { url: parsed, name })
            }
            Some(_) | None => Err(ConfigError::EnclaveUrl(url)),
        }
    }
}

impl TryFrom<LimitsFile> for Limits {
    type Error = ConfigError;

    fn try_from(file: LimitsFile) -> Result<Self, ConfigError> {
        let LimitsFile { body_bytes_max, streams_max, connections_max } = file;
        within("limits.body_bytes_max", body_bytes_max, 2_048, BODY_BYTES_LIMIT)?;
        within("limits.streams_max", streams_max.into(), 1, 1 << 20)?;
        within("limits.connections_max", connections_max.into(), 1, 1 << 20)?;
        Ok(Self { body_bytes_max, streams_max, connections_max })
    }
}

impl TryFrom<TimeoutsFile> for Timeouts {
    type Error = ConfigError;

    fn try_from(file: TimeoutsFile) -> Result<Self, ConfigError> {
        let TimeoutsFile {
            request_head_ms,
            upload_ms,
            connect_ms,
            response_head_ms,
            idle_ms,
            drain_ms,
            poll_ms,
        } = file;
        let wait = |key, found| within(key, found, 1, 3_600_000).map(Duration::from_millis);
        Ok(Self {
            request_head: wait("timeouts.request_head_ms", request_head_ms)?,
            upload: wait("timeouts.upload_ms", upload_ms)?,
            connect: wait("timeouts.connect_ms", connect_ms)?,
            response_head: wait("timeouts.response_head_ms", response_head_ms)?,
            idle: wait("timeouts.idle_ms", idle_ms)?,
            drain: wait("timeouts.drain_ms", drain_ms)?,
            poll: within("timeouts.poll_ms", poll_ms, 10, 60_000).map(Duration::from_millis)?,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn within(key: &'static str, found: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&found) {
        Ok(found)
    } else {
        Err(ConfigError::OutOfRange { key, min, max, found })
    }
}

/// 2 MiB of plaintext (docs/protocol.md §5.4) and 64 KiB for the header, the encapsulation and the chunks' framing.
const BODY_BYTES_DEFAULT: u64 = (2 << 20) + (64 << 10);

/// Octets per direction, at most (docs/protocol.md §5.4).
const BODY_BYTES_LIMIT: u64 = 1 << 30;

/// Each enclave costs one task and one look a second.
const ENCLAVES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "listen = \"127.0.0.1:0\"\n[[enclaves]]\nurl = \"http://127.0.0.1:9000\"\n";

    #[test]
    fn a_minimal_file_takes_the_defaults() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.limits.body_bytes_max, 2_162_688);
        assert_eq!(config.timeouts.request_head, Duration::from_secs(5));
        assert_eq!(config.timeouts.upload, Duration::from_secs(30));
        assert_eq!(config.enclaves[0].name, "127.0.0.1:9000");
    }

    #[test]
    fn what_needs_tls_is_refused_and_the_message_says_so() {
        for text in [
            GOOD.replace("127.0.0.1:0\"", "0.0.0.0:0\""),
            GOOD.replace("127.0.0.1:0\"", "192.0.2.1:80\""),
            GOOD.replace("http://127.0.0.1:9000", "http://192.0.2.1:9000"),
            GOOD.replace("http://127.0.0.1:9000", "https://127.0.0.1:9000"),
        ] {
            let error = Config::parse(&text).unwrap_err();
            assert!(error.to_string().contains("TLS"), "{text}: {error}");
        }
    }

    #[test]
    fn each_bad_file_is_refused_for_its_reason() {
        let url = |url: &str| GOOD.replace("http://127.0.0.1:9000", url);
        for (text, expected) in [
            ("listen = \"127.0.0.1:0\"\n".to_owned(), ConfigError::NoEnclaves),
            (
                url("http://127.0.0.1:9000/path"),
                ConfigError::EnclaveUrl("http://127.0.0.1:9000/path".to_owned()),
            ),
            (
                url("http://u@127.0.0.1:9000"),
                ConfigError::EnclaveUrl("http://u@127.0.0.1:9000".to_owned()),
            ),
            (url("http://127.0.0.1"), ConfigError::EnclaveUrl("http://127.0.0.1".to_owned())),
            (url("nonsense"), ConfigError::EnclaveUrl("nonsense".to_owned())),
            (
                format!("{GOOD}[[enclaves]]\nurl = \"http://127.0.0.1:9000\"\n"),
                ConfigError::EnclaveTwice("http://127.0.0.1:9000/".to_owned()),
            ),
            (
                format!("{GOOD}[limits]\nstreams_max = 0\n"),
                ConfigError::OutOfRange {
                    key: "limits.streams_max",
                    min: 1,
                    max: 1 << 20,
                    found: 0,
                },
            ),
            (
                format!("{GOOD}[timeouts]\npoll_ms = 1\n"),
                ConfigError::OutOfRange { key: "timeouts.poll_ms", min: 10, max: 60_000, found: 1 },
            ),
            (format!("{GOOD}[keys]\nfile = \"\"\n"), ConfigError::NoKeysFile),
            (
                format!("{GOOD}[keys]\nfile = \"k\"\nreload_ms = 1\n"),
                ConfigError::OutOfRange { key: "keys.reload_ms", min: 10, max: 60_000, found: 1 },
            ),
        ] {
            assert_eq!(Config::parse(&text).unwrap_err(), expected, "{text}");
        }
        for text in [
            format!("{GOOD}surprise = 1\n"),
            format!("{GOOD}[limits]\nbodybytes = 1\n"),
            format!("{GOOD}[keys]\nfile = \"k\"\nflie = \"k\"\n"),
            format!("{GOOD}[keys]\nfile = \"k\"\n[keys.limits]\nstreams = 1\n"),
        ] {
            assert!(
                matches!(Config::parse(&text), Err(ConfigError::Syntax(why)) if why.contains("unknown field"))
            );
        }
    }

    #[test]
    fn keys_take_the_defaults_and_a_path_relative_to_the_file() {
        assert!(Config::parse(GOOD).unwrap().keys.is_none());
        let text = format!("{GOOD}[keys]\nfile = \"keys.toml\"\n");
        let keys = Config::parse(&text).unwrap().below(Path::new("/etc/veritee")).keys.unwrap();
        assert_eq!(keys.file, Path::new("/etc/veritee/keys.toml"));
        assert_eq!(keys.reload, Duration::from_secs(1));
        let limits =
            KeyLimits { requests_per_minute: 600, streams_max: 64, failures_per_minute: 30 };
        assert_eq!((keys.limits, keys.unauthorized_per_minute), (limits, 60));
        assert_eq!(keys.metrics, KeyMetrics::Together);
        let text = text.replace("keys.toml", "/run/keys.toml");
        let keys = Config::parse(&text).unwrap().below(Path::new("/etc/veritee")).keys.unwrap();
        assert_eq!(keys.file, Path::new("/run/keys.toml"));
    }

    #[test]
    fn each_limit_of_keys_has_its_range() {
        for key in [
            "limits.requests_per_minute",
            "limits.streams_max",
            "limits.failures_per_minute",
            "unauthorized_per_minute",
        ] {
            for found in [0, 1_000_001] {
                let text = format!("{GOOD}[keys]\nfile = \"k\"\n{key} = {found}\n");
                let named = format!("`keys.{key} = {found}` is outside 1..=1000000");
                assert_eq!(Config::parse(&text).unwrap_err().to_string(), named);
            }
        }
    }
}
