//! Chooses the next token.
//!
//! Draws come from a counter, not from a state: the draw of step n depends on the seed and on n
//! alone, so the same seed gives the same bytes whatever else is being served.

use zeroize::Zeroizing;

use crate::api::{BIAS_MAX, Sampling};
use crate::kernels::{Isa, exponentials};

/// Chooses from `logits`, which it overwrites; none if no logit is a number.
///
/// Temperature first, then `top_k`, `top_p` and `min_p`. Among equals the lower token comes first. Tokens
/// less likely than the best by a factor of e^16 are never chosen.
pub(crate) fn choose(isa: Isa, logits: &mut [f32], sampling: &Sampling, step: u32) -> Option<u32> {
    let (best, greatest) = likeliest(logits)?;
    if sampling.temperature <= 0.0 || sampling.top_k == Some(1) {
        return Some(best);
    }
    let factor = sampling.temperature.recip();
    if !factor.is_finite() {
        return Some(best);
    }
    exponentials(isa, logits, greatest, factor);
    let mut candidates: Vec<(f32, u32)> =
        logits.iter().copied().zip(0_u32..).filter(|(weight, _)| *weight > NEGLIGIBLE).collect();
    if let Some(top_k) = sampling.top_k {
        likeliest_first(&mut candidates, usize::try_from(top_k).unwrap_or(usize::MAX));
        candidates.truncate(usize::try_from(top_k).unwrap_or(usize::MAX));
    }
    let mut kept: f64 = candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
    if sampling.top_p < 1.0 {
        (kept, candidates) = nucleus(candidates, f64::from(sampling.top_p) * kept);
    }
    if sampling.min_p > 0.0 {
        // The likeliest has the weight 1.
        candidates.retain(|(weight, _)| *weight >= sampling.min_p);
        kept = candidates.iter().map(|(weight, _)| f64::from(*weight)).sum();
    }

    let mut left = draw(sampling.seed, step) * kept;
    for (weight, token) in &candidates {
        left -= f64::from(*weight);
        if left < 0.0 {
            return Some(*token);
        }
    }
    candidates.last().map(|(_, token)| *token)
}

/// Adds to the logits of some tokens. One that is banned remains possible only where all are.
pub(crate) fn bias(logits: &mut [f32], biases: &[(u32, f32)]) {
    for (token, bias) in biases {
        if let Some(logit) = usize::try_from(*token).ok().and_then(|at| logits.get_mut(at)) {
            *logit = if *bias <= -BIAS_MAX { BANNED } else { *logit + bias };
        }
    }
}

/// How often an answer has which token.
#[derive(Default)]
pub(crate) struct Said(Zeroizing<Vec<(u32, f32)>>);

impl Said {
    pub(crate) fn count(&mut self, token: u32) {
        match self.0.binary_search_by_key(&token, |(have, _)| *have) {
            Ok(at) => {
                if let Some((_, times)) = self.0.get_mut(at) {
                    *times += 1.0;
                }
            }
            Err(at) => {
                // A vector that grows by itself leaves its old memory behind as it is.
                if self.0.len() == self.0.capacity() {
                    let room = self.0.len().saturating_mul(2).max(64);
                    let mut larger = Zeroizing::new(Vec::with_capacity(room));
                    larger.extend_from_slice(&self.0);
                    self.0 = larger;
                }
                self.0.insert(at, (token, 1.0));
            }
        }
    }

    /// Takes off what `sampling` takes off for what has been said.
    pub(crate) fn penalise(&self, logits: &mut [f32], sampling: &Sampling) {
        for (token, times) in &*self.0 {
            if let Some(logit) = usize::try_from(*token).ok().and_then(|at| logits.get_mut(at)) {
                *logit -= sampling.frequency_penalty * times + sampling.presence_penalty;
            }
        }
    }
}

/// The likeliest candidates whose weights reach `goal`, and their sum.
fn nucleus(mut candidates: Vec<(f32, u32)>, goal: f64) -> (f64, Vec<(f32, u32)>) {
    let mut sorted = 0;
    loop {
        // Mostly a few candidates suffice, and the rest need no order.
        sorted = candidates.len().min(if sorted == 0 { 256 } else { usize::MAX });
        likeliest_first(&mut candidates, sorted);
        let mut kept = 0.0;
        for (at, (weight, _)) in candidates.iter().enumerate().take(sorted) {
            kept += f64::from(*weight);
            if kept >= goal || at.saturating_add(1) == candidates.len() {
                candidates.truncate(at.saturating_add(1));
                return (kept, candidates);
            }
        }
        if sorted == candidates.len() {
            return (kept, candidates);
        }
    }
}

/// Brings the likeliest `count` candidates to the front, in order; among equals the lower token first.
pub(crate) fn likeliest_first(candidates: &mut [(f32, u32)], count: usize) {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
    }
    if let Some(front) = candidates.get_mut(..count.min(candidates.len())) {
        front.sort_unstable_by(order);
    }
}

/// The first of the greatest logits; NaN is never chosen.
///
/// A vocabulary is long, and all other threads wait for this: lanes side by side make vectors of it, and only
/// the piece that has the greatest is looked through one by one.
fn likeliest(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (piece, logits) in logits.chunks(PIECE).enumerate() {
        let greatest = greatest(logits);
        if greatest > best.map_or(f32::NEG_INFINITY, |(_, greatest)| greatest) {
            best = Some((piece, greatest));
        }
    }
    let (piece, greatest) = best?;
    let mut logits = (0_u32..).zip(logits).skip(piece.saturating_mul(PIECE));
    let first = logits.find(|(_, logit)| logit.is_finite() && **logit >= greatest);
    first.map(|(token, _)| (token, greatest))
}

/// The greatest finite one, or minus infinity.
fn greatest(logits: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a && b < f32::INFINITY { b } else { a };
    let (lanes, rest) = logits.as_chunks::<16>();
    let mut tops = [f32::NEG_INFINITY; 16];
    for lanes in lanes {
        for (top, logit) in tops.iter_mut().zip(lanes) {
            *top = greater(*top, *logit);
        }
    }
    tops.iter().chain(rest).copied().fold(f32::NEG_INFINITY, greater)
}

/// The draw of a step, in [0, 1): 53 bits of `SplitMix64`.
///
/// Its state begins with the seed mixed: were it the seed itself, neighbouring seeds could share all draws but one.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "53 bits fit a double exactly"
)]
fn draw(seed: u64, step: u32) -> f64 {
    let mut mixed = seed;
    for add in [GOLDEN, u64::from(step).wrapping_add(1).wrapping_mul(GOLDEN)] {
        mixed = mixed.wrapping_add(add);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    (mixed >> 11) as f64 / 9_007_199_254_740_992.0
}

/// 2^64 over the golden ratio, odd: `SplitMix64`'s step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Below every logit, and still a number: a constraint may leave nothing else.
const BANNED: f32 = -1e30;
/// How many logits are looked at before the greatest of them is compared.
const PIECE: usize = 1024;
/// e^-16.
const NEGLIGIBLE: f32 = 1.125_352e-7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Instructions;

    fn pick(logits: &[f32], sampling: Sampling, step: u32) -> Option<u32> {
        choose(Isa::new(Instructions::best()).unwrap(), &mut logits.to_vec(), &sampling, step)
    }

    const WARM: Sampling = Sampling { temperature: 1.0, seed: 7, ..Sampling::GREEDY };

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        for (logits, expected) in [
            (vec![1.0, 3.0, 3.0, 2.0], Some(1)),
            (vec![f32::NAN, -1.0, f32::INFINITY], Some(1)),
            (vec![f32::NAN], None),
            (vec![], None),
        ] {
            assert_eq!(pick(&logits, Sampling::GREEDY, 0), expected, "{logits:?}");
        }
        // Wherever it stands in a long row, also twice.
        for (first, second) in [(0, 1), (15, 16), (16, 1023), (1023, 1024), (2999, 2999)] {
            let mut logits = vec![-1.0; 3000];
            (logits[first], logits[second], logits[7]) = (2.0, 2.0, f32::INFINITY);
            let expected = u32::try_from(first).unwrap();
            assert_eq!(pick(&logits, Sampling::GREEDY, 0), Some(expected));
        }
    }

    #[test]
    fn frequencies_follow_the_temperature() {
        // At temperature 1 the odds are 3 to 1; at 0.5 they are 9 to 1.
        for (temperature, low, high) in [(1.0, 7300, 7700), (0.5, 8850, 9150)] {
            let sampling = Sampling { temperature, ..WARM };
            let logits = [3.0_f32.ln(), 0.0];
            let first =
                (0..10_000).filter(|step| pick(&logits, sampling, *step) == Some(0)).count();
            assert!((low..high).contains(&first), "{temperature}: {first}");
        }
    }

    #[test]
    fn cuts_keep_what_they_say() {
        let logits = [0.0, 2.0, 1.0, -1.0, 3.0];
        let seen = |sampling: Sampling| {
            let mut seen: Vec<u32> =
                (0..3000).filter_map(|step| pick(&logits, sampling, step)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(seen(WARM), [0, 1, 2, 3, 4]);
        assert_eq!(seen(Sampling { top_k: Some(2), ..WARM }), [1, 4]);
        assert_eq!(seen(Sampling { top_p: 0.8, ..WARM }), [1, 4]); // 0.64 and 0.23 of the whole
        assert_eq!(seen(Sampling { top_p: 0.01, ..WARM }), [4]);
        assert_eq!(seen(Sampling { top_k: Some(3), top_p: 0.99, ..WARM }), [1, 2, 4]);
        // The likeliest is e, e^2, e^3 and e^4 times as likely as the others.
        assert_eq!(seen(Sampling { min_p: 0.36, ..WARM }), [1, 4]);
        assert_eq!(seen(Sampling { min_p: 0.37, ..WARM }), [4]);
        assert_eq!(seen(Sampling { min_p: 0.1, top_k: Some(2), ..WARM }), [1, 4]);
        assert_eq!(seen(Sampling { min_p: 1.0, ..WARM }), [4]);
    }

    #[test]
    fn biases_are_added_and_the_least_one_bans() {
        let after = |biases: &[(u32, f32)]| {
            let mut logits = [1.0, 2.0, 3.0];
            bias(&mut logits, biases);
            logits.map(f32::to_bits)
        };
        let biases = [(0, 4.0), (2, -0.5), (3, 1.0), (u32::MAX, 1.0)];
        assert_eq!(after(&biases), [5.0, 2.0, 2.5].map(f32::to_bits));
        // However hot the draw, and however far above the others it was.
        let mut logits = vec![0.0, 500.0];
        bias(&mut logits, &[(1, -100.0)]);
        let hot = Sampling { temperature: 2.0, ..WARM };
        assert!((0..2000).all(|step| pick(&logits, hot, step) == Some(0)));
        // Where nothing else is left it is still a choice.
        let left = [f32::NEG_INFINITY, logits[1]];
        assert_eq!(pick(&left, hot, 0), Some(1));
    }

    #[test]
    fn penalties_count_what_was_said() {
        let mut said = Said::default();
        for token in (0..200).chain([3, 3, 150]) {
            said.count(token);
        }
        let mut logits = vec![0.0; 202];
        let both = Sampling { frequency_penalty: 0.5, presence_penalty: -0.25, ..WARM };
        assert!(both.penalises() && !WARM.penalises());
        said.penalise(&mut logits, &both);
        let left = [0, 3, 150, 199, 200].map(|at| f32::to_bits(logits[at]));
        assert_eq!(left, [-0.25, -1.25, -0.75, -0.25, 0.0].map(f32::to_bits));
    }

    #[test]
    fn no_seed_s_draws_are_another_s_some_steps_on() {
        let draws = |seed: u64| (0..50).map(|step| draw(seed, step).to_bits()).collect::<Vec<_>>();
        // As the seeds of requests are, and as those of their choices are.
        let seeds = (0..40).chain((1..40_u64).map(|choice| choice.wrapping_mul(GOLDEN)));
        let all: Vec<_> = seeds.flat_map(draws).collect();
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_seed_fixes_the_draws() {
        let logits = [0.0; 50];
        let run = |seed| {
            (0..20).map(|step| pick(&logits, Sampling { seed, ..WARM }, step)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
