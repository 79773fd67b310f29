//! From nothing to serving, one type per step: [`Boot`], [`Keyed`], [`Loaded`], [`Serving`].
//!
//! Only [`Serving`] can answer requests, and the only way to it leads through keys that were made
//! here, a model that was verified, and a platform that signed for both.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attestation::{ModelManifest, NodeId, Secret, Sha256, UnixTime};
use channel::{Rotation, RotationError};
use collect::{Accelerators, Attester, CollectError, Collector, Devices};
use engine::Engine;
use tls::SpkiPin;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use upstream::Upstream;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::epochs::{Epochs, Identity, Platform};
use crate::event::{Event, Refusals};
use crate::files::VerifiedFiles;
use crate::keys::{ReceiptSigner, TlsKey, node_id, random};
use crate::limits::{Budget, Decapsulator};
use crate::metrics::Metrics;
use crate::model;
use crate::receipts::Receipts;
use crate::route;

/// A configuration, and nothing that it describes.
#[derive(Debug)]
pub struct Boot {
    config: Arc<Config>,
    clock: Clock,
}

impl Boot {
    /// The first step.
    pub fn new(config: Config, clock: Clock) -> Self {
        Self { config: Arc::new(config), clock }
    }

    /// The attester that the configuration names. Where a kernel before 6.7 has no configfs-tsm,
    /// it is the older device of SEV-SNP guests.
    ///
    /// # Errors
    /// [`BootError::Platform`] if the machine has neither.
    pub fn attester(&self) -> Result<Box<dyn Attester>, BootError> {
        match &self.config.platform {
            config::Platform::Socket { path, .. } => Ok(Box::new(collect::Socket::new(path))),
            config::Platform::Tdx { root, event_log, .. } => {
                let tsm = collect::Tsm::tdx(root, event_log).map_err(BootError::Platform)?;
                Ok(Box::new(tsm))
            }
            config::Platform::SevSnp { root, .. } => match collect::Tsm::sev_snp(root) {
                Ok(tsm) => Ok(Box::new(tsm)),
                Err(absent @ CollectError::Absent { .. }) => match collect::SevGuest::open(0) {
                    Ok(device) => Ok(Box::new(device)),
                    Err(_) => Err(BootError::Platform(absent)),
                },
                Err(error) => Err(BootError::Platform(error)),
            },
        }
    }

    /// The way to the accelerators that the configuration names, if it names any.
    pub fn accelerators(&self) -> Option<Box<dyn Accelerators>> {
        let socket = collect::Socket::new(self.config.platform.accelerators()?);
        Some(Box::new(socket))
    }

    /// Makes the keys of this boot.
    ///
    /// # Errors
    /// [`BootError::Accelerators`] unless there is a way to accelerators exactly where the
    /// configuration names some, and [`BootError::Keys`].
    pub fn make_keys(
        self,
        attester: Box<dyn Attester>,
        accelerators: Option<Box<dyn Accelerators>>,
    ) -> Result<Keyed, BootError> {
        let Self { config, clock } = self;
        // The measured configuration says whether clients must see devices.
        if config.platform.accelerators().is_some() != accelerators.is_some() {
            return Err(BootError::Accelerators);
        }
        let signer = ReceiptSigner::generate().ok_or(BootError::Keys)?;
        let tls = TlsKey::generate().ok_or(BootError::Keys)?;
        let devices = accelerators.map(Devices::new);
        Ok(Keyed { config, clock, attester, devices, node_id: node_id(), signer, tls })
    }
}

/// Keys that nothing vouches for yet.
pub struct Keyed {
    config: Arc<Config>,
    clock: Clock,
    attester: Box<dyn Attester>,
    devices: Option<Devices>,
    node_id: NodeId,
    signer: ReceiptSigner,
    tls: TlsKey,
}

impl Keyed {
    /// Takes the engine whose model will be served.
    ///
    /// # Errors
    /// [`BootError::OtherModel`] if it runs another model than the configuration names.
    pub fn load(self, engine: Arc<dyn Engine>) -> Result<Loaded, BootError> {
        let Self { config, clock, attester, devices, node_id, signer, tls } = self;
        let manifest = model::manifest(&config.model.names, engine.description());
        if manifest.weights.sha256 != config.model.sha256 {
            return Err(BootError::OtherModel {
                expected: config.model.sha256,
                actual: manifest.weights.sha256,
            });
        }
        let backend = Backend::Engine(engine);
        Ok(Loaded { config, clock, attester, devices, node_id, signer, tls, backend, manifest })
    }

    /// Takes the server of the machine that the configuration names, whose files are `files`.
    ///
    /// # Errors
    /// [`BootError::Upstream`] if the configuration names none.
    pub fn front(self, files: &VerifiedFiles) -> Result<Loaded, BootError> {
        let Self { config, clock, attester, devices, node_id, signer, tls } = self;
        let settings = config.upstream.clone().ok_or(BootError::Upstream)?;
        let manifest = files.manifest(&config.model.names, settings.kind);
        let upstream = Upstream::new(settings, &Secret::new(random()));
        let backend = Backend::Upstream(Arc::new(upstream));
        Ok(Loaded { config, clock, attester, devices, node_id, signer, tls, backend, manifest })
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyed({})", self.node_id)
    }
}

/// Keys and a verified model, not attested.
pub struct Loaded {
    config: Arc<Config>,
    clock: Clock,
    attester: Box<dyn Attester>,
    devices: Option<Devices>,
    node_id: NodeId,
    signer: ReceiptSigner,
    tls: TlsKey,
    backend: Backend,
    manifest: ModelManifest,
}

impl Loaded {
    /// Makes the first sealing key and has the platform sign for everything. Needs a runtime.
    ///
    /// # Errors
    /// [`BootError::Platform`], and [`BootError::Epoch`] for an epoch that keys cannot have.
    pub async fn attest(self) -> Result<Serving, BootError> {
        let Self { config, clock, attester, devices, node_id, signer, tls, backend, manifest } =
            self;
        let limits = &config.limits;
        let epoch = config.epoch;
        let rotation = Rotation::new(epoch, GRACE.min(epoch), limits.requests_per_key)
            .map_err(BootError::Epoch)?;
        let manifest_bytes = manifest.encode();
        let manifest_digest = Sha256::of(&manifest_bytes);
        let identity = Identity {
            node_id,
            tls_spki: *tls.spki().digest(),
            receipt_key: *signer.public(),
            manifest: manifest_bytes,
            config: config.effective().to_vec(),
        };
        let collector =
            Collector::spawn(attester, collect::Limits::default()).map_err(BootError::Platform)?;
        let platform = Platform { collector, devices };
        let epochs = Epochs::begin(identity, platform, clock.clone(), rotation)
            .await
            .map_err(BootError::Platform)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let fingerprint = manifest.weights.sha256.to_string();
        let fingerprint = fingerprint.get(..16).unwrap_or_default();
        Ok(Serving {
            state: Arc::new(State {
                started: clock.now(),
                clock,
                authority: format!("{node_id}.veritee.invalid"),
                node_id,
                names: manifest.names,
                fingerprint: format!("fp_{fingerprint}"),
                receipts: Receipts::new(signer, manifest_digest),
                epochs,
                backend,
                metrics: Metrics::new(),
                refusals: Refusals::default(),
                requests: Arc::new(Semaphore::new(limits.requests)),
                evidence: Semaphore::new(limits.evidence_requests),
                budget: Budget::new(limits.buffered_bytes),
                decapsulator: Decapsulator::new(
                    limits.decapsulations,
                    limits.decapsulation_percent,
                    processors,
                    Instant::now(),
                ),
                draining: AtomicBool::new(false),
                tls,
                config,
            }),
        })
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({})", self.node_id)
    }
}

/// An attested enclave: the only state that can answer requests.
#[derive(Clone, Debug)]
pub struct Serving {
    pub(crate) state: Arc<State>,
}

impl Serving {
    /// Everything that the enclave answers (`docs/protocol.md` §5).
    ///
    /// Whoever uses it without [`serve`](crate::serve) must poll [`run`](Self::run) beside it.
    pub fn router(&self) -> axum::Router {
        route::router(Arc::clone(&self.state))
    }

    /// Rotates keys and publishes metrics for as long as it is polled.
    pub async fn run(&self) {
        let publish = async {
            let mut ticks = tokio::time::interval(crate::metrics::INTERVAL);
            loop {
                ticks.tick().await;
                self.state.metrics.publish();
            }
        };
        let watch = async {
            if let Backend::Upstream(upstream) = &self.state.backend {
                let tell = |well| if well { Event::UpstreamReady } else { Event::UpstreamLost };
                upstream.watch(|well| tell(well).emit()).await;
            }
        };
        tokio::join!(self.state.epochs.rotate(&self.state.metrics), publish, watch);
    }

    /// This boot's name.
    pub fn node_id(&self) -> NodeId {
        self.state.node_id
    }

    /// What the router pins where the configuration asks for TLS; the binding holds it in any case.
    pub fn spki(&self) -> SpkiPin {
        self.state.tls.spki()
    }

    /// Whether the configuration asks for TLS.
    pub fn speaks_tls(&self) -> bool {
        self.state.config.tls.is_some()
    }

    /// The names under which the model is served.
    pub fn names(&self) -> &[String] {
        &self.state.names
    }
}

/// Who answers.
pub(crate) enum Backend {
    /// An engine of ours.
    Engine(Arc<dyn Engine>),
    /// Another program of the same machine.
    Upstream(Arc<Upstream>),
}

impl Backend {
    /// Whether it answers now, as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Engine(_) => true,
            Self::Upstream(upstream) => upstream.is_ready(),
        }
    }
}

/// What all requests share.
pub(crate) struct State {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) started: UnixTime,
    pub(crate) node_id: NodeId,
    pub(crate) authority: String,
    pub(crate) names: Vec<String>,
    pub(crate) fingerprint: String,
    pub(crate) receipts: Receipts,
    pub(crate) epochs: Epochs,
    pub(crate) backend: Backend,
    pub(crate) metrics: Metrics,
    pub(crate) refusals: Refusals,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) evidence: Semaphore,
    pub(crate) budget: Arc<Budget>,
    pub(crate) decapsulator: Decapsulator,
    pub(crate) draining: AtomicBool,
    pub(crate) tls: TlsKey,
}

impl State {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether requests are taken: not draining, and the epoch that is offered has not ended.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && self.epochs.is_fresh()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({})", self.node_id)
    }
}

/// Why the enclave does not serve.
#[derive(Debug)]
pub enum BootError {
    /// The configuration names accelerators and there is no way to them, or the other way round.
    Accelerators,
    /// The configuration names no server to stand in front of.
    Upstream,
    /// The crypto library made no key.
    Keys,
    /// The engine runs another model than the configuration names.
    OtherModel {
        /// The digest in the configuration.
        expected: Sha256,
        /// The engine's.
        actual: Sha256,
    },
    /// The platform gave no evidence.
    Platform(CollectError),
    /// Keys cannot have such epochs.
    Epoch(RotationError),
}

impl BootError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Accelerators => "boot-accelerators",
            Self::Upstream => "boot-upstream",
            Self::Keys => "boot-keys",
            Self::OtherModel { .. } => "boot-other-model",
            Self::Platform(error) => error.code(),
            Self::Epoch(_) => "config-epoch",
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accelerators => {
                f.write_str("the configuration and the way to the accelerators do not agree")
            }
            Self::Upstream => f.write_str("the configuration has no table `[upstream]`"),
            Self::Keys => f.write_str("no key could be made"),
            Self::OtherModel { expected, actual } => {
                write!(f, "the configuration names the model {expected}, the engine runs {actual}")
            }
            Self::Platform(error) => write!(f, "the platform gave no evidence: {error}"),
            Self::Epoch(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BootError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Platform(error) => Some(error),
            Self::Epoch(error) => Some(error),
            Self::Accelerators | Self::Upstream | Self::Keys | Self::OtherModel { .. } => None,
        }
    }
}

/// How long the key of an epoch that ended is accepted (`docs/protocol.md` §5.1).
const GRACE: std::time::Duration = std::time::Duration::from_mins(10);
