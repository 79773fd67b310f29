//! NVIDIA's devices under a vendor of our own: chains of five certificates, reports byte for byte, answers
//! about revocation, and the reference values that fit.
//!
//! As with AMD, everything is data: a test takes a [`DeviceRecipe`] that a verifier accepts, changes one thing,
//! and signs it.

use std::sync::{Arc, OnceLock};

use attestation::gpu::{Architecture, ReferenceKind, ReferenceMeasurement, ReferenceValues};
use attestation::{Digest, UnixTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificate::Validity;
use crate::error::SimError;
use crate::keys::EcKey;
use crate::replay;

mod certificate;
mod ocsp;
mod report;

pub use certificate::{EcCertificate, composite, tcb_info};
pub use ocsp::{OcspRecipe, Status, StatusRecipe};
pub use report::{DeviceReport, field};

/// The keys of a simulated vendor of devices, and of the chips' provisioning line.
#[derive(Debug)]
pub struct NvidiaPki {
    /// The root's key.
    pub root: EcKey,
    /// The generation's key.
    pub identity: EcKey,
    /// The provisioning line's key.
    pub provisioner: EcKey,
    /// The key that answers about revocation.
    pub responder: EcKey,
    /// Validity of every certificate.
    pub validity: Validity,
    /// The root certificate: signed once, because an anchor is these bytes.
    root_der: Vec<u8>,
}

impl NvidiaPki {
    /// New keys.
    pub fn generate(validity: Validity) -> Result<Self, SimError> {
        let mut pki = Self {
            root: EcKey::generate()?,
            identity: EcKey::generate()?,
            provisioner: EcKey::generate()?,
            responder: EcKey::generate()?,
            validity,
            root_der: Vec::new(),
        };
        pki.root_der = EcCertificate::root(&pki).sign(&pki.root)?;
        Ok(pki)
    }

    /// One for all tests of a program, good from 2020 to the year 9999 as NVIDIA's own.
    pub fn shared() -> Result<Arc<Self>, SimError> {
        static SHARED: OnceLock<Arc<NvidiaPki>> = OnceLock::new();
        if let Some(pki) = SHARED.get() {
            return Ok(Arc::clone(pki));
        }
        let not_before = UnixTime::from_secs(1_602_892_800);
        let pki = Arc::new(Self::generate(Validity { not_before, not_after: UnixTime::END })?);
        Ok(Arc::clone(SHARED.get_or_init(|| pki)))
    }

    /// The root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root_der
    }
}

/// One device: its keys, the certificates above them, and what it reports.
#[derive(Debug)]
pub struct DeviceRecipe {
    /// The authorities.
    pub pki: Arc<NvidiaPki>,
    /// Its generation, as the evidence has it.
    pub architecture: Architecture,
    /// The key that the device made at boot, which signs reports.
    pub key: EcKey,
    /// The chip's key.
    pub chip_key: EcKey,
    /// Certificates of signing key, chip, provisioner, identity and root.
    pub chain: [EcCertificate; 5],
    /// Which key signs each of them; none, the one of its role.
    pub signers: [Option<Signer>; 5],
    /// What the device reports.
    pub report: DeviceReport,
}

/// One of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The signing key.
    Leaf,
    /// The chip's.
    Chip,
    /// The provisioner's.
    Provisioner,
    /// The identity's.
    Identity,
    /// The root's.
    Root,
}

impl DeviceRecipe {
    /// An H100 by number.
    pub fn hopper(pki: &Arc<NvidiaPki>, number: u8) -> Result<Self, SimError> {
        Self::new(pki, "GH100", Architecture::Hopper, number)
    }

    /// A B100 by number.
    pub fn blackwell(pki: &Arc<NvidiaPki>, number: u8) -> Result<Self, SimError> {
        Self::new(pki, "GB100", Architecture::Blackwell, number)
    }

    /// A switch by number.
    pub fn switch(pki: &Arc<NvidiaPki>, number: u8) -> Result<Self, SimError> {
        Self::new(pki, "LS_10", Architecture::Ls10, number)
    }

    fn new(
        pki: &Arc<NvidiaPki>,
        chip: &str,
        architecture: Architecture,
        number: u8,
    ) -> Result<Self, SimError> {
        let (key, chip_key) = (EcKey::generate()?, EcKey::generate()?);
        let fwid = [0x40_u8.wrapping_add(number); 48];
        let serial = chip_serial(architecture, number);
        let chain = [
            EcCertificate::leaf(pki, chip, &serial, number, &key, &chip_key, &fwid),
            EcCertificate::chip(pki, chip, &serial, &chip_key),
            EcCertificate::provisioner(pki, chip),
            EcCertificate::identity(pki, chip),
            EcCertificate::root(pki),
        ];
        let report = DeviceReport::new(architecture, number, &fwid);
        let pki = Arc::clone(pki);
        Ok(Self { pki, architecture, key, chip_key, chain, signers: [None; 5], report })
    }

    /// The name that the fabric knows the device by.
    pub fn pdi(&self) -> [u8; 8] {
        let serial = self.chain.get(1).map(|chip| chip.serial.as_slice()).unwrap_or_default();
        serial.last_chunk().copied().unwrap_or_default()
    }

    /// The chain in DER, the signing key's certificate first.
    pub fn sign_chain(&self) -> Result<Vec<Vec<u8>>, SimError> {
        let roles =
            [Signer::Chip, Signer::Provisioner, Signer::Identity, Signer::Root, Signer::Root];
        let signers = self.signers.iter().zip(roles).map(|(other, own)| other.unwrap_or(own));
        let root = EcCertificate::root(&self.pki);
        let sign = |(recipe, by): (&EcCertificate, Signer)| {
            if *recipe == root {
                Ok(self.pki.root_der.clone())
            } else {
                recipe.sign(self.signer(by))
            }
        };
        self.chain.iter().zip(signers).map(sign).collect()
    }

    /// The report over `nonce`.
    pub fn sign_report(&self, nonce: &[u8; 32]) -> Result<Vec<u8>, SimError> {
        self.report.sign(nonce, &self.key)
    }

    /// One of the keys.
    pub fn signer(&self, which: Signer) -> &EcKey {
        match which {
            Signer::Leaf => &self.key,
            Signer::Chip => &self.chip_key,
            Signer::Provisioner => &self.pki.provisioner,
            Signer::Identity => &self.pki.identity,
            Signer::Root => &self.pki.root,
        }
    }

    /// What signs the same again and again, for a simulated platform.
    pub fn into_device(self) -> Result<replay::Device, SimError> {
        let report = self.sign_report(&[0; 32])?;
        let chain = pem(&self.sign_chain()?);
        Ok(replay::Device { architecture: self.architecture, report, key: self.key, chain })
    }

    /// The reference values of what it reports: of its driver, where it has one, and of its VBIOS. They
    /// share its measurements as NVIDIA's do: not one after the other.
    pub fn reference_values(&self) -> Vec<ReferenceValues> {
        let is_switch = self.architecture.is_switch();
        let measurement = |index: u8| {
            let digest = self.report.measurements.get(usize::from(index))?;
            Some(ReferenceMeasurement { index, digests: vec![Digest([0x99; 48]), Digest(*digest)] })
        };
        let values = |kind, id: &str, version: &str, indices: &mut dyn Iterator<Item = u8>| {
            let board = |text: &str| {
                let has_board = kind == ReferenceKind::Vbios && !is_switch;
                has_board.then(|| text.to_owned())
            };
            ReferenceValues {
                schema: ReferenceValues::SCHEMA,
                kind,
                id: id.to_owned(),
                chip: report::chip(self.architecture).to_owned(),
                version: version.to_owned(),
                project: board(report::PROJECT),
                project_sku: board(report::PROJECT_SKU),
                chip_sku: board(report::CHIP_SKU),
                devtools: false,
                source: None,
                not_after: None,
                measurements: indices.filter_map(measurement).collect(),
            }
        };
        let is_drivers = |index: &u8| *index == 7 || *index >= 21;
        let all = || 0..u8::try_from(self.report.measurements.len()).unwrap_or(u8::MAX);
        if is_switch {
            let id = "NV_SWITCH_BIOS_SIMULATED";
            return vec![values(ReferenceKind::Vbios, id, report::SWITCH_VBIOS, &mut all())];
        }
        let (driver, vbios) = ("NV_GPU_DRIVER_SIMULATED", "NV_GPU_VBIOS_SIMULATED");
        vec![
            values(ReferenceKind::Driver, driver, report::DRIVER, &mut all().filter(is_drivers)),
            values(
                ReferenceKind::Vbios,
                vbios,
                report::GPU_VBIOS,
                &mut all().filter(|index| !is_drivers(index)),
            ),
        ]
    }
}

/// Ties GPUs and switches together into a protected fabric that is closed.
pub fn connect(gpus: &mut [DeviceRecipe], switches: &mut [DeviceRecipe]) {
    let gpu_names: Vec<_> = gpus.iter().map(DeviceRecipe::pdi).collect();
    let switch_names: Vec<_> = switches.iter().map(DeviceRecipe::pdi).collect();
    for gpu in gpus {
        gpu.report.protect(&switch_names);
    }
    for switch in switches {
        switch.report.connect(&gpu_names);
    }
}

/// Base64, as device evidence has it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A chain in PEM.
pub fn pem(chain: &[Vec<u8>]) -> String {
    let block = |der: &Vec<u8>| {
        let body = base64(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    chain.iter().map(block).collect()
}

/// A product's byte, then the chip's name in the fabric.
fn chip_serial(architecture: Architecture, number: u8) -> [u8; 9] {
    let product = if architecture.is_switch() { 0x50 } else { 0x41 };
    [product, 0x5a, 0x16, 0xbc, 0xd6, 0x46, 0x5b, 0x24, number.wrapping_add(1)]
}
