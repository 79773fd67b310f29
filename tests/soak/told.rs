//! How requests end, and what a client of a stream was told.

use serde_json::Value;

use crate::oracle::Known;

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As it must where nothing is disturbed: a right answer, or the right refusal.
    Expected,
    /// An error with a code: right while something is disturbed.
    Typed(String),
    /// No connection, or one that broke: right while the program that was asked is away.
    Gone(String),
    /// Never right.
    Wrong(String),
}

/// A stream, as far as it came.
#[derive(Default)]
pub(crate) struct Told {
    rest: Vec<u8>,
    pub(crate) text: String,
    finish: Option<String>,
    tokens: Option<Value>,
    done: bool,
    error: Option<String>,
    strange: Option<String>,
}

impl Told {
    pub(crate) fn read(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.rest.drain(..end.saturating_add(2)).collect();
            match event.strip_prefix(b"data: ") {
                Some(b"[DONE]\n\n") => self.done = true,
                Some(data) => match serde_json::from_slice(data) {
                    Ok(data) => self.event(&data),
                    Err(_) => self.strange = Some(String::from_utf8_lossy(data).into_owned()),
                },
                None => self.strange = Some(String::from_utf8_lossy(&event).into_owned()),
            }
        }
    }

    fn event(&mut self, data: &Value) {
        if let Some(error) = data.get("error") {
            self.error = Some(error["code"].as_str().unwrap_or("untyped").to_owned());
        }
        let choice = &data["choices"][0];
        self.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
        if let Some(tokens) = data["usage"].get("completion_tokens") {
            self.tokens = Some(tokens.clone());
        }
    }

    pub(crate) fn misplaced(&self) -> End {
        End::Wrong(format!("text out of place: {:?}", self.text))
    }

    fn is_right(&self, known: &Known) -> bool {
        self.text == known.text
            && self.finish.as_deref() == Some(known.finish)
            && self.tokens.as_ref().is_some_and(|tokens| *tokens == known.tokens)
    }

    /// The stream ended cleanly.
    pub(crate) fn ended(self, known: &Known) -> End {
        match (&self.strange, &self.error) {
            (Some(strange), _) => End::Wrong(format!("an event that is none: {strange:?}")),
            (None, Some(code)) => End::Wrong(format!("a clean end after the error {code}")),
            (None, None) if self.done && self.is_right(known) => End::Expected,
            (None, None) => End::Wrong(format!(
                "taken for whole: done {}, finish {:?}, tokens {:?}, text {:?}",
                self.done, self.finish, self.tokens, self.text
            )),
        }
    }

    /// The connection broke.
    pub(crate) fn broke(self, known: &Known, why: String) -> End {
        if let Some(strange) = self.strange {
            return End::Wrong(format!("an event that is none: {strange:?}"));
        }
        let said_whole = self.done || self.finish.is_some() || self.tokens.is_some();
        if !known.text.starts_with(&self.text) || (said_whole && self.text != known.text) {
            return self.misplaced();
        }
        match self.error.as_deref() {
            Some("untyped") => End::Wrong("an error without a code".to_owned()),
            Some(_) if said_whole => End::Wrong("an error after a verified end".to_owned()),
            Some(code) => End::Typed(code.to_owned()),
            None => End::Gone(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE_STREAM: [&str; 4] = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"an\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"swer\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    ];
    const ERROR: &str = "data: {\"error\":{\"code\":\"answer-cut\"}}\n\n";

    fn told(events: &[&str]) -> Told {
        let mut told = Told::default();
        // Octets come in pieces that know nothing of events.
        for piece in events.concat().as_bytes().chunks(7) {
            told.read(piece);
        }
        told
    }

    #[test]
    fn only_the_right_answer_is_whole() {
        let known = Known::of("answer", "stop", 2);
        assert!(matches!(told(&WHOLE_STREAM).ended(&known), End::Expected));
        for other in [("answers", "stop", 2), ("answer", "length", 2), ("answer", "stop", 3)] {
            let known = Known::of(other.0, other.1, other.2);
            assert!(matches!(told(&WHOLE_STREAM).ended(&known), End::Wrong(_)), "{other:?}");
        }
        for missing in 0..WHOLE_STREAM.len() {
            let mut events = WHOLE_STREAM.to_vec();
            events.remove(missing);
            assert!(matches!(told(&events).ended(&known), End::Wrong(_)), "without {missing}");
        }
        for more in [ERROR, "data: {\n\n", ": hello\n\n"] {
            let events = [WHOLE_STREAM[0], more];
            assert!(matches!(told(&events).ended(&known), End::Wrong(_)), "{more}");
        }
    }

    #[test]
    fn a_broken_answer_is_a_beginning_with_a_reason() {
        let known = Known::of("answer", "stop", 2);
        let broke = |events: &[&str]| told(events).broke(&known, "reset".to_owned());
        assert!(
            matches!(broke(&[WHOLE_STREAM[0], ERROR]), End::Typed(code) if code == "answer-cut")
        );
        assert!(matches!(broke(&WHOLE_STREAM[..1]), End::Gone(_)));
        assert!(matches!(broke(&WHOLE_STREAM[1..2]), End::Wrong(_)), "text out of place");
        assert!(matches!(broke(&WHOLE_STREAM[2..3]), End::Wrong(_)), "counted, and not whole");
        let untyped = "data: {\"error\":{}}\n\n";
        assert!(matches!(broke(&[WHOLE_STREAM[0], untyped]), End::Wrong(_)));
    }
}
