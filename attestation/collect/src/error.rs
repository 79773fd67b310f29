use std::{error, fmt, io};

use attestation::Malformed;

/// Why there is no evidence.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CollectError {
    /// This machine has no such interface: no confidential guest, or a kernel without it.
    Absent {
        /// The interface.
        interface: &'static str,
    },
    /// The interface belongs to another platform.
    WrongProvider {
        /// What the configured platform calls itself.
        expected: &'static str,
        /// What it calls itself, cut to a bounded length.
        found: String,
    },
    /// The system refused an operation.
    Io {
        /// The operation.
        operation: &'static str,
        /// The kind of the system's error.
        kind: io::ErrorKind,
    },
    /// Somebody else wrote to our report instance, every time that we tried.
    Raced,
    /// The report does not sign what we asked for.
    Stale,
    /// The platform or the queue has too much to do: try again later.
    Busy,
    /// The platform refused.
    Refused,
    /// What came is not what it claims to be.
    Malformed(Malformed),
    /// No answer in time.
    TimedOut,
    /// The collector has ended.
    Closed,
}

impl CollectError {
    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "platform-absent",
            Self::WrongProvider { .. } => "platform-wrong-provider",
            Self::Io { .. } => "platform-io",
            Self::Raced => "platform-raced",
            Self::Stale => "platform-stale",
            Self::Busy => "platform-busy",
            Self::Refused => "platform-refused",
            Self::Malformed(_) => "platform-malformed",
            Self::TimedOut => "platform-timed-out",
            Self::Closed => "platform-closed",
        }
    }

    /// A file that is not there means that the interface is not.
    pub(crate) fn open(interface: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            if error.kind() == io::ErrorKind::NotFound {
                Self::Absent { interface }
            } else {
                Self::Io { operation: interface, kind: error.kind() }
            }
        }
    }

    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { operation, kind: error.kind() }
    }
}

impl fmt::Display for CollectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { interface } => {
                write!(
                    f,
                    "{interface} is not there: this is no confidential guest, its kernel is too old, or the configured path is wrong"
                )
            }
            Self::WrongProvider { expected, found } => {
                write!(f, "the platform calls itself {found:?}, not {expected}")
            }
            Self::Io { operation, kind } => write!(f, "{operation}: {kind}"),
            Self::Raced => f.write_str("another process keeps writing to our report instance"),
            Self::Stale => f.write_str("the report does not sign what was asked for"),
            Self::Busy => f.write_str("too much to do, try again later"),
            Self::Refused => f.write_str("the platform refused"),
            Self::Malformed(malformed) => write!(f, "the platform answered badly: {malformed}"),
            Self::TimedOut => f.write_str("the platform did not answer in time"),
            Self::Closed => f.write_str("the collector has ended"),
        }
    }
}

impl error::Error for CollectError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Malformed(malformed) => Some(malformed),
            Self::Absent { .. }
            | Self::WrongProvider { .. }
            | Self::Io { .. }
            | Self::Raced
            | Self::Stale
            | Self::Busy
            | Self::Refused
            | Self::TimedOut
            | Self::Closed => None,
        }
    }
}

impl From<Malformed> for CollectError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
