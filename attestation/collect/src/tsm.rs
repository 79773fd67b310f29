use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, process, thread};

use attestation::platform::EVENT_LOG_LEN_MAX;
use attestation::snp::{SnpReport, cert_table, offset};
use attestation::{CpuEvidence, Endorsements, Malformed, ReportData};

use crate::error::CollectError;
use crate::{Attester, PlatformEvidence, quote};

/// Where Linux has its report instances, once configfs is mounted.
pub const TSM_ROOT: &str = "/sys/kernel/config/tsm/report";
/// Where Linux shows the event log that TDX firmware wrote.
pub const CCEL: &str = "/sys/firmware/acpi/tables/data/CCEL";

/// Linux configfs-tsm (kernel 6.7 on): one folder per report, made and removed for each.
///
/// The kernel counts the writes to an instance in `generation`. We make one, so a report counts
/// only when the number has grown by one from before the write to after the last read; otherwise
/// somebody else wrote to our instance, and we start again with a fresh one.
#[derive(Debug)]
pub struct Tsm {
    tree: Box<dyn Tree>,
    guest: Guest,
    root: PathBuf,
    made: u64,
    pause: Duration,
}

/// Which kind of guest we are, and what is particular to it.
#[derive(Clone, Debug)]
enum Guest {
    SevSnp,
    Tdx {
        /// The file of the event log.
        event_log: PathBuf,
    },
}

impl Guest {
    /// What the kernel calls the provider of its reports.
    const fn provider(&self) -> &'static str {
        match self {
            Self::SevSnp => "sev_guest",
            Self::Tdx { .. } => "tdx_guest",
        }
    }
}

impl Tsm {
    /// A SEV-SNP guest's report instances below `root`, which is [`TSM_ROOT`] but in tests.
    pub fn sev_snp(root: impl Into<PathBuf>) -> Result<Self, CollectError> {
        Self::on(Box::new(Disk), Guest::SevSnp, root.into())
    }

    /// A TDX guest's, whose event log is the file `event_log`: [`CCEL`] but in tests. Firmware that
    /// wrote none leaves quotes without one, and the policy decides.
    pub fn tdx(
        root: impl Into<PathBuf>,
        event_log: impl Into<PathBuf>,
    ) -> Result<Self, CollectError> {
        Self::on(Box::new(Disk), Guest::Tdx { event_log: event_log.into() }, root.into())
    }

    fn on(tree: Box<dyn Tree>, guest: Guest, root: PathBuf) -> Result<Self, CollectError> {
        if !root.is_dir() {
            return Err(CollectError::Absent { interface: "configfs-tsm" });
        }
        Ok(Self { tree, guest, root, made: 0, pause: PAUSE_FIRST })
    }

    /// One attempt with a fresh instance, which is removed whatever happens.
    fn attempt(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, Failure> {
        let instance = self.create()?;
        let outcome = self.read_report(&instance, report_data);
        let removed =
            self.tree.remove(&instance).map_err(Failure::of("removing the report instance"));
        // An instance that cannot be removed would pile up, so it is a failure of its own.
        outcome.and_then(|evidence| removed.map(|()| evidence))
    }

    fn create(&mut self) -> Result<PathBuf, Failure> {
        for _ in 0..NAMES_MAX {
            self.made = self.made.wrapping_add(1);
            let instance = self.root.join(format!("veritee-{}-{}", process::id(), self.made));
            match self.tree.create(&instance) {
                Ok(()) => return Ok(instance),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::of("making a report instance")(error)),
            }
        }
        Err(Failure::of("making a report instance")(ErrorKind::AlreadyExists.into()))
    }

    fn read_report(
        &mut self,
        instance: &Path,
        report_data: &ReportData,
    ) -> Result<PlatformEvidence, Failure> {
        let before = self.generation(instance)?;
        let provider = self.read(instance, "provider", TEXT_LEN_MAX)?;
        let provider = String::from_utf8_lossy(&provider).trim_end().to_owned();
        let expected = self.guest.provider();
        if provider != expected {
            let wrong = CollectError::WrongProvider { expected, found: provider };
            return Err(Failure::Final(wrong));
        }
        // One call: the kernel takes the 64 bytes together or not at all.
        self.tree
            .write(&instance.join("inblob"), &report_data.0)
            .map_err(Failure::of("writing inblob"))?;
        let report = self.read(instance, "outblob", OUTBLOB_LEN_MAX)?;
        let table = match self.guest {
            Guest::SevSnp => {
                self.read_if_there(&instance.join("auxblob"), "auxblob", cert_table::LEN_MAX)?
            }
            // Its driver has none.
            Guest::Tdx { .. } => None,
        };
        let after = self.generation(instance)?;
        if before.checked_add(WRITES) != Some(after) {
            return Err(Failure::Again(CollectError::Raced));
        }
        let cpu = match self.guest {
            Guest::SevSnp => {
                check_snp_report(&report, report_data).map(|()| CpuEvidence::sev_snp(report))
            }
            Guest::Tdx { .. } => quote::exact(report, report_data).map(CpuEvidence::tdx),
        };
        let cpu = cpu.map_err(|error| {
            if error == CollectError::Stale { Failure::Again(error) } else { Failure::Final(error) }
        })?;
        // The host fills the table as it likes. A broken one is worth as much as none: the
        // verifier gets the chain elsewhere, and believes neither source.
        let endorsements = table
            .and_then(|table| cert_table::parse(&table).ok())
            .unwrap_or_else(Endorsements::new);
        Ok(PlatformEvidence { cpu, event_log: self.event_log()?, endorsements })
    }

    /// The log as it is now, which firmware wrote before this program started.
    fn event_log(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.guest.clone() {
            Guest::SevSnp => Ok(None),
            Guest::Tdx { event_log } => {
                self.read_if_there(&event_log, "the event log", EVENT_LOG_LEN_MAX)
            }
        }
    }

    fn generation(&mut self, instance: &Path) -> Result<u64, Failure> {
        let text = self.read(instance, "generation", TEXT_LEN_MAX)?;
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
        let malformed = Malformed::invalid("generation", "is not a number");
        number.ok_or(Failure::Final(CollectError::Malformed(malformed)))
    }

    fn read(
        &mut self,
        instance: &Path,
        attribute: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, Failure> {
        self.read_file(&instance.join(attribute), attribute, limit)
    }

    fn read_file(
        &mut self,
        file: &Path,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, Failure> {
        let bytes = self.tree.read(file, limit).map_err(|error| {
            // QGS, on the host, did not answer as it should: another time it may.
            let is_quoting_failure = error.raw_os_error() == Some(EIO);
            if is_quoting_failure && matches!(self.guest, Guest::Tdx { .. }) {
                Failure::Again(CollectError::io(what)(error))
            } else {
                Failure::of(what)(error)
            }
        })?;
        if bytes.len() > limit {
            return Err(Failure::Final(Malformed::TooLong { what, limit }.into()));
        }
        Ok(bytes)
    }

    fn read_if_there(
        &mut self,
        file: &Path,
        what: &'static str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match self.read_file(file, what, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Failure::Final(CollectError::Io { kind: ErrorKind::NotFound, .. })) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl Attester for Tsm {
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
        let mut last = CollectError::Busy;
        let mut pause = Duration::ZERO;
        for _ in 0..ATTEMPTS_MAX {
            thread::sleep(pause);
            pause = pause.saturating_mul(2).max(self.pause);
            match self.attempt(report_data) {
                Ok(evidence) => return Ok(evidence),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error)) => last = error,
            }
        }
        Err(last)
    }
}

/// The four operations on configfs, so that tests can play the kernel between them.
trait Tree: fmt::Debug + Send {
    /// Makes a folder.
    fn create(&mut self, folder: &Path) -> io::Result<()>;
    /// Reads at most `limit + 1` bytes.
    fn read(&mut self, file: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Writes to a file that is there, in one call.
    fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Removes a folder.
    fn remove(&mut self, folder: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Debug)]
struct Disk;

impl Tree for Disk {
    fn create(&mut self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().create(folder)
    }

    fn read(&mut self, file: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        File::open(file)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(file)?;
        if file.write(bytes)? == bytes.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    fn remove(&mut self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }
}

/// Refuses what is no report over `report_data`: an answer to an earlier question, say.
pub(crate) fn check_snp_report(
    report: &[u8],
    report_data: &ReportData,
) -> Result<(), CollectError> {
    let report = SnpReport::parse(report)?;
    let signed = report.as_bytes().get(offset::REPORT_DATA..).and_then(|rest| rest.get(..64));
    if signed == Some(&report_data.0) { Ok(()) } else { Err(CollectError::Stale) }
}

/// Whether to try once more.
enum Failure {
    Again(CollectError),
    Final(CollectError),
}

impl Failure {
    fn of(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            // EBUSY, EINTR and EWOULDBLOCK: the host is busy, or the instance changed under us.
            if BUSY.contains(&error.kind()) {
                Self::Again(CollectError::Busy)
            } else {
                Self::Final(CollectError::io(operation)(error))
            }
        }
    }
}

/// What passes when one tries again.
const BUSY: [ErrorKind; 4] =
    [ErrorKind::ResourceBusy, ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
/// The kernel's number for an error of input or output.
const EIO: i32 = 5;
/// We write `inblob`, and nothing else.
const WRITES: u64 = 1;
/// `TSM_OUTBLOB_MAX` of Linux 6.9.
const OUTBLOB_LEN_MAX: usize = 32 << 10;
/// `provider` and `generation` are a word and a number.
const TEXT_LEN_MAX: usize = 64;
/// Names tried before giving up: others are left-overs of a process that had our id.
const NAMES_MAX: u32 = 16;
/// Fresh instances per report: pauses of 50 ms to 0.8 s between them, a second and a half together.
const ATTEMPTS_MAX: u32 = 6;
/// The first pause between two attempts; each one after it is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const CERT: &[u8] = &[0x30, 7, 0x30, 5, 0xa0, 3, 0x02, 1, 2];

    /// A real folder tree with the kernel's part played between our operations.
    #[derive(Debug)]
    struct Kernel {
        script: Arc<Mutex<Script>>,
    }

    #[derive(Debug)]
    struct Script {
        provider: &'static str,
        missing: &'static str,
        /// What a TDX guest's firmware logged, and what the host adds to a quote.
        event_log: Option<Vec<u8>>,
        padding: Vec<u8>,
        auxblob: Vec<u8>,
        outblob_len: usize,
        /// Attempts in which somebody else writes, too.
        races: u32,
        /// Attempts that end in this error when `outblob` is read.
        busy: (u32, ErrorKind),
        /// Attempts in which the host's quoting service fails.
        quoting: u32,
        /// Attempts in which the report is of an earlier question.
        stale: u32,
        attempts: u32,
    }

    impl Default for Script {
        fn default() -> Self {
            Self {
                provider: "sev_guest\n",
                missing: "",
                event_log: None,
                padding: Vec::new(),
                auxblob: cert_table::encode(&[(cert_table::VCEK, CERT)]).unwrap(),
                outblob_len: 1184,
                races: 0,
                busy: (0, ErrorKind::ResourceBusy),
                quoting: 0,
                stale: 0,
                attempts: 0,
            }
        }
    }

    fn bump(folder: &Path) {
        let file = folder.join("generation");
        let number: u64 = fs::read_to_string(&file).unwrap().trim_end().parse().unwrap();
        fs::write(file, format!("{}\n", number.checked_add(1).unwrap())).unwrap();
    }

    fn left(count: &mut u32) -> bool {
        let some = *count > 0;
        *count = count.saturating_sub(1);
        some
    }

    impl Tree for Kernel {
        fn create(&mut self, folder: &Path) -> io::Result<()> {
            Disk.create(folder)?;
            let mut script = self.script.lock().unwrap();
            script.attempts = script.attempts.saturating_add(1);
            for (name, contents) in [
                ("generation", b"0\n".as_slice()),
                ("provider", script.provider.as_bytes()),
                ("inblob", b""),
                ("outblob", b""),
                ("auxblob", &script.auxblob),
            ] {
                if name != script.missing {
                    fs::write(folder.join(name), contents).unwrap();
                }
            }
            Ok(())
        }

        fn read(&mut self, file: &Path, limit: usize) -> io::Result<Vec<u8>> {
            let folder = file.parent().unwrap();
            let mut script = self.script.lock().unwrap();
            if file.ends_with("outblob") && file.exists() {
                if left(&mut script.busy.0) {
                    return Err(script.busy.1.into());
                }
                if left(&mut script.quoting) {
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                let mut asked = fs::read(folder.join("inblob")).unwrap();
                if left(&mut script.stale) {
                    asked = vec![0; 64];
                }
                let mut report = vec![0; script.outblob_len];
                if let Some(head) = report.get_mut(..0x90) {
                    head[0] = 3;
                    head[0x50..].copy_from_slice(&asked);
                }
                if script.provider == "tdx_guest\n" {
                    report = quote::tests::quote(&asked);
                    report.extend(&script.padding);
                }
                fs::write(file, report).unwrap();
                if left(&mut script.races) {
                    bump(folder);
                }
            }
            Disk.read(file, limit)
        }

        fn write(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
            Disk.write(file, bytes)?;
            bump(file.parent().unwrap());
            Ok(())
        }

        fn remove(&mut self, folder: &Path) -> io::Result<()> {
            // Attributes are no files of their own: they go with the folder.
            for entry in fs::read_dir(folder)? {
                fs::remove_file(entry?.path())?;
            }
            Disk.remove(folder)
        }
    }

    /// Asks once; returns what came of it and in how many attempts. Nothing may stay behind.
    fn ask(name: &str, script: Script) -> (Result<PlatformEvidence, CollectError>, u32) {
        ask_as(Guest::SevSnp, name, script)
    }

    fn ask_as(
        guest: Guest,
        name: &str,
        script: Script,
    ) -> (Result<PlatformEvidence, CollectError>, u32) {
        let root = std::env::temp_dir().join(format!("veritee-tsm-{}-{name}", process::id()));
        fs::create_dir_all(&root).unwrap();
        let script = Arc::new(Mutex::new(script));
        let kernel = Kernel { script: Arc::clone(&script) };
        let mut tsm = Tsm::on(Box::new(kernel), guest, root.clone()).unwrap();
        tsm.pause = Duration::ZERO;
        let result = tsm.report(&ReportData([7; 64]));
        fs::remove_dir(&root).expect("every instance is removed");
        let attempts = script.lock().unwrap().attempts;
        (result, attempts)
    }

    #[test]
    fn a_report_comes_with_its_certificates() {
        let (result, attempts) = ask("plain", Script::default());
        let evidence = result.unwrap();
        assert_eq!(evidence.cpu.bytes.len(), 1184);
        assert_eq!(evidence.event_log, None);
        assert_eq!(evidence.endorsements.certificates(), [CERT.to_vec()]);
        assert_eq!(attempts, 1);
    }

    fn tdx() -> Script {
        Script { provider: "tdx_guest\n", missing: "auxblob", ..Script::default() }
    }

    /// Asks as a TDX guest, with the log in a file of its own.
    fn ask_tdx(name: &str, script: Script) -> (Result<PlatformEvidence, CollectError>, u32) {
        let event_log = std::env::temp_dir().join(format!("veritee-ccel-{}-{name}", process::id()));
        if let Some(log) = &script.event_log {
            fs::write(&event_log, log).unwrap();
        }
        let asked = ask_as(Guest::Tdx { event_log: event_log.clone() }, name, script);
        drop(fs::remove_file(event_log));
        asked
    }

    #[test]
    fn a_quote_comes_without_its_padding_and_with_the_event_log() {
        let whole = CpuEvidence::tdx(quote::tests::quote(&[7; 64]));
        let logged = Script { event_log: Some(vec![5; 99]), padding: vec![0; 4000], ..tdx() };
        let (evidence, attempts) = ask_tdx("tdx", logged);
        let evidence = evidence.unwrap();
        assert_eq!((&evidence.cpu, attempts), (&whole, 1));
        assert_eq!(evidence.event_log, Some(vec![5; 99]));
        assert_eq!(evidence.endorsements, Endorsements::new());
        // Firmware that logs nothing: the quote alone.
        let evidence = ask_tdx("tdx-silent", tdx()).0.unwrap();
        assert_eq!((evidence.cpu, evidence.event_log), (whole, None));
    }

    #[test]
    fn a_tdx_guest_tries_again_where_quoting_may_succeed() {
        let busy = |kind| Script { busy: (1, kind), ..tdx() };
        for (name, script) in [
            ("tdx-race", Script { races: 1, ..tdx() }),
            ("tdx-stale", Script { stale: 1, ..tdx() }),
            ("tdx-ebusy", busy(ErrorKind::ResourceBusy)),
            ("tdx-etimedout", busy(ErrorKind::TimedOut)),
            ("tdx-eio", Script { quoting: 1, ..tdx() }),
        ] {
            let (result, attempts) = ask_tdx(name, script);
            assert!(result.is_ok(), "{name}: {result:?}");
            assert_eq!(attempts, 2, "{name}");
        }
    }

    #[test]
    fn what_a_tdx_guest_cannot_have_is_an_error_of_its_own() {
        let trailing = Malformed::Trailing { what: "TDX quote", extra: 2 };
        let limit = EVENT_LOG_LEN_MAX;
        let all = u32::MAX;
        for (name, script, error, attempts) in [
            (
                "tdx-provider",
                Script { provider: "sev_guest\n", ..tdx() },
                CollectError::WrongProvider {
                    expected: "tdx_guest",
                    found: "sev_guest".to_owned(),
                },
                1,
            ),
            (
                "tdx-trailing",
                Script { padding: vec![0, 1], ..tdx() },
                CollectError::Malformed(trailing),
                1,
            ),
            (
                "tdx-long-log",
                Script { event_log: Some(vec![0; limit + 1]), ..tdx() },
                CollectError::Malformed(Malformed::TooLong { what: "the event log", limit }),
                1,
            ),
            ("tdx-stales", Script { stale: all, ..tdx() }, CollectError::Stale, 6),
        ] {
            let (result, tried) = ask_tdx(name, script);
            assert_eq!((result, tried), (Err(error), attempts), "{name}");
        }
        // On SEV-SNP the same error says that the firmware refused.
        let (result, attempts) = ask("eio", Script { quoting: 1, ..Script::default() });
        assert_eq!((result.unwrap_err().code(), attempts), ("platform-io", 1));
    }

    #[test]
    fn a_table_that_is_missing_or_broken_costs_the_certificates_alone() {
        let missing = Script { missing: "auxblob", ..Script::default() };
        let broken = Script { auxblob: vec![1; 30], ..Script::default() };
        let empty = Script { auxblob: Vec::new(), ..Script::default() };
        for (name, script) in
            [("aux-missing", missing), ("aux-broken", broken), ("aux-empty", empty)]
        {
            let evidence = ask(name, script).0.unwrap();
            assert!(evidence.endorsements.certificates().is_empty(), "{name}");
        }
    }

    #[test]
    fn what_passes_is_tried_again_with_a_fresh_instance() {
        let busy = |kind| Script { busy: (1, kind), ..Script::default() };
        for (name, script) in [
            ("race", Script { races: 1, ..Script::default() }),
            ("stale", Script { stale: 1, ..Script::default() }),
            ("ebusy", busy(ErrorKind::ResourceBusy)),
            ("ewouldblock", busy(ErrorKind::WouldBlock)),
            ("eintr", busy(ErrorKind::Interrupted)),
            ("etimedout", busy(ErrorKind::TimedOut)),
        ] {
            let (result, attempts) = ask(name, script);
            assert!(result.is_ok(), "{name}: {result:?}");
            assert_eq!(attempts, 2, "{name}");
        }
    }

    #[test]
    fn what_does_not_pass_is_an_error_of_its_own() {
        let all = u32::MAX;
        let missing = |name| Script { missing: name, ..Script::default() };
        let absent = |operation| CollectError::Io { operation, kind: ErrorKind::NotFound };
        let long = |what, limit| CollectError::Malformed(Malformed::TooLong { what, limit });
        for (name, script, error, attempts) in [
            ("races", Script { races: all, ..Script::default() }, CollectError::Raced, 6),
            ("stales", Script { stale: all, ..Script::default() }, CollectError::Stale, 6),
            (
                "busies",
                Script { busy: (all, ErrorKind::ResourceBusy), ..Script::default() },
                CollectError::Busy,
                6,
            ),
            (
                "provider",
                Script { provider: "tdx_guest\n", ..Script::default() },
                CollectError::WrongProvider {
                    expected: "sev_guest",
                    found: "tdx_guest".to_owned(),
                },
                1,
            ),
            ("no-generation", missing("generation"), absent("generation"), 1),
            ("no-provider", missing("provider"), absent("provider"), 1),
            ("no-inblob", missing("inblob"), absent("writing inblob"), 1),
            ("no-outblob", missing("outblob"), absent("outblob"), 1),
            (
                "denied",
                Script { busy: (1, ErrorKind::PermissionDenied), ..Script::default() },
                CollectError::Io { operation: "outblob", kind: ErrorKind::PermissionDenied },
                1,
            ),
            (
                "long-outblob",
                Script { outblob_len: OUTBLOB_LEN_MAX + 1, ..Script::default() },
                long("outblob", OUTBLOB_LEN_MAX),
                1,
            ),
            (
                "long-auxblob",
                Script { auxblob: vec![0; cert_table::LEN_MAX + 1], ..Script::default() },
                long("auxblob", cert_table::LEN_MAX),
                1,
            ),
            (
                "short-outblob",
                Script { outblob_len: 1183, ..Script::default() },
                CollectError::Malformed(Malformed::invalid("SNP report", "is not 1184 bytes long")),
                1,
            ),
        ] {
            let (result, tried) = ask(name, script);
            assert_eq!((result, tried), (Err(error), attempts), "{name}");
        }
    }

    #[test]
    fn without_configfs_the_platform_is_absent() {
        for tsm in [Tsm::sev_snp("/nonexistent/tsm"), Tsm::tdx("/nonexistent/tsm", CCEL)] {
            let absent = CollectError::Absent { interface: "configfs-tsm" };
            assert_eq!(tsm.unwrap_err(), absent);
        }
    }

    #[test]
    fn left_overs_of_an_earlier_process_do_not_stop_us() {
        let root = std::env::temp_dir().join(format!("veritee-tsm-{}-left", process::id()));
        let left_over = root.join(format!("veritee-{}-1", process::id()));
        fs::create_dir_all(&left_over).unwrap();
        let kernel = Kernel { script: Arc::default() };
        let mut tsm = Tsm::on(Box::new(kernel), Guest::SevSnp, root.clone()).unwrap();
        assert!(tsm.report(&ReportData([7; 64])).is_ok());
        assert!(left_over.exists(), "it may be in use");
        fs::remove_dir_all(root).unwrap();
    }
}
