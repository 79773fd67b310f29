//! The whole path beside the same engine asked directly: client, router and enclave over HTTP on
//! loopback, and a small server of events around the same echo engine.
//!
//! | figure | measures |
//! |---|---|
//! | `p1.first_byte_added` | how much later the first octet of the first event is there, evidence cached |
//! | `p1.share` | events a second, of 64 streams that say 100 a second each |
//! | `p2.first_byte_added` | the same for the padding that sends a cell every 40 ms |
//! | `unpaced_event` | processor time of one event, everybody's, where nothing waits |
//! | `flood_share` | events for a second of processor time under a flood of bogus ciphertexts |
//!
//! Everything is one process with one runtime, as wide as the machine, so that path and peer are
//! given the same processors by the same scheduler and the clock of the process counts the work of
//! all of them. Path and peer take turns, and which one is first alternates.

use std::time::Duration;

use attestation::UnixTime;
use tokio::runtime::Runtime;

use crate::harness::{Bench, Clock, Failed, Figure, Outcome, Samples, number, quantile};

use flood::Flood;
use load::{Load, Taken};
use ways::{Direct, Path};

mod flood;
mod load;
mod peer;
mod ways;

pub(crate) const NAMES: &[&str] = &[
    "e2e.p1.first_byte_added",
    "e2e.p1.share",
    "e2e.p2.first_byte_added",
    "e2e.unpaced_event",
    "e2e.flood_share",
];

/// Rounds of every figure, after one that warms up.
const ROUNDS: usize = 12;
/// Streams at once, and what each says: so many events, so far apart.
const STREAMS: usize = 64;
const EVENTS: u32 = 100;
const PACE: Duration = Duration::from_millis(10);
/// How long a round of paced streams is listened to, once all of them speak.
const WINDOW: Duration = Duration::from_millis(1_500);

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    let wide = Runtime::new()?;
    ways::log_to_nowhere()?;
    let [first, share, p2, unpaced, flood] = names(bench);
    if first || share {
        let rounds = wide.block_on(paced("padding = \"p1\""))?;
        if first {
            bench.print(&first_byte("e2e.p1.first_byte_added", "2 ms at the median", &rounds));
        }
        if share {
            bench.print(&throughput(&rounds));
        }
    }
    if p2 {
        let rounds = wide.block_on(paced("padding = \"p2\""))?;
        let none = "none: the first cell leaves with the first token, and the peer has said who speaks before";
        bench.print(&first_byte("e2e.p2.first_byte_added", none, &rounds));
    }
    if unpaced {
        bench.print(&wide.block_on(cost_of_an_event())?);
    }
    if flood {
        bench.print(&wide.block_on(under_flood())?);
    }
    Ok(())
}

fn names(bench: &Bench) -> [bool; 5] {
    let mut wanted = [false; 5];
    for (wanted, name) in wanted.iter_mut().zip(NAMES) {
        *wanted = bench.wants(name);
    }
    wanted
}

/// One round: what was taken of each.
struct Round {
    ours: Taken,
    peer: Taken,
}

/// Paced streams through the path and past it, in turns.
async fn paced(padding: &'static str) -> Result<Vec<Round>, Failed> {
    let ours = Path::start(padding, EVENTS, PACE).await?;
    let peer = Direct::start(EVENTS, PACE).await?;
    let load = Load { streams: STREAMS, events: EVENTS, stagger: PACE.saturating_mul(EVENTS) };
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let (of_ours, of_peer);
        if round % 2 == 0 {
            of_ours = load.listen(&ours, WINDOW).await?;
            of_peer = load.listen(&peer, WINDOW).await?;
        } else {
            of_peer = load.listen(&peer, WINDOW).await?;
            of_ours = load.listen(&ours, WINDOW).await?;
        }
        if round > 0 {
            rounds.push(Round { ours: of_ours, peer: of_peer });
        }
    }
    Ok(rounds)
}

fn first_byte(name: &str, target: &str, rounds: &[Round]) -> Figure {
    let added = |part: f64| {
        let added = |round: &Round| round.ours.first(part) - round.peer.first(part);
        rounds.iter().map(added).collect::<Vec<_>>()
    };
    let pooled = |of: fn(&Round) -> &Taken| {
        let mut all: Vec<f64> =
            rounds.iter().flat_map(|round| of(round).firsts.iter().copied()).collect();
        all.sort_by(f64::total_cmp);
        (quantile(&all, 0.5), quantile(&all, 0.99), all.len())
    };
    let mut figure = Figure::alone(name, "ms", added(0.5));
    let (median, late, count) = pooled(|round| &round.ours);
    let (peer_median, peer_late, peer_count) = pooled(|round| &round.peer);
    let p99 = Samples::of(added(0.99)).unwrap_or_default();
    figure.notes = vec![
        format!("target: {target}"),
        format!("added at p99: {:.2} ms ({:.2}..{:.2})", p99.median, p99.least, p99.most),
        format!("ours {median:.3} ms, p99 {late:.2} ms, of {count} streams"),
        format!("peer {peer_median:.3} ms, p99 {peer_late:.2} ms, of {peer_count} streams"),
        format!("{STREAMS} streams of {EVENTS} events, {} ms apart", PACE.as_millis()),
    ];
    figure
}

fn throughput(rounds: &[Round]) -> Figure {
    let rate = |of: fn(&Round) -> &Taken| rounds.iter().map(|round| of(round).rate()).collect();
    let mut figure = Figure::alone("e2e.p1.share", "events/s", rate(|round| &round.ours));
    figure.peer = Samples::of(rate(|round| &round.peer));
    let cost = |of: fn(&Round) -> &Taken| {
        let cost = rounds.iter().map(|round| of(round).cost() / 1e3).collect();
        Samples::of(cost).unwrap_or_default().median
    };
    figure.notes = vec![
        "target: ratio at least 0.95".to_owned(),
        format!(
            "processor time: ours {:.1} µs an event, peer {:.1} µs",
            cost(|round| &round.ours),
            cost(|round| &round.peer)
        ),
        format!("{STREAMS} streams of {EVENTS} events, {} ms apart", PACE.as_millis()),
    ];
    figure
}

/// Everybody's processor time for one event, where the engine says all at once.
async fn cost_of_an_event() -> Result<Figure, Failed> {
    const LONG: u32 = 2_000;
    const SHORT: Duration = Duration::from_millis(400);
    let ours = Path::start("padding = \"p1\"", LONG, Duration::ZERO).await?;
    let peer = Direct::start(LONG, Duration::ZERO).await?;
    let load = Load { streams: 4, events: LONG, stagger: Duration::ZERO };
    let (mut costs, mut peers) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (of_ours, of_peer) =
            (load.listen(&ours, SHORT).await?, load.listen(&peer, SHORT).await?);
        if round > 0 {
            costs.push(of_ours.cost());
            peers.push(of_peer.cost());
        }
    }
    let mut figure = Figure::alone("e2e.unpaced_event", "ns", costs);
    figure.peer = Samples::of(peers);
    figure.notes = vec![format!(
        "processor time of client, router, enclave and engine; 4 streams of {LONG} events at once"
    )];
    Ok(figure)
}

/// What a machine that does nothing else says, with a flood and without.
///
/// The flood comes at a rate of its own, so what it costs is so many processors, whatever else the
/// machine does: what everybody but the generator took, less what the honest events that were heard
/// cost without a flood. Honest throughput falls by the share of the machine that this is.
async fn under_flood() -> Result<Figure, Failed> {
    const LONG: u32 = 500;
    let ours = Path::start("padding = \"p1\"", LONG, Duration::ZERO).await?;
    let load = Load { streams: 32, events: LONG, stagger: Duration::ZERO };
    let processors = number(std::thread::available_parallelism()?.get());
    let (mut with, mut without, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let (mut refused, mut each, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let calm = load.listen(&ours, WINDOW).await?;
        let flood = Flood::start(ours.router(), ours.node())?;
        let flooded = load.listen(&ours, WINDOW).await?;
        let of_flood = flood.stop()?;
        if round > 0 {
            let taken =
                flooded.processors() - of_flood.processors() - flooded.rate() * calm.cost() / 1e9;
            with.push((processors - taken) * 1e9 / calm.cost());
            without.push(processors * 1e9 / calm.cost());
            seen.push(flooded.rate() / calm.rate());
            each.push(taken * 1e6 / of_flood.rate());
            refused.push(number(flooded.refused) / WINDOW.as_secs_f64());
            told.push(of_flood);
        }
    }
    let median = |all| Samples::of(all).unwrap_or_default().median;
    let mut figure = Figure::alone("e2e.flood_share", "events/s", with);
    figure.peer = Samples::of(without);
    figure.notes = vec![
        "target: ratio at least 0.80; the peer is the same path without the flood".to_owned(),
        flood::sum_up(&told),
        format!(
            "processor time of a bogus request: {:.0} µs, what it makes honest ones cost more included",
            median(each)
        ),
        format!(
            "as heard on this machine, whatever else it did: {:.3} of the events; {:.0} honest requests a second were told to come back, and did",
            median(seen),
            median(refused),
        ),
    ];
    Ok(figure)
}

/// The moment at which every fleet starts and stays.
fn moment() -> UnixTime {
    UnixTime::from_secs(tests::fleet::START)
}

/// Now, for differences.
fn now() -> Duration {
    Clock::Wall.now()
}
