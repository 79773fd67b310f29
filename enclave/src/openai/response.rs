use std::fmt::{self, Write as _};

use attestation::UnixTime;
use engine::{Candidate, TokenLogprobs};
use serde::{Serialize, Serializer};
use zeroize::Zeroize as _;

/// Which of `OpenAI`'s two APIs for text an answer is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// One completion in the making: what all its objects have in common.
#[derive(Debug)]
pub struct Completion {
    form: Form,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    with_usage: bool,
    with_logprobs: bool,
}

impl Completion {
    /// A completion with a name that nobody can guess.
    ///
    /// `model` is the name that was asked for; `fingerprint` tells what computes.
    pub fn new(
        form: Form,
        id: [u8; 12],
        created: UnixTime,
        model: &str,
        fingerprint: &str,
    ) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Text => "cmpl",
        };
        Self {
            form,
            id: format!("{prefix}-{}", hex::encode(id)),
            created: created.as_secs(),
            model: model.to_owned(),
            fingerprint: fingerprint.to_owned(),
            with_usage: false,
            with_logprobs: false,
        }
    }

    /// The same with the key `usage` in every chunk, as `stream_options.include_usage` asks.
    #[must_use]
    pub fn with_usage(mut self) -> Self {
        self.with_usage = true;
        self
    }

    /// The same with the likelihoods of tokens beside their text, as `logprobs` asks.
    #[must_use]
    pub fn with_logprobs(mut self) -> Self {
        self.with_logprobs = true;
        self
    }

    /// Whether likelihoods are told.
    pub(crate) const fn has_logprobs(&self) -> bool {
        self.with_logprobs
    }

    /// The whole answer.
    pub fn whole(
        &self,
        content: &str,
        logprobs: &[TokenLogprobs],
        finish: &str,
        usage: Tokens,
    ) -> Vec<u8> {
        let logprobs = self.with_logprobs.then_some(Logprobs::new(logprobs));
        let usage = Counts::Given(usage);
        match self.form {
            Form::Chat => {
                let message = Said { role: "assistant", content, refusal: None };
                let choice = Choice { index: 0, message, logprobs, finish_reason: finish };
                json(&self.object("chat.completion", [choice], usage))
            }
            Form::Text => {
                let choice = Continued::new(content, Some(finish));
                json(&self.object("text_completion", [choice], usage))
            }
        }
    }

    /// The first event of a stream, where it has one: who speaks.
    pub fn role_event(&self, out: &mut Vec<u8>) {
        if self.form == Form::Chat {
            let delta = Delta { role: Some("assistant"), content: Some("") };
            self.event(Some((delta, None, None)), None, out);
        }
    }

    /// More of the text.
    pub fn delta_event(&self, content: &str, out: &mut Vec<u8>) {
        self.likely_event(content, &[], out);
    }

    /// More of the text, and how likely the tokens were that begin in it.
    pub fn likely_event(&self, content: &str, logprobs: &[TokenLogprobs], out: &mut Vec<u8>) {
        let delta = Delta { role: None, content: Some(content) };
        let logprobs = self.with_logprobs.then_some(Logprobs::new(logprobs));
        self.event(Some((delta, logprobs, None)), None, out);
    }

    /// Why the text ends.
    pub fn finish_event(&self, finish: &str, out: &mut Vec<u8>) {
        self.event(Some((Delta { role: None, content: None }, None, Some(finish))), None, out);
    }

    /// The counts of tokens, in a chunk without choices.
    pub fn usage_event(&self, usage: Tokens, out: &mut Vec<u8>) {
        self.event(None, Some(usage), out);
    }

    fn event(
        &self,
        choice: Option<(Delta<'_>, Option<Logprobs<'_>>, Option<&str>)>,
        usage: Option<Tokens>,
        out: &mut Vec<u8>,
    ) {
        let usage = match usage {
            Some(usage) => Counts::Given(usage),
            None if self.with_usage => Counts::Null,
            None => Counts::Absent,
        };
        let event = match self.form {
            Form::Chat => {
                let choice = choice.map(|(delta, logprobs, finish_reason)| ChunkChoice {
                    index: 0,
                    delta,
                    logprobs,
                    finish_reason,
                });
                json(&self.object("chat.completion.chunk", choice.as_slice(), usage))
            }
            Form::Text => {
                let choice = choice.map(|(delta, _, finish_reason)| {
                    Continued::new(delta.content.unwrap_or_default(), finish_reason)
                });
                json(&self.object("text_completion", choice.as_slice(), usage))
            }
        };
        write_event(&event, out);
    }

    fn object<C: Serialize>(&self, kind: &'static str, choices: C, usage: Counts) -> Object<'_, C> {
        Object {
            id: &self.id,
            kind,
            created: self.created,
            model: &self.model,
            choices,
            usage,
            system_fingerprint: &self.fingerprint,
        }
    }
}

/// The last event of every stream that did not break off.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// An error in the middle of a stream, which ends it.
pub(crate) fn error_event(error: &crate::openai::ApiError, out: &mut Vec<u8>) {
    write_event(&error.body(), out);
}

/// The list of models that the enclave serves, under all their names.
pub fn models(names: &[String], created: UnixTime) -> Vec<u8> {
    let created = created.as_secs();
    let data = names
        .iter()
        .map(|id| Model { id, object: "model", created, owned_by: "veritee" })
        .collect();
    json(&List { object: "list", data })
}

/// Counted tokens, as `OpenAI`'s API names them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tokens {
    #[serde(rename = "prompt_tokens")]
    prompt: u32,
    #[serde(rename = "completion_tokens")]
    completion: u32,
    #[serde(rename = "total_tokens")]
    total: u32,
}

impl Tokens {
    /// The counts and their sum.
    pub const fn new(prompt: u32, completion: u32) -> Self {
        Self { prompt, completion, total: prompt.saturating_add(completion) }
    }
}

#[derive(Serialize)]
struct Object<'a, C: Serialize> {
    id: &'a str,
    #[serde(rename = "object")]
    kind: &'static str,
    created: u64,
    model: &'a str,
    choices: C,
    #[serde(skip_serializing_if = "Counts::is_absent")]
    usage: Counts,
    system_fingerprint: &'a str,
}

/// The key `usage`: no such key, null, or the counts.
#[derive(Serialize)]
#[serde(untagged)]
enum Counts {
    Absent,
    Null,
    Given(Tokens),
}

impl Counts {
    const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u8,
    message: Said<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: &'a str,
}

/// The choice of a completion, whole or in part.
#[derive(Serialize)]
struct Continued<'a> {
    text: &'a str,
    index: u8,
    logprobs: Option<()>,
    finish_reason: Option<&'a str>,
}

impl<'a> Continued<'a> {
    const fn new(text: &'a str, finish_reason: Option<&'a str>) -> Self {
        Self { text, index: 0, logprobs: None, finish_reason }
    }
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u8,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// The key `logprobs` of a chat's choice.
#[derive(Serialize)]
struct Logprobs<'a> {
    content: Entries<'a>,
    refusal: Option<()>,
}

impl<'a> Logprobs<'a> {
    const fn new(entries: &'a [TokenLogprobs]) -> Self {
        Self { content: Entries(entries), refusal: None }
    }
}

struct Entries<'a>(&'a [TokenLogprobs]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter_map(|entry| {
            let mut candidates = entry.candidates().map(Likely::from);
            Some(Entry { chosen: candidates.next()?, top_logprobs: candidates.collect() })
        }))
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    chosen: Likely<'a>,
    top_logprobs: Vec<Likely<'a>>,
}

#[derive(Serialize)]
struct Likely<'a> {
    token: Lossy<'a>,
    logprob: f32,
    /// None of a control token, which stands for none.
    bytes: Option<&'a [u8]>,
}

impl<'a> From<Candidate<'a>> for Likely<'a> {
    fn from(candidate: Candidate<'a>) -> Self {
        let Candidate { octets, control, logprob } = candidate;
        Self { token: Lossy(octets), logprob, bytes: (!control).then_some(octets) }
    }
}

/// Text with U+FFFD where octets are no UTF-8, written without a copy.
struct Lossy<'a>(&'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            if chunk.invalid().is_empty() {
                Ok(())
            } else {
                f.write_char(char::REPLACEMENT_CHARACTER)
            }
        })
    }
}

impl Serialize for Lossy<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Strings and numbers always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

fn write_event(json: &[u8], out: &mut Vec<u8>) {
    // A vector that grows by itself leaves its old memory behind as it is.
    let needed = out.len().saturating_add(json.len()).saturating_add(FRAMING_LEN);
    if needed > out.capacity() {
        let mut larger = Vec::with_capacity(needed);
        larger.extend_from_slice(out);
        out.zeroize();
        *out = larger;
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// What an event has beside its JSON.
const FRAMING_LEN: usize = "data: \n\n".len();
