//! The instruction sets against each other and against the definition.

use super::*;
use crate::gguf::Tensor;

mod formats;

/// A linear congruential generator: bytes without end.
struct Bytes(u64);

impl Bytes {
    fn byte(&mut self) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn float(&mut self) -> f32 {
        (f32::from(self.byte()) - 127.5) / 64.0 + f32::from(self.byte()) / 65_536.0
    }
}

fn tensor_bytes(kind: TensorType, rows: usize, columns: usize, bytes: &mut Bytes) -> Vec<u8> {
    let (block, width) = kind.block();
    let mut data = Vec::new();
    for _ in 0..rows * columns / block {
        let mut one: Vec<u8> = (0..width).map(|_| bytes.byte()).collect();
        match kind {
            TensorType::F32 => one = bytes.float().to_le_bytes().to_vec(),
            TensorType::F16 => one[1] = one[1] & 0x83 | 0x30,
            TensorType::BF16 => (one[0], one[1]) = (one[0], one[1] & 0x80 | 0x3e),
            TensorType::Q4_1 | TensorType::Q5_1 => {
                (one[1], one[3]) = (0x20 | one[1] & 3, 0xa8 | one[3] & 3);
            }
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => {
                one[1] = 0x20 | one[1] & 3;
            }
            TensorType::Q4_K | TensorType::Q5_K => {
                (one[1], one[3]) = (0x08 | one[1] & 3, 0x10 | one[3] & 3);
            }
            TensorType::Q6_K => one[209] &= 3,
        }
        data.extend(one);
    }
    data
}

fn isas() -> impl Iterator<Item = Isa> {
    Instructions::available().into_iter().filter_map(Isa::new)
}

/// Products of one matrix with vectors of several sizes, worst cases of the 8-bit sums among them.
fn products(
    isa: Isa,
    threads: usize,
    tokens: usize,
    kind: TensorType,
    rows: usize,
    columns: usize,
) -> (Vec<f32>, Vec<f64>) {
    let columns = columns.next_multiple_of(kind.block().0);
    let mut bytes = Bytes(9);
    let data = tensor_bytes(kind, rows, columns, &mut bytes);
    let matrix = Matrix::pack(&Tensor { kind, columns, rows, data: &data });
    let mut x: Vec<f32> = (0..tokens * columns).map(|_| bytes.float()).collect();
    x[..columns].fill(1.0);
    let mut team = Team::new(threads).unwrap();
    let mut activations = Activations::new(tokens, columns);
    let views: Vec<&[f32]> = x.chunks(columns).collect();
    normalise(isa, &mut team, &views, &vec![1.0; columns], 1e-5, &mut activations);
    let mut out = vec![1.0; tokens * rows];
    let product = Product { matrix: &matrix, out: &mut out, onto: Onto::Sum };
    multiply(isa, &mut team, &mut [product], &activations, tokens);
    let mut exact = Vec::new();
    for token in 0..tokens {
        for row in 0..rows {
            let mut weights = vec![0.0; columns];
            matrix.row(row, &mut weights);
            let x = &activations.floats[token * columns..][..columns];
            exact.push(
                1.0 + weights
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * f64::from(*x))
                    .sum::<f64>(),
            );
        }
    }
    (out, exact)
}

#[test]
fn products_are_right() {
    for kind in TensorType::ALL {
        let (out, exact) = products(Isa::new(Instructions::Portable).unwrap(), 1, 3, kind, 40, 96);
        for (out, exact) in out.iter().zip(&exact) {
            assert!((f64::from(*out) - exact).abs() < 0.15, "{kind:?}: {out} for {exact}");
        }
    }
}

#[test]
fn instruction_sets_threads_and_batches_agree_bit_for_bit() {
    for kind in TensorType::ALL {
        let (expected, _) =
            products(Isa::new(Instructions::Portable).unwrap(), 1, 15, kind, 83, 160);
        for isa in isas() {
            for threads in [1, 2, 3] {
                for tokens in [1, 2, 7, 15] {
                    let (out, _) = products(isa, threads, tokens, kind, 83, 160);
                    let same = out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{kind:?} {isa:?} {threads} {tokens}");
                }
            }
        }
    }
}

#[test]
fn exponentials_are_right_and_agree() {
    let x: Vec<f32> = (0..2001_i16).map(|i| f32::from(i) / 25.0 - 75.0).collect();
    let mut expected = x.clone();
    exponentials(Isa::new(Instructions::Portable).unwrap(), &mut expected, 0.5, 1.0);
    for (x, y) in x.iter().zip(&expected) {
        let exact = f64::from(x - 0.5).exp();
        assert!((f64::from(*y) / exact - 1.0).abs() < 4e-7, "{x}: {y} for {exact}");
    }
    for isa in isas() {
        let mut y = x.clone();
        exponentials(isa, &mut y, 0.5, 1.0);
        assert_eq!(y, expected, "{isa:?}");
    }
}

#[test]
fn attention_is_the_weighted_mean_and_agrees() {
    let (layers, kv_heads, width, shared, count) = (2, 2, 80, 3, 150);
    let mut bytes = Bytes(3);
    let mut pages: Vec<Page> = Vec::new();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for position in 0..count {
        if position % Page::POSITIONS == 0 {
            pages.push(Page::new(layers, kv_heads, width));
        }
        let key: Vec<f32> = (0..kv_heads * width).map(|_| bytes.float()).collect();
        let value: Vec<f32> = (0..kv_heads * width).map(|_| bytes.float()).collect();
        store(pages.last_mut().unwrap(), 1, position, width, &key, &value);
        keys.push(key);
        values.push(value);
    }
    let heads = kv_heads * shared;
    let positions = [0, 15, 63, 64, 149];
    let queries: Vec<f32> = (0..positions.len() * heads * width).map(|_| bytes.float()).collect();
    let tokens: Vec<Query<'_>> = positions
        .iter()
        .map(|position| Query { pages: &pages, position: *position, first: 0 })
        .collect();
    let mut first: Option<Vec<f32>> = None;
    for isa in isas() {
        for threads in [1, 3] {
            let mut out = Activations::new(positions.len(), heads * width);
            attend(
                isa,
                &mut Team::new(threads).unwrap(),
                1,
                width,
                shared,
                &tokens,
                &queries,
                &mut out,
            );
            assert_eq!(
                first.get_or_insert_with(|| out.floats.clone()),
                &out.floats,
                "{isa:?} {threads}"
            );
        }
    }
    let out = first.unwrap();
    for (token, position) in positions.iter().enumerate() {
        for head in 0..heads {
            let query = &queries[(token * heads + head) * width..][..width];
            let from = head / shared * width;
            let scores: Vec<f64> = (0..=*position)
                .map(|p| {
                    query.iter().zip(&keys[p][from..]).map(|(q, k)| f64::from(q * k)).sum::<f64>()
                })
                .collect();
            let top = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            for j in 0..width {
                let exact: f64 = weights
                    .iter()
                    .zip(&values)
                    .map(|(w, v)| w * f64::from(v[from + j]))
                    .sum::<f64>()
                    / total;
                let ours = f64::from(out[(token * heads + head) * width + j]);
                assert!((ours - exact).abs() < 1e-4, "{position} {head} {j}: {ours} for {exact}");
            }
        }
    }
}

/// Neighbours are computed together; what one sees must not reach another, be it no number at all.
#[test]
fn attention_knows_nothing_of_later_positions_nor_of_its_company() {
    let (width, shared, count) = (80, 3, 140);
    let mut bytes = Bytes(5);
    let mut pages: Vec<Page> = (0..3).map(|_| Page::new(1, 1, width)).collect();
    let mut kept = Vec::new();
    for position in 0..count {
        let mut draw = || (0..width).map(|_| bytes.float()).collect::<Vec<f32>>();
        let (key, value) = (draw(), draw());
        store(&mut pages[position / Page::POSITIONS], 0, position, width, &key, &value);
        kept.push((key, value));
    }
    let row = shared * width;
    let queries: Vec<f32> = (0..count * row).map(|_| bytes.float()).collect();
    let mut team = Team::new(1).unwrap();
    for isa in isas() {
        let mut computed = |pages: &[Page], positions: core::ops::Range<usize>| {
            // A window of 70, so that pages are left behind.
            let see = |position: usize| Query {
                pages,
                position,
                first: (position + 1).saturating_sub(70),
            };
            let tokens: Vec<Query<'_>> = positions.clone().map(see).collect();
            let mut out = Activations::new(tokens.len(), row);
            let queries = &queries[positions.start * row..positions.end * row];
            attend(isa, &mut team, 0, width, shared, &tokens, queries, &mut out);
            out.floats.clone()
        };
        let together = computed(&pages, 0..count);
        for position in 0..count {
            let alone = computed(&pages, position..position + 1);
            assert_eq!(alone, together[position * row..][..row], "{isa:?} {position}");
        }
        // Nothing that comes later shows, however odd.
        let odd = vec![f32::NAN; width];
        for position in [100, 101, 102, 103, 104] {
            store(&mut pages[position / Page::POSITIONS], 0, position, width, &odd, &odd);
        }
        let before = computed(&pages, 60..100);
        assert_eq!(before, together[60 * row..100 * row], "{isa:?}");
        for (position, (key, value)) in kept.iter().enumerate() {
            store(&mut pages[position / Page::POSITIONS], 0, position, width, key, value);
        }
    }
}

#[test]
fn halves_widen_exactly() {
    for (bits, value) in [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x0001, 2.0_f32.powi(-24)),
        (0x7bff, 65_504.0),
        (0x8000, -0.0),
    ] {
        assert_eq!(half(bits).to_bits(), f32::to_bits(value));
    }
    assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
}
