//! Event logs: does the log replay to the registers that the hardware signed, and is what it shows acceptable?
//!
//! | trap | why | here |
//! |---|---|---|
//! | a log without one of its digests, or with more after its end | two readers read two logs | refused by the parser |
//! | `EV_NO_ACTION`, and events of MRTD | they are extended nowhere | not replayed |
//! | a register without events | what was measured there is hidden | must be zero |
//! | data of another event | the digest is what counts | `event-data-mismatch` |
//! | a second separator, whatever type the log gives it | it hides where the firmware ended | `event-separator-duplicate` |
//! | an event of another type | nothing proves types | no rule rests on one |
//! | a good event added later | the log still replays | all events of a register are judged, by digest and place |

use core::iter;

use attestation::Sha384;
use attestation::eventlog::{Event, EventKind, EventLog, Measured, Register};

use crate::finding::{Code, Finding};
use crate::policy::{Accept, Demand, Entry, EventLogPolicy, UnknownBits};

/// Makes every check. `registers` are RTMR0 to RTMR3 as the hardware signed them.
pub(crate) fn judge(
    registers: &[Sha384; 4],
    log: Option<&[u8]>,
    policy: &EventLogPolicy,
    findings: &mut Vec<Finding>,
) {
    let Some(log) = log else {
        if policy.needs_log() {
            let message = "the policy judges by events, and there is no event log";
            findings.push(Finding::reject(Code::EventLogMissing, message));
        }
        return;
    };
    let log = match EventLog::parse(log) {
        Ok(log) => log,
        Err(malformed) => {
            findings.push(Finding::reject(Code::EventLogMalformed, malformed.to_string()));
            return;
        }
    };
    data(&log, findings);
    separators(&log, policy, findings);
    // What does not replay was not measured, so nothing is judged by it.
    let replayed = replay(&log, registers, findings);
    for (register, is_replayed) in Register::RTMRS.into_iter().zip(replayed) {
        if !policy.pins(register) {
            continue;
        }
        if is_replayed {
            events(&log, register, policy, findings);
        } else {
            let message = format!("events of {register}: not checked, because they do not replay");
            findings.push(Finding::info(Code::NotEvaluated, message));
        }
    }
    if let [true, ..] = replayed {
        secure_boot(&log, policy.secure_boot, findings);
    }
}

/// The registers must be what the log makes of them: zero, where it has nothing for them.
fn replay(log: &EventLog<'_>, registers: &[Sha384; 4], findings: &mut Vec<Finding>) -> [bool; 4] {
    let values = log.replay();
    let mut replayed = [true; 4];
    for (((register, value), signed), is_replayed) in
        Register::RTMRS.into_iter().zip(&values).zip(registers).zip(&mut replayed)
    {
        *is_replayed = value == signed;
        if !*is_replayed {
            let count = log.extended(register).count();
            findings.push(
                Finding::reject(
                    Code::EventLogMismatch,
                    format!("the {count} events of {register} do not replay to what was signed"),
                )
                .expected(signed)
                .actual(value),
            );
        }
    }
    replayed
}

/// Where a type says that its digest is of its data, it must be.
fn data(log: &EventLog<'_>, findings: &mut Vec<Finding>) {
    let other = places(log).filter(|(_, event)| event.measured() == Measured::Mismatch);
    for (place, event) in other.take(TOLD_MAX) {
        findings.push(
            Finding::reject(
                Code::EventDataMismatch,
                format!("event {place} of {} has data that were not measured", event.register),
            )
            .expected(event.digest)
            .actual(Sha384::of(event.data)),
        );
    }
}

/// One separator in a register, which says that all is well. A second is told by its digest, whatever type the log gives
/// it. Not so one of an error: the order of boot entries may have the same four octets.
fn separators(log: &EventLog<'_>, policy: &EventLogPolicy, findings: &mut Vec<Finding>) {
    let good = SEPARATORS.map(|value| Sha384::of(&value));
    let is_named = |event: &Event<'_>| event.kind == EventKind::SEPARATOR;
    for register in Register::RTMRS {
        // TCG PFP 1.06 §10.4.1: 1 is an error of the firmware's.
        let is_bad = |event: &&Event<'_>| {
            is_named(event) && !SEPARATORS.iter().any(|value| event.data == value)
        };
        for event in log.extended(register).filter(is_bad).take(TOLD_MAX) {
            let actual = match event.data.len() {
                4 => hex::encode(event.data),
                len => format!("{len} octets"),
            };
            findings.push(
                Finding::reject(
                    Code::EventSeparatorError,
                    format!("the separator of {register} is that of a boot that failed"),
                )
                .expected("00000000 or ffffffff")
                .actual(actual),
            );
        }
        let is_separator = |event: &&Event<'_>| is_named(event) || good.contains(&event.digest);
        let count = log.extended(register).filter(is_separator).count();
        if count > 1 {
            let message = format!("{register} has {count} separators");
            findings.push(match policy.duplicate_separators {
                UnknownBits::Refused => Finding::reject(Code::EventSeparatorDuplicate, message),
                UnknownBits::Tolerated => Finding::warn(Code::EventSeparatorDuplicate, message),
            });
        }
    }
}

/// Most events of a log, or of a register, that are told of for one rule: the first is reason enough to refuse, and whoever
/// sends a log may send thousands.
const TOLD_MAX: usize = 16;

/// What a separator measures where all is well.
const SEPARATORS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];

/// All of a register's digests must be admitted, and every entry met.
fn events(
    log: &EventLog<'_>,
    register: Register,
    policy: &EventLogPolicy,
    findings: &mut Vec<Finding>,
) {
    let entries: Vec<&Entry> =
        policy.entries.iter().filter(|entry| entry.register == register).collect();
    let digests: Vec<(usize, &Event<'_>)> = (1_usize..).zip(log.extended(register)).collect();
    let about = |place: &usize| -> Vec<&&Entry> {
        // An entry for this place speaks for it alone.
        let for_place = |entry: &&&Entry| entry.at.contains(place);
        match entries.iter().filter(for_place).collect::<Vec<_>>() {
            none if none.is_empty() => entries.iter().filter(|entry| entry.at.is_empty()).collect(),
            some => some,
        }
    };
    let odd = digests.iter().filter(|(place, event)| {
        !about(place).iter().any(|entry| entry.digests.admits(&event.digest))
    });
    for (place, event) in odd.take(TOLD_MAX) {
        findings.push(
            Finding::reject(
                Code::EventNotAllowed,
                format!("event {place} of {register} ({}) is none of the policy's", event.kind),
            )
            .expected(crate::policy::list(about(place).iter().map(|entry| &entry.name)))
            .actual(event.digest),
        );
    }
    for entry in &entries {
        let is_met = if entry.at.is_empty() {
            digests.iter().any(|(_, event)| entry.digests.admits(&event.digest))
        } else {
            // Digests at these places were judged above; here they must be there.
            entry.at.iter().all(|place| digests.iter().any(|(at, _)| at == place))
        };
        if !is_met {
            let message = format!("{} was not measured into {register}", entry.name);
            let expected = match &entry.digests {
                Accept::Any => format!("an event at {}", crate::policy::list(&entry.at)),
                Accept::Only(_) => entry.digests.to_string(),
            };
            findings.push(Finding::reject(Code::EventMissing, message).expected(expected));
        }
    }
}

/// The firmware measures the variable before anything that it starts can measure. So the digest of secure boot being on
/// must be there, and none of its being off, which nobody can take out again.
fn secure_boot(log: &EventLog<'_>, wanted: Demand, findings: &mut Vec<Finding>) {
    let has = |value: &[u8]| {
        let digest = Sha384::of(&secure_boot_variable(value));
        log.extended(Register::Rtmr0).any(|event| event.digest == digest)
    };
    let (is_on, is_off) = (has(&[1]), has(&[0]) || has(&[]));
    let is_as_wanted = match wanted {
        Demand::Allowed => true,
        Demand::Required => is_on && !is_off,
        Demand::Refused => is_off && !is_on,
    };
    if !is_as_wanted {
        let actual = match (is_on, is_off) {
            (true, true) => "on, and off",
            (true, false) => "on",
            (false, true) => "off",
            (false, false) => "not measured",
        };
        findings.push(
            Finding::reject(Code::EventSecureBoot, format!("secure boot: {wanted} by the policy"))
                .actual(actual),
        );
    }
}

/// What the firmware measures of the variable `SecureBoot` (UEFI 2.10 §3.3, TCG PFP 1.06 §10.2.6).
fn secure_boot_variable(value: &[u8]) -> Vec<u8> {
    const GLOBAL: [u8; 16] = [
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b,
        0x8c,
    ];
    const NAME: &str = "SecureBoot";
    let mut variable = GLOBAL.to_vec();
    for len in [NAME.len(), value.len()] {
        variable.extend(u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes());
    }
    variable.extend(NAME.encode_utf16().flat_map(u16::to_le_bytes));
    variable.extend(value);
    variable
}

/// The events that were extended, each with its place in its register, counted from 1.
fn places<'a, 'b>(log: &'a EventLog<'b>) -> impl Iterator<Item = (usize, &'a Event<'b>)> {
    Register::RTMRS.into_iter().flat_map(|register| iter::zip(1_usize.., log.extended(register)))
}

#[cfg(test)]
mod tests {
    use attestation::Digest;
    use sim::tdx::{EventLogRecipe, LoggedEvent};

    use super::*;
    use crate::finding::Severity;
    use crate::policy::Policy;

    const SEPARATOR: u32 = 0x4;
    const IPL: u32 = 0xd;
    const CONFIG: u32 = 0x8000_0001;

    /// A log of a machine; register 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    #[derive(Clone, Debug, Default)]
    struct LogRecipe(Vec<LoggedEvent>);

    impl LogRecipe {
        /// With an event whose digest is of its data.
        fn event(self, register: usize, kind: u32, data: &[u8]) -> Self {
            self.measured(register, kind, data, data)
        }

        /// With an event whose digest is of `measured`, whatever its data say.
        fn measured(mut self, register: usize, kind: u32, measured: &[u8], data: &[u8]) -> Self {
            let [rtmr0, rtmr1, rtmr2, rtmr3] = Register::RTMRS;
            let register = [Register::Mrtd, rtmr0, rtmr1, rtmr2, rtmr3][register];
            let digest = Sha384::of(measured);
            self.0.push(LoggedEvent {
                register,
                kind: EventKind(kind),
                digest,
                data: data.to_vec(),
            });
            self
        }

        fn recipe(&self) -> EventLogRecipe {
            EventLogRecipe { events: self.0.clone(), area: 4096 }
        }

        fn encode(&self) -> Vec<u8> {
            self.recipe().encode()
        }

        fn registers(&self) -> [Sha384; 4] {
            self.recipe().registers().unwrap().map(Digest)
        }
    }

    /// A log that the policy accepts.
    fn log() -> LogRecipe {
        LogRecipe::default()
            .event(1, CONFIG, &secure_boot_variable(&[1]))
            .event(1, SEPARATOR, &[0; 4])
            .event(2, SEPARATOR, &[0; 4])
            .measured(3, IPL, b"quiet", b"kernel_cmdline: quiet\0")
            .measured(3, IPL, b"initrd", b"initrd\0")
    }

    fn policy(section: &str) -> EventLogPolicy {
        let text = format!(
            "schema = 1\nname = \"p\"\nversion = 1\npurpose = \"evaluation\"\n[tdx.event_log]\n{section}"
        );
        let policy = Policy::parse(&text, &|_| Err("no files".to_owned())).unwrap();
        policy.tdx.unwrap().event_log
    }

    /// Pins RTMR2, and secure boot.
    fn strict() -> String {
        format!(
            "presence = \"required\"\nsecure_boot = \"required\"\n\
             [[tdx.event_log.events]]\nname = \"cmdline\"\nregister = \"rtmr2\"\nat = [1]\ntext = [\"quiet\", \"loud\"]\n\
             [[tdx.event_log.events]]\nname = \"initrd\"\nregister = \"rtmr2\"\ndigests = [\"{}\"]\n",
            Sha384::of(b"initrd")
        )
    }

    fn found(
        log: Option<&[u8]>,
        registers: &[Sha384; 4],
        section: &str,
        severity: Severity,
    ) -> Vec<Code> {
        let mut findings = Vec::new();
        judge(registers, log, &policy(section), &mut findings);
        findings.retain(|finding| finding.severity == severity);
        findings.iter().map(|finding| finding.code).collect()
    }

    /// Whoever sends a log may send thousands of events, each wrong in each way, and as long as they like.
    #[test]
    fn of_many_events_that_are_wrong_a_few_are_told() {
        let bad = (0..600_usize).fold(LogRecipe::default(), |log, number| {
            let register = number % 4 + 1;
            log.measured(register, SEPARATOR, &number.to_be_bytes(), &[1; 600])
        });
        let count = |code: Code, findings: &[Finding]| {
            findings.iter().filter(|finding| finding.code == code).count()
        };
        let mut findings = Vec::new();
        judge(&bad.registers(), Some(&bad.encode()), &policy(&strict()), &mut findings);
        assert_eq!(count(Code::EventDataMismatch, &findings), TOLD_MAX);
        assert_eq!(count(Code::EventSeparatorError, &findings), TOLD_MAX * 4);
        assert_eq!(count(Code::EventNotAllowed, &findings), TOLD_MAX);
        let actual = |finding: &Finding| finding.actual.as_deref().map(str::len);
        assert!(findings.iter().filter_map(actual).all(|len| len <= 96), "{findings:#?}");
    }

    /// What refuses a log whose registers are those of a genuine machine.
    fn refused(log: &LogRecipe, section: &str) -> Vec<Code> {
        found(Some(&log.encode()), &log.registers(), section, Severity::Reject)
    }

    #[test]
    fn a_log_that_replays_and_shows_what_the_policy_wants_is_accepted() {
        let mut findings = Vec::new();
        judge(&log().registers(), Some(&log().encode()), &policy(&strict()), &mut findings);
        assert_eq!(findings, []);
        assert_eq!(refused(&log(), ""), []);
    }

    #[test]
    fn without_a_log_only_what_needs_one_is_refused() {
        let missing = |section| found(None, &[Sha384::of(b""); 4], section, Severity::Reject);
        assert_eq!(missing(""), []);
        for section in [
            "presence = \"required\"",
            "secure_boot = \"required\"",
            "secure_boot = \"refused\"",
            "[[tdx.event_log.events]]\nname = \"a\"\nregister = \"rtmr3\"\ntext = [\"a\"]",
        ] {
            assert_eq!(missing(section), [Code::EventLogMissing], "{section}");
        }
    }

    #[test]
    fn every_register_must_be_what_the_log_makes_of_it() {
        let log = log();
        for register in 0..4 {
            let mut registers = log.registers();
            registers[register] = Sha384::of(b"another");
            let codes = found(Some(&log.encode()), &registers, "", Severity::Reject);
            assert_eq!(codes, [Code::EventLogMismatch], "RTMR{register}");
        }
        // RTMR3 has no events: anything but zero was not logged.
        assert!(log.registers()[3].is_zero());
        let malformed = found(Some(b"no log"), &log.registers(), "", Severity::Reject);
        assert_eq!(malformed, [Code::EventLogMalformed]);
    }

    #[test]
    fn events_that_do_not_replay_are_not_judged() {
        let log = log();
        let mut registers = log.registers();
        registers[2] = Sha384::of(b"another");
        registers[0] = Sha384::of(b"another");
        let (log, other) = (log.encode(), strict().replace("quiet", "other"));
        assert_eq!(
            found(Some(&log), &registers, &other, Severity::Reject),
            [Code::EventLogMismatch, Code::EventLogMismatch]
        );
        assert_eq!(found(Some(&log), &registers, &other, Severity::Info), [Code::NotEvaluated]);
    }

    #[test]
    fn what_a_log_must_not_have() {
        let cases = [
            (log().event(1, SEPARATOR, &[0; 4]), Code::EventSeparatorDuplicate),
            (log().event(2, SEPARATOR, &[0xff; 4]), Code::EventSeparatorDuplicate),
            (log().event(4, SEPARATOR, &[1, 0, 0, 0]), Code::EventSeparatorError),
            // Types are the log's own word.
            (log().event(1, IPL, &[0; 4]), Code::EventSeparatorDuplicate),
            (log().measured(2, IPL, &[0xff; 4], b"quiet"), Code::EventSeparatorDuplicate),
            (log().measured(4, SEPARATOR, b"x", &[0; 4]), Code::EventDataMismatch),
            (log().measured(1, CONFIG, b"x", b"y"), Code::EventDataMismatch),
        ];
        for (log, expected) in cases {
            assert_eq!(refused(&log, &strict()), [expected], "{log:?}");
        }
        let twice = log().event(1, SEPARATOR, &[0; 4]);
        let tolerant = "duplicate_separators = \"tolerated\"";
        assert_eq!(refused(&twice, tolerant), []);
        assert_eq!(
            found(Some(&twice.encode()), &twice.registers(), tolerant, Severity::Warn),
            [Code::EventSeparatorDuplicate]
        );
        // Nothing of this is said of what is extended nowhere.
        assert_eq!(refused(&log().measured(0, SEPARATOR, b"x", &[1]), &strict()), []);
    }

    #[test]
    fn a_register_with_entries_is_judged_whole() {
        let start = || {
            LogRecipe::default()
                .event(1, CONFIG, &secure_boot_variable(&[1]))
                .event(1, SEPARATOR, &[0; 4])
        };
        let [quiet, loud, evil, initrd] = [&b"quiet"[..], b"loud", b"evil", b"initrd"];
        for (measured, expected) in [
            (&[quiet, initrd][..], &[][..]),
            (&[loud, initrd], &[]),
            (&[loud, initrd, initrd], &[]),
            (&[evil, initrd], &[Code::EventNotAllowed]),
            // A good one added later does not help.
            (&[evil, initrd, quiet], &[Code::EventNotAllowed, Code::EventNotAllowed]),
            (&[quiet, initrd, evil], &[Code::EventNotAllowed]),
            (&[initrd, quiet], &[Code::EventNotAllowed, Code::EventNotAllowed]),
            (&[quiet], &[Code::EventMissing]),
            (&[initrd], &[Code::EventNotAllowed]),
            (&[], &[Code::EventMissing, Code::EventMissing]),
        ] {
            let log = measured.iter().fold(start(), |log, text| log.event(3, IPL, text));
            let mut codes = refused(&log, &strict());
            // That one entry is not met follows from what was refused in its place.
            if expected.contains(&Code::EventNotAllowed) {
                codes.retain(|code| *code != Code::EventMissing);
            }
            assert_eq!(codes, expected, "{measured:?}");
        }
        // Whatever the log calls it, and wherever it says that it went.
        let renamed = start().event(3, 0x6, evil).event(3, IPL, quiet).event(3, IPL, initrd);
        assert!(refused(&renamed, &strict()).contains(&Code::EventNotAllowed));
    }

    #[test]
    fn an_entry_is_of_its_register_alone() {
        let entry = |register: &str, text: &str| {
            format!(
                "[[tdx.event_log.events]]\nname = \"{text}\"\nregister = \"{register}\"\ntext = [\"{text}\"]\n"
            )
        };
        let section = entry("rtmr2", "kernel") + &entry("rtmr3", "layer");
        let start = LogRecipe::default;
        let good = start().event(3, IPL, b"kernel").event(4, IPL, b"layer");
        assert_eq!(refused(&good, &section), []);
        let both = good.event(3, IPL, b"layer");
        assert_eq!(refused(&both, &section), [Code::EventNotAllowed]);
    }

    #[test]
    fn any_digest_is_for_given_places() {
        let section = "[[tdx.event_log.events]]\nname = \"tables\"\nregister = \"rtmr0\"\nat = [1, 2]\ndigests = \"any\"";
        assert_eq!(refused(&log(), section), []);
        let more = log().event(1, 0xa, b"more");
        assert_eq!(refused(&more, section), [Code::EventNotAllowed]);
        let places = section.replace("[1, 2]", "[1, 2, 3]");
        assert_eq!(refused(&log(), &places), [Code::EventMissing]);
        for bad in [
            section.replace("at = [1, 2]\n", ""),
            section.replace("[1, 2]", "[0]"),
            section.replace("rtmr0", "mrtd"),
            section.replace("\"any\"", "[\"00\"]"),
            section.replace("\"any\"", "\"any\"\ntext = [\"a\"]"),
            section.replace("name", "names"),
        ] {
            let text = format!(
                "schema = 1\nname = \"p\"\nversion = 1\npurpose = \"evaluation\"\n[tdx.event_log]\n{bad}"
            );
            assert!(Policy::parse(&text, &|_| Err(String::new())).is_err(), "{bad}");
        }
    }

    #[test]
    fn secure_boot_is_what_the_firmware_measured_first() {
        for (values, is_on, is_off) in [
            (&[&[1_u8][..]][..], true, false),
            (&[&[0]], false, true),
            (&[&[]], false, true),
            (&[], false, false),
            // Added by what an unverified boot started.
            (&[&[0], &[1]], false, false),
        ] {
            let log = values.iter().fold(LogRecipe::default(), |log, value| {
                log.event(1, CONFIG, &secure_boot_variable(value))
            });
            for (wanted, accepts) in [("required", is_on), ("refused", is_off), ("allowed", true)] {
                let codes = refused(&log, &format!("secure_boot = \"{wanted}\""));
                assert_eq!(codes.is_empty(), accepts, "{values:?} and {wanted}");
                assert!(codes.iter().all(|code| *code == Code::EventSecureBoot));
            }
        }
        // In another register it is not the firmware's word.
        let elsewhere = LogRecipe::default().event(3, CONFIG, &secure_boot_variable(&[1]));
        let codes = refused(&elsewhere, "secure_boot = \"required\"");
        assert_eq!(codes, [Code::EventSecureBoot]);
    }
}
