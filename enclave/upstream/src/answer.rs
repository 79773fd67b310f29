//! Answers: passed on as they came, but for what names and counts them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use crate::object::{Object, Writer};
use crate::sse::Reader;
use crate::{Connection, Failure, Question};

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
    /// The counts, and the event that is left of the one they came in.
    usage: Option<(Tokens, Zeroizing<Vec<u8>>)>,
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
        Ok(())
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
        if let Some(raw) = object.get("usage") {
            let usage: Usage = serde_json::from_str(raw).map_err(|_| Failure::Broken)?;
            let mut writer = Zeroizing::new(renamed(&object, &self.names, data.len(), Show::Usage));
            if !choices.is_empty() {
                writer = Zeroizing::new(counts(&object, &self.names, raw));
            }
            self.usage = Some((usage.into(), writer));
        }
        let Some(ended) = choices.iter().find(|choice| choice.finish_reason.is_some()) else {
            // Without choices there are counts, which go last.
            let say = !choices.is_empty();
            let event = say.then(|| renamed(&object, &self.names, data.len(), Show::NoUsage));
            return Ok(event.map(Zeroizing::new));
        };
        let finish = finish(ended.finish_reason.as_deref().unwrap_or_default())?;
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
        // What is not counted cannot be receipted.
        let (tokens, event) = self.usage.take().ok_or(Failure::Broken)?;
        if self.ends.len() != self.choices {
            return Err(Failure::Broken);
        }
        self.last.extend(self.ends.drain(..).map(|(.., event)| event));
        if self.with_usage {
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
            "usage" if show == Show::NoUsage => {}
            _ => writer.raw(name, value.get()),
        }
    }
    if !marked {
        writer.text("system_fingerprint", &names.fingerprint);
    }
    writer.finish()
}

/// An event of its own for counts that came with the last choice (llama-server's completions).
fn counts(object: &Object<'_>, names: &Names, usage: &str) -> Vec<u8> {
    let mut writer = Writer::new(usage.len().saturating_add(NAMES_LEN));
    writer.text("id", &names.id);
    writer.raw("object", object.get("object").unwrap_or("null"));
    writer.raw("created", &names.created.to_string());
    writer.text("model", &names.model);
    writer.raw("choices", "[]");
    writer.raw("usage", usage);
    writer.text("system_fingerprint", &names.fingerprint);
    writer.finish()
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
