//! All arithmetic, and the crate's only unsafe code.
//!
//! **One profile.** Every operation is written once, over 16 lanes of single precision
//! ([`lanes::Lanes`]), in a fixed order, with fused multiply-add where it says so and nowhere else.
//! The three instruction sets implement the lanes exactly (products of quantised numbers are exact
//! integers), so they agree bit for bit; and no sum crosses rows, sequences or threads, so neither
//! the batch nor the number of threads shows in a result. No function of the C library is called:
//! its results differ between versions. [`PROFILE`] names the whole.
//!
//! **Equally good roundings.** With 8-bit activations a rounding that falls the other way anywhere
//! is a different answer somewhere: on the default model, an input changed by 3e-7 moves the gap
//! between the two best log-probabilities by 0.16 (root mean square). Several steps can be rounded in
//! ways of equal merit (the inverse of a block's scale, the order of the gate's factors, where the
//! attention's scale goes, half-precision queries, minima summed apart). Of these the combination was
//! taken that reproduces llama.cpp's recorded answers wherever their page calls them sure. That makes
//! the recordings a regression test; accuracy is shown by the clear steps of `tests/reference.rs`.
//!
//! **What is unsafe here**: calling code compiled for an instruction set (after asking the CPU),
//! the vector intrinsics on it, threads that borrow from the caller's stack ([`team`]), and threads
//! that write disjoint parts of one slice ([`team::Disjoint`]).
#![expect(
    unsafe_code,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::inline_always,
    clippy::many_single_char_names,
    reason = "numeric kernels: sizes are checked when matrices and buffers are made; inlining carries the instruction set"
)]

/// Repeats a piece of code for every number below `$count`, which is at most 8, without a loop: what it
/// keeps in arrays stays in registers.
macro_rules! unrolled {
    ($at:ident < $count:ident, $body:block) => {
        unrolled!($at, $count, $body, 0 1 2 3 4 5 6 7)
    };
    ($at:ident, $count:ident, $body:block, $($number:literal)*) => {
        $(if $number < $count {
            let $at = $number;
            $body
        })*
    };
}

mod activations;
mod attention;
mod lanes;
mod matrix;
mod ops;
mod pack;
mod rope;
mod team;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use activations::Activations;
pub(crate) use attention::{Page, Query, attend, store};
pub(crate) use matrix::{Matrix, Onto, Product, multiply};
pub(crate) use ops::{
    Activation, add_bias, add_normalised, exponentials, gate, normalise, normalise_heads,
};
pub(crate) use pack::half;
pub(crate) use rope::{Pairs, Rope};
pub(crate) use team::Team;

use lanes::Lanes;

#[cfg(test)]
use crate::gguf::TensorType;

/// The numeric profile: the same name, the same output bytes.
///
/// It changes whenever the order or kind of any operation changes.
pub(crate) const PROFILE: &str = "veritee-f32-1";

/// Which instructions do the work; all give the same results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instructions {
    /// AVX-512 with VNNI: Intel since Ice Lake, AMD since Genoa.
    Avx512Vnni,
    /// AVX2 with FMA and F16C: AMD's Milan, and everything since 2015.
    Avx2,
    /// Plain Rust: any processor, slowly.
    Portable,
}

impl Instructions {
    /// All of them that this processor has, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            // Each that `x86` is compiled for is asked for: a hypervisor may hide any of them.
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                all.push(Self::Avx512Vnni);
            }
            if avx2 {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::available().first().copied().unwrap_or(Self::Portable)
    }
}

/// Proof that the processor has certain instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Isa(Instructions);

impl Isa {
    /// Nothing, if the processor lacks the instructions.
    pub(crate) fn new(instructions: Instructions) -> Option<Self> {
        Instructions::available().contains(&instructions).then_some(Self(instructions))
    }

    /// Runs `task`, compiled for these instructions.
    fn run(self, task: impl Task) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` exists only where the processor has these instructions (`Isa::new`).
            Instructions::Avx512Vnni => unsafe { x86::run_avx512(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Instructions::Avx2 => unsafe { x86::run_avx2(task) },
            #[cfg(not(target_arch = "x86_64"))]
            Instructions::Avx512Vnni | Instructions::Avx2 => task.run::<lanes::Portable>(),
            Instructions::Portable => task.run::<lanes::Portable>(),
        }
    }
}

/// Work that is compiled once per instruction set; `run` must be `#[inline(always)]`.
trait Task {
    fn run<L: Lanes>(self);
}

#[cfg(test)]
mod tests;
