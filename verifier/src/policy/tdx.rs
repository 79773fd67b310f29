//! The section `[tdx]`: what may be written, what it means, and what is said of it.

use core::fmt::{self, Write as _};
use std::collections::BTreeSet;

use attestation::eventlog::Register;
use attestation::tdx::TcbStatus;
use attestation::{Digest, Sha384, UnixTime};
use serde::Deserialize;

use super::events::{EventLogFile, EventLogPolicy};
use super::file::{AnyOr, Demand, Presence};
use super::lint::{Look, Problem, is_empty};
use super::read::Reader;
use super::show::demand;
use super::{Accept, list};

/// What is acceptable of TDX.
#[derive(Clone, Debug)]
pub(crate) struct TdxPolicy {
    pub(crate) mr_td: Accept<Sha384>,
    /// Of a register that is judged by its events, any.
    pub(crate) rtmr: [Accept<Sha384>; 4],
    pub(crate) event_log: EventLogPolicy,
    pub(crate) mr_config_id: Accept<Sha384>,
    pub(crate) mr_owner: Accept<Sha384>,
    pub(crate) mr_owner_config: Accept<Sha384>,
    pub(crate) service_td: Accept<Sha384>,
    pub(crate) tcb_status: BTreeSet<TcbStatus>,
    pub(crate) grace: Option<Grace>,
    pub(crate) advisories_allowed: Accept<String>,
    pub(crate) min_tcb_evaluation: u32,
    pub(crate) platforms: Accept<Digest<16>>,
    pub(crate) sgx_types: Accept<u8>,
    pub(crate) revocation: Presence,
    pub(crate) zero_padding: Demand,
    pub(crate) attributes: AttributeDemands,
    pub(crate) platform: PlatformDemands,
}

/// Statuses that are accepted until a date, and of levels that are not too old.
#[derive(Clone, Debug)]
pub(crate) struct Grace {
    pub(crate) statuses: BTreeSet<TcbStatus>,
    pub(crate) until: UnixTime,
    /// The oldest date that a TCB level may have.
    pub(crate) tcb_date_min: Option<UnixTime>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TdxFile {
    mr_td: AnyOr<String>,
    rtmr0: AnyOr<String>,
    rtmr1: AnyOr<String>,
    rtmr2: AnyOr<String>,
    rtmr3: AnyOr<String>,
    event_log: EventLogFile,
    mr_config_id: AnyOr<String>,
    mr_owner: AnyOr<String>,
    mr_owner_config: AnyOr<String>,
    service_td: AnyOr<String>,
    tcb_status: Vec<String>,
    grace: Option<GraceFile>,
    advisories_allowed: AnyOr<String>,
    min_tcb_evaluation: u32,
    platforms: AnyOr<String>,
    sgx_types: AnyOr<String>,
    revocation: Presence,
    zero_padding: Demand,
    attributes: AttributeDemands,
    platform: PlatformDemands,
}

impl Default for TdxFile {
    fn default() -> Self {
        let none = || AnyOr::List(Vec::new());
        let zero = || AnyOr::List(vec![Digest([0; 48]).to_string()]);
        Self {
            mr_td: none(),
            rtmr0: none(),
            rtmr1: none(),
            rtmr2: none(),
            rtmr3: none(),
            event_log: EventLogFile::default(),
            mr_config_id: zero(),
            mr_owner: zero(),
            mr_owner_config: zero(),
            service_td: none(),
            tcb_status: vec![TcbStatus::UpToDate.name().to_owned()],
            grace: None,
            advisories_allowed: none(),
            min_tcb_evaluation: 18,
            platforms: AnyOr::Any,
            sgx_types: AnyOr::Any,
            revocation: Presence::Required,
            zero_padding: Demand::Allowed,
            attributes: AttributeDemands::default(),
            platform: PlatformDemands::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GraceFile {
    statuses: Vec<String>,
    until: String,
    tcb_date_min: Option<String>,
}

/// `attributes.*`: what is wanted of the bits of `TDATTRIBUTES`. It means what is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AttributeDemands {
    pub(crate) debug: Demand,
    pub(crate) profiling: Demand,
    pub(crate) sept_ve_disable: Demand,
    pub(crate) migratable: Demand,
    pub(crate) pks: Demand,
    pub(crate) key_locker: Demand,
    pub(crate) perfmon: Demand,
}

impl Default for AttributeDemands {
    fn default() -> Self {
        Self {
            debug: Demand::Refused,
            profiling: Demand::Refused,
            sept_ve_disable: Demand::Required,
            migratable: Demand::Refused,
            pks: Demand::Allowed,
            key_locker: Demand::Allowed,
            perfmon: Demand::Allowed,
        }
    }
}

/// `platform.*`: what is wanted of what the PCK says of its platform. It means what is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlatformDemands {
    pub(crate) smt: Demand,
    pub(crate) dynamic_platform: Demand,
    pub(crate) cached_keys: Demand,
}

impl Default for PlatformDemands {
    fn default() -> Self {
        Self {
            smt: Demand::Allowed,
            dynamic_platform: Demand::Allowed,
            cached_keys: Demand::Allowed,
        }
    }
}

/// The names of the types of SGX, by their numbers (Intel SGX PCK certificate specification).
pub(crate) const SGX_TYPES: [&str; 3] = ["standard", "scalable", "scalable-with-integrity"];

impl Reader {
    /// What a section means.
    pub(super) fn tdx(&mut self, file: TdxFile) -> TdxPolicy {
        let TdxFile {
            mr_td,
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            event_log,
            mr_config_id,
            mr_owner,
            mr_owner_config,
            service_td,
            tcb_status,
            grace,
            advisories_allowed,
            min_tcb_evaluation,
            platforms,
            sgx_types,
            revocation,
            zero_padding,
            attributes,
            platform,
        } = file;
        if zero_padding == Demand::Required {
            self.problem("tdx.zero_padding", "is allowed or refused: nobody needs padding");
        }
        let event_log = self.event_log(event_log);
        let mut rtmr = [
            self.accept("tdx.rtmr0", rtmr0, str::parse),
            self.accept("tdx.rtmr1", rtmr1, str::parse),
            self.accept("tdx.rtmr2", rtmr2, str::parse),
            self.accept("tdx.rtmr3", rtmr3, str::parse),
        ];
        // Its events say what may be in a register: its value need not be given besides.
        for (accept, register) in rtmr.iter_mut().zip(Register::RTMRS) {
            if event_log.pins(register) && is_empty(accept) {
                *accept = Accept::Any;
            }
        }
        TdxPolicy {
            mr_td: self.accept("tdx.mr_td", mr_td, str::parse),
            rtmr,
            event_log,
            mr_config_id: self.accept("tdx.mr_config_id", mr_config_id, str::parse),
            mr_owner: self.accept("tdx.mr_owner", mr_owner, str::parse),
            mr_owner_config: self.accept("tdx.mr_owner_config", mr_owner_config, str::parse),
            service_td: self.accept("tdx.service_td", service_td, str::parse),
            tcb_status: self.statuses("tdx.tcb_status", &tcb_status),
            grace: grace.map(|grace| self.grace(grace)),
            advisories_allowed: match advisories_allowed {
                AnyOr::Any => Accept::Any,
                AnyOr::List(names) => Accept::Only(self.advisories(names)),
            },
            min_tcb_evaluation,
            platforms: self.accept("tdx.platforms", platforms, str::parse),
            sgx_types: self.sgx_types(sgx_types),
            revocation,
            zero_padding,
            attributes,
            platform,
        }
    }

    fn statuses(&mut self, key: &str, names: &[String]) -> BTreeSet<TcbStatus> {
        let mut statuses = BTreeSet::new();
        for name in names {
            match TcbStatus::ALL.into_iter().find(|status| status.name() == name) {
                Some(TcbStatus::Revoked) => {
                    self.problem(key, "has revoked, which nobody can accept");
                }
                Some(status) => drop(statuses.insert(status)),
                None => {
                    let known =
                        list(TcbStatus::ALL.into_iter().filter(|s| *s != TcbStatus::Revoked));
                    self.problem(key, format!("{name} is none of {known}"));
                }
            }
        }
        statuses
    }

    fn grace(&mut self, file: GraceFile) -> Grace {
        let GraceFile { statuses, until, tcb_date_min } = file;
        let statuses = self.statuses("tdx.grace.statuses", &statuses);
        // A date that is none leaves no grace.
        let until = self.moment("tdx.grace.until", &until).unwrap_or(UnixTime::from_secs(0));
        let tcb_date_min =
            tcb_date_min.and_then(|text| self.moment("tdx.grace.tcb_date_min", &text));
        Grace { statuses, until, tcb_date_min }
    }

    fn moment(&mut self, key: &str, text: &str) -> Option<UnixTime> {
        let parsed = text.parse();
        if parsed.is_err() {
            self.problem(key, format!("{text} is no RFC 3339 date and time"));
        }
        parsed.ok()
    }

    /// Advisories are named as Intel names them: another spelling would accept nothing.
    fn advisories(&mut self, names: Vec<String>) -> BTreeSet<String> {
        for name in &names {
            let digits = name.strip_prefix("INTEL-SA-").unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                self.problem("tdx.advisories_allowed", format!("{name} is no INTEL-SA-…"));
            }
        }
        names.into_iter().collect()
    }

    fn sgx_types(&mut self, written: AnyOr<String>) -> Accept<u8> {
        let AnyOr::List(names) = written else { return Accept::Any };
        let mut types = BTreeSet::new();
        for name in names {
            match (0_u8..).zip(SGX_TYPES).find(|(_, known)| *known == name) {
                Some((number, _)) => drop(types.insert(number)),
                None => self.problem(
                    "tdx.sgx_types",
                    format!("{name} is none of {}", SGX_TYPES.join(", ")),
                ),
            }
        }
        Accept::Only(types)
    }
}

impl TdxPolicy {
    /// The measurements, by their keys.
    fn measurements(&self) -> [(&'static str, &'static str, &Accept<Sha384>); 8] {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &self.rtmr;
        [
            ("tdx.mr_td", "MRTD", &self.mr_td),
            ("tdx.rtmr0", "RTMR0", rtmr0),
            ("tdx.rtmr1", "RTMR1", rtmr1),
            ("tdx.rtmr2", "RTMR2", rtmr2),
            ("tdx.rtmr3", "RTMR3", rtmr3),
            ("tdx.mr_config_id", "MRCONFIGID", &self.mr_config_id),
            ("tdx.mr_owner", "MROWNER", &self.mr_owner),
            ("tdx.mr_owner_config", "MROWNERCONFIG", &self.mr_owner_config),
        ]
    }

    /// Where the section asks for less than it could. A grace is none: it is dated, ends by itself,
    /// and is a warning in every verdict that uses it.
    pub(super) fn relaxations(&self, note: &mut dyn FnMut(bool, &'static str, &str)) {
        for (key, name, accept) in self.measurements() {
            let is_pinned = Register::RTMRS
                .into_iter()
                .any(|register| self.event_log.pins(register) && key.ends_with(register.name()));
            note(*accept == Accept::Any && !is_pinned, key, &format!("accepts any {name}"));
        }
        self.event_log.relaxations(note);
        note(self.service_td == Accept::Any, "tdx.service_td", "accepts any service TD");
        note(
            self.tcb_status.iter().any(|status| *status != TcbStatus::UpToDate),
            "tdx.tcb_status",
            "accepts platforms that are not up to date, without an end: use a grace",
        );
        note(
            self.advisories_allowed == Accept::Any,
            "tdx.advisories_allowed",
            "accepts any open advisory",
        );
        note(
            self.revocation == Presence::IfPresent,
            "tdx.revocation",
            "does without revocation lists",
        );
        let AttributeDemands { debug, profiling, sept_ve_disable, migratable, .. } =
            &self.attributes;
        for (demand, key, message) in [
            (debug, "tdx.attributes.debug", "accepts a TD that can be debugged"),
            (profiling, "tdx.attributes.profiling", "accepts a TD that can be profiled"),
            (migratable, "tdx.attributes.migratable", "accepts a TD that can be migrated"),
        ] {
            note(*demand != Demand::Refused, key, message);
        }
        note(
            *sept_ve_disable != Demand::Required,
            "tdx.attributes.sept_ve_disable",
            "accepts a TD into which the host can inject exceptions",
        );
    }

    /// What its author should look at.
    pub(super) fn lint(&self, look: &Look<'_>, problems: &mut Vec<Problem>) {
        let mut error = |is_wrong: bool, key: &str, message: &str| {
            if is_wrong {
                problems.push(Problem::error(key, message));
            }
        };
        for (key, _, accept) in self.measurements() {
            error(is_empty(accept), key, "is empty: no TD is accepted");
        }
        self.event_log.lint(problems);
        let mut error = |is_wrong: bool, key: &str, message: &str| {
            if is_wrong {
                problems.push(Problem::error(key, message));
            }
        };
        error(is_empty(&self.platforms), "tdx.platforms", "is empty: no platform is accepted");
        error(is_empty(&self.sgx_types), "tdx.sgx_types", "is empty: no platform is accepted");
        error(self.tcb_status.is_empty(), "tdx.tcb_status", "is empty: no platform is accepted");
        error(
            self.min_tcb_evaluation == 0,
            "tdx.min_tcb_evaluation",
            "is no floor: the host may choose the oldest documents that are still valid",
        );
        if let Some(grace) = &self.grace {
            error(grace.statuses.is_empty(), "tdx.grace.statuses", "is empty: nothing has a grace");
            error(
                grace.statuses.iter().any(|status| self.tcb_status.contains(status)),
                "tdx.grace.statuses",
                "has a status that tcb_status accepts without an end",
            );
            error(
                grace.tcb_date_min.is_some_and(|min| min > grace.until),
                "tdx.grace.tcb_date_min",
                "is later than the grace's end",
            );
            look.until("tdx.grace.until", grace.until, problems);
        }
        if let Accept::Only(allowed) = &self.advisories_allowed {
            look.advisories("tdx.advisories_allowed", allowed, problems);
        }
    }

    /// The section in sentences.
    pub(super) fn show(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "TDX is accepted.")?;
        for (_, name, accept) in self.measurements() {
            writeln!(out, "  {name}: {accept}.")?;
        }
        self.event_log.show(out)?;
        writeln!(out, "  Service TDs: {}.", self.service_td)?;
        writeln!(out, "  TCB status: {}.", list(&self.tcb_status))?;
        if let Some(Grace { statuses, until, tcb_date_min }) = &self.grace {
            write!(out, "  Until {until} also: {}", list(statuses))?;
            match tcb_date_min {
                Some(min) => writeln!(out, ", of levels dated {min} or later.")?,
                None => writeln!(out, ".")?,
            }
        }
        writeln!(out, "  Open advisories: {}.", self.advisories_allowed)?;
        writeln!(
            out,
            "  TCB Info and QE Identity are of evaluation {} or later.",
            self.min_tcb_evaluation
        )?;
        match self.revocation {
            Presence::Required => writeln!(out, "  Current revocation lists are required.")?,
            Presence::IfPresent => writeln!(out, "  Revocation lists are checked where given.")?,
        }
        writeln!(out, "  Platform instances: {}.", self.platforms)?;
        let types = match &self.sgx_types {
            Accept::Any => "any".to_owned(),
            Accept::Only(types) => list(types.iter().map(|kind| sgx_type(*kind))),
        };
        writeln!(out, "  Types of SGX: {types}.")?;
        let (attributes, platform) = (&self.attributes, &self.platform);
        for (what, wanted) in [
            ("Zero bytes after the quote", self.zero_padding),
            ("A TD that can be debugged", attributes.debug),
            ("A TD that can be profiled", attributes.profiling),
            ("No exceptions for pages that the TD did not accept", attributes.sept_ve_disable),
            ("A TD that can be migrated", attributes.migratable),
            ("Protection keys of the supervisor", attributes.pks),
            ("Key Locker", attributes.key_locker),
            ("Performance monitoring", attributes.perfmon),
            ("The platform's multithreading", platform.smt),
            ("A platform to which processors may be added", platform.dynamic_platform),
            ("A platform whose root keys Intel keeps", platform.cached_keys),
        ] {
            demand(out, what, wanted)?;
        }
        Ok(())
    }
}

/// The name of a type of SGX.
pub(crate) fn sgx_type(kind: u8) -> String {
    let name = SGX_TYPES.get(usize::from(kind));
    name.map_or_else(|| format!("type {kind}"), |name| (*name).to_owned())
}
