//! Standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::failure::Failure;

/// Where results and remarks go.
#[derive(Debug)]
pub(crate) struct Out {
    notes: Notes,
}

/// Where remarks go.
#[derive(Clone, Copy, Debug)]
enum Notes {
    /// Standard error: what is on standard output is the result alone.
    Apart,
    /// Standard output: the remarks are part of the show, in their order.
    Along,
}

impl Out {
    /// The process's own.
    pub(crate) const fn standard() -> Self {
        Self { notes: Notes::Apart }
    }

    /// Both on standard output.
    pub(crate) const fn together() -> Self {
        Self { notes: Notes::Along }
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.text(format_args!("{text}\n"))
    }

    /// Part of a line of the result, which shows at once.
    #[expect(clippy::unused_self, reason = "only who has an `Out` writes")]
    pub(crate) fn text(&self, text: impl Display) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
            let message = format!("cannot write to standard output: {error}");
            Failure::unavailable("output-closed", message, "keep the reader of the output open")
        })
    }

    /// A line about what is being done.
    pub(crate) fn note(&self, text: impl Display) {
        let text = printable(&text.to_string());
        // Where nobody reads nobody wants to know.
        drop(match self.notes {
            Notes::Apart => writeln!(io::stderr().lock(), "{text}"),
            Notes::Along => writeln!(io::stdout().lock(), "{text}"),
        });
    }
}

/// Text for people: a terminal obeys control characters, and neither a model nor whoever made the
/// evidence may command it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
