//! Services that asked to be left alone for a while, remembered for all processes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use attestation::{Sha256, UnixTime};
use http::Uri;

use crate::http::HOLD_MAX;
use crate::store::{Store, read_plain};

/// Until when which service is not asked.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<HashMap<String, UnixTime>>);

impl Holds {
    /// Until when the service behind `url` is not to be asked, where that is in the future.
    pub(crate) fn until(&self, store: &Store, url: &str, now: UnixTime) -> Option<UnixTime> {
        let origin = origin(url);
        let known = {
            let holds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            holds.get(&origin).copied()
        };
        let told = read_plain(&path(store, &origin), LEN_MAX).ok();
        let told =
            told.and_then(|text| str::from_utf8(&text).ok()?.trim().parse::<UnixTime>().ok());
        // Whatever a file says: nothing is held for longer than a service may ask.
        known.max(told).map(|until| until.min(now.saturating_add(HOLD_MAX))).filter(|u| *u > now)
    }

    /// Takes note; where it cannot be written down, this process alone knows.
    pub(crate) fn note(&self, store: &Store, url: &str, until: UnixTime) {
        let origin = origin(url);
        drop(store.put(&path(store, &origin), until.to_string().as_bytes()));
        let mut holds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holds.insert(origin, until);
    }
}

/// Scheme, host and port: limits are of a service, not of a document.
fn origin(url: &str) -> String {
    let parsed = url.parse::<Uri>().ok();
    let of = |uri: &Uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?));
    parsed.as_ref().and_then(of).unwrap_or_else(|| url.to_owned())
}

fn path(store: &Store, origin: &str) -> PathBuf {
    store.folder().join(format!("{}.hold", Sha256::of(origin.as_bytes())))
}

/// Octets of a note that are read: a moment has fewer.
const LEN_MAX: u64 = 64;
