//! `[keys]`: who may send requests to enclaves.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{ConfigError, reload_ms_default, within};

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

impl KeyLimits {
    /// The largest value of each.
    pub const MAX: u32 = 1_000_000;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysSection {
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

const fn unauthorized_per_minute_default() -> u32 {
    60
}

impl Default for KeyLimitsFile {
    fn default() -> Self {
        Self { requests_per_minute: 600, streams_max: 64, failures_per_minute: 30 }
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
