//! Texts as vectors: whose they are near, that nothing but the text shows in them, and what is refused.
//!
//! `recordings/vectors-*` are llama.cpp's; `record.py` says how they were recorded.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "says what it could not test; helpers panic as tests do"
)]

use std::path::PathBuf;

use attestation::{Secret, Sha256};
use engine::{
    EmbeddedEngine, Embedding, EmbeddingInput, Engine as _, EngineError, EngineOptions,
    FinishReason, Generation, GenerationEvent, Instructions, Message, Order, Request, Role,
    TensorType, VerifiedModel, tiny,
};
use serde::Deserialize;

const OPTIONS: EngineOptions =
    EngineOptions { threads: 2, slots: 8, queue: 64, context: 512, kv_bytes: 1 << 30 };

#[derive(Deserialize)]
struct Recording {
    model_sha256: String,
    texts: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    input: Input,
    vector: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Tokens(Vec<u32>),
}

#[test]
fn vectors_are_llama_cpp_s() {
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        compare(tiny::family(family).unwrap(), &format!("vectors-tiny-{family}"), 0.9995);
    }
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let default = repository.join("target/model/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var("VERITEE_MODEL").map_or(default, PathBuf::from);
    match std::fs::read(path) {
        Ok(bytes) => compare(bytes, "vectors-smollm2", 0.999),
        Err(_) => eprintln!("no VERITEE_MODEL: the tiny models alone are compared"),
    }
}

/// Each vector points where llama.cpp's does, as far as rounding lets it, and is of length 1.
fn compare(model: Vec<u8>, name: &str, nearness: f64) {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{name}.json"));
    let recording: Recording = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let digest = Sha256::of(&model);
    assert_eq!(digest.to_string(), recording.model_sha256, "{name}: another model was recorded");
    let engine =
        EmbeddedEngine::load(VerifiedModel::check(model, digest.0).unwrap(), OPTIONS).unwrap();
    let inputs = recording.texts.iter().map(|text| match &text.input {
        Input::Text(text) => EmbeddingInput::Text(Secret::new(text.clone())),
        Input::Tokens(tokens) => EmbeddingInput::Tokens(Secret::new(tokens.clone())),
    });
    let vectors = vectors(&engine, inputs.collect());
    assert_eq!(vectors.len(), recording.texts.len());
    let mut least = 1.0_f64;
    for (vector, recorded) in vectors.iter().zip(&recording.texts) {
        assert_eq!(vector.len(), recorded.vector.len());
        let ours: Vec<f64> = vector.iter().copied().map(f64::from).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((dot(&ours, &ours) - 1.0).abs() < 1e-5);
        least = least.min(dot(&ours, &recorded.vector));
    }
    assert!(least > nearness, "{name}: {least}");
    // Of two texts each vector is nearest to its own, or nearness would say nothing.
    for (at, vector) in vectors.iter().enumerate() {
        let near = |recorded: &Recorded| {
            vector.iter().zip(&recorded.vector).map(|(a, b)| f64::from(*a) * b).sum::<f64>()
        };
        let own = near(&recording.texts[at]);
        let other = recording.texts.iter().enumerate().filter(|(other, _)| *other != at);
        assert!(other.map(|(_, other)| near(other)).all(|other| other < own), "{name}: {at}");
    }
}

#[test]
fn threads_company_and_instructions_do_not_show() {
    let text = || tokens(&[5, 9, 200, 17, 3, 3, 80]);
    let long = || tokens(&(0..400).map(|at| 3 + at % 250).collect::<Vec<u32>>());
    let alone = vectors(&engine(OPTIONS), vec![text()]).remove(0);
    for instructions in Instructions::available() {
        for threads in [1, 3] {
            let options = EngineOptions { threads, ..OPTIONS };
            let engine = EmbeddedEngine::load_for(tiny_model(), options, instructions).unwrap();
            // Conversations beside it, and other texts before and after.
            let beside: Vec<_> = (0..3).map(|_| start(&engine)).collect();
            let all = vectors(&engine, vec![long(), text(), long(), text()]);
            assert_eq!((&all[1], &all[3]), (&alone, &alone), "{instructions:?}, {threads}");
            assert_ne!(all[0], alone);
            drop(beside);
        }
    }
}

#[test]
fn a_crowd_of_texts_keeps_nobody_s_prompt_waiting() {
    let engine = engine(OPTIONS);
    let long = || tokens(&[7; 500]);
    let mut crowd = engine.embed(embedding((0..200).map(|_| long()).collect())).unwrap();
    let mut other = start(&engine);
    assert!(matches!(other.events.blocking_recv(), Some(GenerationEvent::Delta(..))));
    let mut told = 0;
    while crowd.events.try_recv().is_ok() {
        told += 1;
    }
    assert!(told < 20, "{told} texts came before the first word of an answer");
}

#[test]
fn who_leaves_frees_the_place() {
    let options = EngineOptions { slots: 1, queue: 0, ..OPTIONS };
    let engine = engine(options);
    let crowd = embedding((0..2048).map(|_| tokens(&[7; 500])).collect());
    drop(engine.embed(crowd).unwrap());
    // It would take minutes; a queue of none holds nobody.
    let kept = loop {
        match engine.embed(embedding(vec![tokens(&[1])])) {
            Ok(generation) => break generation,
            Err(EngineError::Busy { .. } | EngineError::TenantBusy { .. }) => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(read(kept).map(|vectors| vectors.len()), Ok(1));
}

#[test]
fn what_cannot_be_a_vector_is_refused_before_any_work() {
    let engine = engine(OPTIONS);
    let text = |text: &str| EmbeddingInput::Text(Secret::new(text.to_owned()));
    for inputs in [
        vec![],
        vec![text("")],
        vec![tokens(&[])],
        vec![tokens(&[1]), tokens(&[1_000_000])],
        (0..2049).map(|_| tokens(&[1])).collect(),
    ] {
        let error = engine.embed(embedding(inputs)).map(drop);
        assert!(matches!(error, Err(EngineError::BadRequest { field: "input", .. })), "{error:?}");
    }
    assert_eq!(
        vectors(&engine, vec![tokens(&[7; 512])]).len(),
        1,
        "a text alone may fill the context"
    );
    let error = engine.embed(embedding(vec![tokens(&[1]), tokens(&[7; 513])])).map(drop);
    assert_eq!(error, Err(EngineError::ContextTooLong { prompt_tokens: 513, limit: 512 }));
    let error = engine.embed(embedding(vec![text(&"x ".repeat(1 << 20))])).map(drop);
    assert!(matches!(error, Err(EngineError::ContextTooLong { limit: 512, .. })), "{error:?}");
}

#[test]
fn what_is_read_is_counted() {
    let engine = engine(OPTIONS);
    let generation =
        engine.embed(embedding(vec![tokens(&[4, 5, 6]), tokens(&[7]), tokens(&[8, 9])])).unwrap();
    assert_eq!(generation.prompt_tokens, 6);
}

fn tiny_model() -> VerifiedModel {
    let bytes = tiny::model(TensorType::Q8_0);
    let digest = Sha256::of(&bytes).0;
    VerifiedModel::check(bytes, digest).unwrap()
}

fn engine(options: EngineOptions) -> EmbeddedEngine {
    EmbeddedEngine::load(tiny_model(), options).unwrap()
}

fn tokens(tokens: &[u32]) -> EmbeddingInput {
    EmbeddingInput::Tokens(Secret::new(tokens.to_vec()))
}

const fn embedding(inputs: Vec<EmbeddingInput>) -> Embedding {
    Embedding { inputs, tenant: [1; 32] }
}

/// A conversation of another tenant's.
fn start(engine: &EmbeddedEngine) -> Generation {
    let message = Message::new(Role::User, Secret::new("hello ".repeat(8)));
    let order = Order { max_tokens: Some(100), tenant: [2; 32], ..Order::default() };
    engine.start(Request::new(vec![message], order)).unwrap()
}

fn vectors(engine: &EmbeddedEngine, inputs: Vec<EmbeddingInput>) -> Vec<Vec<f32>> {
    read(engine.embed(embedding(inputs)).unwrap()).unwrap()
}

fn read(mut generation: Generation) -> Result<Vec<Vec<f32>>, EngineError> {
    let mut vectors = Vec::new();
    loop {
        match generation.events.blocking_recv().unwrap() {
            GenerationEvent::Vector(vector) => vectors.push(vector.expose().clone()),
            GenerationEvent::Finished { reason, completion_tokens } => {
                assert_eq!((reason, completion_tokens), (FinishReason::Stop, 0));
                return Ok(vectors);
            }
            GenerationEvent::Failed(error) => return Err(error),
            other @ (GenerationEvent::Delta(..) | GenerationEvent::Call(..)) => {
                panic!("{other:?}")
            }
        }
    }
}
