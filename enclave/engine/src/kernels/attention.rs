//! What tokens see of their sequence: pages of keys and values, and attention over them.
//!
//! A page holds 64 positions of all layers. Keys lie 16 positions abreast, so that 16 scores are
//! computed at once and none is summed across lanes. The softmax goes page by page with a running
//! maximum; a token's result depends on its own sequence alone.

use zeroize::Zeroize;

use super::activations::{Activations, Fill};
use super::lanes::{Lanes, exp, greatest, sum};
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

    /// The octets of such a page.
    pub(crate) const fn len(layers: usize, heads: usize, width: usize) -> usize {
        layers * heads * width * Self::POSITIONS * 2 * size_of::<f32>()
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
    let key_heads = row / width / shared;
    let out = Disjoint::new(&mut to.floats);
    let runs: Vec<&[Query<'_>]> = tokens.chunk_by(Query::sees_as).collect();
    let mut parts = Vec::with_capacity(tokens.len());
    let mut first = 0;
    for run in runs {
        for run in run.chunks(TOGETHER) {
            parts.push((first, run));
            first += run.len();
        }
    }
    team.each(parts.len() * key_heads, &|at| {
        let ((first, tokens), key_head) = (parts[at / key_heads], at % key_heads);
        let from = (layer * key_heads + key_head) * width * Page::POSITIONS * 2;
        let heads = key_head * shared..(key_head + 1) * shared;
        isa.run(Attend { tokens, first, heads, from, row, width, queries, out });
    });
    to.fill(isa, team, tokens.len(), &Keep);
}

/// How many vectors meet the same keys and values at once.
const TOGETHER: usize = 4;

impl Query<'_> {
    /// Whether the next one is of the same sequence, and sees the same pages.
    fn sees_as(&self, next: &Self) -> bool {
        let page = |position| position / Page::POSITIONS;
        core::ptr::eq(self.pages, next.pages)
            && page(self.position) == page(next.position)
            && page(self.first) == page(next.first)
    }
}

/// Leaves the vectors as they are.
struct Keep;

impl Fill for Keep {
    #[inline(always)]
    fn fill<L: Lanes>(&self, _token: usize, _to: &mut [f32]) {}
}

/// The heads of some tokens that see the same keys.
struct Attend<'a> {
    tokens: &'a [Query<'a>],
    /// The first token's place in the batch.
    first: usize,
    heads: core::ops::Range<usize>,
    /// Where the heads' keys and values start in a page.
    from: usize,
    /// Numbers per token.
    row: usize,
    width: usize,
    queries: &'a [f32],
    out: Disjoint<'a, f32>,
}

impl Task for Attend<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let count = self.heads.len() * self.tokens.len();
        let mut at = 0;
        while at < count {
            at += match count - at {
                TOGETHER.. => self.together::<L, TOGETHER>(at),
                3 => self.together::<L, 3>(at),
                2 => self.together::<L, 2>(at),
                _ => self.together::<L, 1>(at),
            };
        }
    }
}

/// What 64 positions weigh for one query.
type Weights = [[f32; 16]; Page::POSITIONS / 16];

impl Attend<'_> {
    /// `Q` vectors of the tokens' heads, from the one with number `from` on, head by head.
    #[inline(always)]
    fn together<L: Lanes, const Q: usize>(&self, from: usize) -> usize {
        let Self { tokens, width, .. } = *self;
        let token_of = |q: usize| (from + q) % tokens.len();
        let starts: [usize; Q] = core::array::from_fn(|q| {
            let head = self.heads.start + (from + q) / tokens.len();
            (self.first + token_of(q)) * self.row + head * width
        });
        let queries: [&[f32]; Q] = starts.map(|start| &self.queries[start..][..width]);
        // SAFETY: one head of one token each, and each has one iteration and one place in it.
        let mut outs: [&mut [f32]; Q] = starts.map(|start| unsafe { self.out.part(start, width) });
        for out in &mut outs {
            out.fill(0.0);
        }
        let mut tops = [f32::NEG_INFINITY; Q];
        let mut totals = [L::splat(0.0); Q];
        // All see the same pages.
        let first_page = tokens[0].first / Page::POSITIONS;
        let last_page = tokens[0].position / Page::POSITIONS;
        let all = tokens[0].pages.iter().enumerate().take(last_page + 1);
        for (number, page) in all.skip(first_page) {
            let page = &page.0[self.from..][..width * Page::POSITIONS * 2];
            let (keys, values) = page.split_at(width * Page::POSITIONS);
            let mut weights = scores::<L, Q>(&queries, keys);
            let (mut seen, mut fades) = ([0; Q], [0.0; Q]);
            for q in 0..Q {
                let Query { position, first, .. } = tokens[token_of(q)];
                let start = number * Page::POSITIONS;
                seen[q] = (position + 1 - start).min(Page::POSITIONS);
                let hidden = first.saturating_sub(start);
                let high = soften::<L>(&mut weights[q], hidden, seen[q], tops[q]);
                if number != first_page {
                    let mut fade = [0.0; 16];
                    L::store(exp::<L>(L::splat(tops[q] - high)), &mut fade);
                    fades[q] = fade[0];
                }
                tops[q] = high;
                let mut total = L::mul(totals[q], L::splat(fades[q]));
                for weights in &weights[q] {
                    total = L::add(total, L::load(weights));
                }
                totals[q] = total;
            }
            // What some see and others do not is mixed apart: what is hidden has no part, be it ever so odd.
            let common = seen.iter().copied().fold(Page::POSITIONS, usize::min);
            let all = weights.each_ref().map(|weights| &weights.as_flattened()[..common]);
            mix::<L, Q>(&all, values, fades, &mut outs);
            for ((weights, seen), out) in weights.iter().zip(seen).zip(&mut outs) {
                if seen > common {
                    let rest = &weights.as_flattened()[common..seen];
                    mix::<L, 1>(&[rest], &values[common * width..], [1.0], &mut [&mut **out]);
                }
            }
        }
        for (total, out) in totals.iter().zip(outs) {
            let share = L::splat(1.0 / sum::<L>(*total));
            for out in out.as_chunks_mut::<16>().0 {
                L::store(L::mul(L::load(out), share), out);
            }
        }
        Q
    }
}

/// The products of queries with the keys of a page.
#[inline(always)]
fn scores<L: Lanes, const Q: usize>(queries: &[&[f32]; Q], keys: &[f32]) -> [Weights; Q] {
    let keys = keys.as_chunks::<16>().0;
    let (first, second) = keys.split_at(keys.len() / 2);
    let (a, b) = first.split_at(first.len() / 2);
    let (c, d) = second.split_at(second.len() / 2);
    let mut sums = [[L::splat(0.0); 4]; Q];
    for (j, ((a, b), (c, d))) in a.iter().zip(b).zip(c.iter().zip(d)).enumerate() {
        let keys = [L::load(a), L::load(b), L::load(c), L::load(d)];
        unrolled!(q < Q, {
            let query = L::splat(queries[q][j]);
            sums[q][0] = L::fma(keys[0], query, sums[q][0]);
            sums[q][1] = L::fma(keys[1], query, sums[q][1]);
            sums[q][2] = L::fma(keys[2], query, sums[q][2]);
            sums[q][3] = L::fma(keys[3], query, sums[q][3]);
        });
    }
    let mut scores = [[[0.0; 16]; 4]; Q];
    for (sums, scores) in sums.iter().zip(&mut scores) {
        for (sum, scores) in sums.iter().zip(scores) {
            L::store(*sum, scores);
        }
    }
    scores
}

/// Makes scores weights, of the positions from `hidden` to `seen`; returns the greatest score so far.
#[inline(always)]
fn soften<L: Lanes>(scores: &mut Weights, hidden: usize, seen: usize, top: f32) -> f32 {
    scores.as_flattened_mut()[seen..].fill(f32::NEG_INFINITY);
    scores.as_flattened_mut()[..hidden].fill(f32::NEG_INFINITY);
    let [a, b, c, d] = &*scores;
    let high = L::max(L::max(L::load(a), L::load(b)), L::max(L::load(c), L::load(d)));
    let high = greatest::<L>(high);
    let high = if high > top { high } else { top };
    for score in &mut *scores {
        L::store(exp::<L>(L::sub(L::load(score), L::splat(high))), score);
    }
    scores.as_flattened_mut()[seen..].fill(0.0);
    scores.as_flattened_mut()[..hidden].fill(0.0);
    high
}

/// Adds the weighted values to the faded `outs`.
#[inline(always)]
fn mix<L: Lanes, const Q: usize>(
    weights: &[&[f32]; Q],
    values: &[f32],
    fades: [f32; Q],
    outs: &mut [&mut [f32]; Q],
) {
    let width = outs[0].len();
    let mut from = 0;
    while from + 64 <= width {
        mix_columns::<L, Q, 4>(weights, values, fades, from, outs);
        from += 64;
    }
    while from < width {
        mix_columns::<L, Q, 1>(weights, values, fades, from, outs);
        from += 16;
    }
}

/// The same, for `C` times 16 columns.
#[inline(always)]
fn mix_columns<L: Lanes, const Q: usize, const C: usize>(
    weights: &[&[f32]; Q],
    values: &[f32],
    fades: [f32; Q],
    from: usize,
    outs: &mut [&mut [f32]; Q],
) {
    let width = outs[0].len();
    let mut sums = [[L::splat(0.0); C]; Q];
    unrolled!(q < Q, {
        let out = outs[q][from..][..C * 16].as_chunks::<16>().0;
        unrolled!(c < C, {
            sums[q][c] = L::mul(L::load(&out[c]), L::splat(fades[q]));
        });
    });
    for (at, row) in values.chunks_exact(width).take(weights[0].len()).enumerate() {
        let row = row[from..][..C * 16].as_chunks::<16>().0;
        let mut values = [L::splat(0.0); C];
        unrolled!(c < C, {
            values[c] = L::load(&row[c]);
        });
        unrolled!(q < Q, {
            let weight = L::splat(weights[q][at]);
            unrolled!(c < C, {
                sums[q][c] = L::fma(values[c], weight, sums[q][c]);
            });
        });
    }
    unrolled!(q < Q, {
        let out = outs[q][from..][..C * 16].as_chunks_mut::<16>().0;
        unrolled!(c < C, {
            L::store(sums[q][c], &mut out[c]);
        });
    });
}
