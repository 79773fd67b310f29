//! `soak SECONDS [SEED]`: mixed load on the real programs, which are killed all the while.
//!
//! Two enclaves with the tiny model (one per padding), a router that asks for keys, two proxies. What must hold at every moment:
//! nothing is taken for a whole answer that is not exactly the model's; every failure has a code; no error without a kill that
//! explains it; every request ends; no program ends by itself or panics; memory and descriptors come back to where they were; nothing
//! of a prompt is left in an engine's memory. It ends with 1 if anything did not.
#![forbid(unsafe_code)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a run that cannot go on fails; its times and figures are small"
)]

mod figures;
mod load;
mod oracle;
mod random;
mod stack;
mod told;

use std::{process::ExitCode, sync::Arc, time::Duration};

use tests::scan::Needle;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    figures::{Figures, say},
    load::Load,
    oracle::Known,
    random::Random,
    stack::Stack,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seconds)), seed) = (arguments.next(), arguments.next()) else {
        say("usage: soak SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let seed = match seed {
        None => 1,
        Some(Ok(seed)) => seed,
        Some(Err(error)) => {
            say(&format!("the seed is not a number: {error}"));
            return ExitCode::from(2);
        }
    };
    let canary = Needle::random("a prompt");
    let known = Known::some(&canary);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(run(Duration::from_secs(seconds), seed, known, canary))
}

async fn run(length: Duration, seed: u64, known: Vec<Known>, canary: Needle) -> ExitCode {
    say(&format!("soak for {} s with seed {seed}", length.as_secs()));
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
    let figures = Arc::new(Figures::new());
    let random = Arc::new(Random::new(seed));
    let stack = Arc::new(Stack::start(Arc::clone(&figures)).await);
    stack.look();
    let load =
        Arc::new(Load::new(Arc::clone(&stack), Arc::clone(&figures), Arc::clone(&random), known));

    let end = Instant::now() + length;
    // Nothing is killed in the last part, so that there is a long life to measure and a calm to be strict in.
    let calm = end - (length / 4).min(CALM_MAX);
    let mut tasks = JoinSet::new();
    for _ in 0..WORKERS {
        let (load, random) = (Arc::clone(&load), Arc::clone(&random));
        tasks.spawn(async move {
            while Instant::now() < end {
                load.one().await;
                sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
            }
        });
    }
    {
        let load = Arc::clone(&load);
        tasks.spawn(async move {
            while Instant::now() < end {
                load.key_churn().await;
                sleep(KEY_PAUSE).await;
            }
        });
    }
    {
        // Its own numbers, so that the plan of kills is the seed's whatever the load does.
        let (stack, random) = (Arc::clone(&stack), Random::new(!seed));
        let pause_ms = u64::try_from((length / 80).as_millis()).unwrap_or(0).clamp(1_000, 45_000);
        tasks.spawn(async move {
            loop {
                let next = Instant::now()
                    + Duration::from_millis(random.below(pause_ms.saturating_mul(2)));
                if next >= calm {
                    return;
                }
                sleep_until(next).await;
                stack.strike(&random).await;
            }
        });
    }
    let watched = {
        let (stack, figures) = (Arc::clone(&stack), Arc::clone(&figures));
        async move {
            let mut looks = interval(LOOK);
            for look in 1_u64.. {
                looks.tick().await;
                stack.look();
                if look.checked_rem(LOOKS_PER_REPORT) == Some(0) {
                    figures.progress(stack.kills().values().sum());
                }
            }
        }
    };
    let watching = tokio::spawn(watched);
    let all =
        async {
            while tasks.join_next().await.is_some_and(|ended| {
                ended.map_err(|error| figures.broken(error.to_string())).is_ok()
            }) {}
        };
    tokio::select! {
        () = all => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tasks.shutdown().await;
    say("the load has gone");
    sleep(REST).await;
    stack.look();
    stack.hunt(&canary);
    watching.abort();
    figures.judge_rest();
    stack.stop().await;
    figures.summary(&stack.kills());
    if figures.broken_count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Requests at a time.
const WORKERS: u32 = 8;

/// Longest pause between two requests of a worker: together some thirty requests a second.
const PAUSE_MS: u64 = 500;

/// Between two changes of the file of keys.
const KEY_PAUSE: Duration = Duration::from_secs(15);

/// The longest time without kills, at the end.
const CALM_MAX: Duration = Duration::from_mins(15);

/// Between two looks at the programs.
const LOOK: Duration = Duration::from_secs(2);

const LOOKS_PER_REPORT: u64 = 30;

/// For connections to end after the load; longer than what the programs keep idle ones for.
const REST: Duration = Duration::from_secs(12);
