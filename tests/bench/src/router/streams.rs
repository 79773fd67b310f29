//! The enclave and the clients around the router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::wire::{Keys, Wire};
use super::{CELL_EVERY, CELL_LEN, SLOW_EVERY};
use crate::harness::{Failed, Outcome};

/// An enclave that is always ready and streams cells to whoever asks, as long as they listen.
pub(super) struct Enclave {
    pub(super) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Enclave {
    pub(super) async fn start(keys: &Keys) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let keys = keys.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let keys = keys.clone();
                connections.spawn(async move {
                    if let Some(stream) = keys.accept(tcp).await {
                        converse(stream).await;
                    }
                });
            }
        });
        Ok(Self { address, _serving: serving })
    }
}

/// Requests of one connection, until it ends. What cannot be read or written any more is over.
async fn converse(mut stream: Box<dyn Wire>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let head = loop {
            match read.windows(END.len()).position(|at| at == END) {
                Some(end) => break end.saturating_add(END.len()),
                None if stream.read_buf(&mut read).await.ok()? == 0 => return None,
                None => {}
            }
        };
        let body = read.split_off(head);
        let head = String::from_utf8(std::mem::replace(&mut read, body)).ok()?;
        if head.starts_with("GET /readyz ") {
            let ready = format!("{{\"node_id\":\"{NODE}\"}}");
            let length = ready.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{ready}");
            stream.write_all(head.as_bytes()).await.ok()?;
            continue;
        }
        while read.len() < REQUEST_LEN {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
        return answer(stream, read.first() == Some(&SLOW)).await;
    }
}

async fn answer(mut stream: Box<dyn Wire>, without_pause: bool) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-chunked-res\r\nincremental: ?1\r\n\
                cache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut cell = format!("{CELL_LEN:x}\r\n").into_bytes();
    cell.resize(cell.len().saturating_add(CELL_LEN), b'c');
    cell.extend_from_slice(b"\r\n");
    let mut due = interval(CELL_EVERY);
    loop {
        if !without_pause {
            due.tick().await;
        }
        stream.write_all(&cell).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// The clients of one round.
pub(super) struct Streams {
    router: SocketAddr,
    keys: Keys,
    seen: Vec<Arc<Seen>>,
    reading: std::sync::Mutex<JoinSet<()>>,
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    open: AtomicBool,
    over: AtomicBool,
    octets: AtomicU64,
}

impl Streams {
    pub(super) fn new(router: SocketAddr, keys: &Keys, count: usize) -> Self {
        let seen = std::iter::repeat_with(Arc::default).take(count).collect();
        Self { router, keys: keys.clone(), seen, reading: std::sync::Mutex::default() }
    }

    /// Waits until the router knows the enclave.
    pub(super) async fn ready(&self, limit: Duration) -> Outcome {
        let asked = async {
            loop {
                let head = "GET /readyz HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n";
                if let Some(mut stream) = begin(self.router, &self.keys, false, head, b"").await {
                    let mut all = Vec::new();
                    drop(stream.read_to_end(&mut all).await);
                    if all.starts_with(OK) {
                        return;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        Ok(timeout(limit, asked).await.map_err(|_| "the router knows no enclave that is ready")?)
    }

    /// Begins all streams.
    pub(super) fn open(&self) {
        let mut reading = self.reading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (number, seen) in self.seen.iter().enumerate() {
            let (router, keys, seen) = (self.router, self.keys.clone(), Arc::clone(seen));
            reading.spawn(async move {
                // Not all at the same moment: nobody's clients are.
                let late = u64::try_from(number).unwrap_or(0);
                sleep(Duration::from_millis(late)).await;
                while !seen.open.load(Relaxed) {
                    read(router, &keys, is_slow(number), &seen).await;
                }
                seen.over.store(true, Relaxed);
            });
        }
    }

    /// Returns once every stream has brought something.
    pub(super) async fn opened(&self) {
        while !self.seen.iter().all(|seen| seen.open.load(Relaxed)) {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// What each stream has brought so far.
    pub(super) fn cells(&self) -> Vec<u64> {
        self.seen.iter().map(|seen| seen.octets.load(Relaxed)).collect()
    }

    /// The figure is of streams that are what it says: open, a cell a second, a tenth of them slow.
    pub(super) fn check(&self, start: &[u64], secs: u32) -> Outcome {
        let least = u64::try_from(CELL_LEN)?.saturating_mul(secs.into());
        for (number, (seen, start)) in self.seen.iter().zip(start).enumerate() {
            if seen.over.load(Relaxed) {
                return Err(format!("stream {number} ended").into());
            }
            let octets = seen.octets.load(Relaxed).saturating_sub(*start);
            if !is_slow(number) && octets < least {
                return Err(format!("stream {number} brought {octets} octets in {secs} s").into());
            }
            if is_slow(number) && octets >= least {
                return Err(format!("stream {number} was not read slowly").into());
            }
        }
        Ok(())
    }
}

/// One stream, until it ends.
async fn read(router: SocketAddr, keys: &Keys, slow: bool, seen: &Seen) -> Option<()> {
    let head = format!(
        "POST /v1/nodes/{NODE}/ohttp HTTP/1.1\r\nhost: r\r\ncontent-type: message/ohttp-chunked-req\r\n\
         incremental: ?1\r\ncontent-length: {REQUEST_LEN}\r\n\r\n"
    );
    let mut body = vec![0; REQUEST_LEN];
    if let (true, Some(first)) = (slow, body.first_mut()) {
        *first = SLOW;
    }
    let mut stream = begin(router, keys, slow, &head, &body).await?;
    let mut first = [0; OK.len()];
    stream.read_exact(&mut first).await.ok()?;
    if first != *OK {
        // The machine is busy, most likely, and the router did not hear of its enclave in time.
        sleep(Duration::from_millis(200)).await;
        return None;
    }
    seen.open.store(true, Relaxed);
    let mut buffer = [0; 1024];
    let mut due = interval(Duration::from_secs(1));
    let part = if slow { SLOW_LEN } else { buffer.len() };
    loop {
        if slow {
            due.tick().await;
        }
        let length = stream.read(buffer.get_mut(..part)?).await.ok()?;
        if length == 0 {
            return None;
        }
        seen.octets.fetch_add(u64::try_from(length).unwrap_or(0), Relaxed);
    }
}

async fn begin(
    router: SocketAddr,
    keys: &Keys,
    slow: bool,
    head: &str,
    body: &[u8],
) -> Option<Box<dyn Wire>> {
    let socket = TcpSocket::new_v4().ok()?;
    if slow {
        // As little as the kernel allows.
        socket.set_recv_buffer_size(WINDOW_LEN).ok()?;
    }
    let mut stream = keys.connect(socket.connect(router).await.ok()?).await?;
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    stream.flush().await.ok()?;
    Some(stream)
}

const fn is_slow(number: usize) -> bool {
    number.is_multiple_of(SLOW_EVERY)
}

const NODE: &str = "00112233445566778899aabbccddeeff";
const END: &[u8] = b"\r\n\r\n";
const OK: &[u8; 12] = b"HTTP/1.1 200";
/// A short prompt, sealed and padded.
const REQUEST_LEN: usize = 4 << 10;
/// The first octet of a request whose answer comes without pauses.
const SLOW: u8 = 1;
/// What a slow reader takes in a second, and how much may be on the way to it.
const SLOW_LEN: usize = 64;
const WINDOW_LEN: u32 = 4 << 10;
