//! Programs as they are shipped, each in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::Failed;

/// A program that serves, until it is dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts the program of this name with a configuration, and waits until it says where it listens.
    pub(crate) fn start(name: &str, folder: &Folder, configuration: &str) -> Result<Self, Failed> {
        let file = folder.write(&format!("{name}.toml"), configuration)?;
        let mut command = Command::new(beside(name)?);
        command.arg("--config").arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("the program has no standard output")?;
        let read = BufReader::new(out).read_line(&mut line);
        // Not before it is known where it listens, so that a failure does not leave it running.
        let mut program = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        read?;
        let address = line.trim_end().rsplit("://").next().unwrap_or_default();
        let address = address.split(' ').next().unwrap_or_default();
        program.address = address.parse().map_err(|_| format!("{name} said {line:?}"))?;
        Ok(program)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<u64, Failed> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse()?)
    }

    /// Processor time of all its threads, in the kernel and out of it (`Documentation/scheduler/sched-stats.rst`).
    pub(crate) fn processor_time(&self) -> Result<Duration, Failed> {
        let mut nanos = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let told = fs::read_to_string(task?.path().join("schedstat"))?;
            let ran = told.split(' ').next().ok_or("no schedstat")?;
            nanos = nanos.saturating_add(ran.parse()?);
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that was built beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Failed> {
    let beside = std::env::current_exe()?.with_file_name(name);
    if beside.exists() {
        return Ok(beside);
    }
    Err(format!("{} is not there: build {name} first", beside.display()).into())
}

/// A folder of its own, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("veritee-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file of it; its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Failed> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
