//! Lies around an answer, and in place of one; and what is done to requests on their way.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::{ACCEPTED, DIED, FORGED, FRAMING, KEY, Lie, ODD, SILENT, TRUNCATED, UNSEALED};
use crate::{
    framing::{Framed, RESPONSE_HEAD, long},
    script::{On, Script, Step},
};

/// What stands around an answer: status, headers, lengths, and answers that nobody sealed.
pub fn about_heads() -> Vec<Lie> {
    let mut all = Vec::new();
    for (status, code) in STATUSES {
        let status = StatusCode::from_u16(status).expect("a status");
        let script = Script::Head { status, headers: Vec::new() };
        all.push(Lie::new(format!("the answer under status {status}"), script, code));
    }
    for (name, value, code) in HEADERS {
        let script = Script::Head { status: StatusCode::OK, headers: vec![(name, value)] };
        all.push(Lie::new(format!("the answer with {name}: {value}"), script, code));
    }
    for (status, media_type, body, code) in PAGES {
        let status = StatusCode::from_u16(status).expect("a status");
        let script = Script::Answer { status, media_type, body: body.as_bytes().to_vec() };
        all.push(Lie::new(format!("{status} {media_type} {body}"), script, code));
    }
    all.extend([
        Lie::raw("a length that is short", TRUNCATED, |body| {
            vec![send(HEAD, "content-length: 100\r\n", &body[..100])]
        }),
        Lie::raw("a length that is short, and more after it", TRUNCATED, |body| {
            vec![send(HEAD, "content-length: 100\r\n", body)]
        }),
        Lie::raw("a length that is long", DIED, |body| {
            let more = body.len().saturating_add(1);
            vec![send(HEAD, &format!("content-length: {more}\r\n"), body)]
        }),
        Lie::raw("two lengths", DIED, |body| {
            let length = body.len();
            vec![send(HEAD, &format!("content-length: {length}\r\ncontent-length: 7\r\n"), body)]
        }),
        Lie::raw("a length that is none", DIED, |body| {
            vec![send(HEAD, "content-length: -1\r\n", body)]
        }),
        Lie::raw("a length and chunks", ACCEPTED, |body| {
            let headers = "content-length: 7\r\ntransfer-encoding: chunked\r\n";
            vec![send(HEAD, headers, &chunked(body, "0\r\n\r\n"))]
        }),
        Lie::raw("chunks that do not end", DIED, |body| {
            vec![send(HEAD, "transfer-encoding: chunked\r\n", &chunked(body, ""))]
        }),
        Lie::raw("chunks whose length is no number", DIED, |body| {
            let body = [b"zz\r\n", body].concat();
            vec![send(HEAD, "transfer-encoding: chunked\r\n", &body)]
        }),
        Lie::raw("a receipt in the trailers of HTTP", ACCEPTED, |body| {
            let end = "0\r\nveritee-receipt: forged\r\nx-veritee-verdict: accepted\r\n\r\n";
            vec![send(HEAD, "transfer-encoding: chunked\r\n", &chunked(body, end))]
        }),
        Lie::raw("an end that is the connection's", ACCEPTED, |body| vec![send(HEAD, "", body)]),
        Lie::raw("a cut that is the connection's end", TRUNCATED, |body| {
            vec![send(HEAD, "", &body[..body.len() / 2])]
        }),
        Lie::raw("the answer in HTTP/1.0", ACCEPTED, |body| {
            vec![send("HTTP/1.0 200 OK", "", body)]
        }),
        Lie::raw("no HTTP at all", DIED, |body| vec![Step::Send(body.to_vec())]),
        Lie::raw("nothing but an end", DIED, |_| Vec::new()),
        Lie::raw("another protocol", "unexpected-status", |body| {
            let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
            vec![send("HTTP/1.1 101 Switching Protocols", upgrade, body)]
        }),
        Lie::raw("informational answers before it", ACCEPTED, |body| {
            let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
            let length = format!("content-length: {}\r\n", body.len());
            vec![Step::Send(early.to_vec()), send(HEAD, &length, body)]
        }),
        Lie::raw("informational answers without end", SILENT, |_| {
            let pause = Duration::from_millis(1);
            vec![Step::Endless { octets: b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), pause }]
        }),
        Lie::raw("headers without end", DIED, |_| {
            endless(b"HTTP/1.1 200 OK\r\n".to_vec(), &b"x-veritee-filler: 0\r\n".repeat(256))
        }),
        Lie::raw("one header without end", DIED, |_| {
            endless(b"HTTP/1.1 200 OK\r\nx-veritee-filler: ".to_vec(), &[b'x'; 4096])
        }),
        Lie::raw("a status line without end", DIED, |_| {
            endless(b"HTTP/1.1 200 ".to_vec(), &[b'x'; 4096])
        }),
        Lie::raw("a body without end", FORGED, |body| {
            endless([head(HEAD, ""), body[..32].to_vec()].concat(), &[0x20; 4096])
        }),
        Lie::raw("an end without end", FRAMING, |body| {
            let framed = Framed::parse(body, RESPONSE_HEAD);
            let whole = framed.encode();
            endless([head(HEAD, ""), whole].concat(), &[0; 4096])
        }),
        Lie::raw("a refusal without end", "busy", |_| {
            endless(head("HTTP/1.1 503 Busy", ""), &[b' '; 4096])
        }),
    ]);
    all
}

/// What comes in place of a body.
type Steps = fn(&[u8]) -> Vec<Step>;

/// What never comes, or comes too slowly to be waited for.
pub fn about_stalls() -> Vec<Lie> {
    let mut all = vec![
        Lie::raw("silence instead of an answer", SILENT, |_| vec![Step::Stall(LONG)]),
        Lie::raw("silence in the status line", SILENT, |_| {
            vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Stall(LONG)]
        }),
        Lie::raw("silence in the headers", SILENT, |_| {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()), Step::Stall(LONG)]
        }),
        Lie::raw("a head that drips", SILENT, |_| {
            let head = Step::Send(b"HTTP/1.1 200 OK\r\nx-veritee-filler: ".to_vec());
            vec![head, Step::Endless { octets: b"x".to_vec(), pause: DRIP }]
        }),
        Lie::raw("a body that drips without end", SILENT, |body| {
            // Enough of a chunk that it does not end before the patience does.
            let start = [head(HEAD, ""), body[..32].to_vec(), long(16 << 10, 4)].concat();
            vec![Step::Send(start), Step::Endless { octets: b"x".to_vec(), pause: DRIP }]
        }),
        Lie::raw("a refusal that drips", "busy", |_| {
            let start = head("HTTP/1.1 503 Busy", "");
            vec![Step::Send(start), Step::Endless { octets: b" ".to_vec(), pause: DRIP }]
        }),
    ];
    for pieces in [0, 1, 2, 3, usize::MAX] {
        all.push(Lie::new(
            format!("silence after {pieces} pieces"),
            Script::cut_after(pieces, Some(Step::Stall(LONG))),
            SILENT,
        ));
    }
    for (on, what) in [(On::Fleet, "fleet"), (On::Evidence, "evidence")] {
        let lies: [(&str, Steps); 3] = [
            ("silence instead of", |_| vec![Step::Stall(LONG)]),
            ("silence amid", |body| {
                vec![Step::Send([head(OK, ""), body[..9].to_vec()].concat()), Step::Stall(LONG)]
            }),
            ("a drip instead of", |_| {
                vec![Step::Send(head(OK, "")), Step::Endless { octets: b" ".to_vec(), pause: DRIP }]
            }),
        ];
        for (story, steps) in lies {
            // One enclave that cannot be reached is nobody left.
            let code = if on == On::Fleet { SILENT } else { "no-enclaves" };
            all.push(Lie::new(format!("{story} the {what}"), Script::raw_on(on, steps), code));
        }
    }
    all
}

/// What is done to a request on its way: the enclave refuses it, and the client says what it was told.
pub fn about_requests() -> Vec<Lie> {
    let edit = |edit: fn(&[u8]) -> Vec<u8>| Script::Request(Arc::new(edit));
    let mut all = vec![
        Lie::new("the request without its end", edit(|body| body[..1400].to_vec()), KEY),
        Lie::new("the request without its chunks", edit(|body| body[..1127].to_vec()), KEY),
        Lie::new("the request without its key", edit(|body| body[..7].to_vec()), KEY),
        Lie::new("no request", edit(|_| Vec::new()), KEY),
        Lie::new("the request and an octet", edit(|body| [body, b"x"].concat()), KEY),
        Lie::new("the request twice over", edit(|body| [body, body].concat()), KEY),
        Lie::new("a request of zeros", edit(|body| vec![0; body.len()]), KEY),
        Lie::new("a request of 8 MiB", edit(|_| vec![0; 8 << 20]), "request-too-large"),
        Lie::new("the request delivered twice", Script::ReplayRequest, KEY),
        Lie::new("the response to an earlier request", Script::ReplayResponse, FORGED),
    ];
    for at in [0, 1, 3, 5, 7, 600, 1126, 1127, 1128, 1200, usize::MAX] {
        let story = format!("octet {at} of the request flipped");
        all.push(Lie::new(story, Script::flip_request(at), KEY));
    }
    for (story, method, path, headers, code) in REQUEST_HEADS {
        let path = move |honest: &str| {
            path.replace("{honest}", honest)
                .replace("{base}", honest.strip_suffix("ohttp").unwrap_or(honest))
        };
        let headers = headers.to_vec();
        let script = Script::RequestHead { method, path: Arc::new(path), headers };
        all.push(Lie::new(story, script, code));
    }
    all
}

pub(super) fn head(status: &str, headers: &str) -> Vec<u8> {
    let media = "message/ohttp-chunked-res";
    format!("{status}\r\ncontent-type: {media}\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

fn send(status: &str, headers: &str, body: &[u8]) -> Step {
    Step::Send([head(status, headers), body.to_vec()].concat())
}

fn chunked(body: &[u8], end: &str) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n", end.as_bytes()].concat()
}

pub(super) fn endless(start: Vec<u8>, octets: &[u8]) -> Vec<Step> {
    let octets = octets.to_vec();
    vec![Step::Send(start), Step::Endless { octets, pause: Duration::ZERO }]
}

const HEAD: &str = "HTTP/1.1 200 OK";
pub(super) const OK: &str = HEAD;

/// Longer than any client of the tests waits.
const LONG: Duration = Duration::from_mins(10);
/// Often enough that something always comes, and little enough that it leads nowhere.
const DRIP: Duration = Duration::from_millis(50);

/// Statuses over an answer that is genuine.
const STATUSES: [(u16, &str); 22] = [
    (201, ODD),
    (202, ODD),
    (204, ODD),
    (206, ODD),
    (301, ODD),
    (304, ODD),
    (307, ODD),
    (400, ODD),
    (401, "unauthorized"),
    (402, "payment-required"),
    (403, ODD),
    (404, "not-found"),
    (408, ODD),
    (413, "request-too-large"),
    (415, "media-type"),
    (421, "misdirected"),
    (429, "too-many-requests"),
    (500, ODD),
    (502, "enclave-broke"),
    (503, "busy"),
    (504, "enclave-timed-out"),
    (599, ODD),
];

/// Headers over an answer that is genuine.
const HEADERS: [(&str, &str, &str); 16] = [
    ("x-veritee-verdict", "accepted", ACCEPTED),
    ("x-veritee-node", "00000000000000000000000000000000", ACCEPTED),
    ("veritee-receipt", "forged", ACCEPTED),
    ("veritee-binding", "forged", ACCEPTED),
    ("set-cookie", "a=b", ACCEPTED),
    ("location", "http://127.0.0.1:1/", ACCEPTED),
    ("content-encoding", "gzip", ACCEPTED),
    ("incremental", "?0", ACCEPTED),
    ("retry-after", "9", ACCEPTED),
    ("strict-transport-security", "max-age=9", ACCEPTED),
    ("content-type", "text/html", UNSEALED),
    ("content-type", "application/json", UNSEALED),
    ("content-type", "text/event-stream", UNSEALED),
    ("content-type", "message/ohttp-res", UNSEALED),
    ("content-type", "message/ohttp-chunked-res; charset=utf-8", UNSEALED),
    ("content-type", "", UNSEALED),
];

/// Answers that nobody sealed.
const PAGES: [(u16, &str, &str, &str); 13] = [
    (200, "text/html", "<html>log in first</html>", UNSEALED),
    (200, "application/json", OPENAI, UNSEALED),
    (200, "text/event-stream", EVENTS, UNSEALED),
    (200, "message/ohttp-res", OPENAI, UNSEALED),
    (200, "message/ohttp-chunked-res", "", TRUNCATED),
    // Its letters are taken for the nonce and the length of a chunk.
    (200, "message/ohttp-chunked-res", OPENAI, TRUNCATED),
    (200, "message/ohttp-chunked-res", EVENTS, TRUNCATED),
    (400, "application/problem+json", "{\"type\":\"about:blank\"}", ODD),
    (400, "application/problem+json", KEY_PROBLEM, KEY),
    (401, "application/json", "{\"error\":{\"code\":\"invalid_api_key\"}}", "unauthorized"),
    (500, "text/html", "<html>", ODD),
    (502, "text/html", "<html>bad gateway</html>", "enclave-broke"),
    (503, "application/problem+json", "{}", "busy"),
];

const KEY_PROBLEM: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#ohttp-key"}"#;

/// An answer of `OpenAI`'s, long enough to be taken for a sealed one.
const OPENAI: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"echo","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"trust me"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const EVENTS: &str = "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"trust me\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Changes of a request's head: method, path, headers, and what the client says of the answer.
#[expect(clippy::type_complexity, reason = "a table")]
const REQUEST_HEADS: [(&str, Method, &str, &[(&str, &str)], &str); 12] = [
    ("the request to the fleet", Method::POST, "/v1/fleet", &[], ODD),
    ("the request to nowhere", Method::POST, "/v2", &[], "not-found"),
    ("the request for evidence", Method::POST, "{base}evidence", &[], "media-type"),
    (
        "the request of a stranger",
        Method::POST,
        "/v1/nodes/00000000000000000000000000000000/ohttp",
        &[],
        "misdirected",
    ),
    ("the request with a query", Method::POST, "{honest}?model=other", &[], ACCEPTED),
    ("the request with GET", Method::GET, "{honest}", &[], ODD),
    ("the request with PUT", Method::PUT, "{honest}", &[], ODD),
    (
        "the request as JSON",
        Method::POST,
        "{honest}",
        &[("content-type", "application/json")],
        "media-type",
    ),
    (
        "the request as compressed",
        Method::POST,
        "{honest}",
        &[("content-encoding", "gzip")],
        ACCEPTED,
    ),
    (
        "the request with headers of ours",
        Method::POST,
        "{honest}",
        &[("veritee-tenant", "0"), ("veritee-binding", "0")],
        ACCEPTED,
    ),
    (
        "the request with another's key",
        Method::POST,
        "{honest}",
        &[("authorization", "Bearer x")],
        ACCEPTED,
    ),
    (
        "the request with an expectation",
        Method::POST,
        "{honest}",
        &[("expect", "100-continue")],
        ACCEPTED,
    ),
];
