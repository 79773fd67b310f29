//! Accepts connections, bounds them, and stops in order.

use std::{
    convert::Infallible, future::Future, io, net::IpAddr, pin::pin, sync::Arc, time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::{Config, Timeouts},
    patience::Patience,
    route::Router,
};

/// Serves clients on `listener` until `shutdown` resolves, then drains.
///
/// While it drains, `/readyz` says so, new work is refused with 503, and open streams have `timeouts.drain` to end; what
/// is open after that is cut. Returns early only if the listener is not on loopback or the file of keys is refused.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::other(
            "the router listens on loopback only: other addresses need TLS",
        ));
    }
    let router = Arc::new(Router::new(&config).map_err(io::Error::other)?);
    let mut looking = router.pool.watch(&config.timeouts);
    if let Some(keys) = &router.keys {
        looking.spawn(Arc::clone(keys).watch());
    }
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let permits = usize::try_from(config.limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
    let free = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));

    let mut drained = pin!(async {
        shutdown.await;
        tracing::info!(streams = router.relay.streams_open(), "draining");
        router.start_draining();
        timeout(config.timeouts.drain, router.relay.drained()).await.is_ok()
    });
    let whole = loop {
        tokio::select! {
            biased;
            whole = &mut drained => break whole,
            Some(_) = connections.join_next() => {}
            (stream, client, permit) = accept(&listener, &free) => {
                let (router, timeouts, stopped) = (Arc::clone(&router), config.timeouts.clone(), stopped.clone());
                connections.spawn(converse(stream, client, router, timeouts, stopped, permit));
            }
        }
    };

    drop(listener);
    drop(stop);
    let flushed = async { while connections.join_next().await.is_some() {} };
    let in_time = timeout(FLUSH_MAX, flushed).await.is_ok();
    tracing::info!(whole = whole && in_time, "stopped");
    drop(looking);
    Ok(())
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, Option<OwnedSemaphorePermit>) {
    // None would say that the semaphore was closed, which nobody does.
    let permit = Arc::clone(free).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client.ip(), permit),
            // Out of descriptors, most likely: waiting is all there is to do.
            Err(error) => {
                tracing::warn!(error = %error.kind(), "cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from accept to close. Its errors are the client's business: nothing of them is logged.
async fn converse(
    stream: TcpStream,
    client: IpAddr,
    router: Arc<Router>,
    timeouts: Timeouts,
    mut stopped: watch::Receiver<()>,
    permit: Option<OwnedSemaphorePermit>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let metrics = Arc::clone(&router.metrics);
    let counted = metrics.connected();
    let service = service_fn(move |request| {
        let router = Arc::clone(&router);
        // In a box of its own, which is given back as soon as there is a response.
        Box::pin(async move { Ok::<_, Infallible>(router.answer(client, request).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.request_head)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patience::new(stream, timeouts.idle)), service);
    let mut connection = pin!(connection);
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
    drop((permit, counted));
}

/// How long the last octets of finished streams may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What a connection may hold of a request that is being read, the head above all, and of a response that its client does
/// not take. It is also the least that the HTTP library uses.
const BUFFER_BYTES: usize = 8 << 10;

/// Headers of one request. Ours send four.
const HEADERS_MAX: usize = 64;

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
