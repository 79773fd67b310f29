//! The engine's end: reads the model, then answers what the server orders.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as Socket;
use std::sync::Arc;

use engine::{
    EmbeddedEngine, Engine, EngineError, EngineOptions, Generation, ReadError, VerifiedModel,
};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet, spawn_blocking};

use super::frame::{self, Id, News, Order, Unfit};
use super::sandbox::{self, Locked};

/// Serves the process that started this one, until it hangs up.
///
/// Standard input is the socket to it, and standard output the model's open file: an engine inherits
/// these two descriptors and nothing else.
///
/// # Errors
/// The socket is none, or broke.
pub fn serve() -> io::Result<()> {
    let socket = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    let model = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    // Made before the calls that making it takes are gone.
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let deaf = runtime.block_on(async { ignore_signals() });
    let entered = deaf.and_then(|()| sandbox::enter());
    runtime.block_on(async {
        let (mut orders, to) = UnixStream::from_std(socket)?.into_split();
        let (news, outgoing) = mpsc::channel(NEWS_MAX);
        let writing = tokio::spawn(write(to, outgoing));
        let Ok(locked) = entered else { return end(News::Unfit(Unfit::Open), news, writing).await };
        let Some(Order::Load { sha256, options }) = frame::read(&mut orders).await? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let outbox = news.clone();
        // Beside the writer, who tells how far it is.
        let loaded = spawn_blocking(move || load(model, sha256, options, &outbox)).await?;
        let engine = match loaded {
            Ok(engine) => Arc::new(engine),
            Err(unfit) => return end(News::Unfit(unfit), news, writing).await,
        };
        let Locked(locked) = locked;
        drop(news.send(News::Ready(engine.description().clone(), locked)).await);
        let mut running = Running::default();
        while let Some(order) = frame::read(&mut orders).await? {
            running.carry_out(order, &engine, &news);
        }
        Ok(())
    })
}

/// A signal to the whole service is the server's to hear: it lets answers end, which takes an engine.
fn ignore_signals() -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        // Once somebody listens the signal ends nothing any more, listener or not.
        drop(signal(kind)?);
    }
    Ok(())
}

/// Says the last thing there is to say.
async fn end(last: News, news: Outbox, writing: JoinHandle<io::Result<()>>) -> io::Result<()> {
    drop(news.send(last).await);
    drop(news);
    writing.await?
}

/// Reads the file once, into the one buffer that is hashed, compared and parsed.
fn load(
    file: File,
    sha256: [u8; 32],
    options: EngineOptions,
    news: &Outbox,
) -> Result<EmbeddedEngine, Unfit> {
    let unreadable = |error: io::Error| Unfit::Unreadable(error.raw_os_error());
    let len = file.metadata().map_err(unreadable)?.len();
    let progress = |read| drop(news.try_send(News::Loading(read, len)));
    let model = VerifiedModel::read(file, len, sha256, progress).map_err(|error| match error {
        ReadError::Unreadable(error) => unreadable(error),
        ReadError::TooLarge { len } => Unfit::TooLarge(len),
        ReadError::Refused(error) => Unfit::Refused(error),
    })?;
    EmbeddedEngine::load(model, options).map_err(Unfit::Refused)
}

/// Writes what there is to say, in order. It is never interrupted within a frame.
async fn write(mut to: OwnedWriteHalf, mut news: mpsc::Receiver<News>) -> io::Result<()> {
    while let Some(news) = news.recv().await {
        frame::write(&mut to, &news).await?;
    }
    Ok(())
}

/// The way to the writer, for whoever has something to say.
type Outbox = mpsc::Sender<News>;

/// What is being answered. Dropping an entry's task cancels its generation.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    by_id: HashMap<Id, AbortHandle>,
}

impl Running {
    fn carry_out(&mut self, order: Order, engine: &Arc<EmbeddedEngine>, news: &Outbox) {
        while self.tasks.try_join_next().is_some() {}
        self.by_id.retain(|_, task| !task.is_finished());
        match order {
            // It came once already.
            Order::Load { .. } => {}
            Order::Cancel(id) => {
                if let Some(task) = self.by_id.remove(&id) {
                    task.abort();
                }
            }
            Order::Pulse => {
                let pulse = News::Pulse(engine.pulse());
                let news = news.clone();
                self.tasks.spawn(async move { drop(news.send(pulse).await) });
            }
            Order::Start(id, request) => {
                self.begin(id, engine, news, move |engine| engine.start(request));
            }
            Order::Complete(id, completion) => {
                self.begin(id, engine, news, move |engine| engine.complete(completion));
            }
            Order::Embed(id, embedding) => {
                self.begin(id, engine, news, move |engine| engine.embed(embedding));
            }
        }
    }

    fn begin(
        &mut self,
        id: Id,
        engine: &Arc<EmbeddedEngine>,
        news: &Outbox,
        start: impl FnOnce(&EmbeddedEngine) -> Result<Generation, EngineError> + Send + 'static,
    ) {
        let (engine, news) = (Arc::clone(engine), news.clone());
        let task = self.tasks.spawn(async move {
            // Rendering and counting a long prompt takes a while.
            let begun = spawn_blocking(move || start(&engine)).await;
            // Whoever listened is gone when nothing can be sent; the reader of orders ends the process.
            drop(match begun.unwrap_or(Err(EngineError::Crashed)) {
                Ok(generation) => tell(id, generation, &news).await,
                Err(error) => news.send(News::Refused(id, error)).await,
            });
        });
        self.by_id.insert(id, task);
    }
}

/// Passes on what happens, to the end.
async fn tell(
    id: Id,
    mut generation: Generation,
    news: &Outbox,
) -> Result<(), mpsc::error::SendError<News>> {
    news.send(News::Started(id, generation.prompt_tokens)).await?;
    while let Some(event) = generation.events.recv().await {
        news.send(News::Event(id, event)).await?;
    }
    Ok(())
}

/// What may wait to be written; who has more to say waits, and the engine for nobody.
const NEWS_MAX: usize = 64;
