//! Matrices, the vectors that they multiply, and the multiplication.
//!
//! The vectors are quantised to 8 bits in blocks of 32, for the quantised types; the sums of
//! products of a block are exact.

use super::lanes::{Lanes, ROUND};
use super::pack::{Form, Quants, Store};
use super::team::{Disjoint, Team};
use super::{Isa, Task};
use crate::gguf::{Tensor, TensorType};

/// A matrix, packed.
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    store: Store,
}

impl Matrix {
    /// Packs a tensor; its columns are a multiple of 32 (the model's loader has seen to it).
    pub(crate) fn pack(tensor: &Tensor<'_>) -> Self {
        let Tensor { columns, rows, .. } = *tensor;
        Self { rows, columns, store: Store::pack(tensor) }
    }

    /// Unpacks one row.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        self.store.row(row, self.columns, to);
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(16)
    }
}

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
    columns: usize,
    pub(super) floats: Vec<f32>,
    quants: Vec<[i32; 8]>,
    scales: Vec<f32>,
    /// The sum of a block's quants, that of its first 16, and the first times its scale.
    sums: Vec<i32>,
    half_sums: Vec<i32>,
    scaled_sums: Vec<f32>,
}

impl Activations {
    /// Room for so many vectors.
    pub(crate) fn new(tokens: usize, columns: usize) -> Self {
        let blocks = tokens * columns / 32;
        Self {
            columns,
            floats: vec![0.0; tokens * columns],
            quants: vec![[0; 8]; blocks],
            scales: vec![0.0; blocks],
            sums: vec![0; blocks],
            half_sums: vec![0; blocks],
            scaled_sums: vec![0.0; blocks],
        }
    }

    /// Forgets everything.
    pub(crate) fn wipe(&mut self) {
        use zeroize::Zeroize as _;
        let Self { columns: _, floats, quants, scales, sums, half_sums, scaled_sums } = self;
        floats.as_mut_slice().zeroize();
        for quants in quants {
            quants.zeroize();
        }
        scales.as_mut_slice().zeroize();
        sums.as_mut_slice().zeroize();
        half_sums.as_mut_slice().zeroize();
        scaled_sums.as_mut_slice().zeroize();
    }

    /// Computes `tokens` vectors with `fill` and their 8-bit form, one token per iteration.
    pub(super) fn fill(&mut self, isa: Isa, team: &mut Team, tokens: usize, fill: &impl Fill) {
        let Self { columns, floats, quants, scales, sums, half_sums, scaled_sums } = self;
        let (columns, blocks) = (*columns, *columns / 32);
        let (floats, quants, scales) =
            (Disjoint::new(floats), Disjoint::new(quants), Disjoint::new(scales));
        let (sums, half_sums) = (Disjoint::new(sums), Disjoint::new(half_sums));
        let scaled_sums = Disjoint::new(scaled_sums);
        team.each(tokens, &|token| {
            // SAFETY: one token's parts, and each token has one iteration.
            let row = unsafe {
                Row {
                    token,
                    floats: floats.part(token * columns, columns),
                    quants: quants.part(token * blocks, blocks),
                    scales: scales.part(token * blocks, blocks),
                    sums: sums.part(token * blocks, blocks),
                    half_sums: half_sums.part(token * blocks, blocks),
                    scaled_sums: scaled_sums.part(token * blocks, blocks),
                    fill,
                }
            };
            isa.run(row);
        });
    }
}

/// What a vector is made from.
pub(super) trait Fill: Sync {
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]);
}

struct Row<'a, T> {
    token: usize,
    floats: &'a mut [f32],
    quants: &'a mut [[i32; 8]],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    half_sums: &'a mut [i32],
    scaled_sums: &'a mut [f32],
    fill: &'a T,
}

impl<T: Fill> Task for Row<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { token, floats, quants, scales, sums, half_sums, scaled_sums, fill } = self;
        fill.fill::<L>(token, floats);
        for (block, x) in floats.as_chunks::<16>().0.as_chunks::<2>().0.iter().enumerate() {
            let (a, b) = (L::load(&x[0]), L::load(&x[1]));
            let zero = L::splat(0.0);
            let size = L::max(L::max(a, L::sub(zero, a)), L::max(b, L::sub(zero, b)));
            let size = super::lanes::greatest::<L>(size);
            let scale = size / 127.0;
            let back = scale.recip();
            let back = L::splat(if back.is_finite() { back } else { 0.0 });
            let mut bytes = [0; 32];
            let mut halves = [0_i32; 2];
            let parts = [a, b].into_iter().zip(bytes.as_chunks_mut::<16>().0);
            for ((x, bytes), sum) in parts.zip(&mut halves) {
                let mut rounded = [0.0_f32; 16];
                L::store(L::add(L::mul(x, back), L::splat(ROUND)), &mut rounded);
                for (byte, x) in bytes.iter_mut().zip(rounded) {
                    let whole = (x.to_bits() & 0xff) as u8;
                    *sum += i32::from(whole as i8);
                    *byte = whole;
                }
            }
            let sum = halves[0] + halves[1];
            for (to, bytes) in quants[block].iter_mut().zip(bytes.as_chunks::<4>().0) {
                *to = i32::from_le_bytes(*bytes);
            }
            scales[block] = scale;
            sums[block] = sum;
            half_sums[block] = halves[0];
            scaled_sums[block] = scale * sum as f32;
        }
    }
}

/// One matrix, and where its products with the vectors go: `rows` numbers per token.
pub(crate) struct Product<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) out: &'a mut [f32],
    pub(crate) onto: Onto,
}

/// What becomes of the numbers that were there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Onto {
    /// They are replaced.
    Fresh,
    /// They are added to.
    Sum,
}

/// Multiplies several matrices with the same vectors.
pub(crate) fn multiply(
    isa: Isa,
    team: &mut Team,
    products: &mut [Product<'_>],
    x: &Activations,
    tokens: usize,
) {
    struct Part<'a> {
        matrix: &'a Matrix,
        out: Disjoint<'a, f32>,
        onto: Onto,
        groups: core::ops::Range<usize>,
    }
    // Four parts per thread even out what else the machine does.
    let pieces = if team.size() == 1 { 1 } else { team.size() * 4 };
    let mut parts = Vec::with_capacity(products.len() * pieces);
    for Product { matrix, out, onto } in products {
        assert!(matrix.columns == x.columns && tokens * matrix.rows <= out.len(), "buffers fit");
        assert!(tokens * x.columns <= x.floats.len(), "buffers fit");
        let (groups, out) = (matrix.groups(), Disjoint::new(out));
        let pieces = pieces.min(groups);
        for piece in 0..pieces {
            let groups = groups * piece / pieces..groups * (piece + 1) / pieces;
            parts.push(Part { matrix, out, onto: *onto, groups });
        }
    }
    team.each(parts.len(), &|at| {
        let Part { matrix, out, onto, groups } = &parts[at];
        isa.run(Multiply { matrix, x, tokens, groups: groups.clone(), out: *out, onto: *onto });
    });
}

struct Multiply<'a> {
    matrix: &'a Matrix,
    x: &'a Activations,
    tokens: usize,
    groups: core::ops::Range<usize>,
    out: Disjoint<'a, f32>,
    onto: Onto,
}

impl Task for Multiply<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        macro_rules! quants {
            ($quants:ident: $($kind:ident)*) => {
                match $quants.kind {
                    $(TensorType::$kind => {
                        self.all::<L, _>(&Quantised::<{ TensorType::$kind.number() }>($quants));
                    })*
                    TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
                        unreachable!("floats are stored apart")
                    }
                }
            };
        }
        match &self.matrix.store {
            Store::Singles(columns) => self.all::<L, _>(&Singles(columns)),
            Store::Halves(columns) => self.all::<L, _>(&Halves(columns)),
            Store::Brains(columns) => self.all::<L, _>(&Brains(columns)),
            Store::Quants(quants) => {
                quants!(quants: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K);
            }
        }
    }
}

/// How 16 rows and `T` vectors become sums of products.
trait Sums {
    fn sums<L: Lanes, const T: usize>(
        &self,
        by: &Multiply<'_>,
        group: usize,
        token: usize,
    ) -> [L::F; T];
}

struct Singles<'a>(&'a [[f32; 16]]);
struct Halves<'a>(&'a [[u16; 16]]);
struct Brains<'a>(&'a [[u16; 16]]);
/// Of the type with this number in GGUF.
struct Quantised<'a, const KIND: u32>(&'a Quants);

impl Multiply<'_> {
    #[inline(always)]
    fn all<L: Lanes, S: Sums>(&self, sums: &S) {
        for group in self.groups.clone() {
            let mut token = 0;
            while token < self.tokens {
                token += match self.tokens - token {
                    8.. => self.tile::<L, S, 8>(sums, group, token),
                    4.. => self.tile::<L, S, 4>(sums, group, token),
                    2.. => self.tile::<L, S, 2>(sums, group, token),
                    _ => self.tile::<L, S, 1>(sums, group, token),
                };
            }
        }
    }

    /// 16 rows times `T` tokens.
    #[inline(always)]
    fn tile<L: Lanes, S: Sums, const T: usize>(
        &self,
        sums: &S,
        group: usize,
        token: usize,
    ) -> usize {
        let sums = sums.sums::<L, T>(self, group, token);
        let rows = self.matrix.rows;
        let count = (rows - group * 16).min(16);
        for (i, sum) in sums.into_iter().enumerate() {
            // SAFETY: rows of one group, and each group is in one part.
            let out = unsafe { self.out.part((token + i) * rows + group * 16, count) };
            if let Ok(out) = <&mut [f32; 16]>::try_from(&mut *out) {
                let sum = if self.onto == Onto::Sum { L::add(sum, L::load(out)) } else { sum };
                L::store(sum, out);
            } else {
                let mut sums = [0.0; 16];
                L::store(sum, &mut sums);
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = if self.onto == Onto::Sum { sum + *out } else { sum };
                }
            }
        }
        T
    }

    #[inline(always)]
    fn floats<L: Lanes, const T: usize, C>(
        &self,
        columns: &[C],
        widen: impl Fn(&C) -> L::F,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        let count = self.matrix.columns;
        let weights = &columns[group * count..][..count];
        let x: [&[f32]; T] =
            core::array::from_fn(|i| &self.x.floats[(token + i) * count..][..count]);
        let mut sums = [L::splat(0.0); T];
        for (column, weights) in weights.iter().enumerate() {
            let weights = widen(weights);
            for i in 0..T {
                sums[i] = L::fma(weights, L::splat(x[i][column]), sums[i]);
            }
        }
        sums
    }
}

impl<const KIND: u32> Sums for Quantised<'_, KIND> {
    #[inline(always)]
    fn sums<L: Lanes, const T: usize>(
        &self,
        by: &Multiply<'_>,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        let Self(quants) = self;
        let form = const { Form::of(KIND) };
        let blocks = by.matrix.columns / 32;
        let lines = &quants.lines[group * blocks * form.lines()..][..blocks * form.lines()];
        let shared = blocks / form.shared;
        let scales = &quants.scales[group * shared..][..shared];
        let minima = if form.minima { &quants.minima[group * shared..][..shared] } else { &[] };
        let count = blocks * form.steps;
        let steps = &quants.steps[group * count..][..count];
        let floors = if form.minima { &quants.floors[group * count..][..count] } else { &[] };
        let x: [_; T] = core::array::from_fn(|i| {
            let from = (token + i) * blocks;
            (
                &by.x.quants[from..][..blocks],
                &by.x.scales[from..][..blocks],
                &by.x.sums[from..][..blocks],
                &by.x.half_sums[from..][..blocks],
                &by.x.scaled_sums[from..][..blocks],
            )
        });
        let mut sums = [L::splat(0.0); T];
        let mut offsets = [L::splat(0.0); T];
        for block in 0..blocks {
            let mut scale = L::widen(&scales[block / form.shared]);
            let mut minimum =
                if form.minima { L::widen(&minima[block / form.shared]) } else { scale };
            let mut halves = [scale; 2];
            match form.steps {
                0 => {}
                1 => {
                    scale = L::mul(scale, L::unsigned(&steps[block]));
                    minimum = L::mul(minimum, L::unsigned(&floors[block]));
                }
                _ => halves = [0, 1].map(|half| L::signed(&steps[block * 2 + half])),
            }
            let weights = match form.bits {
                4 => L::nibbles(&lines.as_chunks::<4>().0[block]),
                5 => L::fives(&lines.as_chunks::<5>().0[block]),
                6 => L::sixes(&lines.as_chunks::<6>().0[block]),
                _ => L::bytes(&lines.as_chunks::<8>().0[block]),
            };
            for i in 0..T {
                let (q, d, s, h, ds) = &x[i];
                let whole = match form.bits {
                    4 => L::dot_nibbles(&weights, &q[block], -form.less * s[block]),
                    5 => L::dot_fives(&weights, &q[block], -form.less * s[block]),
                    6 => {
                        let starts = [h[block], s[block] - h[block]].map(|sum| -form.less * sum);
                        L::dot_sixes(&weights, &q[block], starts, &halves)
                    }
                    _ => L::dot_bytes(&weights, &q[block], s[block]),
                };
                sums[i] = L::fma(whole, L::mul(scale, L::splat(d[block])), sums[i]);
                if form.minima {
                    offsets[i] = L::fma(minimum, L::splat(ds[block]), offsets[i]);
                }
            }
        }
        if form.minima {
            for (sum, offset) in sums.iter_mut().zip(offsets) {
                *sum = L::add(*sum, offset);
            }
        }
        sums
    }
}

impl Sums for Singles<'_> {
    #[inline(always)]
    fn sums<L: Lanes, const T: usize>(
        &self,
        by: &Multiply<'_>,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        by.floats::<L, T, _>(self.0, L::load, group, token)
    }
}

impl Sums for Halves<'_> {
    #[inline(always)]
    fn sums<L: Lanes, const T: usize>(
        &self,
        by: &Multiply<'_>,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        by.floats::<L, T, _>(self.0, L::widen, group, token)
    }
}

impl Sums for Brains<'_> {
    #[inline(always)]
    fn sums<L: Lanes, const T: usize>(
        &self,
        by: &Multiply<'_>,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        by.floats::<L, T, _>(self.0, L::widen_brain, group, token)
    }
}

impl core::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Matrix({} x {})", self.rows, self.columns)
    }
}
