//! Threads that each keep the connections they were given.
//!
//! An appraisal takes less than a tenth of a millisecond. Where threads share their work, as those of
//! one runtime do, every request wakes another of them to look for some, and that costs more than the
//! appraisal (`docs/decisions/0013-a-connection-stays-on-its-thread.md`).

use std::io;
use std::num::NonZero;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// A thread for every processor, each with a runtime of its own; dropping it ends them, and what
/// still runs on them.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<(Handle, JoinHandle<()>)>,
    /// Changes, by an error, when the threads should end. None when they were told so.
    ending: Option<watch::Sender<()>>,
}

impl Workers {
    /// As many as there are processors.
    ///
    /// # Errors
    /// The system gives no thread, or no way to wait for a connection.
    pub(crate) fn start() -> io::Result<Self> {
        let (ending, ended) = watch::channel(());
        let mut workers = Self { threads: Vec::new(), ending: Some(ending) };
        for number in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            let thread = thread.spawn(move || {
                // An error: the sender is gone, which is the signal.
                drop(runtime.block_on(ended.changed()));
            })?;
            workers.threads.push((handle, thread));
        }
        Ok(workers)
    }

    /// The one with the fewest connections, for the next.
    ///
    /// # Errors
    /// There is none, which [`start`](Self::start) rules out.
    pub(crate) fn least(&self) -> io::Result<&Handle> {
        let handles = self.threads.iter().map(|(handle, _)| handle);
        handles
            .min_by_key(|handle| handle.metrics().num_alive_tasks())
            .ok_or_else(|| io::Error::other("no thread was started"))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.ending = None;
        for (_, thread) in self.threads.drain(..) {
            drop(thread.join()); // A runtime catches the panics of what runs on it.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_fewest_connections_gets_the_next_and_keeps_it() {
        let workers = Workers::start().unwrap();
        let count = workers.threads.len();
        let mut names = Vec::new();
        let (release, released) = watch::channel(());
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..count * 2 {
            let (tell, mut released) = (tell.clone(), released.clone());
            workers.least().unwrap().spawn(async move {
                let before = thread::current().name().map(str::to_owned);
                drop(released.changed().await);
                tokio::task::yield_now().await;
                tell.send((before, thread::current().name().map(str::to_owned))).unwrap();
            });
        }
        drop(release);
        for _ in 0..count * 2 {
            let (before, after) = told.recv().unwrap();
            assert_eq!(before, after);
            names.push(after.unwrap());
        }
        names.sort();
        let expected: Vec<String> =
            (0..count).flat_map(|number| vec![format!("worker-{number}"); 2]).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn who_drops_them_ends_what_runs_on_them() {
        let workers = Workers::start().unwrap();
        let (held, gone) = std::sync::mpsc::channel::<()>();
        workers.least().unwrap().spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(workers);
        assert_eq!(gone.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}
