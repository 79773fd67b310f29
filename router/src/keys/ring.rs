//! The keys that count now: read when the router starts, and again whenever their file changes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use attestation::Sha256;
use http::{HeaderMap, header};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{KeyId, KeysError, KeysFile, file, read_token};
use crate::{
    config::{KeyLimits, KeyMetrics, Keys},
    limits::{Addresses, Meter, Place},
    problem::Problem,
};

/// Decides who may send requests to enclaves.
#[derive(Debug)]
pub(crate) struct Keyring {
    config: Keys,
    table: RwLock<HashMap<KeyId, Live>>,
    /// Of the text that was last looked at, whether or not it was any good.
    seen: Mutex<Option<Sha256>>,
    addresses: Addresses,
    reloads: AtomicU64,
    refused_reloads: AtomicU64,
}

/// A key that counts.
#[derive(Clone, Debug)]
struct Live {
    digest: Sha256,
    limits: KeyLimits,
    meter: Arc<Meter>,
}

/// What the metrics say of the keys.
#[derive(Debug, Default)]
pub(crate) struct KeyCounts {
    pub(crate) live: usize,
    pub(crate) reloads: u64,
    pub(crate) refused_reloads: u64,
    /// By key: requests in flight, let in, and limited. Empty unless the configuration asks for it.
    pub(crate) by_id: Vec<(KeyId, (u32, u64, u64))>,
}

impl Keyring {
    /// Reads the file for the first time; without it nobody could come in, so its faults are errors.
    pub(crate) fn open(config: &Keys) -> Result<Self, KeysError> {
        let text = file::read(&config.file)?;
        let keys = KeysFile::parse(&text)?;
        let ring = Self {
            config: config.clone(),
            table: RwLock::default(),
            seen: Mutex::new(Some(Sha256::of(text.as_bytes()))),
            addresses: Addresses::default(),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
        };
        ring.replace(&keys);
        Ok(ring)
    }

    /// Lets a request in by its key, or says why not.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<Place, Problem> {
        let Some(Live { limits, meter, .. }) = self.find(headers) else {
            let per_minute = self.config.unauthorized_per_minute;
            return match self.addresses.failed(address, per_minute, now) {
                Ok(()) => Err(Problem::Unauthorized),
                Err(limited) => Err(Problem::Limited(limited)),
            };
        };
        meter.enter(&limits, now).map_err(Problem::Limited)
    }

    /// Looks at the file again and again. Open streams go on, also those of a key that counts no more.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            sleep(self.config.reload).await;
            let ring = Arc::clone(&self);
            // The error says that it panicked, which the next look will not remember.
            drop(spawn_blocking(move || ring.look()).await);
        }
    }

    pub(crate) fn counts(&self) -> KeyCounts {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut by_id: Vec<_> = match self.config.metrics {
            KeyMetrics::Together => Vec::new(),
            KeyMetrics::ById => table.iter().map(|(id, live)| (*id, live.meter.counts())).collect(),
        };
        by_id.sort_unstable();
        KeyCounts {
            live: table.len(),
            reloads: self.reloads.load(Relaxed),
            refused_reloads: self.refused_reloads.load(Relaxed),
            by_id,
        }
    }

    /// The key that the one `Authorization` header holds, if it counts.
    fn find(&self, headers: &HeaderMap) -> Option<Live> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?.as_bytes(), values.next()) else { return None };
        let (scheme, token) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let (id, digest) = read_token(token)?;
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        // The id is no secret, so it may be looked up; the digest is compared in constant time.
        table.get(&id).filter(|live| live.digest.ct_eq(&digest)).cloned()
    }

    /// Reads the file and, where it has changed and is good, takes it. Otherwise what was taken before goes on counting: a slip
    /// in the file should not shut everybody out, and the log and the metrics say so.
    fn look(&self) {
        let text = file::read(&self.config.file);
        let found = text.as_ref().ok().map(|text| Sha256::of(text.as_bytes()));
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == found {
                return;
            }
            *seen = found;
        }
        match text.and_then(|text| KeysFile::parse(&text)) {
            Ok(keys) => {
                let live = self.replace(&keys);
                self.reloads.fetch_add(1, Relaxed);
                tracing::info!(live, "keys reloaded");
            }
            Err(error) => {
                self.refused_reloads.fetch_add(1, Relaxed);
                tracing::error!(error = %error, "keys not reloaded, the old ones still count");
            }
        }
    }

    fn replace(&self, file: &KeysFile) -> usize {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let live = |key: &super::Key| {
            let meter = table.get(&key.id).map_or_else(Arc::default, |old| Arc::clone(&old.meter));
            let limits = key.limits.over(&self.config.limits);
            (key.id, Live { digest: key.digest, limits, meter })
        };
        let next = file.keys().iter().filter(|key| key.revoked.is_none()).map(live).collect();
        *table = next;
        table.len()
    }
}

/// Of `Authorization` (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
const SCHEME: &[u8] = b"Bearer ";
