//! Web pages at the local proxy: whatever a page makes its browser send, the proxy neither asks an enclave nor says anything that
//! the page could read.
//!
//! Another user of the same machine is no page, and is not kept out: loopback is theirs too (docs/threat-model.md).

use std::net::SocketAddr;

use tests::{
    fleet::{Fleet, Plan, question},
    octets::{Heard, talk},
};
use tokio::net::TcpListener;

use crate::told::PROMPT;

/// A page that the user allowed by name.
const FRIEND: &str = "http://localhost:3000";

/// A proxy of the fleet's, with one page that may use it.
async fn proxied(fleet: &Fleet) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = proxy::Options { allowed_origins: vec![FRIEND.to_owned()] };
    tokio::spawn(proxy::serve(listener, fleet.client(), options, std::future::pending()));
    address
}

/// A request of a browser's, from its lines and its body.
fn browser(start: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let lines: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
    let length =
        if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{start} HTTP/1.1\r\n{lines}{length}connection: close\r\n\r\n{body}").into_bytes()
}

fn body() -> String {
    serde_json::to_string(&client::Chat { stream: false, stream_options: None, ..question(PROMPT) })
        .unwrap()
}

const CHAT: &str = "POST /v1/chat/completions";
const HOST: &str = "host: 127.0.0.1";
const JSON: &str = "content-type: application/json";

/// What a page may make a browser send, and what it is told.
const PAGES: [(&str, &str, &[&str], u16, &str); 36] = [
    // A name of the attacker's that resolves to this machine by now: to the browser it is the page's own origin.
    ("rebound", CHAT, &["host: evil.example", JSON], 403, "host-not-loopback"),
    (
        "rebound, own site",
        CHAT,
        &["host: evil.example", JSON, "sec-fetch-site: same-origin"],
        403,
        "host-not-loopback",
    ),
    ("rebound, with the port", CHAT, &["host: evil.example:8700", JSON], 403, "host-not-loopback"),
    ("rebound, GET", "GET /v1/verification", &["host: evil.example"], 403, "host-not-loopback"),
    (
        "rebound, a name that starts well",
        CHAT,
        &["host: 127.0.0.1.evil.example", JSON],
        403,
        "host-not-loopback",
    ),
    (
        "rebound, a name that ends well",
        CHAT,
        &["host: localhost.evil.example", JSON],
        403,
        "host-not-loopback",
    ),
    ("all addresses", CHAT, &["host: 0.0.0.0", JSON], 403, "host-not-loopback"),
    ("an address in the network", CHAT, &["host: 192.168.0.7", JSON], 403, "host-not-loopback"),
    ("a mapped address", CHAT, &["host: [::ffff:127.0.0.1]", JSON], 403, "host-not-loopback"),
    ("a number for an address", CHAT, &["host: 2130706433", JSON], 403, "host-not-loopback"),
    ("a short address", CHAT, &["host: 127.1", JSON], 403, "host-not-loopback"),
    ("a name with an end", CHAT, &["host: localhost.", JSON], 403, "host-not-loopback"),
    ("a user name", CHAT, &["host: evil@127.0.0.1", JSON], 403, "host-not-loopback"),
    ("no host", CHAT, &[JSON], 403, "host-not-loopback"),
    ("an empty host", CHAT, &["host:", JSON], 403, "host-not-loopback"),
    ("two hosts", CHAT, &[HOST, "host: evil.example", JSON], 403, "host-not-loopback"),
    ("twice the same host", CHAT, &[HOST, HOST, JSON], 403, "host-not-loopback"),
    (
        "another address in the request line",
        "POST http://evil.example/v1/chat/completions",
        &[HOST, JSON],
        403,
        "host-not-loopback",
    ),
    (
        "another host than in the request line",
        "POST http://127.0.0.1/v1/chat/completions",
        &["host: evil.example", JSON],
        403,
        "host-not-loopback",
    ),
    ("a tunnel", "CONNECT evil.example:443", &[HOST], 403, "host-not-loopback"),
    // A page that asks for this machine by its name.
    (
        "fetch",
        CHAT,
        &[HOST, JSON, "origin: https://evil.example", "sec-fetch-site: cross-site"],
        403,
        "origin-not-allowed",
    ),
    (
        "fetch from an old browser",
        CHAT,
        &[HOST, JSON, "origin: https://evil.example"],
        403,
        "origin-not-allowed",
    ),
    ("a sandbox or a file", CHAT, &[HOST, JSON, "origin: null"], 403, "origin-not-allowed"),
    (
        "the friend over TLS",
        CHAT,
        &[HOST, JSON, "origin: https://localhost:3000"],
        403,
        "origin-not-allowed",
    ),
    (
        "the friend on another port",
        CHAT,
        &[HOST, JSON, "origin: http://localhost:3001"],
        403,
        "origin-not-allowed",
    ),
    (
        "a name like the friend's",
        CHAT,
        &[HOST, JSON, "origin: http://localhost:3000.evil.example"],
        403,
        "origin-not-allowed",
    ),
    (
        "two origins",
        CHAT,
        &[HOST, JSON, "origin: http://localhost:3000", "origin: null"],
        403,
        "origin-not-allowed",
    ),
    (
        "an extension",
        CHAT,
        &[HOST, JSON, "origin: chrome-extension://abc"],
        403,
        "origin-not-allowed",
    ),
    (
        "a question whether it may",
        "OPTIONS /v1/chat/completions",
        &[
            HOST,
            "origin: https://evil.example",
            "access-control-request-method: POST",
            "access-control-request-private-network: true",
        ],
        403,
        "origin-not-allowed",
    ),
    (
        "a web socket",
        "GET /v1/chat/completions",
        &[
            HOST,
            "origin: https://evil.example",
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-key: x",
            "sec-websocket-version: 13",
        ],
        403,
        "origin-not-allowed",
    ),
    // What needs no permission, and carries no origin.
    ("a form", CHAT, &[HOST, "content-type: text/plain"], 415, "content-type-not-json"),
    (
        "a form with fields",
        CHAT,
        &[HOST, "content-type: application/x-www-form-urlencoded"],
        415,
        "content-type-not-json",
    ),
    (
        "a beacon",
        CHAT,
        &[
            HOST,
            "sec-fetch-site: cross-site",
            "sec-fetch-mode: no-cors",
            "content-type: text/plain",
        ],
        403,
        "cross-site",
    ),
    (
        "an image",
        "GET /v1/models",
        &[HOST, "sec-fetch-site: cross-site", "sec-fetch-dest: image"],
        403,
        "cross-site",
    ),
    (
        "a link",
        "GET /v1/verification",
        &[HOST, "sec-fetch-site: same-site", "sec-fetch-mode: navigate"],
        403,
        "cross-site",
    ),
    (
        "two sites",
        "GET /v1/models",
        &[HOST, "sec-fetch-site: none", "sec-fetch-site: cross-site"],
        403,
        "cross-site",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_gets_nothing_from_the_proxy() {
    let fleet = Fleet::start(Plan::default()).await;
    let address = proxied(&fleet).await;
    for (story, start, lines, status, code) in PAGES {
        let body = if start.starts_with("POST") { body() } else { String::new() };
        let heard = talk(address, &browser(start, lines, &body)).await;
        // The HTTP library may refuse by itself what is no HTTP.
        let by_library = heard.status == 400 && heard.body.is_empty();
        if !by_library {
            assert_eq!(
                (heard.status, heard.code().as_deref()),
                (status, Some(code)),
                "{story}: {heard:?}"
            );
        }
        assert_unreadable(&heard, story);
    }
    assert!(
        fleet.relay.carried().is_empty(),
        "nobody was asked anything: {:?}",
        fleet.relay.carried()
    );

    let own = browser(CHAT, &[HOST, JSON], &body());
    let heard = talk(address, &own).await;
    assert_eq!(heard.json()["choices"][0]["message"]["content"], PROMPT, "the control: {heard:?}");
    assert_unreadable(&heard, "an SDK");
    let typed =
        talk(address, &browser("GET /v1/models", &[HOST, "sec-fetch-site: none"], "")).await;
    assert_eq!(typed.status, 200, "the address bar");
}

/// What a browser gets back can be read by the page that was allowed, and by that page alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_page_may_ask() {
    let fleet = Fleet::start(Plan::default()).await;
    let address = proxied(&fleet).await;
    let origin = format!("origin: {FRIEND}");
    let lines = [HOST, JSON, origin.as_str(), "sec-fetch-site: same-site", "sec-fetch-mode: cors"];
    let heard = talk(address, &browser(CHAT, &lines, &body())).await;
    assert_eq!(heard.json()["choices"][0]["message"]["content"], PROMPT, "{heard:?}");
    assert_eq!(heard.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(heard.header("vary"), Some("origin"));
    assert!(heard.header("access-control-allow-credentials").is_none(), "{heard:?}");
    // The friend is no exception to the rest.
    let form = [HOST, origin.as_str(), "content-type: text/plain"];
    assert_eq!(talk(address, &browser(CHAT, &form, &body())).await.status, 415);
    let rebound = ["host: evil.example", JSON, origin.as_str()];
    assert_eq!(talk(address, &browser(CHAT, &rebound, &body())).await.status, 403);
}

fn assert_unreadable(heard: &Heard, story: &str) {
    for name in ["access-control-allow-origin", "access-control-allow-private-network", "upgrade"] {
        assert!(heard.header(name).is_none(), "{story}: {name}: {heard:?}");
    }
    assert_ne!(heard.status, 101, "{story}");
    if heard.status != 400 {
        assert_eq!(
            heard.header("cross-origin-resource-policy"),
            Some("same-origin"),
            "{story}: {heard:?}"
        );
    }
}
