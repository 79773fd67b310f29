//! The load: every kind of request, well-meant and not, and what must become of each.

use std::{sync::Arc, time::Duration};

use attestation::{Secret, UnixTime};
use bytes::Bytes;
use client::{Client, Clock, Family};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tests::wire::{Answer, request, send, send_by, with_key};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    figures::{Figures, WHOLE},
    oracle::Known,
    random::Random,
    stack::{Slot, Stack, read_authorities},
    told::{End, Told},
};

/// Everything that a request needs.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) stack: Arc<Stack>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) random: Arc<Random>,
    known: Vec<Known>,
    client: Client,
}

/// What a client does with a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Eager,
    Slow,
    /// Leaves after so many pieces.
    Leaving(u64),
}

impl Load {
    pub(crate) fn new(
        stack: Arc<Stack>,
        figures: Arc<Figures>,
        random: Arc<Random>,
        known: Vec<Known>,
    ) -> Self {
        let policy = client::load_policy(stack.policy.as_ref()).expect("the policy was just made");
        let router = format!("https://{}", stack.router.address);
        let client = Client::builder(&router, policy, Clock::new(now))
            .authorization(Secret::new(stack.key.clone()))
            .authorities(read_authorities(&stack.place))
            .build()
            .expect("the router is on loopback");
        Self { stack, figures, random, known, client }
    }

    /// One request of any kind, judged.
    pub(crate) async fn one(&self) {
        let begun = Instant::now();
        let proxy = self.random.of(&self.stack.proxies);
        let known = self.random.of(&self.known);
        let router = &self.stack.router;
        let (kind, asked, end): (_, &Slot, _) = match self.random.below(100) {
            0..27 => {
                ("stream", proxy, self.limited(self.stream(proxy, known, Reader::Eager)).await)
            }
            27..45 => ("whole", proxy, self.limited(self.whole(proxy, known)).await),
            45..53 => {
                ("slow reader", proxy, self.limited(self.stream(proxy, known, Reader::Slow)).await)
            }
            53..65 => {
                let leaving = Reader::Leaving(self.random.below(12));
                ("abandoned", proxy, self.limited(self.stream(proxy, known, leaving)).await)
            }
            65..75 => ("library", router, self.limited(self.library(known)).await),
            75..83 => ("malformed", proxy, self.limited(self.malformed(proxy)).await),
            83..88 => ("evidence", router, self.limited(self.evidence()).await),
            88..94 => ("bogus ciphertext", router, self.limited(self.bogus()).await),
            94..97 => {
                let slots: Vec<_> = self.stack.slots().collect();
                let slot = self.random.of(&slots);
                ("not HTTP", slot, self.limited(self.garbage(slot)).await)
            }
            97 => ("stalled upload", router, self.limited(self.stalled(router)).await),
            98 => ("no key", router, self.limited(self.keyless()).await),
            _ => ("veritee verify", router, self.limited(self.verify()).await),
        };
        self.judge(kind, asked, begun, end);
    }

    fn judge(&self, kind: &'static str, asked: &Slot, begun: Instant, end: End) {
        match end {
            End::Expected => self.figures.count(kind, WHOLE),
            End::Typed(code) => {
                if !self.stack.was_disturbed(begun) {
                    self.figures
                        .broken(format!("{kind}: {code} from {} while all was calm", asked.label));
                }
                self.figures.count(kind, code);
            }
            End::Gone(why) => {
                if !asked.was_away(begun) {
                    self.figures.broken(format!("{kind}: {} was there, and: {why}", asked.label));
                }
                self.figures.count(kind, "the program asked was away");
            }
            End::Wrong(why) => {
                self.figures.broken(format!("{kind}: {why}"));
                self.figures.count(kind, "wrong");
            }
        }
    }

    async fn ask_router(&self, asked: Request<Full<Bytes>>) -> Result<Answer, String> {
        send_by(Some(&self.stack.connector), self.stack.router.address, asked).await
    }

    /// Whatever happens, a request ends.
    async fn limited(&self, ask: impl Future<Output = End>) -> End {
        timeout(REQUEST_MAX, ask)
            .await
            .unwrap_or_else(|_| End::Wrong(format!("stuck for {REQUEST_MAX:?}")))
    }

    async fn stream(&self, proxy: &Slot, known: &Known, reader: Reader) -> End {
        let body = known.body(true).to_string();
        let mut answer = match send(proxy.address, request(COMPLETIONS, Some(&body))).await {
            Ok(answer) => answer,
            Err(why) => return End::Gone(why),
        };
        if answer.status != StatusCode::OK {
            return refusal(answer).await;
        }
        let mut told = Told::default();
        let mut pieces = 0_u64;
        loop {
            if let Reader::Leaving(after) = reader
                && pieces >= after
            {
                return if known.text.starts_with(&told.text) {
                    End::Expected
                } else {
                    told.misplaced()
                };
            }
            pieces = pieces.saturating_add(1);
            match answer.next().await {
                Ok(Some(octets)) => told.read(&octets),
                Ok(None) => return told.ended(known),
                Err(why) => return told.broke(known, why),
            }
            if reader == Reader::Slow {
                sleep(Duration::from_millis(self.random.below(40))).await;
            }
        }
    }

    async fn whole(&self, proxy: &Slot, known: &Known) -> End {
        let body = known.body(false).to_string();
        let answer = match send(proxy.address, request(COMPLETIONS, Some(&body))).await {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            Ok(answer) => return refusal(answer).await,
            Err(why) => return End::Gone(why),
        };
        let body = match answer.whole().await {
            Ok(body) => body,
            Err(why) => return End::Gone(why),
        };
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            return End::Wrong("a whole answer that is not JSON".to_owned());
        };
        let choice = &body["choices"][0];
        if choice["message"]["content"] != known.text.as_str()
            || choice["finish_reason"] != known.finish
            || body["usage"]["completion_tokens"] != known.tokens
        {
            return End::Wrong(format!("another answer than the model's: {body}"));
        }
        self.receipt(proxy, body["id"].as_str().unwrap_or_default(), known).await
    }

    /// A whole answer's receipt is there, and says the same.
    async fn receipt(&self, proxy: &Slot, id: &str, known: &Known) -> End {
        let answer = match send(proxy.address, request(&format!("/v1/receipts/{id}"), None)).await {
            Ok(answer) => answer,
            Err(why) => return End::Gone(why),
        };
        let status = answer.status;
        let body = match answer.whole().await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(why) => return End::Gone(why),
        };
        if status == StatusCode::OK && body.contains(known.finish) {
            End::Expected
        } else {
            End::Wrong(format!("the receipt of a verified answer: {status} {body}"))
        }
    }

    async fn library(&self, known: &Known) -> End {
        let mut stream = match self.client.chat(&known.chat()).await {
            Ok(stream) => stream,
            Err(error) => return typed(&error),
        };
        let mut text = String::new();
        loop {
            match stream.next().await {
                Ok(Some(event)) => text.extend(event.text()),
                Ok(None) if stream.closing().is_none() => {
                    return End::Wrong("an end without a receipt".to_owned());
                }
                Ok(None) if text == known.text => return End::Expected,
                Ok(None) => {
                    return End::Wrong(format!("another answer than the model's: {text:?}"));
                }
                Err(_) if !known.text.starts_with(&text) => {
                    return End::Wrong(format!("text out of place: {text:?}"));
                }
                Err(error) => return typed(&error),
            }
        }
    }

    async fn malformed(&self, proxy: &Slot) -> End {
        let known = self.random.of(&self.known).body(self.random.below(2) == 0);
        let with = |key: &str, value: Value| {
            let mut body = known.clone();
            body[key] = value;
            body.to_string()
        };
        let (body, status) = match self.random.below(7) {
            0 => ("{\"model\":".to_owned(), 400),
            1 => ("[]".to_owned(), 400),
            2 => (with("model", "nobody's".into()), 404),
            3 => (with("temperature", 99.into()), 400),
            4 => (with("tools", serde_json::json!([{"type": "function"}])), 400),
            5 => (with("messages", serde_json::json!([])), 400),
            _ => (with("unheard_of", 1.into()), 400),
        };
        let answer = match send(proxy.address, request(COMPLETIONS, Some(&body))).await {
            Ok(answer) => answer,
            Err(why) => return End::Gone(why),
        };
        let given = answer.status.as_u16();
        match refusal(answer).await {
            End::Typed(_) if given == status => End::Expected,
            End::Typed(_) if given == 200 => End::Wrong(format!("{body} was answered")),
            end @ (End::Expected | End::Typed(_) | End::Gone(_) | End::Wrong(_)) => end,
        }
    }

    async fn evidence(&self) -> End {
        let node = match self.node().await {
            Ok(node) => node,
            Err(end) => return end,
        };
        let challenge = hex::encode(self.random.octets(32));
        let body = format!("{{\"challenge\":\"{challenge}\"}}");
        let asked = request(&format!("/v1/nodes/{node}/evidence"), Some(&body));
        match self.ask_router(with_key(asked, &self.stack.key)).await {
            Ok(answer) if answer.status == StatusCode::OK => match answer.whole().await {
                Ok(body) if String::from_utf8_lossy(&body).contains("\"cpu0\"") => End::Expected,
                Ok(_) => End::Wrong("evidence without a report".to_owned()),
                // An enclave that dies half-way takes the answer with it, and the router says so by breaking off.
                Err(why) => self.cut(why),
            },
            Ok(answer) => problem(answer).await,
            Err(why) => End::Gone(why),
        }
    }

    async fn bogus(&self) -> End {
        let node = match self.node().await {
            Ok(node) => node,
            Err(end) => return end,
        };
        let key_id = u8::try_from(self.random.below(4)).unwrap_or(0);
        let mut body = vec![key_id, 0x64, 0x7a, 0, 1, 0, 2];
        body.extend(self.random.octets(1120));
        body.push(0);
        body.extend(self.random.octets(1040));
        let mut asked = request(&format!("/v1/nodes/{node}/ohttp"), None);
        *asked.method_mut() = http::Method::POST;
        *asked.body_mut() = Full::new(body.into());
        let media_type = http::HeaderValue::from_static("message/ohttp-chunked-req");
        asked.headers_mut().insert(http::header::CONTENT_TYPE, media_type);
        match self.ask_router(with_key(asked, &self.stack.bogus_key)).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                End::Wrong("a bogus ciphertext was answered".to_owned())
            }
            Ok(answer) => {
                let status = answer.status;
                match problem(answer).await {
                    End::Typed(code) if status == 400 && code == "ohttp-key" => End::Expected,
                    end @ (End::Expected | End::Typed(_) | End::Gone(_) | End::Wrong(_)) => end,
                }
            }
            Err(why) => End::Gone(why),
        }
    }

    /// Octets that are no request, or not the whole of one: the program answers 4xx or hangs up.
    async fn garbage(&self, slot: &Slot) -> End {
        let octets = match self.random.below(4) {
            0 => self.random.octets(300),
            1 => b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n: \r\n\r\n".to_vec(),
            2 => b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_vec(),
            _ => format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes(),
        };
        // Inside TLS, where there is some, or in its place.
        let inside = slot.label == self.stack.router.label && self.random.below(2) == 0;
        let said = match TcpStream::connect(slot.address).await {
            Ok(_) if inside => match self.secured().await {
                Ok(stream) => converse(stream, &octets).await,
                Err(why) => return End::Gone(why),
            },
            Ok(stream) => converse(stream, &octets).await,
            Err(why) => return End::Gone(why.to_string()),
        };
        // An alert is what TLS says to what is none.
        if said.is_empty() || said.starts_with(b"HTTP/1.1 4") || said[0] == ALERT {
            End::Expected
        } else {
            End::Wrong(format!("not HTTP was answered {:?}", String::from_utf8_lossy(&said)))
        }
    }

    /// A body that never comes is not waited for.
    async fn stalled(&self, slot: &Slot) -> End {
        let node = match self.node().await {
            Ok(node) => node,
            Err(end) => return end,
        };
        let head = format!(
            "POST /v1/nodes/{node}/ohttp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: message/ohttp-chunked-req\r\ncontent-length: 4096\r\n\r\nabc",
            slot.address, self.stack.bogus_key
        );
        let said = match self.secured().await {
            Ok(stream) => converse(stream, head.as_bytes()).await,
            Err(why) => return End::Gone(why),
        };
        if said.is_empty() || said.starts_with(b"HTTP/1.1 408") {
            return End::Expected;
        }
        let said = String::from_utf8_lossy(&said);
        let code = said.split("problem:").nth(1).and_then(|rest| rest.split('"').next());
        code.map_or_else(
            || End::Wrong(format!("half a request was answered {said:?}")),
            |code| End::Typed(code.to_owned()),
        )
    }

    /// A connection to the router, by TLS.
    async fn secured(&self) -> Result<tls::ClientStream<TcpStream>, String> {
        let address = self.stack.router.address;
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let host = address.ip().to_string();
        self.stack.connector.connect(&host, stream).await.map_err(|error| error.to_string())
    }

    async fn keyless(&self) -> End {
        match self.ask_router(request(NOBODY, None)).await {
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => End::Expected,
            Ok(answer) => End::Wrong(format!("without a key: {}", answer.status)),
            Err(why) => End::Gone(why),
        }
    }

    async fn verify(&self) -> End {
        let url = format!("https://{}", self.stack.router.address);
        let [authority, key] = ["ca.pem", "client.key"].map(|name| self.stack.place.path(name));
        let access = ["--router-ca", &authority, "--key-file", &key];
        let asked =
            [&["verify", &url, "--policy", &self.stack.policy, "--json"], &access[..]].concat();
        match self.stack.place.run("veritee", &asked).await.status.code() {
            Some(0) => End::Expected,
            Some(20) => End::Typed("exit 20".to_owned()),
            code => End::Wrong(format!("verify ended with {code:?}")),
        }
    }

    /// Adds a key and revokes it: the router takes it in time, and refuses it in time.
    pub(crate) async fn key_churn(&self) {
        let begun = Instant::now();
        let (id, key) = self.stack.place.add_key("passing", &[]).await;
        // With a key the router says that there is no such enclave; without one, it says nothing of its fleet.
        let taken = self.until_key(&key, StatusCode::NOT_FOUND).await;
        let keys = self.stack.place.path("keys.toml");
        let revoked =
            self.stack.place.run("veritee-router", &["keys", "revoke", "--keys", &keys, &id]).await;
        let refused =
            revoked.status.success() && self.until_key(&key, StatusCode::UNAUTHORIZED).await;
        if taken && refused {
            self.figures.count("key added and revoked", WHOLE);
        } else if self.stack.router.was_away(begun) {
            self.figures.count("key added and revoked", "the program asked was away");
        } else {
            self.figures
                .broken(format!("a new key was taken: {taken}; and then refused: {refused}"));
        }
    }

    async fn until_key(&self, key: &str, status: StatusCode) -> bool {
        for _ in 0..100 {
            let asked = with_key(request(NOBODY, None), key);
            if self.ask_router(asked).await.is_ok_and(|answer| answer.status == status) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// An enclave that the router calls ready.
    async fn node(&self) -> Result<String, End> {
        let asked = with_key(request("/v1/fleet", None), &self.stack.key);
        let answer = self.ask_router(asked).await.map_err(End::Gone)?;
        if answer.status != StatusCode::OK {
            return Err(problem(answer).await);
        }
        let body = answer.whole().await.map_err(End::Gone)?;
        let fleet: Value = serde_json::from_slice(&body)
            .map_err(|_| End::Wrong("a fleet that is not JSON".to_owned()))?;
        let nodes: Vec<_> = fleet["nodes"].as_array().into_iter().flatten().collect();
        let ready: Vec<_> = nodes.into_iter().filter(|node| node["ready"] == true).collect();
        if ready.is_empty() {
            return Err(End::Typed("no enclave is ready".to_owned()));
        }
        Ok(self.random.of(&ready)["id"].as_str().unwrap_or_default().to_owned())
    }

    /// A body that broke off on its way through the router: the router may be there while the enclave is not.
    fn cut(&self, why: String) -> End {
        if self.stack.was_disturbed(Instant::now()) {
            End::Typed("cut on the way".to_owned())
        } else {
            End::Wrong(why)
        }
    }
}

/// An error object of the `OpenAI` API.
async fn refusal(answer: Answer) -> End {
    let status = answer.status;
    let body = match answer.whole().await {
        Ok(body) => body,
        Err(why) => return End::Gone(why),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &body["error"];
    let name = error["code"].as_str().or_else(|| error["type"].as_str());
    match name {
        Some("bug" | "veritee_bug") => End::Wrong(format!("a bug of ours: {body}")),
        Some(name) => End::Typed(name.to_owned()),
        None => End::Wrong(format!("{status} without an error object: {body}")),
    }
}

/// A problem document of the router.
async fn problem(answer: Answer) -> End {
    let status = answer.status;
    let body = match answer.whole().await {
        Ok(body) => body,
        Err(why) => return End::Gone(why),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let code = body["type"].as_str().and_then(|name| name.rsplit(['#', '/', ':']).next());
    code.map_or_else(
        || End::Wrong(format!("{status} without a problem document: {body}")),
        |code| End::Typed(code.to_owned()),
    )
}

fn typed(error: &client::Error) -> End {
    if error.family() == Family::Bug {
        return End::Wrong(format!("a bug of ours: {error}"));
    }
    End::Typed(error.code().to_owned())
}

/// Sends octets, and reads what is said until the other side hangs up.
async fn converse<S>(mut stream: S, octets: &[u8]) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Whoever hangs up early may do so before everything is sent.
    drop(stream.write_all(octets).await);
    drop(stream.flush().await);
    let mut said = Vec::new();
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if said.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    said
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the load that reads the wall clock"
)]
fn now() -> UnixTime {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}

/// The first octet of an alert (RFC 8446 §5.1).
const ALERT: u8 = 21;

/// An enclave that no fleet has.
const NOBODY: &str = "/v1/nodes/00000000000000000000000000000000/evidence";

const COMPLETIONS: &str = "/v1/chat/completions";

/// Every limit of every program here is shorter.
const REQUEST_MAX: Duration = Duration::from_secs(90);
