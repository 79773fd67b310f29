//! Matrices, and their multiplication with vectors.
//!
//! Quantised types meet the vectors' 8-bit form; the sums of products of a block are exact.

use super::activations::{ABREAST, Activations, Blocks};
use super::lanes::Lanes;
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
    // Two parts per thread: a little evens out what else the machine does, and more costs more than it evens out.
    let pieces = if team.size() == 1 { 1 } else { team.size() * 2 };
    let mut parts = Vec::with_capacity(products.len() * pieces);
    for Product { matrix, out, onto } in products {
        assert!(matrix.columns == x.columns && tokens * matrix.rows <= out.len(), "buffers fit");
        assert!(tokens * x.columns <= x.floats.len(), "buffers fit");
        assert!(tokens.div_ceil(ABREAST) * x.columns / 32 <= x.blocks.len(), "buffers fit");
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
            unrolled!(i < T, {
                sums[i] = L::fma(weights, L::splat(x[i][column]), sums[i]);
            });
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
        let x = &by.x.blocks[token / ABREAST * blocks..][..blocks];
        // The place of the first token among those abreast; the optimiser sees that eight start at 0.
        let first = if T == ABREAST { 0 } else { token % ABREAST };
        let mut sums = [L::splat(0.0); T];
        let mut offsets = [L::splat(0.0); T];
        for (block, x) in x.iter().enumerate() {
            let Blocks { quants: q, scales: d, sums: s, half_sums: h, scaled_sums: ds } = x;
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
                _ => halves = [L::signed(&steps[block * 2]), L::signed(&steps[block * 2 + 1])],
            }
            let weights = match form.bits {
                4 => L::nibbles(&lines.as_chunks::<4>().0[block]),
                5 => L::fives(&lines.as_chunks::<5>().0[block]),
                6 => L::sixes(&lines.as_chunks::<6>().0[block]),
                _ => L::bytes(&lines.as_chunks::<8>().0[block]),
            };
            if T <= 2 {
                L::fetch(lines, (block + AHEAD) * form.lines(), form.lines());
            }
            unrolled!(i < T, {
                let at = (first + i) % ABREAST;
                let whole = match form.bits {
                    4 => L::dot_nibbles(&weights, &q[at], -form.less * s[at]),
                    5 => L::dot_fives(&weights, &q[at], -form.less * s[at]),
                    6 => {
                        let starts = [h[at], s[at] - h[at]].map(|sum| -form.less * sum);
                        L::dot_sixes(&weights, &q[at], starts, &halves)
                    }
                    _ => L::dot_bytes(&weights, &q[at], s[at]),
                };
                sums[i] = L::fma(whole, L::mul(scale, L::splat(d[at])), sums[i]);
                if form.minima {
                    offsets[i] = L::fma(minimum, L::splat(ds[at]), offsets[i]);
                }
            });
        }
        if form.minima {
            for (sum, offset) in sums.iter_mut().zip(offsets) {
                *sum = L::add(*sum, offset);
            }
        }
        sums
    }
}

/// How many blocks ahead weights are fetched where few vectors leave the memory to be waited for.
const AHEAD: usize = 16;

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
