//! The model: read once, verified by its digest, described by a manifest.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use attestation::manifest::Weights;
use attestation::{Digest, ModelManifest, Sha256};
use engine::{
    EmbeddedEngine, EngineOptions, LoadError, ModelDescription, ReadError, VerifiedModel,
};

use crate::config::{self, Config};
use crate::process::ProcessError;

/// Opens the model's file, and says how long it is.
///
/// # Errors
/// [`ModelError::Unreadable`].
pub fn open(model: &config::Model, folder: &Path) -> Result<(File, u64), ModelError> {
    let path = model.file(folder);
    let unreadable =
        |error: std::io::Error| ModelError::Unreadable { path: path.clone(), kind: error.kind() };
    let file = File::open(&path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    Ok((file, len))
}

/// Reads the model's file into memory, once, and verifies it: what was hashed is what is parsed.
///
/// # Errors
/// [`ModelError::Unreadable`], [`ModelError::TooLarge`] and [`ModelError::Refused`].
pub fn read(model: &config::Model, folder: &Path) -> Result<VerifiedModel, ModelError> {
    let (file, len) = open(model, folder)?;
    VerifiedModel::read(file, len, model.sha256.0, drop).map_err(|error| match error {
        ReadError::Unreadable(error) => {
            ModelError::Unreadable { path: model.file(folder), kind: error.kind() }
        }
        ReadError::TooLarge { len } => ModelError::TooLarge { len },
        ReadError::Refused(error) => ModelError::Refused(error),
    })
}

/// Starts the engine that the configuration describes.
///
/// # Errors
/// [`ModelError::Refused`].
pub fn start(config: &Config, model: VerifiedModel) -> Result<EmbeddedEngine, ModelError> {
    EmbeddedEngine::load(model, options(config)).map_err(ModelError::Refused)
}

/// What the configuration lets an engine use.
pub(crate) fn options(config: &Config) -> EngineOptions {
    let config::Engine { threads, slots, queue, context, kv_mib } = config.engine;
    EngineOptions {
        threads: threads.into(),
        slots: slots.into(),
        queue: queue.into(),
        context,
        kv_bytes: u64::from(kv_mib) << 20,
    }
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
    /// The files that another program serves have another digest than the configuration's.
    OtherFiles {
        /// The digest in the configuration.
        expected: Sha256,
        /// The files'.
        actual: Sha256,
    },
    /// The engine has no process to run in.
    Process(ProcessError),
}

impl ModelError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "model-unreadable",
            Self::TooLarge { .. } => "model-too-large",
            Self::OtherFiles { .. } => "model-other-files",
            Self::Refused(error) => error.code(),
            Self::Process(error) => error.code(),
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
            Self::OtherFiles { expected, actual } => {
                write!(f, "the configuration names the files {expected}, they are {actual}")
            }
            Self::Refused(error) => write!(f, "the model is refused: {error}"),
            Self::Process(error) => write!(f, "the engine cannot run: {error}"),
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Process(error) => Some(error),
            Self::Unreadable { .. } | Self::TooLarge { .. } | Self::OtherFiles { .. } => None,
        }
    }
}
