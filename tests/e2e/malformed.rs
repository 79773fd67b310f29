//! Requests that are none, to enclave, router and proxy: a clear error or a closed connection, never a panic, and nothing of what
//! they say in any log.

mod inside;

use std::net::SocketAddr;

use tests::{
    fleet::{Fleet, Plan},
    octets::{Heard, get, talk},
};
use tokio::net::TcpListener;

use crate::{
    logs::{Logs, panics},
    told::{PROMPT, Told},
};

/// It is in every malformed request, wherever there is room for it.
pub(crate) const MARK: &str = "mark-c41d9be07f";

/// The three that listen, each with a path that takes a POST and one that takes a GET.
pub(crate) struct Servers {
    pub(crate) fleet: Fleet,
    pub(crate) proxy: SocketAddr,
    logs: Logs,
    panics: usize,
}

/// One of them.
#[derive(Clone, Debug)]
struct Server {
    name: &'static str,
    address: SocketAddr,
    post: String,
    media: &'static str,
    health: &'static str,
    paths: Vec<(String, &'static [&'static str])>,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let logs = Logs::capture();
        let fleet = Fleet::start(Plan::default()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let options = proxy::Options::default();
        tokio::spawn(proxy::serve(listener, fleet.client(), options, std::future::pending()));
        Self { fleet, proxy, logs, panics: panics() }
    }

    fn all(&self) -> [Server; 3] {
        const GET: &[&str] = &["GET", "HEAD"];
        const POST: &[&str] = &["POST"];
        const BOTH: &[&str] = &["GET", "HEAD", "POST"];
        let below = |what: &str| format!("/v1/nodes/{}/{what}", self.fleet.nodes[0]);
        [
            Server {
                name: "enclave",
                address: self.fleet.enclaves[0],
                post: "/v1/ohttp".to_owned(),
                media: "message/ohttp-chunked-req",
                health: "/healthz",
                paths: vec![
                    ("/v1/ohttp".to_owned(), POST),
                    ("/v1/evidence".to_owned(), BOTH),
                    ("/.well-known/ohttp-gateway".to_owned(), GET),
                    ("/healthz".to_owned(), GET),
                    ("/readyz".to_owned(), GET),
                    ("/metrics".to_owned(), GET),
                ],
            },
            Server {
                name: "router",
                address: self.fleet.router,
                post: below("ohttp"),
                media: "message/ohttp-chunked-req",
                health: "/healthz",
                paths: vec![
                    (below("ohttp"), POST),
                    (below("evidence"), BOTH),
                    ("/v1/fleet".to_owned(), GET),
                    ("/healthz".to_owned(), GET),
                    ("/readyz".to_owned(), GET),
                    ("/metrics".to_owned(), GET),
                ],
            },
            Server {
                name: "proxy",
                address: self.proxy,
                post: "/v1/chat/completions".to_owned(),
                media: "application/json",
                health: "/v1/models",
                paths: vec![
                    ("/v1/chat/completions".to_owned(), POST),
                    ("/v1/completions".to_owned(), POST),
                    ("/v1/embeddings".to_owned(), POST),
                    ("/v1/models".to_owned(), GET),
                    ("/v1/verification".to_owned(), GET),
                    ("/v1/receipts/x".to_owned(), GET),
                ],
            },
        ]
    }

    /// Everything still serves, nothing panicked, and no log holds what was sent.
    pub(crate) async fn assert_unharmed(&self) {
        for server in self.all() {
            let heard = talk(server.address, &get(server.health)).await;
            assert_eq!(heard.status, 200, "{}: {heard:?}", server.name);
        }
        assert_eq!(Told::by(&self.fleet.client(), PROMPT).await.text, PROMPT);
        assert_eq!(panics(), self.panics, "something panicked");
        tracing::info!("the control: this is logged");
        let logged = self.logs.text();
        assert!(logged.contains("the control: this is logged"));
        assert!(!logged.contains(MARK), "content of a request is in a log");
        assert!(!logged.contains("panicked"));
    }
}

/// Heads and bodies that are no HTTP, or not what any resource takes. `{post}` and `{media}` are the server's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused() {
    let servers = Servers::start().await;
    let mut complaints = Vec::new();
    for server in servers.all() {
        for (story, octets, expected) in requests() {
            let octets = fill(&octets, &server);
            let heard = talk(server.address, &octets).await;
            if let Some(why) = unclear(&heard, expected) {
                complaints.push(format!("{}: {story}: {why}", server.name));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    servers.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_paths_and_media_types_are_refused() {
    let servers = Servers::start().await;
    let mut complaints = Vec::new();
    for server in servers.all() {
        for (path, right) in &server.paths {
            for method in METHODS.iter().filter(|method| !right.contains(method)) {
                let octets = format!(
                    "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
                );
                let heard = talk(server.address, octets.as_bytes()).await;
                if !matches!(heard.status, 400 | 403..=405) {
                    complaints.push(format!("{} {method} {path}: {heard:?}", server.name));
                }
            }
        }
        let paths = [
            "/",
            "//",
            "/v1",
            "/v1/",
            "/v2/chat/completions",
            "/%2e%2e/etc/passwd",
            "/../etc/passwd",
            "/v1/nodes/x/ohttp",
            "/v1/nodes//ohttp",
            "/v1/ohttp/",
            "/HEALTHZ",
            "/v1/chat/completions/",
        ];
        for path in paths {
            let octets = format!(
                "POST {path}?{MARK} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {}\r\ncontent-length: 2\r\n\r\n{{}}",
                server.media
            );
            let heard = talk(server.address, octets.as_bytes()).await;
            if heard.status != 404 {
                complaints.push(format!("{} {path}: {heard:?}", server.name));
            }
        }
        for media in [
            "text/plain",
            "text/html",
            "multipart/form-data",
            "message/ohttp-req",
            "message/bhttp",
            "application/octet-stream",
            "application/jsonx",
            "",
            MARK,
        ] {
            let octets = format!(
                "POST {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {media}\r\ncontent-length: 2\r\n\r\n{{}}",
                server.post
            );
            let heard = talk(server.address, octets.as_bytes()).await;
            if heard.status != 415 {
                complaints.push(format!("{} {media}: {heard:?}", server.name));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    servers.assert_unharmed().await;
}

/// What is wrong with an answer, if anything is.
fn unclear(heard: &Heard, expected: &[u16]) -> Option<String> {
    let text = String::from_utf8_lossy(&heard.octets).into_owned();
    if !expected.contains(&heard.status) {
        return Some(format!("expected {expected:?}, got {} {text}", heard.status));
    }
    if text.contains(MARK) {
        return Some(format!("it repeats what it was sent: {text}"));
    }
    None
}

fn fill(octets: &[u8], server: &Server) -> Vec<u8> {
    let mut filled = octets.to_vec();
    for (name, value) in [("{post}", server.post.as_str()), ("{media}", server.media)] {
        if let Some(at) = filled.windows(name.len()).position(|window| window == name.as_bytes()) {
            filled.splice(at..at.saturating_add(name.len()), value.bytes());
        }
    }
    filled
}

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

/// 0 is a connection that was closed without a word.
const BAD: &[u16] = &[400, 0];
/// The router says of any upload that ends before its end that it did not arrive in time.
const BROKEN: &[u16] = &[400, 408, 0];
const LONG: &[u16] = &[400, 414, 431, 0];

/// A story, its octets, and the statuses that say clearly what is wrong.
#[expect(clippy::too_many_lines, reason = "a table")]
fn requests() -> Vec<(String, Vec<u8>, &'static [u16])> {
    let mut all: Vec<(String, Vec<u8>, &'static [u16])> = Vec::new();
    let mut add = |story: &str, octets: Vec<u8>, expected| {
        all.push((story.to_owned(), octets, expected));
    };
    for line in [
        "{MARK}",
        "GET",
        "GET /",
        "GET / HTTP/9.9",
        "GET / HTTP/1",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET / {MARK} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/1.1 ",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}",
        "GET http:// HTTP/1.1",
    ] {
        let line = line.replace("{MARK}", MARK);
        add(
            &format!("{line:?} as the request line"),
            format!("{line}\r\nhost: localhost\r\n\r\n").into(),
            BAD,
        );
    }
    for header in [
        "{MARK}",
        ": {MARK}",
        "x {MARK}: y",
        "x\u{e9}: {MARK}",
        "x: {MARK}\0",
        "x: y\r\n {MARK}",
        "x: {MARK}\u{7f}",
        "content-length: {MARK}",
        "content-length: -1",
        "content-length: 1, 2",
        "content-length: 1\r\ncontent-length: 2",
        "content-length: 99999999999999999999999",
        "content-length: 0x10",
        "transfer-encoding: {MARK}",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, {MARK}",
    ] {
        let header = header.replace("{MARK}", MARK);
        let head = format!(
            "POST {{post}} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {{media}}\r\n{header}\r\n\r\n"
        );
        add(&format!("{header:?} as a header"), head.into(), BAD);
    }
    let start =
        "POST {post} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {media}\r\n";
    for (story, body, expected) in [
        ("a chunk without a length", "\r\n{MARK}\r\n", BROKEN),
        ("a chunk whose length is no number", "zz\r\n{MARK}\r\n", BROKEN),
        ("a chunk of 2^64 octets", "10000000000000000\r\n{MARK}\r\n", BROKEN),
        ("a chunk with a negative length", "-1\r\n{MARK}\r\n", BROKEN),
        ("a chunk that is longer than it says", "1\r\n{MARK}\r\n0\r\n\r\n", BROKEN),
        ("chunks that say nothing", "0\r\n\r\n", BROKEN),
        ("chunks with trailers", "2\r\n{}\r\n0\r\nx: {MARK}\r\n\r\n", BROKEN),
        ("an extension of 100 KB", "2;{LONG}\r\n{}\r\n0\r\n\r\n", BROKEN),
    ] {
        let body = body.replace("{MARK}", MARK).replace("{LONG}", &"x".repeat(100_000));
        let octets = format!("{start}transfer-encoding: chunked\r\n\r\n{body}");
        add(story, octets.into(), expected);
    }
    // Two lengths for one body: the chunks count, or neither does, and what follows is no second request.
    let smuggled = format!(
        "{start}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /{MARK} HTTP/1.1\r\nhost: localhost\r\n\r\n"
    );
    add("a length and chunks", smuggled.into(), BAD);
    add(
        "a body that is too long",
        format!("{start}content-length: 1099511627776\r\n\r\n{MARK}").into(),
        &[413, 400],
    );
    add("an empty body", format!("{start}content-length: 0\r\n\r\n").into(), BAD);
    add(
        "zeros",
        [format!("{start}content-length: 4096\r\n\r\n").as_bytes(), &[0; 4096]].concat(),
        BAD,
    );
    add(
        "octets of no text",
        [format!("{start}content-length: 4096\r\n\r\n").as_bytes(), &[0xff; 4096]].concat(),
        BAD,
    );
    let flood = format!("x: {MARK}\r\n").repeat(200);
    add("200 headers", format!("{start}{flood}\r\n").into(), LONG);
    let flood = format!("x: {MARK}\r\n").repeat(20_000);
    add("20,000 headers", format!("{start}{flood}\r\n").into(), LONG);
    let long = MARK.repeat(8_000);
    add("a header of 100 KB", format!("{start}x: {long}\r\n\r\n").into(), LONG);
    add("a name of 100 KB", format!("{start}{long}: x\r\n\r\n").into(), LONG);
    add(
        "a path of 100 KB",
        format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n").into(),
        LONG,
    );
    add("a method of 100 KB", format!("{long} / HTTP/1.1\r\nhost: localhost\r\n\r\n").into(), LONG);
    all
}
