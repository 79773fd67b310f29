//! What a file says of its architecture: sizes, and what sets one family apart from the others.
//!
//! The families that we know differ in a few traits, which are data here; the one step in
//! [`super`] does what they say. A setting that is not known could change the meaning of all
//! others, so a model that has one is refused by its name.

use core::ops::RangeInclusive;

use crate::gguf::{Gguf, LoadError};
use crate::kernels::{Activation, Pairs};

/// The model's sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    pub(super) head_width: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) epsilon: f32,
    pub(super) post_norms: bool,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
}

/// How the parts work together.
#[derive(Debug)]
pub(super) struct Architecture {
    pub(super) family: &'static Family,
    pub(super) shape: Shape,
    /// What the embedding is multiplied by, if by anything.
    pub(super) embedding_scale: Option<f32>,
    /// What the queries are multiplied by.
    pub(super) query_scale: f32,
    pub(super) rotation: Rotation,
    pub(super) window: Option<Window>,
}

/// What one family of models is, apart from its sizes.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property that a family has or lacks")]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) pairs: Pairs,
    pub(super) activation: Activation,
    /// Queries and keys are normalised, head by head.
    pub(super) head_norms: bool,
    /// What attention and the feed-forward layer give is normalised before it is added.
    pub(super) post_norms: bool,
    /// The embedding is multiplied by the root of the width.
    scaled_embedding: bool,
    /// Most layers see a window of the text only.
    windows: bool,
}

/// The angles of the rotation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) base: f64,
    /// Linear scaling: positions are multiplied by this.
    pub(super) scale: f32,
}

/// Layers that see the latest positions only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// How many positions they see.
    pub(super) length: usize,
    /// Of so many layers the last sees everything; with 0 none does.
    every: usize,
    pub(super) rotation: Rotation,
}

impl Architecture {
    /// Reads the description; `context_max` cuts the context.
    pub(super) fn read(file: &Gguf<'_>, context_max: usize) -> Result<Self, LoadError> {
        let name = file.text("general.architecture")?;
        let family = FAMILIES
            .iter()
            .find(|family| family.name == name)
            .ok_or_else(|| LoadError::unsupported("architecture", name))?;
        let settings = Settings { file, family: family.name };
        settings.are_known(family)?;
        let shape = Shape::read(&settings, family, context_max)?;
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "at most 65,536")]
        let root = |number: usize| (number as f32).sqrt();
        // Gemma's largest scales by the width that its heads would have without their own.
        let scaled_by = if family.scaled_embedding && shape.layers == 62 {
            shape.width.checked_div(shape.heads).unwrap_or(1)
        } else {
            shape.head_width
        };
        Ok(Self {
            family,
            shape,
            embedding_scale: family.scaled_embedding.then(|| root(shape.width)),
            query_scale: 1.0 / root(scaled_by),
            rotation: settings.rotation()?,
            window: if family.windows { settings.window()? } else { None },
        })
    }
}

impl Window {
    /// The first position that one at `position` sees.
    pub(super) fn first(&self, position: usize) -> usize {
        position.saturating_add(1).saturating_sub(self.length)
    }

    /// Whether the layer of this number sees the window only.
    pub(super) fn holds(&self, layer: usize) -> bool {
        let at = layer.checked_rem(self.every);
        at.is_none_or(|at| at < self.every.saturating_sub(1))
    }
}

impl Shape {
    fn read(
        settings: &Settings<'_, '_>,
        family: &Family,
        context_max: usize,
    ) -> Result<Self, LoadError> {
        let width = settings.size("embedding_length", 32..=65_536)?;
        let inner = settings.size("feed_forward_length", 32..=1 << 20)?;
        let heads = settings.size("attention.head_count", 1..=1024)?;
        let key_heads = match settings.number("attention.head_count_kv")? {
            None => heads,
            Some(_) => settings.size("attention.head_count_kv", 1..=heads)?,
        };
        let layers = settings.size("block_count", 1..=1024)?;
        let context = settings.size("context_length", 1..=1 << 20)?.min(context_max.max(1));
        let vocabulary = settings.file.texts("tokenizer.ggml.tokens")?.len();
        let fit = |name: &str, holds: bool, why| {
            if holds { Ok(()) } else { Err(LoadError::unfit(&settings.key(name), why)) }
        };
        fit("embedding_length", width.is_multiple_of(32), "must be a multiple of 32")?;
        fit("feed_forward_length", inner.is_multiple_of(32), "must be a multiple of 32")?;
        fit(
            "attention.head_count_kv",
            heads.is_multiple_of(key_heads),
            "must divide the number of heads",
        )?;
        let head_width = if settings.number("attention.key_length")?.is_some() {
            settings.size("attention.key_length", 16..=1024)?
        } else {
            fit("attention.head_count", width.is_multiple_of(heads), "must divide the width")?;
            width.checked_div(heads).unwrap_or(0)
        };
        fit(
            "attention.head_count",
            head_width.is_multiple_of(16) && head_width > 0,
            "must give heads of a multiple of 16",
        )?;
        fit(
            "attention.head_count",
            heads.saturating_mul(head_width).is_multiple_of(32),
            "must give queries of a multiple of 32",
        )?;
        for name in ["rope.dimension_count", "attention.value_length"] {
            let same = settings.number(name)?.is_none_or(|length| length == head_width);
            fit(name, same, "must be the heads' width")?;
        }
        if let Some(size) = settings.number("vocab_size")? {
            fit("vocab_size", size == vocabulary, "must be the number of tokens")?;
        }
        let epsilon = settings.float("attention.layer_norm_rms_epsilon", 0.0..=1.0)?;
        let epsilon = epsilon
            .ok_or_else(|| LoadError::missing(&settings.key("attention.layer_norm_rms_epsilon")))?;
        Ok(Self {
            width,
            heads,
            key_heads,
            head_width,
            inner,
            layers,
            epsilon: narrow(epsilon),
            post_norms: family.post_norms,
            vocabulary,
            context,
        })
    }

    /// How many heads see the same keys.
    pub(super) fn shared(&self) -> usize {
        self.heads.checked_div(self.key_heads).unwrap_or(1)
    }

    pub(super) const fn query_width(&self) -> usize {
        self.heads.saturating_mul(self.head_width)
    }

    pub(super) const fn key_width(&self) -> usize {
        self.key_heads.saturating_mul(self.head_width)
    }
}

/// The settings of one family, whose keys start with its name.
struct Settings<'a, 'b> {
    file: &'a Gguf<'b>,
    family: &'static str,
}

impl Settings<'_, '_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    fn are_known(&self, family: &Family) -> Result<(), LoadError> {
        let prefix = self.key("");
        let known = |name: &str| {
            KNOWN.contains(&name) || family.windows && KNOWN_OF_WINDOWS.contains(&name)
        };
        let unknown = self
            .file
            .keys(&prefix)
            .find(|key| !key.strip_prefix(prefix.as_str()).is_some_and(known));
        unknown.map_or(Ok(()), |key| Err(LoadError::unsupported("setting", key)))
    }

    fn number(&self, name: &str) -> Result<Option<usize>, LoadError> {
        self.file.number(&self.key(name))
    }

    /// A number that must be there, in a range.
    fn size(&self, name: &str, range: RangeInclusive<usize>) -> Result<usize, LoadError> {
        let key = self.key(name);
        let number = self.file.number(&key)?.ok_or_else(|| LoadError::missing(&key))?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(LoadError::unfit(&key, "is out of range"))
        }
    }

    fn float(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, LoadError> {
        let key = self.key(name);
        match self.file.float(&key)? {
            Some(number) if !range.contains(&number) => {
                Err(LoadError::unfit(&key, "is out of range"))
            }
            number => Ok(number),
        }
    }

    fn rotation(&self) -> Result<Rotation, LoadError> {
        let base = self.float("rope.freq_base", BASES)?.unwrap_or(BASE);
        let kind = self.key("rope.scaling.type");
        let kind = self.file.value(&kind).map(|_| self.file.text(&kind)).transpose()?;
        let factor = match self.float("rope.scaling.factor", FACTORS)? {
            None => self.float("rope.scale_linear", FACTORS)?,
            factor => factor,
        };
        let scale = match (kind, factor) {
            (Some("none"), _) | (Some("linear") | None, None) => 1.0,
            (Some("linear") | None, Some(factor)) => 1.0 / narrow(factor),
            (Some(other), _) => return Err(LoadError::unsupported("rope scaling", other)),
        };
        Ok(Rotation { base, scale })
    }

    fn window(&self) -> Result<Option<Window>, LoadError> {
        let length = match self.number("attention.sliding_window")? {
            None | Some(0) => return Ok(None),
            Some(length) => length,
        };
        let every = self.number("attention.sliding_window_pattern")?.unwrap_or(6);
        let base = self.float("rope.freq_base_swa", BASES)?.unwrap_or(BASE);
        Ok(Some(Window { length, every, rotation: Rotation { base, scale: 1.0 } }))
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

const FAMILIES: [Family; 4] = [
    // Llama 1 to 3, Mistral, SmolLM.
    Family {
        name: "llama",
        pairs: Pairs::Neighbours,
        activation: Activation::Silu,
        head_norms: false,
        post_norms: false,
        scaled_embedding: false,
        windows: false,
    },
    Family {
        name: "qwen2",
        pairs: Pairs::Halves,
        activation: Activation::Silu,
        head_norms: false,
        post_norms: false,
        scaled_embedding: false,
        windows: false,
    },
    Family {
        name: "qwen3",
        pairs: Pairs::Halves,
        activation: Activation::Silu,
        head_norms: true,
        post_norms: false,
        scaled_embedding: false,
        windows: false,
    },
    Family {
        name: "gemma3",
        pairs: Pairs::Halves,
        activation: Activation::Gelu,
        head_norms: true,
        post_norms: true,
        scaled_embedding: true,
        windows: true,
    },
];

/// The settings that every family may have.
const KNOWN: [&str; 18] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.type",
    // These two say where a scaling comes from, and change no number of a linear one.
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "tensor_data_layout",
    "vocab_size",
];

/// The settings of families whose layers see windows.
const KNOWN_OF_WINDOWS: [&str; 3] =
    ["attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa"];

/// The base where the file names none.
const BASE: f64 = 10_000.0;
const BASES: RangeInclusive<f64> = 1.0..=1e12;
const FACTORS: RangeInclusive<f64> = 1e-3..=1e6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Writer;

    fn read(write: impl Fn(&mut Writer)) -> Result<Architecture, LoadError> {
        let mut writer = Writer::new();
        write(&mut writer);
        Architecture::read(&Gguf::parse(&writer.finish()).unwrap(), 64)
    }

    fn sizes(writer: &mut Writer, family: &str, inner: u32) {
        writer.text("general.architecture", family);
        writer.texts("tokenizer.ggml.tokens", &["a"]);
        for (key, value) in [
            ("embedding_length", 64),
            ("feed_forward_length", inner),
            ("attention.head_count", 2),
            ("block_count", 12),
            ("context_length", 8),
        ] {
            writer.u32(&format!("{family}.{key}"), value);
        }
        writer.f32(&format!("{family}.attention.layer_norm_rms_epsilon"), 1e-6);
    }

    #[test]
    fn a_model_that_is_not_understood_whole_is_not_run() {
        type Write = fn(&mut Writer);
        let cases: [(Write, &str); 12] = [
            (|w| w.text("general.architecture", "mamba"), "needs the architecture `mamba`"),
            (|w| w.text("general.architecture", "llama"), "lacks `llama.embedding_length`"),
            (|w| w.text("llama.rope.scaling.type", "yarn"), "needs the rope scaling `yarn`"),
            (|w| w.u32("llama.expert_count", 8), "needs the setting `llama.expert_count`"),
            (
                |w| w.u32("llama.attention.sliding_window", 8),
                "needs the setting `llama.attention.sliding_window`",
            ),
            (|w| w.u32("llama.rope.dimension_count", 16), "must be the heads' width"),
            (|w| w.u32("llama.attention.value_length", 16), "must be the heads' width"),
            (|w| w.u32("llama.attention.key_length", 24), "must give heads of a multiple of 16"),
            (|w| w.u32("llama.attention.head_count_kv", 3), "is out of range"),
            (|w| w.u32("llama.vocab_size", 3), "must be the number of tokens"),
            (|w| w.f32("llama.rope.freq_base", 0.5), "is out of range"),
            (|w| w.f32("llama.rope.scaling.factor", 0.0), "is out of range"),
        ];
        for (write, expected) in cases {
            let error = read(|writer| {
                write(writer);
                if !expected.contains("architecture") && !expected.contains("lacks") {
                    sizes(writer, "llama", 64);
                }
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
        let error = read(|writer| sizes(writer, "llama", 72)).unwrap_err().to_string();
        assert!(error.contains("must be a multiple of 32"), "{error}");
        let error = read(|writer| {
            sizes(writer, "gemma3", 64);
            writer.f32("gemma3.final_logit_softcapping", 30.0);
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`gemma3.final_logit_softcapping`"), "{error}");
    }

    #[test]
    fn the_traits_are_the_familys() {
        let gemma = read(|writer| {
            sizes(writer, "gemma3", 64);
            writer.u32("gemma3.attention.key_length", 16);
            writer.u32("gemma3.attention.sliding_window", 5);
            writer.f32("gemma3.rope.freq_base", 1e6);
            writer.f32("gemma3.rope.scaling.factor", 8.0);
        });
        let gemma = gemma.unwrap();
        assert_eq!((gemma.embedding_scale, gemma.query_scale), (Some(8.0), 0.25));
        assert_eq!((gemma.rotation.base, gemma.rotation.scale), (1e6, 0.125));
        let window = gemma.window.unwrap();
        assert_eq!((window.length, window.rotation.base, window.rotation.scale), (5, 1e4, 1.0));
        let windowed: Vec<usize> = (0..12).filter(|layer| window.holds(*layer)).collect();
        assert_eq!(windowed, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);

        let qwen = read(|writer| {
            sizes(writer, "qwen2", 64);
            writer.text("qwen2.rope.scaling.type", "none");
            writer.f32("qwen2.rope.scaling.factor", 4.0);
        });
        let qwen = qwen.unwrap();
        assert_eq!((qwen.embedding_scale, qwen.rotation.scale), (None, 1.0));
        assert!(qwen.window.is_none() && qwen.family.pairs == Pairs::Halves);
    }
}
