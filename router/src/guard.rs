//! How one enclave beyond TLS is recognised: by the keys that are pinned for it, now.
//!
//! An enclave makes its key when it boots (docs/protocol.md §5.1), so pins come and go: those of the configuration are
//! joined by those of a file that is read again before every look at the enclave. Whatever goes wrong, there is no
//! connection then: nothing falls back to plain HTTP or to an unknown key.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use attestation::Sha256;
use tls::{Connector, CurrentIdentity, PinError, Pins, Servers, SpkiPin, Stream, TlsError};
use tokio::{net::TcpStream, task::spawn_blocking};

use crate::{
    config::PinSource,
    owned::{self, Unread},
};

/// Makes TLS connections to one enclave, and remembers what went wrong with them.
pub(crate) struct Guard {
    enclave: String,
    source: PinSource,
    identity: Option<Arc<CurrentIdentity>>,
    handshake_max: Duration,
    state: Mutex<State>,
    reloads: AtomicU64,
    refused_reloads: AtomicU64,
}

#[derive(Default)]
struct State {
    /// None until somebody is pinned.
    connector: Option<Connector>,
    /// Of what was last found in the file of pins, whether or not it was any good.
    seen: Option<Sha256>,
    failures: BTreeMap<&'static str, u64>,
    /// What was last logged, so that each failure is told once and not once a second.
    told: Option<String>,
}

/// What the metrics say of one enclave's TLS.
#[derive(Debug, Default)]
pub(crate) struct GuardCounts {
    /// Connections that failed, by code.
    pub(crate) failures: Vec<(&'static str, u64)>,
    /// Changes of the file of pins: taken, and refused.
    pub(crate) reloads: (u64, u64),
}

/// Whether the keys that count are still those of a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinsNow {
    Same,
    Others,
}

impl Guard {
    pub(crate) fn new(
        enclave: &str,
        source: &PinSource,
        identity: Option<Arc<CurrentIdentity>>,
        handshake_max: Duration,
    ) -> Self {
        let guard = Self {
            enclave: enclave.to_owned(),
            source: source.clone(),
            identity,
            handshake_max,
            state: Mutex::default(),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
        };
        // Without fixed pins nobody is known before the file has been read.
        if let Ok(pins) = source.with(&[]) {
            guard.pin(pins);
        }
        guard
    }

    /// Completes a handshake with an enclave whose key is pinned.
    pub(crate) async fn secure(&self, host: &str, tcp: TcpStream) -> io::Result<Stream> {
        let Some(connector) = self.state().connector.clone() else {
            let nobody = PinError::NoPin;
            match &self.source.file {
                Some(file) => self.failed(
                    nobody.code(),
                    &format_args!(
                        "no key is pinned: write the one of the enclave's `ready` line to {}",
                        file.display()
                    ),
                ),
                None => self.failed(nobody.code(), &nobody),
            }
            return Err(io::Error::other(nobody));
        };
        match connector.connect(host, tcp).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => {
                self.failed(error.code(), &error);
                Err(io::Error::other(error))
            }
        }
    }

    /// The connection broke; TLS may have been why. An enclave that refuses the router's certificate says so only then.
    pub(crate) fn broke(&self, error: &hyper::Error) {
        if let Some(cause) = TlsError::cause_of(error) {
            self.failed(cause.code(), &cause);
        }
    }

    /// Counts a failure, and tells it unless it was the last one told.
    fn failed(&self, code: &'static str, why: &dyn fmt::Display) {
        let mut state = self.state();
        let counter = state.failures.entry(code).or_default();
        *counter = counter.saturating_add(1);
        let why = why.to_string();
        if state.told.as_ref() != Some(&why) {
            tracing::error!(enclave = self.enclave, code, why, "no TLS to the enclave");
            state.told = Some(why);
        }
    }

    /// The enclave has answered: whatever fails next is news.
    pub(crate) fn answered(&self) {
        self.state().told = None;
    }

    /// Reads the file of pins again. One that is refused changes nothing, and the log and the metrics say so; one that is
    /// not there (yet) says nothing.
    pub(crate) async fn refresh(self: &Arc<Self>) -> PinsNow {
        let Some(path) = self.source.file.clone() else { return PinsNow::Same };
        let guard = Arc::clone(self);
        // The error says that it panicked; then nothing has changed.
        spawn_blocking(move || guard.look(&path)).await.unwrap_or(PinsNow::Same)
    }

    fn look(&self, path: &Path) -> PinsNow {
        let read = owned::read(path, FILE_BYTES_MAX).map_err(PinsRefused::Unread);
        if let Err(PinsRefused::Unread(Unread::Io { why, .. })) = &read
            && why.kind() == io::ErrorKind::NotFound
        {
            return PinsNow::Same;
        }
        let found = match &read {
            Ok(text) => Sha256::of(text.as_bytes()),
            Err(refused) => Sha256::of(refused.to_string().as_bytes()),
        };
        if self.state().seen.replace(found) == Some(found) {
            return PinsNow::Same;
        }
        match read.and_then(|text| self.understand(&text)) {
            Ok(pins) => {
                let count = pins.as_slice().len();
                self.pin(pins);
                self.reloads.fetch_add(1, Relaxed);
                tracing::info!(enclave = self.enclave, pins = count, "pins read");
                PinsNow::Others
            }
            Err(why) => {
                self.refused_reloads.fetch_add(1, Relaxed);
                let (enclave, file) = (&self.enclave, path.display());
                tracing::error!(enclave, %file, %why, "pins not read, the old ones still count");
                PinsNow::Same
            }
        }
    }

    /// One pin a line; empty lines and those that start with `#` are for people.
    fn understand(&self, text: &str) -> Result<Pins, PinsRefused> {
        let lines = text.lines().map(str::trim);
        let said = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pins = said.map(str::parse).collect::<Result<Vec<SpkiPin>, _>>();
        pins.and_then(|pins| self.source.with(&pins)).map_err(PinsRefused::Pin)
    }

    fn pin(&self, pins: Pins) {
        let identity = self.identity.clone();
        // The library refuses authorities that are none; pins it has no opinion on.
        let connector = Connector::new(Servers::Pinned(pins), identity, self.handshake_max).ok();
        self.state().connector = connector;
    }

    pub(crate) fn counts(&self) -> GuardCounts {
        GuardCounts {
            failures: self.state().failures.iter().map(|(code, count)| (*code, *count)).collect(),
            reloads: (self.reloads.load(Relaxed), self.refused_reloads.load(Relaxed)),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why a file of pins changed nothing.
#[derive(Debug)]
enum PinsRefused {
    Unread(Unread),
    Pin(PinError),
}

impl fmt::Display for PinsRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(Unread::Io { doing, why }) => {
                write!(f, "cannot {doing} it: {}", why.kind())
            }
            Self::Unread(Unread::WritableByOthers(mode)) => {
                write!(
                    f,
                    "it can be written by others than its owner (mode {mode:04o}); `chmod go-w` it"
                )
            }
            Self::Unread(Unread::TooLong) => write!(f, "it has more than {FILE_BYTES_MAX} octets"),
            Self::Pin(why) => write!(f, "{why}"),
        }
    }
}

/// Sixteen pins have a fifth of it; the rest is room for comments.
const FILE_BYTES_MAX: u64 = 8 << 10;
