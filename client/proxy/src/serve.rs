//! Accepts connections, bounds them, and stops in order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tls::Patience;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Serves `app` until `shutdown` resolves; what is open then has a while to end.
pub(crate) async fn run(
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &free) => {
                connections.spawn(converse(stream, app.clone(), stopped.clone(), place));
            }
        }
    }
    drop(listener);
    drop(stop);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is open after that is cut, which the SDK notices.
    drop(timeout(DRAIN_MAX, drained).await);
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // None would say that the semaphore was closed, which nobody does.
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
    app: Router,
    mut stopped: watch::Receiver<()>,
    place: Option<OwnedSemaphorePermit>,
) {
    // Events are small and must leave when they come.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = Patience::new(stream, STALL_MAX);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // An error: the sender is gone, which is the signal.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // How a connection ends is the caller's business.
    drop(ended);
    drop(place);
}

/// Connections at once: more than any SDK opens, and few enough for a process's descriptors.
const CONNECTIONS_MAX: usize = 256;

/// How long a caller has for a request's head, and a connection for its next request: longer than
/// SDKs keep one that is idle, so that none is closed under a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a caller may take none of what it is sent: as long as enclaves and routers wait.
const STALL_MAX: Duration = Duration::from_mins(2);

/// Octets that a connection buffers: a head longer than that is refused.
const HEAD_LEN_MAX: usize = 64 << 10;

/// Headers of one request: an SDK in a browser sends some thirty.
const HEADERS_MAX: usize = 100;

/// How long open answers have to end after a signal to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
