//! Accepts connections, bounds them, and stops in order.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tls::{Acceptor, Clients, CurrentIdentity, Handshakes, IdentityError, Patience, SpkiPin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::{Certificate, Config, Timeouts},
    limits::Crowd,
    metrics::{Metrics, Shown},
    route::Router,
};

/// Serves clients on `listener` until `shutdown` resolves, then drains.
///
/// While it drains, `/readyz` says so, new work is refused with 503, and open streams have `timeouts.drain` to end; what
/// is open after that is cut. Returns early only if the listener is beyond loopback without TLS, or a file of keys or
/// certificates is refused.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() && config.tls.is_none() {
        return Err(io::Error::other(
            "without TLS the router listens on loopback only: add `[tls]`",
        ));
    }
    let identity = config.identity.as_ref().map(load).transpose()?;
    let certificate = config.tls.as_ref().map(load).transpose()?;
    let router = Arc::new(Router::new(&config, identity.as_ref()).map_err(io::Error::other)?);
    let acceptor = certificate.as_ref().map(|shown| acceptor(shown, &config)).transpose()?;
    let mut looking = router.pool.watch(&config.timeouts);
    if let Some(keys) = &router.keys {
        looking.spawn(Arc::clone(keys).watch());
    }
    for (shown, files, current) in
        [(Shown::Clients, &config.tls, certificate), (Shown::Enclaves, &config.identity, identity)]
    {
        if let (Some(Certificate { files, reload }), Some(current)) = (files, current) {
            let report = reporter(shown, Arc::clone(&router.metrics));
            looking.spawn(files.clone().watch(current, *reload, report));
        }
    }
    let (stop, stopped) = watch::channel(());
    let crowd = Crowd::new(config.limits.connections_per_address_max);
    let timeouts = config.timeouts.clone();
    let door = Arc::new(Door { router, acceptor, crowd, timeouts, stopped });
    let mut connections = JoinSet::new();
    let permits = usize::try_from(config.limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS);
    let free = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));

    let mut drained = pin!(async {
        shutdown.await;
        tracing::info!(streams = door.router.relay.streams_open(), "draining");
        door.router.start_draining();
        timeout(config.timeouts.drain, door.router.relay.drained()).await.is_ok()
    });
    let whole = loop {
        tokio::select! {
            biased;
            whole = &mut drained => break whole,
            Some(_) = connections.join_next() => {}
            (stream, client, permit) = accept(&listener, &free) => {
                connections.spawn(Arc::clone(&door).admit(stream, client, permit));
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

fn load(certificate: &Certificate) -> io::Result<Arc<CurrentIdentity>> {
    let identity = certificate.files.load().map_err(io::Error::other)?;
    Ok(CurrentIdentity::new(identity))
}

/// Clients show no certificate: who they are their API key says.
fn acceptor(shown: &Arc<CurrentIdentity>, config: &Config) -> io::Result<Acceptor> {
    let at_once = usize::try_from(config.limits.handshakes_max).unwrap_or(usize::MAX);
    let handshakes = Handshakes { timeout: config.timeouts.request_head, at_once };
    Acceptor::new(Arc::clone(shown), Clients::Anyone, handshakes).map_err(io::Error::other)
}

/// Tells the log and the metrics of every change of a certificate.
fn reporter(
    shown: Shown,
    metrics: Arc<Metrics>,
) -> impl FnMut(Result<SpkiPin, IdentityError>) + Send {
    move |outcome| {
        metrics.reloaded(shown, &outcome);
        match outcome {
            Ok(spki) => tracing::info!(to = ?shown, %spki, "certificate reloaded"),
            Err(error) => {
                tracing::error!(to = ?shown, code = error.code(), %error, "certificate not reloaded, the old one is still shown");
            }
        }
    }
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

/// What every connection needs.
struct Door {
    router: Arc<Router>,
    /// None where clients speak plain HTTP.
    acceptor: Option<Acceptor>,
    crowd: Arc<Crowd>,
    timeouts: Timeouts,
    /// Changes, by an error, when connections should end.
    stopped: watch::Receiver<()>,
}

impl Door {
    /// One connection, from accept to close. Its errors are the client's business: nothing of them is logged.
    async fn admit(
        self: Arc<Self>,
        stream: TcpStream,
        client: IpAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let metrics = &self.router.metrics;
        let Some(seat) = self.crowd.enter(client) else {
            metrics.connections_refused.fetch_add(1, Relaxed);
            return;
        };
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let counted = metrics.connected();
        let stream = Patience::new(stream, self.timeouts.idle);
        match &self.acceptor {
            None => self.converse(stream, client).await,
            // What a handshake needs is given back before the first request.
            Some(acceptor) => match Box::pin(acceptor.accept_from(stream, client)).await {
                Ok(stream) => self.converse(Box::new(stream), client).await,
                Err(error) => metrics.handshake_failed(&error),
            },
        }
        drop((permit, seat, counted));
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin, client: IpAddr) {
        let service = service_fn(move |request| {
            let router = Arc::clone(&self.router);
            // In a box of its own, which is given back as soon as there is a response.
            Box::pin(async move { Ok::<_, Infallible>(router.answer(client, request).await) })
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.request_head)
            .max_buf_size(BUFFER_BYTES)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
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

/// How long the last octets of finished streams may take to leave.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// What a connection may hold of a request that is being read, the head above all, and of a response that its client does
/// not take. It is also the least that the HTTP library uses.
const BUFFER_BYTES: usize = 8 << 10;

/// Headers of one request. Ours send four.
const HEADERS_MAX: usize = 64;

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
