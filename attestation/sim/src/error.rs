//! What can go wrong in the simulated platform.

use std::path::PathBuf;
use std::{error, fmt, io};

/// Why the simulated platform could not do what it was asked.
#[derive(Debug)]
pub enum SimError {
    /// A cryptographic operation failed; the text names it.
    Crypto(&'static str),
    /// A file could not be read or written.
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stored file is not what this program writes.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The folder holds a test PKI that has not expired.
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no test PKI.
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The test PKI has expired.
    Expired {
        /// The folder.
        path: PathBuf,
    },
    /// An argument is out of its range; the text says which and why.
    Argument(String),
}

impl SimError {
    /// Says which file an error of the system is about.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crypto(what) => write!(f, "{what} failed"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Damaged { path, what } => {
                write!(
                    f,
                    "{}: {what}; make a new test PKI with `veritee-sim init --force`",
                    path.display()
                )
            }
            Self::Exists { path } => write!(
                f,
                "{} holds a test PKI that is still valid; `--force` replaces it, `veritee-sim policy` renders its policy again",
                path.display()
            ),
            Self::Missing { path } => {
                write!(f, "{} holds no test PKI; run `veritee-sim init` first", path.display())
            }
            Self::Expired { path } => {
                write!(
                    f,
                    "the test PKI in {} has expired; run `veritee-sim init` again",
                    path.display()
                )
            }
            Self::Argument(what) => f.write_str(what),
        }
    }
}

impl error::Error for SimError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Crypto(_)
            | Self::Damaged { .. }
            | Self::Exists { .. }
            | Self::Missing { .. }
            | Self::Expired { .. }
            | Self::Argument(_) => None,
        }
    }
}
