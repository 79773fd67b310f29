//! Configuration: what the file says ([`File`]) and what it means ([`Config`]).

mod enclaves;
mod keys;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tls::{IdentityFiles, PinError};

use self::{enclaves::EnclaveFile, keys::KeysSection};
pub use self::{
    enclaves::{Enclave, PinSource, Reach},
    keys::{KeyLimits, KeyMetrics, Keys},
};

/// What the router does, after the file has been read and understood.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect; on loopback unless there is `tls`.
    pub listen: SocketAddr,
    /// The fleet, in the order of the file.
    pub enclaves: Vec<Enclave>,
    /// What one client, and all clients together, may use.
    pub limits: Limits,
    /// How long the router waits, for whom.
    pub timeouts: Timeouts,
    /// Who may send requests to enclaves; everybody where there is none.
    pub keys: Option<Keys>,
    /// What the router shows to clients; without it they speak plain HTTP.
    pub tls: Option<Certificate>,
    /// What the router shows to enclaves.
    pub identity: Option<Certificate>,
    /// Who may read `/metrics`.
    pub metrics: Readers,
}

/// Who may read `/metrics`: sizes and times of other people's requests are in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Those who come from loopback.
    Loopback,
    /// Everybody who can connect.
    Everybody,
}

/// A certificate and its key, in files that are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where they are.
    pub files: IdentityFiles,
    /// Between two looks at them.
    pub reload: Duration,
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
    /// Open connections of one address (IPv6: of one /64).
    pub connections_per_address_max: u32,
    /// TLS handshakes of clients at the same time; one more, and the oldest of the network that has the most is cut off.
    pub handshakes_max: u32,
}

/// How long the router waits, for whom.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a client's TLS handshake, and for its request head; an idle connection is closed after the same time.
    pub request_head: Duration,
    /// For a client's whole request body.
    pub upload: Duration,
    /// For a TCP connection to an enclave, and for its TLS handshake.
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
        let enclaves = urls.iter().map(|url| EnclaveFile::at(url)).collect();
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self::try_from(File {
            listen,
            enclaves,
            limits: LimitsFile::default(),
            timeouts: TimeoutsFile::default(),
            keys: None,
            tls: None,
            identity: None,
            metrics_public: false,
        })
    }

    /// The same, with relative paths below `folder`: those in a file are relative to it.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> Self {
        let below = |path: &mut PathBuf| *path = folder.join(&*path);
        if let Some(keys) = &mut self.keys {
            below(&mut keys.file);
        }
        for Certificate { files, .. } in [&mut self.tls, &mut self.identity].into_iter().flatten() {
            below(&mut files.certificate);
            below(&mut files.key);
        }
        for enclave in &mut self.enclaves {
            if let Reach::Tls(PinSource { file: Some(file), .. }) = &mut enclave.reach {
                below(file);
            }
        }
        self
    }
}

/// Why a configuration was refused; each one says what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    Syntax(String),
    /// `listen` is not a loopback address, and there is no `[tls]`.
    ListenNotLoopback(SocketAddr),
    /// No enclave is named.
    NoEnclaves,
    /// More enclaves than the router polls.
    TooManyEnclaves(usize),
    /// An enclave's address is not `http://` on loopback, or `https://`, with a port and no path.
    EnclaveUrl(String),
    /// An `https://` enclave of which neither a key nor a file of keys is named.
    EnclaveUnpinned(String),
    /// An `http://` enclave with a pin, which nothing would compare.
    EnclavePinnedPlain(String),
    /// Pins of an enclave that are none.
    EnclavePin {
        /// Where the enclave is.
        url: String,
        /// What is wrong with them.
        why: PinError,
    },
    /// An `https://` enclave, and nothing that the router could show it.
    NoIdentity(String),
    /// A file that has no name.
    NoFile(&'static str),
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
                "`listen = \"{found}\"` is not a loopback address; other addresses need TLS: add `[tls]` with a `certificate` and a `key`"
            ),
            Self::NoEnclaves => write!(f, "no enclave is named; add `[[enclaves]]` with a `url`"),
            Self::TooManyEnclaves(found) => {
                write!(f, "{found} enclaves are named; at most {ENCLAVES_MAX} are polled")
            }
            Self::EnclaveUrl(found) => write!(
                f,
                "enclave url `{found}` is neither `https://HOST:PORT` nor `http://HOST:PORT` with a loopback HOST, without a path; other hosts need TLS"
            ),
            Self::EnclaveUnpinned(found) => write!(
                f,
                "enclave `{found}` is to be reached by TLS, but nothing says how to recognise it: add `spki = [\"sha256:…\"]` or `spki_file`"
            ),
            Self::EnclavePinnedPlain(found) => write!(
                f,
                "enclave `{found}` has a pinned key, which plain HTTP does not compare: write `https://`"
            ),
            Self::EnclavePin { url, why } => {
                write!(f, "enclave `{url}`: {why}; the enclave's `ready` line has it")
            }
            Self::NoIdentity(found) => write!(
                f,
                "enclave `{found}` is to be reached by TLS and asks who comes: add `[identity]`; `veritee-router identity new` makes one"
            ),
            Self::NoFile(key) => write!(f, "`{key}` is empty; name a file"),
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
    tls: Option<CertificateSection>,
    identity: Option<CertificateSection>,
    #[serde(default)]
    metrics_public: bool,
}

/// `[tls]` and `[identity]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateSection {
    certificate: PathBuf,
    key: PathBuf,
    #[serde(default = "reload_ms_default")]
    reload_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "units and bounds stand last in every name")]
struct LimitsFile {
    body_bytes_max: u64,
    streams_max: u32,
    connections_max: u32,
    /// Unless it is given: on loopback everybody may come from one address, elsewhere it is an eighth.
    connections_per_address_max: Option<u32>,
    handshakes_max: u32,
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
        Self {
            body_bytes_max: BODY_BYTES_DEFAULT,
            streams_max: 2_048,
            connections_max: 4_096,
            connections_per_address_max: None,
            handshakes_max: 256,
        }
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

/// Of everything that is read again when it changes.
const fn reload_ms_default() -> u64 {
    1_000
}

impl TryFrom<File> for Config {
    type Error = ConfigError;

    fn try_from(file: File) -> Result<Self, ConfigError> {
        let File { listen, enclaves, limits, timeouts, keys, tls, identity, metrics_public } = file;
        if !listen.ip().is_loopback() && tls.is_none() {
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
            if identity.is_none() && matches!(enclave.reach, Reach::Tls(_)) {
                return Err(ConfigError::NoIdentity(enclave.url.to_string()));
            }
        }
        Ok(Self {
            listen,
            enclaves,
            limits: limits.understood(listen.ip())?,
            timeouts: timeouts.try_into()?,
            keys: keys.map(Keys::try_from).transpose()?,
            tls: tls.map(|section| section.understood(TLS_KEYS)).transpose()?,
            identity: identity.map(|section| section.understood(IDENTITY_KEYS)).transpose()?,
            metrics: if metrics_public { Readers::Everybody } else { Readers::Loopback },
        })
    }
}

impl CertificateSection {
    fn understood(self, keys: [&'static str; 3]) -> Result<Certificate, ConfigError> {
        let Self { certificate, key, reload_ms } = self;
        let [certificate_key, key_key, reload_key] = keys;
        for (key, path) in [(certificate_key, &certificate), (key_key, &key)] {
            if path.as_os_str().is_empty() {
                return Err(ConfigError::NoFile(key));
            }
        }
        let reload = within(reload_key, reload_ms, 10, 60_000).map(Duration::from_millis)?;
        Ok(Certificate { files: IdentityFiles { certificate, key }, reload })
    }
}

impl LimitsFile {
    fn understood(self, listen: IpAddr) -> Result<Limits, ConfigError> {
        let Self {
            body_bytes_max,
            streams_max,
            connections_max,
            connections_per_address_max,
            handshakes_max,
        } = self;
        let per_address = if listen.is_loopback() { 1 } else { 8 };
        let connections_per_address_max =
            connections_per_address_max.unwrap_or_else(|| connections_max.div_ceil(per_address));
        within("limits.body_bytes_max", body_bytes_max, 2_048, BODY_BYTES_LIMIT)?;
        within("limits.streams_max", streams_max.into(), 1, 1 << 20)?;
        within("limits.connections_max", connections_max.into(), 1, 1 << 20)?;
        let per_address = connections_per_address_max.into();
        within("limits.connections_per_address_max", per_address, 1, 1 << 20)?;
        within("limits.handshakes_max", handshakes_max.into(), 1, 1 << 16)?;
        Ok(Limits {
            body_bytes_max,
            streams_max,
            connections_max,
            connections_per_address_max,
            handshakes_max,
        })
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

fn within(key: &'static str, found: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&found) {
        Ok(found)
    } else {
        Err(ConfigError::OutOfRange { key, min, max, found })
    }
}

/// What messages call the keys of `[tls]` and `[identity]`.
const TLS_KEYS: [&str; 3] = ["tls.certificate", "tls.key", "tls.reload_ms"];
const IDENTITY_KEYS: [&str; 3] = ["identity.certificate", "identity.key", "identity.reload_ms"];

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
            GOOD.replace("http://127.0.0.1:9000", "http://enclave.example:9000"),
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

    const PIN: &str = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    const IDENTITY: &str = "[identity]\ncertificate = \"r.pem\"\nkey = \"/run/r.key\"\n";

    fn by_tls(more: &str) -> String {
        let url = GOOD.replace("http://127.0.0.1:9000", "https://enclave.example:9000");
        format!("{url}{more}")
    }

    #[test]
    fn beyond_loopback_there_are_pins_an_identity_and_paths_relative_to_the_file() {
        let listening =
            by_tls(&format!("spki = [\"{PIN}\"]\nspki_file = \"one.pins\"\n{IDENTITY}"))
                .replace("127.0.0.1:0", "0.0.0.0:443");
        let text =
            format!("{listening}[tls]\ncertificate = \"c.pem\"\nkey = \"c.key\"\nreload_ms = 10\n");
        let config = Config::parse(&text).unwrap().below(Path::new("/etc/veritee"));
        let files = |certificate: &str, key: &str| IdentityFiles {
            certificate: certificate.into(),
            key: key.into(),
        };
        let shown = files("/etc/veritee/c.pem", "/etc/veritee/c.key");
        let reload = Duration::from_millis(10);
        assert_eq!(config.tls, Some(Certificate { files: shown, reload }));
        let shown = files("/etc/veritee/r.pem", "/run/r.key");
        let reload = Duration::from_secs(1);
        assert_eq!(config.identity, Some(Certificate { files: shown, reload }));
        let Reach::Tls(source) = &config.enclaves[0].reach else { panic!("plain") };
        assert_eq!(source.pins, [PIN.parse().unwrap()]);
        assert_eq!(source.file.as_deref(), Some(Path::new("/etc/veritee/one.pins")));
    }

    #[test]
    fn beyond_loopback_one_address_has_an_eighth_of_the_connections() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.limits.connections_per_address_max, config.limits.connections_max);
        let tls = "[tls]\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
        let open = format!("{}{tls}", GOOD.replace("127.0.0.1:0", "0.0.0.0:443"));
        let config = Config::parse(&open).unwrap();
        assert_eq!(config.limits.connections_per_address_max, 512);
        assert_eq!(config.metrics, Readers::Loopback);
        let config = Config::parse(&format!(
            "metrics_public = true\n{open}[limits]\nconnections_per_address_max = 7\n"
        ));
        let config = config.unwrap();
        assert_eq!(config.limits.connections_per_address_max, 7);
        assert_eq!(config.metrics, Readers::Everybody);
    }

    #[test]
    fn each_slip_about_tls_is_refused_for_its_reason() {
        let pinned = by_tls(&format!("spki = [\"{PIN}\"]\n{IDENTITY}"));
        assert!(Config::parse(&pinned).is_ok());
        let url = || "https://enclave.example:9000".to_owned();
        let pin = |why| ConfigError::EnclavePin { url: url(), why };
        for (text, expected) in [
            (pinned.replace(IDENTITY, ""), ConfigError::NoIdentity(format!("{}/", url()))),
            (by_tls(IDENTITY), ConfigError::EnclaveUnpinned(url())),
            (by_tls(&format!("spki = []\n{IDENTITY}")), ConfigError::EnclaveUnpinned(url())),
            (pinned.replace("sha256:", "sha1:"), pin(PinError::Syntax)),
            (
                pinned.replace(&format!("\"{PIN}\""), &format!("\"{PIN}\", \"{PIN}\"")),
                pin(PinError::Twice),
            ),
            (
                pinned.replace("https", "http").replace("enclave.example", "127.0.0.1"),
                ConfigError::EnclavePinnedPlain("http://127.0.0.1:9000".to_owned()),
            ),
            (pinned.replace("r.pem", ""), ConfigError::NoFile("identity.certificate")),
            (pinned.replace("/run/r.key", ""), ConfigError::NoFile("identity.key")),
            (
                format!("{pinned}reload_ms = 1\n"),
                ConfigError::OutOfRange {
                    key: "identity.reload_ms",
                    min: 10,
                    max: 60_000,
                    found: 1,
                },
            ),
        ] {
            assert_eq!(Config::parse(&text).unwrap_err(), expected, "{text}");
        }
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
