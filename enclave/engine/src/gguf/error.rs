//! Why a model is refused.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::plain::{Word, word};

/// Why a model is not loaded.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum LoadError {
    /// The bytes are not the model that was asked for.
    DigestMismatch {
        /// The digest that the manifest pins.
        expected: [u8; 32],
        /// The digest of the bytes at hand.
        actual: [u8; 32],
    },
    /// The bytes are no well-formed GGUF file.
    Malformed {
        /// Which part.
        #[serde(with = "word")]
        what: Word,
        /// What is wrong with it.
        #[serde(with = "word")]
        why: Word,
        /// Where in the file the reader stood.
        offset: usize,
    },
    /// The model needs something that this engine does not have.
    Unsupported {
        /// The kind of thing: an architecture, a tensor type, a tensor …
        #[serde(with = "word")]
        what: Word,
        /// Its name in the file.
        name: String,
    },
    /// Something that the architecture needs is not in the file.
    Missing {
        /// The metadata key or tensor name.
        name: String,
    },
    /// Something is in the file, and is not what the architecture needs.
    Unfit {
        /// The metadata key or tensor name.
        name: String,
        /// What it must be.
        #[serde(with = "word")]
        why: Word,
    },
    /// The keys and values of one prompt and answer, as long as they may be, need more than all may take.
    Memory {
        /// Octets that one needs.
        needed: u64,
        /// Octets that all may take ([`EngineOptions::kv_bytes`](crate::EngineOptions::kv_bytes)).
        allowed: u64,
    },
    /// The operating system refused a thread.
    Threads,
}

impl LoadError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DigestMismatch { .. } => "model-digest-mismatch",
            Self::Malformed { .. } => "model-malformed",
            Self::Unsupported { .. } => "model-not-supported",
            Self::Missing { .. } => "model-incomplete",
            Self::Unfit { .. } => "model-inconsistent",
            Self::Memory { .. } => "engine-kv-too-small",
            Self::Threads => "engine-no-threads",
        }
    }

    pub(crate) fn unfit(name: &str, why: &'static str) -> Self {
        Self::Unfit { name: name.to_owned(), why }
    }

    pub(crate) fn unsupported(what: &'static str, name: &str) -> Self {
        Self::Unsupported { what, name: name.to_owned() }
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::Missing { name: name.to_owned() }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestMismatch { expected, actual } => {
                write!(f, "the model's SHA-256 is {}, not {}", Hex(actual), Hex(expected))
            }
            Self::Malformed { what, why, offset } => {
                write!(f, "not a GGUF file that can be read: {what} {why} (at byte {offset})")
            }
            Self::Unsupported { what, name } => {
                write!(f, "the model needs the {what} `{name}`, which this engine does not have")
            }
            Self::Missing { name } => write!(f, "the model lacks `{name}`"),
            Self::Unfit { name, why } => write!(f, "the model's `{name}` {why}"),
            Self::Memory { needed, allowed } => write!(
                f,
                "a prompt and answer as long as the context need {} MiB of keys and values, and {} MiB are all that may be taken: allow more (`engine.kv_mib`), or a shorter context",
                needed.div_ceil(1 << 20),
                allowed >> 20
            ),
            Self::Threads => f.write_str("the operating system refused a thread"),
        }
    }
}

impl core::error::Error for LoadError {}

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
