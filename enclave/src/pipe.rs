//! The body of an answer that is made while it is sent.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A pipe to one client. What is sent waits for the client; nobody else does.
pub(crate) fn pipe(stall: Duration) -> (Sender, Receiver) {
    let (pieces, receiver) = mpsc::channel(DEPTH);
    (Sender { pieces, stall }, Receiver { pieces: receiver, ended: false })
}

/// The making end. If it is dropped before [`end`](Self::end), the client's connection breaks:
/// an answer that is cut never looks whole.
#[derive(Debug)]
pub(crate) struct Sender {
    pieces: mpsc::Sender<Piece>,
    stall: Duration,
}

/// The client went away, or left its answer unread for too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gone;

#[derive(Debug)]
enum Piece {
    Octets(Bytes),
    End,
}

impl Sender {
    /// Sends what has gathered in `out`, and empties it.
    pub(crate) async fn send(&self, out: &mut Vec<u8>) -> Result<(), Gone> {
        let octets = Bytes::from(std::mem::take(out));
        self.put(Piece::Octets(octets)).await
    }

    /// Ends the body.
    pub(crate) async fn end(self) -> Result<(), Gone> {
        self.put(Piece::End).await
    }

    /// Returns once the client is gone.
    pub(crate) async fn gone(&self) {
        self.pieces.closed().await;
    }

    async fn put(&self, piece: Piece) -> Result<(), Gone> {
        match timeout(self.stall, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

/// The sending end: an HTTP body of unknown length.
#[derive(Debug)]
pub(crate) struct Receiver {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Body for Receiver {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Piece::Octets(octets)) => Some(Ok(Frame::data(octets))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Broken))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The answer broke off in the making.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Broken {}

/// Pieces that wait for the client: enough to keep the socket busy, few enough to notice a slow one.
const DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn whole_body_ends_and_a_dropped_one_breaks() {
        let (sender, receiver) = pipe(Duration::from_secs(1));
        sender.send(&mut b"ab".to_vec()).await.unwrap();
        sender.end().await.unwrap();
        assert_eq!(receiver.collect().await.unwrap().to_bytes(), "ab");

        let (sender, receiver) = pipe(Duration::from_secs(1));
        sender.send(&mut b"ab".to_vec()).await.unwrap();
        drop(sender);
        assert_eq!(receiver.collect().await.unwrap_err(), Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_leaves_or_stalls_is_noticed() {
        let (sender, receiver) = pipe(Duration::from_secs(1));
        for _ in 0..DEPTH {
            sender.send(&mut b"x".to_vec()).await.unwrap();
        }
        assert_eq!(sender.send(&mut b"x".to_vec()).await, Err(Gone), "stalled");
        drop(receiver);
        sender.gone().await;
    }
}
