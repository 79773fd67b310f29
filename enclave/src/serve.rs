//! Accepts connections, bounds them, and stops in order.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::boot::Serving;
use crate::config::Limits;
use crate::event::Event;
use crate::patience::Patience;

/// Serves on `listener` until `shutdown` resolves, then drains.
///
/// While it drains, `/readyz` says so, new requests get 503, and answers in progress have
/// `limits.drain_s` to end; what is open after that is cut, which its clients notice.
///
/// # Errors
/// A listener that is not on loopback: other addresses need TLS, which is planned.
pub async fn serve(
    listener: TcpListener,
    serving: Serving,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        let why = "the enclave listens on loopback only: other addresses need TLS";
        return Err(io::Error::other(why));
    }
    let limits = serving.state.config.limits;
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
            (stream, place) = accept(&listener, &free) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(converse(stream, router, limits, stopped, place));
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
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(free).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // Out of descriptors, most likely: waiting is all there is to do.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, from accept to close. A panic ends it alone.
async fn converse(
    stream: TcpStream,
    router: axum::Router,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
    place: Option<OwnedSemaphorePermit>,
) {
    // Cells are small and must leave when they are made.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(BUFFER_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(
            TokioIo::new(Patience::new(stream, limits.stall)),
            TowerToHyperService::new(router),
        );
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
    drop(place);
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
