//! Why a request was not opened: many reasons inside, few constant answers outside.

use core::fmt;

use crate::chunks::Misframed;

/// Why a sealed request was refused. For the enclave's own counters: the sender sees an [`Outer`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refused {
    /// The header is not as long as a header is.
    Length,
    /// The header names a KEM, KDF or AEAD that we do not speak.
    UnknownSuite,
    /// No key with this id is accepted now.
    UnknownKey,
    /// The key was zeroised between its look-up and its use.
    KeyRetired,
    /// A request with this encapsulated key was accepted before (`docs/protocol.md` §5.5).
    Replayed,
    /// The key's replay set is full, which ends the key (`docs/protocol.md` §5.1).
    ReplaySetFull,
    /// The chunks are not framed as chunks are.
    Framing(Misframed),
    /// The encapsulated key or a chunk did not authenticate.
    Unauthentic,
}

/// The answers that the outside may see, each with one constant body (`docs/protocol.md` §5.9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outer {
    /// 400: this key and request do not go together; fetch evidence and seal anew.
    Key,
    /// 413: the request is larger than the limit.
    TooLarge,
    /// 503: try again later, or at another enclave.
    Busy,
}

impl Refused {
    /// What the sender is told.
    pub const fn outer(self) -> Outer {
        match self {
            Self::ReplaySetFull => Outer::Busy,
            Self::Framing(Misframed::TooLarge) => Outer::TooLarge,
            Self::Length
            | Self::UnknownSuite
            | Self::UnknownKey
            | Self::KeyRetired
            | Self::Replayed
            | Self::Framing(_)
            | Self::Unauthentic => Outer::Key,
        }
    }

    /// A stable name for counters and tests.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Length => "refused-length",
            Self::UnknownSuite => "refused-unknown-suite",
            Self::UnknownKey => "refused-unknown-key",
            Self::KeyRetired => "refused-key-retired",
            Self::Replayed => "refused-replayed",
            Self::ReplaySetFull => "refused-replay-set-full",
            Self::Framing(_) => "refused-framing",
            Self::Unauthentic => "refused-unauthentic",
        }
    }
}

impl Outer {
    /// The status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::Key => 400,
            Self::TooLarge => 413,
            Self::Busy => 503,
        }
    }

    /// The constant body, `application/problem+json` (RFC 9458 §5.3 for the key's).
    pub const fn body(self) -> &'static str {
        match self {
            Self::Key => {
                r#"{"type":"https://iana.org/assignments/http-problem-types#ohttp-key","title":"key configuration not acceptable","status":400}"#
            }
            Self::TooLarge => r#"{"type":"about:blank","title":"content too large","status":413}"#,
            Self::Busy => r#"{"type":"about:blank","title":"service unavailable","status":503}"#,
        }
    }
}

impl From<Misframed> for Refused {
    fn from(why: Misframed) -> Self {
        Self::Framing(why)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the request header has the wrong length"),
            Self::UnknownSuite => f.write_str("the request names a suite that is not spoken here"),
            Self::UnknownKey => f.write_str("the request names a key that is not accepted now"),
            Self::KeyRetired => f.write_str("the request's key has been zeroised"),
            Self::Replayed => f.write_str("a request with this encapsulated key was seen before"),
            Self::ReplaySetFull => f.write_str("the key has taken all the requests it may"),
            Self::Framing(why) => why.fmt(f),
            Self::Unauthentic => f.write_str("the request does not authenticate"),
        }
    }
}

impl core::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_cryptography_look_alike_from_outside() {
        for why in [
            Refused::Length,
            Refused::UnknownSuite,
            Refused::UnknownKey,
            Refused::KeyRetired,
            Refused::Replayed,
            Refused::Unauthentic,
            Refused::Framing(Misframed::Truncated),
            Refused::Framing(Misframed::Empty),
        ] {
            assert_eq!(why.outer(), Outer::Key, "{why}");
        }
        assert_eq!(Outer::Key.status(), 400);
        assert!(Outer::Key.body().contains("#ohttp-key"));
    }
}
