//! Sixteen lanes of single precision, and products of quantised blocks.

use super::pack::{Line, brain};

/// What an instruction set must do; every method has exactly one right result.
pub(super) trait Lanes {
    /// Sixteen numbers.
    type F: Copy;
    /// One block of quantised weights: 16 rows of 32 columns.
    type Block: Copy;

    fn splat(x: f32) -> Self::F;
    fn load(from: &[f32; 16]) -> Self::F;
    fn store(x: Self::F, to: &mut [f32; 16]);
    fn add(a: Self::F, b: Self::F) -> Self::F;
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a` where it is greater, else `b` (and so `b` where one is NaN).
    fn max(a: Self::F, b: Self::F) -> Self::F;
    /// `a` where it is less, else `b`.
    fn min(a: Self::F, b: Self::F) -> Self::F;
    /// 2^n, for the `n` from -126 to 127 that was added to [`ROUND`].
    fn power_of_two(rounded: Self::F) -> Self::F;
    /// The lowest bytes, four to a number, and their sum as signed ones.
    fn low_bytes(x: Self::F) -> ([i32; 4], i32);
    /// Has `count` lines brought near that will be read soon; those past the end are none.
    fn fetch(lines: &[Line], from: usize, count: usize);
    /// Half to single precision.
    fn widen(from: &[u16; 16]) -> Self::F;
    /// The upper halves of single precision.
    fn widen_brain(from: &[u16; 16]) -> Self::F;
    /// Bytes from 0 to 255.
    fn unsigned(from: &[u8; 16]) -> Self::F;
    /// Bytes from -128 to 127.
    fn signed(from: &[u8; 16]) -> Self::F;

    /// Unpacks numbers from 0 to 15.
    fn nibbles(lines: &[Line; 4]) -> Self::Block;
    /// Unpacks numbers from 0 to 31.
    fn fives(lines: &[Line; 5]) -> Self::Block;
    /// Unpacks numbers from 0 to 63.
    fn sixes(lines: &[Line; 6]) -> Self::Block;
    /// Unpacks numbers from -128 to 127, stored as 0 to 255.
    fn bytes(lines: &[Line; 8]) -> Self::Block;
    /// Per row, `start` and the products of weights (from [`Self::nibbles`]) with 32 signed bytes.
    fn dot_nibbles(weights: &Self::Block, x: &[i32; 8], start: i32) -> Self::F;
    /// The same for [`Self::fives`].
    fn dot_fives(weights: &Self::Block, x: &[i32; 8], start: i32) -> Self::F;
    /// The same for [`Self::sixes`], the first 16 columns and the others apart: of each, the start
    /// and the products times its step, and both together. All of it is exact, for steps of 8 bits,
    /// if the starts are -32 times the sum of the signed bytes: below 2 * 128 * 16 * 32 * 127 < 2^24.
    fn dot_sixes(
        weights: &Self::Block,
        x: &[i32; 8],
        starts: [i32; 2],
        steps: &[Self::F; 2],
    ) -> Self::F;
    /// The same as [`Self::dot_nibbles`] for [`Self::bytes`]; `sum` is that of the signed bytes.
    fn dot_bytes(weights: &Self::Block, x: &[i32; 8], sum: i32) -> Self::F;
}

/// 1.5 * 2^23: a number of at most 2^22 that is added to it is rounded to whole, ties to even,
/// and stands in the low bits as two's complement.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The lanes in plain Rust; the definition that the others are tested against.
pub(super) struct Portable;

type Array = [f32; 16];

impl Lanes for Portable {
    type F = Array;
    type Block = [[u8; 64]; 8];

    #[inline(always)]
    fn splat(x: f32) -> Array {
        [x; 16]
    }

    #[inline(always)]
    fn load(from: &Array) -> Array {
        *from
    }

    #[inline(always)]
    fn store(x: Array, to: &mut Array) {
        *to = x;
    }

    #[inline(always)]
    fn add(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn fma(a: Array, b: Array, c: Array) -> Array {
        core::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(a: Array, b: Array) -> Array {
        core::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn power_of_two(rounded: Array) -> Array {
        rounded.map(|x| f32::from_bits(x.to_bits().wrapping_add(127) << 23))
    }

    #[inline(always)]
    fn low_bytes(x: Array) -> ([i32; 4], i32) {
        let bytes = x.map(|x| (x.to_bits() & 0xff) as u8);
        let fours = core::array::from_fn(|i| {
            i32::from_le_bytes([bytes[i * 4], bytes[i * 4 + 1], bytes[i * 4 + 2], bytes[i * 4 + 3]])
        });
        (fours, bytes.iter().map(|byte| i32::from(*byte as i8)).sum())
    }

    #[inline(always)]
    fn fetch(_lines: &[Line], _from: usize, _count: usize) {}

    #[inline(always)]
    fn widen(from: &[u16; 16]) -> Array {
        from.map(super::half)
    }

    #[inline(always)]
    fn widen_brain(from: &[u16; 16]) -> Array {
        from.map(brain)
    }

    #[inline(always)]
    fn unsigned(from: &[u8; 16]) -> Array {
        from.map(f32::from)
    }

    #[inline(always)]
    fn signed(from: &[u8; 16]) -> Array {
        from.map(|byte| f32::from(byte as i8))
    }

    #[inline(always)]
    fn nibbles(lines: &[Line; 4]) -> Self::Block {
        core::array::from_fn(|k| {
            lines[k / 2].0.map(|byte| if k % 2 == 0 { byte & 15 } else { byte >> 4 })
        })
    }

    #[inline(always)]
    fn fives(lines: &[Line; 5]) -> Self::Block {
        let [lower @ .., upper] = lines;
        let lower = Self::nibbles(lower);
        core::array::from_fn(|k| core::array::from_fn(|i| lower[k][i] | (upper.0[i] >> k & 1) << 4))
    }

    #[inline(always)]
    fn sixes(lines: &[Line; 6]) -> Self::Block {
        let [lower @ .., first, second] = lines;
        let (lower, upper) = (Self::nibbles(lower), [first, second]);
        core::array::from_fn(|k| {
            core::array::from_fn(|i| lower[k][i] | (upper[k / 4].0[i] >> (k % 4 * 2) & 3) << 4)
        })
    }

    #[inline(always)]
    fn bytes(lines: &[Line; 8]) -> Self::Block {
        core::array::from_fn(|k| lines[k].0)
    }

    #[inline(always)]
    fn dot_nibbles(weights: &Self::Block, x: &[i32; 8], start: i32) -> Array {
        core::array::from_fn(|row| (start + dot(weights, x, row)) as f32)
    }

    #[inline(always)]
    fn dot_fives(weights: &Self::Block, x: &[i32; 8], start: i32) -> Array {
        Self::dot_nibbles(weights, x, start)
    }

    #[inline(always)]
    fn dot_sixes(
        weights: &Self::Block,
        x: &[i32; 8],
        starts: [i32; 2],
        steps: &[Array; 2],
    ) -> Array {
        core::array::from_fn(|row| {
            let first = (starts[0] + dot(&weights[..4], &x[..4], row)) as f32;
            let second = (starts[1] + dot(&weights[4..], &x[4..], row)) as f32;
            first * steps[0][row] + second * steps[1][row]
        })
    }

    #[inline(always)]
    fn dot_bytes(weights: &Self::Block, x: &[i32; 8], sum: i32) -> Array {
        Self::dot_nibbles(weights, x, -128 * sum)
    }
}

/// The products of one row's weights with signed bytes, added up.
#[inline(always)]
fn dot(weights: &[[u8; 64]], x: &[i32], row: usize) -> i32 {
    let mut sum = 0;
    for (line, x) in weights.iter().zip(x) {
        for (weight, x) in line[row * 4..][..4].iter().zip(x.to_le_bytes()) {
            sum += i32::from(*weight) * i32::from(x as i8);
        }
    }
    sum
}

/// Adds up the lanes, always in the same order.
#[inline(always)]
pub(super) fn sum<L: Lanes>(x: L::F) -> f32 {
    let mut a = [0.0; 16];
    L::store(x, &mut a);
    let b: [f32; 8] = core::array::from_fn(|i| a[i] + a[i + 8]);
    let c: [f32; 4] = core::array::from_fn(|i| b[i] + b[i + 4]);
    (c[0] + c[2]) + (c[1] + c[3])
}

/// The greatest lane.
#[inline(always)]
pub(super) fn greatest<L: Lanes>(x: L::F) -> f32 {
    let mut a = [0.0; 16];
    L::store(x, &mut a);
    let greater = |a, b| if a > b { a } else { b };
    let b: [f32; 8] = core::array::from_fn(|i| greater(a[i], a[i + 8]));
    let c: [f32; 4] = core::array::from_fn(|i| greater(b[i], b[i + 4]));
    greater(greater(c[0], c[2]), greater(c[1], c[3]))
}

/// e^x to 2 units in the last place (Cephes' polynomial), for x cut to -87 … 88.
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L::F) -> L::F {
    let x = L::max(L::min(x, L::splat(88.0)), L::splat(-87.0));
    let rounded = L::fma(x, L::splat(core::f32::consts::LOG2_E), L::splat(ROUND));
    let n = L::sub(rounded, L::splat(ROUND));
    let r = L::fma(n, L::splat(-0.693_359_4), x);
    let r = L::fma(n, L::splat(2.121_944_4e-4), r);
    let mut p = L::splat(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = L::fma(p, r, L::splat(c));
    }
    let y = L::fma(p, L::mul(r, r), L::add(r, L::splat(1.0)));
    L::mul(y, L::power_of_two(rounded))
}
