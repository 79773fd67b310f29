//! A flood of bogus ciphertexts: right in form, sealed by nobody.
//!
//! The generator is a thread with a runtime of its own, whose processor time the kernel counts
//! apart. Its requests are made before it starts: it changes eight octets of each and sends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use attestation::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::{Clock, Failed, Samples, number};

/// Requests a second: twice what a tenth of two processors can decapsulate.
const RATE: u32 = 2_000;
/// Connections that they come over, so many that a queue at the enclave does not hold them up.
const CONNECTIONS: u32 = 128;

/// A flood that goes on until it is stopped.
#[derive(Debug)]
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Told, String>>,
}

/// What the flood was told, and what it cost the one who made it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// Answered 400: decapsulated in vain.
    refused: usize,
    /// Answered 503: no place in the queue.
    busy: usize,
    /// Answered otherwise.
    other: usize,
    /// Processor time of the generator.
    processor: Duration,
    /// How long it lasted.
    lasted: Duration,
}

impl Told {
    /// How many processors the generator took.
    pub(crate) fn processors(&self) -> f64 {
        self.processor.as_secs_f64() / self.lasted.as_secs_f64()
    }

    /// Requests a second, whatever was answered.
    pub(crate) fn rate(&self) -> f64 {
        let all = self.refused.saturating_add(self.busy).saturating_add(self.other);
        number(all) / self.lasted.as_secs_f64()
    }
}

impl Flood {
    /// Starts to flood the enclave `node` through the router.
    pub(crate) fn start(router: SocketAddr, node: NodeId) -> Result<Self, Failed> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let request = request(router, node);
        let thread = std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || pour(router, &request, &stopped).map_err(|why| why.to_string()))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Told, Failed> {
        self.stop.store(true, SeqCst);
        let told = self.thread.join().map_err(|_| "the generator of the flood panicked")?;
        Ok(told?)
    }
}

/// A line about all rounds.
pub(crate) fn sum_up(rounds: &[Told]) -> String {
    let median = |of: &dyn Fn(&Told) -> f64| {
        Samples::of(rounds.iter().map(of).collect()).unwrap_or_default().median
    };
    let rate = |of: fn(&Told) -> usize| {
        median(&|told: &Told| number(of(told)) / told.lasted.as_secs_f64())
    };
    format!(
        "the flood: {:.0} requests a second were decapsulated in vain, {:.0} found the queue full, {:.0} else; its own {:.2} processors are not counted",
        rate(|told| told.refused),
        rate(|told| told.busy),
        rate(|told| told.other),
        median(&Told::processors),
    )
}

fn pour(router: SocketAddr, request: &[u8], stop: &Arc<AtomicBool>) -> std::io::Result<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (from, processor) = (Clock::Wall.now(), Clock::Thread.now());
    let mut told = runtime.block_on(async {
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            connections.spawn(trickle(router, request.to_vec(), number, Arc::clone(stop)));
        }
        let mut told = Told::default();
        while let Some(ended) = connections.join_next().await {
            let of_one = ended.map_err(std::io::Error::other)??;
            told.refused = told.refused.saturating_add(of_one.refused);
            told.busy = told.busy.saturating_add(of_one.busy);
            told.other = told.other.saturating_add(of_one.other);
        }
        std::io::Result::Ok(told)
    })?;
    told.lasted = Clock::Wall.now().saturating_sub(from);
    told.processor = Clock::Thread.now().saturating_sub(processor);
    Ok(told)
}

/// One connection: at its share of the rate, or as fast as it is answered.
async fn trickle(
    router: SocketAddr,
    mut request: Vec<u8>,
    number: u32,
    stop: Arc<AtomicBool>,
) -> std::io::Result<Told> {
    let mut stream = TcpStream::connect(router).await?;
    stream.set_nodelay(true)?;
    let pause = Duration::from_secs(1).saturating_mul(CONNECTIONS).checked_div(RATE);
    let pause = pause.unwrap_or(Duration::from_millis(1));
    // So that they do not come all at once.
    tokio::time::sleep(pause.saturating_mul(number).checked_div(CONNECTIONS).unwrap_or_default())
        .await;
    let mut turns = interval(pause);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Told::default();
    let mut count = 0_u64;
    let mut buffer = Vec::with_capacity(4 << 10);
    while !stop.load(SeqCst) {
        turns.tick().await;
        count = count.wrapping_add(1);
        let end = request.len().saturating_sub(CHUNK_LEN);
        let fresh = u64::from(number).rotate_left(32) ^ count;
        if let Some(enc) = request.get_mut(end.saturating_sub(8)..end) {
            enc.copy_from_slice(&fresh.to_ne_bytes());
        }
        stream.write_all(&request).await?;
        match status(&mut stream, &mut buffer).await? {
            400 => told.refused = told.refused.saturating_add(1),
            503 => told.busy = told.busy.saturating_add(1),
            _ => told.other = told.other.saturating_add(1),
        }
    }
    Ok(told)
}

/// Reads one answer with a length, and gives its status.
async fn status(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<u16> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = buffer.windows(4).position(|octets| octets == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if buffer.len() >= end.saturating_add(4).saturating_add(length) {
            return Ok(head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0));
        }
    }
}

/// A sealed request as far as anybody without the key can tell: the first epoch's key, the suite of
/// our client, random octets for the rest.
fn request(router: SocketAddr, node: NodeId) -> Vec<u8> {
    let mut body = vec![0, 0x64, 0x7a, 0x00, 0x01, 0x00, 0x02];
    let octets = (0..ENC_LEN.saturating_add(CHUNK_LEN)).scan(0x9e37_79b9_u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [.., octet] = state.to_le_bytes();
        Some(octet)
    });
    body.extend(octets);
    let head = format!(
        "POST /v1/nodes/{node}/ohttp HTTP/1.1\r\nhost: {router}\r\ncontent-type: message/ohttp-chunked-req\r\nincremental: ?1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// X-Wing's encapsulated key.
const ENC_LEN: usize = 1_120;
/// A final chunk as our client's shortest.
const CHUNK_LEN: usize = 1 + 1_024 + 16;
