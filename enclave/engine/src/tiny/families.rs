//! Tiny random models of every family, by which each is compared with llama.cpp.
//!
//! Their weights are larger than a trained model's, so that every part shows in the answers: the
//! layers speak louder than the embedding, attention looks at few positions, and the best token is
//! clearly the best. All matrices are F32, so that no rounding of activations comes between.

use super::{Random, Writer};
use crate::gguf::{CHAT_TEMPLATE, TensorType};

/// A tiny model of each family that the engine knows; the names are those of the architectures.
///
/// `llama` has Llama 3's factors of the rotation and no heads of the usual width, `qwen2` biases,
/// `qwen3` and `gemma3` norms of the heads, and `gemma3` windows of 16 positions, too. Nothing, for
/// other names.
pub fn family(name: &str) -> Option<Vec<u8>> {
    let family = FAMILIES.iter().find(|family| family.name == name)?;
    let mut writer = Writer::new();
    writer.text("general.architecture", name);
    writer.text("general.name", "tiny-random");
    for (key, value) in [
        ("context_length", 512),
        ("embedding_length", WIDTH),
        ("block_count", family.layers),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", GROUPS),
        ("attention.key_length", family.head),
        ("attention.value_length", family.head),
        ("rope.dimension_count", family.head),
    ] {
        writer.u32(&format!("{name}.{key}"), value);
    }
    writer.f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-6);
    writer.f32(&format!("{name}.rope.freq_base"), family.base);
    if family.window > 0 {
        writer.u32(&format!("{name}.attention.sliding_window"), family.window);
        writer.text(&format!("{name}.rope.scaling.type"), "linear");
        writer.f32(&format!("{name}.rope.scaling.factor"), 2.0);
    }
    write_words(&mut writer, family.pre);
    writer.text(CHAT_TEMPLATE, super::TEMPLATE);

    let mut random = Random(family.seed);
    let mut put = |writer: &mut Writer, name: &str, dimensions: &[u32], middle: f32, size: f32| {
        let count = dimensions.iter().map(|dimension| usize::try_from(*dimension).unwrap_or(0));
        // The numbers of `weight` are up to 0.125 in size, and 0.06 as a rule.
        let data: Vec<u8> = (0..count.product::<usize>())
            .flat_map(|_| (random.weight() * size + middle).to_le_bytes())
            .collect();
        let dimensions: Vec<u64> = dimensions.iter().copied().map(u64::from).collect();
        writer.tensor(name, &dimensions, TensorType::F32, &data);
    };
    let (queries, keys) = (HEADS.saturating_mul(family.head), GROUPS.saturating_mul(family.head));
    put(&mut writer, "token_embd.weight", &[WIDTH, VOCABULARY], 0.0, family.embedding);
    if !family.tied {
        put(&mut writer, "output.weight", &[WIDTH, VOCABULARY], 0.0, 12.0);
    }
    put(&mut writer, "output_norm.weight", &[WIDTH], 1.0, 4.0);
    if family.factors {
        put(&mut writer, "rope_freqs.weight", &[family.head / 2], 4.0, 24.0);
    }
    for layer in 0..family.layers {
        let mut part = |part: &str, dimensions: &[u32], middle, size| {
            put(&mut writer, &format!("blk.{layer}.{part}"), dimensions, middle, size);
        };
        part("attn_norm.weight", &[WIDTH], 1.0, 4.0);
        part("attn_q.weight", &[WIDTH, queries], 0.0, 4.0);
        part("attn_k.weight", &[WIDTH, keys], 0.0, 4.0);
        part("attn_v.weight", &[WIDTH, keys], 0.0, 4.0);
        part("attn_output.weight", &[queries, WIDTH], 0.0, 3.0);
        if family.biases {
            part("attn_q.bias", &[queries], 0.0, 12.0);
            part("attn_k.bias", &[keys], 0.0, 12.0);
            part("attn_v.bias", &[keys], 0.0, 12.0);
        }
        if family.head_norms {
            part("attn_q_norm.weight", &[family.head], 1.5, 8.0);
            part("attn_k_norm.weight", &[family.head], 1.5, 8.0);
        }
        if family.post_norms {
            part("post_attention_norm.weight", &[WIDTH], 2.0, 8.0);
            part("post_ffw_norm.weight", &[WIDTH], 2.0, 8.0);
        }
        part("ffn_norm.weight", &[WIDTH], 1.0, 4.0);
        part("ffn_gate.weight", &[WIDTH, INNER], 0.0, 4.0);
        part("ffn_up.weight", &[WIDTH, INNER], 0.0, 4.0);
        part("ffn_down.weight", &[INNER, WIDTH], 0.0, 3.0);
    }
    Some(writer.finish())
}

/// A vocabulary of which every token is whole characters: llama.cpp tells no likelihoods of others.
fn write_words(writer: &mut Writer, pre: &str) {
    let mut tokens: Vec<String> =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from).to_vec();
    tokens.extend(crate::tokenizer::byte_letters().iter().take(128).map(char::to_string));
    for merged in ["Ġt", "he", "Ġthe", "in"] {
        tokens.push(String::from(merged));
    }
    while tokens.len() < usize::try_from(VOCABULARY).unwrap_or(0) {
        tokens.push(format!("w{}", tokens.len()));
    }
    let kinds: Vec<i32> = (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 }).collect();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", pre);
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.i32s("tokenizer.ggml.token_type", &kinds);
    writer.texts("tokenizer.ggml.merges", &["Ġ t", "h e", "Ġt he", "i n"]);
    writer.u32("tokenizer.ggml.bos_token_id", 1);
    writer.u32("tokenizer.ggml.eos_token_id", 2);
}

#[expect(clippy::struct_excessive_bools, reason = "each is a property that a family has or lacks")]
struct Family {
    name: &'static str,
    seed: u64,
    layers: u32,
    head: u32,
    base: f32,
    pre: &'static str,
    embedding: f32,
    window: u32,
    tied: bool,
    factors: bool,
    biases: bool,
    head_norms: bool,
    post_norms: bool,
}

const PLAIN: Family = Family {
    name: "",
    seed: 0,
    layers: 3,
    head: 32,
    base: 1e4,
    pre: "qwen2",
    embedding: 8.0,
    window: 0,
    tied: false,
    factors: false,
    biases: false,
    head_norms: false,
    post_norms: false,
};

const FAMILIES: [Family; 4] = [
    Family { name: "llama", seed: 31, base: 5e5, pre: "llama-bpe", factors: true, ..PLAIN },
    Family { name: "qwen2", seed: 32, head: 16, base: 1e6, biases: true, ..PLAIN },
    Family { name: "qwen3", seed: 33, base: 1e6, head_norms: true, ..PLAIN },
    Family {
        name: "gemma3",
        seed: 34,
        layers: 7,
        base: 1e6,
        pre: "default",
        embedding: 6.0,
        window: 16,
        tied: true,
        head_norms: true,
        post_norms: true,
        ..PLAIN
    },
];

const WIDTH: u32 = 64;
const INNER: u32 = 96;
const HEADS: u32 = 4;
const GROUPS: u32 = 2;
const VOCABULARY: u32 = 272;
