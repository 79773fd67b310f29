//! Matrices packed for the lanes, the vectors that they multiply, and the multiplication.
//!
//! | type | a group of 16 rows holds, per block of 32 columns |
//! |---|---|
//! | `Q4_0`, `Q4_1` | 4 lines of 64 bytes: in line k, row r has the columns 8k … 8k+3 in the low halves of its 4 bytes, and 8k+4 … 8k+7 in the high ones |
//! | `Q8_0` | 8 lines: in line k, row r has the columns 4k … 4k+3, 128 added |
//! | `F16`, `F32` | 32 times 16 numbers: one column of all rows |
//!
//! The vectors are quantised to 8 bits in blocks of 32, for the quantised types; the sums of
//! products of a block are exact.

use super::lanes::{Lanes, ROUND};
use super::team::{Disjoint, Team};
use super::{Isa, Task};
use crate::gguf::{Tensor, TensorType};

/// The bytes that 16 rows have in one line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// A matrix, packed.
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    store: Store,
}

enum Store {
    Quants(Quants),
    Floats(Vec<[f32; 16]>),
}

struct Quants {
    kind: u8,
    lines: Vec<Line>,
    scales: Vec<[u16; 16]>,
    /// For `Q4_1` alone.
    minima: Vec<[u16; 16]>,
}

const Q4_0: u8 = 0;
const Q4_1: u8 = 1;
const Q8_0: u8 = 2;

impl Matrix {
    /// Packs a tensor; its columns are a multiple of 32 (the model's loader has seen to it).
    pub(crate) fn pack(tensor: &Tensor<'_>) -> Self {
        let Tensor { kind, columns, rows, data } = *tensor;
        let store = match kind {
            TensorType::F32 => Store::Floats(pack_floats(data, rows, columns, 4, |bytes| {
                f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
            })),
            TensorType::F16 => {
                Store::Floats(pack_floats(data, rows, columns, 2, |bytes| half(short(bytes))))
            }
            TensorType::Q4_0 => Store::Quants(pack_quants(data, rows, columns, Q4_0)),
            TensorType::Q4_1 => Store::Quants(pack_quants(data, rows, columns, Q4_1)),
            TensorType::Q8_0 => Store::Quants(pack_quants(data, rows, columns, Q8_0)),
        };
        Self { rows, columns, store }
    }

    /// Unpacks one row.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        let (group, lane) = (row / 16, row % 16);
        match &self.store {
            Store::Floats(all) => {
                for (to, column) in to.iter_mut().zip(&all[group * self.columns..]) {
                    *to = column[lane];
                }
            }
            Store::Quants(quants) => {
                let blocks = self.columns / 32;
                for (block, to) in to.chunks_exact_mut(32).enumerate() {
                    quants.row(group * blocks + block, lane, to);
                }
            }
        }
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(16)
    }
}

impl Quants {
    fn row(&self, block: usize, lane: usize, to: &mut [f32]) {
        let scale = half(self.scales[block][lane]);
        for (column, to) in to.iter_mut().enumerate() {
            let (k, byte) = (column / 4, lane * 4 + column % 4);
            let nibble = |lines: &[Line]| {
                let pair = lines[k / 2].0[byte];
                f32::from(if k % 2 == 0 { pair & 15 } else { pair >> 4 })
            };
            *to = match self.kind {
                Q4_0 => scale * (nibble(&self.lines[block * 4..]) - 8.0),
                Q4_1 => scale * nibble(&self.lines[block * 4..]) + half(self.minima[block][lane]),
                _ => scale * (f32::from(self.lines[block * 8 + k].0[byte]) - 128.0),
            };
        }
    }
}

fn pack_floats(
    data: &[u8],
    rows: usize,
    columns: usize,
    width: usize,
    read: impl Fn(&[u8]) -> f32,
) -> Vec<[f32; 16]> {
    let mut packed = vec![[0.0; 16]; rows.div_ceil(16) * columns];
    for (row, numbers) in data.chunks_exact(columns * width).enumerate() {
        let group = &mut packed[row / 16 * columns..][..columns];
        for (to, number) in group.iter_mut().zip(numbers.chunks_exact(width)) {
            to[row % 16] = read(number);
        }
    }
    packed
}

fn pack_quants(data: &[u8], rows: usize, columns: usize, kind: u8) -> Quants {
    let (blocks, groups) = (columns / 32, rows.div_ceil(16));
    let (width, lines) = match kind {
        Q4_0 => (18, 4),
        Q4_1 => (20, 4),
        _ => (34, 8),
    };
    let minima = if kind == Q4_1 { blocks * groups } else { 0 };
    let mut packed = Quants {
        kind,
        lines: vec![Line([0; 64]); blocks * groups * lines],
        scales: vec![[0; 16]; blocks * groups],
        minima: vec![[0; 16]; minima],
    };
    for (row, numbers) in data.chunks_exact(blocks * width).enumerate() {
        let (group, lane) = (row / 16, row % 16);
        for (block, bytes) in numbers.chunks_exact(width).enumerate() {
            let at = group * blocks + block;
            packed.scales[at][lane] = short(bytes);
            if kind == Q4_1 {
                packed.minima[at][lane] = short(&bytes[2..]);
            }
            let lines = &mut packed.lines[at * lines..][..lines];
            if kind == Q8_0 {
                for (column, byte) in bytes[2..].iter().enumerate() {
                    lines[column / 4].0[lane * 4 + column % 4] = byte ^ 0x80;
                }
            } else {
                // In the file, byte i has column i in its low half and column i + 16 in the high one.
                for (i, byte) in bytes[width - 16..].iter().enumerate() {
                    for (column, nibble) in [(i, byte & 15), (i + 16, byte >> 4)] {
                        let k = column / 4;
                        lines[k / 2].0[lane * 4 + column % 4] |= nibble << (k % 2 * 4);
                    }
                }
            }
        }
    }
    packed
}

fn short(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// The value of a half-precision number.
#[inline(always)]
pub(crate) fn half(bits: u16) -> f32 {
    let size = f32::from_bits((u32::from(bits) & 0x7fff) << 13) * f32::from_bits(0x7780_0000); // 2^112
    let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(size.to_bits() | infinite | (u32::from(bits) & 0x8000) << 16)
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
    /// The sum of a block's quants, and the same times its scale.
    sums: Vec<i32>,
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
            scaled_sums: vec![0.0; blocks],
        }
    }

    /// Forgets everything.
    pub(crate) fn wipe(&mut self) {
        use zeroize::Zeroize as _;
        let Self { columns: _, floats, quants, scales, sums, scaled_sums } = self;
        floats.as_mut_slice().zeroize();
        for quants in quants {
            quants.zeroize();
        }
        scales.as_mut_slice().zeroize();
        sums.as_mut_slice().zeroize();
        scaled_sums.as_mut_slice().zeroize();
    }

    /// Computes `tokens` vectors with `fill` and their 8-bit form, one token per iteration.
    pub(super) fn fill(&mut self, isa: Isa, team: &mut Team, tokens: usize, fill: &impl Fill) {
        let Self { columns, floats, quants, scales, sums, scaled_sums } = self;
        let (columns, blocks) = (*columns, *columns / 32);
        let (floats, quants, scales) =
            (Disjoint::new(floats), Disjoint::new(quants), Disjoint::new(scales));
        let (sums, scaled_sums) = (Disjoint::new(sums), Disjoint::new(scaled_sums));
        team.each(tokens, &|token| {
            // SAFETY: one token's parts, and each token has one iteration.
            let row = unsafe {
                Row {
                    token,
                    floats: floats.part(token * columns, columns),
                    quants: quants.part(token * blocks, blocks),
                    scales: scales.part(token * blocks, blocks),
                    sums: sums.part(token * blocks, blocks),
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
    scaled_sums: &'a mut [f32],
    fill: &'a T,
}

impl<T: Fill> Task for Row<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { token, floats, quants, scales, sums, scaled_sums, fill } = self;
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
            let mut sum = 0_i32;
            for (x, bytes) in [a, b].into_iter().zip(bytes.as_chunks_mut::<16>().0) {
                let mut rounded = [0.0_f32; 16];
                L::store(L::add(L::mul(x, back), L::splat(ROUND)), &mut rounded);
                for (byte, x) in bytes.iter_mut().zip(rounded) {
                    let whole = (x.to_bits() & 0xff) as u8;
                    sum += i32::from(whole as i8);
                    *byte = whole;
                }
            }
            for (to, bytes) in quants[block].iter_mut().zip(bytes.as_chunks::<4>().0) {
                *to = i32::from_le_bytes(*bytes);
            }
            scales[block] = scale;
            sums[block] = sum;
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
        for group in self.groups.clone() {
            let mut token = 0;
            while token < self.tokens {
                token += match self.tokens - token {
                    8.. => self.tile::<L, 8>(group, token),
                    4.. => self.tile::<L, 4>(group, token),
                    2.. => self.tile::<L, 2>(group, token),
                    _ => self.tile::<L, 1>(group, token),
                };
            }
        }
    }
}

impl Multiply<'_> {
    /// 16 rows times `T` tokens.
    #[inline(always)]
    fn tile<L: Lanes, const T: usize>(&self, group: usize, token: usize) -> usize {
        let sums = match &self.matrix.store {
            Store::Floats(columns) => self.floats::<L, T>(columns, group, token),
            Store::Quants(quants) => match quants.kind {
                Q4_0 => self.quants::<L, T, Q4_0>(quants, group, token),
                Q4_1 => self.quants::<L, T, Q4_1>(quants, group, token),
                _ => self.quants::<L, T, Q8_0>(quants, group, token),
            },
        };
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
    fn quants<L: Lanes, const T: usize, const KIND: u8>(
        &self,
        quants: &Quants,
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        let blocks = self.matrix.columns / 32;
        let per_block = if KIND == Q8_0 { 8 } else { 4 };
        let lines = &quants.lines[group * blocks * per_block..][..blocks * per_block];
        let scales = &quants.scales[group * blocks..][..blocks];
        let minima = if KIND == Q4_1 { &quants.minima[group * blocks..][..blocks] } else { &[] };
        let x: [_; T] = core::array::from_fn(|i| {
            let from = (token + i) * blocks;
            (
                &self.x.quants[from..][..blocks],
                &self.x.scales[from..][..blocks],
                &self.x.sums[from..][..blocks],
                &self.x.scaled_sums[from..][..blocks],
            )
        });
        let mut sums = [L::splat(0.0); T];
        let mut offsets = [L::splat(0.0); T];
        for block in 0..blocks {
            let scale = L::widen(&scales[block]);
            let minimum = if KIND == Q4_1 { L::widen(&minima[block]) } else { scale };
            let weights = if KIND == Q8_0 {
                L::bytes(&lines.as_chunks::<8>().0[block])
            } else {
                L::nibbles(&lines.as_chunks::<4>().0[block])
            };
            for i in 0..T {
                let (q, d, s, ds) = &x[i];
                let whole = match KIND {
                    Q4_0 => L::dot_nibbles(&weights, &q[block], -8 * s[block]),
                    Q4_1 => L::dot_nibbles(&weights, &q[block], 0),
                    _ => L::dot_bytes(&weights, &q[block], s[block]),
                };
                sums[i] = L::fma(whole, L::mul(scale, L::splat(d[block])), sums[i]);
                if KIND == Q4_1 {
                    offsets[i] = L::fma(minimum, L::splat(ds[block]), offsets[i]);
                }
            }
        }
        if KIND == Q4_1 {
            for (sum, offset) in sums.iter_mut().zip(offsets) {
                *sum = L::add(*sum, offset);
            }
        }
        sums
    }

    #[inline(always)]
    fn floats<L: Lanes, const T: usize>(
        &self,
        columns: &[[f32; 16]],
        group: usize,
        token: usize,
    ) -> [L::F; T] {
        let count = self.matrix.columns;
        let weights = &columns[group * count..][..count];
        let x: [&[f32]; T] =
            core::array::from_fn(|i| &self.x.floats[(token + i) * count..][..count]);
        let mut sums = [L::splat(0.0); T];
        for (column, weights) in weights.iter().enumerate() {
            let weights = L::load(weights);
            for i in 0..T {
                sums[i] = L::fma(weights, L::splat(x[i][column]), sums[i]);
            }
        }
        sums
    }
}

impl core::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Matrix({} x {})", self.rows, self.columns)
    }
}
