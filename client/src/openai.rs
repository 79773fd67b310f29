//! The part of the `OpenAI` API that a client must understand: which model is asked for, and which
//! events of an answer say that it is finished.

use core::fmt;

use attestation::Secret;
use attestation::receipt::{Parameters, Usage};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What can be asked of an enclave with a body (`docs/protocol.md` §5.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
}

impl Endpoint {
    /// The path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }
}

/// A request, ready to be sealed: exactly the octets that the caller wrote.
pub struct Request {
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Secret<Vec<u8>>,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) parameters: Option<Parameters>,
}

impl Request {
    /// Takes a JSON body as an SDK wrote it.
    ///
    /// # Errors
    /// No JSON object, a model or another key given twice, no model, or a body that is too long.
    pub fn new(endpoint: Endpoint, body: Secret<Vec<u8>>) -> Result<Self, Error> {
        if body.expose().len() > BODY_LEN_MAX {
            return Err(Error::Request("is longer than 2 MiB"));
        }
        let RequestOutline { model, stream } =
            serde_json::from_slice(body.expose()).map_err(|_| {
                Error::Request(
                    "is not a JSON object that names a model once, and says once whether to stream",
                )
            })?;
        if model.is_empty() || model.len() > MODEL_LEN_MAX {
            return Err(Error::Request("has a model name that is empty or too long"));
        }
        // Parameters of a wrong type are the enclave's to refuse: it names the field.
        let parameters: Option<ParametersOutline> = serde_json::from_slice(body.expose()).ok();
        let parameters = parameters
            .filter(|_| endpoint != Endpoint::Embeddings)
            .map(ParametersOutline::into_parameters);
        Ok(Self { endpoint, body, model, stream: stream.unwrap_or(false), parameters })
    }

    /// A conversation, from its parts.
    ///
    /// # Errors
    /// Text that does not fit a request.
    pub fn chat(chat: &Chat) -> Result<Self, Error> {
        let body = serde_json::to_vec(chat).map_err(|_| Error::Bug("a chat is not JSON"))?;
        Self::new(Endpoint::ChatCompletions, Secret::new(body))
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the answer is to be streamed.
    pub const fn is_stream(&self) -> bool {
        self.stream
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("endpoint", &self.endpoint)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// A conversation to continue.
#[derive(Clone, Serialize)]
pub struct Chat {
    /// The model.
    pub model: String,
    /// What was said so far.
    pub messages: Vec<Message>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// What else to say about a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Most tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// How random the answer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What the randomness starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

impl Chat {
    /// One question, its answer streamed and counted.
    pub fn question(model: &str, prompt: &str) -> Self {
        let content = prompt.to_owned();
        Self {
            model: model.to_owned(),
            messages: vec![Message { role: "user".to_owned(), content }],
            stream: true,
            stream_options: Some(StreamOptions { include_usage: true }),
            max_tokens: None,
            temperature: None,
            seed: None,
        }
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chat({}, {} messages)", self.model, self.messages.len())
    }
}

/// One turn of a conversation.
#[derive(Clone, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", self.role)
    }
}

/// What else to say about a stream.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StreamOptions {
    /// Whether the tokens are counted in an event of their own.
    pub include_usage: bool,
}

/// One event of a streamed answer: what follows `data: ` on the wire of the `OpenAI` API.
#[derive(Clone, Eq, PartialEq)]
pub struct Event {
    data: Vec<u8>,
}

impl Event {
    pub(crate) fn new(data: &[u8]) -> Self {
        Self { data: data.to_vec() }
    }

    /// The event's data.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether this is `[DONE]`.
    pub fn is_done(&self) -> bool {
        self.data == DONE
    }

    /// The text that the event adds to the answer.
    pub fn text(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Delta {
            content: Option<String>,
        }
        #[derive(Deserialize)]
        struct Choice {
            delta: Option<Delta>,
        }
        #[derive(Deserialize)]
        struct Chunk {
            choices: Vec<Choice>,
        }
        let chunk: Chunk = serde_json::from_slice(&self.data).ok()?;
        chunk.choices.into_iter().next()?.delta?.content
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({} octets)", self.data.len())
    }
}

/// What an answer or one of its events says about the whole, read before it is believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outline {
    /// The completion's id.
    pub(crate) id: Option<String>,
    /// How it ended.
    pub(crate) finish: Option<String>,
    /// Tokens counted.
    pub(crate) usage: Option<Usage>,
    /// What broke it off.
    pub(crate) error: Option<String>,
    /// Whether it must not be shown before everything is verified (`docs/protocol.md` §5.7).
    pub(crate) finishes: bool,
}

impl Outline {
    /// Reads an event's data, or the body of an answer that is not streamed.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        if data == DONE {
            return Some(Self { finishes: true, ..Self::default() });
        }
        let answer: AnswerOutline = serde_json::from_slice(data).ok()?;
        let AnswerOutline { id, choices, usage, error } = answer;
        let choices = choices.unwrap_or_default();
        let no_choice = choices.is_empty();
        let finish = choices.into_iter().find_map(|choice| choice.finish_reason);
        let usage = usage.map(|usage| Usage {
            prompt: usage.prompt_tokens,
            completion: usage.completion_tokens,
            cached: usage.prompt_tokens_details.map_or(0, |details| details.cached_tokens),
        });
        let error = error.map(|error| error.message);
        let finishes = no_choice || finish.is_some() || usage.is_some() || error.is_some();
        Some(Self { id, finish, usage, error, finishes })
    }
}

#[derive(Deserialize)]
struct RequestOutline {
    model: String,
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct ParametersOutline {
    model: String,
    stream: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
    seed: Option<i64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    stop: Option<Stop>,
    logprobs: Option<Logprobs>,
    top_logprobs: Option<u64>,
    min_p: Option<f64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    n: Option<u64>,
}

/// Of a chat whether they are wanted, of a completion of how many tokens.
#[derive(Deserialize)]
#[serde(untagged)]
enum Logprobs {
    Wanted(bool),
    Of(u64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

impl ParametersOutline {
    fn into_parameters(self) -> Parameters {
        let Self {
            model,
            stream,
            temperature,
            top_p,
            top_k,
            seed,
            max_tokens,
            max_completion_tokens,
            stop,
            logprobs,
            top_logprobs,
            min_p,
            frequency_penalty,
            presence_penalty,
            n,
        } = self;
        let (logprobs, top_logprobs) = match logprobs {
            None => (false, top_logprobs),
            Some(Logprobs::Wanted(wanted)) => (wanted, top_logprobs),
            Some(Logprobs::Of(count)) => (true, Some(count)),
        };
        let stop = match stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        Parameters {
            model,
            temperature,
            top_p,
            top_k,
            seed,
            max_tokens: max_completion_tokens.or(max_tokens),
            stop,
            stream: stream.unwrap_or(false),
            logprobs,
            top_logprobs,
            min_p,
            frequency_penalty,
            presence_penalty,
            n,
        }
    }
}

#[derive(Deserialize)]
struct AnswerOutline {
    id: Option<String>,
    choices: Option<Vec<ChoiceOutline>>,
    usage: Option<UsageOutline>,
    error: Option<ErrorOutline>,
}

#[derive(Deserialize)]
struct ChoiceOutline {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct UsageOutline {
    prompt_tokens: u32,
    /// Vectors have none.
    #[serde(default)]
    completion_tokens: u32,
    prompt_tokens_details: Option<DetailsOutline>,
}

#[derive(Deserialize)]
struct DetailsOutline {
    /// Some servers give details, but not this one.
    #[serde(default)]
    cached_tokens: u32,
}

#[derive(Deserialize)]
struct ErrorOutline {
    message: String,
}

/// What ends a stream of the `OpenAI` API.
const DONE: &[u8] = b"[DONE]";

/// Longest request (`docs/protocol.md` §5.4).
const BODY_LEN_MAX: usize = 2 << 20;

/// Longest model name: a manifest's names have 128 octets at most.
const MODEL_LEN_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Result<Request, Error> {
        Request::new(Endpoint::ChatCompletions, Secret::new(json.as_bytes().to_vec()))
    }

    #[test]
    fn the_model_is_never_a_guess() {
        let good = request(r#"{"model":"m","messages":[],"stream":true,"x":1}"#).unwrap();
        assert_eq!((good.model(), good.is_stream()), ("m", true));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"model":""}"#,
            r#"{"model":1}"#,
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","stream":true,"stream":false}"#,
            r#"{"model":"a"} x"#,
        ] {
            assert_eq!(request(bad).unwrap_err().code(), "request-invalid", "{bad}");
        }
        let long = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(BODY_LEN_MAX));
        assert!(request(&long).is_err());
    }

    #[test]
    fn parameters_are_those_asked_for() {
        let asked = r#"{"model":"m","temperature":0.5,"top_k":3,"seed":-1,"stop":"x",
            "max_tokens":1,"max_completion_tokens":2}"#;
        let expected = Parameters {
            model: "m".to_owned(),
            temperature: Some(0.5),
            top_k: Some(3),
            seed: Some(-1),
            max_tokens: Some(2),
            stop: vec!["x".to_owned()],
            ..Parameters::default()
        };
        assert_eq!(request(asked).unwrap().parameters, Some(expected));
    }

    #[test]
    fn what_finishes_an_answer_is_told_apart() {
        for (data, finishes) in [
            (
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
                false,
            ),
            (r#"{"id":"c","choices":[{"delta":{"content":"a"}}],"usage":null}"#, false),
            (r#"{"id":"c","choices":[{"delta":{},"finish_reason":"stop"}]}"#, true),
            (r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, true),
            (
                r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
                true,
            ),
            (r#"{"choices":[]}"#, true),
            (r#"{"error":{"message":"x"}}"#, true),
            ("[DONE]", true),
        ] {
            assert_eq!(Outline::read(data.as_bytes()).unwrap().finishes, finishes, "{data}");
        }
        assert_eq!(Outline::read(b"{"), None);
    }

    #[test]
    fn text_is_the_deltas_content() {
        let event = Event::new(r#"{"choices":[{"delta":{"content":"hé"}}]}"#.as_bytes());
        assert_eq!(event.text().as_deref(), Some("hé"));
        assert_eq!(Event::new(b"[DONE]").text(), None);
        assert!(!format!("{event:?}").contains("hé"));
    }
}
