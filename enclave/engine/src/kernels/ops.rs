//! What happens between the matrices: normalisation, the gate, and exponentials.

use super::activations::{Activations, Fill};
use super::lanes::{Lanes, exp, sum};
use super::team::{Disjoint, Team};
use super::{Isa, Task};

/// Normalises each token's vector by its root mean square, into `to`.
pub(crate) fn normalise(
    isa: Isa,
    team: &mut Team,
    x: &[&[f32]],
    weights: &[f32],
    epsilon: f32,
    to: &mut Activations,
) {
    to.fill(isa, team, x.len(), &Normalise { x, weights, epsilon });
}

struct Normalise<'a> {
    x: &'a [&'a [f32]],
    weights: &'a [f32],
    epsilon: f32,
}

impl Fill for Normalise<'_> {
    #[inline(always)]
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]) {
        let x = self.x[token].as_chunks::<16>().0;
        let factor = inverse_size::<L>(x, self.epsilon);
        for ((to, x), weights) in
            to.as_chunks_mut::<16>().0.iter_mut().zip(x).zip(self.weights.as_chunks::<16>().0)
        {
            L::store(L::mul(L::mul(L::load(x), factor), L::load(weights)), to);
        }
    }
}

/// The inverse of the root of the mean square.
#[inline(always)]
fn inverse_size<L: Lanes>(x: &[[f32; 16]], epsilon: f32) -> L::F {
    let mut squares = L::splat(0.0);
    for x in x {
        let x = L::load(x);
        squares = L::fma(x, x, squares);
    }
    let mean = sum::<L>(squares) / (x.len() * 16) as f32;
    L::splat(1.0 / (mean + epsilon).sqrt())
}

/// Normalises each run of `weights.len()` numbers in place: the heads of `tokens` tokens.
pub(crate) fn normalise_heads(
    isa: Isa,
    team: &mut Team,
    tokens: usize,
    weights: &[f32],
    epsilon: f32,
    x: &mut [f32],
) {
    let row = x.len() / tokens.max(1);
    let x = Disjoint::new(x);
    team.each(tokens, &|token| {
        // SAFETY: one token's part, and each token has one iteration.
        let x = unsafe { x.part(token * row, row) };
        isa.run(Heads { x, weights, epsilon });
    });
}

struct Heads<'a> {
    x: &'a mut [f32],
    weights: &'a [f32],
    epsilon: f32,
}

impl Task for Heads<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let weights = self.weights.as_chunks::<16>().0;
        for head in self.x.as_chunks_mut::<16>().0.chunks_exact_mut(weights.len()) {
            let factor = inverse_size::<L>(head, self.epsilon);
            for (x, weights) in head.iter_mut().zip(weights) {
                L::store(L::mul(L::mul(L::load(x), factor), L::load(weights)), x);
            }
        }
    }
}

/// Adds to each token's vector in `to` the normalised one in `x`.
pub(crate) fn add_normalised(
    isa: Isa,
    team: &mut Team,
    x: &[f32],
    weights: &[f32],
    epsilon: f32,
    to: &mut [f32],
) {
    let width = weights.len();
    let tokens = to.len() / width;
    let to = Disjoint::new(to);
    team.each(tokens, &|token| {
        // SAFETY: one token's part, and each token has one iteration.
        let to = unsafe { to.part(token * width, width) };
        isa.run(AddNormalised { x: &x[token * width..][..width], weights, epsilon, to });
    });
}

struct AddNormalised<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    epsilon: f32,
    to: &'a mut [f32],
}

impl Task for AddNormalised<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let x = self.x.as_chunks::<16>().0;
        let factor = inverse_size::<L>(x, self.epsilon);
        let weights = self.weights.as_chunks::<16>().0;
        for ((to, x), weights) in self.to.as_chunks_mut::<16>().0.iter_mut().zip(x).zip(weights) {
            let x = L::mul(L::mul(L::load(x), factor), L::load(weights));
            L::store(L::add(x, L::load(to)), to);
        }
    }
}

/// Adds the bias to every token's vector.
pub(crate) fn add_bias(bias: &[f32], to: &mut [f32]) {
    for to in to.chunks_exact_mut(bias.len()) {
        for (to, bias) in to.iter_mut().zip(bias) {
            *to += bias;
        }
    }
}

/// The function in the gate of the feed-forward layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activation {
    /// x / (1 + e^-x).
    Silu,
    /// The Gaussian error's, by its usual approximation with the hyperbolic tangent.
    Gelu,
}

/// The gate of the feed-forward layer: `activation(gate) * up`, into `to`.
pub(crate) fn gate(
    isa: Isa,
    team: &mut Team,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    tokens: usize,
    to: &mut Activations,
) {
    to.fill(isa, team, tokens, &Gate { activation, factors: gate, up });
}

struct Gate<'a> {
    activation: Activation,
    factors: &'a [f32],
    up: &'a [f32],
}

impl Fill for Gate<'_> {
    #[inline(always)]
    fn fill<L: Lanes>(&self, token: usize, to: &mut [f32]) {
        let width = to.len();
        let gate = self.factors[token * width..][..width].as_chunks::<16>().0;
        let up = self.up[token * width..][..width].as_chunks::<16>().0;
        for ((to, gate), up) in to.as_chunks_mut::<16>().0.iter_mut().zip(gate).zip(up) {
            let gate = L::load(gate);
            // x/2 (1 + tanh u) is x / (1 + e^-2u), with u = sqrt(2/pi) (x + 0.044715 x^3).
            let slope = match self.activation {
                Activation::Silu => gate,
                Activation::Gelu => {
                    let square = L::mul(gate, gate);
                    let cubic = L::fma(square, L::splat(0.071_354_82), L::splat(1.595_769));
                    L::mul(cubic, gate)
                }
            };
            let decay = exp::<L>(L::sub(L::splat(0.0), slope));
            let product = L::mul(gate, L::load(up));
            L::store(L::div(product, L::add(L::splat(1.0), decay)), to);
        }
    }
}

/// Replaces each x by e^((x - greatest) * factor).
pub(crate) fn exponentials(isa: Isa, x: &mut [f32], greatest: f32, factor: f32) {
    isa.run(Exponentials { x, greatest, factor });
}

struct Exponentials<'a> {
    x: &'a mut [f32],
    greatest: f32,
    factor: f32,
}

impl Task for Exponentials<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (greatest, factor) = (L::splat(self.greatest), L::splat(self.factor));
        let one = |x: &mut [f32; 16]| {
            let y = exp::<L>(L::mul(L::sub(L::load(x), greatest), factor));
            L::store(y, x);
        };
        let (whole, rest) = self.x.as_chunks_mut::<16>();
        whole.iter_mut().for_each(one);
        let mut last = [0.0; 16];
        last[..rest.len()].copy_from_slice(rest);
        one(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}
