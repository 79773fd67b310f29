//! The server's end: an engine whose work is done elsewhere, and is begun anew when that ends.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{
    Completion, Embedding, Engine, EngineError, EngineOptions, Generation, GenerationEvent,
    ModelDescription, Request,
};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::frame::{self, Id, News, Order, Unfit};
use super::pulse;
use crate::config::Config;
use crate::event::Event;
use crate::metrics::ENGINE_STARTS;
use crate::model::{self, ModelError};

/// An engine in a process of its own.
///
/// Where that process ends, whatever it ends of, what it was answering fails with
/// [`EngineError::Crashed`], and another is started; until that one has read the model, requests are
/// told to come back. Dropping this ends the process.
pub struct RemoteEngine {
    description: ModelDescription,
    desk: Arc<Desk>,
    supervisor: JoinHandle<()>,
}

impl RemoteEngine {
    /// Starts the process on the model that `config` names, and waits until it has read it.
    ///
    /// It must be called where tokio's runtime is.
    ///
    /// # Errors
    /// As [`model::read`] and [`model::start`]; also [`ModelError::Process`].
    pub async fn launch(config: &Config, folder: &Path) -> Result<Self, ModelError> {
        let (file, _) = model::open(&config.model, folder)?;
        let launch =
            Launch { file, sha256: config.model.sha256.0, options: model::options(config) };
        let (description, conversation) = launch.start().await.map_err(|error| match error {
            Failed::Process(error) => ModelError::Process(error),
            Failed::Unfit(Unfit::Open) => ModelError::Process(ProcessError::Open),
            Failed::Unfit(Unfit::TooLarge(len)) => ModelError::TooLarge { len },
            Failed::Unfit(Unfit::Refused(error)) => ModelError::Refused(error),
            Failed::Unfit(Unfit::Unreadable(reason)) => ModelError::Unreadable {
                path: config.model.file(folder),
                kind: reason.map_or(io::ErrorKind::Other, |reason| {
                    io::Error::from_raw_os_error(reason).kind()
                }),
            },
        })?;
        let desk = Arc::new(Desk::new(&description));
        let supervisor = supervise(launch, description.clone(), Arc::clone(&desk), conversation);
        let supervisor = tokio::spawn(supervisor);
        Ok(Self { description, desk, supervisor })
    }
}

impl Engine for RemoteEngine {
    fn start(&self, request: Request) -> Result<Generation, EngineError> {
        self.desk.ask(|id| Order::Start(id, request))
    }

    fn complete(&self, completion: Completion) -> Result<Generation, EngineError> {
        self.desk.ask(|id| Order::Complete(id, completion))
    }

    fn embed(&self, embedding: Embedding) -> Result<Generation, EngineError> {
        self.desk.ask(|id| Order::Embed(id, embedding))
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

impl Drop for RemoteEngine {
    fn drop(&mut self) {
        // What the task holds ends the process.
        self.supervisor.abort();
        self.desk.close(EngineError::Stopping);
    }
}

impl fmt::Debug for RemoteEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEngine")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

/// Who waits for what.
struct Desk {
    state: Mutex<State>,
    /// Events of one generation, which all fit: the longest answer or the most vectors, and what ends it.
    events_max: usize,
}

#[derive(Default)]
struct State {
    /// None while there is no process that could be asked.
    orders: Option<mpsc::UnboundedSender<Order>>,
    waiting: HashMap<Id, Waiter>,
    last: Id,
}

enum Waiter {
    Starting(oneshot::Sender<Result<Generation, EngineError>>),
    Running(mpsc::Sender<GenerationEvent>),
}

impl Desk {
    fn new(description: &ModelDescription) -> Self {
        let longest = usize::try_from(description.context_length).unwrap_or(usize::MAX);
        let most = longest.saturating_mul(EVENTS_PER_TOKEN).max(Embedding::INPUTS_MAX);
        let events_max = most.saturating_add(2).min(EVENTS_MAX);
        Self { state: Mutex::default(), events_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens for a new process.
    fn open(&self, orders: mpsc::UnboundedSender<Order>) {
        self.lock().orders = Some(orders);
    }

    /// Fails whatever runs; nothing is taken until it opens again.
    fn close(&self, error: EngineError) {
        let mut state = self.lock();
        state.orders = None;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waiter) in waiting {
            // Who went away meanwhile misses nothing.
            match waiter {
                Waiter::Starting(asked) => drop(asked.send(Err(error))),
                Waiter::Running(events) => drop(events.try_send(GenerationEvent::Failed(error))),
            }
        }
    }

    /// Sends an order, and waits until it was taken on or refused.
    fn ask(&self, order: impl FnOnce(Id) -> Order) -> Result<Generation, EngineError> {
        let (asked, answered) = oneshot::channel();
        let mut state = self.lock();
        let Some(orders) = state.orders.clone() else {
            return Err(BUSY);
        };
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        state.waiting.insert(id, Waiter::Starting(asked));
        // Under the lock: whoever closes either sees this waiter, or was seen by it.
        if orders.send(order(id)).is_err() {
            state.waiting.remove(&id);
            return Err(BUSY);
        }
        drop(state);
        answered.blocking_recv().unwrap_or(Err(EngineError::Crashed))
    }

    /// Takes in what the process says; false where it says what makes no sense.
    fn hear(self: &Arc<Self>, news: News) -> bool {
        match news {
            News::Started(id, prompt_tokens) => {
                let (events, receiver) = mpsc::channel(self.events_max);
                let mut state = self.lock();
                let Some(Waiter::Starting(asked)) =
                    state.waiting.insert(id, Waiter::Running(events.clone()))
                else {
                    return false;
                };
                drop(state);
                // A generation that nobody took is dropped here, and so cancelled as any other.
                drop(asked.send(Ok(Generation { prompt_tokens, events: receiver })));
                tokio::spawn(Arc::clone(self).cancel_when_left(id, events));
                true
            }
            News::Refused(id, error) => match self.lock().waiting.remove(&id) {
                Some(Waiter::Starting(asked)) => {
                    drop(asked.send(Err(error)));
                    true
                }
                _ => false,
            },
            News::Event(id, event) => {
                let last =
                    matches!(event, GenerationEvent::Finished { .. } | GenerationEvent::Failed(_));
                let mut state = self.lock();
                let full = match state.waiting.get(&id) {
                    Some(Waiter::Running(events)) => {
                        matches!(events.try_send(event), Err(mpsc::error::TrySendError::Full(_)))
                    }
                    // It was cancelled, and the word of that is on its way.
                    None => false,
                    Some(Waiter::Starting(_)) => return false,
                };
                if last {
                    state.waiting.remove(&id);
                }
                !full
            }
            News::Loading(..) | News::Ready(..) | News::Unfit(_) | News::Pulse(_) => false,
        }
    }

    /// Tells the process once nobody listens to a generation any more.
    async fn cancel_when_left(self: Arc<Self>, id: Id, events: mpsc::Sender<GenerationEvent>) {
        events.closed().await;
        let mut state = self.lock();
        if state.waiting.remove(&id).is_some()
            && let Some(orders) = &state.orders
        {
            // A process that is gone has cancelled everything.
            drop(orders.send(Order::Cancel(id)));
        }
    }
}

/// Carries on with the process that runs, and with one after another.
async fn supervise(
    launch: Launch,
    description: ModelDescription,
    desk: Arc<Desk>,
    first: Conversation,
) {
    let mut next = Some(first);
    let mut pause = PAUSE_MIN;
    loop {
        if let Some(conversation) = next.take() {
            conversation.hold(&desk).await;
            desk.close(EngineError::Crashed);
            Event::EngineEnded.emit();
        }
        sleep(pause).await;
        next = match launch.start().await {
            // The digest pins the file, and this program the rest: another model is a defect.
            Ok((other, conversation)) if other == description => {
                pause = PAUSE_MIN;
                Some(conversation)
            }
            Ok(_) | Err(_) => {
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
                None
            }
        };
    }
}

/// What it takes to start a process.
struct Launch {
    /// Open from the start: what is served again is what was served, wherever its name points by then.
    file: File,
    sha256: [u8; 32],
    options: EngineOptions,
}

impl Launch {
    async fn start(&self) -> Result<(ModelDescription, Conversation), Failed> {
        let spawn = |error: io::Error| Failed::Process(ProcessError::Spawn(error.kind()));
        let (ours, theirs) = Socket::pair().map_err(spawn)?;
        let process = self.spawn(theirs).map_err(spawn)?;
        let process = Process(Some(process));
        ENGINE_STARTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        ours.set_nonblocking(true).map_err(spawn)?;
        let (mut news, mut orders) = UnixStream::from_std(ours).map_err(spawn)?.into_split();
        let broke = |_| Failed::Process(ProcessError::Broke);
        let load = Order::Load { sha256: self.sha256, options: self.options };
        frame::write(&mut orders, &load).await.map_err(broke)?;
        loop {
            match frame::read(&mut news).await.map_err(broke)? {
                Some(News::Loading(read, len)) => Event::Loading { read, len }.emit(),
                Some(News::Ready(description, locked)) => {
                    Event::EngineReady { locked }.emit();
                    return Ok((description, Conversation { news, orders, process }));
                }
                Some(News::Unfit(unfit)) => return Err(Failed::Unfit(unfit)),
                Some(_) | None => return Err(Failed::Process(ProcessError::Broke)),
            }
        }
    }

    /// This same program, with two descriptors, no environment, and nobody's terminal.
    fn spawn(&self, socket: Socket) -> io::Result<Child> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        // Ours are closed on the way already; what whoever started us left open may not be.
        close_fds::set_fds_cloexec_threadsafe(STANDARD, &[]);
        Command::new("/proc/self/exe")
            .arg(FLAG)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(OwnedFd::from(socket))
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
    }
}

/// A process that has its model.
struct Conversation {
    news: OwnedReadHalf,
    orders: OwnedWriteHalf,
    process: Process,
}

impl Conversation {
    /// Until the process ends, hangs, or says what makes no sense; then it is ended.
    async fn hold(self, desk: &Arc<Desk>) {
        let Self { mut news, mut orders, process } = self;
        let (sender, mut outgoing) = mpsc::unbounded_channel();
        let asking = sender.clone();
        desk.open(sender);
        // One question at a time is open.
        let (pulse, pulses) = mpsc::channel(1);
        let hangs = pulse::hangs(|| drop(asking.send(Order::Pulse)), pulses);
        let writing = async {
            while let Some(order) = outgoing.recv().await {
                if frame::write(&mut orders, &order).await.is_err() {
                    break;
                }
            }
        };
        let reading = async {
            while let Ok(Some(news)) = frame::read(&mut news).await {
                let sound = if let News::Pulse(answer) = news {
                    pulse.try_send(answer).is_ok()
                } else {
                    desk.hear(news)
                };
                if !sound {
                    break;
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
            () = hangs => {}
        }
        process.end().await;
    }
}

/// A child that does not outlive this.
struct Process(Option<Child>);

impl Process {
    /// Ends it, and waits until it has.
    async fn end(mut self) {
        if let Some(mut child) = self.0.take() {
            drop(spawn_blocking(move || end(&mut child)).await);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            end(&mut child);
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended before, which is as good.
    drop(child.kill());
    drop(child.wait());
}

/// Why a process did not come to serve.
enum Failed {
    Unfit(Unfit),
    Process(ProcessError),
}

/// Why an engine has no process to run in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProcessError {
    /// The system started none.
    Spawn(io::ErrorKind),
    /// It could not give up what an engine must not have: the kernel lacks seccomp, perhaps.
    Open,
    /// It ended before it had read the model.
    Broke,
}

impl ProcessError {
    /// A stable name for the error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Spawn(_) => "engine-not-started",
            Self::Open => "engine-not-confined",
            Self::Broke => "engine-ended",
        }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(kind) => write!(f, "no process could be started: {kind}"),
            Self::Open => f.write_str("its process cannot be confined (seccomp is needed)"),
            Self::Broke => f.write_str(
                "its process ended before it had read the model; is there enough memory for it?",
            ),
        }
    }
}

impl std::error::Error for ProcessError {}

/// The first descriptor that is none of the three that every program has.
const STANDARD: i32 = 3;
/// What the program is started with to be an engine.
const FLAG: &str = "--engine-process";
/// While a process is started asking again makes sense after a second.
const BUSY: EngineError = EngineError::Busy { retry_after_s: 1 };
/// A token ends a text, and begins and goes on with a call, at most.
const EVENTS_PER_TOKEN: usize = 4;
/// Events of one generation, whatever a process says of its context.
const EVENTS_MAX: usize = 1 << 22;
/// Between the end of one process and the start of the next, and its double each time that fails.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Secret;

    /// Long enough that an answer has more events than a request for vectors.
    const CONTEXT: u32 = 1024;

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_no_process_and_one_without_end_does() {
        let engine = engine::EchoEngine::new(1, Duration::ZERO);
        let description =
            ModelDescription { context_length: CONTEXT, ..engine.description().clone() };
        let desk = Arc::new(Desk::new(&description));
        let (asked, answered) = oneshot::channel();
        desk.lock().waiting.insert(1, Waiter::Starting(asked));
        assert!(desk.hear(News::Started(1, 1)));
        let _unread = answered.await.unwrap().unwrap();
        let event = |said| {
            News::Event(1, GenerationEvent::Delta(Secret::new("a".to_owned()), said, Vec::new()))
        };
        // A text before each call, its name, its arguments, and what follows: as many as a token can cause.
        for said in 1..=CONTEXT {
            for _ in 0..4 {
                assert!(desk.hear(event(said)));
            }
        }
        assert!(desk.hear(event(CONTEXT)) && desk.hear(event(CONTEXT)), "and what ends it");
        assert!(!desk.hear(event(CONTEXT)));
    }
}
