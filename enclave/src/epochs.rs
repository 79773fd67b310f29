//! Key epochs: a sealing key, the statement that binds it, and the evidence for that.
//!
//! A key is offered only once the platform has signed for it; the one before is accepted for a
//! grace, then zeroised. All of it runs on monotonic time (`docs/protocol.md` §5.1).

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use attestation::binding::{FreshnessProof, accelerator_nonce};
use attestation::{BindingId, Bundle, Challenge, SealingKey, Sha256, Statement, UnixTime};
use bytes::Bytes;
use channel::{KeyRing, Recipient, Refused, Rotation};
use collect::{AcceleratorEvidence, CollectError, Collector, Devices, PlatformEvidence};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::event::Event;
use crate::metrics::Metrics;

/// What every epoch of a boot states alike.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node_id: attestation::NodeId,
    pub(crate) tls_spki: Sha256,
    pub(crate) receipt_key: attestation::ReceiptKey,
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
}

/// Who signs for an epoch.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) collector: Collector,
    /// The accelerators, where the enclave uses any.
    pub(crate) devices: Option<Devices>,
}

/// One epoch that was or is offered.
#[derive(Debug)]
pub(crate) struct Epoch {
    key_id: u8,
    statement: Vec<u8>,
    binding: BindingId,
    ohttp_keys: Bytes,
    not_after: UnixTime,
    accelerators: Option<AcceleratorEvidence>,
    cached: Bytes,
}

impl Epoch {
    pub(crate) const fn binding(&self) -> BindingId {
        self.binding
    }

    /// The exact `application/ohttp-keys` resource.
    pub(crate) fn ohttp_keys(&self) -> Bytes {
        self.ohttp_keys.clone()
    }

    pub(crate) const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The evidence bundle that answers no challenge.
    pub(crate) fn cached(&self) -> Bytes {
        self.cached.clone()
    }
}

/// The epochs of a boot.
#[derive(Debug)]
pub(crate) struct Epochs {
    identity: Identity,
    platform: Platform,
    clock: Clock,
    boot: Instant,
    length: Duration,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    ring: KeyRing,
    current: Arc<Epoch>,
    grace: Vec<Arc<Epoch>>,
}

impl Epochs {
    /// Makes the first key and has the platform sign for it.
    pub(crate) async fn begin(
        identity: Identity,
        platform: Platform,
        clock: Clock,
        rotation: Rotation,
    ) -> Result<Self, CollectError> {
        let boot = Instant::now();
        let ring = KeyRing::new(rotation, Duration::ZERO);
        let key = ring.current().public().clone();
        let length = rotation.epoch();
        let current = identity.attest(&key, &platform, clock.now(), length).await?;
        let state = RwLock::new(State { ring, current: Arc::new(current), grace: Vec::new() });
        Ok(Self { identity, platform, clock, boot, length, state })
    }

    /// The epoch that is offered.
    pub(crate) fn current(&self) -> Arc<Epoch> {
        Arc::clone(&self.read().current)
    }

    /// Whether the epoch that is offered has not ended: it has if the platform stopped signing.
    pub(crate) fn is_fresh(&self) -> bool {
        let ends = self.read().ring.ends();
        self.boot.elapsed() < ends
    }

    /// The key with this id and its epoch, if it is accepted now.
    pub(crate) fn lookup(&self, key_id: u8) -> Result<(Arc<Recipient>, Arc<Epoch>), Refused> {
        let state = self.read();
        let key = state.ring.lookup(key_id, self.boot.elapsed())?;
        let mut epochs = std::iter::once(&state.current).chain(&state.grace);
        let epoch = epochs.find(|epoch| epoch.key_id == key_id).ok_or(Refused::UnknownKey)?;
        Ok((Arc::clone(key), Arc::clone(epoch)))
    }

    /// An evidence bundle of the current epoch that answers `challenge`.
    pub(crate) async fn answer(&self, challenge: Challenge) -> Result<Vec<u8>, CollectError> {
        let epoch = self.current();
        let collected = self.platform.collector.fresh(epoch.binding, challenge).await?;
        let signed = Signed { cpu: &collected.evidence, accelerators: epoch.accelerators.as_ref() };
        let keys = epoch.ohttp_keys.to_vec();
        self.identity.bundle(epoch.statement.clone(), keys, signed, &collected.freshness)
    }

    /// Rotates for as long as it is polled: zeroises what is over, and replaces the current key a
    /// while before its epoch ends.
    pub(crate) async fn rotate(&self, metrics: &Metrics) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.tick() {
                continue;
            }
            match self.renew().await {
                Ok(epoch) => {
                    metrics.rotated();
                    Event::Rotated { epoch }.emit();
                }
                Err(error) => {
                    metrics.evidence_failed();
                    Event::EvidenceFailed { reason: error.code() }.emit();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Ends what is over; true if it is time for the next key.
    fn tick(&self) -> bool {
        let now = self.boot.elapsed();
        let mut state = self.write();
        let State { ring, grace, .. } = &mut *state;
        ring.expire(now);
        grace.retain(|epoch| ring.lookup(epoch.key_id, now).is_ok());
        ring.is_due(now, LEAD)
    }

    /// Makes the next key, has the platform sign for it, and only then offers it.
    async fn renew(&self) -> Result<u64, CollectError> {
        let key = self.write().ring.stage(self.boot.elapsed()).public().clone();
        let next =
            self.identity.attest(&key, &self.platform, self.clock.now(), self.length).await?;
        let mut state = self.write();
        if state.ring.promote(self.boot.elapsed()) {
            let before = std::mem::replace(&mut state.current, Arc::new(next));
            state.grace.push(before);
        }
        Ok(state.ring.epoch())
    }

    /// The state is changed in steps that cannot fail half-way, so a poisoned lock is as good.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a client's clock may be behind ours. The times of a statement are the host's word anyway,
/// and a challenge proves freshness, so the window may open early (`docs/protocol.md` §5.1).
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

impl Identity {
    /// Binds `key` from `now` on for `length`, and has the platform sign that: the accelerators for
    /// node and key, and the CPU for these and what the accelerators said (`docs/protocol.md` §5.2).
    async fn attest(
        &self,
        key: &SealingKey,
        platform: &Platform,
        now: UnixTime,
        length: Duration,
    ) -> Result<Epoch, CollectError> {
        let ohttp_keys = key.encode();
        let keys_digest = Sha256::of(&ohttp_keys);
        let accelerators = match &platform.devices {
            Some(devices) => {
                let nonce = accelerator_nonce(&self.node_id, &keys_digest);
                Some(devices.evidence(nonce).await?)
            }
            None => None,
        };
        let not_after = now.saturating_add(length);
        let statement = Statement {
            node_id: self.node_id,
            ohttp_keys: keys_digest,
            compat_key: None,
            tls_spki: self.tls_spki,
            receipt_key: self.receipt_key.thumbprint(),
            manifest: Sha256::of(&self.manifest),
            config: Sha256::of(&self.config),
            accelerators: accelerators.as_ref().map(|devices| Sha256::of(&devices.evidence)),
            not_before: now.saturating_sub(CLOCK_TOLERANCE),
            not_after,
        }
        .encode();
        let binding = BindingId::of_statement(&statement);
        let evidence = platform.collector.epoch(binding).await?;
        let signed = Signed { cpu: &evidence, accelerators: accelerators.as_ref() };
        let none = FreshnessProof::None;
        let cached = self.bundle(statement.clone(), ohttp_keys.clone(), signed, &none)?;
        Ok(Epoch {
            key_id: key.key_id(),
            statement,
            binding,
            ohttp_keys: ohttp_keys.into(),
            not_after,
            accelerators,
            cached: cached.into(),
        })
    }

    fn bundle(
        &self,
        statement: Vec<u8>,
        ohttp_keys: Vec<u8>,
        signed: Signed<'_>,
        freshness: &FreshnessProof,
    ) -> Result<Vec<u8>, CollectError> {
        let Signed { cpu, accelerators } = signed;
        let mut endorsements = cpu.endorsements.clone();
        if let Some(devices) = accelerators {
            endorsements.extend(&devices.endorsements)?;
        }
        let bundle = Bundle {
            statement,
            ohttp_keys,
            receipt_key: self.receipt_key.encode(),
            manifest: self.manifest.clone(),
            config: self.config.clone(),
            // Digests and numbers always serialise.
            freshness: serde_json::to_vec(freshness).unwrap_or_default(),
            cpu0: cpu.cpu.clone(),
            event_log: cpu.event_log.clone(),
            accel: accelerators.map(|devices| devices.evidence.clone()),
            endorsements: endorsements.to_pem().into_bytes(),
        };
        Ok(bundle.encode())
    }
}

/// What stands in a bundle beside what the enclave says itself.
#[derive(Clone, Copy)]
struct Signed<'a> {
    cpu: &'a PlatformEvidence,
    accelerators: Option<&'a AcceleratorEvidence>,
}

/// How often epochs are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long before its epoch ends a key is replaced: evidence takes seconds on a busy host.
const LEAD: Duration = Duration::from_mins(1);
/// After the platform gave no evidence.
const RETRY: Duration = Duration::from_secs(4);
