//! Every lie to every listener: each time the same three promises, and the code that the table of lies gives.
//!
//! No octet that the enclave did not send in that position is yielded; nothing that is cut or forged is ever taken for whole; and
//! a typed error says what is wrong.

use std::{sync::Arc, time::Duration};

use client::{Answer, Chat, Client, Request, Timeouts};
use serde_json::Value;
use tests::{
    fleet::{Fleet, Plan, question},
    framing::{Framed, REQUEST_HEAD, RESPONSE_HEAD},
    lies::{ACCEPTED, ANY_BREAK, Lie},
    octets::{self, Heard},
    relay::Exchange,
    script::{On, Script},
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::told::{PATIENCE, PROMPT, Told, refusals};

/// Who listens to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    /// The client, event by event.
    Stream,
    /// The client, all at once.
    Whole,
    /// Whoever reads the proxy's octets, event by event.
    ProxyStream,
    /// Whoever reads the proxy's octets, all at once.
    ProxyWhole,
}

/// What a listener was given.
#[derive(Debug)]
struct Given {
    text: String,
    /// Something said that the answer is finished, or it ended as one that is.
    whole: bool,
    code: String,
    /// Every code that refused the evidence, where it was that.
    refusals: Vec<&'static str>,
}

const LISTENERS: [Listener; 4] =
    [Listener::Stream, Listener::Whole, Listener::ProxyStream, Listener::ProxyWhole];

/// Which client a lie is told to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// One that has verified its enclaves before.
    Old,
    /// One that starts with the lie.
    New,
    /// The same, and it waits for nobody long.
    Hasty,
}

/// What the operator has seen before it lies.
pub(super) struct Overheard {
    exchanges: Vec<Exchange>,
    foreign: Value,
}

impl Overheard {
    /// Two answers of the kind that the listener gets.
    pub(super) fn answers(&self) -> [Framed; 2] {
        [0, 1].map(|index| Framed::parse(&self.exchanges[index].response, RESPONSE_HEAD))
    }

    /// The request that the first of them answers.
    pub(super) fn request(&self) -> Framed {
        Framed::parse(&self.exchanges[0].request, REQUEST_HEAD)
    }

    /// The evidence of an enclave under the same vendor, with the same measurement, model and configuration.
    pub(super) const fn foreign(&self) -> &Value {
        &self.foreign
    }
}

/// Tells each listener every lie, all listeners at once.
pub(super) async fn tell(
    trust: Trust,
    lies: impl Fn(&Overheard) -> Vec<Lie> + Send + Sync + 'static,
) {
    let lies = Arc::new(lies);
    let mut listening = JoinSet::new();
    for listener in LISTENERS {
        let lies = Arc::clone(&lies);
        listening.spawn(async move { tell_one(listener, trust, &*lies).await });
    }
    let mut complaints = Vec::new();
    while let Some(done) = listening.join_next().await {
        complaints.extend(done.unwrap());
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

async fn tell_one(
    listener: Listener,
    trust: Trust,
    lies: &(dyn Fn(&Overheard) -> Vec<Lie> + Send + Sync),
) -> Vec<String> {
    let (fleet, other) = (Fleet::start(Plan::default()).await, Fleet::start(Plan::default()).await);
    let old = fleet.client();
    // The answers that are played with are of the kind that this listener gets.
    for prompt in [PROMPT, "something else entirely, and as long as the first one was, or longer"] {
        assert_eq!(hear(listener, &old, prompt).await.code, ACCEPTED);
    }
    let exchanges = fleet.relay.until_sealed(2).await;
    let (_, foreign) = other.relay.get(&format!("/v1/nodes/{}/evidence", other.nodes[0])).await;
    let foreign = serde_json::from_slice(&foreign).unwrap();
    let lies = lies(&Overheard { exchanges, foreign });
    assert!(lies.len() > 2, "only {} lies", lies.len());

    let mut complaints = Vec::new();
    for Lie { story, script, code } in lies {
        let client = match trust {
            Trust::Old => old.clone(),
            Trust::New => fleet.client(),
            Trust::Hasty => hasty(&fleet),
        };
        let is_early = matches!(script, Script::Raw { on: On::Fleet | On::Evidence, .. });
        if trust == Trust::Hasty && !is_early {
            assert!(client.enclaves().await.is_ok(), "{story}: before the lie");
        }
        fleet.relay.play(script);
        let given = timeout(PATIENCE, hear(listener, &client, PROMPT)).await.unwrap();
        fleet.relay.play(Script::Honest);
        if let Some(complaint) = given.complaint(listener, code) {
            complaints.push(format!("{listener:?}: {story}: {complaint}"));
        }
    }
    let honest = hear(listener, &fleet.client(), PROMPT).await;
    assert_eq!(honest.code, ACCEPTED, "the lies were the reason");
    complaints
}

fn hasty(fleet: &Fleet) -> Client {
    let soon = Duration::from_millis(700);
    let timeouts = Timeouts { connect: soon, exchange: soon, head: soon, idle: soon };
    fleet.builder(fleet.read_policy(&fleet.policy)).timeouts(timeouts).build().unwrap()
}

async fn hear(listener: Listener, client: &Client, prompt: &str) -> Given {
    match listener {
        Listener::Stream => {
            let told = Told::by(client, prompt).await;
            let refusals = told.end.as_ref().err().map(refusals).unwrap_or_default();
            let whole = told.finished || told.end.is_ok();
            Given { code: told.code().to_owned(), text: told.text, whole, refusals }
        }
        Listener::Whole => {
            let request = Request::chat(&whole_question(prompt)).unwrap();
            match client.send(&request).await {
                Ok(Answer::Whole(answer)) => {
                    let body: Value = serde_json::from_slice(answer.body()).unwrap();
                    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
                    let code = ACCEPTED.to_owned();
                    Given { text: text.to_owned(), whole: true, code, refusals: Vec::new() }
                }
                Ok(Answer::Stream(_)) => panic!("a stream, which nobody asked for"),
                Err(error) => {
                    let (code, refusals) = (error.code().to_owned(), refusals(&error));
                    Given { text: String::new(), whole: false, code, refusals }
                }
            }
        }
        Listener::ProxyStream => through_proxy(client, &question(prompt)).await,
        Listener::ProxyWhole => through_proxy(client, &whole_question(prompt)).await,
    }
}

fn whole_question(prompt: &str) -> Chat {
    Chat { stream: false, stream_options: None, ..question(prompt) }
}

/// Asks a proxy of its own, octet by octet.
async fn through_proxy(client: &Client, chat: &Chat) -> Given {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(proxy::serve(
        listener,
        client.clone(),
        proxy::Options::default(),
        std::future::pending(),
    ));
    let body = serde_json::to_vec(chat).unwrap();
    let heard = octets::talk(address, &octets::post_json("/v1/chat/completions", &body)).await;
    serving.abort();
    Given::of(&heard, chat.stream)
}

impl Given {
    fn of(heard: &Heard, streamed: bool) -> Self {
        assert!(heard.status != 0, "the proxy always answers: {heard:?}");
        assert!(!heard.head.contains("forged") && !heard.head.contains("set-cookie"), "{heard:?}");
        let body = String::from_utf8_lossy(&heard.body).into_owned();
        let code = heard.code();
        let refusals = Vec::new();
        if heard.status != 200 {
            assert!(heard.complete, "an error is said whole: {heard:?}");
            let code = code.unwrap_or_else(|| panic!("an error without a code: {body}"));
            return Self { text: String::new(), whole: false, code, refusals };
        }
        if !streamed {
            let text = heard.json()["choices"][0]["message"]["content"].as_str().map(str::to_owned);
            let whole = heard.complete;
            return Self {
                text: text.unwrap_or(body),
                whole,
                code: code.unwrap_or_else(|| ACCEPTED.to_owned()),
                refusals,
            };
        }
        let mut text = String::new();
        for event in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let event: Value = serde_json::from_str(event).unwrap_or_default();
            text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        let whole = heard.complete
            || body.contains("[DONE]")
            || body.contains("\"finish_reason\":\"")
            || body.contains("\"usage\":{");
        Self { text, whole, code: code.unwrap_or_else(|| ACCEPTED.to_owned()), refusals }
    }

    /// What is wrong with what was given.
    fn complaint(&self, listener: Listener, code: &str) -> Option<String> {
        let said = match code {
            ANY_BREAK => self.code.starts_with("response-"),
            code => self.code == code || self.refusals.contains(&code),
        };
        let kept = if code == ACCEPTED {
            self.whole && self.text == PROMPT
        } else {
            let is_stream = matches!(listener, Listener::Stream | Listener::ProxyStream);
            !self.whole && PROMPT.starts_with(&self.text) && (is_stream || self.text.is_empty())
        };
        (!said || !kept).then(|| format!("expected {code}, got {self:?}"))
    }
}
