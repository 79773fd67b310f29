//! Accepts connections, bounds them, and stops in order.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tls::{Acceptor, Clients, CurrentIdentity, Handshakes, Patience, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::boot::{Serving, State};
use crate::config::{Limits, Tls};
use crate::event::Event;

/// Serves on `listener` until `shutdown` resolves, then drains.
///
/// While it drains, `/readyz` says so, new requests get 503, and answers in progress have
/// `limits.drain_s` to end; what is open after that is cut, which its clients notice.
///
/// With TLS the whole listener speaks it, health and metrics included, and takes nobody but the router
/// (`docs/protocol.md` §5.6).
///
/// # Errors
/// A listener that is not on loopback, without TLS.
pub async fn serve(
    listener: TcpListener,
    serving: Serving,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let limits = serving.state.config.limits;
    let acceptor = acceptor(&serving.state).map_err(io::Error::other)?;
    if acceptor.is_none() && !listener.local_addr()?.ip().is_loopback() {
        let why = "without TLS the enclave listens on loopback only";
        return Err(io::Error::other(why));
    }
    let free = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let router = serving.router();
    Event::Ready { node: serving.node_id() }.emit();

    let mut background = JoinSet::new();
    background.spawn(keep_running(serving.clone(), Duration::ZERO));
    let mut drained = pin!(async {
        shutdown.await;
        serving.state.draining.store(true, Ordering::Relaxed);
        Event::Draining.emit();
        timeout(limits.drain, answers_ended(&serving)).await.is_ok()
    });
    let whole = loop {
        tokio::select! {
            biased;
            whole = &mut drained => break whole,
            // Only a panic ends it. Without it keys would end and none follow.
            Some(_) = background.join_next() => {
                background.spawn(keep_running(serving.clone(), RESTART_PAUSE));
            }
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = accept(&listener, &free) => {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                let conversation = greet(stream, peer, acceptor, router, limits, stopped.clone(), place);
                connections.spawn(conversation);
            }
        }
    };

    drop(listener);
    drop(stop);
    let flushed = async { while connections.join_next().await.is_some() {} };
    let in_time = timeout(FLUSH_MAX, flushed).await.is_ok();
    Event::Stopped { whole: whole && in_time }.emit();
    Ok(())
}

async fn keep_running(serving: Serving, pause: Duration) {
    sleep(pause).await;
    serving.run().await;
}

/// Every place for a request is free again.
async fn answers_ended(serving: &Serving) {
    let all = u32::try_from(serving.state.config.limits.requests).unwrap_or(u32::MAX);
    // An error would say that the semaphore was closed, which nobody does.
    drop(serving.state.requests.acquire_many(all).await);
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(free).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip(), place),
            // Out of descriptors, most likely: waiting is all there is to do.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Takes TLS connections of the router, where the configuration asks for them.
fn acceptor(state: &State) -> Result<Option<Acceptor>, TlsError> {
    let Some(Tls { router, handshakes, handshake }) = &state.config.tls else { return Ok(None) };
    // Whoever stalls holds less than all places for connections, whatever the limits are.
    let at_once = state.config.limits.connections.div_ceil(2).min(*handshakes);
    let handshakes = Handshakes { timeout: *handshake, at_once };
    let identity = CurrentIdentity::new(state.tls.identity());
    Acceptor::new(identity, Clients::Pinned(router.clone()), handshakes).map(Some)
}

/// One connection, from accept to close. A panic ends it alone.
async fn greet(
    stream: TcpStream,
    peer: IpAddr,
    acceptor: Option<Acceptor>,
    router: axum::Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
    place: Option<OwnedSemaphorePermit>,
) {
    // Cells are small and must leave when they are made.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Patience::new(stream, limits.stall);
    match acceptor {
        None => converse(stream, router, limits, stopped).await,
        Some(acceptor) => {
            let greeted = tokio::select! {
                greeted = acceptor.accept_from(stream, peer) => greeted,
                _ = stopped.changed() => return,
            };
            // Who is not the router learns what TLS tells it, and nobody else learns anything.
            if let Ok(stream) = greeted {
                converse(stream, router, limits, stopped).await;
            }
        }
    }
    drop(place);
}

/// One connection whose peer may ask.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(BUFFER_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // An error: the sender is gone, which is the signal.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // How a connection ends is the peer's business: nothing of it is logged.
    drop(ended);
}

/// How long the last octets of finished answers may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Octets that a connection buffers.
const BUFFER_LEN_MAX: usize = 64 << 10;
/// Headers of one request. The router sends four.
const HEADERS_MAX: usize = 64;
/// After a panic of what runs beside the requests.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
