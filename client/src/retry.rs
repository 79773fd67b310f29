//! When a request is sealed again for another enclave (`docs/protocol.md` §5.6).
//!
//! At most twice, only before any response octet, and only where the answer says that nothing was
//! carried out: busy (503), not there (421) or another key (400 `#ohttp-key`). A connection that
//! died may have carried the request out, so asking again is the caller's to decide.

use crate::error::Error;

/// What an outer answer that is no response means. It is unauthenticated: a hint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hint {
    /// This enclave cannot take the request now; another may.
    Busy,
    /// This enclave is gone.
    Gone,
    /// The key is not accepted: its epoch ended, say.
    Key,
    /// Nothing that another enclave would answer differently.
    Final,
}

/// An outer answer that is no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) hint: Hint,
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    /// Reads a status and the problem's type.
    pub(crate) fn read(status: u16, problem: &[u8], retry_after: Option<u32>) -> Self {
        let (hint, code) = match status {
            400 if names_key_problem(problem) => (Hint::Key, "ohttp-key"),
            401 => (Hint::Final, "unauthorized"),
            402 => (Hint::Final, "payment-required"),
            404 => (Hint::Final, "not-found"),
            413 => (Hint::Final, "request-too-large"),
            415 => (Hint::Final, "media-type"),
            421 => (Hint::Gone, "misdirected"),
            429 => (Hint::Final, "too-many-requests"),
            502 => (Hint::Final, "enclave-broke"),
            503 => (Hint::Busy, "busy"),
            504 => (Hint::Final, "enclave-timed-out"),
            _ => (Hint::Final, "unexpected-status"),
        };
        Self { hint, status, code, retry_after }
    }

    /// Whether the enclave should be looked at again before anything else is sealed to it. What is said of
    /// the key, the limits or the size of who asks, or that there is much to do, says nothing of it.
    pub(crate) const fn is_about_the_enclave(&self) -> bool {
        match self.hint {
            Hint::Gone | Hint::Key => true,
            Hint::Busy => false,
            Hint::Final => !matches!(self.status, 401 | 402 | 413 | 415 | 429),
        }
    }

    pub(crate) const fn into_error(self) -> Error {
        let Self { status, code, retry_after, hint: _ } = self;
        Error::Outer { status, code, retry_after }
    }
}

/// Counts re-seals.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    resealed: u8,
}

impl Attempts {
    /// Says whether to seal again after `refusal`.
    ///
    /// # Errors
    /// The refusal, where sealing again is not allowed or would not help.
    pub(crate) fn again(&mut self, refusal: Refusal) -> Result<(), Error> {
        if refusal.hint == Hint::Final || self.resealed >= RESEALS_MAX {
            return Err(refusal.into_error());
        }
        self.resealed = self.resealed.saturating_add(1);
        Ok(())
    }
}

/// The type of the problem, read from JSON of any spelling.
fn names_key_problem(problem: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Problem {
        r#type: String,
    }
    serde_json::from_slice::<Problem>(problem).is_ok_and(|problem| problem.r#type == KEY_PROBLEM)
}

/// RFC 9458 §5.3.
const KEY_PROBLEM: &str = "https://iana.org/assignments/http-problem-types#ohttp-key";

/// Most automatic re-seals of one request (`docs/protocol.md` §5.6).
const RESEALS_MAX: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reseals_and_only_where_nothing_ran() {
        let key = format!("{{\"title\":\"x\", \"type\":\"{KEY_PROBLEM}\"}}");
        for (status, body, allowed) in [
            (503, "", 2),
            (421, "", 2),
            (400, key.as_str(), 2),
            (400, "{\"type\":\"about:blank\"}", 0),
            (400, "", 0),
            (401, "", 0),
            (404, "", 0),
            (413, "", 0),
            (429, "", 0),
            (500, "", 0),
            (502, "", 0),
            (504, "", 0),
            (200, "", 0),
        ] {
            let mut attempts = Attempts::default();
            let refusal = Refusal::read(status, body.as_bytes(), None);
            let granted = (0..5).take_while(|_| attempts.again(refusal).is_ok()).count();
            assert_eq!(granted, allowed, "{status} {body}");
            assert!(
                matches!(attempts.again(refusal), Err(Error::Outer { status: s, .. }) if s == status)
            );
        }
    }
}
