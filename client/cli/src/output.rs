//! Standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::failure::Failure;

/// Where results go.
#[derive(Debug)]
pub(crate) struct Out(());

impl Out {
    /// The process's own.
    pub(crate) const fn standard() -> Self {
        Self(())
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.text(format_args!("{text}\n"))
    }

    /// Part of a line of the result, which shows at once.
    pub(crate) fn text(&self, text: impl Display) -> Result<(), Failure> {
        let Self(()) = self;
        let mut out = io::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
            let message = format!("cannot write to standard output: {error}");
            Failure::unavailable("output-closed", message, "keep the reader of the output open")
        })
    }

    /// A line about what is being done.
    pub(crate) fn note(&self, text: impl Display) {
        let Self(()) = self;
        // Where standard error is closed nobody wants to know.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
}
