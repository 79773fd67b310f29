//! A tiny random model and the GGUF writer that makes it: the same bytes every time.
//!
//! It speaks no language; it has every part that a real model has. Tests all over the workspace
//! load it in milliseconds.

mod families;

use crate::gguf::{CHAT_TEMPLATE, TensorType};

pub use families::family;

/// A llama of 2 layers, 64 wide, with a byte-level vocabulary of 272 and a chat template.
///
/// Types whose blocks are longer than that have a model as wide as their blocks.
/// All its matrices are of type `kind`; its normalisation vectors are F32, as in every model.
pub fn model(kind: TensorType) -> Vec<u8> {
    let block = u32::try_from(kind.block().0).unwrap_or(0);
    let (width, inner) = (WIDTH.max(block), INNER.max(block));
    let mut writer = Writer::new();
    writer.text("general.architecture", "llama");
    writer.text("general.name", "tiny-random");
    for (key, value) in [
        ("llama.context_length", CONTEXT),
        ("llama.embedding_length", width),
        ("llama.block_count", LAYERS),
        ("llama.feed_forward_length", inner),
        ("llama.attention.head_count", HEADS),
        ("llama.attention.head_count_kv", GROUPS),
        ("llama.rope.dimension_count", width / HEADS),
        ("llama.vocab_size", VOCABULARY),
    ] {
        writer.u32(key, value);
    }
    writer.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    writer.f32("llama.rope.freq_base", 10_000.0);
    write_tokenizer(&mut writer);
    writer.text(CHAT_TEMPLATE, TEMPLATE);

    let mut random = Random(0x7665_7269_7465_6501);
    let ones = 1.0_f32.to_le_bytes().repeat(usize::try_from(width).unwrap_or(0));
    let narrow = width.checked_div(HEADS).unwrap_or(0).saturating_mul(GROUPS);
    let mut matrix = |writer: &mut Writer, name: &str, rows: u32, columns: u32| {
        let data = random_matrix(&mut random, kind, rows, columns);
        writer.tensor(name, &[u64::from(columns), u64::from(rows)], kind, &data);
    };
    matrix(&mut writer, "token_embd.weight", VOCABULARY, width);
    writer.tensor("output_norm.weight", &[u64::from(width)], TensorType::F32, &ones);
    for layer in 0..LAYERS {
        for norm in ["attn_norm", "ffn_norm"] {
            let name = format!("blk.{layer}.{norm}.weight");
            writer.tensor(&name, &[u64::from(width)], TensorType::F32, &ones);
        }
        for (name, rows, columns) in [
            ("attn_q", width, width),
            ("attn_k", narrow, width),
            ("attn_v", narrow, width),
            ("attn_output", width, width),
            ("ffn_gate", inner, width),
            ("ffn_up", inner, width),
            ("ffn_down", width, inner),
        ] {
            matrix(&mut writer, &format!("blk.{layer}.{name}.weight"), rows, columns);
        }
    }
    writer.finish()
}

/// The tiny model's chat template: `ChatML`.
pub const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn write_tokenizer(writer: &mut Writer) {
    let mut tokens: Vec<String> =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from).to_vec();
    tokens.extend(crate::tokenizer::byte_letters().iter().map(char::to_string));
    for merged in ["Ġt", "he", "Ġthe", "in"] {
        tokens.push(String::from(merged));
    }
    let words = tokens.len();
    while tokens.len() < usize::try_from(VOCABULARY).unwrap_or(0) {
        tokens.push(format!("<|unused{}|>", tokens.len()));
    }
    let kinds: Vec<i32> =
        (0..tokens.len()).map(|id| if (3..words).contains(&id) { 1 } else { 3 }).collect();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "smollm");
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.i32s("tokenizer.ggml.token_type", &kinds);
    writer.texts("tokenizer.ggml.merges", &["Ġ t", "h e", "Ġt he", "i n"]);
    writer.u32("tokenizer.ggml.bos_token_id", 1);
    writer.u32("tokenizer.ggml.eos_token_id", 2);
}

/// Rows of random numbers, already in the blocks of `kind`.
fn random_matrix(random: &mut Random, kind: TensorType, rows: u32, columns: u32) -> Vec<u8> {
    let (block, block_bytes) = kind.block();
    let numbers =
        usize::try_from(rows).unwrap_or(0).saturating_mul(usize::try_from(columns).unwrap_or(0));
    let blocks = numbers.checked_div(block).unwrap_or(0);
    let mut data = Vec::with_capacity(blocks.saturating_mul(block_bytes));
    for _ in 0..blocks {
        match kind {
            TensorType::F32 => data.extend(random.weight().to_le_bytes()),
            TensorType::F16 => data.extend(random.half().to_le_bytes()),
            TensorType::Q4_0 => {
                data.extend(random.scale(4).to_le_bytes());
                data.extend(random.bytes::<16>());
            }
            TensorType::BF16 => data.extend(random.brain().to_le_bytes()),
            TensorType::Q4_1 => {
                // The minimum is minus 7.5 scales, so that the numbers are about zero.
                let scale = random.scale(4);
                data.extend(scale.to_le_bytes());
                data.extend(minus_times_and_a_half(scale, 15).to_le_bytes());
                data.extend(random.bytes::<16>());
            }
            TensorType::Q5_0 => {
                data.extend(random.scale(3).to_le_bytes());
                data.extend(random.bytes::<20>());
            }
            TensorType::Q5_1 => {
                let scale = random.scale(3);
                data.extend(scale.to_le_bytes());
                data.extend(minus_times_and_a_half(scale, 31).to_le_bytes());
                data.extend(random.bytes::<20>());
            }
            TensorType::Q8_0 => {
                data.extend(random.scale(0).to_le_bytes());
                data.extend(random.bytes::<32>());
            }
            // Steps of up to 63 scales; the minimum is subtracted, as often as the scale is taken.
            TensorType::Q4_K => {
                put_steps(&mut data, random, 15);
                data.extend(random.bytes::<128>());
            }
            TensorType::Q5_K => {
                put_steps(&mut data, random, 31);
                data.extend(random.bytes::<160>());
            }
            TensorType::Q6_K => {
                data.extend(random.bytes::<208>());
                data.extend(0x0200_u16.wrapping_add(random.scale(0) & 0x1ff).to_le_bytes());
            }
        }
    }
    data
}

/// The scale, the minimum and the steps of a block of 256 whose numbers reach `top`.
fn put_steps(data: &mut Vec<u8>, random: &mut Random, top: u32) {
    let scale = random.scale(0).wrapping_sub(0x0800);
    data.extend(scale.to_le_bytes());
    data.extend((minus_times_and_a_half(scale, top) & 0x7fff).to_le_bytes());
    // The first four steps and floors with the upper bits of the last four, then the lower bits.
    let first = random.bytes::<4>();
    data.extend(first);
    data.extend(first);
    data.extend(random.bytes::<4>().map(|byte| byte & 15 | byte << 4));
}

/// `SplitMix64`: all the randomness that a test model needs.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *to = from;
            }
        }
        bytes
    }

    /// A half-precision scale: 2^(`raise` - 10) times 1 to 2.
    const fn scale(&mut self, raise: u16) -> u16 {
        let [low, high, ..] = self.next().to_le_bytes();
        let mantissa = u16::from_le_bytes([low, high & 3]);
        raise.wrapping_add(5) << 10 | mantissa
    }

    /// A half-precision number of either sign, up to 0.125 in size.
    fn half(&mut self) -> u16 {
        let [low, high, sign, exponent, ..] = self.next().to_le_bytes();
        let magnitude = u16::from(8 | (exponent & 3));
        u16::from(sign & 1) << 15 | magnitude << 10 | u16::from_le_bytes([low, high & 3])
    }

    /// The upper half of a single-precision number of either sign, up to 0.125 in size.
    fn brain(&mut self) -> u16 {
        let [_, _, low, high] = self.weight().to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// A single-precision number of either sign, up to 0.125 in size.
    fn weight(&mut self) -> f32 {
        let bits = self.next();
        let [low, middle, high, sign, exponent, ..] = bits.to_le_bytes();
        let exponent = u32::from(0x78 | (exponent & 3));
        f32::from_bits(
            u32::from(sign & 1) << 31
                | exponent << 23
                | u32::from_le_bytes([low, middle, high & 0x7f, 0]),
        )
    }
}

/// The half-precision number that is `-twice / 2` times `scale`, rounded towards zero.
fn minus_times_and_a_half(scale: u16, twice: u32) -> u16 {
    let (exponent, mantissa) = (u32::from(scale >> 10), u32::from(scale & 0x3ff) | 0x400);
    let mut product = mantissa.wrapping_mul(twice);
    let mut exponent = exponent.wrapping_sub(1);
    while product > 0x7ff {
        product >>= 1;
        exponent = exponent.wrapping_add(1);
    }
    let bits = 0x8000 | exponent << 10 | (product & 0x3ff);
    u16::try_from(bits).unwrap_or(0)
}

/// Writes GGUF files, entry by entry.
#[derive(Debug, Default)]
pub struct Writer {
    metadata: Vec<u8>,
    metadata_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    alignment: Option<u32>,
}

impl Writer {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata entry from its type number and encoded value, well-formed or not.
    pub fn raw(&mut self, key: &str, kind: u32, value: &[u8]) {
        put_text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.metadata_count = self.metadata_count.saturating_add(1);
    }

    /// Adds a 32-bit number. `general.alignment` also sets the writer's own alignment and goes first.
    pub fn u32(&mut self, key: &str, value: u32) {
        if key == "general.alignment" && self.data.is_empty() {
            self.alignment = Some(value);
        }
        self.raw(key, 4, &value.to_le_bytes());
    }

    /// Adds a float.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.raw(key, 6, &value.to_le_bytes());
    }

    /// Adds a flag.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, 7, &[u8::from(value)]);
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        put_text(&mut bytes, value);
        self.raw(key, 8, &bytes);
    }

    /// Adds a list of texts.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend(length(values.len()));
        for value in values {
            put_text(&mut bytes, value.as_ref());
        }
        self.raw(key, 9, &bytes);
    }

    /// Adds a list of 32-bit signed numbers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let mut bytes = 5_u32.to_le_bytes().to_vec();
        bytes.extend(length(values.len()));
        for value in values {
            bytes.extend(value.to_le_bytes());
        }
        self.raw(key, 9, &bytes);
    }

    /// Adds a list of single-precision numbers.
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        let mut bytes = 6_u32.to_le_bytes().to_vec();
        bytes.extend(length(values.len()));
        for value in values {
            bytes.extend(value.to_le_bytes());
        }
        self.raw(key, 9, &bytes);
    }

    /// Adds a tensor: dimensions as GGUF orders them (columns first) and data in the blocks of `kind`.
    pub fn tensor(&mut self, name: &str, dimensions: &[u64], kind: TensorType, data: &[u8]) {
        self.align();
        put_text(&mut self.infos, name);
        self.infos.extend(u32::try_from(dimensions.len()).unwrap_or(u32::MAX).to_le_bytes());
        for dimension in dimensions {
            self.infos.extend(dimension.to_le_bytes());
        }
        self.infos.extend(kind.number().to_le_bytes());
        self.infos.extend(length(self.data.len()));
        self.data.extend(data);
        self.tensor_count = self.tensor_count.saturating_add(1);
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        self.align();
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.metadata_count.to_le_bytes());
        file.extend(&self.metadata);
        file.extend(&self.infos);
        file.resize(file.len().next_multiple_of(self.alignment()), 0);
        file.extend(&self.data);
        file
    }

    fn alignment(&self) -> usize {
        usize::try_from(self.alignment.unwrap_or(32).max(1)).unwrap_or(32)
    }

    fn align(&mut self) {
        self.data.resize(self.data.len().next_multiple_of(self.alignment()), 0);
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(length(text.len()));
    bytes.extend(text.as_bytes());
}

fn length(length: usize) -> [u8; 8] {
    u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes()
}

const CONTEXT: u32 = 512;
const WIDTH: u32 = 64;
const LAYERS: u32 = 2;
const INNER: u32 = 128;
const HEADS: u32 = 4;
const GROUPS: u32 = 2;
const VOCABULARY: u32 = 272;

#[cfg(test)]
mod tests {
    use super::*;
    use attestation::digest::Sha256;

    #[test]
    fn the_same_bytes_every_time() {
        let digests = [
            (TensorType::F32, "488dcf0683a6e98bb13e61f82ff52550b1309762c710ee6cc8cd4357e601d51f"),
            (TensorType::F16, "d97cdf2cd4cf22da0399c8ab8e0f70f2915f54ff53c0664fe3a438cabdc2aaf5"),
            (TensorType::BF16, "0eb5f348a3cbb2b62a812aa360451731c04e6eab7dbb763114eb1ea6dd9c1743"),
            (TensorType::Q4_0, "823e259875687e5fcc118f9abc637c70ec0e99820acc4c19fdb3fbc411c484ef"),
            (TensorType::Q4_1, "f874dc01068dd2caa7ad7eaca8d53579c6b1c2c2781a5e8e18107d69aeea801a"),
            (TensorType::Q5_0, "681133c92a055891dbbc7fc3a208069abfba9746fc87d415b0377976243df403"),
            (TensorType::Q5_1, "aeae95eb54d4e7f3a6c4363fa67e84cd6b5772ae671bdf3214a3d42e8904a2f3"),
            (TensorType::Q8_0, "d8ceb643e7d5a68cadd35e81978afc24e549aa800bc40a5c6e057df07a05b962"),
            (TensorType::Q4_K, "92df06460d5852b7cdea00437452f33c036169514d52087d3211e84983fe9e16"),
            (TensorType::Q5_K, "6bc1332888ea68a33ed8797c112b280139b8794bec1d4159ae12e264340dae7a"),
            (TensorType::Q6_K, "ddf77117a5fc18258ec7f3d418c9c62e03e399f9d4f1ea1c5597653b0c187dfa"),
        ];
        assert_eq!(digests.map(|(kind, _)| kind), TensorType::ALL);
        for (kind, digest) in digests {
            assert_eq!(Sha256::of(&model(kind)).to_string(), digest, "{kind:?}");
        }
    }

    #[test]
    fn the_minimum_of_a_block_is_minus_half_of_its_range() {
        for (scale, twice) in
            [(0x2400_u16, 15_u8), (0x2555, 15), (0x27ff, 15), (0x2400, 31), (0x1fff, 31)]
        {
            let minimum = crate::kernels::half(minus_times_and_a_half(scale, twice.into()));
            let scale = crate::kernels::half(scale);
            assert!((minimum / scale + f32::from(twice) / 2.0).abs() < 0.02, "{minimum} {scale}");
        }
    }
}
