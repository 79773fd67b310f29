//! Why a connection was not made.

use std::error::Error as StdError;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error as Rustls, OtherError, PeerIncompatible};

use crate::pin::SpkiPin;

/// Why a connection was not made, or ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsError {
    /// The handshake took too long.
    Timeout,
    /// So many handshakes came after this one that it had to make room.
    Displaced,
    /// The key exchange was not X25519MLKEM768.
    NotPostQuantum,
    /// The peer does not speak TLS 1.3 with X25519MLKEM768, or not HTTP/1.1.
    NothingInCommon,
    /// What came is not TLS: plain HTTP, most likely.
    NotTls,
    /// The peer's public key is none of those that are pinned.
    NotPinned {
        /// The key that it has.
        found: SpkiPin,
    },
    /// The client showed no certificate.
    NoCertificate,
    /// The peer's certificate is not good for its name, or not at this time, or nobody known vouches for it.
    Certificate(String),
    /// The peer refused us with this alert (RFC 8446 §6).
    Refused(String),
    /// The peer broke the protocol.
    Protocol(String),
    /// The address is not one for this way of connecting: `https` without TLS, or `http` with it.
    Scheme,
    /// The connection under it broke.
    Io(io::ErrorKind),
}

impl TlsError {
    /// A stable name for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Timeout => "tls-handshake-timeout",
            Self::Displaced => "tls-handshake-displaced",
            Self::NotPostQuantum => "not-post-quantum",
            Self::NothingInCommon => "tls-nothing-in-common",
            Self::NotTls => "not-tls",
            Self::NotPinned { .. } => "spki-not-pinned",
            Self::NoCertificate => "tls-no-client-certificate",
            Self::Certificate(_) => "tls-certificate-refused",
            Self::Refused(_) => "tls-refused-by-peer",
            Self::Protocol(_) => "tls-protocol",
            Self::Scheme => "tls-scheme",
            Self::Io(_) => "tls-connection",
        }
    }

    /// The TLS error that is the cause of another one, where there is one.
    ///
    /// A client learns that its certificate was refused only when it reads, long after its own handshake: such an error
    /// comes out of whatever was reading.
    pub fn cause_of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.clone());
            }
            if let Some(found) = error.downcast_ref::<Rustls>() {
                return Some(Self::from_rustls(found));
            }
            // An `io::Error` shows the source of what is inside it, and not what is inside.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inside {
                Some(inside) => Some(inside),
                None => error.source(),
            };
        }
        None
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        Self::cause_of(error).unwrap_or_else(|| Self::Io(error.kind()))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's list may grow")]
    fn from_rustls(error: &Rustls) -> Self {
        match error {
            Rustls::NoCertificatesPresented => Self::NoCertificate,
            Rustls::InvalidMessage(_) => Self::NotTls,
            Rustls::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => Self::NotPostQuantum,
            Rustls::PeerIncompatible(_) | Rustls::NoApplicationProtocol => Self::NothingInCommon,
            Rustls::InvalidCertificate(why) => Self::from_certificate(why),
            Rustls::AlertReceived(alert) => Self::from_alert(*alert),
            other => Self::Protocol(other.to_string()),
        }
    }

    fn from_certificate(why: &CertificateError) -> Self {
        if let CertificateError::Other(OtherError(other)) = why
            && let Some(NotPinned { found }) = other.downcast_ref()
        {
            return Self::NotPinned { found: *found };
        }
        Self::Certificate(why.to_string())
    }

    /// What a server says to one that offers other groups or versions, and whatever else it may say.
    fn from_alert(alert: AlertDescription) -> Self {
        use AlertDescription::{HandshakeFailure, NoApplicationProtocol, ProtocolVersion};
        if matches!(alert, HandshakeFailure | NoApplicationProtocol | ProtocolVersion) {
            return Self::NothingInCommon;
        }
        Self::Refused(format!("{alert:?}"))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the TLS handshake took too long"),
            Self::Displaced => f.write_str("the TLS handshake made room for others"),
            Self::NotPostQuantum => f.write_str("the key exchange is not X25519MLKEM768"),
            Self::NothingInCommon => {
                f.write_str("the peer does not speak HTTP/1.1 over TLS 1.3 with X25519MLKEM768")
            }
            Self::NotTls => f.write_str("the peer does not speak TLS"),
            Self::NotPinned { found } => {
                write!(f, "the peer's key is {found}, which is not pinned")
            }
            Self::NoCertificate => f.write_str("the client showed no certificate"),
            Self::Certificate(why) => write!(f, "the peer's certificate is refused: {why}"),
            Self::Refused(alert) => write!(f, "the peer refused the connection: {alert}"),
            Self::Protocol(why) => write!(f, "the peer broke the TLS protocol: {why}"),
            Self::Scheme => f.write_str("https is needed exactly where TLS is"),
            Self::Io(kind) => write!(f, "the connection failed: {kind}"),
        }
    }
}

impl StdError for TlsError {}

/// What a verifier says through the TLS library.
#[derive(Debug)]
pub(crate) struct NotPinned {
    pub(crate) found: SpkiPin,
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not pinned", self.found)
    }
}

impl StdError for NotPinned {}
