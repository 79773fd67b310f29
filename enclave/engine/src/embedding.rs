//! Texts as vectors: the mean of what the model's last layer makes of each token, of length 1.
//!
//! Texts of one request take one place, one after the other, each with a cache of its own: no text's
//! vector depends on its company. Sums are in `f64`, in the order of the tokens, so every instruction
//! set gives the same bits.

use std::collections::VecDeque;

use attestation::Secret;
use zeroize::Zeroizing;

/// The texts of a request that have no vectors yet.
pub(crate) struct Pool {
    /// The tokens of those after the one that is being computed.
    waiting: VecDeque<Zeroizing<Vec<u32>>>,
    /// The longest text's tokens.
    longest: usize,
    /// What the tokens of the one that is being computed add up to.
    sum: Zeroizing<Vec<f64>>,
}

impl Pool {
    /// The first text, and the pool of all. None: there is no text.
    pub(crate) fn new(
        mut texts: VecDeque<Zeroizing<Vec<u32>>>,
        width: usize,
    ) -> Option<(Zeroizing<Vec<u32>>, Self)> {
        let longest = texts.iter().map(|text| text.len()).max()?;
        let first = texts.pop_front()?;
        Some((first, Self { waiting: texts, longest, sum: Zeroizing::new(vec![0.0; width]) }))
    }

    /// The longest text's tokens.
    pub(crate) const fn longest(&self) -> usize {
        self.longest
    }

    /// The tokens of the texts that wait.
    pub(crate) fn tokens(&self) -> usize {
        self.waiting.iter().map(|text| text.len()).fold(0, usize::saturating_add)
    }

    /// Adds a token's state, normalised by the root of its mean square as the model's output is.
    pub(crate) fn add(&mut self, state: &[f32], norm: &[f32], epsilon: f32) {
        let squares: f64 = state.iter().map(|number| f64::from(*number).powi(2)).sum();
        let count = u32::try_from(state.len()).map_or(f64::INFINITY, f64::from);
        let scale = (squares / count + f64::from(epsilon)).sqrt().recip();
        for ((sum, number), weight) in self.sum.iter_mut().zip(state).zip(norm) {
            *sum += f64::from(*number) * scale * f64::from(*weight);
        }
    }

    /// The vector of the text that has been computed. None: it has no direction.
    pub(crate) fn take(&mut self) -> Option<Secret<Vec<f32>>> {
        let length = self.sum.iter().map(|number| number.powi(2)).sum::<f64>().sqrt();
        let vector = self.sum.iter().map(|number| narrow(number / length)).collect();
        let vector = Secret::new(vector);
        self.sum.fill(0.0);
        (length.is_finite() && length > 0.0).then_some(vector)
    }

    /// The next text to compute.
    pub(crate) fn next(&mut self) -> Option<Zeroizing<Vec<u32>>> {
        self.waiting.pop_front()
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "of a vector of length 1: nothing overflows"
)]
const fn narrow(number: f64) -> f32 {
    number as f32
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pool({} waiting)", self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_the_direction_of_the_normalised_states_together() {
        let texts = [vec![1, 2], vec![3]].map(Zeroizing::new).into();
        let (first, mut pool) = Pool::new(texts, 2).unwrap();
        assert_eq!((first.as_slice(), pool.longest()), ([1, 2].as_slice(), 2));
        // Each is scaled to a mean square of 1 before the norm's weights: (1, 1) and (√2, 0).
        pool.add(&[5.0, 5.0], &[1.0, 3.0], 0.0);
        pool.add(&[0.5, 0.0], &[1.0, 3.0], 0.0);
        let (x, y) = (1.0 + 2.0_f64.sqrt(), 3.0);
        let length = x.hypot(y);
        let vector = pool.take().unwrap();
        for (have, expected) in vector.expose().iter().zip([x / length, y / length]) {
            assert!((f64::from(*have) - expected).abs() < 1e-7, "{have} {expected}");
        }
        assert_eq!(pool.next().as_deref(), Some(&vec![3]));
        assert!(pool.take().is_none(), "nothing of the first is left for the second");
        assert!(pool.next().is_none());
        assert!(Pool::new(VecDeque::new(), 2).is_none());
    }

    #[test]
    fn what_has_no_direction_is_no_vector() {
        let (_, mut pool) = Pool::new([vec![1]].map(Zeroizing::new).into(), 1).unwrap();
        pool.add(&[f32::NAN], &[1.0], 1e-5);
        assert!(pool.take().is_none());
        assert!(pool.take().is_none());
    }
}
