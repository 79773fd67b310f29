//! Canaries on every path, and where they are looked for.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use http::{Method, header};
use tests::{
    programs::{MODEL, PATIENCE, Running},
    scan::{Needle, Scanner},
    wire::{request, send},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    cores::{are_written, die, written},
    hunt::{Hunt, Legs, Told},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_asked_or_answered_is_found_outside() {
    let mut story = Story { hunt: Hunt::start("leaks", Legs::Plain).await, secrets: Vec::new() };
    story.answers().await;
    story.in_flight().await;
    story.refusals().await;
    story.halves().await;
    story.replays().await;
    story.headers_of_an_sdk().await;
    story.a_dead_enclave().await;
    story.everywhere("after everything").await;
    story.what_is_left().await;
}

/// TLS adds buffers in the router that could hold more than ciphertext, and hides the API key on its way.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_outside_where_the_legs_speak_tls() {
    let mut story = Story { hunt: Hunt::start("leaks-tls", Legs::Tls).await, secrets: Vec::new() };
    story.answers().await;
    story.in_flight().await;
    story.halves().await;
    story.a_dead_enclave().await;
    story.everywhere("after everything").await;
    story.what_is_left().await;
}

/// What the router holds for as long as it runs, and was not told by its command line: to find it shows that the right octets are
/// looked at.
fn its_own(hunt: &Hunt) -> Needle {
    Needle::new("the name of its file of keys", &hunt.place.path("keys.toml"))
}

/// Sends octets, and reads what is said first.
async fn say(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut said = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut said)).await.unwrap().unwrap();
    String::from_utf8_lossy(&said[..length]).into_owned()
}

fn has(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

/// One run, and all that was said in confidence so far.
struct Story {
    hunt: Hunt,
    secrets: Vec<Needle>,
}

impl Story {
    fn canary(&mut self, name: &str) -> Needle {
        let canary = Needle::random(name);
        self.secrets.push(canary.clone());
        canary
    }

    /// Answers that arrive, streamed and whole.
    async fn answers(&mut self) {
        let canary = self.canary("whole");
        let told = self.hunt.ask(&self.hunt.lasting(&canary, 60, "").await).await;
        assert!(told.is_whole(), "{told:?}");
        let needles = told.needles("whole");
        assert_eq!(needles.len(), 3, "an id, and a text in two forms: {told:?}");
        self.secrets.extend(needles);
        for (name, more) in [
            ("streamed", "\"max_tokens\":24,\"stream\":true"),
            ("cut by its limit", "\"max_tokens\":1"),
        ] {
            let canary = self.canary(name);
            let told = self.hunt.ask(&Hunt::chat(&canary, more)).await;
            assert!(told.is_whole(), "{name}: {told:?}");
            self.secrets.extend(told.needles(name));
        }
        self.command_line().await;
        self.everywhere("after answers").await;
    }

    /// `veritee chat` with its question on standard input.
    async fn command_line(&mut self) {
        let canary = self.canary("chat");
        let arguments = self.hunt.access.of(&self.hunt.outside);
        let arguments = [&["chat", "--max-tokens", "9"], &arguments.each()[..], &["-"]].concat();
        let mut command = self.hunt.place.command("veritee", &arguments);
        // The answer goes to whoever asked; what is said beside it is looked at.
        let log = std::fs::File::create(self.hunt.place.path("chat.log")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut chat = command.spawn().unwrap();
        chat.stdin.take().unwrap().write_all(canary.text().as_bytes()).await.unwrap();
        assert!(timeout(PATIENCE, chat.wait()).await.unwrap().unwrap().success());
    }

    /// While a request is on its way to the enclave, and while its answer is on its way back.
    async fn in_flight(&mut self) {
        let canary = self.canary("on its way there");
        let body = Hunt::chat(&canary, "");
        self.hunt.enclave.signal("STOP").await;
        let asking = self.hunt.ask(&body);
        let looking = async {
            sleep(Duration::from_millis(300)).await;
            Self::assert_held(&canary, &[&self.hunt.proxy]);
            self.everywhere("with the enclave standing still").await;
            self.hunt.enclave.signal("CONT").await;
        };
        let (told, ()) = tokio::join!(asking, looking);
        assert!(told.is_whole(), "{told:?}");

        let canary = self.canary("on its way back");
        let (answer, begun) = self.hunt.half(&canary).await;
        let id = Told { status: 200, body: begun, broke: None }.needles("on its way back");
        self.secrets.extend(id.clone());
        Self::assert_held(&canary, &[&self.hunt.enclave, &self.hunt.proxy]);
        Self::assert_held(&id[0], &[&self.hunt.proxy]);
        self.everywhere("with half an answer").await;
        self.hunt.let_pass().await;
        let told = Told::read(answer).await;
        assert!(told.is_whole(), "{told:?}");
    }

    /// The control: at least one of those who work on it holds it.
    fn assert_held(secret: &Needle, programs: &[&Running]) {
        let scanner = Scanner::new(std::slice::from_ref(secret));
        let held = |program: &&Running| scanner.memory(program.id()).found.has(secret, "text");
        assert!(programs.iter().any(held), "{secret:?} is in nobody's memory");
    }

    /// What is refused, by the proxy or inside the seal.
    async fn refusals(&mut self) {
        let chat = |canary: &Needle| Hunt::chat(canary, "");
        let c: Vec<Needle> =
            (0..12).map(|number| Needle::random(&format!("refusal {number}"))).collect();
        let text = |number: usize| c[number].text();
        let long = chat(&c[0]).replace(text(0), &text(0).repeat(70_000));
        let refused = [
            (413, long),
            (400, chat(&c[1]).replace(text(1), &text(1).repeat(100))),
            (400, format!("{{\"model\":\"{MODEL}\",\"messages\":[{{\"content\":\"{}", text(2))),
            (400, format!("{{\"model\":\"{MODEL}\",\"messages\":\"{}\"}}", text(3))),
            (
                400,
                format!(
                    "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"{}\",\"content\":\"\"}}]}}",
                    text(4)
                ),
            ),
            (400, chat(&c[5]).replace("\"temperature\"", &format!("\"{}\"", text(5)))),
            (
                400,
                chat(&c[6])
                    .replace("24}", &format!("24,\"tools\":[{{\"name\":\"{}\"}}]}}", text(6))),
            ),
            (404, chat(&c[7]).replace(MODEL, text(7))),
            (400, chat(&c[8]).replace("24}", &format!("24,\"stop\":[\"{}\",\"\"]}}", text(8)))),
            (400, chat(&c[9]).replace("24}", &format!("\"{}\"}}", text(9)))),
            (400, chat(&c[10]).replace("24}", &format!("24,\"n\":\"{}\"}}", text(10)))),
            (400, chat(&c[11]).replace("\"temperature\":2", "\"temperature\":99")),
        ];
        for (status, body) in refused {
            let told = self.hunt.ask(&body).await;
            // Whoever hangs up on a body that is too long may do so before its answer is read.
            let hung_up = status == 413 && told.status == 0;
            assert!(
                told.status == status || hung_up,
                "{status} expected for {body:.400}: {told:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
        self.secrets.extend(c);
        self.everywhere("after refusals").await;
    }

    /// Clients that go away while they are answered, and while they ask.
    async fn halves(&mut self) {
        let canary = self.canary("abandoned");
        let (answer, _) = self.hunt.half(&canary).await;
        drop(answer);
        self.hunt.let_pass().await;

        let canary = self.canary("half an upload");
        let body = Hunt::chat(&canary, "");
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{body}",
            self.hunt.local.address()
        );
        let mut stalled = TcpStream::connect(self.hunt.local.address()).await.unwrap();
        stalled.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        self.everywhere("with half an upload").await;
        drop(stalled);
    }

    /// A sealed request that is sent again, as it was and to another key; and one that never ends.
    async fn replays(&mut self) {
        let canary = self.canary("replayed");
        assert!(self.hunt.ask(&Hunt::chat(&canary, "")).await.is_whole());
        let sealed = self
            .hunt
            .outside
            .streams()
            .into_iter()
            .rev()
            .find(|stream| stream.starts_with(b"POST /v1/nodes/") && has(stream, b"/ohttp "));
        let sealed = sealed.expect("the request passed the tap");
        let body = sealed.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut another_key = sealed.clone();
        another_key[body] ^= 0x80;
        for octets in [&sealed, &another_key] {
            let said = say(self.hunt.outside.address(), octets).await;
            assert!(said.starts_with("HTTP/1.1 400") && said.contains("ohttp-key"), "{said}");
        }
        let mut stalled = TcpStream::connect(self.hunt.outside.address()).await.unwrap();
        stalled.write_all(&sealed[..body + 1500]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        self.everywhere("with half a sealed request").await;
    }

    /// What an SDK says beside its question stays with the proxy, or is not even taken.
    async fn headers_of_an_sdk(&mut self) {
        let (agent, token, path, form) =
            (self.canary("agent"), self.canary("token"), self.canary("path"), self.canary("form"));
        let body = Hunt::chat(&form, "");
        let mut asked = request("/v1/chat/completions", Some(&body));
        let value = |needle: &Needle| needle.text().parse::<http::HeaderValue>().unwrap();
        asked.headers_mut().insert(header::USER_AGENT, value(&agent));
        asked
            .headers_mut()
            .insert(header::AUTHORIZATION, format!("Bearer {}", token.text()).parse().unwrap());
        asked.headers_mut().insert("x-stainless-os", value(&agent));
        let answered = send(self.hunt.local.address(), asked.clone()).await.unwrap();
        assert!(Told::read(answered).await.is_whole());
        asked
            .headers_mut()
            .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        assert_eq!(send(self.hunt.local.address(), asked).await.unwrap().status, 415);
        let mut elsewhere = request(&format!("/v1/{}", path.text().replace(['?', '>'], "-")), None);
        *elsewhere.method_mut() = Method::GET;
        assert_eq!(send(self.hunt.local.address(), elsewhere).await.unwrap().status, 404);
        self.everywhere("after an SDK's headers").await;
    }

    /// The enclave dies while it answers, is away, and comes back.
    async fn a_dead_enclave(&mut self) {
        let canary = self.canary("its enclave dies");
        let (answer, _) = self.hunt.half(&canary).await;
        self.hunt.enclave.signal("KILL").await;
        self.hunt.inside.cut();
        let told = Told::read(answer).await;
        assert!(told.broke.is_some() && told.body.contains("\"error\""), "{told:?}");

        let canary = self.canary("no enclave");
        let told = self.hunt.ask(&Hunt::chat(&canary, "")).await;
        assert!(told.status >= 500 && told.body.contains("veritee_unavailable"), "{told:?}");
        self.hunt.inside.let_pass();
        self.hunt.restart_enclave().await;

        let canary = self.canary("another enclave");
        let mut told = self.hunt.ask(&Hunt::chat(&canary, "")).await;
        for _ in 0..20 {
            if told.is_whole() {
                break;
            }
            sleep(Duration::from_millis(250)).await;
            told = self.hunt.ask(&Hunt::chat(&canary, "")).await;
        }
        assert!(told.is_whole(), "{told:?}");
    }

    /// Looks everywhere where nothing may be, with the router standing still.
    async fn everywhere(&self, when: &str) {
        let hunt = &self.hunt;
        let scanner = Scanner::new(&self.secrets);
        let keys = Scanner::new(std::slice::from_ref(&hunt.key));
        let own = its_own(hunt);

        hunt.router.signal("STOP").await;
        let memory = scanner.memory(hunt.router.id());
        let control = Scanner::new(std::slice::from_ref(&own)).memory(hunt.router.id());
        let files = scanner.open_files(hunt.router.id());
        hunt.router.signal("CONT").await;
        assert!(
            control.found.has(&own, "text"),
            "{when}: the control is not in {} octets",
            control.octets
        );
        assert!(memory.found.is_empty(), "{when}: in the router's memory: {:?}", memory.found);
        assert!(files.is_empty(), "{when}: in a file that the router has open: {files:?}");

        for (name, program) in [("the enclave", &hunt.enclave), ("the platform", &hunt.platform)] {
            let found = keys.memory(program.id()).found;
            assert!(found.is_empty(), "{when}: in the memory of {name}: {found:?}");
            let found = scanner.open_files(program.id()).and(keys.open_files(program.id()));
            assert!(found.is_empty(), "{when}: in a file that {name} has open: {found:?}");
        }
        let found = scanner.memory(hunt.platform.id()).found;
        assert!(found.is_empty(), "{when}: in the memory of the platform: {found:?}");

        // Logs, what they print, and whatever else they write: all of it is below this folder.
        let found = scanner.folder(hunt.place.folder(), &|_| false);
        assert!(found.is_empty(), "{when}: {found:?}");
        let is_the_users = |path: &Path| path.ends_with("client.key");
        let found = keys.folder(hunt.place.folder(), &is_the_users);
        assert!(found.is_empty(), "{when}: {found:?}");

        for (leg, tap) in [("to the router", &hunt.outside), ("to the enclave", &hunt.inside)] {
            let found = scanner.recordings(&tap.streams());
            assert!(found.is_empty(), "{when}: on the wire {leg}: {found:?}");
        }
        assert!(
            keys.recordings(&hunt.inside.streams()).is_empty(),
            "{when}: the key goes on to the enclave"
        );
        let shown = keys.recordings(&hunt.outside.streams()).has(&hunt.key, "text");
        assert_eq!(shown, hunt.shows_its_key(), "{when}: the key on its way, and TLS");
        let local = scanner.recordings(&hunt.local.streams());
        assert!(
            local.has(&self.secrets[0], "text"),
            "the control: the user's own machine sees the prompt"
        );
    }

    /// Everything is over: logs are there, and the router's core, which the kernel writes, holds nothing.
    async fn what_is_left(self) {
        let Self { hunt, secrets } = self;
        let own = its_own(&hunt);
        for label in ["enclave", "router"] {
            assert!(!hunt.place.log(label).is_empty(), "the control: {label} logs");
        }
        assert!(
            hunt.place.log("router").contains("/ohttp"),
            "the control: the router logs requests"
        );
        die(hunt.router).await;
        if are_written() {
            let cores = written(&hunt.place);
            assert_eq!(cores.len(), 1, "{cores:?}");
            let control = Scanner::new(std::slice::from_ref(&own)).file(&cores[0]).unwrap();
            assert!(control.has(&own, "text"), "the control is not in the router's core");
            let found = Scanner::new(&secrets).file(&cores[0]).unwrap();
            assert!(found.is_empty(), "in the router's core: {found:?}");
        }
        for program in [hunt.proxy, hunt.enclave, hunt.platform] {
            assert!(program.stop().await.success());
        }
        let found = Scanner::new(&secrets).folder(hunt.place.folder(), &|_| false);
        assert!(found.is_empty(), "after the end: {found:?}");
    }
}
