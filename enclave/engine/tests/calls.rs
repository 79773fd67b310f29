//! Calls of functions: made where they must be, held to their schemas, told in pieces.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "says what it could not test; helpers panic as tests do"
)]

use attestation::{Secret, Sha256};
use engine::{
    EmbeddedEngine, Engine as _, EngineError, EngineOptions, FinishReason, Format, Generation,
    GenerationEvent, Message, Order, Request, Role, Sampling, TensorType, Tool, ToolChoice, Tools,
    VerifiedModel, tiny,
};
use serde_json::{Value, json};

const OPTIONS: EngineOptions =
    EngineOptions { threads: 2, slots: 8, queue: 64, context: 1024, kv_bytes: 1 << 30 };
const HOT: Sampling = Sampling { temperature: 1.5, ..Sampling::GREEDY };

/// A tiny model with room for descriptions of functions.
fn tiny_engine() -> EmbeddedEngine {
    let mut bytes = tiny::model(TensorType::Q8_0);
    // Its context, wherever the file says it.
    let key = b"llama.context_length";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&2048_u32.to_le_bytes());
    load(bytes, EngineOptions { context: 2048, ..OPTIONS })
}

fn load(bytes: Vec<u8>, options: EngineOptions) -> EmbeddedEngine {
    let digest = Sha256::of(&bytes).0;
    EmbeddedEngine::load(VerifiedModel::check(bytes, digest).unwrap(), options).unwrap()
}

fn tools(choice: ToolChoice, parallel: bool) -> Tools {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        description: None,
        parameters: Secret::new(parameters.to_string()),
    };
    let sky = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 6},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
        },
        "required": ["city", "days"],
        "additionalProperties": false,
    });
    let off = json!({"properties": {}, "additionalProperties": false});
    Tools { offered: vec![tool("get_sky", sky), tool("off", off)], choice, parallel }
}

fn request(tools: Tools, sampling: Sampling) -> Request {
    let said = Secret::new("What is the weather in Paris?".to_owned());
    let order = Order { sampling, max_tokens: Some(300), ..Order::default() };
    Request { tools, ..Request::new(vec![Message::new(Role::User, said)], order) }
}

struct Seen {
    text: String,
    calls: Vec<(String, String)>,
    pieces: usize,
    reason: FinishReason,
}

fn read(mut generation: Generation) -> Seen {
    let (mut text, mut calls, mut pieces) = (String::new(), Vec::<(String, String)>::new(), 0);
    loop {
        match generation.events.blocking_recv().unwrap() {
            GenerationEvent::Delta(delta, ..) => {
                assert!(calls.is_empty(), "no text comes after a call");
                text.push_str(delta.expose());
            }
            GenerationEvent::Call(delta, _) => {
                if let Some(name) = delta.name {
                    calls.push((name, String::new()));
                }
                assert_eq!(usize::try_from(delta.index).unwrap() + 1, calls.len());
                calls.last_mut().unwrap().1.push_str(delta.arguments.expose());
                pieces += usize::from(!delta.arguments.expose().is_empty());
            }
            GenerationEvent::Finished { reason, .. } => {
                return Seen { text, calls, pieces, reason };
            }
            GenerationEvent::Vector(_) => panic!("no vector was asked for"),
            GenerationEvent::Failed(error) => panic!("{error}"),
        }
    }
}

fn fits((name, arguments): &(String, String)) {
    let arguments: Value =
        serde_json::from_str(arguments).unwrap_or_else(|why| panic!("{why}: {arguments}"));
    let arguments = arguments.as_object().unwrap();
    match name.as_str() {
        "off" => assert!(arguments.is_empty()),
        "get_sky" => {
            assert_eq!(arguments.len(), 2);
            assert!(arguments["city"].as_str().unwrap().chars().count() <= 6);
            assert!((1..=9).contains(&arguments["days"].as_i64().unwrap()));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn who_must_call_calls_and_every_call_fits_its_schema() {
    let mut engines = vec![(tiny_engine(), 24)];
    match std::env::var("VERITEE_MODEL").ok().and_then(|path| std::fs::read(path).ok()) {
        Some(bytes) => engines.push((load(bytes, OPTIONS), 6)),
        None => eprintln!("no VERITEE_MODEL: the tiny model alone is asked"),
    }
    for (engine, seeds) in engines {
        for (choice, parallel) in [
            (ToolChoice::Required, false),
            (ToolChoice::Required, true),
            (ToolChoice::Named("get_sky".to_owned()), false),
        ] {
            let (mut ended, mut several) = (0, 0);
            let running: Vec<_> = (0..seeds)
                .map(|seed| {
                    let tools = tools(choice.clone(), parallel);
                    engine.start(request(tools, Sampling { seed, ..HOT })).unwrap()
                })
                .collect();
            for seen in running.into_iter().map(read) {
                assert_eq!(seen.text, "");
                if seen.reason == FinishReason::Length {
                    continue;
                }
                assert_eq!(seen.reason, FinishReason::ToolCalls);
                assert!(!seen.calls.is_empty() && (parallel || seen.calls.len() == 1));
                assert!(seen.calls.len() <= 16);
                seen.calls.iter().for_each(fits);
                if choice != ToolChoice::Required {
                    assert_eq!(seen.calls[0].0, "get_sky");
                    assert!(seen.pieces > 3, "arguments come as they are made");
                }
                ended += 1;
                several += usize::from(seen.calls.len() > 1);
            }
            assert!(ended * 2 > seeds, "{choice:?}: {ended}");
            assert!(!parallel || several > 0 || seeds < 10, "nobody called twice");
        }
    }
}

#[test]
fn who_may_call_is_held_to_the_form_from_the_mark_on() {
    let engine = tiny_engine();
    let letter = |wanted: &str| {
        let all = 0..u32::try_from(engine.tokenizer().vocabulary()).unwrap();
        let mut found = all.filter(|token| engine.tokenizer().bytes(*token) == wanted.as_bytes());
        found.next().unwrap()
    };
    let (mut called, mut said) = (0, 0);
    for seed in 0..40 {
        let mut asked = request(tools(ToolChoice::Auto, false), Sampling { seed, ..HOT });
        asked.order.max_tokens = Some(200);
        if seed % 2 == 0 {
            // A model that writes little but the mark: each of its letters, but no other.
            let mark = ["<", "t", "o", "l", "_", "c", "a", ">"];
            asked.order.bias = mark.iter().map(|wanted| (letter(wanted), 40.0)).collect();
            asked.order.sampling.temperature = 2.0;
            asked.order.sampling.frequency_penalty = 2.0;
            asked.order.max_tokens = Some(1200);
        }
        let seen = read(engine.start(asked).unwrap());
        match seen.reason {
            FinishReason::ToolCalls => {
                assert_eq!(seen.calls.len(), 1);
                fits(&seen.calls[0]);
                called += 1;
            }
            FinishReason::Stop | FinishReason::Length => said += 1,
        }
        assert!(!seen.text.contains("<tool_call>"));
    }
    assert!(said > 0);
    eprintln!("{called} of 40 called");
}

#[test]
fn an_answer_in_json_or_calls_is_one_of_the_two() {
    let engine = tiny_engine();
    let (mut texts, mut calls) = (0, 0);
    for seed in 0..32 {
        let mut asked = request(tools(ToolChoice::Auto, true), Sampling { seed, ..HOT });
        let schema = json!({"type": "object", "properties": {"a": {"const": "<tool_call>"}},
            "required": ["a"], "additionalProperties": false});
        asked.order.format = Format::Schema(Secret::new(schema.to_string()));
        let seen = read(engine.start(asked).unwrap());
        match seen.reason {
            FinishReason::Stop => {
                assert_eq!(seen.text, r#"{"a": "<tool_call>"}"#);
                texts += 1;
            }
            FinishReason::ToolCalls => {
                assert_eq!(seen.text, "");
                seen.calls.iter().for_each(fits);
                calls += 1;
            }
            FinishReason::Length => {}
        }
    }
    assert!(texts > 0 && calls > 0, "{texts} {calls}");
}

#[test]
fn functions_that_cannot_be_offered_are_refused() {
    let engine = tiny_engine();
    let field = |change: &dyn Fn(&mut Request)| {
        let mut asked = request(tools(ToolChoice::Auto, true), HOT);
        change(&mut asked);
        match engine.start(asked).map(drop) {
            Err(EngineError::BadRequest { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let parameters = |text: &'static str| {
        move |r: &mut Request| r.tools.offered[0].parameters = Secret::new(text.to_owned())
    };
    assert_eq!(field(&parameters("[]")), "tools");
    assert_eq!(field(&parameters(r#"{"type":"string"}"#)), "tools");
    assert_eq!(field(&parameters(r#"{"not":{}}"#)), "tools");
    assert_eq!(field(&|r| r.tools.offered[1].name = "get_sky".to_owned()), "tools");
    assert_eq!(field(&|r| r.tools.choice = ToolChoice::Named("on".to_owned())), "tool_choice");
    assert_eq!(field(&|r| r.order.logprobs = Some(1)), "logprobs");
    // Nobody is told of functions that must not be called.
    let mut asked = request(tools(ToolChoice::None, true), HOT);
    asked.order.logprobs = Some(1);
    assert!(engine.start(asked).is_ok());
}
