//! The model: read once, verified by its digest, described by a manifest.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use attestation::manifest::Weights;
use attestation::{Digest, ModelManifest};
use engine::{EmbeddedEngine, EngineOptions, LoadError, ModelDescription, VerifiedModel};

use crate::config::{self, Config};

/// Reads the model's file into memory, once, and verifies it: what was hashed is what is parsed.
///
/// # Errors
/// [`ModelError::Unreadable`], [`ModelError::TooLarge`] and [`ModelError::Refused`].
pub fn read(model: &config::Model, folder: &Path) -> Result<VerifiedModel, ModelError> {
    let path = model.file(folder);
    let unreadable =
        |error: std::io::Error| ModelError::Unreadable { path: path.clone(), kind: error.kind() };
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    if len > FILE_LEN_MAX {
        return Err(ModelError::TooLarge { len });
    }
    let mut bytes = Vec::new();
    let room = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(room).map_err(|_| ModelError::TooLarge { len })?;
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    VerifiedModel::check(bytes, model.sha256.0).map_err(ModelError::Refused)
}

/// Starts the engine that the configuration describes.
///
/// # Errors
/// [`ModelError::Refused`].
pub fn start(config: &Config, model: VerifiedModel) -> Result<EmbeddedEngine, ModelError> {
    let config::Engine { threads, slots, queue, context } = config.engine;
    let options = EngineOptions {
        threads: threads.into(),
        slots: slots.into(),
        queue: queue.into(),
        context,
    };
    EmbeddedEngine::load(model, options).map_err(ModelError::Refused)
}

/// The manifest of a model under the names that the configuration gives it.
pub fn manifest(names: &[String], description: &ModelDescription) -> ModelManifest {
    let ModelDescription {
        weights_sha256,
        tokenizer_sha256,
        template_sha256,
        numeric_profile,
        architecture: _,
        context_length: _,
    } = description;
    ModelManifest {
        schema: 1,
        names: names.to_vec(),
        weights: Weights { format: "gguf".to_owned(), sha256: Digest(*weights_sha256) },
        tokenizer_sha256: Digest(*tokenizer_sha256),
        template_sha256: Digest(*template_sha256),
        numeric_profile: (*numeric_profile).to_owned(),
    }
}

/// Why there is no model.
#[derive(Debug)]
pub enum ModelError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        kind: std::io::ErrorKind,
    },
    /// The file is larger than memory, or than any model that this engine runs.
    TooLarge {
        /// Its length.
        len: u64,
    },
    /// The engine refuses it: another digest than the configuration's, or a format that it lacks.
    Refused(LoadError),
}

impl ModelError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model-unreadable",
            Self::TooLarge { .. } => "model-too-large",
            Self::Refused(error) => error.code(),
        }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, kind } => {
                write!(f, "the model {} cannot be read: {kind}", path.display())
            }
            Self::TooLarge { len } => {
                write!(f, "the model has {len} bytes, more than there is memory for")
            }
            Self::Refused(error) => write!(f, "the model is refused: {error}"),
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Unreadable { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// 256 GiB: more than the memory of any guest that this release runs in.
const FILE_LEN_MAX: u64 = 256 << 30;
