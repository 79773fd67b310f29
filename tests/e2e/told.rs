//! What a client was told: everything that it yielded, and how it ended.

use std::time::Duration;

use client::{Client, Error};
use tests::fleet::question;
use tokio::time::timeout;

/// No story takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A prompt whose every piece differs from every other, so that a misplaced one shows.
pub(crate) const PROMPT: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A streamed answer, as far as the client let it through.
#[derive(Debug)]
pub(crate) struct Told {
    /// The text of all events together.
    pub(crate) text: String,
    /// Whether something said that the answer is finished.
    pub(crate) finished: bool,
    /// How it ended.
    pub(crate) end: Result<(), Error>,
}

impl Told {
    /// Asks for an echo of `prompt` and listens to the end.
    pub(crate) async fn by(client: &Client, prompt: &str) -> Self {
        timeout(PATIENCE, Self::listen(client, prompt)).await.unwrap()
    }

    async fn listen(client: &Client, prompt: &str) -> Self {
        let mut told = Self { text: String::new(), finished: false, end: Ok(()) };
        let mut stream = match client.chat(&question(prompt)).await {
            Ok(stream) => stream,
            Err(error) => return Self { end: Err(error), ..told },
        };
        loop {
            match stream.next().await {
                Ok(Some(event)) => {
                    told.finished |= event.is_done()
                        || String::from_utf8_lossy(event.data()).contains("\"finish_reason\":\"");
                    told.text.extend(event.text());
                }
                Ok(None) => {
                    assert!(stream.closing().is_some(), "an end without a receipt");
                    return told;
                }
                Err(error) => return Self { end: Err(error), ..told },
            }
        }
    }

    /// The stable name of the error that ended it.
    pub(crate) fn code(&self) -> &'static str {
        self.end.as_ref().err().map_or("accepted", Error::code)
    }

    /// Fails unless the answer was taken for broken, and all that was yielded is what the enclave says, from its start.
    pub(crate) fn assert_broken(&self, prompt: &str, story: &str) {
        assert!(self.end.is_err(), "{story}: taken for whole: {self:?}");
        assert!(!self.finished, "{story}: something said that it is finished: {self:?}");
        assert!(prompt.starts_with(&self.text), "{story}: a byte out of place: {self:?}");
    }
}

/// Every code that refused, where the error is a verdict.
pub(crate) fn refusals(error: &Error) -> Vec<&'static str> {
    let findings = error.report().map(|report| report.findings.as_slice()).unwrap_or_default();
    let refusing = findings.iter().filter(|finding| finding.severity == verifier::Severity::Reject);
    refusing.map(|finding| finding.code.as_str()).collect()
}
