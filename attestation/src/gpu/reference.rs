//! Reference values of NVIDIA devices: which digests a driver or a VBIOS may show, as files of our own.
//!
//! NVIDIA publishes them as signed XML (RIM). That is verified and imported once; what is read here is
//! the import's result, JSON that `docs/policy.md` describes, or the same as a table in a policy.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::bytes::Malformed;
use crate::digest::{Sha256, Sha384};
use crate::time::UnixTime;

/// Longest file: 255 indices of sixteen digests are 400 kB.
pub const REFERENCE_LEN_MAX: usize = 1 << 20;
/// Most digests that one index may have; NVIDIA's own have up to four.
pub const ALTERNATIVES_MAX: usize = 16;
/// Highest index, counted from zero as NVIDIA's reference values do: a report counts from one, in a byte.
pub const INDEX_MAX: u8 = 253;

/// What one version of a driver or VBIOS may measure to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Version of the format: 1.
    pub schema: u32,
    /// What was measured.
    pub kind: ReferenceKind,
    /// NVIDIA's name of the reference values, such as `NV_GPU_DRIVER_GH100_550.144.03`.
    pub id: String,
    /// The chip, such as `GH100`; an `X` stands for any digit, as in NVIDIA's `GB20X`.
    pub chip: String,
    /// The version, as the report has it.
    pub version: String,
    /// The board's project; of a VBIOS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The board's project SKU; of a VBIOS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_sku: Option<String>,
    /// The chip's SKU; of a VBIOS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chip_sku: Option<String>,
    /// Whether these are values of a device with its developer tools on. No RIM of NVIDIA's is.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub devtools: bool,
    /// SHA-256 of the signed file that the values come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Sha256>,
    /// Until when the values may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<UnixTime>,
    /// What each index may be; an index that is not here is not compared.
    pub measurements: Vec<ReferenceMeasurement>,
}

/// What reference values are of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReferenceKind {
    /// The driver, which runs in the CPU's enclave and loads the GPU's firmware. Switches have none.
    Driver,
    /// The firmware on the device.
    Vbios,
}

impl ReferenceKind {
    /// Its name in files and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Vbios => "VBIOS",
        }
    }
}

/// What one index may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceMeasurement {
    /// The index, from zero, as the RIM counts; the report's is one higher.
    pub index: u8,
    /// The digests, any of which will do.
    pub digests: Vec<Sha384>,
}

impl ReferenceValues {
    /// The version of the format that is written and read here.
    pub const SCHEMA: u32 = 1;

    /// Reads a file.
    ///
    /// # Errors
    /// Too long, no such JSON, or whatever [`check`](Self::check) refuses.
    pub fn parse(json: &[u8]) -> Result<Self, Malformed> {
        if json.len() > REFERENCE_LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: REFERENCE_LEN_MAX });
        }
        let values: Self = serde_json::from_slice(json)
            .map_err(|_| Malformed::invalid(WHAT, "are no JSON of the form that is known"))?;
        values.check()?;
        Ok(values)
    }

    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// Another schema, empty or absurd names, no measurement, an index twice or without a digest, or
    /// the fields of another kind.
    pub fn check(&self) -> Result<(), Malformed> {
        let Self {
            schema,
            kind,
            id,
            chip,
            version,
            project,
            project_sku,
            chip_sku,
            devtools: _,
            source: _,
            not_after: _,
            measurements,
        } = self;
        let invalid = |why| Err(Malformed::invalid(WHAT, why));
        if *schema != Self::SCHEMA {
            return invalid("are of another schema than 1");
        }
        let board = [project, project_sku, chip_sku];
        let names = [Some(id), Some(chip), Some(version)];
        let is_switch = Architecture::of_chip(chip).is_some_and(Architecture::is_switch);
        let names = names.into_iter().chain(board.map(Option::as_ref)).flatten();
        if !names.into_iter().all(|name| is_name(name)) {
            return invalid("have a name that is not 1 to 128 printable characters");
        }
        if Architecture::of_chip(chip).is_none() {
            return invalid("are of a chip that is not known");
        }
        match kind {
            ReferenceKind::Driver if board.into_iter().any(Option::is_some) => {
                return invalid("of a driver name a board");
            }
            ReferenceKind::Driver if is_switch => {
                return invalid("are of a switch's driver, which there is not");
            }
            ReferenceKind::Vbios if !is_switch && board.into_iter().any(Option::is_none) => {
                return invalid("of a VBIOS need project, project_sku and chip_sku");
            }
            ReferenceKind::Driver | ReferenceKind::Vbios => {}
        }
        let mut indices = BTreeSet::new();
        for ReferenceMeasurement { index, digests } in measurements {
            if *index > INDEX_MAX || !indices.insert(*index) {
                return invalid("have an index twice, or one that no report has");
            }
            if digests.is_empty() || digests.len() > ALTERNATIVES_MAX {
                return invalid("have an index with no digest, or with too many");
            }
        }
        if indices.is_empty() {
            return invalid("have no measurement");
        }
        Ok(())
    }

    /// Whether the values are of this chip.
    pub fn is_of_chip(&self, chip: &str) -> bool {
        is_chip(&self.chip, chip)
    }

    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists always serialise.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// Whether `pattern` is the name of this chip; an `X` in it stands for any digit.
pub fn is_chip(pattern: &str, chip: &str) -> bool {
    pattern.len() == chip.len()
        && pattern
            .bytes()
            .zip(chip.bytes())
            .all(|(pattern, byte)| pattern == byte || (pattern == b'X' && byte.is_ascii_digit()))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_graphic())
}

const WHAT: &str = "reference values";

#[cfg(test)]
mod tests {
    use super::*;

    fn vbios() -> ReferenceValues {
        ReferenceValues {
            schema: 1,
            kind: ReferenceKind::Vbios,
            id: "NV_GPU_VBIOS_1010_0200_882_96005E0001".to_owned(),
            chip: "GH100".to_owned(),
            version: "96.00.5E.00.01".to_owned(),
            project: Some("1010".to_owned()),
            project_sku: Some("0200".to_owned()),
            chip_sku: Some("882".to_owned()),
            devtools: false,
            source: Some(Sha256::of(b"xml")),
            not_after: Some(UnixTime::from_secs(1_900_000_000)),
            measurements: vec![ReferenceMeasurement {
                index: 12,
                digests: vec![Sha384::of(b"one"), Sha384::of(b"two")],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let values = vbios();
        assert_eq!(ReferenceValues::parse(&values.encode()), Ok(values));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        type Change<'a> = (&'a str, &'a dyn Fn(&mut ReferenceValues));
        let changes: [Change<'_>; 10] = [
            ("an unknown chip", &|v| v.chip = "TU102".to_owned()),
            ("schema", &|v| v.schema = 2),
            ("empty id", &|v| v.id.clear()),
            ("space in the version", &|v| v.version = "96 00".to_owned()),
            ("no project", &|v| v.project = None),
            ("a driver with a board", &|v| v.kind = ReferenceKind::Driver),
            ("no measurement", &|v| v.measurements.clear()),
            ("an index twice", &|v| v.measurements.push(v.measurements[0].clone())),
            ("no digest", &|v| v.measurements[0].digests.clear()),
            ("an index that no report has", &|v| v.measurements[0].index = 254),
        ];
        for (name, change) in changes {
            let mut values = vbios();
            change(&mut values);
            assert!(ReferenceValues::parse(&values.encode()).is_err(), "{name}");
        }
        let mut switch = vbios();
        switch.chip = "LS10".to_owned();
        switch.project = None;
        assert!(switch.check().is_ok(), "a switch's report names no board");
        switch.kind = ReferenceKind::Driver;
        (switch.project_sku, switch.chip_sku) = (None, None);
        assert!(switch.check().is_err(), "a switch has no driver");
        let mut family = vbios();
        family.chip = "GB20X".to_owned();
        for (chip, expected) in
            [("GB202", true), ("GB20X", true), ("GB20Y", false), ("GB2021", false)]
        {
            assert_eq!(family.is_of_chip(chip), expected, "{chip}");
        }
        let text = String::from_utf8(vbios().encode()).unwrap();
        assert!(ReferenceValues::parse(text.replace("\"id\"", "\"ib\"").as_bytes()).is_err());
        assert!(ReferenceValues::parse(&vec![b' '; REFERENCE_LEN_MAX + 1]).is_err());
    }
}
