//! `[[enclaves]]`: where they are, and how they are recognised there.

use std::{net::IpAddr, path::PathBuf};

use http::Uri;
use serde::Deserialize;
use tls::{PinError, Pins, SpkiPin};

use super::ConfigError;

/// One enclave of the fleet: where it is, how it is recognised, and what the operator calls it.
#[derive(Clone, Debug)]
pub struct Enclave {
    /// `http://host:port` or `https://host:port`, without a path.
    pub url: Uri,
    /// A name for logs; the address where none was given.
    pub name: String,
    /// What is between the router and the enclave.
    pub reach: Reach,
}

/// What is between the router and an enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The loopback interface.
    Plain,
    /// A network: TLS, to one of these keys.
    Tls(PinSource),
}

/// Where the keys of one enclave are learnt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSource {
    /// Those of the configuration.
    pub pins: Vec<SpkiPin>,
    /// A file with more of them, one a line.
    pub file: Option<PathBuf>,
}

impl PinSource {
    /// The pins of the configuration and `more`.
    pub(crate) fn with(&self, more: &[SpkiPin]) -> Result<Pins, PinError> {
        let more = more.iter().filter(|pin| !self.pins.contains(pin));
        Pins::new(self.pins.iter().chain(more).copied())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnclaveFile {
    url: String,
    name: Option<String>,
    #[serde(default)]
    spki: Vec<String>,
    spki_file: Option<PathBuf>,
}

impl EnclaveFile {
    /// One of which no more is said than where it is.
    pub(super) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), name: None, spki: Vec::new(), spki_file: None }
    }
}

impl TryFrom<EnclaveFile> for Enclave {
    type Error = ConfigError;

    fn try_from(file: EnclaveFile) -> Result<Self, ConfigError> {
        let EnclaveFile { url, name, spki, spki_file } = file;
        let Ok(parsed) = url.parse::<Uri>() else { return Err(ConfigError::EnclaveUrl(url)) };
        let bare = parsed.path() == "/" && parsed.query().is_none() && parsed.port().is_some();
        let authority = parsed.authority().filter(|authority| !authority.as_str().contains('@'));
        let Some(authority) = authority.filter(|_| bare) else {
            return Err(ConfigError::EnclaveUrl(url));
        };
        let known = !spki.is_empty() || spki_file.is_some();
        let reach = match parsed.scheme_str() {
            Some("http") if !is_loopback(authority.host()) => {
                return Err(ConfigError::EnclaveUrl(url));
            }
            Some("http") if known => return Err(ConfigError::EnclavePinnedPlain(url)),
            Some("http") => Reach::Plain,
            Some("https") if known => match pins(&spki) {
                Ok(pins) => Reach::Tls(PinSource { pins, file: spki_file }),
                Err(why) => return Err(ConfigError::EnclavePin { url, why }),
            },
            Some("https") => return Err(ConfigError::EnclaveUnpinned(url)),
            Some(_) | None => return Err(ConfigError::EnclaveUrl(url)),
        };
        let name = name.unwrap_or_else(|| authority.to_string());
        Ok(Self { url: parsed, name, reach })
    }
}

/// None is fine here: then the file has them.
fn pins(spki: &[String]) -> Result<Vec<SpkiPin>, PinError> {
    let pins = spki.iter().map(|pin| pin.parse()).collect::<Result<Vec<SpkiPin>, _>>()?;
    if !pins.is_empty() {
        Pins::new(pins.iter().copied())?;
    }
    Ok(pins)
}

fn is_loopback(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
