//! What the bytes of every type mean.

use super::*;
use crate::kernels::pack::Store;
use attestation::Sha256;

#[test]
fn rows_unpack_to_what_the_layouts_say() {
    for kind in TensorType::ALL {
        let (rows, columns) = (37, 512);
        let data = tensor_bytes(kind, rows, columns, &mut Bytes(21));
        let matrix = Matrix::pack(&Tensor { kind, columns, rows, data: &data });
        let (block, width) = kind.block();
        let decoded: Vec<f32> =
            data.chunks_exact(width).flat_map(|bytes| decode(kind, bytes)).collect();
        assert_eq!(decoded.len(), data.len() / width * block);
        for (row, expected) in decoded.chunks_exact(columns).enumerate() {
            let mut unpacked = vec![0.0; columns];
            matrix.row(row, &mut unpacked);
            for (column, (ours, expected)) in unpacked.iter().zip(expected).enumerate() {
                assert_eq!(ours.to_bits(), expected.to_bits(), "{kind:?} {row} {column}");
            }
        }
    }
}

/// Recorded with Python's `gguf` 0.19.0 (numpy 2): `tensor_bytes(kind, 3, 512, &mut Bytes(77))`, made
/// again in Python, through `gguf.quants.dequantize`; the numbers 0, 17, 255, 300 and 1,535 of it, and
/// the SHA-256 of all as little-endian single precision.
#[test]
fn rows_unpack_to_what_the_formats_own_package_reads() {
    for (kind, samples, digest) in RECORDED {
        let (rows, columns) = (3, 512);
        let data = tensor_bytes(kind, rows, columns, &mut Bytes(77));
        let matrix = Matrix::pack(&Tensor { kind, columns, rows, data: &data });
        let mut all = vec![0.0; rows * columns];
        for (row, to) in all.chunks_exact_mut(columns).enumerate() {
            matrix.row(row, to);
        }
        for (at, sample) in [0, 17, 255, 300, 1535].into_iter().zip(samples) {
            assert_eq!(f32::to_bits(all[at]), f32::to_bits(sample), "{kind:?} {at}");
        }
        let bytes: Vec<u8> = all.iter().flat_map(|number| number.to_le_bytes()).collect();
        let digest_of = Sha256::of(&bytes).to_string();
        assert_eq!(digest_of.get(..32), Some(digest), "{kind:?}");
    }
}

/// One block, read as the format is published (ggml's `block_q4_0` and so on), without regard to speed.
fn decode(kind: TensorType, bytes: &[u8]) -> Vec<f32> {
    let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let number = |at: usize| half(short(at));
    let nibble = |at: usize, high: bool| if high { bytes[at] / 16 } else { bytes[at] % 16 };
    let bit = |at: usize, bit: usize| bytes[at + bit / 8] >> (bit % 8) & 1;
    let small =
        |from: usize| move |column: usize| f32::from(nibble(from + column % 16, column >= 16));
    // Eight scales and minima of 6 bits in 12 bytes.
    let six = |part: usize| {
        let byte = |at: usize| bytes[4 + at];
        if part < 4 {
            (byte(part) % 64, byte(part + 4) % 64)
        } else {
            let (scale, minimum) = (byte(part + 4) % 16, byte(part + 4) / 16);
            (scale + byte(part - 4) / 64 * 16, minimum + byte(part) / 64 * 16)
        }
    };
    let of_256 = |column: usize, quant: u8| {
        let (scale, minimum) = six(column / 32);
        number(0) * f32::from(scale) * f32::from(quant) - number(2) * f32::from(minimum)
    };
    // Of 64 columns, 32 bytes have the first 32 in their low halves and the others in their high ones.
    let quarter = |from: usize, column: usize| {
        nibble(from + column / 64 * 32 + column % 32, column % 64 >= 32)
    };
    let one = |column: usize| match kind {
        TensorType::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        TensorType::F16 => number(0),
        TensorType::BF16 => f32::from_bits(u32::from(short(0)) * 65_536),
        TensorType::Q4_0 => number(0) * (small(2)(column) - 8.0),
        TensorType::Q4_1 => number(0) * small(4)(column) + number(2),
        TensorType::Q5_0 => {
            number(0) * (small(6)(column) + 16.0 * f32::from(bit(2, column)) - 16.0)
        }
        TensorType::Q5_1 => {
            number(0) * (small(8)(column) + 16.0 * f32::from(bit(4, column))) + number(2)
        }
        TensorType::Q8_0 => number(0) * f32::from(bytes[2 + column] as i8),
        TensorType::Q4_K => of_256(column, quarter(16, column)),
        TensorType::Q5_K => {
            let fifth = bytes[16 + column % 32] >> (column / 32) & 1;
            of_256(column, quarter(48, column) + 16 * fifth)
        }
        TensorType::Q6_K => {
            let (group, within) = (column / 128, column % 128);
            let low = nibble(group * 64 + within % 64, within >= 64);
            let high = bytes[128 + group * 32 + within % 32] >> (within / 32 * 2) & 3;
            let scale = f32::from(bytes[192 + column / 16] as i8);
            number(208) * scale * (f32::from(low + 16 * high) - 32.0)
        }
    };
    (0..kind.block().0).map(one).collect()
}

/// Recorded with this engine: a change to any bit of the products shows here, on every machine.
#[test]
fn products_are_what_they_were() {
    for (kind, expected) in PRODUCTS {
        for isa in isas() {
            let (out, _) = products(isa, 2, 11, kind, 50, 512);
            let bytes: Vec<u8> = out.iter().flat_map(|number| number.to_le_bytes()).collect();
            let digest = Sha256::of(&bytes).to_string();
            assert_eq!(digest.get(..16), Some(expected), "{kind:?} {isa:?}");
        }
    }
}

/// What memory a model takes rests on this.
#[test]
fn packed_weights_take_the_room_of_the_file() {
    for kind in TensorType::ALL {
        let (rows, columns) = (64, 512);
        let data = tensor_bytes(kind, rows, columns, &mut Bytes(5));
        let room = match Store::pack(&Tensor { kind, columns, rows, data: &data }) {
            Store::Singles(columns) => size_of_val(columns.as_slice()),
            Store::Halves(columns) | Store::Brains(columns) => size_of_val(columns.as_slice()),
            Store::Quants(quants) => {
                size_of_val(quants.lines.as_slice())
                    + size_of_val(quants.scales.as_slice())
                    + size_of_val(quants.minima.as_slice())
                    + size_of_val(quants.steps.as_slice())
                    + size_of_val(quants.floors.as_slice())
            }
        };
        // 6-bit steps and floors take a byte each: 16 for 12, of 144 in all.
        let more = if matches!(kind, TensorType::Q4_K | TensorType::Q5_K) { 4 } else { 0 };
        let (block, width) = kind.block();
        assert_eq!(room, rows * columns / block * (width + more), "{kind:?}");
    }
}

/// Odd columns never reach the packing; of whole blocks, every length does.
#[test]
fn products_of_every_length_agree() {
    for kind in TensorType::ALL {
        let (block, _) = kind.block();
        for columns in [32, 64, 256, 768].into_iter().filter(|columns| columns % block == 0) {
            let mut all = isas().map(|isa| products(isa, 1, 5, kind, 17, columns));
            let (first, exact) = all.next().unwrap();
            for (out, exact) in first.iter().zip(&exact) {
                assert!((f64::from(*out) - exact).abs() < 0.5, "{kind:?}: {out} for {exact}");
            }
            for (other, _) in all {
                assert_eq!(first, other, "{kind:?} {columns}");
            }
        }
    }
}

/// The greatest sums of products: all weights and vectors at their ends.
#[test]
fn nothing_overflows_at_the_ends() {
    for kind in TensorType::ALL {
        let (block, width) = kind.block();
        if block == 1 {
            continue;
        }
        for (byte, sign) in [(0x00, 1.0), (0xff, 1.0), (0x00, -1.0), (0xff, -1.0), (0x80, 1.0)] {
            let (rows, columns) = (16, 512);
            let mut data = vec![byte; rows * columns / block * width];
            for bytes in data.chunks_exact_mut(width) {
                let at = if kind == TensorType::Q6_K { 208 } else { 0 };
                bytes[at..at + 2].copy_from_slice(&0x1400_u16.to_le_bytes());
                if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1) || at == 0 && block == 256 {
                    bytes[2..4].copy_from_slice(&0x1400_u16.to_le_bytes());
                }
            }
            let matrix = Matrix::pack(&Tensor { kind, columns, rows, data: &data });
            let mut weights = vec![0.0; columns];
            matrix.row(0, &mut weights);
            let exact: f64 = weights.iter().map(|w| f64::from(*w) * f64::from(sign)).sum();
            for isa in isas() {
                let mut team = Team::new(1).unwrap();
                let mut activations = Activations::new(1, columns);
                let x = vec![sign; columns];
                normalise(isa, &mut team, &[&x], &vec![1.0; columns], 0.0, &mut activations);
                let mut out = vec![0.0; rows];
                let product = Product { matrix: &matrix, out: &mut out, onto: Onto::Fresh };
                multiply(isa, &mut team, &mut [product], &activations, 1);
                for out in out {
                    let error = (f64::from(out) - exact).abs();
                    assert!(error <= exact.abs() * 1e-5, "{kind:?} {byte} {isa:?}: {out} {exact}");
                }
            }
        }
    }
}

const RECORDED: [(TensorType, [f32; 5], &str); 11] = [
    (
        TensorType::F32,
        [-1.613_632_2, 1.603_530_9, -0.740_600_6, -0.020_782_47, -0.802_368_16],
        "c96e6c81d063550053224da07e2d8755",
    ),
    (
        TensorType::F16,
        [0.207_519_53, -0.197_509_77, 0.153_442_38, 0.226_440_43, -0.227_539_06],
        "333fe20f626bd6d3126c826dcb345354",
    ),
    (
        TensorType::BF16,
        [0.320_312_5, -0.205_078_12, 0.455_078_12, 0.186_523_44, -0.195_312_5],
        "261a5558cdfdb7daf23cd14ecf3d04ca",
    ),
    (
        TensorType::Q4_0,
        [0.038_909_912, 0.090_789_795, -0.062_164_307, 0.055_175_78, -0.010_742_187_5],
        "cf5e8e32895f1bdb67bc281695838522",
    ),
    (
        TensorType::Q4_1,
        [0.065_338_135, 0.143_157_96, 0.070_808_41, -0.045_791_626, 0.002_868_652_3],
        "4e2875bc76329e46e33e69d89d0ae55b",
    ),
    (
        TensorType::Q5_0,
        [0.051_879_883, -0.012_969_971, 0.176_841_74, 0.154_174_8, -0.172_180_18],
        "e66f23695a3fcebffedb915db1069371",
    ),
    (
        TensorType::Q5_1,
        [0.052_368_164, 0.026_428_223, 0.156_692_5, 0.260_925_3, -0.021_209_717],
        "53fd14675e95d518768f660efc5fda1f",
    ),
    (
        TensorType::Q8_0,
        [-0.272_369_38, 1.504_516_6, 0.327_117_92, -0.350_509_64, 0.418_212_9],
        "10b794cfca97d485bb1227296cb35a74",
    ),
    (
        TensorType::Q4_K,
        [0.039_937_496, 0.005_891_323, 0.028_375_149, 0.060_863_495, 0.018_500_328],
        "71d0bc84ce53e9ceaa7a63ee1ee14c63",
    ),
    (
        TensorType::Q5_K,
        [0.117_757_32, 0.035_073_757, 0.128_689_77, 0.206_982_14, 0.016_144_753],
        "e51a0fb67b08c3ee5208fb694ce9b026",
    ),
    (
        TensorType::Q6_K,
        [0.001_004_219, 0.026_221_275, 0.004_602_670_7, -0.015_546_799, -0.014_820_099],
        "2994f6431e6741e48e8d7984fdd296fc",
    ),
];

const PRODUCTS: [(TensorType, &str); 11] = [
    (TensorType::F32, "742af5dccc79feed"),
    (TensorType::F16, "ed74b68dadc8e831"),
    (TensorType::BF16, "5b2871b718ef21f2"),
    (TensorType::Q4_0, "da47798fd6c4526e"),
    (TensorType::Q4_1, "a0297d54743d6954"),
    (TensorType::Q5_0, "d3394f98a3c116ac"),
    (TensorType::Q5_1, "9710bf81ef5f46a8"),
    (TensorType::Q8_0, "138d24a14fc121cd"),
    (TensorType::Q4_K, "54abf745510786dd"),
    (TensorType::Q5_K, "468d0da34a8a6a39"),
    (TensorType::Q6_K, "9efcfc203fabe10c"),
];
