//! Boot event logs of TDX guests: the CCEL area of ACPI, which says what was measured into RTMR0 to RTMR3
//! (UEFI 2.10 §38.4, TCG PC Client Platform Firmware Profile 1.06 §10.2).
//!
//! The log starts with one event in the old format, whose data names the digest algorithms; all others are in the
//! crypto-agile format. All numbers are little-endian. What follows the last event is padding of `0xff`.
//!
//! | header event | octets | |
//! |---|---|---|
//! | register | 4 | not extended |
//! | type | 4 | `EV_NO_ACTION` (3) |
//! | digest | 20 | zeros |
//! | size, then data | 4, n | the Spec ID event |
//!
//! | Spec ID event | octets | |
//! |---|---|---|
//! | signature | 16 | `Spec ID Event03`, zero |
//! | platform class | 4 | |
//! | minor, major, errata, size of a UINTN | 4 | 0, 2, … |
//! | number of algorithms | 4 | |
//! | algorithm and its digest's length | 2, 2 each | SHA-384 must be one of them |
//! | length of vendor information, and that | 1, n | |
//!
//! | event | octets | |
//! |---|---|---|
//! | register | 4 | 0 is MRTD, 1 to 4 are RTMR0 to RTMR3; `0xffffffff` ends the log |
//! | type | 4 | |
//! | number of digests | 4 | |
//! | algorithm and digest | 2, n each | as the header announces; SHA-384 is the one that is extended |
//! | size, then data | 4, n | |
//!
//! Nobody signs a log. What a quote's registers prove of it, once the log replays to them, is the sequence of digests
//! in each register, and nothing else: not an event's type, nor its data but where the digest is theirs
//! ([`Event::measured`]).

use core::fmt;

use crate::bytes::{Malformed, Reader};
use crate::digest::{Digest, Sha384};

/// Longest log: firmware reserves 64 to 256 KiB.
pub const LEN_MAX: usize = 1 << 20;
/// Most events: a boot through shim and GRUB makes about a hundred.
pub const EVENTS_MAX: usize = 4096;

/// A log that was taken apart. What it says is not believed before it replays to registers that hardware signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// Where it was measured to.
    pub register: Register,
    /// What the log calls it.
    pub kind: EventKind,
    /// Its SHA-384 digest.
    pub digest: Sha384,
    /// What the log says about it.
    pub data: &'a [u8],
}

/// A measurement register of a trust domain.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Register {
    /// What the TDX module measured before the first instruction. A log only describes it.
    Mrtd,
    /// The firmware's configuration.
    Rtmr0,
    /// What the firmware loaded.
    Rtmr1,
    /// What the boot loader measured.
    Rtmr2,
    /// The guest's own.
    Rtmr3,
}

/// An event's type. Nothing vouches for it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventKind(pub u32);

/// What an event's digest says of its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measured<'a> {
    /// It is the digest of these octets of them.
    Octets(&'a [u8]),
    /// The data only describe what was measured: an address, a name.
    Elsewhere,
    /// For this type it would have to be their digest, and is not.
    Mismatch,
}

impl<'a> EventLog<'a> {
    /// Takes a log apart.
    ///
    /// # Errors
    /// Another header, an algorithm that was not announced, no SHA-384 digest, a register that does not exist, and
    /// anything but padding after the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: LEN_MAX });
        }
        let mut reader = Reader::new(WHAT, bytes);
        let algorithms = header(&mut reader)?;
        let mut events = Vec::new();
        while !reader.is_empty() {
            if reader.rest().starts_with(&END) {
                if reader.rest().iter().any(|octet| *octet != PADDING) {
                    return Err(Malformed::invalid(WHAT, "has something in its padding"));
                }
                break;
            }
            if events.len() == EVENTS_MAX {
                return Err(Malformed::TooLong { what: "number of events", limit: EVENTS_MAX });
            }
            events.push(event(&mut reader, &algorithms)?);
        }
        Ok(Self { events })
    }

    /// All events, in their order, without the header.
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The events that were extended into a register, in their order.
    pub fn extended(&self, register: Register) -> impl Iterator<Item = &Event<'a>> + Clone {
        self.events.iter().filter(move |event| event.register == register && event.is_extended())
    }

    /// What RTMR0 to RTMR3 hold after all of it. A register without events is zero.
    pub fn replay(&self) -> [Sha384; 4] {
        Register::RTMRS.map(|register| {
            self.extended(register)
                .fold(Digest([0; 48]), |value, event| extend(&value, &event.digest))
        })
    }
}

/// What a register holds after a digest was extended into it.
pub fn extend(value: &Sha384, digest: &Sha384) -> Sha384 {
    let mut both = [0; 96];
    let (old, new) = both.split_at_mut(48);
    old.copy_from_slice(value.as_bytes());
    new.copy_from_slice(digest.as_bytes());
    Sha384::of(&both)
}

impl<'a> Event<'a> {
    /// Whether its digest went into a run-time register.
    pub fn is_extended(&self) -> bool {
        self.register != Register::Mrtd && self.kind != EventKind::NO_ACTION
    }

    /// Whether its digest is of its data, and of which part.
    pub fn measured(&self) -> Measured<'a> {
        if !self.is_extended() {
            return Measured::Elsewhere;
        }
        let is_of = |octets: &[u8]| Sha384::of(octets) == self.digest;
        if is_of(self.data) {
            return Measured::Octets(self.data);
        }
        match self.kind {
            EventKind::SEPARATOR
            | EventKind::ACTION
            | EventKind::EFI_ACTION
            | EventKind::EFI_GPT_EVENT
            | EventKind::EFI_VARIABLE_DRIVER_CONFIG
            | EventKind::EFI_VARIABLE_BOOT2 => Measured::Mismatch,
            // Firmware and shim measure the variable's value alone, or the whole structure.
            EventKind::EFI_VARIABLE_BOOT | EventKind::EFI_VARIABLE_AUTHORITY => {
                match Variable::parse(self.data) {
                    Ok(variable) if is_of(variable.value) => Measured::Octets(variable.value),
                    Ok(_) | Err(_) => Measured::Mismatch,
                }
            }
            // GRUB measures what follows its prefix, and writes a zero after that.
            EventKind::IPL => texts(self.data)
                .into_iter()
                .flatten()
                // All of the data were tried.
                .find(|octets| octets.len() < self.data.len() && is_of(octets))
                .map_or(Measured::Elsewhere, Measured::Octets),
            _ => Measured::Elsewhere,
        }
    }
}

/// The parts of a boot loader's event that may have been measured.
fn texts(data: &[u8]) -> [Option<&[u8]>; 3] {
    let text = GRUB_PREFIXES
        .iter()
        .find_map(|prefix| data.strip_prefix(prefix.as_bytes()))
        .unwrap_or(data);
    let end = text.iter().position(|octet| *octet == 0);
    let with_zero = end.and_then(|end| text.get(..=end));
    [end.and_then(|end| text.get(..end)), with_zero, Some(text)]
}

impl Register {
    /// The run-time registers.
    pub const RTMRS: [Self; 4] = [Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// By the index that the log uses.
    const fn from_index(index: u32) -> Option<Self> {
        match index {
            0 => Some(Self::Mrtd),
            1 => Some(Self::Rtmr0),
            2 => Some(Self::Rtmr1),
            3 => Some(Self::Rtmr2),
            4 => Some(Self::Rtmr3),
            _ => None,
        }
    }

    /// As policies and people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl EventKind {
    /// Says something and is extended nowhere.
    pub const NO_ACTION: Self = Self(0x3);
    /// Ends a phase of the boot.
    pub const SEPARATOR: Self = Self(0x4);
    /// A string that names an action.
    pub const ACTION: Self = Self(0x5);
    /// What a loader or the guest measured, behind a tag.
    pub const EVENT_TAG: Self = Self(0x6);
    /// What a boot loader measured.
    pub const IPL: Self = Self(0xd);
    /// A variable that configures the firmware: secure boot and its keys.
    pub const EFI_VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// A variable of the boot order.
    pub const EFI_VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// A program that the firmware started.
    pub const EFI_BOOT_SERVICES_APPLICATION: Self = Self(0x8000_0003);
    /// The disk's partition table.
    pub const EFI_GPT_EVENT: Self = Self(0x8000_0006);
    /// A string that names an action of the firmware.
    pub const EFI_ACTION: Self = Self(0x8000_0007);
    /// A variable of the boot order, with its name.
    pub const EFI_VARIABLE_BOOT2: Self = Self(0x8000_000c);
    /// The entry of a key list that admitted a program.
    pub const EFI_VARIABLE_AUTHORITY: Self = Self(0x8000_00e0);

    /// The name that TCG gives it, in lower case with dashes; types that are not listed here have none.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x1 => "post-code",
            0x3 => "no-action",
            0x4 => "separator",
            0x5 => "action",
            0x6 => "event-tag",
            0x8 => "s-crtm-version",
            0xa => "platform-config-flags",
            0xd => "ipl",
            0x8000_0001 => "efi-variable-driver-config",
            0x8000_0002 => "efi-variable-boot",
            0x8000_0003 => "efi-boot-services-application",
            0x8000_0004 => "efi-boot-services-driver",
            0x8000_0006 => "efi-gpt-event",
            0x8000_0007 => "efi-action",
            0x8000_0008 => "efi-platform-firmware-blob",
            0x8000_0009 => "efi-handoff-tables",
            0x8000_000a => "efi-platform-firmware-blob2",
            0x8000_000b => "efi-handoff-tables2",
            0x8000_000c => "efi-variable-boot2",
            0x8000_00e0 => "efi-variable-authority",
            _ => return None,
        })
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A firmware variable as an event's data show it (`UEFI_VARIABLE_DATA`): its namespace, the length of its name in
/// characters and of its value in octets, 8 each, the name in UTF-16, and the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Variable<'a> {
    /// The namespace, a GUID as it lies in memory.
    pub namespace: [u8; 16],
    /// The name, UTF-16, little-endian.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Takes the data of an event apart.
    ///
    /// # Errors
    /// Lengths that are not those of the data.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Reader::read_all("variable", bytes, |reader| {
            let namespace = reader.array()?;
            let [name, value] = [reader.u64_le()?.saturating_mul(2), reader.u64_le()?];
            Ok(Self { namespace, name: take_u64(reader, name)?, value: take_u64(reader, value)? })
        })
    }
}

fn take_u64<'a>(reader: &mut Reader<'a>, len: u64) -> Result<&'a [u8], Malformed> {
    // What does not fit this machine's memory is not there.
    reader.take(usize::try_from(len).unwrap_or(usize::MAX))
}

/// Reads the header; yields the algorithms that every event may carry, with their digests' lengths.
fn header(reader: &mut Reader<'_>) -> Result<Vec<(u16, usize)>, Malformed> {
    let _register = reader.u32_le()?;
    if EventKind(reader.u32_le()?) != EventKind::NO_ACTION || reader.array()? != [0; 20] {
        return Err(Malformed::invalid(
            WHAT,
            "does not start with the event that names its format",
        ));
    }
    let len = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
    Reader::read_all("Spec ID event", reader.take(len)?, |spec| {
        if spec.take(SPEC_SIGNATURE.len())? != SPEC_SIGNATURE {
            return Err(Malformed::invalid(WHAT, "is of another format than Spec ID Event03"));
        }
        let _platform_class = spec.u32_le()?;
        let [_minor, major, _errata, _uintn] = spec.array()?;
        if major != 2 {
            return Err(Malformed::invalid(WHAT, "is of another version than 2"));
        }
        let count = spec.u32_le()?;
        if count > ALGORITHMS_MAX {
            return Err(Malformed::invalid(WHAT, "announces more algorithms than there are"));
        }
        let mut algorithms: Vec<(u16, usize)> = Vec::new();
        for _ in 0..count {
            let (algorithm, len) = (spec.u16_le()?, usize::from(spec.u16_le()?));
            if digest_len(algorithm) != Some(len) {
                return Err(Malformed::invalid(WHAT, "announces an algorithm that is not known"));
            }
            if algorithms.iter().any(|(known, _)| *known == algorithm) {
                return Err(Malformed::invalid(WHAT, "announces an algorithm twice"));
            }
            algorithms.push((algorithm, len));
        }
        let vendor = usize::from(spec.u8()?);
        spec.take(vendor)?;
        if algorithms.iter().any(|(algorithm, _)| *algorithm == SHA384) {
            Ok(algorithms)
        } else {
            Err(Malformed::invalid(WHAT, "announces no SHA-384 digests"))
        }
    })
}

fn event<'a>(reader: &mut Reader<'a>, algorithms: &[(u16, usize)]) -> Result<Event<'a>, Malformed> {
    let register = Register::from_index(reader.u32_le()?)
        .ok_or(Malformed::invalid(WHAT, "names a register that does not exist"))?;
    let kind = EventKind(reader.u32_le()?);
    let count = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
    if count != algorithms.len() {
        return Err(Malformed::invalid(WHAT, "has an event without all the digests announced"));
    }
    let mut seen: Vec<u16> = Vec::with_capacity(algorithms.len());
    let mut digest = None;
    for _ in 0..count {
        let algorithm = reader.u16_le()?;
        let (_, len) = algorithms.iter().find(|(known, _)| *known == algorithm).ok_or(
            Malformed::invalid(WHAT, "has a digest of an algorithm that was not announced"),
        )?;
        if seen.contains(&algorithm) {
            return Err(Malformed::invalid(WHAT, "has an event with two digests of an algorithm"));
        }
        seen.push(algorithm);
        if algorithm == SHA384 {
            digest = Some(Digest(reader.array()?));
        } else {
            reader.take(*len)?;
        }
    }
    let digest = digest.ok_or(Malformed::invalid(WHAT, "has an event without a SHA-384 digest"))?;
    let len = usize::try_from(reader.u32_le()?).unwrap_or(usize::MAX);
    Ok(Event { register, kind, digest, data: reader.take(len)? })
}

/// Algorithms that TCG gave a number (TCG Algorithm Registry §6.10), and the length of their digests.
const fn digest_len(algorithm: u16) -> Option<usize> {
    match algorithm {
        0x04 => Some(20),
        0x0b | 0x12 | 0x27 => Some(32),
        SHA384 | 0x28 => Some(48),
        0x0d | 0x29 => Some(64),
        _ => None,
    }
}

const WHAT: &str = "event log";
const SHA384: u16 = 0x0c;
/// More than the registry has.
const ALGORITHMS_MAX: u32 = 8;
const SPEC_SIGNATURE: &[u8] = b"Spec ID Event03\0";
/// No register has this index.
const END: [u8; 4] = [PADDING; 4];
const PADDING: u8 = 0xff;
/// What GRUB's events start with, in its releases and in distributions' versions of it.
const GRUB_PREFIXES: [&str; 6] = [
    "kernel_cmdline: ",
    "grub_kernel_cmdline ",
    "module_cmdline: ",
    "grub_module_cmdline ",
    "grub_cmd: ",
    "grub_cmd ",
];

#[cfg(test)]
mod tests {
    use super::*;

    const REST: [u8; 4] = [0, 2, 0, 2];

    /// A header that announces these algorithms.
    fn head(algorithms: &[(u16, u16)]) -> Vec<u8> {
        let mut spec = SPEC_SIGNATURE.to_vec();
        spec.extend([0; 4]);
        spec.extend(REST);
        spec.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
        for (algorithm, len) in algorithms {
            spec.extend(algorithm.to_le_bytes());
            spec.extend(len.to_le_bytes());
        }
        spec.push(0);
        let mut log = [1_u32, 3].map(u32::to_le_bytes).concat();
        log.extend([0; 20]);
        log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
        [log, spec].concat()
    }

    /// An event with these digests.
    fn entry(register: u32, kind: EventKind, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
        let count = u32::try_from(digests.len()).unwrap();
        let mut event = [register, kind.0, count].map(u32::to_le_bytes).concat();
        for (algorithm, digest) in digests {
            event.extend(algorithm.to_le_bytes());
            event.extend(*digest);
        }
        event.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        event.extend(data);
        event
    }

    /// A usual header, then an event with a SHA-384 digest.
    fn one(register: u32, kind: EventKind, digest: &Sha384, data: &[u8]) -> Vec<u8> {
        [head(&[(SHA384, 48)]), entry(register, kind, &[(SHA384, &digest.0)], data)].concat()
    }

    fn separator() -> Vec<u8> {
        one(1, EventKind::SEPARATOR, &Sha384::of(&[0; 4]), &[0; 4])
    }

    #[test]
    fn a_log_replays_to_its_registers() {
        let digest = Sha384::of(b"x");
        for (index, register) in [None, Some(0), Some(1), Some(2), Some(3)].into_iter().enumerate()
        {
            let log = one(u32::try_from(index).unwrap(), EventKind::IPL, &digest, b"x");
            let values = EventLog::parse(&log).unwrap().replay();
            for (rtmr, value) in values.iter().enumerate() {
                let expected = if register == Some(rtmr) {
                    extend(&Digest([0; 48]), &digest)
                } else {
                    Digest([0; 48])
                };
                assert_eq!(*value, expected, "index {index}, RTMR{rtmr}");
            }
        }
        // In order: another order is another value.
        let [a, b] = [b"a", b"b"]
            .map(|data| entry(2, EventKind::IPL, &[(SHA384, &Sha384::of(data).0)], data));
        let head = head(&[(SHA384, 48)]);
        let [ab, ba] = [[&head[..], &a, &b].concat(), [&head[..], &b, &a].concat()];
        assert_ne!(EventLog::parse(&ab).unwrap().replay(), EventLog::parse(&ba).unwrap().replay());
    }

    #[test]
    fn an_event_that_takes_no_action_is_not_extended() {
        let log = one(1, EventKind::NO_ACTION, &Sha384::of(b"x"), b"x");
        assert_eq!(EventLog::parse(&log).unwrap().replay(), [Digest([0; 48]); 4]);
    }

    #[test]
    fn padding_is_ones_to_the_end() {
        let log = separator();
        for padding in [&[][..], &[0xff; 4], &[0xff; 1000]] {
            assert_eq!(EventLog::parse(&[&log[..], padding].concat()).unwrap().events().len(), 1);
        }
        let mut trailing = [&log[..], &[0xff; 1000]].concat();
        *trailing.last_mut().unwrap() = 0;
        assert_eq!(
            EventLog::parse(&trailing),
            Err(Malformed::invalid(WHAT, "has something in its padding"))
        );
        for short in [&[0xff; 3][..], &[0; 1000]] {
            assert!(EventLog::parse(&[&log[..], short].concat()).is_err());
        }
    }

    #[test]
    fn every_other_header_is_refused() {
        let good = head(&[(SHA384, 48)]);
        assert!(EventLog::parse(&good).unwrap().events().is_empty());
        for (at, what) in
            [(4, "type"), (8, "digest"), (32, "signature"), (53, "major version"), (56, "count")]
        {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(EventLog::parse(&bad).is_err(), "{what}");
        }
        for (announced, why) in [
            (&[][..], "announces no SHA-384 digests"),
            (&[(0x0b, 32)], "announces no SHA-384 digests"),
            (&[(SHA384, 48), (0x77, 32)], "announces an algorithm that is not known"),
            (&[(SHA384, 47)], "announces an algorithm that is not known"),
            (&[(SHA384, 48), (SHA384, 48)], "announces an algorithm twice"),
            (&[(SHA384, 48); 9], "announces more algorithms than there are"),
        ] {
            assert_eq!(EventLog::parse(&head(announced)), Err(Malformed::invalid(WHAT, why)));
        }
    }

    #[test]
    fn every_event_has_the_digests_announced_and_no_others() {
        let both = head(&[(0x0b, 32), (SHA384, 48)]);
        let parse = |digests: &[(u16, &[u8])]| {
            EventLog::parse(&[&both[..], &entry(1, EventKind::IPL, digests, b"")].concat())
                .map(drop)
        };
        let (short, long) = ([1; 32], [2; 48]);
        assert_eq!(parse(&[(0x0b, &short), (SHA384, &long)]), Ok(()));
        for (digests, why) in [
            (&[(0x0b, &short[..])][..], "has an event without all the digests announced"),
            (&[(SHA384, &long)], "has an event without all the digests announced"),
            (&[], "has an event without all the digests announced"),
            (&[(0x0b, &short), (0x0b, &short)], "has an event with two digests of an algorithm"),
            (&[(SHA384, &long), (SHA384, &long)], "has an event with two digests of an algorithm"),
            (
                &[(0x12, &short), (SHA384, &long)],
                "has a digest of an algorithm that was not announced",
            ),
        ] {
            assert_eq!(parse(digests), Err(Malformed::invalid(WHAT, why)));
        }
    }

    #[test]
    fn registers_lengths_and_counts_are_bounded() {
        let digest = Sha384::of(b"");
        assert_eq!(
            EventLog::parse(&one(5, EventKind::IPL, &digest, b"")),
            Err(Malformed::invalid(WHAT, "names a register that does not exist"))
        );
        let log = separator();
        for len in 1..log.len() {
            let is_header = len == head(&[(SHA384, 48)]).len();
            assert_eq!(EventLog::parse(&log[..len]).is_ok(), is_header, "{len} octets");
        }
        assert!(EventLog::parse(&vec![0xff; LEN_MAX + 1]).is_err());
        let event = entry(1, EventKind::IPL, &[(SHA384, &digest.0)], b"");
        let many = [head(&[(SHA384, 48)]), event.repeat(EVENTS_MAX + 1)].concat();
        assert_eq!(
            EventLog::parse(&many),
            Err(Malformed::TooLong { what: "number of events", limit: EVENTS_MAX })
        );
    }

    /// A firmware variable with a name of one character.
    fn variable(value: &[u8]) -> Vec<u8> {
        let len = u64::try_from(value.len()).unwrap();
        [&[7; 16][..], &1_u64.to_le_bytes(), &len.to_le_bytes(), b"P\0", value].concat()
    }

    #[test]
    fn a_digest_is_of_the_data_or_the_data_only_describe() {
        let variable = variable(b"v");
        let cmdline = b"kernel_cmdline: quiet\0";
        let cases: [(EventKind, &[u8], &[u8], Measured<'_>); 13] = [
            (EventKind::SEPARATOR, b"\0\0\0\0", b"\0\0\0\0", Measured::Octets(b"\0\0\0\0")),
            (EventKind::SEPARATOR, b"\0\0\0\0", b"x", Measured::Mismatch),
            (EventKind::ACTION, b"a", b"x", Measured::Mismatch),
            (EventKind::EFI_ACTION, b"a", b"x", Measured::Mismatch),
            (EventKind::EFI_GPT_EVENT, b"a", b"x", Measured::Mismatch),
            (EventKind::EFI_VARIABLE_DRIVER_CONFIG, &variable, b"v", Measured::Mismatch),
            (EventKind::EFI_VARIABLE_BOOT2, &variable, b"v", Measured::Mismatch),
            (EventKind::EFI_VARIABLE_BOOT, &variable, b"v", Measured::Octets(b"v")),
            (EventKind::EFI_VARIABLE_AUTHORITY, &variable, &variable, Measured::Octets(&variable)),
            (EventKind::EFI_VARIABLE_BOOT, &variable, b"x", Measured::Mismatch),
            (EventKind::IPL, cmdline, b"quiet", Measured::Octets(b"quiet")),
            (EventKind::IPL, cmdline, b"x", Measured::Elsewhere),
            (EventKind::EFI_BOOT_SERVICES_APPLICATION, b"a", b"x", Measured::Elsewhere),
        ];
        for (kind, data, hashed, expected) in cases {
            let log = one(1, kind, &Sha384::of(hashed), data);
            let log = EventLog::parse(&log).unwrap();
            assert_eq!(log.events()[0].measured(), expected, "{kind} of {hashed:?}");
        }
        let with_zero =
            one(3, EventKind::IPL, &Sha384::of(b"insmod ext2\0"), b"grub_cmd insmod ext2\0\x67");
        let with_zero = EventLog::parse(&with_zero).unwrap();
        assert_eq!(with_zero.events()[0].measured(), Measured::Octets(b"insmod ext2\0"));
    }

    #[test]
    fn variables_are_as_long_as_they_say() {
        let good = variable(b"v");
        assert_eq!(Variable::parse(&good).unwrap().value, b"v");
        assert!(Variable::parse(&good[1..]).is_err());
        assert!(Variable::parse(&[&good[..], b"w"].concat()).is_err());
        let mut long = good;
        long[16..32].fill(0xff);
        assert!(Variable::parse(&long).is_err());
    }
}
