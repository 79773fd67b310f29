//! Where to ask, and how much: what is written, and what it means.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::intel::Update;

/// A vendor whose services are asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// AMD: Key Distribution Service.
    Amd,
    /// Intel: Provisioning Certification Service.
    Intel,
    /// NVIDIA: OCSP and RIM services.
    Nvidia,
}

/// Where to ask, and how much.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) amd: Vec<String>,
    pub(crate) intel: Vec<String>,
    pub(crate) intel_root_crl: Vec<String>,
    pub(crate) nvidia_ocsp: Vec<String>,
    pub(crate) nvidia_rim: Vec<String>,
    pub(crate) update: Update,
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) wait_max: Duration,
    pub(crate) at_once: usize,
    pub(crate) age_max: Duration,
    pub(crate) len_max: u64,
    pub(crate) roots: RootCertStore,
}

impl Config {
    /// The vendors' own services.
    pub fn vendors() -> Self {
        ConfigFile::default()
            .meaning(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, has an unknown key, or a value that cannot be meant.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| refused(path, error))?;
        Self::from_toml(&text, path)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| refused(path, error))?;
        file.check().map_err(|why| refused(path, why))?;
        let roots = match &file.http.authorities {
            Some(name) => authorities(&path.parent().unwrap_or(Path::new("")).join(name))?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        Ok(file.meaning(roots))
    }

    /// Which of Intel's series is asked for.
    pub const fn update(&self) -> Update {
        self.update
    }

    /// The same, with another of Intel's series.
    #[must_use]
    pub fn with_update(self, update: Update) -> Self {
        Self { update, ..self }
    }

    /// Whether documents of this vendor's kind are asked for elsewhere than at the vendor's.
    pub fn is_mirrored(&self, vendor: Vendor) -> bool {
        let default = ConfigFile::default();
        match vendor {
            Vendor::Amd => self.amd != default.amd.urls,
            Vendor::Intel => {
                self.intel != default.intel.urls
                    || self.intel_root_crl != default.intel.root_crl_urls
            }
            Vendor::Nvidia => {
                self.nvidia_ocsp != default.nvidia.ocsp_urls
                    || self.nvidia_rim != default.nvidia.rim_urls
            }
        }
    }
}

/// A configuration that is refused.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for ConfigError {}

fn refused(path: &Path, why: impl fmt::Display) -> ConfigError {
    ConfigError { path: path.to_owned(), why: why.to_string() }
}

fn authorities(path: &Path) -> Result<RootCertStore, ConfigError> {
    let pem = fs::read(path).map_err(|error| refused(path, error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refused(path, error))?;
        roots.add(certificate).map_err(|error| refused(path, error))?;
    }
    if roots.is_empty() {
        return Err(refused(path, "holds no certificate in PEM"));
    }
    Ok(roots)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    amd: AmdSection,
    intel: IntelSection,
    nvidia: NvidiaSection,
    http: HttpSection,
    cache: CacheSection,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AmdSection {
    urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IntelSection {
    urls: Vec<String>,
    root_crl_urls: Vec<String>,
    update: Update,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NvidiaSection {
    ocsp_urls: Vec<String>,
    rim_urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    connect_ms: u64,
    answer_ms: u64,
    attempts: u32,
    backoff_ms: u64,
    backoff_ms_max: u64,
    wait_ms_max: u64,
    at_once: usize,
    authorities: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CacheSection {
    len_max: u64,
    age_s_max: u64,
}

impl Default for AmdSection {
    fn default() -> Self {
        Self { urls: vec!["https://kdsintf.amd.com".to_owned()] }
    }
}

impl Default for IntelSection {
    fn default() -> Self {
        let root = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
        Self {
            urls: vec!["https://api.trustedservices.intel.com".to_owned()],
            root_crl_urls: vec![root.to_owned()],
            update: Update::Standard,
        }
    }
}

impl Default for NvidiaSection {
    fn default() -> Self {
        Self {
            ocsp_urls: vec!["https://ocsp.ndis.nvidia.com/".to_owned()],
            rim_urls: vec!["https://rim.attestation.nvidia.com".to_owned()],
        }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            answer_ms: 30_000,
            attempts: 4,
            backoff_ms: 500,
            backoff_ms_max: 10_000,
            wait_ms_max: 30_000,
            at_once: 4,
            authorities: None,
        }
    }
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { len_max: 64 << 20, age_s_max: 24 * 60 * 60 }
    }
}

impl ConfigFile {
    /// Says what cannot be meant.
    fn check(&self) -> Result<(), String> {
        let Self { amd, intel, nvidia, http, cache } = self;
        let lists = [
            ("amd.urls", &amd.urls),
            ("intel.urls", &intel.urls),
            ("intel.root_crl_urls", &intel.root_crl_urls),
            ("nvidia.ocsp_urls", &nvidia.ocsp_urls),
            ("nvidia.rim_urls", &nvidia.rim_urls),
        ];
        for (key, urls) in lists {
            if urls.is_empty() {
                return Err(format!("{key} is empty: name where to ask"));
            }
            for url in urls {
                check_url(url).map_err(|why| format!("{key}: {url} {why}"))?;
            }
        }
        let numbers = [
            ("http.connect_ms", http.connect_ms),
            ("http.answer_ms", http.answer_ms),
            ("http.attempts", u64::from(http.attempts)),
            ("http.backoff_ms", http.backoff_ms),
            ("http.at_once", u64::try_from(http.at_once).unwrap_or(u64::MAX)),
            ("cache.len_max", cache.len_max),
            ("cache.age_s_max", cache.age_s_max),
        ];
        match numbers.iter().find(|(_, number)| *number == 0) {
            Some((key, _)) => Err(format!("{key} is 0")),
            None => Ok(()),
        }
    }

    fn meaning(self, roots: RootCertStore) -> Config {
        let Self { amd, intel, nvidia, http, cache } = self;
        Config {
            amd: amd.urls,
            intel: intel.urls,
            intel_root_crl: intel.root_crl_urls,
            nvidia_ocsp: nvidia.ocsp_urls,
            nvidia_rim: nvidia.rim_urls,
            update: intel.update,
            connect: Duration::from_millis(http.connect_ms),
            answer: Duration::from_millis(http.answer_ms),
            attempts: http.attempts.min(ATTEMPTS_MAX),
            backoff: Backoff {
                first: Duration::from_millis(http.backoff_ms),
                max: Duration::from_millis(http.backoff_ms_max),
            },
            wait_max: Duration::from_millis(http.wait_ms_max),
            at_once: http.at_once.min(AT_ONCE_MAX),
            age_max: Duration::from_secs(cache.age_s_max),
            len_max: cache.len_max,
            roots,
        }
    }
}

/// Which chips somebody runs on is nobody else's to read: plain HTTP stays on this machine.
fn check_url(url: &str) -> Result<(), &'static str> {
    let parsed: Uri = url.parse().map_err(|_| "is no URL")?;
    let host = parsed.host().ok_or("has no host")?;
    if parsed.query().is_some() || url.contains(['#', '@']) {
        return Err("has a query, a fragment or a user");
    }
    let is_near = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match parsed.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_near => Ok(()),
        Some("http") => Err("is plain HTTP to another machine"),
        _ => Err("is neither https nor http"),
    }
}

/// More attempts than this would not be polite.
const ATTEMPTS_MAX: u32 = 10;

/// More requests at once than this would not be polite.
const AT_ONCE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::from_toml(text, Path::new("endorsements.toml"))
    }

    #[test]
    fn nothing_written_means_the_vendors_themselves() {
        let config = read("").unwrap();
        for vendor in [Vendor::Amd, Vendor::Intel, Vendor::Nvidia] {
            assert!(!config.is_mirrored(vendor));
        }
        assert_eq!(config.amd, ["https://kdsintf.amd.com"]);
        assert_eq!(config.update(), Update::Standard);
        let config =
            read("[amd]\nurls = [\"https://mirror.example/kds\"]\n[intel]\nupdate = \"early\"")
                .unwrap();
        assert!(config.is_mirrored(Vendor::Amd) && !config.is_mirrored(Vendor::Intel));
        assert_eq!(config.update(), Update::Early);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "surprise = 1",
            "[amd]\nurl = \"https://kdsintf.amd.com\"",
            "[amd]\nurls = []",
            "[amd]\nurls = [\"http://kdsintf.amd.com\"]",
            "[amd]\nurls = [\"ftp://kdsintf.amd.com\"]",
            "[amd]\nurls = [\"https://user@mirror.example\"]",
            "[amd]\nurls = [\"https://mirror.example?x=1\"]",
            "[amd]\nurls = [\"mirror.example/a\"]",
            "[intel]\nupdate = \"never\"",
            "[http]\nanswer_ms = 0",
            "[http]\nauthorities = \"does-not-exist.pem\"",
            "[cache]\nlen_max = 0",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:1", "http://[::1]:1/x", "http://localhost", "https://h/a/b/"]
        {
            read(&format!("[amd]\nurls = [\"{good}\"]")).unwrap();
        }
    }
}
