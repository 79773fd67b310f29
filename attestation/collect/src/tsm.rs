use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, process, thread};

use attestation::snp::{SnpReport, cert_table, offset};
use attestation::{Malformed, ReportData};

use crate::error::CollectError;
use crate::{Attester, Platform, PlatformEvidence};

/// Where Linux has its report instances, once configfs is mounted.
pub const TSM_ROOT: &str = "/sys/kernel/config/tsm/report";

/// Linux configfs-tsm (kernel 6.7 on): one folder per report, made and removed for each.
///
/// The kernel counts the writes to an instance in `generation`. We make one, so a report counts
/// only when the number has grown by one from before the write to after the last read; otherwise
/// somebody else wrote to our instance, and we start again with a fresh one.
#[derive(Debug)]
pub struct Tsm {
    tree: Box<dyn Tree>,
    root: PathBuf,
    made: u64,
}

impl Tsm {
    /// The report instances below `root`, which is [`TSM_ROOT`] but in tests.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CollectError> {
        Self::on(Box::new(Disk), root.into())
    }

    fn on(tree: Box<dyn Tree>, root: PathBuf) -> Result<Self, CollectError> {
        if !root.is_dir() {
            return Err(CollectError::Absent { interface: "configfs-tsm" });
        }
        Ok(Self { tree, root, made: 0 })
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
        if provider != "sev_guest" {
            return Err(Failure::Final(CollectError::WrongProvider { found: provider }));
        }
        // One call: the kernel takes the 64 bytes together or not at all.
        self.tree
            .write(&instance.join("inblob"), &report_data.0)
            .map_err(Failure::of("writing inblob"))?;
        let report = self.read(instance, "outblob", OUTBLOB_LEN_MAX)?;
        let table = match self.read(instance, "auxblob", cert_table::LEN_MAX) {
            Ok(table) => table,
            Err(Failure::Final(CollectError::Io { kind: ErrorKind::NotFound, .. })) => Vec::new(),
            Err(failure) => return Err(failure),
        };
        let after = self.generation(instance)?;
        if before.checked_add(WRITES) != Some(after) {
            return Err(Failure::Again(CollectError::Raced));
        }
        check_snp_report(&report, report_data).map_err(|error| {
            if error == CollectError::Stale { Failure::Again(error) } else { Failure::Final(error) }
        })?;
        // The host fills the table as it likes. A broken one is worth as much as none: the
        // verifier gets the chain elsewhere, and believes neither source.
        let endorsements = cert_table::parse(&table).unwrap_or_default();
        Ok(PlatformEvidence { platform: Platform::SevSnp, report, endorsements })
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
        let bytes =
            self.tree.read(&instance.join(attribute), limit).map_err(Failure::of(attribute))?;
        if bytes.len() > limit {
            return Err(Failure::Final(Malformed::TooLong { what: attribute, limit }.into()));
        }
        Ok(bytes)
    }
}

impl Attester for Tsm {
    fn report(&mut self, report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
        let mut last = CollectError::Busy;
        let mut pause = PAUSE_FIRST;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(report_data) {
                Ok(evidence) => return Ok(evidence),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error)) => last = error,
            }
            thread::sleep(pause);
            pause = pause.saturating_mul(2);
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
/// We write `inblob`, and nothing else.
const WRITES: u64 = 1;
/// `TSM_OUTBLOB_MAX` of Linux 6.9.
const OUTBLOB_LEN_MAX: usize = 32 << 10;
/// `provider` and `generation` are a word and a number.
const TEXT_LEN_MAX: usize = 64;
/// Names tried before giving up: others are left-overs of a process that had our id.
const NAMES_MAX: u32 = 16;
/// Fresh instances per report: pauses of 50 ms to 1.6 s, three seconds together.
const ATTEMPTS_MAX: u32 = 6;
/// The first pause between two attempts; each one after it is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
