//! The test PKI on disk: one folder, mode 0700, files of mode 0600, at most thirty days.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attestation::snp::Product;
use attestation::{Endorsements, Sha384, UnixTime};
use serde::{Deserialize, Serialize};

use crate::certificate::Validity;
use crate::error::SimError;
use crate::keys::{EcKey, P256Key};
use crate::machine::{Cpu, Machine, Made};
use crate::nvidia::NvidiaPki;
use crate::pki::{AuthorityKeys, ChipId, Pki, PkiOptions, VALIDITY_SECS_MAX, Vek, validity_from};
use crate::platform::{SimulatedPlatform, newest_version};
use crate::policy::{self, Accepted, Section};
use crate::replay::{Devices, TdxHost};
use crate::report::{ReportBuilder, healthy_tcb};
use crate::tdx::{IntelKeys, IntelPki};

/// The folder of one simulated platform.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    state: State,
}

/// What a new platform is like.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Its CPU.
    pub cpu: CpuKind,
    /// Launch measurement of its guest.
    pub measurement: Sha384,
    /// GPUs, and switches between them, that the guest uses.
    pub devices: (u8, u8),
    /// What its policy accepts.
    pub accepted: Accepted,
    /// How long its PKI is valid, at most thirty days.
    pub secs: u64,
    /// What to do about one that is there.
    pub existing: Existing,
}

/// The CPUs that can be simulated.
#[derive(Debug, Clone, Copy, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "platform", content = "product")]
pub enum CpuKind {
    /// AMD SEV-SNP, of this product line.
    SevSnp(Product),
    /// Intel TDX.
    Tdx,
}

impl fmt::Display for CpuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SevSnp(product) => write!(f, "sev-snp {}", product.name()),
            Self::Tdx => f.write_str("tdx"),
        }
    }
}

/// What to do about a test PKI that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Keep it, unless it has expired.
    Keep,
    /// Replace it.
    Replace,
}

impl Store {
    /// Makes a test PKI in `folder` and renders its policy; takes seconds.
    pub fn init(folder: &Path, options: InitOptions, now: UnixTime) -> Result<Self, SimError> {
        let (gpus, switches) = options.devices;
        if switches > 0 && gpus == 0 {
            return Err(SimError::Argument("switches tie GPUs together: name some".to_owned()));
        }
        if options.secs == 0 || options.secs > VALIDITY_SECS_MAX {
            return Err(SimError::Argument("a test PKI is valid for 1 to 30 days".to_owned()));
        }
        if options.accepted != Accepted::default() {
            options.accepted.check()?;
        }
        let earlier = claim(folder, options.existing, now)?;
        let validity = validity_from(now, options.secs);
        // Clients remember the highest number per issuer, and the last PKI's issuer had this name.
        let Made { machine, sections, files } = make(&options, validity, now.as_secs())?;
        let store = Self {
            folder: folder.to_owned(),
            state: State {
                schema: SCHEMA,
                cpu: options.cpu,
                measurement: options.measurement,
                devices: options.devices,
                not_before: validity.not_before,
                not_after: validity.not_after,
                policy_version: next_version(earlier, now),
                accepted: options.accepted,
                sections,
            },
        };
        // The state goes last: without it the folder counts as unfinished.
        store.keep(&machine)?;
        for (name, bytes) in files {
            store.write(&name, &bytes)?;
        }
        store.write(POLICY, store.policy_text().as_bytes())?;
        store.write_state()?;
        Ok(store)
    }

    /// The test PKI in `folder`, which must not have expired.
    pub fn open(folder: &Path, now: UnixTime) -> Result<Self, SimError> {
        let store = Self::open_any(folder)?;
        if store.state.not_after < now {
            return Err(SimError::Expired { path: folder.to_owned() });
        }
        Ok(store)
    }

    /// Renders the policy again for what is accepted now; the version grows if it changes.
    pub fn render_policy(&mut self, accepted: Accepted, now: UnixTime) -> Result<(), SimError> {
        accepted.check()?;
        if accepted != self.state.accepted || !self.policy_path().is_file() {
            self.state.accepted = accepted;
            self.state.policy_version = next_version(Some(self.state.policy_version), now);
            // The state first: a version that was seen is never given to another text.
            self.write_state()?;
            self.write(POLICY, self.policy_text().as_bytes())?;
        }
        Ok(())
    }

    /// The machine, ready to sign.
    pub fn machine(&self) -> Result<Machine, SimError> {
        let endorsements = self.endorsements(ENDORSEMENTS)?;
        let cpu = match self.state.cpu {
            CpuKind::SevSnp(product) => {
                let key = EcKey::from_pkcs8(&self.read(VCEK_KEY)?)
                    .map_err(|error| self.damaged(VCEK_KEY, error.to_string()))?;
                let certificate = endorsements.certificates().first().cloned().unwrap_or_default();
                let mut template = ReportBuilder::new(product, newest_version(product));
                template.measurement = self.state.measurement.0;
                template.chip_id = ChipId::of(product, CHIP_SEED).0;
                let vek = Vek { key, certificate };
                Cpu::SevSnp(Box::new(SimulatedPlatform { template, vek, endorsements }))
            }
            CpuKind::Tdx => {
                let key = P256Key::from_pkcs8(&self.read(QUOTE_KEY)?)
                    .map_err(|error| self.damaged(QUOTE_KEY, error.to_string()))?;
                let (quote, log) = (self.read(QUOTE)?, self.read(EVENT_LOG)?);
                let host = TdxHost::new(quote, key, Some(log), endorsements)
                    .map_err(|error| self.damaged(QUOTE, error.to_string()))?;
                Cpu::Tdx(Box::new(host))
            }
        };
        let devices = if self.state.devices == (0, 0) {
            None
        } else {
            let endorsements = self.endorsements(DEVICE_ENDORSEMENTS)?;
            let devices = Devices::decode(&self.read(DEVICES)?, endorsements)
                .map_err(|error| self.damaged(DEVICES, error.to_string()))?;
            Some(devices)
        };
        Ok(Machine { cpu, devices })
    }

    /// Writes what a machine needs to sign.
    fn keep(&self, machine: &Machine) -> Result<(), SimError> {
        self.write(ENDORSEMENTS, machine.cpu.endorsements().to_pem().as_bytes())?;
        match &machine.cpu {
            Cpu::SevSnp(host) => self.write(VCEK_KEY, host.vek.key.to_pkcs8()?.expose())?,
            Cpu::Tdx(host) => {
                self.write(QUOTE_KEY, host.key().to_pkcs8()?.expose())?;
                self.write(QUOTE, host.template())?;
                self.write(EVENT_LOG, host.event_log.as_deref().unwrap_or_default())?;
            }
        }
        if let Some(devices) = &machine.devices {
            self.write(DEVICE_ENDORSEMENTS, devices.endorsements.to_pem().as_bytes())?;
            self.write(DEVICES, devices.encode()?.expose())?;
        }
        Ok(())
    }

    fn endorsements(&self, file: &str) -> Result<Endorsements, SimError> {
        let mut endorsements = Endorsements::new();
        endorsements
            .add(&self.read(file)?)
            .map_err(|error| self.damaged(file, error.to_string()))?;
        Ok(endorsements)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The policy file.
    pub fn policy_path(&self) -> PathBuf {
        self.folder.join(POLICY)
    }

    /// The CPU.
    pub const fn cpu(&self) -> CpuKind {
        self.state.cpu
    }

    /// GPUs, and switches between them.
    pub const fn devices(&self) -> (u8, u8) {
        self.state.devices
    }

    /// The guest's launch measurement.
    pub const fn measurement(&self) -> &Sha384 {
        &self.state.measurement
    }

    /// The validity of every certificate.
    pub const fn validity(&self) -> Validity {
        Validity { not_before: self.state.not_before, not_after: self.state.not_after }
    }

    /// The policy's version.
    pub const fn policy_version(&self) -> u64 {
        self.state.policy_version
    }

    /// What the policy accepts.
    pub const fn accepted(&self) -> &Accepted {
        &self.state.accepted
    }

    fn open_any(folder: &Path) -> Result<Self, SimError> {
        let path = folder.join(STATE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(SimError::Missing { path: folder.to_owned() });
            }
            Err(error) => return Err(SimError::file(path)(error)),
        };
        let state: State = serde_json::from_slice(&bytes)
            .map_err(|error| SimError::Damaged { path: path.clone(), what: error.to_string() })?;
        if state.schema != SCHEMA {
            return Err(SimError::Damaged {
                path,
                what: format!("schema {}, not {SCHEMA}", state.schema),
            });
        }
        Ok(Self { folder: folder.to_owned(), state })
    }

    fn policy_text(&self) -> String {
        let State { policy_version, accepted, not_after, sections, .. } = &self.state;
        policy::render_all(*policy_version, accepted, *not_after, sections)
    }

    fn write_state(&self) -> Result<(), SimError> {
        let text = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| self.damaged(STATE, error.to_string()))?;
        self.write(STATE, &text)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, SimError> {
        let path = self.folder.join(file);
        fs::read(&path).map_err(SimError::file(path))
    }

    /// Writes a file beside itself and moves it into place, readable to its owner alone from the
    /// first moment.
    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), SimError> {
        let path = self.folder.join(file);
        let draft = self.folder.join(format!(".{file}.new"));
        let failed = || SimError::file(path.clone());
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed()(error)),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let mut out =
            options.write(true).create_new(true).mode(0o600).open(&draft).map_err(failed())?;
        out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed())?;
        fs::rename(&draft, &path).map_err(failed())
    }

    fn damaged(&self, file: &str, what: String) -> SimError {
        SimError::Damaged { path: self.folder.join(file), what }
    }
}

/// What the folder remembers beside its keys.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    schema: u32,
    cpu: CpuKind,
    measurement: Sha384,
    devices: (u8, u8),
    not_before: UnixTime,
    not_after: UnixTime,
    policy_version: u64,
    accepted: Accepted,
    sections: Vec<Section>,
}

/// Vendors of our own, and a machine that they certify.
fn make(options: &InitOptions, validity: Validity, crl_number: u64) -> Result<Made, SimError> {
    let made = match options.cpu {
        CpuKind::SevSnp(product) => {
            let keys = Arc::new(AuthorityKeys::generate()?);
            let pki = Pki::new(keys, PkiOptions { product, validity })?;
            let (tcb, measurement) = (healthy_tcb(product), options.measurement.0);
            Made::sev_snp(&pki, SimulatedPlatform::new(&pki, tcb, measurement, crl_number)?)?
        }
        CpuKind::Tdx => {
            let pki = IntelPki::new(Arc::new(IntelKeys::generate()?), validity)?;
            Made::tdx(&pki, &options.measurement, crl_number)?
        }
    };
    match options.devices {
        (0, 0) => Ok(made),
        (gpus, switches) => {
            made.with_devices(&Arc::new(NvidiaPki::generate(validity)?), gpus, switches)
        }
    }
}

/// Makes the folder ours, or refuses; returns the policy version of a PKI that it held.
fn claim(folder: &Path, existing: Existing, now: UnixTime) -> Result<Option<u64>, SimError> {
    let earlier = match Store::open_any(folder) {
        Ok(store) if existing == Existing::Keep && store.state.not_after >= now => {
            return Err(SimError::Exists { path: folder.to_owned() });
        }
        Ok(store) => Some(store.state.policy_version),
        Err(SimError::Missing { .. }) => None,
        Err(error) if existing == Existing::Keep => return Err(error),
        Err(_) => None,
    };
    if earlier.is_none()
        && existing == Existing::Keep
        && fs::read_dir(folder).is_ok_and(|mut list| list.next().is_some())
    {
        return Err(SimError::Argument(format!(
            "{} holds something else; name an empty folder, or `--force` to write into it",
            folder.display()
        )));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(SimError::file(folder))?;
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(SimError::file(folder))?;
    Ok(earlier)
}

/// Clients refuse a version below the highest that they saw, even of a folder that is gone: the
/// time orders the versions of one folder and of those before it.
fn next_version(earlier: Option<u64>, now: UnixTime) -> u64 {
    earlier.map_or(0, |version| version.saturating_add(1)).max(now.as_secs())
}

const SCHEMA: u32 = 2;
const STATE: &str = "state.json";
const VCEK_KEY: &str = "vcek.key";
const QUOTE_KEY: &str = "attestation.key";
const QUOTE: &str = "quote.bin";
const EVENT_LOG: &str = "event-log.bin";
const DEVICES: &str = "devices.json";
const DEVICE_ENDORSEMENTS: &str = "devices.pem";
const ENDORSEMENTS: &str = "endorsements.pem";
const POLICY: &str = "simulation.toml";
/// [`SimulatedPlatform::new`] gives its chip this seed.
const CHIP_SEED: u8 = 1;
