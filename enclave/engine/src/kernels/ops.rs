//! What happens between the matrices: normalisation, rotation, the gate, and exponentials.

use super::lanes::{Lanes, exp, sum};
use super::matrix::{Activations, Fill, to_half};
use super::team::{Disjoint, Team};
use super::{Isa, Task};

/// Normalises each token's vector by its root mean square, into `to`.
pub(crate) fn normalise(
    isa: Isa,
    team: &mut Team,
    x: &[&[f32]],
    weights: &[f32],
    epsilon: f32,
    to: &mut Activations,
) {
    to.fill(isa, team, x.len(), &Normalise { x, weights, epsilon });
}

struct Normalise<'a> {
    x: &'a [&'a [f32]],
    weights: &'a [f32],
    epsilon: f32,
}

impl Fill for Normalise<'_> {
    #[inline(always)]
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]) {
        let x = self.x[token].as_chunks::<16>().0;
        let mut squares = L::splat(0.0);
        for x in x {
            let x = L::load(x);
            squares = L::fma(x, x, squares);
        }
        let mean = sum::<L>(squares) / to.len() as f32;
        let factor = L::splat(1.0 / (mean + self.epsilon).sqrt());
        for ((to, x), weights) in
            to.as_chunks_mut::<16>().0.iter_mut().zip(x).zip(self.weights.as_chunks::<16>().0)
        {
            L::store(L::mul(L::mul(L::load(x), factor), L::load(weights)), to);
        }
    }
}

/// The gate of the feed-forward layer: `silu(gate) * up`, into `to`.
pub(crate) fn gate(
    isa: Isa,
    team: &mut Team,
    gate: &[f32],
    up: &[f32],
    tokens: usize,
    to: &mut Activations,
) {
    to.fill(isa, team, tokens, &Gate { gate, up });
}

struct Gate<'a> {
    gate: &'a [f32],
    up: &'a [f32],
}

impl Fill for Gate<'_> {
    #[inline(always)]
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]) {
        let width = to.len();
        let gate = self.gate[token * width..][..width].as_chunks::<16>().0;
        let up = self.up[token * width..][..width].as_chunks::<16>().0;
        for ((to, gate), up) in to.as_chunks_mut::<16>().0.iter_mut().zip(gate).zip(up) {
            let gate = L::load(gate);
            let decay = exp::<L>(L::sub(L::splat(0.0), gate));
            let product = L::mul(gate, L::load(up));
            L::store(L::div(product, L::add(L::splat(1.0), decay)), to);
        }
    }
}

/// Replaces each x by e^((x - greatest) * factor).
pub(crate) fn exponentials(isa: Isa, x: &mut [f32], greatest: f32, factor: f32) {
    isa.run(Exponentials { x, greatest, factor });
}

struct Exponentials<'a> {
    x: &'a mut [f32],
    greatest: f32,
    factor: f32,
}

impl Task for Exponentials<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (greatest, factor) = (L::splat(self.greatest), L::splat(self.factor));
        let one = |x: &mut [f32; 16]| {
            let y = exp::<L>(L::mul(L::sub(L::load(x), greatest), factor));
            L::store(y, x);
        };
        let (whole, rest) = self.x.as_chunks_mut::<16>();
        whole.iter_mut().for_each(one);
        let mut last = [0.0; 16];
        last[..rest.len()].copy_from_slice(rest);
        one(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// The rotations of every position (neighbouring numbers are pairs, as llama's files have them).
pub(crate) struct Rope {
    pairs: usize,
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// The table for heads of `width` numbers and positions below `context`.
    pub(crate) fn new(base: f64, width: usize, context: usize) -> Self {
        let pairs = width / 2;
        let step = root(base, pairs);
        let mut turns = Vec::with_capacity(context * pairs);
        for position in 0..context {
            let mut frequency = 1.0;
            for _ in 0..pairs {
                // The angle is rounded as single-precision implementations have it.
                let angle = position as f32 * frequency as f32;
                turns.push(sine_and_cosine(f64::from(angle)));
                frequency /= step;
            }
        }
        Self { pairs, turns }
    }

    /// Turns the queries and keys of every token to its position, and readies the queries for attention.
    ///
    /// They are scaled by the inverse root of the heads' width and rounded to half precision.
    pub(crate) fn turn_all(
        &self,
        isa: Isa,
        team: &mut Team,
        positions: &[usize],
        queries: &mut [f32],
        keys: &mut [f32],
    ) {
        let tokens = positions.len().max(1);
        let (query_row, key_row) = (queries.len() / tokens, keys.len() / tokens);
        let (queries, keys) = (Disjoint::new(queries), Disjoint::new(keys));
        let scale = 1.0 / ((self.pairs * 2) as f32).sqrt();
        team.each(positions.len(), &|token| {
            // SAFETY: one token's parts, and each token has one iteration.
            let (queries, keys) = unsafe {
                (queries.part(token * query_row, query_row), keys.part(token * key_row, key_row))
            };
            self.turn(positions[token], queries);
            self.turn(positions[token], keys);
            isa.run(Ready { queries, scale });
        });
    }

    /// Turns every head in `heads` to `position`.
    fn turn(&self, position: usize, heads: &mut [f32]) {
        let turns = &self.turns[position * self.pairs..][..self.pairs];
        for head in heads.chunks_exact_mut(self.pairs * 2) {
            for (pair, (sine, cosine)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                let [a, b] = *pair;
                *pair = [a * cosine - b * sine, a * sine + b * cosine];
            }
        }
    }
}

struct Ready<'a> {
    queries: &'a mut [f32],
    scale: f32,
}

impl Task for Ready<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        for query in self.queries {
            *query = to_half(*query * self.scale);
        }
    }
}

impl core::fmt::Debug for Rope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Rope({} pairs)", self.pairs)
    }
}

/// The `degree`-th root of a base above 1, by Newton's method: the same on every machine.
fn root(base: f64, degree: usize) -> f64 {
    let n = degree as f64;
    let mut x = base.max(1.0);
    for _ in 0..4096 {
        let mut power = 1.0; // x^(n-1), which overflows to infinity for the first guesses of high degrees
        for _ in 1..degree {
            power *= x;
        }
        let next = ((n - 1.0) * x + base / power) / n;
        if next >= x {
            break; // From above it falls until it has arrived.
        }
        x = next;
    }
    x
}

/// Sine and cosine to well below single precision, by operations that are exact everywhere.
fn sine_and_cosine(angle: f64) -> (f32, f32) {
    // pi/2 in two parts; the first has 33 bits, so that its multiples are exact.
    const HIGH: f64 = 1.570_796_326_734_125_6;
    const LOW: f64 = 6.077_100_506_506_192e-11;
    let quarters = (angle * core::f64::consts::FRAC_2_PI + 0.5).floor();
    let x = (angle - quarters * HIGH) - quarters * LOW;
    let square = x * x;
    let (mut sine, mut cosine) = (0.0, 0.0);
    // Taylor's series from its smallest term, 1/19! and 1/18!, on |x| below pi/4.
    for k in (1..=9_u32).rev() {
        let k = f64::from(k);
        sine = -square / ((2.0 * k) * (2.0 * k + 1.0)) * (1.0 + sine);
        cosine = -square / ((2.0 * k - 1.0) * (2.0 * k)) * (1.0 + cosine);
    }
    let (sine, cosine) = (x * (1.0 + sine), 1.0 + cosine);
    let (sine, cosine) = match (quarters as i64).rem_euclid(4) {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    };
    (sine as f32, cosine as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rotation_table_is_that_of_the_c_library() {
        for (base, width) in [(10_000.0, 16), (100_000.0, 64), (500_000.0, 128)] {
            let rope = Rope::new(base, width, 600);
            for position in [0, 1, 17, 599] {
                for pair in 0..width / 2 {
                    let frequency = base.powf(-2.0 * pair as f64 / width as f64) as f32;
                    let (sine, cosine) = (position as f32 * frequency).sin_cos();
                    let (ours, our_cosine) = rope.turns[position * width / 2 + pair];
                    assert!(
                        (ours - sine).abs() < 1e-4 && (our_cosine - cosine).abs() < 1e-4,
                        "{position} {pair}"
                    );
                }
            }
        }
    }
}
