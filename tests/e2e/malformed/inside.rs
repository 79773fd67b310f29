//! What is wrong with the request that is sealed: told inside the seal, by the field where it is about one.

use attestation::Secret;
use channel::{Fields, names};
use serde_json::Value;
use tests::octets::{post_json, talk};

use super::{MARK, Servers};

/// For each parameter of the `OpenAI` API values that it does not take.
const WRONG: [(&str, &[&str]); 30] = [
    ("model", &["1", "null", "[]", "{}", "\"\"", "\"no-such-model\""]),
    ("messages", &["1", "\"x\"", "{}", "[]", "null", "[1]", "[[]]", "[null]", "[{}]"]),
    ("temperature", &["\"1\"", "true", "[]", "{}", "-1", "3", "1e999", "-1e999"]),
    ("top_p", &["\"1\"", "true", "[]", "{}", "-0.1", "1.1", "1e999"]),
    ("top_k", &["\"1\"", "true", "[]", "1.5", "-1", "99999999999999999999999"]),
    ("seed", &["\"1\"", "true", "[]", "1.5", "99999999999999999999999"]),
    ("max_tokens", &["\"1\"", "true", "[]", "1.5", "-1", "1e999"]),
    ("max_completion_tokens", &["\"1\"", "true", "{}", "1.5", "-1"]),
    ("stop", &["1", "true", "{}", "[1]", "[[]]", "\"\"", "[\"a\",\"b\",\"c\",\"d\",\"e\"]"]),
    ("stream", &["\"true\"", "1", "[]", "{}"]),
    ("stream_options", &["1", "\"x\"", "[]", "{\"include_usage\":true}", "{\"x\":1}"]),
    ("audio", &["{}", "1"]),
    ("frequency_penalty", &["3", "\"0\"", "[]"]),
    ("function_call", &["\"auto\"", "{}"]),
    ("functions", &["[{}]", "1"]),
    ("logit_bias", &["{\"1\":101}", "1"]),
    ("logprobs", &["true", "1"]),
    ("metadata", &["{\"a\":\"b\"}", "1"]),
    ("modalities", &["[\"audio\"]", "1"]),
    ("n", &["0", "9", "\"1\"", "-1", "99999999999999999999999"]),
    ("parallel_tool_calls", &["1", "\"x\""]),
    ("prediction", &["{}"]),
    ("presence_penalty", &["3", "\"0\""]),
    ("reasoning_effort", &["\"high\"", "1"]),
    ("response_format", &["{\"type\":\"json_object\"}", "1"]),
    ("service_tier", &["\"flex\"", "1"]),
    ("store", &["true", "1"]),
    ("tool_choice", &["\"auto\"", "1"]),
    ("tools", &["[{\"type\":\"function\"}]", "1", "{}"]),
    ("top_logprobs", &["1", "\"0\""]),
];

/// The rest of a request, into which one more member is put.
fn body(name: &str, value: &str) -> String {
    let mut members: Vec<String> = vec![format!("\"{name}\":{value}")];
    for (other, usual) in [
        ("model", "\"echo\"".to_owned()),
        ("messages", format!("[{{\"role\":\"user\",\"content\":\"{MARK}\"}}]")),
    ] {
        if other != name {
            members.push(format!("\"{other}\":{usual}"));
        }
    }
    format!("{{{}}}", members.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parameter_of_a_wrong_type_is_named() {
    let servers = Servers::start().await;
    let mut complaints = Vec::new();
    for (name, values) in WRONG {
        for value in values {
            let octets = post_json("/v1/chat/completions", body(name, value).as_bytes());
            let heard = talk(servers.proxy, &octets).await;
            let error = heard.json()["error"].clone();
            let named = error["param"].as_str().is_some_and(|param| param.starts_with(name));
            // What the proxy itself has to read it refuses itself.
            let own = error["code"] == "request-invalid" && ["model", "stream"].contains(&name);
            if !matches!(heard.status, 400 | 404) || !(named || own) {
                complaints.push(format!("{name} = {value}: {} {error}", heard.status));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    servers.assert_unharmed().await;
}

/// Bodies that are no JSON, or JSON to choke on, through the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn json_to_choke_on_is_refused_or_answered() {
    let servers = Servers::start().await;
    let say = |content: &str| {
        format!("{{\"model\":\"echo\",\"messages\":[{{\"role\":\"user\",\"content\":{content}}}]}}")
    };
    let message = format!("{{\"role\":\"user\",\"content\":\"{MARK}\"}}");
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let with = |member: &str| body("user", "\"x\"").replacen('{', &format!("{{{member},"), 1);
    let octets = |text: &[u8]| {
        [b"{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":\"", text, b"\"}]}"]
            .concat()
    };
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("nothing", Vec::new(), &[400]),
        ("no JSON", MARK.into(), &[400]),
        ("half of it", say(&format!("\"{MARK}"))[..40].into(), &[400]),
        ("two of them", (say("\"a\"") + &say("\"a\"")).into(), &[400]),
        ("an array", format!("[\"{MARK}\"]").into(), &[400]),
        ("a text", format!("\"{MARK}\"").into(), &[400]),
        ("brackets without end", "[".repeat(1_900_000).into(), &[400]),
        ("braces without end", "{\"a\":".repeat(300_000).into(), &[400]),
        ("a text as deep", say(&deep(100_000)).into(), &[400]),
        ("an unknown member as deep", with(&format!("\"x\":{}", deep(100_000))).into(), &[400]),
        ("a known member as deep", with(&format!("\"tools\":{}", deep(100_000))).into(), &[400]),
        ("a member twice", with("\"temperature\":1,\"temperature\":1").into(), &[400]),
        ("a model twice", with("\"model\":\"echo\"").into(), &[400]),
        ("a member that nobody has", with(&format!("\"{MARK}\":1")).into(), &[400]),
        (
            "ten thousand members",
            with(&(0..10_000).map(|n| format!("\"x{n}\":1")).collect::<Vec<_>>().join(",")).into(),
            &[400],
        ),
        (
            "a number without end",
            with(&format!("\"temperature\":{}", "9".repeat(100_000))).into(),
            &[400],
        ),
        ("a number of no size", with("\"temperature\":1e99999").into(), &[400]),
        (
            "a mark of the order of octets",
            [b"\xef\xbb\xbf".to_vec(), say("\"a\"").into()].concat(),
            &[400],
        ),
        ("octets of no text", octets(b"\xff\xfe\xc0\x80"), &[400]),
        ("half a character", octets(b"\xf0\x9f\x98"), &[400]),
        ("an encoded surrogate", octets(b"\xed\xa0\x80"), &[400]),
        ("a lone surrogate", octets(br"\ud800"), &[400]),
        ("a surrogate and a letter", octets(br"\ud800\u0041"), &[400]),
        ("the second half first", octets(br"\udc00\ud800"), &[400]),
        ("a bare control character", octets(b"\x01"), &[400]),
        ("an escape that is none", octets(br"\x41"), &[400]),
        ("a zero", octets(br"\u0000"), &[200]),
        ("a pair", octets(br"\ud83d\ude00"), &[200]),
        (
            "thousands of messages",
            format!(
                "{{\"model\":\"echo\",\"messages\":[{}]}}",
                vec![message.as_str(); 20_000].join(",")
            )
            .into(),
            &[200, 400],
        ),
        ("a role that is none", say("\"a\"").replace("user", MARK).into(), &[400]),
        ("content of parts that are none", say("[1]").into(), &[400]),
        (
            "an image",
            say("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]").into(),
            &[400],
        ),
        ("2 MiB and one", vec![b' '; (2 << 20) + 1], &[413]),
    ];
    let mut complaints = Vec::new();
    for (story, body, expected) in cases {
        let heard = talk(servers.proxy, &post_json("/v1/chat/completions", &body)).await;
        let error = &heard.json()["error"];
        let clear = heard.status == 200 || error["message"].is_string();
        if !expected.contains(&heard.status) || !clear {
            complaints.push(format!("{story}: {} {error}", heard.status));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    servers.assert_unharmed().await;
}

/// What our client would never seal, sealed to an attested key and sent past the router.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_inside_the_seal_is_told_inside() {
    let servers = Servers::start().await;
    let client = servers.fleet.client();
    let enclave = client.enclaves().await.unwrap().pop().unwrap();
    let keys = enclave.keys();
    let right = || channel::Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: format!("{}.veritee.invalid", enclave.node_id()),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new()
            .with("content-type", "application/json")
            .unwrap()
            .with(names::BINDING, keys.binding_id().to_string())
            .unwrap()
            .with(names::TENANT, "00".repeat(32))
            .unwrap(),
        content: Secret::new(body("user", "\"x\"").into_bytes()),
        trailers: Fields::new(),
    };
    let content =
        |octets: &[u8]| channel::Request { content: Secret::new(octets.to_vec()), ..right() };
    let path = |path: &str| channel::Request { path: path.to_owned(), ..right() };
    let without = |fields: Fields| channel::Request { fields, ..right() };
    let json = || Fields::new().with("content-type", "application/json").unwrap();
    let binding = keys.binding_id().to_string();
    let bound = |fields: Fields| fields.with(names::BINDING, binding.clone()).unwrap();
    let other = "0".repeat(64);
    let deep = "[".repeat(1_000_000);
    let cases = [
        ("the control", right(), 200),
        ("another path", path(&format!("/v1/{MARK}")), 404),
        ("a path of ours", path("/v1/ohttp"), 404),
        ("a path upwards", path("/v1/../metrics"), 404),
        ("a path with a query", path(&format!("/v1/chat/completions?{MARK}")), 404),
        ("no path", path(""), 404),
        ("another method", channel::Request { method: "DELETE".to_owned(), ..right() }, 405),
        ("a method of nobody", channel::Request { method: MARK.to_owned(), ..right() }, 405),
        (
            "another enclave",
            channel::Request {
                authority: format!("{}.veritee.invalid", "0".repeat(32)),
                ..right()
            },
            421,
        ),
        ("another host", channel::Request { authority: MARK.to_owned(), ..right() }, 421),
        (
            "another media type",
            without(bound(Fields::new().with("content-type", "text/plain").unwrap())),
            415,
        ),
        ("no media type", without(bound(Fields::new())), 415),
        ("no binding", without(json()), 421),
        ("another binding", without(json().with(names::BINDING, other).unwrap()), 421),
        ("a binding that is none", without(json().with(names::BINDING, MARK).unwrap()), 421),
        ("a tenant that is none", without(bound(json()).with(names::TENANT, MARK).unwrap()), 400),
        ("nothing", content(b""), 400),
        ("no JSON", content(MARK.as_bytes()), 400),
        ("octets of no text", content(&[0xff; 4096]), 400),
        ("zeros", content(&[0; 4096]), 400),
        ("brackets without end", content(deep.as_bytes()), 400),
        (
            "a lone surrogate",
            content(br#"{"model":"echo","messages":[{"role":"user","content":"\ud800"}]}"#),
            400,
        ),
        ("a number of no size", content(body("temperature", "1e99999").as_bytes()), 400),
    ];
    let mut complaints = Vec::new();
    for (story, request, expected) in cases {
        let (sealed, pending) = seal::seal(keys.sealing(), &request, servers.fleet.now()).unwrap();
        let heard = talk(servers.fleet.enclaves[0], &post_sealed(&sealed.into_bytes())).await;
        assert_eq!(
            (heard.status, heard.complete),
            (200, true),
            "{story}: sealed inside an outer 200"
        );
        let (mut open, mut events) = (pending.open(), Vec::new());
        open.push(&heard.body, &mut events).unwrap();
        let rest = open.finish().unwrap().events;
        let (mut status, mut said) = (0, Vec::new());
        for event in events.into_iter().chain(rest) {
            match event {
                seal::Event::Head { status: found, .. } => status = found,
                seal::Event::Content(octets) => said.extend(octets),
                _ => {}
            }
        }
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        let clear = status == 200 || said["error"]["message"].is_string();
        if status != expected || !clear {
            complaints.push(format!("{story}: expected {expected}, got {status} {said}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    servers.assert_unharmed().await;
}

/// A sealed request as the router would hand it on.
fn post_sealed(sealed: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/ohttp HTTP/1.1\r\nhost: x\r\ncontent-type: message/ohttp-chunked-req\r\ncontent-length: {}\r\n\r\n",
        sealed.len()
    );
    [head.as_bytes(), sealed].concat()
}
