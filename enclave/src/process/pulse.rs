//! Whether the engine's process still gets on with its work.
//!
//! One that has ended shows by itself. One that hangs keeps its socket open, and all who wait: so it
//! is asked how far it is, and is taken for dead where it does not say, or is not further.

use std::time::Duration;

use engine::Pulse;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Asks again and again; returns once the process hangs.
///
/// `ask` sends the question, and `pulses` are the answers to it.
pub(super) async fn hangs(mut ask: impl FnMut(), mut pulses: mpsc::Receiver<Pulse>) {
    let mut last = None;
    let mut moved = Instant::now();
    loop {
        sleep(BETWEEN).await;
        ask();
        let Ok(Some(pulse)) = timeout(PATIENCE, pulses.recv()).await else { return };
        if !pulse.working || last != Some(pulse) {
            moved = Instant::now();
        } else if moved.elapsed() >= PATIENCE {
            return;
        }
        last = Some(pulse);
    }
}

/// From an answer to the next question.
const BETWEEN: Duration = Duration::from_secs(5);
/// For an answer, and for a step. A step computes so few tokens that who needs a minute for it serves nobody.
const PATIENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds the process that gives these answers is taken for dead; none for not
    /// within an hour.
    async fn ends(answers: impl Fn(u64) -> Option<Pulse>) -> Option<u64> {
        let (sender, pulses) = mpsc::channel(1);
        let mut numbers = 0..;
        let ask = || {
            if let Some(pulse) = numbers.next().and_then(&answers) {
                sender.try_send(pulse).unwrap();
            }
        };
        let before = Instant::now();
        let ended = timeout(Duration::from_hours(1), hangs(ask, pulses)).await;
        ended.ok().map(|()| before.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_or_stands_still_at_work_hangs_and_nobody_else() {
        let working = |steps| Some(Pulse { steps, working: true });
        assert_eq!(ends(working).await, None, "a step between any two questions");
        assert_eq!(ends(|asked| working(asked / 10)).await, None, "slow steps");
        assert_eq!(ends(|_| Some(Pulse { steps: 3, working: false })).await, None, "idle");
        assert_eq!(ends(|_| None).await, Some(65), "silent");
        assert_eq!(ends(|_| working(3)).await, Some(65), "the same step for ever");
    }
}
