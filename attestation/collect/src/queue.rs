use std::collections::VecDeque;
use std::sync::{Arc, mpsc as blocking};
use std::thread;
use std::time::Duration;

use attestation::binding::FreshnessProof;
use attestation::{BindingId, Challenge, Digest, Fresh, ReportData, merkle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::CollectError;
use crate::{Attester, PlatformEvidence};

/// Hands out evidence: one report in flight, challenges batched, a new epoch first
/// (`docs/protocol.md` §5.2).
///
/// Clones share one queue. It ends when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Collector {
    commands: mpsc::Sender<Command>,
    limits: Limits,
}

impl Collector {
    /// Runs `attester` on a thread of its own, and the queue as a task of the runtime that this is
    /// called in.
    pub fn spawn(attester: Box<dyn Attester>, limits: Limits) -> Result<Self, CollectError> {
        let (commands, inbox) = mpsc::channel(limits.waiting_max.max(1));
        let (work, jobs) = blocking::channel();
        let (done, results) = mpsc::channel(1);
        thread::Builder::new()
            .name("collect".to_owned())
            .spawn(move || attend(attester, &jobs, &done))
            .map_err(CollectError::io("starting the collector's thread"))?;
        tokio::spawn(Queue::new(limits, inbox, work, results).run());
        Ok(Self { commands, limits })
    }

    /// Evidence of an epoch that answers nobody's challenge, made once and kept. The first call
    /// for an epoch goes before every challenge that waits.
    pub async fn epoch(&self, binding: BindingId) -> Result<Arc<PlatformEvidence>, CollectError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Epoch { binding, reply }, answer).await
    }

    /// Evidence of an epoch that answers this challenge, in a report that may answer others too.
    pub async fn fresh(
        &self,
        binding: BindingId,
        challenge: Challenge,
    ) -> Result<Collected, CollectError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Fresh { binding, waiter: Waiter { challenge, reply } }, answer).await
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, CollectError>>,
    ) -> Result<T, CollectError> {
        self.commands.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => CollectError::Busy,
            mpsc::error::TrySendError::Closed(_) => CollectError::Closed,
        })?;
        match timeout(self.limits.wait_max, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CollectError::Closed),
            Err(_) => Err(CollectError::TimedOut),
        }
    }
}

/// Evidence, and what shows that it answers the challenge.
#[derive(Clone, Debug)]
pub struct Collected {
    /// What the platform signed; others of the same batch share it.
    pub evidence: Arc<PlatformEvidence>,
    /// The `freshness` member of the evidence bundle.
    pub freshness: FreshnessProof,
}

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long the first challenge of a batch waits for company.
    pub window: Duration,
    /// Most challenges in one report, at most 1,024.
    pub batch_max: usize,
    /// Most questions that wait; one more is told to come back later.
    pub waiting_max: usize,
    /// How long a question waits for its answer.
    pub wait_max: Duration,
}

impl Default for Limits {
    /// The window and the batch are those of `docs/protocol.md` §5.2. A busy host makes the guest
    /// driver sleep for seconds, so thirty are allowed.
    fn default() -> Self {
        Self {
            window: Duration::from_millis(250),
            batch_max: merkle::LEAVES_MAX,
            waiting_max: 4096,
            wait_max: Duration::from_secs(30),
        }
    }
}

#[derive(Debug)]
enum Command {
    Epoch { binding: BindingId, reply: EpochReply },
    Fresh { binding: BindingId, waiter: Waiter },
}

type EpochReply = oneshot::Sender<Result<Arc<PlatformEvidence>, CollectError>>;

#[derive(Debug)]
struct Waiter {
    challenge: Challenge,
    reply: oneshot::Sender<Result<Collected, CollectError>>,
}

struct Rotation {
    binding: BindingId,
    replies: Vec<EpochReply>,
}

struct Batch {
    binding: BindingId,
    closes: Instant,
    waiters: Vec<Waiter>,
}

/// What the platform works on.
enum Flight {
    Rotation(Rotation),
    Batch(Vec<Waiter>),
}

struct Queue {
    limits: Limits,
    inbox: mpsc::Receiver<Command>,
    work: blocking::Sender<ReportData>,
    results: mpsc::Receiver<Result<PlatformEvidence, CollectError>>,
    rotations: VecDeque<Rotation>,
    batches: VecDeque<Batch>,
    flight: Option<Flight>,
    epochs: VecDeque<(BindingId, Arc<PlatformEvidence>)>,
}

impl Queue {
    fn new(
        limits: Limits,
        inbox: mpsc::Receiver<Command>,
        work: blocking::Sender<ReportData>,
        results: mpsc::Receiver<Result<PlatformEvidence, CollectError>>,
    ) -> Self {
        let (rotations, batches, epochs) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { limits, inbox, work, results, rotations, batches, flight: None, epochs }
    }

    /// Until the last handle is gone or the platform's thread has died; whoever waits then learns
    /// it from the channel that is dropped.
    async fn run(mut self) {
        loop {
            if self.dispatch().is_err() {
                return;
            }
            let wake = self.wake();
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.admit(command),
                    None => return,
                },
                result = self.results.recv() => match result {
                    Some(result) => self.complete(result),
                    None => return,
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    fn admit(&mut self, command: Command) {
        match command {
            Command::Epoch { binding, reply } => self.admit_rotation(binding, reply),
            Command::Fresh { binding, waiter } => self.admit_challenge(binding, waiter),
        }
    }

    fn admit_rotation(&mut self, binding: BindingId, reply: EpochReply) {
        if let Some((_, evidence)) = self.epochs.iter().find(|(id, _)| *id == binding) {
            answer(reply, Ok(Arc::clone(evidence)));
            return;
        }
        let in_flight = match &mut self.flight {
            Some(Flight::Rotation(rotation)) => Some(rotation),
            Some(Flight::Batch(_)) | None => None,
        };
        let mut rotations = in_flight.into_iter().chain(&mut self.rotations);
        if let Some(rotation) = rotations.find(|rotation| rotation.binding == binding) {
            // Everyone who asks for one epoch waits for one report, and counts as one.
            if rotation.replies.len() < self.limits.waiting_max {
                rotation.replies.push(reply);
            } else {
                answer(reply, Err(CollectError::Busy));
            }
        } else if self.rotations.len() < EPOCHS_MAX {
            self.rotations.push_back(Rotation { binding, replies: vec![reply] });
        } else {
            answer(reply, Err(CollectError::Busy));
        }
    }

    fn admit_challenge(&mut self, binding: BindingId, waiter: Waiter) {
        if self.waiting() >= self.limits.waiting_max {
            // Those who gave up make room before anybody is turned away.
            self.forget_the_gone();
        }
        if self.waiting() >= self.limits.waiting_max {
            answer(waiter.reply, Err(CollectError::Busy));
            return;
        }
        let full = self.batch_max();
        let open = self
            .batches
            .iter_mut()
            .find(|batch| batch.binding == binding && batch.waiters.len() < full);
        if let Some(batch) = open {
            batch.waiters.push(waiter);
        } else {
            let now = Instant::now();
            let closes = now.checked_add(self.limits.window).unwrap_or(now);
            self.batches.push_back(Batch { binding, closes, waiters: vec![waiter] });
        }
    }

    /// Gives an idle platform its next work; an error means that its thread has died.
    fn dispatch(&mut self) -> Result<(), blocking::SendError<ReportData>> {
        while self.flight.is_none() {
            if let Some(rotation) = self.rotations.pop_front() {
                self.work.send(ReportData::bind(&rotation.binding, &Fresh::None))?;
                self.flight = Some(Flight::Rotation(rotation));
                continue;
            }
            let (now, full) = (Instant::now(), self.batch_max());
            let ready = |batch: &Batch| batch.closes <= now || batch.waiters.len() >= full;
            let Some(index) = self.batches.iter().position(ready) else { return Ok(()) };
            let Some(mut batch) = self.batches.remove(index) else { return Ok(()) };
            batch.waiters.retain(|waiter| !waiter.reply.is_closed());
            let fresh = match batch.waiters.as_slice() {
                [] => continue,
                [only] => Fresh::Challenge(only.challenge),
                several => {
                    let challenges: Vec<_> =
                        several.iter().map(|waiter| waiter.challenge).collect();
                    Fresh::Root(merkle::root(&challenges))
                }
            };
            self.work.send(ReportData::bind(&batch.binding, &fresh))?;
            self.flight = Some(Flight::Batch(batch.waiters));
        }
        Ok(())
    }

    fn complete(&mut self, result: Result<PlatformEvidence, CollectError>) {
        let result = result.map(Arc::new);
        match self.flight.take() {
            None => {}
            Some(Flight::Rotation(rotation)) => {
                if let Ok(evidence) = &result {
                    self.epochs.push_back((rotation.binding, Arc::clone(evidence)));
                    while self.epochs.len() > EPOCHS_MAX {
                        self.epochs.pop_front();
                    }
                }
                rotation.replies.into_iter().for_each(|reply| answer(reply, result.clone()));
            }
            Some(Flight::Batch(waiters)) => {
                let challenges: Vec<_> = waiters.iter().map(|waiter| waiter.challenge).collect();
                let proofs = proofs(&challenges);
                for (waiter, freshness) in waiters.into_iter().zip(proofs) {
                    let collected =
                        result.clone().map(|evidence| Collected { evidence, freshness });
                    answer(waiter.reply, collected);
                }
            }
        }
    }

    /// When the next batch closes, if the platform is idle.
    fn wake(&self) -> Option<Instant> {
        if self.flight.is_some() {
            return None;
        }
        self.batches.iter().map(|batch| batch.closes).min()
    }

    fn waiting(&self) -> usize {
        self.batches.iter().map(|batch| batch.waiters.len()).sum()
    }

    fn forget_the_gone(&mut self) {
        for batch in &mut self.batches {
            batch.waiters.retain(|waiter| !waiter.reply.is_closed());
        }
        self.batches.retain(|batch| !batch.waiters.is_empty());
    }

    fn batch_max(&self) -> usize {
        self.limits.batch_max.clamp(1, merkle::LEAVES_MAX)
    }
}

/// What shows each challenge that the report answers it.
fn proofs(challenges: &[Challenge]) -> Vec<FreshnessProof> {
    if let [only] = challenges {
        return vec![FreshnessProof::Challenge { challenge: Digest(only.0) }];
    }
    let (root, paths) = merkle::root_and_paths(challenges);
    // At most 1,024 of them, so index and size fit 16 bits.
    let size = u16::try_from(challenges.len()).unwrap_or(u16::MAX);
    let proof = |(index, path)| FreshnessProof::Batch { root, index, size, path };
    (0..size).zip(paths).map(proof).collect()
}

/// Whoever does not listen any more has given up; nothing is owed to them.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

/// The platform's thread: one report after the other, until the queue is gone.
fn attend(
    mut attester: Box<dyn Attester>,
    jobs: &blocking::Receiver<ReportData>,
    done: &mpsc::Sender<Result<PlatformEvidence, CollectError>>,
) {
    while let Ok(report_data) = jobs.recv() {
        if done.blocking_send(attester.report(&report_data)).is_err() {
            return;
        }
    }
}

/// Epochs whose evidence is kept, or that wait for theirs: the current one, the one before it in
/// its grace, the next, and one to spare.
const EPOCHS_MAX: usize = 4;
