//! How long to wait before asking again.

use std::time::Duration;

/// Exponential waits, each drawn from its upper half: clients that failed together do not come back
/// together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait after the attempt with this number, the first being 0; `draw` is any random number.
    pub(crate) fn after(self, attempt: u32, draw: u64) -> Duration {
        let factor = 1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.max);
        let half = full.checked_div(2).unwrap_or(full);
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let drawn = draw.checked_rem(span).unwrap_or(0);
        half.saturating_add(Duration::from_millis(drawn)).min(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_differ() {
        let backoff = Backoff { first: Duration::from_millis(400), max: Duration::from_secs(3) };
        for (attempt, low, high) in
            [(0, 200, 400), (1, 400, 800), (2, 800, 1600), (3, 1500, 3000), (40, 1500, 3000)]
        {
            for draw in [0, 1, 77, 200, 1499, 1500, u64::MAX] {
                let wait = backoff.after(attempt, draw).as_millis();
                assert!((low..=high).contains(&wait), "{attempt} {draw}: {wait}");
            }
            assert_eq!(backoff.after(attempt, 0).as_millis(), low);
            assert_ne!(backoff.after(attempt, 3), backoff.after(attempt, 4));
        }
    }
}
