//! Accepts connections, bounds them, and stops in order.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tls::{Acceptor, Clients, CurrentIdentity, Handshakes, Patience};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::config::Tls;
use crate::route::{self, Peer};
use crate::state::Service;
use crate::workers::Workers;

/// Serves on `listener` until `shutdown` resolves, then drains; looks at its files again whenever
/// `reload` says so, and from time to time.
///
/// While it drains, `/readyz` says so, new requests get 503, and those under way have
/// `timeouts.drain` to end.
///
/// Connections are answered on threads of its own, one for each processor.
///
/// # Errors
/// A listener that is not on loopback, without TLS; files of certificates that are refused; or no
/// threads to be had.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    reload: Arc<Notify>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let config = &service.config;
    if config.tls.is_none() && !listener.local_addr()?.ip().is_loopback() {
        let why = "without TLS the verifier listens on loopback only: add `[tls]`";
        return Err(io::Error::other(why));
    }
    let mut background = JoinSet::new();
    let acceptor = match &config.tls {
        Some(tls) => Some(acceptor(tls, &service, &mut background)?),
        None => None,
    };
    background.spawn(follow(Arc::clone(&service), reload));
    let free = Arc::new(Semaphore::new(config.limits.connections_max));
    let (stop, stopped) = watch::channel(());
    let door = Arc::new(Door {
        router: route::router(Arc::clone(&service)),
        service: Arc::clone(&service),
        acceptor,
        stopped,
    });
    let workers = Workers::start()?;
    let mut connections = JoinSet::new();
    let mut drained = pin!(async {
        shutdown.await;
        service.draining.store(true, Relaxed);
        tracing::info!("draining");
        timeout(config.timeouts.drain, ended(&service)).await.is_ok()
    });
    let whole = loop {
        tokio::select! {
            biased;
            whole = &mut drained => break whole,
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = accept(&listener, &free) => {
                connections.spawn_on(Arc::clone(&door).admit(stream, peer, place), workers.least()?);
            }
        }
    };
    drop(listener);
    drop(stop);
    let flushed = async { while connections.join_next().await.is_some() {} };
    let in_time = timeout(FLUSH_MAX, flushed).await.is_ok();
    tracing::info!(whole = whole && in_time, "stopped");
    Ok(())
}

/// Looks at the files again and again.
async fn follow(service: Arc<Service>, reload: Arc<Notify>) {
    loop {
        // An error says that the interval is over, or not: either is a reason to look.
        drop(timeout(service.config.reload, reload.notified()).await);
        let looking = Arc::clone(&service);
        if spawn_blocking(move || looking.look()).await.is_err() {
            tracing::error!("a look at the files panicked");
        }
    }
}

/// Every place for a request is free again.
async fn ended(service: &Service) {
    let all = u32::try_from(service.config.limits.requests_max).unwrap_or(u32::MAX);
    // An error would say that the semaphore was closed, which nobody does.
    drop(service.places.acquire_many(all).await);
}

fn acceptor(
    tls: &Tls,
    service: &Arc<Service>,
    background: &mut JoinSet<()>,
) -> io::Result<Acceptor> {
    let identity = CurrentIdentity::new(tls.files.load().map_err(io::Error::other)?);
    let clients = tls.clients.clone().map_or(Clients::Anyone, Clients::Pinned);
    let limits = &service.config.limits;
    // Whoever stalls holds less than all places for connections, whatever the limits are.
    let at_once = limits.connections_max.div_ceil(2).min(limits.handshakes_max);
    let handshakes = Handshakes { timeout: service.config.timeouts.request_head, at_once };
    let acceptor = Acceptor::new(Arc::clone(&identity), clients, handshakes);
    background.spawn(tls.files.clone().watch(identity, service.config.reload, |outcome| {
        match outcome {
            Ok(spki) => tracing::info!(%spki, "certificate reloaded"),
            Err(error) => {
                tracing::error!(%error, "certificate not reloaded; the old one is still shown");
            }
        }
    }));
    acceptor.map_err(io::Error::other)
}

/// The next connection, once there is room for one.
///
/// It belongs to no runtime: whose thread takes it, waits for it.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> (std::net::TcpStream, IpAddr, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(free).acquire_owned().await.ok();
    loop {
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => return (stream, peer.ip(), place),
            // Out of descriptors, most likely: waiting is all there is to do.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// What every connection needs.
struct Door {
    router: Router,
    service: Arc<Service>,
    /// None where callers speak plain HTTP.
    acceptor: Option<Acceptor>,
    /// Changes, by an error, when connections should end.
    stopped: watch::Receiver<()>,
}

impl Door {
    /// One connection, from accept to close. A panic ends it alone.
    async fn admit(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        peer: IpAddr,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let metrics = &self.service.metrics;
        let ready = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
        let Ok(stream) = ready else {
            metrics.connections_refused.fetch_add(1, Relaxed);
            return;
        };
        let stream = Patience::new(stream, STALL_MAX);
        match &self.acceptor {
            None => self.converse(stream, peer).await,
            Some(acceptor) => match Box::pin(acceptor.accept_from(stream, peer)).await {
                Ok(stream) => self.converse(stream, peer).await,
                Err(_) => drop(metrics.handshakes_failed.fetch_add(1, Relaxed)),
            },
        }
        drop(place);
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
    ) {
        let router = self.router.clone().layer(Extension(Peer(peer)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.service.config.timeouts.request_head)
            .max_buf_size(BUFFER_LEN_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let mut connection = pin!(connection);
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // An error: the sender is gone, which is the signal.
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if ended.is_err() {
            tracing::debug!("connection ended early");
        }
    }
}

/// For a caller to take the next octets of an answer.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long the last octets of finished answers may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Octets that a connection buffers.
const BUFFER_LEN_MAX: usize = 64 << 10;
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
