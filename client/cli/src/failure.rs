//! Why a command did not do what it was asked: a code, a sentence, a next step, an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use client::{Error, Family, PolicyUnusable};

use crate::output::shown_lines;

/// A failure, ready to be told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    next: String,
    exit: u8,
}

impl Failure {
    pub(crate) fn new(family: Family, code: &str, message: String, next: &str) -> Self {
        Self { code: code.to_owned(), message, next: next.to_owned(), exit: family.exit_code() }
    }

    /// What was asked for cannot be done as asked.
    pub(crate) fn usage(message: String, next: &str) -> Self {
        Self::new(Family::Usage, "usage", message, next)
    }

    /// Trying again may help.
    pub(crate) fn unavailable(code: &str, message: String, next: &str) -> Self {
        Self::new(Family::Unavailable, code, message, next)
    }

    /// We are wrong.
    pub(crate) fn bug(message: String) -> Self {
        Self::new(Family::Bug, "bug", message, "please report this")
    }

    /// What the reader can do.
    pub(crate) fn next(&self) -> &str {
        &self.next
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }

    /// Tells it on standard error, and gives the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        // Where standard error is closed nobody is left to tell.
        drop(writeln!(io::stderr(), "{}", self.told()));
        ExitCode::from(self.exit)
    }

    fn told(&self) -> String {
        let Self { code, message, next, exit: _ } = self;
        // A finding may quote the evidence.
        shown_lines(&format!("veritee: {message}\n  code  {code}\n  next  {next}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.family(), error.code(), error.to_string(), error.next_step())
    }
}

impl From<PolicyUnusable> for Failure {
    fn from(error: PolicyUnusable) -> Self {
        let next = "`veritee policy lint FILE` says what is wrong with it";
        match error.why {
            client::Unusable::Unreadable(_) => {
                Self::usage(error.to_string(), "name a file that can be read")
            }
            client::Unusable::Malformed(_) => {
                Self::new(Family::Malformed, "policy-malformed", error.to_string(), next)
            }
            client::Unusable::NotSigned(_) => {
                let next = "get the policy from whoever signs it, with the file .sig beside it";
                Self::new(Family::Rejected, "policy-not-signed", error.to_string(), next)
            }
            client::Unusable::SignatureInvalid(_) => {
                let next = "get policy, files and signature again from whoever signs them";
                Self::new(Family::Rejected, "policy-signature-invalid", error.to_string(), next)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded_by_what_an_error_quotes() {
        let error = Error::Aborted("a\u{1b}[2J\u{9b}31m\rb\nc".to_owned());
        let told = Failure::from(error).told();
        assert!(told.contains("a[U+001B][2J[U+009B]31m[U+000D]b\nc"), "{told:?}");
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
}
