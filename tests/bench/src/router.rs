//! What the router holds for a stream that is open: the difference of its resident memory, over all streams.
//!
//! The program is the one that is shipped, in a process of its own. In this one are an enclave that streams cells, and
//! clients of which every tenth hardly reads. Those are fed as fast as anybody takes it, so that all that is between the
//! enclave and them is full.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::harness::{Bench, Failed, Figure, Outcome, number};
use crate::program::{Folder, Program};

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
    let keys = leg.keys(folder.path())?;
    let enclave = Enclave::start(&keys).await?;
    let router = Program::start("veritee-router", &folder, &keys.configuration(enclave.address))?;
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
