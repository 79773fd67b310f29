//! The section `[tdx.event_log]`: what a TD's event log must show, for policies that pin what was measured instead of
//! whole registers.
//!
//! What a log that replays proves is the sequence of digests in each register, and neither an event's type nor most of
//! its data. So a register that has entries here is judged whole: *each* of its digests must be one that an entry
//! admits, and each entry must be met. That an event with a good digest is there proves nothing alone: whoever runs after
//! the one that was measured first can add it.

use core::fmt::{self, Write as _};
use std::collections::BTreeSet;

use attestation::Sha384;
use attestation::eventlog::Register;
use serde::Deserialize;

use super::file::{AnyOr, Demand, Presence, UnknownBits};
use super::lint::Problem;
use super::read::Reader;
use super::show::demand;
use super::{Accept, list};

/// What an event log must show.
#[derive(Clone, Debug)]
pub(crate) struct EventLogPolicy {
    pub(crate) presence: Presence,
    pub(crate) duplicate_separators: UnknownBits,
    pub(crate) secure_boot: Demand,
    pub(crate) entries: Vec<Entry>,
}

/// What may be measured into a register.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) register: Register,
    /// Which of the register's digests this is about, counted from 1; any, where it is empty.
    pub(crate) at: BTreeSet<usize>,
    pub(crate) digests: Accept<Sha384>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EventLogFile {
    presence: Presence,
    duplicate_separators: UnknownBits,
    secure_boot: Demand,
    events: Vec<EntryFile>,
}

impl Default for EventLogFile {
    fn default() -> Self {
        Self {
            presence: Presence::IfPresent,
            duplicate_separators: UnknownBits::Refused,
            secure_boot: Demand::Allowed,
            events: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    name: String,
    register: String,
    #[serde(default)]
    at: Vec<usize>,
    #[serde(default = "nothing")]
    digests: AnyOr<String>,
    #[serde(default)]
    text: Vec<String>,
}

fn nothing() -> AnyOr<String> {
    AnyOr::List(Vec::new())
}

impl EventLogPolicy {
    /// Whether a register is judged by its events.
    pub(crate) fn pins(&self, register: Register) -> bool {
        self.entries.iter().any(|entry| entry.register == register)
    }

    /// Whether anything is judged that only a log can show.
    pub(crate) fn needs_log(&self) -> bool {
        self.presence == Presence::Required
            || self.secure_boot != Demand::Allowed
            || !self.entries.is_empty()
    }

    /// Where the section asks for less than it could.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        note(
            self.duplicate_separators == UnknownBits::Tolerated,
            "tdx.event_log.duplicate_separators",
            "accepts logs that do not say where the firmware ended",
        );
        note(
            self.entries.iter().any(|entry| entry.digests == Accept::Any),
            "tdx.event_log.events",
            "accepts whatever was measured at a place",
        );
    }

    /// What its author should look at.
    pub(super) fn lint(&self, problems: &mut Vec<Problem>) {
        for Entry { name, digests, .. } in &self.entries {
            if super::lint::is_empty(digests) {
                let message = format!("{name} has neither digests nor text: nothing is accepted");
                problems.push(Problem::error("tdx.event_log.events", message));
            }
        }
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        if self.needs_log() {
            writeln!(out, "  An event log is required.")?;
        } else {
            writeln!(out, "  An event log is checked where there is one.")?;
        }
        demand(out, "Secure boot, as the firmware measured it", self.secure_boot)?;
        if self.duplicate_separators == UnknownBits::Tolerated {
            writeln!(out, "  More than one separator in a register is tolerated.")?;
        }
        for Entry { name, register, at, digests } in &self.entries {
            write!(out, "  In {register}, {name}: {digests}")?;
            if at.is_empty() { writeln!(out, ".")? } else { writeln!(out, ", at {}.", list(at))? }
        }
        Ok(())
    }
}

impl Reader {
    /// What the section means.
    pub(super) fn event_log(&mut self, file: EventLogFile) -> EventLogPolicy {
        let EventLogFile { presence, duplicate_separators, secure_boot, events } = file;
        let entries = events.into_iter().filter_map(|entry| self.entry(entry)).collect();
        EventLogPolicy { presence, duplicate_separators, secure_boot, entries }
    }

    fn entry(&mut self, file: EntryFile) -> Option<Entry> {
        const KEY: &str = "tdx.event_log.events";
        let EntryFile { name, register: written, at, digests, text } = file;
        let register = Register::RTMRS.into_iter().find(|register| register.name() == written);
        if register.is_none() {
            self.problem(KEY, format!("{name}: {written} is none of rtmr0, rtmr1, rtmr2, rtmr3"));
        }
        if at.contains(&0) {
            self.problem(KEY, format!("{name}: the first of a register is at 1"));
        }
        let digests = match self.accept(KEY, digests, str::parse) {
            Accept::Any => {
                if at.is_empty() || !text.is_empty() {
                    let message =
                        "\"any\" is for given places alone: elsewhere it admits everything";
                    self.problem(KEY, format!("{name}: {message}"));
                }
                Accept::Any
            }
            Accept::Only(mut digests) => {
                digests.extend(text.iter().map(|text| Sha384::of(text.as_bytes())));
                Accept::Only(digests)
            }
        };
        Some(Entry { name, register: register?, at: at.into_iter().collect(), digests })
    }
}
