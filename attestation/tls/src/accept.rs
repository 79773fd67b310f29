//! The server's half: a handshake that ends in time, whoever else is knocking.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::error::TlsError;
use crate::hybrid;
use crate::identity::CurrentIdentity;
use crate::pin::Pins;
use crate::pinned::Pinned;

/// The server's end of a connection.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// Who may connect.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Everybody; no certificate is asked for.
    Anyone,
    /// Those who show a certificate with one of these keys, and sign with it.
    Pinned(Pins),
}

/// What handshakes may use.
#[derive(Clone, Copy, Debug)]
pub struct Handshakes {
    /// For one handshake.
    pub timeout: Duration,
    /// At the same time. One more, and the oldest of them is cut off: who stalls cannot keep others out.
    pub at_once: usize,
}

/// Takes connections.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    timeout: Duration,
    queue: Arc<Queue>,
}

impl Acceptor {
    /// An acceptor that shows whatever `identity` is at the time.
    ///
    /// # Errors
    /// [`TlsError::Protocol`], if the TLS library refuses the configuration, which is the same every time.
    pub fn new(
        identity: Arc<CurrentIdentity>,
        clients: Clients,
        handshakes: Handshakes,
    ) -> Result<Self, TlsError> {
        let provider = hybrid::provider();
        let verifier = match clients {
            Clients::Anyone => WebPkiClientVerifier::no_client_auth(),
            Clients::Pinned(pins) => Arc::new(Pinned::new(pins, Arc::clone(&provider))),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(hybrid::VERSIONS)
            .map_err(|error| TlsError::Protocol(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(identity);
        config.alpn_protocols = hybrid::alpn();
        // Every connection shows its certificate and makes its own secret; no ticket, no early data, nothing remembered.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self::with_config(config, handshakes))
    }

    pub(crate) fn with_config(
        config: ServerConfig,
        Handshakes { timeout, at_once }: Handshakes,
    ) -> Self {
        let queue = Arc::new(Queue { at_once: at_once.max(1), waiting: Mutex::default() });
        Self { tls: TlsAcceptor::from(Arc::new(config)), timeout, queue }
    }

    /// Completes one handshake.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is gone then.
    pub async fn accept<S>(&self, stream: S) -> Result<ServerStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut turn = self.queue.enter();
        let handshake = self.tls.accept_with(stream, |connection| {
            connection.set_buffer_limit(Some(hybrid::BUFFER_LEN_MAX));
        });
        let stream = tokio::select! {
            biased;
            // Only the queue holds the other end.
            _ = &mut turn.cut => return Err(TlsError::Displaced),
            done = timeout(self.timeout, handshake) => {
                done.map_err(|_| TlsError::Timeout)?.map_err(|error| TlsError::from_io(&error))?
            }
        };
        hybrid::check(stream.get_ref().1)?;
        Ok(stream)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The handshakes that have not ended, the oldest first.
struct Queue {
    at_once: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place in the queue; given back when it is dropped.
struct Turn {
    queue: Arc<Queue>,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Queue {
    fn enter(self: &Arc<Self>) -> Turn {
        let (held, cut) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.by_age.insert(number, held);
        if waiting.by_age.len() > self.at_once {
            waiting.by_age.pop_first();
        }
        drop(waiting);
        Turn { queue: Arc::clone(self), number, cut }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.by_age.remove(&self.number);
    }
}
