//! The llama architecture: weights, and one step of all sequences.
//!
//! Per layer: RMS normalisation, queries, keys and values, rotation (neighbouring pairs), attention
//! with shared key heads, a projection onto the residual; normalisation, gate and up, `SiLU`, down.
//! Then a last normalisation and the output matrix, which may be the embedding's.

use crate::gguf::{Gguf, LoadError, Tensor, TensorType};
use crate::kernels::{
    self, Activations, Isa, Matrix, Onto, Page, Product, Query, Rope, Team, attend, multiply,
    normalise,
};

/// A model, ready to compute.
#[derive(Debug)]
pub(crate) struct Model {
    shape: Shape,
    embedding: Matrix,
    /// None: the embedding serves as output too.
    output: Option<Matrix>,
    output_norm: Vec<f32>,
    layers: Vec<Layer>,
    rope: Rope,
}

/// The model's sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    width: usize,
    heads: usize,
    key_heads: usize,
    head_width: usize,
    inner: usize,
    layers: usize,
    epsilon: f32,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    queries: Matrix,
    keys: Matrix,
    values: Matrix,
    projection: Matrix,
    inner_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

impl Model {
    /// Reads the weights out of `file`, which afterwards holds what the architecture does not know.
    pub(crate) fn read(file: &mut Gguf<'_>, context_max: usize) -> Result<Self, LoadError> {
        let (shape, base) = Shape::read(file, context_max)?;
        let Shape { width, inner, vocabulary, head_width, .. } = shape;
        let (queries, keys) = (shape.query_width(), shape.key_width());
        let embedding = matrix(file, "token_embd.weight", vocabulary, width)?;
        let output = match file.take_tensor("output.weight") {
            Some(tensor) => Some(pack("output.weight", &tensor, vocabulary, width)?),
            None => None,
        };
        let output_norm = vector(file, "output_norm.weight", width)?;
        let mut layers = Vec::with_capacity(shape.layers);
        for number in 0..shape.layers {
            let name = |part: &str| format!("blk.{number}.{part}.weight");
            layers.push(Layer {
                attention_norm: vector(file, &name("attn_norm"), width)?,
                queries: matrix(file, &name("attn_q"), queries, width)?,
                keys: matrix(file, &name("attn_k"), keys, width)?,
                values: matrix(file, &name("attn_v"), keys, width)?,
                projection: matrix(file, &name("attn_output"), width, queries)?,
                inner_norm: vector(file, &name("ffn_norm"), width)?,
                gate: matrix(file, &name("ffn_gate"), inner, width)?,
                up: matrix(file, &name("ffn_up"), inner, width)?,
                down: matrix(file, &name("ffn_down"), width, inner)?,
            });
        }
        if let Some(name) = file.left_over() {
            return Err(LoadError::unsupported("tensor", name));
        }
        let rope = Rope::new(base, head_width, shape.context);
        Ok(Self { shape, embedding, output, output_norm, layers, rope })
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// Computes `rows` and leaves the logits of those that want them in `scratch`, in order.
    ///
    /// A sequence's rows must be in order, and follow what its cache holds.
    #[expect(clippy::many_single_char_names, reason = "the architecture's own names")]
    pub(crate) fn step(
        &self,
        isa: Isa,
        team: &mut Team,
        scratch: &mut Scratch,
        caches: &mut [Cache],
        rows: &[Row],
    ) {
        let Shape { width, head_width, inner, epsilon, .. } = self.shape;
        let (queries, keys) = (self.shape.query_width(), self.shape.key_width());
        let count = rows.len();
        let Scratch { x, q, k, v, g, u, normed, attended, gated, logits } = scratch;
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
                usize::try_from(row.token)
                    .unwrap_or(0)
                    .min(self.shape.vocabulary.saturating_sub(1)),
                x,
            );
            if let Some(cache) = caches.get_mut(row.sequence) {
                cache.reach(row.position, &self.shape);
            }
        }
        let positions: Vec<usize> = rows.iter().map(|row| row.position).collect();
        for (number, layer) in self.layers.iter().enumerate() {
            let tokens: Vec<&[f32]> = x.chunks_exact(width).collect();
            normalise(isa, team, &tokens, &layer.attention_norm, epsilon, normed);
            let mut products = [
                Product { matrix: &layer.queries, out: q, onto: Onto::Fresh },
                Product { matrix: &layer.keys, out: k, onto: Onto::Fresh },
                Product { matrix: &layer.values, out: v, onto: Onto::Fresh },
            ];
            multiply(isa, team, &mut products, normed, count);
            self.rope.turn_all(isa, team, &positions, q, k);
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
                })
                .collect();
            attend(isa, team, number, head_width, self.shape.shared(), &views, q, attended);
            let projection = Product { matrix: &layer.projection, out: x, onto: Onto::Sum };
            multiply(isa, team, &mut [projection], attended, count);

            let tokens: Vec<&[f32]> = x.chunks_exact(width).collect();
            normalise(isa, team, &tokens, &layer.inner_norm, epsilon, normed);
            let mut products = [
                Product { matrix: &layer.gate, out: g, onto: Onto::Fresh },
                Product { matrix: &layer.up, out: u, onto: Onto::Fresh },
            ];
            multiply(isa, team, &mut products, normed, count);
            kernels::gate(isa, team, g, u, count, gated);
            multiply(
                isa,
                team,
                &mut [Product { matrix: &layer.down, out: x, onto: Onto::Sum }],
                gated,
                count,
            );
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
}

impl Shape {
    /// The sizes, and the rotation's base.
    fn read(file: &Gguf<'_>, context_max: usize) -> Result<(Self, f64), LoadError> {
        let architecture = file.text("general.architecture")?;
        if architecture != "llama" {
            return Err(LoadError::unsupported("architecture", architecture));
        }
        let number = |key: &str, range: core::ops::RangeInclusive<usize>| {
            let number = file.number(key)?.ok_or_else(|| LoadError::missing(key))?;
            if range.contains(&number) {
                Ok(number)
            } else {
                Err(LoadError::unfit(key, "is out of range"))
            }
        };
        let width = number("llama.embedding_length", 32..=65_536)?;
        let inner = number("llama.feed_forward_length", 32..=1 << 20)?;
        let heads = number("llama.attention.head_count", 1..=1024)?;
        let key_heads = match file.value("llama.attention.head_count_kv") {
            None => heads,
            Some(_) => number("llama.attention.head_count_kv", 1..=heads)?,
        };
        let layers = number("llama.block_count", 1..=1024)?;
        let context = number("llama.context_length", 1..=1 << 20)?.min(context_max.max(1));
        let vocabulary = file.texts("tokenizer.ggml.tokens")?.len();
        let fit = |key: &str, holds: bool, why| {
            if holds { Ok(()) } else { Err(LoadError::unfit(key, why)) }
        };
        fit("llama.embedding_length", width.is_multiple_of(32), "must be a multiple of 32")?;
        fit("llama.feed_forward_length", inner.is_multiple_of(32), "must be a multiple of 32")?;
        fit("llama.attention.head_count", width.is_multiple_of(heads), "must divide the width")?;
        fit(
            "llama.attention.head_count_kv",
            heads.is_multiple_of(key_heads),
            "must divide the number of heads",
        )?;
        let head_width = width.checked_div(heads).unwrap_or(0);
        fit(
            "llama.attention.head_count",
            head_width.is_multiple_of(16),
            "must give heads of a multiple of 16",
        )?;
        let keys = head_width.saturating_mul(key_heads);
        fit(
            "llama.attention.head_count_kv",
            keys.is_multiple_of(32),
            "must give keys of a multiple of 32",
        )?;
        for key in [
            "llama.rope.dimension_count",
            "llama.attention.key_length",
            "llama.attention.value_length",
        ] {
            let same = file.number(key)?.is_none_or(|length| length == head_width);
            fit(key, same, "must be the heads' width")?;
        }
        if let Some(size) = file.number("llama.vocab_size")? {
            fit("llama.vocab_size", size == vocabulary, "must be the number of tokens")?;
        }
        if let Some(key) = file.keys("llama.").find(|key| !KNOWN.contains(key)) {
            return Err(LoadError::unsupported("setting", key));
        }
        let epsilon = file.float("llama.attention.layer_norm_rms_epsilon")?;
        let epsilon =
            epsilon.ok_or_else(|| LoadError::missing("llama.attention.layer_norm_rms_epsilon"))?;
        fit(
            "llama.attention.layer_norm_rms_epsilon",
            (0.0..1.0).contains(&epsilon),
            "is out of range",
        )?;
        let base = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
        fit("llama.rope.freq_base", (1.0..=1e12).contains(&base), "is out of range")?;
        let epsilon = narrow(epsilon);
        Ok((
            Self {
                width,
                heads,
                key_heads,
                head_width,
                inner,
                layers,
                epsilon,
                vocabulary,
                context,
            },
            base,
        ))
    }

    /// How many heads see the same keys.
    fn shared(&self) -> usize {
        self.heads.checked_div(self.key_heads).unwrap_or(1)
    }

    const fn query_width(&self) -> usize {
        self.heads.saturating_mul(self.head_width)
    }

    const fn key_width(&self) -> usize {
        self.key_heads.saturating_mul(self.head_width)
    }
}

/// The file's number is single precision; the reader widened it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "it was single precision before"
)]
const fn narrow(number: f64) -> f32 {
    number as f32
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
            normed: Activations::new(rows, shape.width),
            attended: Activations::new(rows, shape.query_width()),
            gated: Activations::new(rows, shape.inner),
            logits: vec![0.0; logits.saturating_mul(shape.vocabulary)],
        }
    }

    /// Forgets everything: the numbers of a step give its text away.
    pub(crate) fn wipe(&mut self) {
        use zeroize::Zeroize as _;
        let Self { x, q, k, v, g, u, normed, attended, gated, logits } = self;
        for numbers in [x, q, k, v, g, u, logits] {
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
    if tensor.kind != TensorType::F32 {
        return Err(LoadError::unfit(name, "must be F32"));
    }
    if (tensor.rows, tensor.columns) != (1, length) {
        return Err(LoadError::unfit(name, "has another shape than the architecture gives it"));
    }
    Ok(tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The settings that this architecture knows; one that it does not know could change the meaning.
const KNOWN: [&str; 13] = [
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.vocab_size",
    "llama.tensor_data_layout",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Instructions;
    use crate::tiny::{self, Writer};

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

    #[test]
    fn a_model_that_is_not_understood_whole_is_not_run() {
        type Write = fn(&mut Writer);
        let cases: [(Write, &str); 4] = [
            (|w| w.text("general.architecture", "qwen2"), "needs the architecture `qwen2`"),
            (|w| w.text("general.architecture", "llama"), "lacks `llama.embedding_length`"),
            (
                |w| {
                    llama(w, 32);
                    w.text("llama.rope.scaling.type", "yarn");
                },
                "needs the setting `llama.rope.scaling.type`",
            ),
            (|w| llama(w, 24), "must be a multiple of 32"),
        ];
        for (write, expected) in cases {
            let mut writer = Writer::new();
            write(&mut writer);
            let bytes = writer.finish();
            let error = Model::read(&mut Gguf::parse(&bytes).unwrap(), 64).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }

    fn llama(writer: &mut Writer, inner: u32) {
        writer.text("general.architecture", "llama");
        writer.texts("tokenizer.ggml.tokens", &["a"]);
        for (key, value) in [
            ("llama.embedding_length", 32),
            ("llama.feed_forward_length", inner.max(32) | (inner & 31)),
            ("llama.attention.head_count", 1),
            ("llama.block_count", 1),
            ("llama.context_length", 8),
        ] {
            writer.u32(key, value);
        }
    }
}
