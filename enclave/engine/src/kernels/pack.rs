//! How weights lie in memory: 16 rows abreast, in as many bytes as in the file.
//!
//! | numbers of | a group of 16 rows holds, per block of 32 columns |
//! |---|---|
//! | 4 bits | 4 lines of 64 bytes: in line k, row r has the columns 8k … 8k+3 in the low halves of its 4 bytes, and 8k+4 … 8k+7 in the high ones |
//! | 5 bits | the same of the lower 4, and a line of the fifth: row r has those of columns 4k … 4k+3 in bit k of its 4 bytes |
//! | 6 bits | the same of the lower 4, and two lines of the upper 2: in line j, row r has those of columns 16j+4k … 16j+4k+3 in the k-th two bits of its 4 bytes |
//! | 8 bits | 8 lines: in line k, row r has the columns 4k … 4k+3, 128 added |
//! | 16 and 32 bits | 32 times 16 numbers: one column of all rows |
//!
//! A number of 4 to 8 bits stands for `scale * step * (number - less) + minimum * floor`: the scale and
//! the minimum are half-precision, of a block or of 256 columns; in the latter case, a step (and a
//! floor) of 6 to 8 bits each goes with every 32 columns (`Q6_K`: 16). A scale times its step is exact
//! in single precision, and so is a minimum times its floor.

use crate::gguf::{Tensor, TensorType};

/// The bytes that 16 rows have in one line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// The numbers of a matrix.
pub(super) enum Store {
    Singles(Vec<[f32; 16]>),
    Halves(Vec<[u16; 16]>),
    Brains(Vec<[u16; 16]>),
    Quants(Quants),
}

/// Numbers of 4 to 8 bits.
pub(super) struct Quants {
    pub(super) kind: TensorType,
    pub(super) lines: Vec<Line>,
    pub(super) scales: Vec<[u16; 16]>,
    /// Where the form has them.
    pub(super) minima: Vec<[u16; 16]>,
    pub(super) steps: Vec<[u8; 16]>,
    pub(super) floors: Vec<[u8; 16]>,
}

/// What a type's numbers are made of.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// In a number.
    pub(super) bits: u32,
    /// What is subtracted from a number.
    pub(super) less: i32,
    /// Whether there are minima.
    pub(super) minima: bool,
    /// How many blocks of 32 share a scale.
    pub(super) shared: usize,
    /// How many steps a block of 32 has.
    pub(super) steps: usize,
}

impl Form {
    /// The form of a type by its number in GGUF; only called for quantised types.
    pub(super) const fn of(number: u32) -> Self {
        const ALONE: Form = Form { bits: 4, less: 0, minima: false, shared: 1, steps: 0 };
        const TOGETHER: Form = Form { minima: true, shared: 8, steps: 1, ..ALONE };
        const Q4_0: u32 = TensorType::Q4_0.number();
        const Q4_1: u32 = TensorType::Q4_1.number();
        const Q5_0: u32 = TensorType::Q5_0.number();
        const Q5_1: u32 = TensorType::Q5_1.number();
        const Q8_0: u32 = TensorType::Q8_0.number();
        const Q4_K: u32 = TensorType::Q4_K.number();
        const Q5_K: u32 = TensorType::Q5_K.number();
        const Q6_K: u32 = TensorType::Q6_K.number();
        match number {
            Q4_0 => Self { less: 8, ..ALONE },
            Q4_1 => Self { minima: true, ..ALONE },
            Q5_0 => Self { bits: 5, less: 16, ..ALONE },
            Q5_1 => Self { bits: 5, minima: true, ..ALONE },
            Q8_0 => Self { bits: 8, less: 128, ..ALONE },
            Q4_K => TOGETHER,
            Q5_K => Self { bits: 5, ..TOGETHER },
            Q6_K => Self { bits: 6, less: 32, minima: false, shared: 8, steps: 2 },
            // Floats are stored apart.
            _ => unreachable!(),
        }
    }

    /// How many lines a block of 32 takes.
    pub(super) const fn lines(self) -> usize {
        self.bits as usize
    }
}

impl Store {
    pub(super) fn pack(tensor: &Tensor<'_>) -> Self {
        let Tensor { kind, columns, rows, data } = *tensor;
        let shorts =
            || abreast(data, rows, columns, 0, |bytes: &[u8; 2]| u16::from_le_bytes(*bytes));
        match kind {
            TensorType::F32 => {
                let single = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
                Self::Singles(abreast(data, rows, columns, 0.0, single))
            }
            TensorType::F16 => Self::Halves(shorts()),
            TensorType::BF16 => Self::Brains(shorts()),
            TensorType::Q4_0
            | TensorType::Q4_1
            | TensorType::Q5_0
            | TensorType::Q5_1
            | TensorType::Q8_0
            | TensorType::Q4_K
            | TensorType::Q5_K
            | TensorType::Q6_K => Self::Quants(Quants::pack(tensor)),
        }
    }

    /// Unpacks one row of a matrix with so many columns.
    pub(super) fn row(&self, row: usize, columns: usize, to: &mut [f32]) {
        let (group, lane) = (row / 16, row % 16);
        match self {
            Self::Singles(all) => column(&all[group * columns..], lane, to, |number| number),
            Self::Halves(all) => column(&all[group * columns..], lane, to, half),
            Self::Brains(all) => column(&all[group * columns..], lane, to, brain),
            Self::Quants(quants) => {
                let blocks = columns / 32;
                for (block, to) in to.chunks_exact_mut(32).enumerate() {
                    quants.row(group * blocks + block, lane, to);
                }
            }
        }
    }
}

fn column<T: Copy>(all: &[[T; 16]], lane: usize, to: &mut [f32], read: impl Fn(T) -> f32) {
    for (to, column) in to.iter_mut().zip(all) {
        *to = read(column[lane]);
    }
}

/// Turns rows into columns, 16 rows at a time.
fn abreast<T: Copy, const N: usize>(
    data: &[u8],
    rows: usize,
    columns: usize,
    zero: T,
    read: impl Fn(&[u8; N]) -> T,
) -> Vec<[T; 16]> {
    let mut packed = vec![[zero; 16]; rows.div_ceil(16) * columns];
    for (row, numbers) in data.as_chunks::<N>().0.chunks_exact(columns).enumerate() {
        let group = &mut packed[row / 16 * columns..][..columns];
        for (to, number) in group.iter_mut().zip(numbers) {
            to[row % 16] = read(number);
        }
    }
    packed
}

impl Quants {
    fn pack(tensor: &Tensor<'_>) -> Self {
        let Tensor { kind, columns, rows, data } = *tensor;
        let form = Form::of(kind.number());
        let (block, width) = kind.block();
        let (blocks, groups) = (columns / block, rows.div_ceil(16));
        let scales = blocks * groups;
        let (minima, parts) = (if form.minima { scales } else { 0 }, scales * form.shared);
        let steps = parts * form.steps;
        let mut packed = Self {
            kind,
            lines: vec![Line([0; 64]); parts * form.lines()],
            scales: vec![[0; 16]; scales],
            minima: vec![[0; 16]; minima],
            steps: vec![[0; 16]; steps],
            floors: vec![[0; 16]; if form.minima { steps } else { 0 }],
        };
        for (row, bytes) in data.chunks_exact(blocks * width).enumerate() {
            let (group, lane) = (row / 16, row % 16);
            for (block, bytes) in bytes.chunks_exact(width).enumerate() {
                packed.put(form, group * blocks + block, lane, bytes);
            }
        }
        packed
    }

    /// Puts one block of one row where it belongs.
    #[inline]
    fn put(&mut self, form: Form, at: usize, lane: usize, bytes: &[u8]) {
        let scale = if self.kind == TensorType::Q6_K { 208 } else { 0 };
        self.scales[at][lane] = short(&bytes[scale..]);
        if form.minima {
            // The formats of 256 subtract their minima.
            let sign = if form.shared == 1 { 0 } else { 0x8000 };
            self.minima[at][lane] = short(&bytes[2..]) ^ sign;
        }
        for part in 0..form.shared {
            let at = at * form.shared + part;
            match form.steps {
                0 => {}
                1 => (self.steps[at][lane], self.floors[at][lane]) = sixes(&bytes[4..16], part),
                _ => {
                    self.steps[at * 2][lane] = bytes[192 + part * 2];
                    self.steps[at * 2 + 1][lane] = bytes[193 + part * 2];
                }
            }
            let lines = &mut self.lines[at * form.lines()..][..form.lines()];
            for (k, four) in numbers(self.kind, bytes, part).as_chunks::<4>().0.iter().enumerate() {
                let four = u32::from_le_bytes(*four);
                match form.bits {
                    8 => place(&mut lines[k], lane, four),
                    bits => {
                        place(&mut lines[k / 2], lane, (four & 0x0f0f_0f0f) << (k % 2 * 4));
                        let upper = four >> 4 & 0x0f0f_0f0f;
                        match bits {
                            5 => place(&mut lines[4], lane, upper << k),
                            6 => place(&mut lines[4 + k / 4], lane, upper << (k % 4 * 2)),
                            _ => {}
                        }
                    }
                }
            }
        }
    }

    /// The numbers of one block of 32 of one row.
    fn row(&self, block: usize, lane: usize, to: &mut [f32]) {
        let form = Form::of(self.kind.number());
        let lines = &self.lines[block * form.lines()..][..form.lines()];
        let scale = half(self.scales[block / form.shared][lane]);
        let mut minimum =
            if form.minima { half(self.minima[block / form.shared][lane]) } else { 0.0 };
        if let Some(floor) = self.floors.get(block) {
            minimum *= f32::from(floor[lane]);
        }
        for (column, to) in to.iter_mut().enumerate() {
            let (k, byte) = (column / 4, lane * 4 + column % 4);
            let step = match form.steps {
                0 => 1.0,
                1 => f32::from(self.steps[block][lane]),
                _ => f32::from(self.steps[block * 2 + column / 16][lane] as i8),
            };
            let number = match form.bits {
                8 => lines[k].0[byte],
                bits => {
                    let lower = lines[k / 2].0[byte] >> (k % 2 * 4) & 15;
                    match bits {
                        5 => lower | (lines[4].0[byte] >> k & 1) << 4,
                        6 => lower | (lines[4 + k / 4].0[byte] >> (k % 4 * 2) & 3) << 4,
                        _ => lower,
                    }
                }
            };
            let number = f32::from(i16::from(number) - form.less as i16);
            *to = scale * step * number;
            if form.minima {
                *to += minimum;
            }
        }
    }
}

/// Adds 4 bytes to a row's in a line.
#[inline(always)]
fn place(line: &mut Line, row: usize, four: u32) {
    for (to, byte) in line.0[row * 4..][..4].iter_mut().zip(four.to_le_bytes()) {
        *to |= byte;
    }
}

/// A step and a floor of 6 bits each, as the formats of 256 pack eight of both into 12 bytes.
fn sixes(bytes: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (bytes[part] & 63, bytes[part + 4] & 63)
    } else {
        let lower = bytes[part + 4];
        (lower & 15 | bytes[part - 4] >> 6 << 4, lower >> 4 | bytes[part] >> 6 << 4)
    }
}

/// The numbers of one block of 32 in the file, one a byte; of those with 8 bits, 128 more.
#[inline]
fn numbers(kind: TensorType, bytes: &[u8], part: usize) -> [u8; 32] {
    // In blocks of 32, byte i has column i in its low half and column i + 16 in the high one.
    let halves = |from: usize| {
        let from = &bytes[from..][..16];
        core::array::from_fn(|i| if i < 16 { from[i] & 15 } else { from[i - 16] >> 4 })
    };
    let fifth = |from: usize, lower: [u8; 32]| {
        let upper =
            u32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]]);
        core::array::from_fn(|i| lower[i] | ((upper >> i & 1) as u8) << 4)
    };
    // In those of 256, 32 bytes have one part in their low halves and the next in the high ones.
    let half_of = |from: usize| {
        let (from, shift) = (&bytes[from + part / 2 * 32..][..32], part % 2 * 4);
        core::array::from_fn(|i| from[i] >> shift & 15)
    };
    match kind {
        TensorType::Q4_0 => halves(2),
        TensorType::Q4_1 => halves(4),
        TensorType::Q5_0 => fifth(2, halves(6)),
        TensorType::Q5_1 => fifth(4, halves(8)),
        TensorType::Q4_K => half_of(16),
        TensorType::Q5_K => {
            let (lower, upper): ([u8; 32], _) = (half_of(48), &bytes[16..48]);
            core::array::from_fn(|i| lower[i] | (upper[i] >> part & 1) << 4)
        }
        TensorType::Q6_K => {
            // Of 128 columns, parts 0 and 1 are in the low halves of 64 bytes, 2 and 3 in the high ones.
            let (group, part) = (part / 4, part % 4);
            let lower = &bytes[group * 64 + part % 2 * 32..][..32];
            let upper = &bytes[128 + group * 32..][..32];
            core::array::from_fn(|i| {
                lower[i] >> (part / 2 * 4) & 15 | (upper[i] >> (part * 2) & 3) << 4
            })
        }
        TensorType::Q8_0 => core::array::from_fn(|i| bytes[2 + i] ^ 0x80),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("not quantised"),
    }
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

/// The value of the upper half of a single-precision number.
#[inline(always)]
pub(super) fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
