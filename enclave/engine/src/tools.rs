//! Functions that an answer may call, and how calls are told from text.
//!
//! Calls are written as Hermes, Qwen and `SmolLM` write them: a line `<tool_call>`, a line of JSON with
//! `name` and `arguments`, a line `</tool_call>`. A grammar holds what follows the opening mark to this
//! form, so what reads it here needs no tolerance.

use core::fmt;

use attestation::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::{EngineError, copy};
use crate::plain::{some_text, text};

/// The functions that a request offers.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Tools {
    /// The functions, each name once; at most 128.
    pub offered: Vec<Tool>,
    /// Whether one is to be called.
    pub choice: ToolChoice,
    /// Whether an answer may call more than once.
    pub parallel: bool,
}

/// A function that an answer may call.
#[derive(Deserialize, Serialize)]
pub struct Tool {
    /// Its name: 1 to 64 letters, digits, `_` or `-`.
    pub name: String,
    /// What it does.
    #[serde(with = "some_text")]
    pub description: Option<Secret<String>>,
    /// The JSON schema of its arguments, which are an object.
    #[serde(with = "text")]
    pub parameters: Secret<String>,
}

/// Whether a function is to be called.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// None is; the model is not told of them.
    None,
    /// At least one.
    Required,
    /// The one of this name.
    Named(String),
}

/// A call that an earlier answer made.
#[derive(Deserialize, Serialize)]
pub struct ToolCall {
    /// What the answer to it names.
    pub id: String,
    /// The function.
    pub name: String,
    /// The arguments: a JSON object.
    #[serde(with = "text")]
    pub arguments: Secret<String>,
}

/// More of a call.
#[derive(Deserialize, Serialize)]
pub struct CallDelta {
    /// Which call of the answer, from 0.
    pub index: u32,
    /// The function, where the call begins here.
    pub name: Option<String>,
    /// More of the arguments' JSON.
    #[serde(with = "text")]
    pub arguments: Secret<String>,
}

impl Tools {
    pub(crate) fn copy(&self) -> Self {
        let offered = self.offered.iter().map(|tool| Tool {
            name: tool.name.clone(),
            description: tool.description.as_ref().map(copy),
            parameters: copy(&tool.parameters),
        });
        Self { offered: offered.collect(), choice: self.choice.clone(), parallel: self.parallel }
    }

    /// The functions that the model is told of.
    pub(crate) fn shown(&self) -> &[Tool] {
        if self.choice == ToolChoice::None { &[] } else { &self.offered }
    }

    /// The functions that may be called.
    pub(crate) fn callable(&self) -> Vec<&Tool> {
        let may = |tool: &&Tool| match &self.choice {
            ToolChoice::Named(name) => tool.name == *name,
            ToolChoice::Auto | ToolChoice::Required | ToolChoice::None => true,
        };
        self.shown().iter().filter(may).collect()
    }

    /// Whether an answer must be a call.
    pub(crate) fn forced(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// Checks the names.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let bad = |field, why| Err(EngineError::BadRequest { field, why });
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-');
        let is_fit =
            |tool: &Tool| (1..=64).contains(&tool.name.len()) && tool.name.bytes().all(fits);
        if self.offered.len() > TOOLS_MAX || !self.offered.iter().all(is_fit) {
            return bad(
                "tools",
                "must be at most 128, named by 1 to 64 letters, digits, `_` or `-`",
            );
        }
        let mut names: Vec<&str> = self.offered.iter().map(|tool| tool.name.as_str()).collect();
        names.sort_unstable();
        if !names.is_sorted_by(|a, b| a < b) {
            return bad("tools", "must have different names");
        }
        if self.forced() && self.callable().is_empty() {
            return bad("tool_choice", "must be of a function that `tools` offers");
        }
        Ok(())
    }
}

impl ToolCall {
    pub(crate) fn copy(&self) -> Self {
        Self { id: self.id.clone(), name: self.name.clone(), arguments: copy(&self.arguments) }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tool(..)")
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToolCall(..)")
    }
}

impl fmt::Debug for CallDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallDelta({})", self.index)
    }
}

/// An answer that may be text, calls, or text and then calls.
pub(crate) struct Speech {
    state: State,
    held: Zeroizing<String>,
    calls: u32,
    /// Whether calls may come after text.
    mixed: bool,
    /// Whether there was text.
    said: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Text,
    /// Before the arguments of a call.
    Head,
    Arguments {
        depth: u32,
        quoted: bool,
        escaped: bool,
    },
    /// After the arguments of a call.
    Tail,
}

/// Something that an answer says.
pub(crate) enum Part {
    Text(String),
    Call(CallDelta),
}

impl Speech {
    /// `mixed` where calls may come after text; else an answer is calls from its first letter or none.
    pub(crate) fn new(mixed: bool) -> Self {
        Self {
            state: State::Text,
            held: Zeroizing::new(String::new()),
            calls: 0,
            mixed,
            said: false,
        }
    }

    /// Whether the opening mark has been read.
    pub(crate) fn has_opened(&self) -> bool {
        self.state != State::Text
    }

    /// How many calls have begun.
    pub(crate) const fn calls(&self) -> u32 {
        self.calls
    }

    /// Whether these octets would end the opening mark and not end with it.
    pub(crate) fn overruns(&self, octets: &[u8]) -> bool {
        if self.has_opened() {
            return false;
        }
        let text = [self.held.as_bytes(), octets].concat();
        let text = Zeroizing::new(text);
        let open = OPEN.as_bytes();
        let found = text.windows(open.len()).position(|window| window == open);
        found.is_some_and(|at| at.saturating_add(open.len()) < text.len())
    }

    /// Takes more of the answer; gives out what is certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// The answer is over: gives out the text that could have become a call.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let rest = core::mem::take(&mut *self.held);
        (!self.has_opened() && !rest.is_empty()).then_some(rest)
    }

    /// Goes on as far as one state reaches. False: it needs more text.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Text => {
                let found = self.held.find(OPEN);
                let found = found.filter(|at| self.mixed || (*at == 0 && !self.said));
                if let Some(at) = found {
                    let text = self.take(at);
                    let said = text.trim_end();
                    if !said.is_empty() {
                        parts.push(Part::Text(said.to_owned()));
                    }
                    drop(Zeroizing::new(self.take(OPEN.len())));
                    self.state = State::Head;
                    return true;
                }
                let certain = self.held.len().saturating_sub(pending(&self.held));
                if certain > 0 {
                    self.said = true;
                    parts.push(Part::Text(self.take(certain)));
                }
                false
            }
            State::Head => {
                let Some(at) = self.held.find(ARGUMENTS) else { return false };
                let head = Zeroizing::new(self.take(at.saturating_add(ARGUMENTS.len())));
                let name = head.get(..at).and_then(|head| head.split_once(NAME));
                let name = name.map(|(_, name)| name.to_owned());
                let (index, arguments) = (self.calls, Secret::new(String::new()));
                parts.push(Part::Call(CallDelta { index, name, arguments }));
                self.calls = self.calls.saturating_add(1);
                self.state = State::Arguments { depth: 0, quoted: false, escaped: false };
                true
            }
            State::Arguments { depth, quoted, escaped } => {
                self.arguments(depth, quoted, escaped, parts)
            }
            State::Tail => {
                let Some(at) = self.held.find(OPEN) else { return false };
                drop(Zeroizing::new(self.take(at.saturating_add(OPEN.len()))));
                self.state = State::Head;
                true
            }
        }
    }

    /// Gives out arguments up to the brace that closes them.
    fn arguments(
        &mut self,
        mut depth: u32,
        mut quoted: bool,
        mut escaped: bool,
        parts: &mut Vec<Part>,
    ) -> bool {
        let mut end = None;
        for (at, octet) in self.held.bytes().enumerate() {
            match (quoted, escaped, octet) {
                (true, true, _) => escaped = false,
                (true, false, b'\\') => escaped = true,
                (_, false, b'"') => quoted = !quoted,
                (false, _, b'{') => depth = depth.saturating_add(1),
                (false, _, b'}') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = Some(at.saturating_add(1));
                        break;
                    }
                }
                _ => {}
            }
        }
        let more = self.take(end.unwrap_or(self.held.len()));
        if !more.is_empty() {
            let index = self.calls.saturating_sub(1);
            let arguments = Secret::new(more);
            parts.push(Part::Call(CallDelta { index, name: None, arguments }));
        }
        self.state =
            if end.is_some() { State::Tail } else { State::Arguments { depth, quoted, escaped } };
        end.is_some()
    }

    /// Takes so many octets off the front.
    fn take(&mut self, len: usize) -> String {
        let (front, rest) = self.held.split_at_checked(len).unwrap_or((&self.held, ""));
        let (front, rest) = (front.to_owned(), Zeroizing::new(rest.to_owned()));
        self.held = rest;
        front
    }
}

/// The length of the longest end of `text` that blanks and then a start of the opening mark make up.
fn pending(text: &str) -> usize {
    let mark = (0..OPEN.len())
        .rev()
        .find(|len| OPEN.get(..*len).is_some_and(|start| text.ends_with(start)))
        .unwrap_or(0);
    let before = text.get(..text.len().saturating_sub(mark)).unwrap_or_default();
    let blanks = before.len().saturating_sub(before.trim_end().len());
    mark.saturating_add(blanks)
}

/// The mark that opens a call.
pub(crate) const OPEN: &str = "<tool_call>";
/// What is before a call's name, but for the mark.
pub(crate) const NAME: &str = "{\"name\": \"";
/// What is between a call's name and its arguments.
pub(crate) const ARGUMENTS: &str = "\", \"arguments\": ";
/// What is after a call's arguments.
pub(crate) const CLOSE: &str = "}\n</tool_call>";
/// Calls in one answer.
pub(crate) const CALLS_MAX: usize = 16;
/// Functions in one request (`OpenAI`'s API takes as many).
const TOOLS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said when `text` comes in pieces of so many letters.
    fn said(text: &str, letters: usize, mixed: bool) -> (String, Vec<(String, String)>) {
        let mut speech = Speech::new(mixed);
        let (mut out, mut calls) = (String::new(), Vec::<(String, String)>::new());
        let all: Vec<char> = text.chars().collect();
        for piece in all.chunks(letters) {
            for part in speech.push(&piece.iter().collect::<String>()) {
                match part {
                    Part::Text(text) => out.push_str(&text),
                    Part::Call(CallDelta { index, name, arguments }) => {
                        let at = usize::try_from(index).unwrap();
                        if let Some(name) = name {
                            assert_eq!(at, calls.len());
                            calls.push((name, String::new()));
                        }
                        calls[at].1.push_str(arguments.expose());
                    }
                }
            }
        }
        out.push_str(&speech.finish().unwrap_or_default());
        (out, calls)
    }

    #[test]
    fn calls_are_told_from_text_however_they_are_cut() {
        let call = |name: &str, arguments: &str| {
            format!("{OPEN}\n{NAME}{name}{ARGUMENTS}{arguments}{CLOSE}")
        };
        let odd = r#"{"a": "}\"</tool_call>\\", "b": {"c": ["{", "é🦀"]}}"#;
        let both = format!("Well.\n\n{}\n{}", call("f", odd), call("g-1", "{}"));
        let cases = [
            (both.as_str(), true, "Well.", vec![("f", odd), ("g-1", "{}")]),
            ("no <tool call> at <too", true, "no <tool call> at <too", vec![]),
            (" x \n", true, " x \n", vec![]),
            ("{\"a\": \"<tool_call>\"}", false, "{\"a\": \"<tool_call>\"}", vec![]),
        ];
        for (text, mixed, expected, calls) in cases {
            let calls: Vec<_> =
                calls.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            for letters in [1, 2, 3, 7, 1000] {
                let (out, seen) = said(text, letters, mixed);
                assert_eq!((out.as_str(), &seen), (expected, &calls), "{letters}");
            }
        }
        let alone = call("f", "{}");
        assert_eq!(said(&alone, 4, false), (String::new(), vec![("f".into(), "{}".into())]));
    }

    #[test]
    fn a_token_that_runs_past_the_mark_is_noticed() {
        let mut speech = Speech::new(true);
        drop(speech.push("so\n<tool_c"));
        assert!(speech.overruns(b"all>\n") && !speech.overruns(b"all>"));
        assert!(!speech.overruns(b"all x>") && speech.overruns(b"<tool_call>{"));
        drop(speech.push("all>"));
        assert!(speech.has_opened() && !speech.overruns(b"<tool_call>{"));
    }

    #[test]
    fn debug_shows_no_words() {
        let secret = || Secret::new("canary".to_owned());
        let name = || "canary".to_owned();
        let tool = Tool { name: name(), description: Some(secret()), parameters: secret() };
        let call = ToolCall { id: name(), name: name(), arguments: secret() };
        let delta = CallDelta { index: 0, name: Some(name()), arguments: secret() };
        let tools = Tools { offered: vec![tool], ..Tools::default() };
        assert!(!format!("{tools:?} {call:?} {delta:?}").contains("canary"));
    }

    #[test]
    fn tools_are_refused_by_field() {
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            description: None,
            parameters: Secret::new("{}".to_owned()),
        };
        let check = |names: &[&str], choice| {
            let offered = names.iter().map(|name| tool(name)).collect();
            match (Tools { offered, choice, parallel: true }).check() {
                Ok(()) => "",
                Err(EngineError::BadRequest { field, .. }) => field,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(check(&["a", "b"], ToolChoice::Required), "");
        assert_eq!(check(&["a", "a"], ToolChoice::Auto), "tools");
        assert_eq!(check(&["a b"], ToolChoice::Auto), "tools");
        assert_eq!(check(&[""], ToolChoice::Auto), "tools");
        assert_eq!(check(&["a"; 129], ToolChoice::Auto), "tools");
        assert_eq!(check(&[], ToolChoice::Required), "tool_choice");
        assert_eq!(check(&["a"], ToolChoice::Named("b".to_owned())), "tool_choice");
        assert_eq!(check(&["a"], ToolChoice::Named("a".to_owned())), "");
    }
}
