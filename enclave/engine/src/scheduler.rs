//! Many sequences, one step at a time.
//!
//! One thread owns the model's state. Each of its steps computes one token for every sequence that
//! is being answered, and fills what room is left with prompts, oldest first, a piece at a time, so
//! that a long prompt delays no answer for long. Sequences come and go between steps. A sequence's
//! numbers depend on itself alone, so its company cannot be told from its answer.
//!
//! Keys and values have a budget. A sequence gets its place when the pages that it may come to need are
//! free, for prompt and answer: what has begun can always end.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc as threads};

use attestation::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::api::{EngineError, FinishReason, GenerationEvent, Order};
use crate::embedding::Pool;
use crate::grammar::{After, Constraint};
use crate::kernels::{Isa, Team};
use crate::logprobs::{self, Candidate, TokenLogprobs, Withheld};
use crate::model::{Cache, Model, Row, Scratch};
use crate::sampler::{self, Said};
use crate::stop::StopFilter;
use crate::tokenizer::{Tokenizer, Utf8Stream};
use crate::tools::{Part, Speech};

/// What a generation needs.
pub(crate) struct Job {
    pub(crate) prompt: Zeroizing<Vec<u32>>,
    pub(crate) order: Order,
    /// What the answer is held to.
    pub(crate) constraint: Option<Constraint>,
    /// What it is held to once it has opened a call.
    pub(crate) later: Option<Constraint>,
    /// What tells its calls from its text.
    pub(crate) speech: Option<Speech>,
    /// Where it is to become vectors and not an answer: the texts after the prompt, and their sums.
    pub(crate) pool: Option<Pool>,
    /// Prompt and answer fit the context. At least 1, but of texts that become vectors.
    pub(crate) tokens_max: u32,
    /// Has room for all events that `tokens_max` tokens, or texts, can cause.
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    /// Who wants the bare tokens as well.
    pub(crate) tokens: Option<threads::Sender<u32>>,
}

impl Job {
    /// How many pages it may come to need.
    fn pages(&self) -> usize {
        let answer = usize::try_from(self.tokens_max).unwrap_or(usize::MAX);
        let longest = self.pool.as_ref().map_or(self.prompt.len(), Pool::longest);
        Cache::pages(longest.saturating_add(answer))
    }
}

/// How far an engine is with its work.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pulse {
    /// Steps computed since the start; it wraps.
    pub steps: u64,
    /// Whether there is work, so that steps follow.
    pub working: bool,
}

/// What sequences may take together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Sequences.
    pub(crate) slots: usize,
    /// Pages of keys and values; no fewer than the longest job needs.
    pub(crate) pages: usize,
}

/// The door to the thread that computes.
pub(crate) struct Door {
    queue: Mutex<Queue>,
    bell: Condvar,
    queue_max: usize,
    /// How many steps were computed.
    steps: AtomicU64,
    #[cfg(test)]
    pub(crate) fault: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// How many sequences have places.
    active: usize,
    closing: bool,
}

impl Door {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            bell: Condvar::new(),
            queue_max,
            steps: AtomicU64::new(0),
            #[cfg(test)]
            fault: false.into(),
        }
    }

    /// Lets a job in, or says that there is no place.
    pub(crate) fn enter(&self, job: Job, slots: usize) -> Result<(), EngineError> {
        let mut queue = self.lock();
        self.check(&mut queue, slots, job.order.tenant)?;
        queue.waiting.push_back(job);
        drop(queue);
        self.bell.notify_one();
        Ok(())
    }

    /// Says whether a job would be let in now, before anybody works on one in vain.
    pub(crate) fn has_place(&self, slots: usize, tenant: [u8; 32]) -> Result<(), EngineError> {
        self.check(&mut self.lock(), slots, tenant)
    }

    fn check(&self, queue: &mut Queue, slots: usize, tenant: [u8; 32]) -> Result<(), EngineError> {
        if queue.closing {
            return Err(EngineError::Stopping);
        }
        queue.waiting.retain(|job| !job.events.is_closed());
        let free = slots.saturating_sub(queue.active);
        let turns = queue.waiting.len().checked_div(slots).unwrap_or(0).saturating_add(1);
        let retry_after_s = u32::try_from(turns).unwrap_or(u32::MAX).min(60);
        if queue.waiting.len() >= self.queue_max.saturating_add(free) {
            return Err(EngineError::Busy { retry_after_s });
        }
        // Half of the queue is for the others, or one of them could keep all from being heard.
        let share = self.queue_max.div_ceil(2).saturating_add(free);
        if queue.waiting.iter().filter(|job| job.order.tenant == tenant).count() >= share {
            return Err(EngineError::TenantBusy { retry_after_s });
        }
        Ok(())
    }

    /// How far the thread is.
    pub(crate) fn pulse(&self) -> Pulse {
        let queue = self.lock();
        let working = queue.active > 0 || !queue.waiting.is_empty();
        Pulse { steps: self.steps.load(Ordering::Relaxed), working }
    }

    /// Ends the thread after its step; what runs fails with `Stopping`.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.bell.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves waiting jobs to free places, waiting for one if `active` is empty. None: closing.
    ///
    /// The next is the oldest job of a tenant that has the fewest places. Where its pages are not free,
    /// nobody overtakes it: a long job would wait for ever behind short ones.
    fn admit(&self, active: &mut Vec<Sequence>, room: Room) -> Option<()> {
        let mut queue = self.lock();
        loop {
            queue.waiting.retain(|job| !job.events.is_closed());
            let taken = active.iter().map(|sequence| sequence.job.pages());
            let mut free = room.pages.saturating_sub(taken.fold(0, usize::saturating_add));
            while active.len() < room.slots {
                let places = |job: &Job| {
                    active
                        .iter()
                        .filter(|sequence| sequence.job.order.tenant == job.order.tenant)
                        .count()
                };
                let next = queue
                    .waiting
                    .iter()
                    .enumerate()
                    .min_by_key(|(at, job)| (places(job), *at))
                    .and_then(|(at, job)| Some((at, free.checked_sub(job.pages())?)));
                let Some((next, left)) = next else { break };
                let Some(job) = queue.waiting.remove(next) else { break };
                free = left;
                active.push(Sequence::new(job));
            }
            queue.active = active.len();
            if queue.closing {
                for job in queue.waiting.drain(..) {
                    tell(&job.events, GenerationEvent::Failed(EngineError::Stopping));
                }
                return None;
            }
            if !active.is_empty() {
                return Some(());
            }
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl core::fmt::Debug for Door {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Door(..)")
    }
}

/// The thread that computes.
pub(crate) struct Scheduler {
    pub(crate) model: Model,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) isa: Isa,
    pub(crate) team: Team,
    pub(crate) room: Room,
}

impl Scheduler {
    /// Serves until the door closes.
    pub(crate) fn run(mut self, door: &Door) {
        let mut scratch = Scratch::new(&self.model.shape(), ROWS_MAX, self.room.slots);
        let mut active: Vec<Sequence> = Vec::new();
        while door.admit(&mut active, self.room).is_some() {
            let before = active.len();
            let step = catch_unwind(AssertUnwindSafe(|| {
                #[cfg(test)]
                assert!(!door.fault.swap(false, Ordering::SeqCst), "as planned");
                self.step(&mut active, &mut scratch);
            }));
            if step.is_err() {
                // Whose fault it was cannot be known, and every cache may be half written.
                for sequence in active.drain(..) {
                    tell(&sequence.job.events, GenerationEvent::Failed(EngineError::Crashed));
                }
            }
            door.steps.fetch_add(1, Ordering::Relaxed);
            if active.len() != before {
                scratch.wipe();
            }
        }
        for sequence in active {
            tell(&sequence.job.events, GenerationEvent::Failed(EngineError::Stopping));
        }
    }

    fn step(&mut self, active: &mut Vec<Sequence>, scratch: &mut Scratch) {
        active.retain(|sequence| !sequence.job.events.is_closed());
        let rows = plan(active);
        if rows.is_empty() {
            return;
        }
        let mut caches: Vec<Cache> =
            active.iter_mut().map(|sequence| core::mem::take(&mut sequence.cache)).collect();
        self.model.step(self.isa, &mut self.team, scratch, &mut caches, &rows);
        for (sequence, cache) in active.iter_mut().zip(caches) {
            sequence.cache = cache;
        }
        let pools = active.iter_mut().map(|sequence| sequence.job.pool.as_mut());
        self.model.pool(scratch, &rows, pools);
        let logits = scratch.logits.chunks_exact_mut(self.model.shape().vocabulary);
        for (row, logits) in rows.iter().filter(|row| row.wants_logits).zip(logits) {
            if let Some(sequence) = active.get_mut(row.sequence) {
                let count = sequence.job.order.logprobs;
                // What was the model's is told, and choosing overwrites it.
                let raw = count.map(|_| Zeroizing::new(logits.to_vec()));
                let Order { sampling, bias, .. } = &sequence.job.order;
                sequence.said.penalise(logits, sampling);
                sampler::bias(logits, bias);
                // Last, so that nothing allows again what it forbids.
                if let Some(constraint) = &mut sequence.job.constraint
                    && let Err(error) = constraint.mask(logits, &self.tokenizer)
                {
                    sequence.fail(error);
                    continue;
                }
                let token = choose(self.isa, logits, sequence, &self.tokenizer);
                let mut ranked = Vec::new();
                if let (Some(token), Some(mut raw), Some(count)) = (token, raw, count) {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    ranked = logprobs::ranked(self.isa, &mut raw, token, count);
                }
                sequence.take(token, &ranked, &self.tokenizer);
            }
        }
        for sequence in active.iter_mut().filter(|sequence| sequence.answering()) {
            sequence.end_text();
        }
        active.retain(|sequence| !sequence.done);
        // Who begins another text lets the others' prompts go first.
        active.sort_by_key(|sequence| sequence.job.pool.is_some() && sequence.position == 0);
    }
}

/// Chooses the next token. One that opens a call ends with the mark, for what follows is held to a form.
fn choose(isa: Isa, logits: &mut [f32], sequence: &Sequence, tokenizer: &Tokenizer) -> Option<u32> {
    let (sampling, step) = (&sequence.job.order.sampling, sequence.generated);
    let Some(speech) = sequence.job.speech.as_ref().filter(|_| sequence.job.later.is_some()) else {
        return sampler::choose(isa, logits, sampling, step);
    };
    let mut kept = Zeroizing::new(logits.to_vec());
    loop {
        let token = sampler::choose(isa, logits, sampling, step)?;
        if !speech.overruns(tokenizer.bytes(token)) {
            return Some(token);
        }
        *kept.get_mut(usize::try_from(token).ok()?)? = f32::NEG_INFINITY;
        logits.copy_from_slice(&kept);
    }
}

/// What to compute next: a token for each answer, then pieces of prompts.
fn plan(active: &mut [Sequence]) -> Vec<Row> {
    let answering = active.iter().filter(|sequence| sequence.answering()).count();
    let prompts_max = if answering == 0 { ROWS_MAX } else { PROMPT_ROWS_AMID_ANSWERS };
    let mut room = prompts_max.min(ROWS_MAX.saturating_sub(answering));
    let mut rows = Vec::with_capacity(ROWS_MAX);
    for (number, sequence) in active.iter_mut().enumerate() {
        let todo = sequence.job.prompt.len().saturating_sub(sequence.position);
        if sequence.answering() {
            rows.push(Row {
                sequence: number,
                position: sequence.position,
                token: sequence.last,
                wants_logits: true,
            });
            sequence.position = sequence.position.saturating_add(1);
            continue;
        }
        let piece = todo.min(room);
        room = room.saturating_sub(piece);
        for token in sequence.job.prompt.iter().skip(sequence.position).take(piece) {
            let position = sequence.position;
            sequence.position = position.saturating_add(1);
            let wants_logits =
                sequence.job.pool.is_none() && sequence.position == sequence.job.prompt.len();
            rows.push(Row { sequence: number, position, token: *token, wants_logits });
        }
    }
    rows
}

/// A job that has a place.
struct Sequence {
    job: Job,
    cache: Cache,
    /// How many tokens the cache holds, or will after the step that is planned.
    position: usize,
    /// The last token chosen; its turn to be computed is next.
    last: u32,
    generated: u32,
    bytes: Utf8Stream,
    stops: StopFilter,
    withheld: Withheld,
    said: Said,
    done: bool,
}

impl Sequence {
    fn new(mut job: Job) -> Self {
        let stops = StopFilter::new(core::mem::take(&mut job.order.stop));
        Self {
            job,
            cache: Cache::default(),
            position: 0,
            last: 0,
            generated: 0,
            bytes: Utf8Stream::default(),
            stops,
            withheld: Withheld::default(),
            said: Said::default(),
            done: false,
        }
    }

    /// Whether the prompt has been computed.
    fn answering(&self) -> bool {
        self.position >= self.job.prompt.len()
    }

    /// Gives out the vector of the text that has been computed, where one is wanted, and turns to the next.
    fn end_text(&mut self) {
        let Some(pool) = &mut self.job.pool else { return };
        let Some(vector) = pool.take() else {
            return self.fail(EngineError::Crashed); // Not all of it are numbers.
        };
        tell(&self.job.events, GenerationEvent::Vector(vector));
        let Some(next) = pool.next() else {
            let (reason, completion_tokens) = (FinishReason::Stop, 0);
            tell(&self.job.events, GenerationEvent::Finished { reason, completion_tokens });
            self.done = true;
            return;
        };
        self.job.prompt = next;
        self.cache = Cache::default();
        self.position = 0;
    }

    /// Takes the token that was chosen; `ranked` are it and its alternatives, where they are wanted.
    fn take(&mut self, token: Option<u32>, ranked: &[(u32, f32)], tokenizer: &Tokenizer) {
        let Some(token) = token else {
            return self.fail(EngineError::Crashed); // Not one logit is a number.
        };
        self.last = token;
        self.generated = self.generated.saturating_add(1);
        if self.job.order.sampling.penalises() {
            self.said.count(token);
        }
        if let Some(tokens) = &self.job.tokens {
            // Nobody listens: nothing is missed.
            tokens.send(token).ok();
        }
        let mut text = Zeroizing::new(String::new());
        let mut reason = None;
        if tokenizer.is_end(token) {
            reason = Some(FinishReason::Stop);
        } else {
            match self.job.constraint.as_mut().map(|constraint| constraint.take(token)) {
                Some(Err(error)) => return self.fail(error),
                Some(Ok(After::Complete)) => reason = Some(FinishReason::Stop),
                Some(Ok(After::Open)) | None => {}
            }
            let (first, rest) = tokenizer.bytes(token).split_at_checked(1).unwrap_or_default();
            self.bytes.push(first, &mut text);
            if let (Some(entry), [_]) = (entry(ranked, tokenizer), first) {
                // Its text begins with the character that its first octet is of.
                let last = text.chars().next_back().filter(|_| !self.bytes.holds_back());
                let own = last.map_or(0, char::len_utf8);
                self.withheld.keep(text.len().saturating_sub(own), entry);
            }
            self.bytes.push(rest, &mut text);
            if reason.is_none() && self.generated >= self.job.tokens_max {
                reason = Some(FinishReason::Length);
            }
        }
        if reason.is_some() {
            self.bytes.finish(&mut text);
        }
        reason = self.hear(&text, reason);
        if let Some(reason) = reason {
            let completion_tokens = self.generated;
            tell(&self.job.events, GenerationEvent::Finished { reason, completion_tokens });
            self.done = true;
        }
    }

    /// Takes text, tells its calls from the rest, and gives out what is certain.
    fn hear(&mut self, text: &str, reason: Option<FinishReason>) -> Option<FinishReason> {
        let Some(mut speech) = self.job.speech.take() else { return self.utter(text, reason) };
        let mut ended = None;
        for part in speech.push(text) {
            match part {
                Part::Text(text) => ended = ended.or(self.utter(&Zeroizing::new(text), None)),
                Part::Call(call) => {
                    // What was held back cannot become a stop text any more.
                    let rest = Zeroizing::new(self.stops.rest());
                    if !rest.is_empty() {
                        self.say(rest.to_string());
                    }
                    tell(&self.job.events, GenerationEvent::Call(call, self.generated));
                }
            }
        }
        if speech.has_opened()
            && let Some(later) = self.job.later.take()
        {
            self.job.constraint = Some(later);
        }
        if ended.is_none() && reason.is_some() {
            let rest = Zeroizing::new(speech.finish().unwrap_or_default());
            ended = self.utter(&rest, reason);
        }
        let called = ended == Some(FinishReason::Stop) && speech.calls() > 0;
        self.job.speech = Some(speech);
        if called { Some(FinishReason::ToolCalls) } else { ended }
    }

    /// Gives out of the answer's text what can be no part of a stop text.
    fn utter(&mut self, text: &str, reason: Option<FinishReason>) -> Option<FinishReason> {
        self.withheld.made(text.len());
        let (mut out, stopped) = self.stops.push(text);
        if !stopped && reason.is_some() {
            out.push_str(&Zeroizing::new(self.stops.rest()));
        }
        if !out.is_empty() {
            self.say(out);
        }
        if stopped { Some(FinishReason::Stop) } else { reason }
    }

    fn fail(&mut self, error: EngineError) {
        tell(&self.job.events, GenerationEvent::Failed(error));
        self.done = true;
    }

    /// Gives out text, with the entries of the tokens that begin in it.
    fn say(&mut self, text: String) {
        let text = Secret::new(text);
        if self.job.order.logprobs.is_none() {
            return tell(
                &self.job.events,
                GenerationEvent::Delta(text, self.generated, Vec::new()),
            );
        }
        for (piece, entries) in self.withheld.give(text.expose()) {
            tell(&self.job.events, GenerationEvent::Delta(piece, self.generated, entries));
        }
    }
}

/// The likelihoods of a token, if they are wanted.
fn entry(ranked: &[(u32, f32)], tokenizer: &Tokenizer) -> Option<TokenLogprobs> {
    let candidate = |(token, logprob): &(u32, f32)| {
        let name = tokenizer.control(*token);
        let octets = name.map_or_else(|| tokenizer.bytes(*token), str::as_bytes);
        Candidate { octets, control: name.is_some(), logprob: *logprob }
    };
    let (chosen, others) = ranked.split_first()?;
    Some(TokenLogprobs::new(candidate(chosen), others.iter().map(candidate)))
}

/// Sends an event. The channel has room for all of them; a reader that has left misses nothing.
fn tell(events: &mpsc::Sender<GenerationEvent>, event: GenerationEvent) {
    drop(events.try_send(event));
}

/// Rows in a step: enough to use each weight many times, few enough to end soon.
pub(crate) const ROWS_MAX: usize = 128;
/// Rows of prompts in a step while others are being answered; it bounds how long those wait.
const PROMPT_ROWS_AMID_ANSWERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A job, and what keeps somebody waiting for it.
    fn job(tenant: u8) -> (Job, mpsc::Receiver<GenerationEvent>) {
        let (events, waiting) = mpsc::channel(1);
        let job = Job {
            prompt: Zeroizing::new(vec![0]),
            order: Order { tenant: [tenant; 32], ..Order::default() },
            constraint: None,
            later: None,
            speech: None,
            pool: None,
            tokens_max: 1,
            events,
            tokens: None,
        };
        (job, waiting)
    }

    #[test]
    fn a_tenant_with_many_requests_delays_another_by_one_answer_at_most() {
        let door = Door::new(100);
        let (jobs, waiting): (Vec<_>, Vec<_>) =
            [1, 1, 1, 1, 1, 1, 2, 2].map(job).into_iter().unzip();
        for job in jobs {
            assert_eq!(door.enter(job, 2), Ok(()));
        }
        let mut active = Vec::new();
        let mut tenants = Vec::new();
        // Whoever has a place leaves it first come, first gone.
        while tenants.len() < waiting.len() {
            assert_eq!(door.admit(&mut active, Room { slots: 2, pages: 2 }), Some(()));
            tenants.push(active.remove(0).job.order.tenant[0]);
        }
        assert_eq!(tenants, [1, 2, 1, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_tenant_s_crowd_leaves_half_of_the_queue_to_others() {
        let door = Door::new(6);
        let mut waiting = Vec::new();
        let mut enter = |tenant| {
            let (job, events) = job(tenant);
            waiting.push(events);
            door.enter(job, 1)
        };
        // Three of six wait, and one more takes the place that is free.
        let tenant: Vec<_> = (0..5).map(|_| enter(1)).collect();
        assert!(tenant[..4].iter().all(Result::is_ok));
        assert_eq!(tenant[4], Err(EngineError::TenantBusy { retry_after_s: 5 }));
        let other: Vec<_> = (0..4).map(|_| enter(2)).collect();
        assert!(other[..3].iter().all(Result::is_ok));
        assert_eq!(
            other[3],
            Err(EngineError::Busy { retry_after_s: 8 }),
            "there are six, and a place"
        );
    }

    #[test]
    fn who_waits_is_work_and_so_is_who_has_a_place() {
        let door = Door::new(100);
        let working = || door.pulse().working;
        assert!(!working());
        let (job, _waiting) = job(0);
        assert_eq!(door.enter(job, 1), Ok(()));
        assert!(working());
        let mut active = Vec::new();
        assert_eq!(door.admit(&mut active, Room { slots: 1, pages: 1 }), Some(()));
        assert_eq!((active.len(), working()), (1, true));
    }

    #[test]
    fn who_may_not_find_the_pages_to_end_waits_and_is_not_overtaken() {
        let door = Door::new(100);
        let room = Room { slots: 8, pages: 4 };
        // Three pages, two (for 65 positions), one.
        let (jobs, _waiting): (Vec<_>, Vec<_>) = [191, 64, 1]
            .map(|tokens_max| {
                let (job, waiting) = job(0);
                (Job { tokens_max, ..job }, waiting)
            })
            .into_iter()
            .unzip();
        for job in jobs {
            assert_eq!(door.enter(job, 8), Ok(()));
        }
        let mut active = Vec::new();
        let mut answers = |leaves: usize| {
            active.drain(..leaves);
            assert_eq!(door.admit(&mut active, room), Some(()));
            active.iter().map(|sequence| sequence.job.tokens_max).collect::<Vec<_>>()
        };
        assert_eq!(answers(0), [191]);
        assert_eq!(answers(0), [191], "the last would fit, and waits");
        assert_eq!(answers(1), [64, 1]);
    }
}
