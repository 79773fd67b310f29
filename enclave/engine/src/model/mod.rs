//! The transformer: weights, and one step of all sequences.
//!
//! Per layer: RMS normalisation, queries, keys and values, rotation, attention with shared key
//! heads, a projection onto the residual; normalisation, gate and up, activation, down. Then a last
//! normalisation and the output matrix, which may be the embedding's. Where the families differ,
//! [`architecture`] says how, and tensors that are optional do what they do where they are there.

mod architecture;

use self::architecture::Architecture;
use crate::embedding::Pool;
use crate::gguf::{Gguf, LoadError, Tensor, TensorType};
use crate::kernels::{
    self, Activations, Isa, Matrix, Onto, Page, Product, Query, Rope, Team, attend, multiply,
    normalise,
};

pub(crate) use self::architecture::Shape;

/// A model, ready to compute.
#[derive(Debug)]
pub(crate) struct Model {
    architecture: Architecture,
    embedding: Matrix,
    /// None: the embedding serves as output too.
    output: Option<Matrix>,
    output_norm: Vec<f32>,
    layers: Vec<Layer>,
    rope: Rope,
    /// The rotation in layers that see a window only.
    window_rope: Option<Rope>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    queries: Biased,
    keys: Biased,
    values: Biased,
    /// The weights that queries' and keys' heads are normalised with.
    head_norms: Option<[Vec<f32>; 2]>,
    projection: Matrix,
    attention_post_norm: Option<Vec<f32>>,
    inner_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    inner_post_norm: Option<Vec<f32>>,
}

/// A matrix, and what is added to its products.
#[derive(Debug)]
struct Biased {
    matrix: Matrix,
    bias: Option<Vec<f32>>,
}

impl Layer {
    fn read(
        file: &mut Gguf<'_>,
        architecture: &Architecture,
        number: usize,
    ) -> Result<Self, LoadError> {
        let Architecture { family, shape, .. } = architecture;
        let Shape { width, inner, head_width, .. } = *shape;
        let (queries, keys) = (shape.query_width(), shape.key_width());
        let name = |part: &str| format!("blk.{number}.{part}.weight");
        let head_norms = family
            .head_norms
            .then(|| {
                Ok([
                    vector(file, &name("attn_q_norm"), head_width)?,
                    vector(file, &name("attn_k_norm"), head_width)?,
                ])
            })
            .transpose()?;
        let mut post_norm =
            |part| family.post_norms.then(|| vector(file, &name(part), width)).transpose();
        let attention_post_norm = post_norm("post_attention_norm")?;
        let inner_post_norm = post_norm("post_ffw_norm")?;
        let mut biased = |part: &str, rows| {
            let bias = format!("blk.{number}.{part}.bias");
            Ok(Biased {
                matrix: matrix(file, &name(part), rows, width)?,
                bias: file.take_tensor(&bias).map(|it| floats(&bias, &it, rows)).transpose()?,
            })
        };
        Ok(Self {
            queries: biased("attn_q", queries)?,
            keys: biased("attn_k", keys)?,
            values: biased("attn_v", keys)?,
            head_norms,
            attention_post_norm,
            inner_post_norm,
            attention_norm: vector(file, &name("attn_norm"), width)?,
            projection: matrix(file, &name("attn_output"), width, queries)?,
            inner_norm: vector(file, &name("ffn_norm"), width)?,
            gate: matrix(file, &name("ffn_gate"), inner, width)?,
            up: matrix(file, &name("ffn_up"), inner, width)?,
            down: matrix(file, &name("ffn_down"), width, inner)?,
        })
    }
}

impl Model {
    /// Reads the weights out of `file`, which afterwards holds what the architecture does not know.
    pub(crate) fn read(file: &mut Gguf<'_>, context_max: usize) -> Result<Self, LoadError> {
        let architecture = Architecture::read(file, context_max)?;
        let Architecture { family, shape, rotation, window, .. } = &architecture;
        let Shape { width, vocabulary, head_width, context, .. } = *shape;
        let embedding = matrix(file, "token_embd.weight", vocabulary, width)?;
        let output = match file.take_tensor("output.weight") {
            Some(tensor) => Some(pack("output.weight", &tensor, vocabulary, width)?),
            None => None,
        };
        let output_norm = vector(file, "output_norm.weight", width)?;
        let mut layers = Vec::with_capacity(shape.layers);
        for number in 0..shape.layers {
            layers.push(Layer::read(file, &architecture, number)?);
        }
        let factors = match file.take_tensor(ROPE_FACTORS) {
            Some(tensor) => floats(ROPE_FACTORS, &tensor, head_width / 2)?,
            None => Vec::new(),
        };
        if factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
            return Err(LoadError::unfit(ROPE_FACTORS, "must be positive numbers"));
        }
        if let Some(name) = file.left_over() {
            return Err(LoadError::unsupported("tensor", name));
        }
        let rope = |base, scale, factors: &[f32]| {
            Rope::new(family.pairs, base, scale, factors, head_width, context)
        };
        let window_rope =
            window.as_ref().map(|window| rope(window.rotation.base, window.rotation.scale, &[]));
        let rope = rope(rotation.base, rotation.scale, &factors);
        Ok(Self { architecture, embedding, output, output_norm, layers, rope, window_rope })
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.architecture.shape
    }

    /// The architecture's name in the file.
    pub(crate) const fn family(&self) -> &'static str {
        self.architecture.family.name
    }

    /// Computes `rows` and leaves the logits of those that want them in `scratch`, in order.
    ///
    /// A sequence's rows must be in order, and follow what its cache holds.
    #[expect(clippy::many_single_char_names, reason = "the architecture's own names")]
    #[expect(clippy::too_many_lines, reason = "a layer reads as one piece")]
    pub(crate) fn step(
        &self,
        isa: Isa,
        team: &mut Team,
        scratch: &mut Scratch,
        caches: &mut [Cache],
        rows: &[Row],
    ) {
        let Architecture { family, shape, embedding_scale, query_scale, .. } = &self.architecture;
        let Shape { width, head_width, inner, epsilon, .. } = *shape;
        let (queries, keys) = (shape.query_width(), shape.key_width());
        let count = rows.len();
        let Scratch { x, q, k, v, g, u, y, normed, attended, gated, logits } = scratch;
        let size = |each: usize| ..count.saturating_mul(each);
        let (Some(x), Some(q), Some(k), Some(v), Some(g), Some(u)) = (
            x.get_mut(size(width)),
            q.get_mut(size(queries)),
            k.get_mut(size(keys)),
            v.get_mut(size(keys)),
            g.get_mut(size(inner)),
            u.get_mut(size(inner)),
        ) else {
            unreachable!("the scheduler makes no larger batch than the scratch was made for")
        };
        for (row, x) in rows.iter().zip(x.chunks_exact_mut(width)) {
            self.embedding.row(
                usize::try_from(row.token).unwrap_or(0).min(shape.vocabulary.saturating_sub(1)),
                x,
            );
            if let Some(scale) = embedding_scale {
                for number in x.iter_mut() {
                    *number *= scale;
                }
            }
            if let Some(cache) = caches.get_mut(row.sequence) {
                cache.reach(row.position, shape);
            }
        }
        let positions: Vec<usize> = rows.iter().map(|row| row.position).collect();
        for (number, layer) in self.layers.iter().enumerate() {
            let tokens: Vec<&[f32]> = x.chunks_exact(width).collect();
            normalise(isa, team, &tokens, &layer.attention_norm, epsilon, normed);
            let mut products = [
                Product { matrix: &layer.queries.matrix, out: q, onto: Onto::Fresh },
                Product { matrix: &layer.keys.matrix, out: k, onto: Onto::Fresh },
                Product { matrix: &layer.values.matrix, out: v, onto: Onto::Fresh },
            ];
            multiply(isa, team, &mut products, normed, count);
            for (biased, out) in
                [(&layer.queries, &mut *q), (&layer.keys, &mut *k), (&layer.values, &mut *v)]
            {
                if let Some(bias) = &biased.bias {
                    kernels::add_bias(bias, out);
                }
            }
            if let Some([of_queries, of_keys]) = &layer.head_norms {
                kernels::normalise_heads(isa, team, count, of_queries, epsilon, q);
                kernels::normalise_heads(isa, team, count, of_keys, epsilon, k);
            }
            let window = self.architecture.window.filter(|window| window.holds(number));
            let rope = self.window_rope.as_ref().filter(|_| window.is_some());
            rope.unwrap_or(&self.rope).turn_all(isa, team, *query_scale, &positions, q, k);
            for ((row, keys), values) in
                rows.iter().zip(k.chunks_exact(keys)).zip(v.chunks_exact(keys))
            {
                let page = caches
                    .get_mut(row.sequence)
                    .and_then(|cache| cache.0.get_mut(row.position / Page::POSITIONS));
                if let Some(page) = page {
                    kernels::store(page, number, row.position, head_width, keys, values);
                }
            }
            let views: Vec<Query<'_>> = rows
                .iter()
                .map(|row| Query {
                    pages: caches.get(row.sequence).map_or(&[], |cache| cache.0.as_slice()),
                    position: row.position,
                    first: window.as_ref().map_or(0, |window| window.first(row.position)),
                })
                .collect();
            attend(isa, team, number, head_width, shape.shared(), &views, q, attended);
            let norm = layer.attention_post_norm.as_deref();
            Residual { x, y, norm, epsilon }.add(isa, team, &layer.projection, attended, count);

            let tokens: Vec<&[f32]> = x.chunks_exact(width).collect();
            normalise(isa, team, &tokens, &layer.inner_norm, epsilon, normed);
            let mut products = [
                Product { matrix: &layer.gate, out: g, onto: Onto::Fresh },
                Product { matrix: &layer.up, out: u, onto: Onto::Fresh },
            ];
            multiply(isa, team, &mut products, normed, count);
            kernels::gate(isa, team, family.activation, g, u, count, gated);
            let norm = layer.inner_post_norm.as_deref();
            Residual { x, y, norm, epsilon }.add(isa, team, &layer.down, gated, count);
        }
        let last: Vec<&[f32]> = x
            .chunks_exact(width)
            .zip(rows)
            .filter(|(_, row)| row.wants_logits)
            .map(|(x, _)| x)
            .collect();
        normalise(isa, team, &last, &self.output_norm, epsilon, normed);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        multiply(
            isa,
            team,
            &mut [Product { matrix: output, out: logits, onto: Onto::Fresh }],
            normed,
            last.len(),
        );
    }

    /// Adds what the last step made of its rows to the pools of their sequences, in order; not all have one.
    pub(crate) fn pool<'p>(
        &self,
        scratch: &Scratch,
        rows: &[Row],
        pools: impl IntoIterator<Item = Option<&'p mut Pool>>,
    ) {
        let Shape { width, epsilon, .. } = self.architecture.shape;
        for (sequence, pool) in pools.into_iter().enumerate() {
            let Some(pool) = pool else { continue };
            let states = rows.iter().zip(scratch.x.chunks_exact(width));
            for (_, state) in states.filter(|(row, _)| row.sequence == sequence) {
                pool.add(state, &self.output_norm, epsilon);
            }
        }
    }
}

/// Where the products of a matrix are added, and what they are normalised with before.
struct Residual<'a> {
    x: &'a mut [f32],
    /// Room for as much as `x`, where there is a norm.
    y: &'a mut [f32],
    norm: Option<&'a [f32]>,
    epsilon: f32,
}

impl Residual<'_> {
    fn add(self, isa: Isa, team: &mut Team, matrix: &Matrix, from: &Activations, tokens: usize) {
        let Self { x, y, norm, epsilon } = self;
        let Some(norm) = norm else {
            let product = Product { matrix, out: x, onto: Onto::Sum };
            return multiply(isa, team, &mut [product], from, tokens);
        };
        multiply(isa, team, &mut [Product { matrix, out: y, onto: Onto::Fresh }], from, tokens);
        kernels::add_normalised(isa, team, y, norm, epsilon, x);
    }
}

/// One token of one sequence in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Which cache.
    pub(crate) sequence: usize,
    pub(crate) position: usize,
    pub(crate) token: u32,
    pub(crate) wants_logits: bool,
}

/// What a sequence has been computed for so far; zeroised when dropped.
#[derive(Default)]
pub(crate) struct Cache(Vec<Page>);

impl Cache {
    /// How many pages so many positions take.
    pub(crate) const fn pages(positions: usize) -> usize {
        positions.div_ceil(Page::POSITIONS)
    }

    /// The octets of a page.
    pub(crate) const fn page_len(shape: &Shape) -> usize {
        Page::len(shape.layers, shape.key_heads, shape.head_width)
    }

    fn reach(&mut self, position: usize, shape: &Shape) {
        while self.0.len() <= position / Page::POSITIONS {
            self.0.push(Page::new(shape.layers, shape.key_heads, shape.head_width));
        }
    }
}

impl core::fmt::Debug for Cache {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Cache({} pages)", self.0.len())
    }
}

/// Room for the numbers of one step.
pub(crate) struct Scratch {
    x: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    g: Vec<f32>,
    u: Vec<f32>,
    /// What is to be normalised before it is added to `x`.
    y: Vec<f32>,
    normed: Activations,
    attended: Activations,
    gated: Activations,
    pub(crate) logits: Vec<f32>,
}

impl Scratch {
    /// Room for so many rows, of which so many want logits.
    pub(crate) fn new(shape: &Shape, rows: usize, logits: usize) -> Self {
        let zeros = |each: usize| vec![0.0; rows.saturating_mul(each)];
        Self {
            x: zeros(shape.width),
            q: zeros(shape.query_width()),
            k: zeros(shape.key_width()),
            v: zeros(shape.key_width()),
            g: zeros(shape.inner),
            u: zeros(shape.inner),
            y: zeros(if shape.post_norms { shape.width } else { 0 }),
            normed: Activations::new(rows, shape.width),
            attended: Activations::new(rows, shape.query_width()),
            gated: Activations::new(rows, shape.inner),
            logits: vec![0.0; logits.saturating_mul(shape.vocabulary)],
        }
    }

    /// Forgets everything: the numbers of a step give its text away.
    pub(crate) fn wipe(&mut self) {
        use zeroize::Zeroize as _;
        let Self { x, q, k, v, g, u, y, normed, attended, gated, logits } = self;
        for numbers in [x, q, k, v, g, u, y, logits] {
            numbers.as_mut_slice().zeroize();
        }
        for vectors in [normed, attended, gated] {
            vectors.wipe();
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Scratch(..)")
    }
}

fn matrix(
    file: &mut Gguf<'_>,
    name: &str,
    rows: usize,
    columns: usize,
) -> Result<Matrix, LoadError> {
    let tensor = file.take_tensor(name).ok_or_else(|| LoadError::missing(name))?;
    pack(name, &tensor, rows, columns)
}

fn pack(name: &str, tensor: &Tensor<'_>, rows: usize, columns: usize) -> Result<Matrix, LoadError> {
    if (tensor.rows, tensor.columns) != (rows, columns) {
        return Err(LoadError::unfit(name, "has another shape than the architecture gives it"));
    }
    Ok(Matrix::pack(tensor))
}

fn vector(file: &mut Gguf<'_>, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
    let tensor = file.take_tensor(name).ok_or_else(|| LoadError::missing(name))?;
    floats(name, &tensor, length)
}

fn floats(name: &str, tensor: &Tensor<'_>, length: usize) -> Result<Vec<f32>, LoadError> {
    if tensor.kind != TensorType::F32 {
        return Err(LoadError::unfit(name, "must be F32"));
    }
    if (tensor.rows, tensor.columns) != (1, length) {
        return Err(LoadError::unfit(name, "has another shape than the architecture gives it"));
    }
    Ok(tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// What Llama 3 divides the angles of its rotation by.
const ROPE_FACTORS: &str = "rope_freqs.weight";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Instructions;
    use crate::tiny;

    #[test]
    fn a_wiped_scratch_holds_nothing() {
        let bytes = tiny::model(TensorType::Q8_0);
        let model = Model::read(&mut Gguf::parse(&bytes).unwrap(), 64).unwrap();
        let mut scratch = Scratch::new(&model.shape(), 4, 1);
        let rows = [Row { sequence: 0, position: 0, token: 9, wants_logits: true }];
        let isa = Isa::new(Instructions::best()).unwrap();
        model.step(isa, &mut Team::new(1).unwrap(), &mut scratch, &mut [Cache::default()], &rows);
        let left = |scratch: &Scratch| {
            let all = [
                &scratch.x,
                &scratch.q,
                &scratch.k,
                &scratch.v,
                &scratch.g,
                &scratch.u,
                &scratch.logits,
            ];
            all.map(|numbers| numbers.iter().any(|number| *number != 0.0))
        };
        assert_eq!(left(&scratch), [true; 7]);
        scratch.wipe();
        assert_eq!(left(&scratch), [false; 7]);
    }

    /// Recorded with this engine: a change to any bit of the arithmetic shows here, on every machine.
    #[test]
    fn the_numeric_profile_is_what_it_was() {
        let golden = [
            (TensorType::F32, "5331aed0a5b69244"),
            (TensorType::F16, "865e080767aaf4c4"),
            (TensorType::Q4_0, "c3472b8f8d41dadf"),
            (TensorType::Q4_1, "3eb5afdefc8d6f78"),
            (TensorType::Q8_0, "63adc8059b866d3c"),
        ];
        for instructions in Instructions::available() {
            for (kind, expected) in golden {
                let bytes = tiny::model(kind);
                let model = Model::read(&mut Gguf::parse(&bytes).unwrap(), 128).unwrap();
                let mut scratch = Scratch::new(&model.shape(), 70, 1);
                let rows: Vec<Row> = (0..70)
                    .map(|position| Row {
                        sequence: 0,
                        position,
                        token: 200,
                        wants_logits: position == 69,
                    })
                    .collect();
                let isa = Isa::new(instructions).unwrap();
                let mut team = Team::new(2).unwrap();
                model.step(isa, &mut team, &mut scratch, &mut [Cache::default()], &rows);
                let logits: Vec<u8> =
                    scratch.logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
                let digest = attestation::Sha256::of(&logits).to_string();
                assert_eq!(digest.get(..16), Some(expected), "{kind:?} {instructions:?}");
            }
        }
    }
}
