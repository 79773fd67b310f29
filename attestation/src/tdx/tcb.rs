//! What TCB Info and QE Identity have in common (Intel PCS API v4).

use core::fmt;

use serde::{Deserialize, Deserializer};

use crate::bytes::Malformed;

/// The state of a TCB level: as Intel states it, or as it follows from several.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TcbStatus {
    /// Nothing newer is to be had.
    UpToDate,
    /// What runs on it should harden itself in software.
    SwHardeningNeeded,
    /// The platform's configuration exposes what a change of it would not.
    ConfigurationNeeded,
    /// Both of these.
    ConfigurationAndSwHardeningNeeded,
    /// There are updates that close known holes.
    OutOfDate,
    /// The same, and the configuration exposes more.
    OutOfDateConfigurationNeeded,
    /// The platform was updated since the TD was launched, and the TD should be launched anew.
    TdRelaunchAdvised,
    /// The same, and the configuration exposes more.
    TdRelaunchAdvisedConfigurationNeeded,
    /// Keys of such platforms are known: what they sign means nothing.
    Revoked,
}

impl TcbStatus {
    /// Every status, best first.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
        Self::Revoked,
    ];

    /// Its name in policies and claims.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "up-to-date",
            Self::SwHardeningNeeded => "sw-hardening-needed",
            Self::ConfigurationNeeded => "configuration-needed",
            Self::ConfigurationAndSwHardeningNeeded => "configuration-and-sw-hardening-needed",
            Self::OutOfDate => "out-of-date",
            Self::OutOfDateConfigurationNeeded => "out-of-date-configuration-needed",
            Self::TdRelaunchAdvised => "td-relaunch-advised",
            Self::TdRelaunchAdvisedConfigurationNeeded => {
                "td-relaunch-advised-configuration-needed"
            }
            Self::Revoked => "revoked",
        }
    }

    /// Whether updates are to be had that close known holes.
    pub const fn is_out_of_date(self) -> bool {
        matches!(self, Self::OutOfDate | Self::OutOfDateConfigurationNeeded)
    }

    /// Intel's spelling; the statuses of a relaunch are nobody's statement.
    fn of_intel(name: &str) -> Option<Self> {
        Some(match name {
            "UpToDate" => Self::UpToDate,
            "SWHardeningNeeded" => Self::SwHardeningNeeded,
            "ConfigurationNeeded" => Self::ConfigurationNeeded,
            "ConfigurationAndSWHardeningNeeded" => Self::ConfigurationAndSwHardeningNeeded,
            "OutOfDate" => Self::OutOfDate,
            "OutOfDateConfigurationNeeded" => Self::OutOfDateConfigurationNeeded,
            "Revoked" => Self::Revoked,
            _ => return None,
        })
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TcbStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        Self::of_intel(name).ok_or_else(|| serde::de::Error::custom("no status"))
    }
}

/// Names of the advisories that a level leaves open.
pub type Advisories = Vec<String>;

/// A value of which only the bits under a mask count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Masked<const N: usize> {
    /// What the bits must be.
    pub value: [u8; N],
    /// Which bits count.
    pub mask: [u8; N],
}

impl<const N: usize> Masked<N> {
    /// Whether `actual` has the value in every bit that counts.
    pub fn admits(&self, actual: &[u8; N]) -> bool {
        let wanted = self.value.iter().zip(&self.mask);
        wanted.zip(actual).all(|((value, mask), actual)| value & mask == actual & mask)
    }

    /// Whether `actual` has a bit set that does not count.
    pub fn leaves_set(&self, actual: &[u8; N]) -> bool {
        self.mask.iter().zip(actual).any(|(mask, actual)| actual & !mask != 0)
    }
}

/// Hex of exactly `N` bytes, in either case: Intel writes both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        let mut out = [0; N];
        hex::decode_to_slice(text, &mut out).map_err(serde::de::Error::custom)?;
        Ok(Self(out))
    }
}

/// Refuses what is longer than anything that Intel publishes.
pub(super) fn bounded<T>(what: &'static str, items: &[T], limit: usize) -> Result<(), Malformed> {
    if items.len() <= limit { Ok(()) } else { Err(Malformed::TooLong { what, limit }) }
}

/// The names of advisories that a level lists.
pub(super) fn advisories(what: &'static str, names: Vec<&str>) -> Result<Advisories, Malformed> {
    bounded(what, &names, ADVISORIES_MAX)?;
    if names.iter().any(|name| name.len() > 64 || !name.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(Malformed::invalid(what, "has an advisory without a readable name"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Longest signed document: TCB Info is under ten kilobytes.
pub(super) const DOCUMENT_LEN_MAX: usize = 64 * 1024;
/// Most levels of one document: Intel's have up to about ten.
pub(super) const LEVELS_MAX: usize = 128;
/// Most advisories of one level: the oldest have about twenty.
const ADVISORIES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_under_the_mask_count() {
        let masked = Masked { value: [0b1010], mask: [0b1110] };
        for (actual, admitted, left) in [
            (0b1010, true, false),
            (0b1011, true, true),
            (0b1000, false, false),
            (0b1110, false, false),
        ] {
            assert_eq!(masked.admits(&[actual]), admitted, "{actual:b}");
            assert_eq!(masked.leaves_set(&[actual]), left, "{actual:b}");
        }
    }

    #[test]
    fn intel_states_no_relaunch() {
        for name in ["TDRelaunchAdvised", "td-relaunch-advised", "uptodate", ""] {
            assert_eq!(TcbStatus::of_intel(name), None, "{name}");
        }
        let mut names = TcbStatus::ALL.map(TcbStatus::name).to_vec();
        names.dedup();
        assert_eq!(names.len(), 9);
    }
}
