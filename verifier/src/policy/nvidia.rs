//! The sections `[nvidia-gpu]` and `[nvidia-switch]`: what may be written, what it means, and what is
//! said of it.

use core::fmt::{self, Write as _};
use std::collections::{BTreeMap, BTreeSet};

use attestation::gpu::{Architecture, Mode, ReferenceKind, ReferenceValues};
use attestation::{Digest, Malformed};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::{AnyOr, Demand, Presence, UnknownBits};
use super::lint::{Look, Problem, is_empty};
use super::read::Reader;
use super::show::demand;
use super::{Accept, ReadAnchor, list};

/// What is acceptable of GPUs.
#[derive(Clone, Debug)]
pub(crate) struct GpuPolicy {
    pub(crate) device: DevicePolicy,
    pub(crate) min_driver: Option<DriverVersion>,
    pub(crate) modes: BTreeSet<Mode>,
    pub(crate) devtools: Demand,
    pub(crate) topology: Presence,
}

/// What is acceptable of switches.
#[derive(Clone, Debug)]
pub(crate) struct SwitchPolicy {
    pub(crate) device: DevicePolicy,
    pub(crate) unlocked: Demand,
}

/// What is acceptable of a device of either kind.
#[derive(Clone, Debug)]
pub(crate) struct DevicePolicy {
    pub(crate) architectures: BTreeSet<Architecture>,
    pub(crate) reference: References,
    pub(crate) revocation: Presence,
    pub(crate) count: Option<u32>,
    /// Serial numbers of signing keys' or chips' certificates, in hex.
    pub(crate) devices: Accept<String>,
    pub(crate) min_vbios: BTreeMap<String, VbiosVersion>,
    pub(crate) unlisted: UnknownBits,
}

/// Reference values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum References {
    /// Every measurement is accepted.
    Any,
    /// Those of one of these.
    Only(Vec<ReferenceValues>),
}

/// A driver's version: numbers, compared one by one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct DriverVersion(Vec<u32>);

impl DriverVersion {
    /// Parses one to five decimal numbers with dots between them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Option<Vec<_>> = text.split('.').map(|part| part.parse().ok()).collect();
        parts.filter(|parts| parts.len() <= 5).map(Self)
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// A VBIOS' version: five bytes, compared one by one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct VbiosVersion([u8; 5]);

impl VbiosVersion {
    /// Parses five bytes in hex with dots between them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Option<Vec<_>> = text
            .split('.')
            .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
            .collect();
        parts?.try_into().ok().map(Self)
    }
}

impl fmt::Display for VbiosVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|part| format!("{part:02X}")).collect();
        f.write_str(&parts.join("."))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GpuFile {
    architectures: Vec<String>,
    reference_values: AnyOr<ReferenceFile>,
    revocation: Presence,
    count: Option<u32>,
    devices: AnyOr<String>,
    min_driver: Option<String>,
    min_vbios: BTreeMap<String, String>,
    unlisted: UnknownBits,
    confidential_compute: Vec<ModeName>,
    devtools: Demand,
    topology: Presence,
}

impl Default for GpuFile {
    fn default() -> Self {
        Self {
            architectures: vec!["hopper".to_owned(), "blackwell".to_owned()],
            reference_values: AnyOr::List(Vec::new()),
            revocation: Presence::Required,
            count: None,
            devices: AnyOr::Any,
            min_driver: None,
            min_vbios: BTreeMap::new(),
            unlisted: UnknownBits::Tolerated,
            confidential_compute: vec![ModeName::Single, ModeName::Multi, ModeName::ProtectedPcie],
            devtools: Demand::Refused,
            topology: Presence::Required,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SwitchFile {
    architectures: Vec<String>,
    reference_values: AnyOr<ReferenceFile>,
    revocation: Presence,
    count: Option<u32>,
    devices: AnyOr<String>,
    min_vbios: BTreeMap<String, String>,
    unlisted: UnknownBits,
    unlocked: Demand,
}

impl Default for SwitchFile {
    fn default() -> Self {
        Self {
            architectures: vec!["ls10".to_owned()],
            reference_values: AnyOr::List(Vec::new()),
            revocation: Presence::Required,
            count: None,
            devices: AnyOr::Any,
            min_vbios: BTreeMap::new(),
            unlisted: UnknownBits::Tolerated,
            unlocked: Demand::Refused,
        }
    }
}

/// A mode's name in a policy.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    Single,
    Multi,
    ProtectedPcie,
    Unstated,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Single => Self::Single,
            ModeName::Multi => Self::Multi,
            ModeName::ProtectedPcie => Self::ProtectedPcie,
            ModeName::Unstated => Self::Unstated,
        }
    }
}

/// A set of reference values: in a file of its own, or in the policy.
#[derive(Debug)]
enum ReferenceFile {
    Named(String),
    Here(Box<ReferenceValues>),
}

impl<'de> Deserialize<'de> for ReferenceFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = ReferenceFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file's name, or a table of reference values")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<ReferenceFile, E> {
        Ok(ReferenceFile::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReferenceFile, A::Error> {
        let values = ReferenceValues::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ReferenceFile::Here(Box::new(values)))
    }
}

/// What both sections have.
struct DeviceFile {
    key: &'static str,
    architectures: Vec<String>,
    reference_values: AnyOr<ReferenceFile>,
    revocation: Presence,
    count: Option<u32>,
    devices: AnyOr<String>,
    min_vbios: BTreeMap<String, String>,
    unlisted: UnknownBits,
}

impl Reader {
    /// What the section of GPUs means.
    pub(super) fn gpu(&mut self, file: GpuFile, read: &ReadAnchor<'_>) -> GpuPolicy {
        let GpuFile {
            architectures,
            reference_values,
            revocation,
            count,
            devices,
            min_driver,
            min_vbios,
            unlisted,
            confidential_compute,
            devtools,
            topology,
        } = file;
        let min_driver = min_driver.and_then(|text| {
            let version = DriverVersion::parse(&text);
            if version.is_none() {
                let message = format!("{text} is no version such as 550.90.07");
                self.problem("nvidia-gpu.min_driver", message);
            }
            version
        });
        if devtools == Demand::Required {
            self.problem("nvidia-gpu.devtools", "may be refused or allowed");
        }
        let key = "nvidia-gpu";
        let device = DeviceFile {
            key,
            architectures,
            reference_values,
            revocation,
            count,
            devices,
            min_vbios,
            unlisted,
        };
        GpuPolicy {
            device: self.device(device, read),
            min_driver,
            modes: confidential_compute.into_iter().map(Mode::from).collect(),
            devtools,
            topology,
        }
    }

    /// What the section of switches means.
    pub(super) fn switch(&mut self, file: SwitchFile, read: &ReadAnchor<'_>) -> SwitchPolicy {
        let SwitchFile {
            architectures,
            reference_values,
            revocation,
            count,
            devices,
            min_vbios,
            unlisted,
            unlocked,
        } = file;
        if unlocked == Demand::Required {
            self.problem("nvidia-switch.unlocked", "may be refused or allowed");
        }
        let key = "nvidia-switch";
        let device = DeviceFile {
            key,
            architectures,
            reference_values,
            revocation,
            count,
            devices,
            min_vbios,
            unlisted,
        };
        SwitchPolicy { device: self.device(device, read), unlocked }
    }

    fn device(&mut self, file: DeviceFile, read: &ReadAnchor<'_>) -> DevicePolicy {
        let DeviceFile {
            key,
            architectures,
            reference_values,
            revocation,
            count,
            devices,
            min_vbios,
            unlisted,
        } = file;
        let of_switches = key == "nvidia-switch";
        let mut known = BTreeSet::new();
        for name in architectures {
            let is_named = |architecture: &Architecture| {
                architecture.is_switch() == of_switches
                    && architecture.name().eq_ignore_ascii_case(&name)
            };
            match Architecture::ALL.into_iter().find(is_named) {
                Some(architecture) => drop(known.insert(architecture)),
                None => self.problem(
                    &format!("{key}.architectures"),
                    format!("{name} is no architecture of this section's devices"),
                ),
            }
        }
        let reference = self.references(&format!("{key}.reference_values"), reference_values, read);
        DevicePolicy {
            architectures: known,
            reference,
            revocation,
            count,
            devices: self.accept(&format!("{key}.devices"), devices, serial),
            min_vbios: self.min_vbios(key, min_vbios),
            unlisted,
        }
    }

    fn references(
        &mut self,
        key: &str,
        written: AnyOr<ReferenceFile>,
        read: &ReadAnchor<'_>,
    ) -> References {
        let AnyOr::List(written) = written else { return References::Any };
        let mut all = Vec::new();
        for values in written {
            let (name, values) = match values {
                ReferenceFile::Here(values) => {
                    let name = values.id.clone();
                    (name, values.check().map(|()| *values).map_err(|error| error.to_string()))
                }
                ReferenceFile::Named(name) => {
                    let values = read(&name).and_then(|json| {
                        ReferenceValues::parse(&json).map_err(|error| error.to_string())
                    });
                    (name, values)
                }
            };
            match values {
                Ok(values) => all.push(values),
                Err(error) => self.problem(key, format!("{name}: {error}")),
            }
        }
        References::Only(all)
    }

    fn min_vbios(
        &mut self,
        section: &str,
        written: BTreeMap<String, String>,
    ) -> BTreeMap<String, VbiosVersion> {
        let mut minima = BTreeMap::new();
        for (chip, text) in written {
            let key = format!("{section}.min_vbios.{chip}");
            // A minimum that no device of the section meets by name would bind none.
            let of_switches = section == "nvidia-switch";
            if Architecture::of_chip(&chip).is_none_or(|it| it.is_switch() != of_switches) {
                self.problem(&key, "is of no chip that this section's devices have");
            }
            match VbiosVersion::parse(&text) {
                Some(version) => drop(minima.insert(chip, version)),
                None => self.problem(&key, format!("{text} is no version such as 96.00.9F.00.01")),
            }
        }
        minima
    }
}

/// The serial number of a signing key's certificate, or of a chip's.
fn serial(text: &str) -> Result<String, Malformed> {
    match text.parse::<Digest<20>>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => text.parse::<Digest<9>>().map(|_| text.to_owned()),
    }
}

impl GpuPolicy {
    /// Where the section asks for less than it could.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        self.device.relaxations(["nvidia-gpu.reference_values", "nvidia-gpu.revocation"], note);
        note(
            self.modes.contains(&Mode::Unstated),
            "nvidia-gpu.confidential_compute",
            "accepts GPUs that do not say how they protect what they compute on",
        );
        note(
            self.devtools != Demand::Refused,
            "nvidia-gpu.devtools",
            "accepts GPUs with developer tools on",
        );
        note(
            self.topology == Presence::IfPresent,
            "nvidia-gpu.topology",
            "accepts GPUs of a protected fabric without its switches",
        );
    }

    /// What its author should look at.
    pub(super) fn lint(&self, look: &Look<'_>, problems: &mut Vec<Problem>) {
        let kinds = [ReferenceKind::Driver, ReferenceKind::Vbios];
        self.device.lint("nvidia-gpu", &kinds, look, problems);
        if self.modes.is_empty() {
            let message = "is empty: no mode is accepted";
            problems.push(Problem::error("nvidia-gpu.confidential_compute", message));
        }
        // Evidence of a switch is refused without its section, and such GPUs are refused without their switches.
        let only_protected = self.modes.iter().eq([&Mode::ProtectedPcie]);
        if only_protected
            && self.topology == Presence::Required
            && look.policy.nvidia_switch.is_none()
        {
            let message = "accepts GPUs in protected PCIe mode alone, which come with their switches, and there is no section \
                           nvidia-switch: nothing is accepted";
            problems.push(Problem::error("nvidia-gpu.confidential_compute", message));
        }
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "NVIDIA GPUs are demanded, of: {}.", list(&self.device.architectures))?;
        match self.device.count {
            Some(count) => writeln!(out, "  Exactly {count} of them.")?,
            None => writeln!(out, "  One or more of them.")?,
        }
        self.device.show(out)?;
        match &self.min_driver {
            Some(min) => writeln!(out, "  The driver is at least {min}.")?,
            None => writeln!(out, "  The driver may be of any version that is listed.")?,
        }
        writeln!(out, "  Modes of confidential computing: {}.", list(&self.modes))?;
        demand(out, "Developer tools", self.devtools)?;
        match self.topology {
            Presence::Required => {
                writeln!(
                    out,
                    "  A protected fabric comes whole: GPUs and switches name each other."
                )
            }
            Presence::IfPresent => {
                writeln!(out, "  GPUs of a protected fabric are accepted without its switches.")
            }
        }
    }
}

impl SwitchPolicy {
    /// Where the section asks for less than it could.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        self.device
            .relaxations(["nvidia-switch.reference_values", "nvidia-switch.revocation"], note);
        note(
            self.unlocked != Demand::Refused,
            "nvidia-switch.unlocked",
            "accepts switches whose settings can be changed",
        );
    }

    /// What its author should look at.
    pub(super) fn lint(&self, look: &Look<'_>, problems: &mut Vec<Problem>) {
        self.device.lint("nvidia-switch", &[ReferenceKind::Vbios], look, problems);
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "NVIDIA switches are accepted, of: {}.", list(&self.device.architectures))?;
        if let Some(count) = self.device.count {
            writeln!(out, "  Exactly {count} of them.")?;
        }
        self.device.show(out)?;
        demand(out, "Switches that are not locked", self.unlocked)
    }
}

impl DevicePolicy {
    fn relaxations(
        &self,
        [references, revocation]: [&'static str; 2],
        note: &mut dyn FnMut(bool, &'static str, &str),
    ) {
        note(self.reference == References::Any, references, "accepts any measurement");
        note(self.revocation == Presence::IfPresent, revocation, "does without OCSP responses");
    }

    fn lint(
        &self,
        section: &str,
        kinds: &[ReferenceKind],
        look: &Look<'_>,
        problems: &mut Vec<Problem>,
    ) {
        let mut error = |is_wrong: bool, key: &str, message: &str| {
            if is_wrong {
                problems.push(Problem::error(&format!("{section}.{key}"), message));
            }
        };
        error(
            self.architectures.is_empty(),
            "architectures",
            "is empty: no architecture is accepted",
        );
        error(is_empty(&self.devices), "devices", "is empty: no device is accepted");
        error(self.count == Some(0), "count", "is none: leave the section out instead");
        if let References::Only(all) = &self.reference {
            for kind in kinds {
                let message = format!("has none of a {}: no device is accepted", kind.name());
                let is_missing = !all.iter().any(|values| values.kind == *kind);
                error(is_missing, "reference_values", &message);
            }
            for values in all {
                if let Some(end) = values.not_after.filter(|end| *end < look.now) {
                    let message =
                        format!("has {}, which ended at {end}: import it anew", values.id);
                    error(true, "reference_values", &message);
                }
            }
        }
    }

    fn show(&self, out: &mut String) -> fmt::Result {
        match &self.reference {
            References::Any => writeln!(out, "  Any measurement is accepted.")?,
            References::Only(all) => {
                let ids = list(all.iter().map(|values| &values.id));
                writeln!(out, "  Measurements are those of: {ids}.")?;
            }
        }
        match self.unlisted {
            UnknownBits::Tolerated => {
                writeln!(out, "  Measurements that none of them is about are warned of.")?;
            }
            UnknownBits::Refused => {
                writeln!(out, "  Measurements that none of them is about are refused.")?;
            }
        }
        match self.revocation {
            Presence::Required => writeln!(out, "  Current OCSP responses are required.")?,
            Presence::IfPresent => {
                writeln!(out, "  OCSP responses are checked where there are any.")?;
            }
        }
        writeln!(out, "  Devices: {}.", self.devices)?;
        for (chip, min) in &self.min_vbios {
            writeln!(out, "  The VBIOS of {chip} is at least {min}.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        let driver = |text| DriverVersion::parse(text).unwrap();
        assert!(driver("550.90.07") < driver("550.144.03"));
        assert!(driver("550.90.07") > driver("550.9.99"));
        assert!(driver("590.12") > driver("580.159.03"));
        assert_eq!(driver("550.90.07").to_string(), "550.90.7");
        for bad in ["", "550.", "550.x", "1.2.3.4.5.6", "-1"] {
            assert_eq!(DriverVersion::parse(bad), None, "{bad}");
        }
        let vbios = |text| VbiosVersion::parse(text).unwrap();
        assert!(vbios("96.00.9F.00.01") < vbios("96.00.A5.00.01"));
        assert_eq!(vbios("96.00.a5.00.01").to_string(), "96.00.A5.00.01");
        for bad in ["", "96.00.9F.00", "96.00.9F.00.01.02", "96.00.9F.0.01", "96.00.9G.00.01"] {
            assert_eq!(VbiosVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_minimum_is_of_a_chip_of_its_section() {
        let parsed = |section: &str, chip: &str| {
            let text = format!(
                "schema = 1\nname = \"p\"\nversion = 1\npurpose = \"evaluation\"\n\
                 [{section}]\nmin_vbios.{chip} = \"96.00.9F.00.01\"\n"
            );
            crate::Policy::parse(&text, &|_| Err(String::new()))
        };
        for (section, chip, is_one) in [
            ("nvidia-gpu", "GH100", true),
            ("nvidia-gpu", "GB20X", true),
            ("nvidia-switch", "LS10", true),
            ("nvidia-gpu", "LS10", false),
            ("nvidia-switch", "GH100", false),
            ("nvidia-gpu", "gh100", false),
        ] {
            assert_eq!(parsed(section, chip).is_ok(), is_one, "{chip} in {section}");
        }
    }

    #[test]
    fn devices_are_named_by_a_serial_number() {
        assert!(serial(&"5a".repeat(20)).is_ok());
        assert!(serial("412921ce551e4eeda3").is_ok());
        for bad in ["412921CE551E4EEDA3", "412921ce551e4eed", "device", ""] {
            assert!(serial(bad).is_err(), "{bad}");
        }
    }
}
