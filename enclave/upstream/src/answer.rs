//! Answers: passed on as they came, but for what names and counts them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::{Zeroize as _, Zeroizing};

use crate::object::{Object, Writer};
use crate::sse::Reader;
use crate::{Connection, Failure, Question, failure};

/// What an answer is called.
#[derive(Clone, Debug)]
pub struct Names {
    /// Its id.
    pub id: String,
    /// The model, by the name that was asked for.
    pub model: String,
    /// When it began, in seconds.
    pub created: u64,
    /// What computes.
    pub fingerprint: String,
}

/// Counted tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: u32,
    /// Of the answer.
    pub completion: u32,
    /// Of the prompt, from a cache.
    pub cached: u32,
}

/// Why the first choice ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finish {
    /// By itself, calls included.
    Stop,
    /// At the limit of tokens.
    Length,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Why.
    pub finish: Finish,
    /// With what counts.
    pub tokens: Tokens,
}

/// An answer that is one object.
pub struct Whole {
    /// The object.
    pub json: Zeroizing<Vec<u8>>,
    /// How it ended.
    pub end: End,
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Whole({:?})", self.end)
    }
}

impl Whole {
    pub(crate) async fn read(body: Incoming, names: &Names) -> Result<Self, Failure> {
        let body = Limited::new(body, BODY_LEN_MAX).collect().await;
        let body = body.map_err(|_| Failure::Broken)?.to_bytes();
        let object = Object::read(&body).ok_or(Failure::Broken)?;
        let choices: Vec<Choice> = object.typed("choices").ok_or(Failure::Broken)?;
        let first = choices.iter().min_by_key(|choice| choice.index).ok_or(Failure::Broken)?;
        let finish = finish(first.finish_reason.as_deref().ok_or(Failure::Broken)?)?;
        for choice in &choices {
            self::finish(choice.finish_reason.as_deref().unwrap_or_default())?;
        }
        let tokens = object.typed::<Usage>("usage").ok_or(Failure::Broken)?.into();
        let json = Zeroizing::new(renamed(&object, names, body.len(), Show::Usage));
        Ok(Self { json, end: End { finish, tokens } })
    }
}

/// An answer that comes event by event.
pub struct Events {
    body: Incoming,
    _connection: Connection,
    reader: Reader,
    idle: Duration,
    deadline: Instant,
    names: Names,
    with_usage: bool,
    choices: usize,
    came: VecDeque<Zeroizing<Vec<u8>>>,
    /// The ends of choices, which go after all text: so does a client hold them back.
    ends: Vec<(u64, Finish, Zeroizing<Vec<u8>>)>,
    counts: Counts,
    /// What the server calls an event.
    object: String,
    /// The counts as an event of their own, where the server made one.
    usage: Option<Zeroizing<Vec<u8>>>,
    end: Option<End>,
    last: VecDeque<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(
        body: Incoming,
        connection: Connection,
        question: &Question,
        idle: Duration,
        deadline: Instant,
    ) -> Self {
        Self {
            body,
            _connection: connection,
            reader: Reader::new(),
            idle,
            deadline,
            names: question.names.clone(),
            with_usage: question.usage,
            choices: usize::try_from(question.choices).unwrap_or(usize::MAX),
            came: VecDeque::new(),
            ends: Vec::new(),
            counts: Counts::default(),
            object: "null".to_owned(),
            usage: None,
            end: None,
            last: VecDeque::new(),
        }
    }

    /// Waits for the first event.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        while self.came.is_empty() {
            self.receive().await?;
        }
        // `SGLang` refuses some requests with a status of 200 and an event.
        let refusal = self.came.front().and_then(|first| failure::refused(first));
        refusal.map_or(Ok(()), Err)
    }

    /// The data of the next event; none after the last, and then there is an [`end`](Self::end).
    ///
    /// # Errors
    /// The answer broke off: it has no end.
    pub async fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        loop {
            if self.end.is_some() {
                return Ok(self.last.pop_front());
            }
            let Some(data) = self.came.pop_front() else {
                let received = timeout(self.idle, timeout_at(self.deadline, self.receive())).await;
                received.unwrap_or(Ok(Err(Failure::TimedOut))).unwrap_or(Err(Failure::TimedOut))?;
                continue;
            };
            if data.as_slice() == b"[DONE]" {
                self.finish()?;
            } else if let Some(event) = self.sort(&data)? {
                return Ok(Some(event));
            }
        }
    }

    /// The tokens of what has been given so far, as far as they are known: of an answer that broke off.
    pub fn tokens(&self) -> Tokens {
        self.counts.told()
    }

    /// How the answer ended, once it has.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// More octets. One frame at a time: who reads slowly is read from slowly, and nothing piles up.
    async fn receive(&mut self) -> Result<(), Failure> {
        let frame = self.body.frame().await.ok_or(Failure::Broken)?;
        let Ok(data) = frame.map_err(|_| Failure::Broken)?.into_data() else { return Ok(()) };
        let Self { reader, came, .. } = self;
        reader.push(&data, |event| came.push_back(event)).map_err(|_| Failure::Broken)
    }

    /// What of an event is said now.
    fn sort(&mut self, data: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let object = Object::read(data).ok_or(Failure::Broken)?;
        if object.get("error").is_some() {
            return Err(Failure::Broken);
        }
        let choices: Vec<Choice> = object.typed("choices").ok_or(Failure::Broken)?;
        let within =
            |choice: &Choice| usize::try_from(choice.index).is_ok_and(|index| index < self.choices);
        if !choices.iter().all(within) {
            return Err(Failure::Broken);
        }
        let usage = object.get("usage").map(serde_json::from_str::<Usage>).transpose();
        let usage = usage.map_err(|_| Failure::Broken)?.map(Tokens::from);
        if let Some(kind) = object.get("object").filter(|kind| *kind != self.object) {
            kind.clone_into(&mut self.object);
        }
        match (choices.as_slice(), usage) {
            ([], Some(tokens)) => {
                // llama-server counts each choice by itself.
                let again = self.counts.add(tokens);
                let event = renamed(&object, &self.names, data.len(), Show::Usage);
                self.usage = (!again).then(|| Zeroizing::new(event));
            }
            (choices, Some(tokens)) => {
                for choice in choices {
                    self.counts.of(choice, tokens);
                }
            }
            (choices, None) => {
                let timings = object.typed::<Timings>("timings").map(Tokens::from);
                for choice in choices {
                    match timings {
                        Some(tokens) => self.counts.so_far(choice.index, tokens),
                        None => self.counts.guess(choice),
                    }
                }
            }
        }
        let Some(ended) = choices.iter().find(|choice| choice.end().is_some()) else {
            // Without choices there are counts, which go last.
            let say = !choices.is_empty();
            let event = say.then(|| renamed(&object, &self.names, data.len(), Show::NoUsage));
            return Ok(event.map(Zeroizing::new));
        };
        let finish = finish(ended.end().unwrap_or_default())?;
        let twice = self.ends.iter().any(|(index, ..)| *index == ended.index);
        if twice || self.ends.len() >= self.choices || choices.len() > 1 {
            return Err(Failure::Broken);
        }
        let event = Zeroizing::new(renamed(&object, &self.names, data.len(), Show::NoUsage));
        self.ends.push((ended.index, finish, event));
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.ends.sort_by_key(|(index, ..)| *index);
        let (_, finish, _) = self.ends.first().ok_or(Failure::Broken)?;
        let finish = *finish;
        if self.ends.len() != self.choices {
            return Err(Failure::Broken);
        }
        // What is not counted cannot be receipted.
        let tokens = self.counts.whole(self.choices).ok_or(Failure::Broken)?;
        self.last.extend(self.ends.drain(..).map(|(.., event)| event));
        if self.with_usage {
            let event = self.usage.take();
            let event = event.unwrap_or_else(|| counts(&self.object, &self.names, tokens).into());
            self.last.push_back(event);
        }
        self.end = Some(End { finish, tokens });
        Ok(())
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Show {
    Usage,
    NoUsage,
}

/// An object with our names in place of the server's; every other member as it came.
fn renamed(object: &Object<'_>, names: &Names, len: usize, show: Show) -> Vec<u8> {
    let mut writer = Writer::new(len.saturating_add(NAMES_LEN));
    let created = names.created.to_string();
    let mut marked = false;
    for (name, value) in &object.0 {
        match name.as_ref() {
            "id" => writer.text(name, &names.id),
            "model" => writer.text(name, &names.model),
            "created" => writer.raw(name, &created),
            "system_fingerprint" => {
                marked = true;
                writer.text(name, &names.fingerprint);
            }
            // Where another engine has the same prefix is no client's business.
            "kv_transfer_params" => {}
            "usage" | "timings" if show == Show::NoUsage => {}
            _ => writer.raw(name, value.get()),
        }
    }
    if !marked {
        writer.text("system_fingerprint", &names.fingerprint);
    }
    writer.finish()
}

/// An event of its own for counts that came with choices (llama-server's completions), or in parts.
fn counts(object: &str, names: &Names, tokens: Tokens) -> Vec<u8> {
    let Tokens { prompt, completion, cached } = tokens;
    let total = prompt.saturating_add(completion);
    let usage = format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}"#
    );
    let mut writer = Writer::new(usage.len().saturating_add(NAMES_LEN));
    writer.text("id", &names.id);
    writer.raw("object", object);
    writer.raw("created", &names.created.to_string());
    writer.text("model", &names.model);
    writer.raw("choices", "[]");
    writer.raw("usage", &usage);
    writer.text("system_fingerprint", &names.fingerprint);
    writer.finish()
}

/// What is known of an answer's tokens while it comes.
#[derive(Default)]
struct Counts {
    /// Of the whole answer, from events without choices.
    whole: Option<Tokens>,
    /// Of its prompt.
    prompt: Tokens,
    /// Of each choice, and whether its end was counted.
    said: Vec<(u64, u32, bool)>,
}

impl Counts {
    /// Counts of an event without choices; tells whether there were some before.
    fn add(&mut self, tokens: Tokens) -> bool {
        let before = self.whole.unwrap_or_default();
        let completion = before.completion.saturating_add(tokens.completion);
        let again = self.whole.is_some();
        self.whole = Some(Tokens { completion, ..tokens });
        again
    }

    /// Counts that came with a choice: its own so far, or at its end.
    fn of(&mut self, choice: &Choice, tokens: Tokens) {
        self.so_far(choice.index, tokens);
        let ended = choice.end().is_some();
        let said = self.said.iter_mut().find(|(index, ..)| *index == choice.index);
        if let Some((.., counted)) = said {
            *counted |= ended;
        }
    }

    fn so_far(&mut self, index: u64, tokens: Tokens) {
        self.prompt = tokens;
        let said = self.said(index);
        *said = (*said).max(tokens.completion);
    }

    /// The server did not count: an event that says something says a token at least.
    fn guess(&mut self, choice: &Choice) {
        let likely = choice.logprobs.as_ref().and_then(|logprobs| logprobs.content.as_ref());
        let tokens = likely.map_or(0, Vec::len).max(usize::from(choice.says()));
        let said = self.said(choice.index);
        *said = said.saturating_add(u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// As many choices as an answer may have: their indices are checked before.
    fn said(&mut self, index: u64) -> &mut u32 {
        let at = self.said.iter().position(|(have, ..)| *have == index);
        let at = at.unwrap_or_else(|| {
            self.said.push((index, 0, false));
            self.said.len().saturating_sub(1)
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed right before")]
        &mut self.said[at].1
    }

    fn told(&self) -> Tokens {
        let said = self.said.iter().map(|(_, said, _)| *said);
        Tokens { completion: said.fold(0, u32::saturating_add), ..self.prompt }
    }

    /// The counts of a whole answer; none where the server did not give them.
    fn whole(&self, choices: usize) -> Option<Tokens> {
        let counted = self.said.iter().filter(|(.., counted)| *counted).count();
        self.whole.or_else(|| (counted == choices).then(|| self.told()))
    }
}

/// An end that a receipt can name; any other is none.
fn finish(reason: &str) -> Result<Finish, Failure> {
    match reason {
        "stop" | "tool_calls" => Ok(Finish::Stop),
        "length" => Ok(Finish::Length),
        _ => Err(Failure::Broken),
    }
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
    delta: Option<Delta>,
    text: Option<String>,
}

impl Choice {
    /// Why it ended; `SGLang` of 2024 says the empty string while it goes on.
    fn end(&self) -> Option<&str> {
        self.finish_reason.as_deref().filter(|reason| !reason.is_empty())
    }

    fn says(&self) -> bool {
        let delta = self.delta.as_ref();
        let texts = [
            self.text.as_ref(),
            delta.and_then(|delta| delta.content.as_ref()),
            delta.and_then(|delta| delta.reasoning_content.as_ref()),
            delta.and_then(|delta| delta.reasoning.as_ref()),
        ];
        texts.into_iter().flatten().any(|text| !text.is_empty())
            || delta.is_some_and(|delta| {
                delta.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
            })
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

impl Drop for Delta {
    fn drop(&mut self) {
        self.content.zeroize();
        self.reasoning_content.zeroize();
        self.reasoning.zeroize();
    }
}

/// Of chats; a completion's have another shape, and are not counted by.
#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<IgnoredAny>>,
}

/// llama-server's own counts, `timings_per_token`.
#[derive(Deserialize)]
struct Timings {
    #[serde(default, rename = "cache_n")]
    cached: u32,
    #[serde(rename = "prompt_n")]
    computed: u32,
    #[serde(rename = "predicted_n")]
    said: u32,
}

impl From<Timings> for Tokens {
    fn from(timings: Timings) -> Self {
        let Timings { cached, computed, said: completion } = timings;
        Self { prompt: computed.saturating_add(cached), completion, cached }
    }
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u32>,
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        Self {
            prompt: usage.prompt_tokens,
            completion: usage.completion_tokens,
            cached: cached.unwrap_or(0),
        }
    }
}

/// Room for the names.
const NAMES_LEN: usize = 512;
/// Octets of an answer that is one object: a client takes as many.
const BODY_LEN_MAX: usize = 16 << 20;
