//! What the service knows, and how it follows the files that say so.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use attestation::{Endorsements, Sha256, UnixTime, Unverified};
use tokio::sync::Semaphore;
use verifier::ChainCache;
use verifier::policy::PolicyKey;

use crate::config::{Config, Signing};
use crate::endorsements;
use crate::files::{self, FileError};
use crate::keys::{KeyError, KeyRing, PublicKey, SigningKey};
use crate::memory::Memory;
use crate::metrics::{Followed, Metrics};
use crate::policies::{Change, Policies, PolicyStatus, Standing};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl Clock {
    /// A clock that `tell` reads.
    pub fn new(tell: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn now(&self) -> UnixTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A verifier that answers.
#[derive(Debug)]
pub struct Service {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) policies: Policies,
    endorsements: RwLock<Arc<Unverified<Endorsements>>>,
    keys: RwLock<Arc<KeyRing>>,
    pub(crate) chains: ChainCache,
    pub(crate) metrics: Metrics,
    /// A place per request that is read or judged.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) draining: AtomicBool,
    /// What the files of keys, and those of endorsements, last came to.
    seen: Mutex<[Option<Sha256>; 2]>,
}

impl Service {
    /// Reads everything that `config` names.
    ///
    /// A policy that is refused does not count, and is told of; the others do. Where a key is demanded that
    /// signs policies, one that is refused is reason enough not to start.
    ///
    /// # Errors
    /// What cannot be used, or that there is no policy.
    pub fn load(config: Config, clock: Clock) -> Result<Self, Unusable> {
        let keys = first_keys(&config.signing)?;
        let given = endorsements::load(&config.endorsements).map_err(Unusable::Endorsements)?;
        let policies = policies(&config)?;
        let service = Self {
            places: Arc::new(Semaphore::new(config.limits.requests_max)),
            chains: ChainCache::new(config.limits.chains_max),
            clock,
            policies,
            endorsements: RwLock::new(Arc::new(Unverified::new(given))),
            keys: RwLock::new(Arc::new(keys)),
            metrics: Metrics::default(),
            draining: AtomicBool::new(false),
            seen: Mutex::default(),
            config,
        };
        let changes = service.policies.look(service.clock.now()).map_err(Unusable::Policies)?;
        service.tell(&changes);
        if service.config.policy_key.is_some() {
            // Who demands signatures wants to know at once of whatever has none.
            service.strictly()?;
        }
        if service.policies.count() == 0 {
            return Err(Unusable::NoPolicy(service.config.policies.clone()));
        }
        Ok(service)
    }

    /// Every policy file, and whether it counts.
    pub fn policies(&self) -> Vec<PolicyStatus> {
        self.policies.statuses()
    }

    /// The first policy file that does not count as it stands.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn strictly(&self) -> Result<(), Unusable> {
        let mut policies = self.policies().into_iter();
        match policies.find(|status| status.standing != Standing::Current) {
            Some(PolicyStatus { file, error, .. }) => {
                Err(Unusable::Policy { file, error: error.unwrap_or_default() })
            }
            None => Ok(()),
        }
    }

    /// Where it listens, and how those who connect speak.
    pub fn address(&self) -> (SocketAddr, &'static str) {
        (self.config.listen, if self.config.tls.is_some() { "https" } else { "http" })
    }

    /// The name of the key that signs.
    pub fn kid(&self) -> String {
        self.keys().signing.public().kid()
    }

    /// Reads again what has changed: policies, endorsements, keys. Blocks; what is refused changes
    /// nothing.
    pub fn look(&self) {
        match self.policies.look(self.clock.now()) {
            Ok(changes) => self.tell(&changes),
            Err(error) => {
                self.metrics.followed(Followed::Policies, false);
                tracing::error!(%error, "the folder of policies cannot be read; the policies stay as they were");
            }
        }
        let [keys, given] = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.look_at_keys(keys);
        let given = self.look_at_endorsements(given);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = [keys, given];
    }

    pub(crate) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn endorsements(&self) -> Arc<Unverified<Endorsements>> {
        Arc::clone(&self.endorsements.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    fn look_at_keys(&self, seen: Option<Sha256>) -> Option<Sha256> {
        let Signing { key: Some(key), publish, .. } = &self.config.signing else { return None };
        let mut digests =
            vec![digest(files::read_secret(key, KEY_LEN_MAX).map(|key| Sha256::of(key.expose())))];
        digests.extend(
            publish
                .iter()
                .map(|path| digest(files::read(path, KEY_LEN_MAX).map(|key| Sha256::of(&key)))),
        );
        let parts: Vec<_> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
        let now = Sha256::of_parts(&parts);
        if seen == Some(now) {
            return seen;
        }
        let before = self.keys();
        match SigningKey::from_file(key)
            .and_then(|key| Ok(before.followed_by(key, &published(publish)?)))
        {
            Ok(after) if after.jwks == before.jwks => {}
            Ok(after) => {
                self.metrics.followed(Followed::Keys, true);
                tracing::info!(kid = after.signing.public().kid(), "keys reloaded");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
            }
            Err(error) => {
                self.metrics.followed(Followed::Keys, false);
                tracing::error!(%error, "keys not reloaded; the old one signs on");
            }
        }
        Some(now)
    }

    fn look_at_endorsements(&self, seen: Option<Sha256>) -> Option<Sha256> {
        let loaded = endorsements::load(&self.config.endorsements);
        let now = match &loaded {
            Ok(given) => Sha256::of(given.to_pem().as_bytes()),
            Err(error) => Sha256::of_parts(&[b"refused", error.as_bytes()]),
        };
        if seen == Some(now) {
            return seen;
        }
        match loaded {
            Ok(given) => {
                if given != *self.endorsements().inspect_untrusted() {
                    self.metrics.followed(Followed::Endorsements, true);
                    tracing::info!("endorsements reloaded");
                    *self.endorsements.write().unwrap_or_else(PoisonError::into_inner) =
                        Arc::new(Unverified::new(given));
                }
            }
            Err(error) => {
                self.metrics.followed(Followed::Endorsements, false);
                tracing::error!(%error, "endorsements not reloaded; the old ones count on");
            }
        }
        Some(now)
    }

    fn tell(&self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Loaded { file, name, digest } => {
                    self.metrics.followed(Followed::Policies, true);
                    tracing::info!(file, name, %digest, "policy loaded");
                }
                Change::Refused { file, error } => {
                    self.metrics.followed(Followed::Policies, false);
                    tracing::error!(
                        file,
                        error,
                        "policy refused; one that the file held before counts on"
                    );
                }
                Change::Removed { file } => {
                    self.metrics.followed(Followed::Policies, true);
                    tracing::info!(file, "policy removed");
                }
            }
        }
    }
}

fn policies(config: &Config) -> Result<Policies, Unusable> {
    let key = config.policy_key.as_deref().map(policy_key).transpose()?;
    let memory = Memory::open(config.memory.clone()).map_err(Unusable::Memory)?;
    Ok(Policies::of(config.policies.clone(), key, memory))
}

fn policy_key(path: &Path) -> Result<PolicyKey, Unusable> {
    let refused = |why| Unusable::PolicyKey { path: path.to_owned(), why };
    let pem = files::read(path, KEY_LEN_MAX).map_err(|error| refused(error.to_string()))?;
    let pem = String::from_utf8(pem).unwrap_or_default();
    PolicyKey::from_pem(&pem).map_err(|malformed| refused(malformed.to_string()))
}

fn first_keys(signing: &Signing) -> Result<KeyRing, Unusable> {
    let key = match &signing.key {
        Some(path) => SigningKey::from_file(path),
        None => SigningKey::generate(signing.algorithm),
    };
    let ring = key.and_then(|key| Ok(KeyRing::new(key, &published(&signing.publish)?)));
    ring.map_err(Unusable::Key)
}

fn published(paths: &[PathBuf]) -> Result<Vec<PublicKey>, KeyError> {
    paths.iter().map(|path| PublicKey::from_file(path)).collect()
}

fn digest(read: Result<Sha256, FileError>) -> Sha256 {
    read.unwrap_or_else(|error| Sha256::of(error.to_string().as_bytes()))
}

/// Why a service cannot start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// The key that signs, or one that is published.
    Key(KeyError),
    /// A file of endorsements.
    Endorsements(String),
    /// The folder of policies.
    Policies(FileError),
    /// What remembers their versions.
    Memory(FileError),
    /// The key whose owner signs policies.
    PolicyKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder of policies holds none that counts.
    NoPolicy(PathBuf),
    /// A policy that does not count as it stands in its file.
    Policy {
        /// The file.
        file: String,
        /// What is wrong.
        error: String,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Endorsements(why) => write!(f, "endorsements: {why}"),
            Self::Policies(error) | Self::Memory(error) => error.fmt(f),
            Self::PolicyKey { path, why } => write!(f, "{}: {why}", path.display()),
            Self::NoPolicy(folder) => {
                write!(f, "{} holds no policy that counts", folder.display())
            }
            Self::Policy { file, error } => write!(f, "{file}: {error}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// Longest file of a key.
const KEY_LEN_MAX: u64 = 16 << 10;
