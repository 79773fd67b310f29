//! The lanes on AVX-512 and AVX2.
//!
//! The methods are not themselves compiled for these instructions: they are inlined into
//! [`run_avx512`] and [`run_avx2`], which are, and which alone make use of them.

#![expect(clippy::needless_range_loop, reason = "vector code is read by its indices")]

use core::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, __m512i, _MM_HINT_T0, _mm_cvtsi128_si32, _mm_extract_epi16,
    _mm_loadl_epi64, _mm_loadu_si128, _mm_packs_epi16, _mm_prefetch, _mm_sad_epu8, _mm_set1_epi8,
    _mm_setzero_si128, _mm_storeu_si128, _mm_xor_si128, _mm256_abs_epi8, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_div_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_or_si256,
    _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi16,
    _mm256_slli_epi32, _mm256_srai_epi32, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_ps,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtepi8_epi32, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_div_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi16, _mm512_slli_epi32, _mm512_srli_epi16,
    _mm512_storeu_ps, _mm512_sub_ps,
};

use super::Task;
use super::lanes::Lanes;
use super::pack::Line;

/// Runs a task on AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn run_avx512(task: impl Task) {
    task.run::<Avx512>();
}

/// Runs a task on AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn run_avx2(task: impl Task) {
    task.run::<Avx2>();
}

pub(super) struct Avx512;

/// Calls intrinsics.
macro_rules! intrinsics {
    ($($body:tt)*) => {
        // SAFETY: only reached from `run_avx512` or `run_avx2`, whose callers have asked the
        // processor; every pointer comes from a reference to an array of the width that is accessed.
        unsafe { $($body)* }
    };
}

impl Lanes for Avx512 {
    type F = __m512;
    type Block = [__m512i; 8];

    #[inline(always)]
    fn splat(x: f32) -> __m512 {
        intrinsics!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(from: &[f32; 16]) -> __m512 {
        intrinsics!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn store(x: __m512, to: &mut [f32; 16]) {
        intrinsics!(_mm512_storeu_ps(to.as_mut_ptr(), x));
    }

    #[inline(always)]
    fn add(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsics!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(a: __m512, b: __m512) -> __m512 {
        intrinsics!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn power_of_two(rounded: __m512) -> __m512 {
        intrinsics!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
            _mm512_castps_si512(rounded),
            _mm512_set1_epi32(127)
        ))))
    }

    #[inline(always)]
    fn low_bytes(x: __m512) -> ([i32; 4], i32) {
        intrinsics! {
            let bytes = _mm512_cvtepi32_epi8(_mm512_castps_si512(x));
            fours_and_sum(bytes)
        }
    }

    #[inline(always)]
    fn fetch(lines: &[Line], from: usize, count: usize) {
        prefetch(lines, from, count);
    }

    #[inline(always)]
    fn widen(from: &[u16; 16]) -> __m512 {
        intrinsics!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn widen_brain(from: &[u16; 16]) -> __m512 {
        intrinsics!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(
            _mm256_loadu_si256(from.as_ptr().cast())
        ))))
    }

    #[inline(always)]
    fn unsigned(from: &[u8; 16]) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))))
    }

    #[inline(always)]
    fn signed(from: &[u8; 16]) -> __m512 {
        intrinsics!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))))
    }

    #[inline(always)]
    fn nibbles(lines: &[Line; 4]) -> Self::Block {
        intrinsics! {
            let mask = _mm512_set1_epi8(15);
            let mut weights = [_mm512_setzero_si512(); 8];
            for k in 0..4 {
                let line = _mm512_load_si512(lines[k].0.as_ptr().cast());
                weights[2 * k] = _mm512_and_si512(line, mask);
                weights[2 * k + 1] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), mask);
            }
            weights
        }
    }

    #[inline(always)]
    fn fives(lines: &[Line; 5]) -> Self::Block {
        let [lower @ .., upper] = lines;
        let mut weights = Self::nibbles(lower);
        intrinsics! {
            // Bit k of every byte becomes bit 4; what crosses bytes is masked away.
            let upper = _mm512_load_si512(upper.0.as_ptr().cast());
            let mask = _mm512_set1_epi8(16);
            let bits = [
                _mm512_slli_epi16::<4>(upper),
                _mm512_slli_epi16::<3>(upper),
                _mm512_slli_epi16::<2>(upper),
                _mm512_slli_epi16::<1>(upper),
                upper,
                _mm512_srli_epi16::<1>(upper),
                _mm512_srli_epi16::<2>(upper),
                _mm512_srli_epi16::<3>(upper),
            ];
            for k in 0..8 {
                weights[k] = _mm512_or_si512(weights[k], _mm512_and_si512(bits[k], mask));
            }
        }
        weights
    }

    #[inline(always)]
    fn sixes(lines: &[Line; 6]) -> Self::Block {
        let [lower @ .., first, second] = lines;
        let mut weights = Self::nibbles(lower);
        intrinsics! {
            let mask = _mm512_set1_epi8(48);
            for (half, upper) in [first, second].into_iter().enumerate() {
                let upper = _mm512_load_si512(upper.0.as_ptr().cast());
                let bits = [
                    _mm512_slli_epi16::<4>(upper),
                    _mm512_slli_epi16::<2>(upper),
                    upper,
                    _mm512_srli_epi16::<2>(upper),
                ];
                for k in 0..4 {
                    let to = &mut weights[half * 4 + k];
                    *to = _mm512_or_si512(*to, _mm512_and_si512(bits[k], mask));
                }
            }
        }
        weights
    }

    #[inline(always)]
    fn bytes(lines: &[Line; 8]) -> Self::Block {
        intrinsics! {
            let mut weights = [_mm512_setzero_si512(); 8];
            for k in 0..8 {
                weights[k] = _mm512_load_si512(lines[k].0.as_ptr().cast());
            }
            weights
        }
    }

    #[inline(always)]
    fn dot_nibbles(weights: &Self::Block, x: &[i32; 8], start: i32) -> __m512 {
        intrinsics! {
            let mut even = _mm512_set1_epi32(start);
            let mut odd = _mm512_setzero_si512();
            for k in 0..4 {
                even = _mm512_dpbusd_epi32(even, weights[2 * k], _mm512_set1_epi32(x[2 * k]));
                odd = _mm512_dpbusd_epi32(odd, weights[2 * k + 1], _mm512_set1_epi32(x[2 * k + 1]));
            }
            _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd))
        }
    }

    #[inline(always)]
    fn dot_fives(weights: &Self::Block, x: &[i32; 8], start: i32) -> __m512 {
        Self::dot_nibbles(weights, x, start)
    }

    #[inline(always)]
    fn dot_sixes(
        weights: &Self::Block,
        x: &[i32; 8],
        starts: [i32; 2],
        steps: &[__m512; 2],
    ) -> __m512 {
        intrinsics! {
            let mut first = _mm512_set1_epi32(starts[0]);
            let mut second = _mm512_set1_epi32(starts[1]);
            for k in 0..4 {
                first = _mm512_dpbusd_epi32(first, weights[k], _mm512_set1_epi32(x[k]));
                second = _mm512_dpbusd_epi32(second, weights[k + 4], _mm512_set1_epi32(x[k + 4]));
            }
            let first = _mm512_mul_ps(_mm512_cvtepi32_ps(first), steps[0]);
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(second), steps[1], first)
        }
    }

    #[inline(always)]
    fn dot_bytes(weights: &Self::Block, x: &[i32; 8], sum: i32) -> __m512 {
        Self::dot_nibbles(weights, x, -128 * sum)
    }
}

pub(super) struct Avx2;

#[derive(Clone, Copy)]
pub(super) struct Pair(__m256, __m256);

impl Lanes for Avx2 {
    type F = Pair;
    type Block = [[__m256i; 2]; 8];

    #[inline(always)]
    fn splat(x: f32) -> Pair {
        intrinsics!(Pair(_mm256_set1_ps(x), _mm256_set1_ps(x)))
    }

    #[inline(always)]
    fn load(from: &[f32; 16]) -> Pair {
        intrinsics!(Pair(_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))))
    }

    #[inline(always)]
    fn store(x: Pair, to: &mut [f32; 16]) {
        intrinsics! {
            _mm256_storeu_ps(to.as_mut_ptr(), x.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), x.1);
        }
    }

    #[inline(always)]
    fn add(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn sub(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn mul(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn div(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
        intrinsics!(Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)))
    }

    #[inline(always)]
    fn max(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn min(a: Pair, b: Pair) -> Pair {
        intrinsics!(Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)))
    }

    #[inline(always)]
    fn power_of_two(rounded: Pair) -> Pair {
        intrinsics! {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_castps_si256(rounded.0), bias);
            let high = _mm256_add_epi32(_mm256_castps_si256(rounded.1), bias);
            Pair(
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            )
        }
    }

    #[inline(always)]
    fn low_bytes(x: Pair) -> ([i32; 4], i32) {
        intrinsics! {
            // Whole numbers of at most 127 in size: what the packing cuts off is nothing.
            let low = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(_mm256_castps_si256(x.0)));
            let high = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(_mm256_castps_si256(x.1)));
            // Packed within each half: 0-3, 8-11, 4-7, 12-15, and put in order again.
            let shorts = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let (low, high) =
                (_mm256_castsi256_si128(shorts), _mm256_extracti128_si256::<1>(shorts));
            fours_and_sum(_mm_packs_epi16(low, high))
        }
    }

    #[inline(always)]
    fn fetch(lines: &[Line], from: usize, count: usize) {
        prefetch(lines, from, count);
    }

    #[inline(always)]
    fn widen(from: &[u16; 16]) -> Pair {
        intrinsics!(Pair(
            _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().add(8).cast()))
        ))
    }

    #[inline(always)]
    fn widen_brain(from: &[u16; 16]) -> Pair {
        intrinsics! {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().add(8).cast()));
            Pair(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            )
        }
    }

    #[inline(always)]
    fn unsigned(from: &[u8; 16]) -> Pair {
        intrinsics! {
            let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()));
            let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().add(8).cast()));
            Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    fn signed(from: &[u8; 16]) -> Pair {
        intrinsics! {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()));
            let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().add(8).cast()));
            Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    fn nibbles(lines: &[Line; 4]) -> Self::Block {
        intrinsics! {
            let mask = _mm256_set1_epi8(15);
            let mut weights = [[_mm256_setzero_si256(); 2]; 8];
            for k in 0..4 {
                for side in 0..2 {
                    let line = _mm256_load_si256(lines[k].0.as_ptr().add(32 * side).cast());
                    weights[2 * k][side] = _mm256_and_si256(line, mask);
                    weights[2 * k + 1][side] = _mm256_and_si256(_mm256_srli_epi16::<4>(line), mask);
                }
            }
            weights
        }
    }

    #[inline(always)]
    fn fives(lines: &[Line; 5]) -> Self::Block {
        let [lower @ .., upper] = lines;
        let mut weights = Self::nibbles(lower);
        intrinsics! {
            // Bit k of every byte becomes bit 4; what crosses bytes is masked away.
            let mask = _mm256_set1_epi8(16);
            for side in 0..2 {
                let upper = _mm256_load_si256(upper.0.as_ptr().add(32 * side).cast());
                let bits = [
                    _mm256_slli_epi16::<4>(upper),
                    _mm256_slli_epi16::<3>(upper),
                    _mm256_slli_epi16::<2>(upper),
                    _mm256_slli_epi16::<1>(upper),
                    upper,
                    _mm256_srli_epi16::<1>(upper),
                    _mm256_srli_epi16::<2>(upper),
                    _mm256_srli_epi16::<3>(upper),
                ];
                for k in 0..8 {
                    let to = &mut weights[k][side];
                    *to = _mm256_or_si256(*to, _mm256_and_si256(bits[k], mask));
                }
            }
        }
        weights
    }

    #[inline(always)]
    fn sixes(lines: &[Line; 6]) -> Self::Block {
        let [lower @ .., first, second] = lines;
        let mut weights = Self::nibbles(lower);
        intrinsics! {
            let mask = _mm256_set1_epi8(48);
            for (half, upper) in [first, second].into_iter().enumerate() {
                for side in 0..2 {
                    let upper = _mm256_load_si256(upper.0.as_ptr().add(32 * side).cast());
                    let bits = [
                        _mm256_slli_epi16::<4>(upper),
                        _mm256_slli_epi16::<2>(upper),
                        upper,
                        _mm256_srli_epi16::<2>(upper),
                    ];
                    for k in 0..4 {
                        let to = &mut weights[half * 4 + k][side];
                        *to = _mm256_or_si256(*to, _mm256_and_si256(bits[k], mask));
                    }
                }
            }
        }
        weights
    }

    #[inline(always)]
    fn bytes(lines: &[Line; 8]) -> Self::Block {
        // Signed again: the product below wants the weights' size and sign apart.
        intrinsics! {
            let sign = _mm256_set1_epi8(-128);
            let mut weights = [[_mm256_setzero_si256(); 2]; 8];
            for k in 0..8 {
                for side in 0..2 {
                    let line = _mm256_load_si256(lines[k].0.as_ptr().add(32 * side).cast());
                    weights[k][side] = _mm256_xor_si256(line, sign);
                }
            }
            weights
        }
    }

    #[inline(always)]
    fn dot_nibbles(weights: &Self::Block, x: &[i32; 8], start: i32) -> Pair {
        intrinsics! {
            // Eight sums of two products of at most 15 * 127 stay below 2^15.
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for k in 0..8 {
                let x = _mm256_set1_epi32(x[k]);
                low = _mm256_add_epi16(low, _mm256_maddubs_epi16(weights[k][0], x));
                high = _mm256_add_epi16(high, _mm256_maddubs_epi16(weights[k][1], x));
            }
            let (ones, start) = (_mm256_set1_epi16(1), _mm256_set1_epi32(start));
            let low = _mm256_add_epi32(_mm256_madd_epi16(low, ones), start);
            let high = _mm256_add_epi32(_mm256_madd_epi16(high, ones), start);
            Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    fn dot_fives(weights: &Self::Block, x: &[i32; 8], start: i32) -> Pair {
        // Four sums of two products of at most 31 * 127 stay below 2^15.
        let [first, second] = [products::<4>(weights, x, 0), products::<4>(weights, x, 4)];
        intrinsics! {
            let start = _mm256_set1_epi32(start);
            let low = _mm256_add_epi32(_mm256_add_epi32(first[0], second[0]), start);
            let high = _mm256_add_epi32(_mm256_add_epi32(first[1], second[1]), start);
            Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    fn dot_sixes(weights: &Self::Block, x: &[i32; 8], starts: [i32; 2], steps: &[Pair; 2]) -> Pair {
        intrinsics! {
            let mut halves = [Pair(_mm256_set1_ps(0.0), _mm256_set1_ps(0.0)); 2];
            for half in 0..2 {
                // Two sums of two products of at most 63 * 127 stay below 2^15.
                let first = products::<2>(weights, x, half * 4);
                let second = products::<2>(weights, x, half * 4 + 2);
                let start = _mm256_set1_epi32(starts[half]);
                let low = _mm256_add_epi32(_mm256_add_epi32(first[0], second[0]), start);
                let high = _mm256_add_epi32(_mm256_add_epi32(first[1], second[1]), start);
                halves[half] = Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high));
            }
            Self::fma(halves[1], steps[1], Self::mul(halves[0], steps[0]))
        }
    }

    #[inline(always)]
    fn dot_bytes(weights: &Self::Block, x: &[i32; 8], _sum: i32) -> Pair {
        intrinsics! {
            let ones = _mm256_set1_epi16(1);
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for k in 0..8 {
                // Two products of at most 128 * 127 stay below 2^15.
                let x = _mm256_set1_epi32(x[k]);
                let [a, b] = weights[k];
                let a = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(x, a));
                let b = _mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(x, b));
                low = _mm256_add_epi32(low, _mm256_madd_epi16(a, ones));
                high = _mm256_add_epi32(high, _mm256_madd_epi16(b, ones));
            }
            Pair(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
}

/// Sixteen signed bytes as four numbers, and their sum.
#[inline(always)]
fn fours_and_sum(bytes: __m128i) -> ([i32; 4], i32) {
    intrinsics! {
        let mut fours = [0; 4];
        _mm_storeu_si128(fours.as_mut_ptr().cast(), bytes);
        // The instruction adds unsigned bytes: 128 more each.
        let unsigned = _mm_xor_si128(bytes, _mm_set1_epi8(-128));
        let sums = _mm_sad_epu8(unsigned, _mm_setzero_si128());
        let sum = _mm_cvtsi128_si32(sums) + _mm_extract_epi16::<4>(sums);
        (fours, sum - 16 * 128)
    }
}

/// Asks for lines; addresses outside of what is mapped are allowed, and do nothing.
#[inline(always)]
fn prefetch(lines: &[Line], from: usize, count: usize) {
    for line in from..from + count {
        intrinsics!(_mm_prefetch::<_MM_HINT_T0>(lines.as_ptr().wrapping_add(line).cast()));
    }
}

/// The products of `N` times 4 columns with signed bytes, added up in 16 bits and then in 32.
#[inline(always)]
fn products<const N: usize>(
    weights: &[[__m256i; 2]; 8],
    x: &[i32; 8],
    from: usize,
) -> [__m256i; 2] {
    intrinsics! {
        let mut sums = [_mm256_setzero_si256(); 2];
        for k in from..from + N {
            let x = _mm256_set1_epi32(x[k]);
            for side in 0..2 {
                sums[side] =
                    _mm256_add_epi16(sums[side], _mm256_maddubs_epi16(weights[k][side], x));
            }
        }
        sums.map(|sum| _mm256_madd_epi16(sum, _mm256_set1_epi16(1)))
    }
}
