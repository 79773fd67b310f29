//! Vectors that matrices multiply, and their 8-bit form.
//!
//! The vectors are quantised to 8 bits in blocks of 32. Of eight vectors in a row, the same block lies
//! together: the multiplication takes them abreast.

use super::lanes::{Lanes, ROUND, greatest};
use super::team::{Disjoint, Team};
use super::{Isa, Task};

/// Rounds to the nearest half-precision value, ties to even.
#[inline(always)]
pub(super) fn to_half(x: f32) -> f32 {
    let bits = x.to_bits();
    let size = f32::from_bits(bits & 0x7fff_ffff);
    let rounded = if size < 6.103_515_6e-5 {
        // Subnormal halves are the multiples of 2^-24; half a single-precision unit of 0.75 is that step.
        (size + 0.75) - 0.75
    } else {
        let even = (bits >> 13) & 1;
        let kept = ((bits & 0x7fff_ffff) + 0xfff + even) & 0xffff_e000;
        if kept >= 0x4780_0000 { f32::INFINITY } else { f32::from_bits(kept) }
    };
    f32::from_bits(rounded.to_bits() | bits & 0x8000_0000)
}

/// Vectors that matrices multiply, one per token, and their 8-bit form.
pub(crate) struct Activations {
    pub(super) columns: usize,
    /// One vector after the other.
    pub(super) floats: Vec<f32>,
    /// Blocks of eight vectors, block by block.
    pub(super) blocks: Vec<Blocks>,
}

/// The same 32 columns of [`ABREAST`] vectors.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Blocks {
    pub(super) quants: [[i32; 8]; ABREAST],
    pub(super) scales: [f32; ABREAST],
    /// The sum of the quants, that of the first 16, and the first times its scale.
    pub(super) sums: [i32; ABREAST],
    pub(super) half_sums: [i32; ABREAST],
    pub(super) scaled_sums: [f32; ABREAST],
}

impl Blocks {
    const ZERO: Self = Self {
        quants: [[0; 8]; ABREAST],
        scales: [0.0; ABREAST],
        sums: [0; ABREAST],
        half_sums: [0; ABREAST],
        scaled_sums: [0.0; ABREAST],
    };
}

/// How many vectors lie abreast.
pub(super) const ABREAST: usize = 8;

impl Activations {
    /// Room for so many vectors.
    pub(crate) fn new(tokens: usize, columns: usize) -> Self {
        let blocks = vec![Blocks::ZERO; tokens.div_ceil(ABREAST) * columns / 32];
        Self { columns, floats: vec![0.0; tokens * columns], blocks }
    }

    /// Forgets everything.
    pub(crate) fn wipe(&mut self) {
        use zeroize::Zeroize as _;
        let Self { columns: _, floats, blocks } = self;
        floats.as_mut_slice().zeroize();
        for Blocks { quants, scales, sums, half_sums, scaled_sums } in blocks {
            quants.as_flattened_mut().zeroize();
            scales.zeroize();
            sums.zeroize();
            half_sums.zeroize();
            scaled_sums.zeroize();
        }
    }

    /// Computes `tokens` vectors with `fill` and their 8-bit form.
    pub(super) fn fill(&mut self, isa: Isa, team: &mut Team, tokens: usize, fill: &impl Fill) {
        let Self { columns, floats, blocks } = self;
        let (columns, each) = (*columns, *columns / 32);
        let (floats, blocks) = (Disjoint::new(floats), Disjoint::new(blocks));
        team.each(tokens.div_ceil(ABREAST), &|tile| {
            let first = tile * ABREAST;
            let count = (tokens - first).min(ABREAST);
            // SAFETY: the parts of eight tokens, and each eight have one iteration.
            let (floats, blocks) = unsafe {
                (floats.part(first * columns, count * columns), blocks.part(tile * each, each))
            };
            isa.run(Tile { first, columns, floats, blocks, fill });
        });
    }
}

/// What a vector is made from.
pub(super) trait Fill: Sync {
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]);
}

struct Tile<'a, T> {
    first: usize,
    columns: usize,
    floats: &'a mut [f32],
    blocks: &'a mut [Blocks],
    fill: &'a T,
}

impl<T: Fill> Task for Tile<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { first, columns, floats, blocks, fill } = self;
        for (lane, floats) in floats.chunks_exact_mut(columns).enumerate() {
            let lane = lane % ABREAST;
            fill.fill::<L>(first + lane, floats);
            for (to, x) in blocks.iter_mut().zip(floats.as_chunks::<16>().0.as_chunks::<2>().0) {
                let (a, b) = (L::load(&x[0]), L::load(&x[1]));
                let zero = L::splat(0.0);
                let size = L::max(L::max(a, L::sub(zero, a)), L::max(b, L::sub(zero, b)));
                let scale = greatest::<L>(size) / 127.0;
                let back = scale.recip();
                let back = L::splat(if back.is_finite() { back } else { 0.0 });
                let rounded = L::add(L::mul(a, back), L::splat(ROUND));
                let (first, first_sum) = L::low_bytes(rounded);
                let rounded = L::add(L::mul(b, back), L::splat(ROUND));
                let (second, second_sum) = L::low_bytes(rounded);
                let (quants, sum) = (&mut to.quants[lane], first_sum + second_sum);
                quants[..4].copy_from_slice(&first);
                quants[4..].copy_from_slice(&second);
                to.scales[lane] = scale;
                to.sums[lane] = sum;
                to.half_sums[lane] = first_sum;
                to.scaled_sums[lane] = scale * sum as f32;
            }
        }
    }
}
