//! What tokens see of their sequence: pages of keys and values, and attention over them.
//!
//! A page holds 64 positions of all layers. Keys lie 16 positions abreast, so that 16 scores are
//! computed at once and none is summed across lanes. The softmax goes page by page with a running
//! maximum; a token's result depends on its own sequence alone.

use zeroize::Zeroize;

use super::lanes::{Lanes, exp, greatest, sum};
use super::matrix::{Activations, Fill};
use super::team::{Disjoint, Team};
use super::{Isa, Task};

/// The keys and values of 64 positions, zeroised when dropped.
pub(crate) struct Page(Vec<f32>);

impl Page {
    /// How many positions a page holds.
    pub(crate) const POSITIONS: usize = 64;

    /// An empty page for so many layers, heads of keys and values, and numbers per head.
    pub(crate) fn new(layers: usize, heads: usize, width: usize) -> Self {
        Self(vec![0.0; layers * heads * width * Self::POSITIONS * 2])
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// Writes a position's keys and values of one layer into its page.
pub(crate) fn store(
    page: &mut Page,
    layer: usize,
    position: usize,
    width: usize,
    keys: &[f32],
    values: &[f32],
) {
    let heads = keys.len() / width;
    let slot = position % Page::POSITIONS;
    for head in 0..heads {
        let from = (layer * heads + head) * width * Page::POSITIONS * 2;
        let (page_keys, page_values) =
            page.0[from..][..width * Page::POSITIONS * 2].split_at_mut(width * Page::POSITIONS);
        for (j, key) in keys[head * width..][..width].iter().enumerate() {
            page_keys[(slot / 16 * width + j) * 16 + slot % 16] = *key;
        }
        page_values[slot * width..][..width].copy_from_slice(&values[head * width..][..width]);
    }
}

/// One token's view of its sequence.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) pages: &'a [Page],
    pub(crate) position: usize,
    /// The first position that it sees.
    pub(crate) first: usize,
}

/// Computes all tokens' attention in one layer, into `to`.
///
/// `queries` holds each head's vector of `width` numbers per token, scaled already; `shared` heads in a row see the same keys.
#[expect(clippy::too_many_arguments, reason = "the shape of a layer")]
pub(crate) fn attend(
    isa: Isa,
    team: &mut Team,
    layer: usize,
    width: usize,
    shared: usize,
    tokens: &[Query<'_>],
    queries: &[f32],
    to: &mut Activations,
) {
    let row = queries.len() / tokens.len().max(1);
    let heads = row / width;
    let out = Disjoint::new(&mut to.floats);
    team.each(tokens.len() * heads, &|at| {
        let (token, head) = (at / heads, at % heads);
        isa.run(Attend {
            query: &queries[token * row + head * width..][..width],
            pages: tokens[token].pages,
            position: tokens[token].position,
            first: tokens[token].first,
            from: (layer * (heads / shared) + head / shared) * width * Page::POSITIONS * 2,
            // SAFETY: one head of one token, and each has one iteration.
            out: unsafe { out.part(token * row + head * width, width) },
        });
    });
    to.fill(isa, team, tokens.len(), &Keep);
}

/// Leaves the vectors as they are.
struct Keep;

impl Fill for Keep {
    #[inline(always)]
    fn fill<L: Lanes>(&self, _token: usize, _to: &mut [f32]) {}
}

struct Attend<'a> {
    query: &'a [f32],
    pages: &'a [Page],
    position: usize,
    first: usize,
    /// Where the head's keys and values start in a page.
    from: usize,
    out: &'a mut [f32],
}

impl Task for Attend<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { query, pages, position, first, from, out } = self;
        let width = query.len();
        let mut top = f32::NEG_INFINITY;
        let mut total = L::splat(0.0);
        out.fill(0.0);
        let first_page = first / Page::POSITIONS;
        let all = pages.iter().enumerate().take(position / Page::POSITIONS + 1);
        for (number, page) in all.skip(first_page) {
            let page = &page.0[from..][..width * Page::POSITIONS * 2];
            let (keys, values) = page.split_at(width * Page::POSITIONS);
            let seen = (position - number * Page::POSITIONS + 1).min(Page::POSITIONS);
            let hidden = first.saturating_sub(number * Page::POSITIONS);

            let mut sums = [L::splat(0.0); 4];
            let keys: [&[[f32; 16]]; 4] =
                core::array::from_fn(|i| keys[i * width * 16..][..width * 16].as_chunks::<16>().0);
            for j in 0..width {
                let query = L::splat(query[j]);
                for i in 0..4 {
                    sums[i] = L::fma(L::load(&keys[i][j]), query, sums[i]);
                }
            }
            let mut scores = [[0.0; 16]; 4];
            for (sum, scores) in sums.iter().zip(&mut scores) {
                L::store(*sum, scores);
            }
            scores.as_flattened_mut()[seen..].fill(f32::NEG_INFINITY);
            scores.as_flattened_mut()[..hidden].fill(f32::NEG_INFINITY);

            let scores_now = scores.map(|scores| L::load(&scores));
            let pair = |a, b| L::max(a, b);
            let high = greatest::<L>(pair(
                pair(scores_now[0], scores_now[1]),
                pair(scores_now[2], scores_now[3]),
            ));
            let high = if high > top { high } else { top };
            let mut fade = [0.0; 16];
            L::store(exp::<L>(L::splat(top - high)), &mut fade);
            let fade = if number == first_page { 0.0 } else { fade[0] };
            top = high;
            for (score, weights) in scores_now.iter().zip(&mut scores) {
                L::store(exp::<L>(L::sub(*score, L::splat(high))), weights);
            }
            let weights = scores.as_flattened_mut();
            weights[seen..].fill(0.0);
            weights[..hidden].fill(0.0);
            total = L::mul(total, L::splat(fade));
            for weights in weights.as_chunks::<16>().0 {
                total = L::add(total, L::load(weights));
            }
            mix::<L>(&weights[..seen], values, fade, out);
        }
        let share = L::splat(1.0 / sum::<L>(total));
        for out in out.as_chunks_mut::<16>().0 {
            L::store(L::mul(L::load(out), share), out);
        }
    }
}

/// Adds the weighted values to the faded `out`.
#[inline(always)]
fn mix<L: Lanes>(weights: &[f32], values: &[f32], fade: f32, out: &mut [f32]) {
    let width = out.len();
    let (wide, rest) = out.as_chunks_mut::<64>();
    let rest_from = wide.len() * 64;
    for (i, out) in wide.iter_mut().enumerate() {
        mix_columns::<L, 4>(weights, values, width, i * 64, fade, out);
    }
    for (i, out) in rest.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        mix_columns::<L, 1>(weights, values, width, rest_from + i * 16, fade, out);
    }
}

#[inline(always)]
fn mix_columns<L: Lanes, const C: usize>(
    weights: &[f32],
    values: &[f32],
    width: usize,
    from: usize,
    fade: f32,
    out: &mut [f32],
) {
    let out = out.as_chunks_mut::<16>().0;
    let mut sums: [L::F; C] = core::array::from_fn(|i| L::mul(L::load(&out[i]), L::splat(fade)));
    for (weight, row) in weights.iter().zip(values.chunks_exact(width)) {
        let weight = L::splat(*weight);
        let row = row[from..][..C * 16].as_chunks::<16>().0;
        for i in 0..C {
            sums[i] = L::fma(L::load(&row[i]), weight, sums[i]);
        }
    }
    for i in 0..C {
        L::store(sums[i], &mut out[i]);
    }
}
