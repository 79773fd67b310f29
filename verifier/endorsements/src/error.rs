//! Why an endorsement cannot be had.

use std::fmt;

use attestation::{Malformed, UnixTime};

/// An item that could not be had: the reader may try again later; nothing was decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unavailable {
    /// The item's name.
    pub item: String,
    /// Who was asked last, where somebody was.
    pub url: Option<String>,
    /// What went wrong.
    pub why: Why,
}

/// What went wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// No connection, or one that TLS refused.
    Unreachable(String),
    /// No answer in time.
    TimedOut,
    /// The answer broke off.
    CutOff,
    /// The answer is longer than any that is right.
    TooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// The service asks to be left alone for a while.
    RateLimited {
        /// Until then.
        until: UnixTime,
    },
    /// The service has no such document.
    NotFound,
    /// Another status than 200.
    Status(u16),
    /// The service sends us elsewhere; only the configuration says where to ask.
    Redirected(u16),
    /// The answer is of a media type that none of these services sends.
    MediaType(String),
    /// The answer does not parse, or has parts that it must not have.
    Malformed(Malformed),
    /// The answer is well-formed, and about something else.
    OtherSubject(&'static str),
    /// The answer does not repeat the request's nonce.
    Nonce,
    /// The answer had ended before it came.
    Ended(UnixTime),
    /// The answer begins in the future.
    NotYet(UnixTime),
    /// The answer is older than one that was seen before.
    RolledBack {
        /// What is compared.
        what: &'static str,
        /// The newest seen.
        seen: u64,
        /// What came.
        got: u64,
    },
    /// The memory of evaluation numbers cannot be used.
    Marks(String),
    /// Nothing is kept, and the network may not be used.
    Offline,
    /// The system gives no randomness.
    NoRandomness,
}

impl Unavailable {
    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        self.why.code()
    }
}

impl Why {
    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "service-unreachable",
            Self::TimedOut => "service-timed-out",
            Self::CutOff => "answer-cut-off",
            Self::TooLong { .. } => "answer-too-long",
            Self::RateLimited { .. } => "rate-limited",
            Self::NotFound => "not-at-the-service",
            Self::Status(_) => "service-status",
            Self::Redirected(_) => "service-redirects",
            Self::MediaType(_) => "answer-media-type",
            Self::Malformed(_) => "answer-malformed",
            Self::OtherSubject(_) => "answer-other-subject",
            Self::Nonce => "answer-nonce",
            Self::Ended(_) => "answer-ended",
            Self::NotYet(_) => "answer-not-yet-valid",
            Self::RolledBack { .. } => "answer-rolled-back",
            Self::Marks(_) => "marks-unusable",
            Self::Offline => "offline",
            Self::NoRandomness => "no-randomness",
        }
    }

    /// Whether the same question may be answered better in a moment.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::TimedOut
            | Self::CutOff
            | Self::RateLimited { .. }
            // A service's clock may be a moment ahead.
            | Self::NotYet(_)
            | Self::Status(408 | 500..=599) => true,
            Self::TooLong { .. }
            | Self::NotFound
            | Self::Status(_)
            | Self::Redirected(_)
            | Self::MediaType(_)
            | Self::Malformed(_)
            | Self::OtherSubject(_)
            | Self::Nonce
            | Self::Ended(_)
            | Self::RolledBack { .. }
            | Self::Marks(_)
            | Self::Offline
            | Self::NoRandomness => false,
        }
    }
}

impl From<Malformed> for Why {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the service cannot be reached: {why}"),
            Self::TimedOut => f.write_str("the service did not answer in time"),
            Self::CutOff => f.write_str("the answer broke off"),
            Self::TooLong { limit } => write!(f, "the answer has more than {limit} octets"),
            Self::RateLimited { until } => {
                write!(f, "the service wants no more requests before {until}")
            }
            Self::NotFound => f.write_str("the service has no such document"),
            Self::Status(status) => write!(f, "the service answered with status {status}"),
            Self::Redirected(status) => {
                write!(f, "the service points elsewhere (status {status}), which is not followed")
            }
            Self::MediaType(kind) => write!(f, "the answer is of type {kind}"),
            Self::Malformed(malformed) => write!(f, "the answer is refused: {malformed}"),
            Self::OtherSubject(what) => write!(f, "the answer is about another {what}"),
            Self::Nonce => f.write_str("the answer does not repeat the request's nonce"),
            Self::Ended(at) => write!(f, "the answer ended at {at}"),
            Self::NotYet(at) => write!(f, "the answer begins at {at}"),
            Self::RolledBack { what, seen, got } => {
                write!(f, "the answer has {what} {got}, and {seen} was seen before")
            }
            Self::Marks(why) => write!(f, "the memory of evaluation numbers: {why}"),
            Self::Offline => f.write_str("it is not kept here, and the network may not be used"),
            Self::NoRandomness => f.write_str("the system gives no randomness"),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.why)?;
        match &self.url {
            Some(url) => write!(f, " ({url})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Unavailable {}
