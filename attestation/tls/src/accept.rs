//! The server's half: a handshake that ends in time, whoever else is knocking.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
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
    /// At the same time. One more, and one of them is cut off: the oldest of the network that has the most. So neither who
    /// stalls nor who comes again and again keeps others out.
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

    /// Completes one handshake with a peer of which no address is known: all such are one.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is gone then.
    pub async fn accept<S>(&self, stream: S) -> Result<ServerStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_from(stream, IpAddr::V6(Ipv6Addr::UNSPECIFIED)).await
    }

    /// Completes one handshake with the peer at `address`.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is gone then.
    pub async fn accept_from<S>(
        &self,
        stream: S,
        address: IpAddr,
    ) -> Result<ServerStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut turn = self.queue.enter(network(address));
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
    by_age: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    /// How many each network has of them.
    by_network: HashMap<IpAddr, usize>,
}

/// A place in the queue; given back when it is dropped.
struct Turn {
    queue: Arc<Queue>,
    number: u64,
    cut: oneshot::Receiver<()>,
}

impl Queue {
    fn enter(self: &Arc<Self>, network: IpAddr) -> Turn {
        let (held, cut) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.by_age.insert(number, (network, held));
        let count = waiting.by_network.entry(network).or_default();
        *count = count.saturating_add(1);
        if waiting.by_age.len() > self.at_once {
            waiting.displace();
        }
        drop(waiting);
        Turn { queue: Arc::clone(self), number, cut }
    }
}

impl Waiting {
    fn displace(&mut self) {
        let most = self.by_network.values().max();
        let mut oldest = self.by_age.iter();
        let found = oldest.find(|(_, (network, _))| self.by_network.get(network) == most);
        if let Some((number, _)) = found {
            let number = *number;
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some((network, _)) = self.by_age.remove(&number) else { return };
        if let Some(count) = self.by_network.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(self.number);
    }
}

/// The address, or its /64: who has one IPv6 address has all of those.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
