//! What the router holds for a stream that is open: the difference of its resident memory, over all streams.
//!
//! The program is the one that is shipped, in a process of its own. In this one are an enclave that streams cells, and
//! clients of which every tenth hardly reads. Those are fed as fast as anybody takes it, so that all that is between the
//! enclave and them is full.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::harness::{Bench, Failed, Figure, Outcome, number};

mod streams;
mod wire;

use streams::{Enclave, Streams};
use wire::Leg;

pub(crate) const NAMES: &[&str] = &["router.stream_memory", "router.stream_memory_tls"];

/// Streams that are open at the same time.
const STREAMS: usize = 2_000;
/// Every so many is read slowly.
const SLOW_EVERY: usize = 10;
/// Rounds, each with a router of its own.
const ROUNDS: usize = 10;
/// How long the streams are looked at once all are open.
const HOLD_SECS: u32 = 6;
/// Octets of a sealed cell with its length, as the router sees them (`docs/protocol.md` §5.7).
const CELL_LEN: usize = 530;
/// Between the cells of a stream: at least one a second, also where the machine is busy.
const CELL_EVERY: Duration = Duration::from_millis(600);
/// What opening all of them may take.
const OPEN_MAX: Duration = Duration::from_mins(1);

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    raise_descriptors()?;
    let runtime = Runtime::new()?;
    for (name, leg) in NAMES.iter().zip([Leg::Plain, Leg::Tls]) {
        if !bench.wants(name) {
            continue;
        }
        let (mut rounds, mut spoilt) = (Vec::new(), 0);
        while rounds.len() < ROUNDS {
            match runtime.block_on(round(leg)) {
                Ok(kib) => rounds.push(kib),
                // On a busy machine not every stream gets its cell in time, and then the round says nothing.
                Err(why) if spoilt >= ROUNDS => return Err(why),
                Err(_) => spoilt = usize::saturating_add(spoilt, 1),
            }
        }
        let mut figure = Figure::alone(name, "KiB", rounds);
        if leg == Leg::Plain {
            figure.notes.push("target: at most 40".to_owned());
        }
        figure.notes.push(format!("{spoilt} rounds were taken again"));
        figure.notes.push(format!(
            "{STREAMS} streams of at least a cell a second, every {SLOW_EVERY}th reads 64 octets a second and is fed without end"
        ));
        bench.print(&figure);
    }
    Ok(())
}

/// KiB of resident memory for one stream more.
async fn round(leg: Leg) -> Result<f64, Failed> {
    let folder = Folder::new()?;
    let keys = leg.keys(&folder.0)?;
    let enclave = Enclave::start(&keys).await?;
    let router = Router::start(&folder.0, &keys.configuration(enclave.address))?;
    let streams = Streams::new(router.address, &keys, STREAMS);
    streams.ready(OPEN_MAX).await?;
    // What it costs to have answered at all is not the streams'.
    sleep(Duration::from_secs(1)).await;
    let before = router.resident()?;
    streams.open();
    timeout(OPEN_MAX, streams.opened()).await.map_err(|_| "the streams did not open in time")?;
    let start = streams.cells();
    let mut most = 0;
    for _ in 0..HOLD_SECS {
        sleep(Duration::from_secs(1)).await;
        most = most.max(router.resident()?);
    }
    streams.check(&start, HOLD_SECS)?;
    let more = usize::try_from(most.saturating_sub(before))?;
    Ok(number(more) / number(STREAMS))
}

/// The router, until it is dropped.
struct Router {
    child: Child,
    address: SocketAddr,
}

impl Router {
    fn start(folder: &Path, configuration: &str) -> Result<Self, Failed> {
        let file = folder.join("router.toml");
        fs::write(&file, configuration)?;
        let mut command = Command::new(program()?);
        command.arg("--config").arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("the router has no standard output")?;
        let read = BufReader::new(out).read_line(&mut line);
        // Not before it is known where it listens, so that a failure does not leave it running.
        let mut router = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        read?;
        let address = line.trim_end().rsplit("://").next().unwrap_or_default();
        router.address = address.parse().map_err(|_| format!("the router said {line:?}"))?;
        Ok(router)
    }

    /// Resident memory in KiB.
    fn resident(&self) -> Result<u64, Failed> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse()?)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `veritee-router`, built beside this program.
fn program() -> Result<PathBuf, Failed> {
    let beside = std::env::current_exe()?.with_file_name("veritee-router");
    if beside.exists() {
        return Ok(beside);
    }
    Err(format!("{} is not there: build veritee-router first", beside.display()).into())
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("veritee-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// This process has both ends: two descriptors a stream. The router sees to its own.
fn raise_descriptors() -> Outcome {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let needed = u64::try_from(STREAMS)?.saturating_mul(2).saturating_add(200);
    match maximum {
        Some(maximum) if maximum < needed => {
            Err(format!("{needed} descriptors are needed, and {maximum} allowed").into())
        }
        Some(_) | None => Ok(()),
    }
}
