//! Answers that are held to a form: what ends by itself has it, whatever the draw.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "says what it could not test; helpers panic as tests do"
)]

use std::collections::BTreeMap;

use attestation::{Secret, Sha256};
use engine::{
    EmbeddedEngine, Engine as _, EngineError, EngineOptions, FinishReason, Format, Generation,
    GenerationEvent, Instructions, Message, Order, Request, Role, Sampling, TensorType,
    VerifiedModel, tiny,
};
use serde::Deserialize;
use serde_json::{Value, json};

const OPTIONS: EngineOptions =
    EngineOptions { threads: 2, slots: 8, queue: 64, context: 512, kv_bytes: 1 << 30 };
const HOT: Sampling = Sampling { temperature: 1.5, ..Sampling::GREEDY };

fn tiny_engine() -> EmbeddedEngine {
    let bytes = tiny::model(TensorType::Q8_0);
    let digest = Sha256::of(&bytes).0;
    EmbeddedEngine::load(VerifiedModel::check(bytes, digest).unwrap(), OPTIONS).unwrap()
}

/// The tiny model, and the default one where it is.
fn engines() -> Vec<EmbeddedEngine> {
    let mut engines = vec![tiny_engine()];
    let path = std::env::var("VERITEE_MODEL");
    match path.ok().and_then(|path| std::fs::read(path).ok()) {
        Some(bytes) => {
            let digest = Sha256::of(&bytes).0;
            let model = VerifiedModel::check(bytes, digest).unwrap();
            engines.push(EmbeddedEngine::load(model, OPTIONS).unwrap());
        }
        None => eprintln!("no VERITEE_MODEL: the tiny model alone is asked"),
    }
    engines
}

fn request(format: Format, sampling: Sampling, max_tokens: u32) -> Request {
    let said = Secret::new("Describe a person as JSON.".to_owned());
    let order = Order { sampling, format, max_tokens: Some(max_tokens), ..Order::default() };
    Request::new(vec![Message::new(Role::User, said)], order)
}

fn schema(schema: &Value) -> Format {
    Format::Schema(Secret::new(schema.to_string()))
}

fn read(mut generation: Generation) -> (String, Result<FinishReason, EngineError>) {
    let mut text = String::new();
    loop {
        match generation.events.blocking_recv().unwrap() {
            GenerationEvent::Delta(delta, ..) => text.push_str(delta.expose()),
            GenerationEvent::Call(call, _) => panic!("{call:?}"),
            GenerationEvent::Vector(_) => panic!("no vector was asked for"),
            GenerationEvent::Finished { reason, .. } => return (text, Ok(reason)),
            GenerationEvent::Failed(error) => return (text, Err(error)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    name: String,
    age: u32,
    mood: Mood,
    born: Option<String>,
    friends: Vec<Friend>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Glad,
    Sad,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Friend {
    nick: String,
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8, "title": "Name"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "mood": {"enum": ["glad", "sad"]},
            "born": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "friends": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/Friend"}},
        },
        "required": ["name", "age", "mood", "born", "friends"],
        "additionalProperties": false,
        "$defs": {"Friend": {
            "type": "object",
            "properties": {"nick": {"type": "string", "pattern": "^[a-c]{2}$"}},
            "required": ["nick"],
            "additionalProperties": false,
        }},
    })
}

fn is_person(text: &str) {
    let person: Person = serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let Person { name, age, mood: Mood::Glad | Mood::Sad, born, friends } = person;
    assert!((1..=8).contains(&name.chars().count()) && age <= 150 && friends.len() <= 2, "{text}");
    assert!(born.is_none_or(|day| day.len() == 10 && day.as_bytes()[4] == b'-'), "{text}");
    let is_nick = |nick: &str| nick.len() == 2 && nick.bytes().all(|c| matches!(c, b'a'..=b'c'));
    assert!(friends.iter().all(|friend| is_nick(&friend.nick)), "{text}");
}

#[test]
fn what_ends_by_itself_is_valid_however_hot_the_draw() {
    for engine in engines() {
        let mut ends = 0;
        let ask = |seed: u64| {
            let mut request = request(schema(&person()), Sampling { seed, ..HOT }, 300);
            // What would break the form: every brace is banned, and letters are wanted.
            if seed % 2 == 1 {
                let tokens = 0..u32::try_from(engine.tokenizer().vocabulary()).unwrap();
                let braces = tokens.filter(|token| {
                    engine.tokenizer().bytes(*token).iter().any(|octet| b"{}\",".contains(octet))
                });
                request.order.bias = braces.take(300).map(|token| (token, -100.0)).collect();
                request.order.sampling.frequency_penalty = 2.0;
            }
            engine.start(request).unwrap()
        };
        let seeds = if engine.tokenizer().vocabulary() < 1000 { 64 } else { 16 };
        for seeds in (0..seeds).collect::<Vec<u64>>().chunks(8) {
            let running: Vec<_> = seeds.iter().map(|seed| ask(*seed)).collect();
            for (text, end) in running.into_iter().map(read) {
                match end.unwrap() {
                    FinishReason::Stop => {
                        is_person(&text);
                        ends += 1;
                    }
                    FinishReason::Length => {}
                    FinishReason::ToolCalls => panic!("{text}"),
                }
            }
        }
        assert!(ends > 8, "only {ends} ended");
    }
}

#[test]
fn a_json_object_is_an_object_and_of_nothing_but_json() {
    for engine in engines() {
        let mut ends = 0;
        let seeds = if engine.tokenizer().vocabulary() < 1000 { 48 } else { 8 };
        for seeds in (0..seeds).collect::<Vec<u64>>().chunks(8) {
            let running: Vec<_> = seeds
                .iter()
                .map(|seed| {
                    let sampling = Sampling { seed: *seed, ..HOT };
                    engine.start(request(Format::Object, sampling, 300)).unwrap()
                })
                .collect();
            for (text, end) in running.into_iter().map(read) {
                assert!(text.starts_with('{'), "{text}");
                if end.unwrap() == FinishReason::Stop {
                    let parsed: Result<BTreeMap<String, Value>, _> = serde_json::from_str(&text);
                    parsed.unwrap_or_else(|why| panic!("{why}: {text}"));
                    ends += 1;
                }
            }
        }
        assert!(ends > 0, "none ended");
    }
}

#[test]
fn the_form_is_the_same_in_any_company() {
    let mut alone = None;
    for instructions in Instructions::available() {
        for (threads, slots) in [(1, 1), (2, 8)] {
            let bytes = tiny::model(TensorType::Q4_1);
            let digest = Sha256::of(&bytes).0;
            let options = EngineOptions { threads, slots, ..OPTIONS };
            let model = VerifiedModel::check(bytes, digest).unwrap();
            let engine = EmbeddedEngine::load_for(model, options, instructions).unwrap();
            let running: Vec<_> = (0..6)
                .map(|seed| {
                    let format = if seed % 2 == 0 { schema(&person()) } else { Format::Text };
                    engine.start(request(format, Sampling { seed, ..HOT }, 120)).unwrap()
                })
                .collect();
            let texts: Vec<String> = running.into_iter().map(|each| read(each).0).collect();
            assert_eq!(*alone.get_or_insert_with(|| texts.clone()), texts, "{instructions:?}");
        }
    }
}

type Valid = fn(&Value) -> bool;

/// What zod writes beside `uuid`, `date-time` and `email`.
const ZOD: [&str; 3] = [
    concat!(
        "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}",
        "|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$"
    ),
    concat!(
        r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29",
        r"|\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)",
        r"|(?:02)-(?:0[1-9]|1\d|2[0-8])))T(?:(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z))$"
    ),
    r"^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
];

#[test]
fn other_schemas_are_held_to() {
    let engine = tiny_engine();
    let cases: [(Value, Valid); 13] = [
        (json!({"type": "boolean"}), |v| v.is_boolean()),
        (json!({"const": {"a": [1, "ä\u{1f600}"]}}), |v| *v == json!({"a": [1, "ä\u{1f600}"]})),
        (json!({"type": "integer", "multipleOf": 5, "minimum": -20, "maximum": 20}), |v| {
            // -0 is one too, and no i64.
            v.as_f64().is_some_and(|n| (n % 5.0).abs() < f64::EPSILON && n.abs() <= 20.0)
        }),
        (json!({"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}), |v| {
            v.as_f64().is_some_and(|n| (0.5..2.0).contains(&n))
        }),
        (
            json!({"type": "array", "minItems": 2, "maxItems": 3, "prefixItems": [{"const": 1}],
            "items": {"type": "null"}}),
            |v| *v == json!([1, null]) || *v == json!([1, null, null]),
        ),
        // A list that may end at once, of itself.
        (
            json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["next"], "additionalProperties": false}),
            |v| v.as_object().is_some_and(|v| v.len() == 1 && v.contains_key("next")),
        ),
        (json!({"type": "string", "format": "date-time"}), |v| {
            v.as_str().is_some_and(|v| v.len() >= 20 && v.as_bytes()[10] == b'T')
        }),
        // Both hold: a day that there is, and in February.
        (json!({"type": "string", "format": "date", "pattern": "^[0-9]*-02-[0-9]*$"}), |v| {
            v.as_str().is_some_and(|v| v.len() == 10 && v.get(4..8) == Some("-02-"))
                && v.as_str().is_some_and(|v| v[8..].parse::<u8>().unwrap() <= 29)
        }),
        (json!({"type": ["string", "null"], "format": "date", "pattern": "^2"}), |v| {
            v.is_null() || v.as_str().is_some_and(|v| v.len() == 10 && v.starts_with('2'))
        }),
        // As zod writes them.
        (json!({"type": "string", "format": "uuid", "pattern": ZOD[0]}), |v| {
            v.as_str().is_some_and(|v| v.len() == 36 && b"012345678f".contains(&v.as_bytes()[14]))
        }),
        (json!({"type": "string", "format": "date-time", "pattern": ZOD[1]}), |v| {
            v.as_str().is_some_and(|v| v.len() >= 20 && v.ends_with('Z'))
        }),
        (json!({"type": "string", "format": "email", "pattern": ZOD[2]}), |v| {
            v.as_str().and_then(|v| v.split_once('@')).is_some_and(|(who, at)| {
                (1..=62).contains(&who.len()) && at.contains('.') && at.len() <= 150
            })
        }),
        (json!({"oneOf": [{"type": "string", "maxLength": 2}, {"type": "boolean"}]}), |v| {
            v.is_boolean() || v.as_str().is_some_and(|v| v.chars().count() <= 2)
        }),
    ];
    for (given, valid) in cases {
        let mut ends = 0;
        for seed in 0..12 {
            let asked = request(schema(&given), Sampling { seed, ..HOT }, 200);
            let (text, end) =
                read(engine.start(asked).unwrap_or_else(|why| panic!("{why}: {given}")));
            if end.unwrap() == FinishReason::Stop {
                let value: Value = serde_json::from_str(&text).unwrap();
                assert!(valid(&value), "{given} {text}");
                ends += 1;
            }
        }
        assert!(ends > 0, "{given}");
    }
}

#[test]
fn what_cannot_be_held_to_is_refused_at_the_door() {
    let engine = tiny_engine();
    let deep = |open: &str, close: &str| {
        serde_json::from_str(&format!("{}true{}", open.repeat(24), close.repeat(24))).unwrap()
    };
    let names: Vec<Value> = (0..900).map(|n| json!({"const": format!("{n}")})).collect();
    for given in [
        json!({"not": {"type": "string"}}),
        json!({"type": "teapot"}),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"type": "string", "pattern": "(a"}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"oneOf": [{"type": "object"}, {"type": "object"}]}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
        json!({"enum": []}),
    ] {
        match engine.start(request(schema(&given), HOT, 10)).map(drop) {
            Err(EngineError::BadRequest { field: "response_format", .. }) => {}
            other => panic!("{other:?}: {given}"),
        }
    }
    // What is merely much is refused or held to, and ends.
    for given in [
        deep(r#"{"items":"#, "}"),
        deep(r#"{"anyOf":[{"type":"null"},"#, "]}"),
        deep(r#"{"allOf":[{"type":"array"},"#, "]}"),
        deep(r#"{"properties":{"a":"#, "}}"),
        json!({"anyOf": names}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        json!({"allOf": vec![json!({"$ref": "#/$defs/a"}); 300], "$defs": {"a": {"type": "null"}}}),
        json!({"type": "string", "pattern": "^(((a{1,99}b?){1,99}c?){1,99}){1,99}$"}),
        json!({"type": "string", "pattern": "(.*a){30}.{200}b"}),
        json!({"type": "string", "minLength": 9999, "maxLength": 10000}),
        json!({"type": "array", "minItems": 999, "items": {"type": "array", "minItems": 999}}),
        json!({"type": "object", "minProperties": 900}),
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]},
            "b": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
        }}),
    ] {
        if let Ok(generation) = engine.start(request(schema(&given), HOT, 10)) {
            match read(generation).1 {
                Ok(_) | Err(EngineError::BadRequest { .. }) => {}
                Err(other) => panic!("{other}: {given}"),
            }
        }
    }
    let mut stopped = request(Format::Object, HOT, 10);
    stopped.order.stop = vec!["x".to_owned()];
    let refused = engine.start(stopped).map(drop).unwrap_err();
    assert!(matches!(refused, EngineError::BadRequest { field: "stop", .. }));
}
