//! The default model against llama.cpp's recordings: template, tokenizer and greedy tokens.
//!
//! Reads `VERITEE_VECTORS` (default: `shared/vectors` beside the repository) and the model named by
//! `VERITEE_MODEL` (default: `target/model/` in the repository). Where either is absent the test
//! says so; `tiny.rs` and the unit tests carry recordings of their own.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "says what it could not test; helpers panic as tests do"
)]

use std::path::PathBuf;
use std::time::Duration;

use attestation::Secret;
use engine::{
    Controls, EmbeddedEngine, EngineError, EngineOptions, Instructions, Message, Role, Sampling,
    VerifiedModel,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recordings {
    meta: Meta,
    chat: Vec<Chat>,
    tokenize: Vec<Tokenized>,
}

#[derive(Deserialize)]
struct Meta {
    model_sha256: String,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Turn>,
    prompt: String,
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    top2_logprob_gap: Vec<f64>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Tokenized {
    text: String,
    tokens: Vec<u32>,
    tokens_plain: Vec<u32>,
}

#[test]
fn the_default_model_speaks_as_it_does_in_llama_cpp() {
    let Some((recordings, model)) = load() else { return };
    let expected = recordings.meta.model_sha256.parse::<attestation::Sha256>().unwrap().0;
    let load = |threads, instructions| {
        let model = VerifiedModel::check(model.clone(), expected).unwrap();
        let options = EngineOptions {
            threads,
            slots: 12,
            queue: 12,
            context: 512,
            ..EngineOptions::default()
        };
        EmbeddedEngine::load_for(model, options, instructions).unwrap()
    };
    let engine = load(2, Instructions::best());

    for Tokenized { text, tokens, tokens_plain } in &recordings.tokenize {
        assert_eq!(*engine.tokenizer().encode(text, Controls::Parsed), *tokens, "{text:?}");
        assert_eq!(*engine.tokenizer().encode(text, Controls::Inert), *tokens_plain, "{text:?}");
    }
    for chat in &recordings.chat {
        let prompt = engine.prompt(&messages(chat)).unwrap();
        assert_eq!(*prompt.expose(), chat.prompt);
        assert_eq!(
            *engine.tokenizer().encode(prompt.expose(), Controls::Parsed),
            chat.prompt_tokens
        );
    }

    // One after the other, then all at once on other threads and instructions: the same, and right.
    let run = |engine: &EmbeddedEngine, chat: &Chat| {
        let count = u32::try_from(chat.tokens.len()).unwrap();
        engine.continue_tokens(&chat.prompt_tokens, Sampling::GREEDY, count).unwrap()
    };
    let mut alone = Vec::new();
    for chat in &recordings.chat {
        let tokens: Vec<u32> = run(&engine, chat).iter().collect();
        let sure = chat
            .top2_logprob_gap
            .iter()
            .position(|gap| *gap < NEAR_TIE)
            .unwrap_or(chat.tokens.len());
        let agree =
            tokens.iter().zip(&chat.tokens).take_while(|(ours, theirs)| ours == theirs).count();
        let question = &chat.messages[0].content;
        assert!(agree >= sure, "{question:?}: step {agree} differs; steps before {sure} are sure");
        alone.push(tokens);
    }
    agrees_at_clear_steps(&engine, &recordings);
    drop(engine);
    let slowest = Instructions::available().into_iter().rfind(|set| *set != Instructions::Portable);
    for (threads, instructions) in
        [(1, Instructions::best()), (3, slowest.unwrap_or(Instructions::best()))]
    {
        let engine = load(threads, instructions);
        let together: Vec<_> = recordings.chat.iter().map(|chat| run(&engine, chat)).collect();
        let together: Vec<Vec<u32>> =
            together.into_iter().map(|tokens| tokens.iter().collect()).collect();
        assert_eq!(together, alone, "{threads} threads, {instructions:?}");
    }
}

/// After llama.cpp's own words, the next one is the same wherever llama.cpp was clear about it.
///
/// This looks at every fifth step of all answers, beyond the first near tie too, and it is the test
/// of accuracy: two correct engines with 8-bit activations differ in these gaps by about 0.2 (root
/// mean square), because roundings that fall the other way add up over the layers.
fn agrees_at_clear_steps(engine: &EmbeddedEngine, recordings: &Recordings) {
    let mut asked = Vec::new();
    for chat in &recordings.chat {
        for (step, gap) in chat.top2_logprob_gap.iter().enumerate().step_by(5) {
            if *gap < CLEAR {
                continue;
            }
            let prompt = [&chat.prompt_tokens, &chat.tokens[..step]].concat();
            let next = loop {
                match engine.continue_tokens(&prompt, Sampling::GREEDY, 1) {
                    Ok(next) => break next,
                    Err(EngineError::Busy { .. } | EngineError::TenantBusy { .. }) => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            asked.push((chat.tokens[step], next));
        }
    }
    assert!(asked.len() > 40, "only {} steps were compared", asked.len());
    for (expected, next) in asked {
        assert_eq!(next.recv().unwrap(), expected);
    }
}

fn messages(chat: &Chat) -> Vec<Message> {
    let message = |turn: &Turn| {
        Message::new(Role::parse(&turn.role).unwrap(), Secret::new(turn.content.clone()))
    };
    chat.messages.iter().map(message).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment where the recordings are"
)]
fn load() -> Option<(Recordings, Vec<u8>)> {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let vectors = std::env::var("VERITEE_VECTORS")
        .map_or_else(|_| repository.join("../shared/vectors"), PathBuf::from);
    let default = repository.join("target/model/SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = std::env::var("VERITEE_MODEL").map_or(default, PathBuf::from);
    let recordings = vectors.join("engine/llama-cpp-greedy.json");
    let (Ok(recordings), Ok(model)) = (std::fs::read(&recordings), std::fs::read(&model)) else {
        eprintln!(
            "not compared with llama.cpp: {} or {} is absent",
            recordings.display(),
            model.display()
        );
        return None;
    };
    Some((serde_json::from_slice(&recordings).unwrap(), model))
}

/// The gap (of the two best log-probabilities) below which the recordings' page expects no equality.
const NEAR_TIE: f64 = 0.05;
/// Four times the difference that two correct engines show.
const CLEAR: f64 = 0.8;
