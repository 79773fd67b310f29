//! TLS for the two legs of a request: client to router, and router to enclave (`docs/protocol.md` §5.6).
//!
//! There is one way to speak it: TLS 1.3, the hybrid key exchange X25519MLKEM768 and nothing beside it, HTTP/1.1, no
//! resumption and no early data. A peer is known by a public certificate authority ([`Servers::Authorities`]), or by the
//! SHA-256 of its public key ([`Pins`]); in the second case names, dates and issuers of its certificate play no part.
//!
//! Prompts are sealed before they reach any of this, so their confidentiality never depends on it. What does is listed in
//! `docs/decisions/0008-one-way-to-speak-tls.md`: availability, billing, and the API keys.
#![forbid(unsafe_code)]

mod accept;
mod authorities;
mod connect;
mod dial;
mod error;
mod files;
mod hybrid;
mod identity;
mod patience;
mod pin;
mod pinned;

pub use accept::{Acceptor, Clients, Handshakes, ServerStream, network};
pub use authorities::{Authorities, AuthoritiesError};
pub use connect::{ClientStream, Connector, Servers};
pub use dial::{Dialer, Stream};
pub use error::TlsError;
pub use files::IdentityFiles;
pub use identity::{CurrentIdentity, Identity, IdentityError};
pub use patience::Patience;
pub use pin::{PinError, Pins, SpkiPin};
