//! Rotation: queries and keys are turned by their position, pair by pair.

use super::activations::to_half;
use super::lanes::Lanes;
use super::team::{Disjoint, Team};
use super::{Isa, Task};

/// Which numbers of a head are turned together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pairs {
    /// Neighbours, as llama's files have them.
    Neighbours,
    /// Each of the first half with its like in the second, as everybody else's (`NeoX`) have them.
    Halves,
}

/// The rotations of every position.
pub(crate) struct Rope {
    pairs: usize,
    layout: Pairs,
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// The table for heads of `width` numbers and positions below `context`.
    ///
    /// Angles are multiplied by `scale`, and those of each pair divided by its factor, if there are any.
    pub(crate) fn new(
        layout: Pairs,
        base: f64,
        scale: f32,
        factors: &[f32],
        width: usize,
        context: usize,
    ) -> Self {
        let pairs = width / 2;
        let step = root(base, pairs);
        let mut turns = Vec::with_capacity(context * pairs);
        for position in 0..context {
            let mut frequency = 1.0;
            for pair in 0..pairs {
                // The angle is rounded as single-precision implementations have it.
                let angle = position as f32 * frequency as f32;
                let angle = scale * (angle / factors.get(pair).copied().unwrap_or(1.0));
                turns.push(sine_and_cosine(f64::from(angle)));
                frequency /= step;
            }
        }
        Self { pairs, layout, turns }
    }

    /// Turns the queries and keys of every token to its position, and readies the queries for attention.
    ///
    /// They are multiplied by `scale` and rounded to half precision.
    pub(crate) fn turn_all(
        &self,
        isa: Isa,
        team: &mut Team,
        scale: f32,
        positions: &[usize],
        queries: &mut [f32],
        keys: &mut [f32],
    ) {
        let tokens = positions.len().max(1);
        let (query_row, key_row) = (queries.len() / tokens, keys.len() / tokens);
        let (queries, keys) = (Disjoint::new(queries), Disjoint::new(keys));
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
            match self.layout {
                Pairs::Neighbours => {
                    for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                        *pair = turned(*pair, *turn);
                    }
                }
                Pairs::Halves => {
                    let (first, second) = head.split_at_mut(self.pairs);
                    for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                        [*a, *b] = turned([*a, *b], *turn);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn turned([a, b]: [f32; 2], (sine, cosine): (f32, f32)) -> [f32; 2] {
    [a * cosine - b * sine, a * sine + b * cosine]
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
            let rope = Rope::new(Pairs::Halves, base, 1.0, &[], width, 600);
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

    #[expect(clippy::float_cmp, reason = "the same numbers, moved")]
    #[test]
    fn pairs_are_turned_where_they_lie() {
        let head: Vec<f32> = (0..8_u8).map(f32::from).collect();
        let turned = |layout| {
            let rope = Rope::new(layout, 100.0, 1.0, &[], 8, 4);
            let mut turned = head.clone();
            rope.turn(3, &mut turned);
            (rope, turned)
        };
        let (rope, neighbours) = turned(Pairs::Neighbours);
        let (_, halves) = turned(Pairs::Halves);
        for pair in 0..4 {
            let (sine, cosine) = rope.turns[3 * 4 + pair];
            let expect = |a: f32, b: f32| [a * cosine - b * sine, a * sine + b * cosine];
            assert_eq!(neighbours[pair * 2..][..2], expect(head[pair * 2], head[pair * 2 + 1]));
            assert_eq!([halves[pair], halves[pair + 4]], expect(head[pair], head[pair + 4]));
        }
    }

    #[test]
    fn scales_and_factors_slow_the_rotation() {
        let plain = Rope::new(Pairs::Halves, 10_000.0, 1.0, &[], 8, 9);
        let scaled = Rope::new(Pairs::Halves, 10_000.0, 0.25, &[1.0, 1.0, 1.0, 1.0], 8, 9);
        let slowed = Rope::new(Pairs::Halves, 10_000.0, 1.0, &[1.0, 2.0, 4.0, 8.0], 8, 9);
        assert_eq!(scaled.turns[8 * 4..][..4], plain.turns[2 * 4..][..4]);
        for (pair, position) in [8, 4, 2, 1].into_iter().enumerate() {
            assert_eq!(slowed.turns[8 * 4 + pair], plain.turns[position * 4 + pair]);
        }
    }
}
