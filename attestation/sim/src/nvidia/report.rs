//! Reports of devices, byte for byte.

use attestation::gpu::Architecture;

use crate::error::SimError;
use crate::keys::EcKey;

/// Types of opaque fields.
pub mod field {
    /// The driver's version.
    pub const DRIVER: u16 = 3;
    /// The VBIOS' version.
    pub const VBIOS: u16 = 6;
    /// Whether the video decoder is in use.
    pub const NVDEC0: u16 = 11;
    /// The chip's SKU.
    pub const CHIP_SKU: u16 = 15;
    /// The board's project.
    pub const PROJECT: u16 = 17;
    /// The board's project SKU.
    pub const PROJECT_SKU: u16 = 18;
    /// The digest of the firmware.
    pub const FWID: u16 = 20;
    /// Whether `PCIe` is protected.
    pub const PROTECTED_PCIE: u16 = 21;
    /// A GPU's links, or a switch's own name.
    pub const PDI: u16 = 22;
    /// Whether a switch is locked.
    pub const LOCK: u16 = 25;
    /// The GPUs of a switch.
    pub const GPUS: u16 = 26;
    /// The layout's version.
    pub const VERSION: u16 = 34;
    /// The mode.
    pub const MODE: u16 = 36;
}

/// The version of a simulated GPU's driver.
pub(super) const DRIVER: &str = "590.12";
/// The version of a simulated GPU's VBIOS.
pub(super) const GPU_VBIOS: &str = "96.00.A5.00.01";
/// The version of a simulated switch's VBIOS.
pub(super) const SWITCH_VBIOS: &str = "96.10.73.00.01";
pub(super) const PROJECT: &str = "G520";
pub(super) const PROJECT_SKU: &str = "0200";
pub(super) const CHIP_SKU: &str = "885";

/// The chip as reference values name it.
pub(super) const fn chip(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Hopper => "GH100",
        Architecture::Blackwell => "GB100",
        Architecture::Ls10 => "LS10",
    }
}

/// Everything that a device reports, before it is signed.
#[derive(Debug, Clone)]
pub struct DeviceReport {
    /// The digests, the one with index 1 first.
    pub measurements: Vec<[u8; 48]>,
    /// The opaque fields, in order.
    pub fields: Vec<(u16, Vec<u8>)>,
    /// Bytes written over the rest before signing: (offset, bytes).
    pub patches: Vec<(usize, Vec<u8>)>,
    /// Whether one bit of the signature is flipped.
    pub is_forged: bool,
}

impl DeviceReport {
    pub(super) fn new(architecture: Architecture, number: u8, fwid: &[u8; 48]) -> Self {
        let count = u8::try_from(architecture.blocks()).unwrap_or(u8::MAX);
        // Half of a genuine report's digests are zero.
        let digest = |index: u8| if index % 2 == 1 { [0; 48] } else { [index; 48] };
        let fields = if architecture.is_switch() {
            vec![
                (field::VBIOS, SWITCH_VBIOS.as_bytes().to_vec()),
                (field::PDI, pdi(architecture, number)),
                (field::GPUS, [0xff; 128].to_vec()),
                (field::LOCK, vec![1, 0]),
            ]
        } else {
            vec![
                // Two little-endian words.
                (field::VBIOS, vec![0x00, 0xa5, 0x00, 0x96, 0x01, 0, 0, 0]),
                (field::CHIP_SKU, text(CHIP_SKU, 9)),
                (field::PROJECT, text(PROJECT, 5)),
                (field::PROJECT_SKU, text(PROJECT_SKU, 5)),
                (field::DRIVER, text(DRIVER, 7)),
                (field::NVDEC0, vec![0x55]),
                (field::FWID, fwid.to_vec()),
                (field::PROTECTED_PCIE, vec![0x55]),
                (field::VERSION, vec![1, 0]),
                (field::MODE, vec![0, 0]),
            ]
        };
        Self {
            measurements: (0..count).map(digest).collect(),
            fields,
            patches: Vec::new(),
            is_forged: false,
        }
    }

    /// Sets a field, at its place, or at the end where it is not there.
    pub fn set(&mut self, kind: u16, value: &[u8]) {
        match self.fields.iter_mut().find(|(found, _)| *found == kind) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.fields.push((kind, value.to_vec())),
        }
    }

    /// Takes a field out.
    pub fn unset(&mut self, kind: u16) {
        self.fields.retain(|(found, _)| *found != kind);
    }

    /// Puts a GPU into protected `PCIe` mode, its eighteen links led to these switches.
    pub fn protect(&mut self, switches: &[[u8; 8]]) {
        let reversed = |pdi: &[u8; 8]| pdi.iter().rev().copied().collect::<Vec<_>>();
        let links: Vec<_> = switches.iter().cycle().take(18).flat_map(reversed).collect();
        self.set(field::PDI, &links);
        self.set(field::PROTECTED_PCIE, &[0xaa]);
        self.set(field::MODE, &[2, 0]);
    }

    /// Lets a switch connect these GPUs, at most eight.
    pub fn connect(&mut self, gpus: &[[u8; 8]]) {
        let mut value: Vec<_> = gpus.iter().take(8).flatten().copied().collect();
        value.resize(64, 0xff);
        // Sixty-four ports, by the place of their GPU in the list.
        value.extend((0..64).map(|port: u8| if port < 32 { port % 8 } else { 0xff }));
        self.set(field::GPUS, &value);
    }

    /// The report over `nonce`.
    pub fn sign(&self, nonce: &[u8; 32], key: &EcKey) -> Result<Vec<u8>, SimError> {
        let too_long = || SimError::Argument("a report that is too long".to_owned());
        let mut report = vec![0x11, 0xe0, 0x01, 0xff];
        report.extend_from_slice(nonce);
        report.push(0);
        let count = u8::try_from(self.measurements.len()).map_err(|_| too_long())?;
        let record_len = u32::from(count).saturating_mul(55).to_le_bytes();
        report.extend_from_slice(&[0x11, 0x60, 0, 0, count]);
        report.extend_from_slice(record_len.get(..3).unwrap_or_default());
        for (index, digest) in (1..=count).zip(&self.measurements) {
            report.extend_from_slice(&[index, 1, 51, 0, 1, 48, 0]);
            report.extend_from_slice(digest);
        }
        report.extend_from_slice(&[0xd0; 32]);
        let mut opaque = Vec::new();
        for (kind, value) in &self.fields {
            let len = u16::try_from(value.len()).map_err(|_| too_long())?;
            opaque.extend_from_slice(&kind.to_le_bytes());
            opaque.extend_from_slice(&len.to_le_bytes());
            opaque.extend_from_slice(value);
        }
        let len = u16::try_from(opaque.len()).map_err(|_| too_long())?;
        report.extend_from_slice(&len.to_le_bytes());
        report.extend_from_slice(&opaque);
        for (at, bytes) in &self.patches {
            let end = at.saturating_add(bytes.len());
            if let Some(place) = report.get_mut(*at..end) {
                place.copy_from_slice(bytes);
            }
        }
        let mut signature = key.sign(&report)?;
        if self.is_forged
            && let Some(octet) = signature.last_mut()
        {
            *octet ^= 1;
        }
        report.extend_from_slice(&signature);
        Ok(report)
    }
}

/// Text with zeros after it.
fn text(text: &str, len: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(len, 0);
    bytes
}

/// A chip's name in the fabric: its serial number without the product.
fn pdi(architecture: Architecture, number: u8) -> Vec<u8> {
    let [_product, pdi @ ..] = super::chip_serial(architecture, number);
    pdi.to_vec()
}
