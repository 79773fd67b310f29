//! Bodies on their way through: each holds at most one frame, counts it, and ends on purpose.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU8, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

use crate::{
    metrics::{Ending, Metrics},
    problem::Problem,
    upstream::Arriving,
};

/// A response body: the router's own words, or an enclave's octets passing through.
#[derive(Debug)]
pub(crate) enum Reply {
    Fixed(Full<Bytes>),
    Relayed(Box<Download>),
}

/// A response from an enclave on its way to a client.
///
/// An error in it makes the server abort the client's connection, so that a cut never looks like an end.
pub(crate) struct Download {
    upstream: Arriving,
    idle: Duration,
    silence: Pin<Box<Sleep>>,
    ending: Ending,
    metrics: Arc<Metrics>,
    on_end: Option<Box<dyn FnOnce(Ending) + Send + Sync>>,
}

/// A request from a client on its way to an enclave.
pub(crate) struct Upload {
    client: Incoming,
    left: u64,
    deadline: Pin<Box<Sleep>>,
    fault: Arc<UploadFault>,
    metrics: Arc<Metrics>,
    /// Dropped when the last octet has been handed on, or when nobody wants more.
    _sent: oneshot::Sender<()>,
}

/// What went wrong on the client's side of an upload, if anything did.
#[derive(Debug, Default)]
pub(crate) struct UploadFault(AtomicU8);

/// Why a body stopped before its end.
#[derive(Debug)]
pub(crate) enum Cut {
    /// More octets than the limit.
    TooLarge,
    /// The client took too long.
    Slow,
    /// The connection died.
    Died,
    /// The enclave sent nothing for too long.
    Silent,
}

impl Reply {
    pub(crate) fn fixed(bytes: Bytes) -> Self {
        Self::Fixed(Full::new(bytes))
    }
}

impl Download {
    /// `on_end` runs exactly once, when the body has ended or is dropped.
    pub(crate) fn new(
        upstream: Arriving,
        idle: Duration,
        metrics: Arc<Metrics>,
        on_end: impl FnOnce(Ending) + Send + Sync + 'static,
    ) -> Self {
        let silence = Box::pin(sleep(idle));
        let ending = if upstream.is_end_stream() { Ending::Complete } else { Ending::Abandoned };
        Self { upstream, idle, silence, ending, metrics, on_end: Some(Box::new(on_end)) }
    }
}

impl Upload {
    /// The body, what will be known of its faults, and a signal for when it has been sent.
    pub(crate) fn new(
        client: Incoming,
        bytes_max: u64,
        time_max: Duration,
        metrics: Arc<Metrics>,
    ) -> (Self, Arc<UploadFault>, oneshot::Receiver<()>) {
        let fault = Arc::new(UploadFault::default());
        let (sender, sent) = oneshot::channel();
        let deadline = Box::pin(sleep(time_max));
        (
            Self {
                client,
                left: bytes_max,
                deadline,
                fault: Arc::clone(&fault),
                metrics,
                _sent: sender,
            },
            fault,
            sent,
        )
    }

    fn fail(&self, cut: Cut) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.fault.0.store(if matches!(cut, Cut::TooLarge) { 1 } else { 2 }, SeqCst);
        Poll::Ready(Some(Err(cut)))
    }
}

impl UploadFault {
    /// What to tell the client, where the fault was on its side.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match self.0.load(SeqCst) {
            0 => None,
            1 => Some(Problem::TooLarge),
            _ => Some(Problem::UploadSlow),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Fixed(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed(body) => body.is_end_stream(),
            Self::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(body) => body.size_hint(),
            Self::Relayed(body) => body.size_hint(),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                count(&this.metrics.bytes_down, &frame);
                if let Some(wake) = Instant::now().checked_add(this.idle) {
                    this.silence.as_mut().reset(wake);
                }
                // Known already here: a body of known length is not asked again after its last octet.
                if this.upstream.is_end_stream() {
                    this.ending = Ending::Complete;
                }
                Poll::Ready(Some(Ok(without_trailers(frame))))
            }
            Poll::Ready(Some(Err(_))) => {
                this.ending = Ending::Broken;
                Poll::Ready(Some(Err(Cut::Died)))
            }
            Poll::Ready(None) => {
                this.ending = Ending::Complete;
                Poll::Ready(None)
            }
            Poll::Pending => match this.silence.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    this.ending = Ending::Broken;
                    Poll::Ready(Some(Err(Cut::Silent)))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.ending);
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.client).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Buf::remaining);
                match u64::try_from(length).ok().and_then(|length| this.left.checked_sub(length)) {
                    Some(left) => {
                        this.left = left;
                        count(&this.metrics.bytes_up, &frame);
                        Poll::Ready(Some(Ok(without_trailers(frame))))
                    }
                    None => this.fail(Cut::TooLarge),
                }
            }
            Poll::Ready(Some(Err(_))) => this.fail(Cut::Died),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => this.fail(Cut::Slow),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.client.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.client.size_hint()
    }
}

fn count(counter: &AtomicU64, frame: &Frame<Bytes>) {
    let length = frame.data_ref().map_or(0, Bytes::len);
    counter.fetch_add(u64::try_from(length).unwrap_or(0), Relaxed);
}

/// Trailers are headers; none is on the list of those that pass.
fn without_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    if frame.is_data() { frame } else { Frame::data(Bytes::new()) }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("left", &self.left).finish_non_exhaustive()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is longer than the limit",
            Self::Slow => "the body did not arrive in time",
            Self::Died => "the connection died",
            Self::Silent => "the enclave sent nothing for too long",
        })
    }
}

impl std::error::Error for Cut {}
