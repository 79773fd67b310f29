use std::fmt::{self, Write as _};

use attestation::receipt::Usage;
use attestation::{Secret, UnixTime};
use engine::{CallDelta, Candidate, TokenLogprobs};
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

/// One choice, whole.
#[derive(Debug)]
pub struct Whole {
    /// Its text.
    pub text: Secret<String>,
    /// How likely its tokens were, where that is told.
    pub logprobs: Vec<TokenLogprobs>,
    /// The calls it makes: each one's id, function and arguments.
    pub calls: Vec<(String, String, Secret<String>)>,
    /// Why it ended.
    pub finish: &'static str,
}

/// How far a choice has been told in a stream.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    index: u32,
    letters: usize,
}

impl Default for Whole {
    fn default() -> Self {
        let text = Secret::new(String::new());
        Self { text, logprobs: Vec::new(), calls: Vec::new(), finish: "stop" }
    }
}

impl Whole {
    /// Takes more of a call; one that begins has an id.
    pub(crate) fn call(&mut self, call: CallDelta, id: Option<String>) {
        let CallDelta { index: _, name, arguments } = call;
        match (id, name, self.calls.last_mut()) {
            (Some(id), Some(name), _) => self.calls.push((id, name, arguments)),
            (_, _, Some((.., all))) => all.append(arguments.expose()),
            (_, _, None) => {}
        }
    }
}

impl Telling {
    /// Of a choice nothing has been told.
    pub const fn new(index: u32) -> Self {
        Self { index, letters: 0 }
    }
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

    /// The whole answer: its choices in order.
    pub fn whole(&self, choices: &[Whole], usage: Tokens) -> Vec<u8> {
        let usage = Counts::Given(usage);
        let numbered = (0_u32..).zip(choices);
        match self.form {
            Form::Chat => {
                let choices: Vec<_> = numbered
                    .map(|(index, whole)| Choice {
                        index,
                        message: Said::new(whole),
                        logprobs: self.with_logprobs.then_some(Logprobs::new(&whole.logprobs)),
                        finish_reason: whole.finish,
                    })
                    .collect();
                json(&self.object("chat.completion", choices, usage))
            }
            Form::Text => {
                let choices: Vec<_> = numbered
                    .map(|(index, whole)| Continued {
                        text: whole.text.expose(),
                        index,
                        logprobs: self
                            .with_logprobs
                            .then(|| LegacyLogprobs::new(&whole.logprobs, &mut 0)),
                        finish_reason: Some(whole.finish),
                    })
                    .collect();
                json(&self.object("text_completion", choices, usage))
            }
        }
    }

    /// The first event of a choice in a stream, where it has one: who speaks.
    pub fn role_event(&self, choice: u32, out: &mut Vec<u8>) {
        if self.form == Form::Chat {
            let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            self.chat_event(choice, delta, None, None, out);
        }
    }

    /// More of the first choice's text.
    pub fn delta_event(&self, content: &str, out: &mut Vec<u8>) {
        self.text_event(&mut Telling::new(0), content, &[], out);
    }

    /// More of a choice's text, and how likely the tokens were that begin in it.
    pub fn text_event(
        &self,
        telling: &mut Telling,
        text: &str,
        logprobs: &[TokenLogprobs],
        out: &mut Vec<u8>,
    ) {
        match self.form {
            Form::Chat => {
                let delta = Delta { content: Some(text), ..Delta::default() };
                let logprobs = self.with_logprobs.then_some(Logprobs::new(logprobs));
                self.chat_event(telling.index, delta, logprobs, None, out);
            }
            Form::Text => {
                let logprobs =
                    self.with_logprobs.then(|| LegacyLogprobs::new(logprobs, &mut telling.letters));
                self.continued_event(telling.index, text, logprobs, None, out);
            }
        }
    }

    /// More of a call that a choice makes.
    pub fn call_event(&self, choice: u32, call: &CallDelta, id: Option<&str>, out: &mut Vec<u8>) {
        let call = ToolCall {
            index: Some(call.index),
            id,
            kind: id.map(|_| "function"),
            function: Function { name: call.name.as_deref(), arguments: call.arguments.expose() },
        };
        let delta = Delta { tool_calls: Some([call]), ..Delta::default() };
        self.chat_event(choice, delta, None, None, out);
    }

    /// Why a choice ends.
    pub fn finish_event(&self, choice: u32, finish: &str, out: &mut Vec<u8>) {
        match self.form {
            Form::Chat => self.chat_event(choice, Delta::default(), None, Some(finish), out),
            Form::Text => self.continued_event(choice, "", None, Some(finish), out),
        }
    }

    /// The counts of tokens, in a chunk without choices.
    pub fn usage_event(&self, usage: Tokens, out: &mut Vec<u8>) {
        let none: [(); 0] = [];
        write_event(&json(&self.object(self.chunk(), none, Counts::Given(usage))), out);
    }

    fn chat_event(
        &self,
        index: u32,
        delta: Delta<'_>,
        logprobs: Option<Logprobs<'_>>,
        finish_reason: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let choice = ChunkChoice { index, delta, logprobs, finish_reason };
        write_event(&json(&self.object(self.chunk(), [choice], self.no_counts())), out);
    }

    fn continued_event(
        &self,
        index: u32,
        text: &str,
        logprobs: Option<LegacyLogprobs<'_>>,
        finish_reason: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let choice = Continued { text, index, logprobs, finish_reason };
        write_event(&json(&self.object(self.chunk(), [choice], self.no_counts())), out);
    }

    const fn chunk(&self) -> &'static str {
        match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Text => "text_completion",
        }
    }

    const fn no_counts(&self) -> Counts {
        if self.with_usage { Counts::Null } else { Counts::Absent }
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

    /// What a receipt counts.
    pub const fn of(usage: Usage) -> Self {
        Self::new(usage.prompt, usage.completion)
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
    index: u32,
    message: Said<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: &'a str,
}

/// The choice of a completion, whole or in part.
#[derive(Serialize)]
struct Continued<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<LegacyLogprobs<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

impl<'a> Said<'a> {
    fn new(whole: &'a Whole) -> Self {
        let text = whole.text.expose().as_str();
        let content = (!text.is_empty() || whole.calls.is_empty()).then_some(text);
        let call = |(id, name, arguments): &'a (String, String, Secret<String>)| ToolCall {
            index: None,
            id: Some(id),
            kind: Some("function"),
            function: Function { name: Some(name), arguments: arguments.expose() },
        };
        let tool_calls = whole.calls.iter().map(call).collect();
        Self { role: "assistant", content, refusal: None, tool_calls }
    }
}

/// A call, whole or in part.
#[derive(Serialize)]
struct ToolCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall<'a>; 1]>,
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

/// The key `logprobs` of a completion's choice.
#[derive(Serialize)]
struct LegacyLogprobs<'a> {
    tokens: Vec<Name<'a>>,
    token_logprobs: Vec<f32>,
    top_logprobs: Option<Vec<Top<'a>>>,
    text_offset: Vec<usize>,
}

impl<'a> LegacyLogprobs<'a> {
    /// Of the tokens after so many letters, which it counts on.
    fn new(entries: &'a [TokenLogprobs], letters: &mut usize) -> Self {
        let mut all = Self {
            tokens: Vec::with_capacity(entries.len()),
            token_logprobs: Vec::with_capacity(entries.len()),
            top_logprobs: None,
            text_offset: Vec::with_capacity(entries.len()),
        };
        for entry in entries {
            let mut candidates = entry.candidates();
            let Some(chosen) = candidates.next() else { continue };
            let continues = |octet: &u8| octet & 0xc0 == 0x80;
            // A token that begins amid a letter has that letter's place.
            let amid = usize::from(chosen.octets.first().is_some_and(continues));
            all.text_offset.push(letters.saturating_sub(amid));
            let begun = chosen.octets.iter().filter(|octet| !continues(octet)).count();
            *letters = letters.saturating_add(begun);
            all.tokens.push(Name(chosen.octets));
            all.token_logprobs.push(chosen.logprob);
            let others: Vec<_> =
                candidates.map(|other| (Name(other.octets), other.logprob)).collect();
            if !others.is_empty() {
                all.top_logprobs.get_or_insert_default().push(Top(others));
            }
        }
        all
    }
}

/// The likeliest tokens by their names.
struct Top<'a>(Vec<(Name<'a>, f32)>);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, logprob)| (name, logprob)))
    }
}

/// A token's name: its text, or `bytes:` and its octets where those are no text.
struct Name<'a>(&'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return f.write_str(text);
        }
        f.write_str("bytes:")?;
        self.0.iter().try_for_each(|octet| write!(f, "\\x{octet:02x}"))
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihoods_of_a_completion_have_the_older_shape() {
        let token = |octets: &'static [u8], logprob| Candidate { octets, control: false, logprob };
        let entries = [
            TokenLogprobs::new(
                token("aä".as_bytes(), -0.5),
                [token(b"aa", -1.0), token(b"b", -2.0)],
            ),
            TokenLogprobs::new(token(&[0xf0, 0x9f], -1.5), [token(&[0xf0, 0x9f], -1.5)]),
            TokenLogprobs::new(token(&[0x98, 0x80, b'!'], -2.5), [token(b"c", -0.25)]),
            TokenLogprobs::new(token(b"x", -3.5), [token(b"x", -3.5)]),
        ];
        let mut letters = 0;
        let [first, rest] = [&entries[..1], &entries[1..]].map(|entries| {
            serde_json::to_value(LegacyLogprobs::new(entries, &mut letters)).unwrap()
        });
        let expected = serde_json::json!({
            "tokens": ["aä"], "token_logprobs": [-0.5],
            "top_logprobs": [{"aa": -1.0, "b": -2.0}], "text_offset": [0],
        });
        assert_eq!(first, expected);
        let expected = serde_json::json!({
            "tokens": ["bytes:\\xf0\\x9f", "bytes:\\x98\\x80\\x21", "x"],
            "token_logprobs": [-1.5, -2.5, -3.5],
            "top_logprobs": [{"bytes:\\xf0\\x9f": -1.5}, {"c": -0.25}, {"x": -3.5}],
            "text_offset": [2, 2, 4],
        });
        assert_eq!(rest, expected);
        let alone = [TokenLogprobs::new(token(b"x", -1.0), [])];
        let said = serde_json::to_value(LegacyLogprobs::new(&alone, &mut 0)).unwrap();
        assert_eq!(said["top_logprobs"], serde_json::Value::Null);
    }
}
