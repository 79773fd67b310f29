//! The embedded engine on the tiny model: what it says, and how it behaves among many.
#![expect(clippy::unwrap_used, reason = "a test's helpers panic as its tests do")]

use std::time::Duration;

use attestation::{Secret, Sha256};
use engine::{
    Controls, EmbeddedEngine, Engine as _, EngineError, EngineOptions, FinishReason, Generation,
    GenerationEvent, Instructions, LoadError, Message, Order, Request, Role, Sampling, TensorType,
    TokenLogprobs, VerifiedModel, tiny,
};

const OPTIONS: EngineOptions =
    EngineOptions { threads: 2, slots: 8, queue: 64, context: 512, kv_bytes: 1 << 30 };
const WARM: Sampling =
    Sampling { temperature: 1.0, top_p: 0.95, top_k: Some(40), seed: 11, ..Sampling::GREEDY };

fn verified(kind: TensorType) -> VerifiedModel {
    let bytes = tiny::model(kind);
    let digest = Sha256::of(&bytes).0;
    VerifiedModel::check(bytes, digest).unwrap()
}

fn engine(options: EngineOptions) -> EmbeddedEngine {
    EmbeddedEngine::load(verified(TensorType::Q8_0), options).unwrap()
}

fn request(text: &str, sampling: Sampling, max_tokens: u32) -> Request {
    Request::new(
        vec![Message::new(Role::User, Secret::new(text.to_owned()))],
        Order { sampling, max_tokens: Some(max_tokens), ..Order::default() },
    )
}

fn read(mut generation: Generation) -> (String, Result<(FinishReason, u32), EngineError>) {
    let mut text = String::new();
    loop {
        match generation.events.blocking_recv().unwrap() {
            GenerationEvent::Delta(delta, ..) => text.push_str(delta.expose()),
            GenerationEvent::Call(call, _) => unreachable!("no function was offered: {call:?}"),
            GenerationEvent::Vector(_) => unreachable!("no vector was asked for"),
            GenerationEvent::Finished { reason, completion_tokens } => {
                return (text, Ok((reason, completion_tokens)));
            }
            GenerationEvent::Failed(error) => return (text, Err(error)),
        }
    }
}

/// Recorded with this engine. (The bits behind the tokens are recorded beside the model's code.)
#[test]
fn the_tiny_model_says_what_it_said() {
    let golden: [(TensorType, &[u32]); 11] = [
        (TensorType::F32, &[120, 110, 7, 243, 154, 78, 78, 83, 262, 208, 114, 255]),
        (TensorType::F16, &[47, 96, 176, 270, 216, 216, 216, 264, 159, 65, 0]),
        (TensorType::BF16, &[120, 110, 7, 243, 154, 78, 78, 83, 262, 161, 37, 94]),
        (TensorType::Q4_0, &[99, 263, 6, 59, 44, 85, 248, 183, 263, 95, 243, 10]),
        (TensorType::Q4_1, &[182, 243, 243, 80, 187, 126, 268, 42, 194, 194, 33, 239]),
        (TensorType::Q5_0, &[101, 130, 36, 83, 214, 214, 214, 41, 228, 104, 13, 71]),
        (TensorType::Q5_1, &[19, 127, 94, 213, 214, 214, 214, 54, 196, 13, 46, 150]),
        (TensorType::Q8_0, &[1, 206, 215, 236, 202, 151, 51, 28, 250, 268, 236, 215]),
        (TensorType::Q4_K, &[238, 184, 184, 136, 175, 165, 165, 26, 132, 136, 211, 121]),
        (TensorType::Q5_K, &[151, 104, 228, 167, 193, 141, 197, 228, 54, 89, 225, 175]),
        (TensorType::Q6_K, &[252, 66, 71, 59, 159, 39, 235, 148, 107, 39, 257, 37]),
    ];
    assert_eq!(golden.map(|(kind, _)| kind), TensorType::ALL);
    for (kind, expected) in golden {
        for instructions in Instructions::available() {
            let engine = EmbeddedEngine::load_for(verified(kind), OPTIONS, instructions).unwrap();
            assert_eq!(engine.description().numeric_profile, "veritee-f32-1");
            let prompt: Vec<u32> = (3..150).collect();
            let tokens = engine.continue_tokens(&prompt, WARM, 12).unwrap();
            let tokens: Vec<u32> = tokens.iter().collect();
            assert_eq!(tokens, expected, "{kind:?} {instructions:?}");
        }
    }
}

#[test]
fn company_threads_and_instructions_do_not_show() {
    let prompts: Vec<Vec<u32>> =
        (0..20_u32).map(|i| (3..20 + i * 13).map(|token| token % 256 + 3).collect()).collect();
    let mut alone: Option<Vec<Vec<u32>>> = None;
    for instructions in Instructions::available() {
        for (threads, slots) in [(1, 1), (2, 8), (3, 20)] {
            let options = EngineOptions { threads, slots, ..OPTIONS };
            let engine =
                EmbeddedEngine::load_for(verified(TensorType::Q4_1), options, instructions)
                    .unwrap();
            let streams: Vec<_> = prompts
                .iter()
                .map(|prompt| engine.continue_tokens(prompt, WARM, 30).unwrap())
                .collect();
            let tokens: Vec<Vec<u32>> =
                streams.into_iter().map(|tokens| tokens.iter().collect()).collect();
            assert!(tokens.iter().all(|tokens| !tokens.is_empty()));
            let expected = alone.get_or_insert_with(|| tokens.clone());
            assert_eq!(*expected, tokens, "{instructions:?} {threads} {slots}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let engine = engine(OPTIONS);
    let say = |seed| read(engine.start(request("hello", Sampling { seed, ..WARM }, 40)).unwrap()).0;
    assert_eq!(say(1), say(1));
    assert_ne!(say(1), say(2));
}

#[test]
fn an_answer_ends_at_its_limit_and_is_counted() {
    let engine = engine(OPTIONS);
    let generation = engine.start(request("count", Sampling::GREEDY, 7)).unwrap();
    let prompt = engine.prompt(&request("count", WARM, 1).messages).unwrap();
    assert_eq!(*prompt.expose(), "<|im_start|>user\ncount<|im_end|>\n<|im_start|>assistant\n");
    let counted = engine.tokenizer().encode(prompt.expose(), Controls::Parsed).len();
    assert_eq!(usize::try_from(generation.prompt_tokens).unwrap(), counted);
    let (_, end) = read(generation);
    let (reason, tokens) = end.unwrap();
    assert!(
        reason == FinishReason::Length && tokens == 7 || reason == FinishReason::Stop && tokens < 7
    );
}

#[test]
fn a_stop_text_ends_the_answer_before_itself() {
    let engine = engine(OPTIONS);
    let (whole, _) = read(engine.start(request("stop", WARM, 60)).unwrap());
    let letters: Vec<char> = whole.chars().collect();
    assert!(letters.len() > 20, "{whole:?}");
    let stop: String = letters[10..13].iter().collect();
    let mut with_stop = request("stop", WARM, 60);
    with_stop.order.stop = vec!["not in there at all".to_owned(), stop.clone()];
    let (text, end) = read(engine.start(with_stop).unwrap());
    assert_eq!(text, whole[..whole.find(&stop).unwrap()]);
    assert!(matches!(end, Ok((FinishReason::Stop, _))));
}

/// What of a text came together: the text, and of each token its candidates with the bits of their numbers.
type Piece = (String, Vec<Vec<(Vec<u8>, bool, u32)>>);

fn read_likely(mut generation: Generation) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(event) = generation.events.blocking_recv() {
        if let GenerationEvent::Delta(text, _, entries) = event {
            let entry = |entry: &TokenLogprobs| {
                let all = entry.candidates();
                all.map(|one| (one.octets.to_vec(), one.control, one.logprob.to_bits())).collect()
            };
            pieces.push((text.expose().clone(), entries.iter().map(entry).collect()));
        }
    }
    pieces
}

/// Where in the text each octet's character begins, as octets become text.
fn places(octets: &[u8]) -> (String, Vec<usize>) {
    let (mut text, mut at) = (String::new(), Vec::new());
    for chunk in octets.utf8_chunks() {
        for letter in chunk.valid().chars() {
            at.extend(vec![text.len(); letter.len_utf8()]);
            text.push(letter);
        }
        if !chunk.invalid().is_empty() {
            at.extend(vec![text.len(); chunk.invalid().len()]);
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    (text, at)
}

#[test]
fn likelihoods_leave_with_the_first_octet_of_their_text_or_never() {
    let engine = engine(OPTIONS);
    let mut controls = 0;
    for seed in 0..12 {
        let ask = |stop: Vec<String>| {
            let mut request = request("likely", Sampling { seed, ..WARM }, 80);
            (request.order.logprobs, request.order.stop) = (Some(20), stop);
            read_likely(engine.start(request).unwrap())
        };
        let (plain, _) =
            read(engine.start(request("likely", Sampling { seed, ..WARM }, 80)).unwrap());
        let pieces = ask(vec![]);
        let entries: Vec<_> = pieces.iter().flat_map(|(_, entries)| entries.clone()).collect();
        let octets = entries.iter().flat_map(|entry| entry[0].0.clone()).collect::<Vec<u8>>();
        let (text, places) = places(&octets);
        assert_eq!(text, plain, "telling does not change the answer, and tells all of it");
        // Of each entry, where its text begins.
        let starts: Vec<usize> = entries
            .iter()
            .scan(0, |octet, entry| {
                let start = places[*octet];
                *octet += entry[0].0.len();
                Some(start)
            })
            .collect();
        let letters: Vec<(usize, char)> = text.char_indices().collect();
        let stops = [3, 5, 8].map(|tenths| {
            letters[letters.len() * tenths / 10..].iter().take(2).map(|(_, c)| c).collect()
        });
        let mut answers = vec![(text.as_str(), pieces)];
        for stop in stops {
            let before = &text[..text.find(&stop).unwrap()];
            answers.push((before, ask(vec!["never said".to_owned(), stop])));
        }
        for (expected, pieces) in answers {
            let (mut said, mut told) = (String::new(), Vec::new());
            for (text, more) in pieces {
                said.push_str(&text);
                told.extend(more);
                let begun = starts.iter().filter(|start| **start < said.len()).count();
                assert_eq!(told, entries[..begun]);
            }
            assert_eq!(said, expected);
        }
        for entry in &entries {
            assert_eq!(entry.len(), 21);
            let (chosen, others) = entry.split_first().unwrap();
            let likely: Vec<f32> = others.iter().map(|(.., bits)| f32::from_bits(*bits)).collect();
            assert!(likely.is_sorted_by(|a, b| a >= b) && likely.iter().all(|l| *l < 0.0));
            let same = others.iter().find(|other| other.0 == chosen.0 && other.1 == chosen.1);
            assert!(same.is_none_or(|same| same == chosen));
            controls += others
                .iter()
                .filter(|(name, control, _)| {
                    assert!(!control || name.starts_with(b"<|"));
                    *control
                })
                .count();
        }
    }
    assert!(controls > 0, "no control token was ever likely");
}

#[test]
fn likelihoods_are_the_model_s_whoever_else_is_there() {
    let mut first = None;
    for instructions in Instructions::available() {
        for (threads, slots) in [(1, 1), (2, 8)] {
            let options = EngineOptions { threads, slots, ..OPTIONS };
            let engine =
                EmbeddedEngine::load_for(verified(TensorType::Q4_1), options, instructions)
                    .unwrap();
            let ask = |text: &str, sampling, count| {
                let mut request = request(text, sampling, 24);
                request.order.logprobs = Some(count);
                engine.start(request).unwrap()
            };
            let company: Vec<_> = (0..6).map(|n| ask(&"x".repeat(n * 9), WARM, 3)).collect();
            let pieces = read_likely(ask("hello", WARM, 5));
            for other in company {
                drop(read_likely(other));
            }
            let expected = first.get_or_insert_with(|| pieces.clone());
            assert_eq!(*expected, pieces, "{instructions:?} {threads} {slots}");
            // Neither temperature nor cuts change what the model says of the first token.
            for sampling in [Sampling::GREEDY, Sampling { temperature: 2.0, ..Sampling::GREEDY }] {
                let other = read_likely(ask("hello", sampling, 5));
                assert_eq!(other[0].1[0][1..], pieces[0].1[0][1..], "{sampling:?}");
            }
        }
    }
}

#[test]
fn penalties_and_biases_are_the_request_s_own_and_reach_the_draw() {
    let engine = engine(OPTIONS);
    let ask = |change: &dyn Fn(&mut Request)| {
        let mut request = request("again", Sampling { temperature: 0.5, ..WARM }, 60);
        request.order.logprobs = Some(0);
        change(&mut request);
        engine.start(request).unwrap()
    };
    let tokens = |generation| {
        let entries = read_likely(generation).into_iter().flat_map(|(_, entries)| entries);
        entries.map(|entry| entry[0].0.clone()).collect::<Vec<_>>()
    };
    let distinct =
        |tokens: &[Vec<u8>]| tokens.iter().collect::<std::collections::BTreeSet<_>>().len();
    let plain = tokens(ask(&|_| ()));
    for (frequency_penalty, presence_penalty) in [(2.0, 0.0), (0.0, 2.0), (-2.0, 0.0)] {
        let change = |request: &mut Request| {
            let sampling = &mut request.order.sampling;
            sampling.frequency_penalty = frequency_penalty;
            sampling.presence_penalty = presence_penalty;
        };
        let alone = tokens(ask(&change));
        let repeats = frequency_penalty < 0.0;
        assert_ne!(alone, plain);
        let (more, fewer) = if repeats { (&plain, &alone) } else { (&alone, &plain) };
        let share = |tokens: &[Vec<u8>]| distinct(tokens) * 1000 / tokens.len();
        assert!(share(more) > share(fewer), "{frequency_penalty} {presence_penalty}");
        // Among others the same.
        let company: Vec<_> = (0..4).map(|_| ask(&|_| ())).collect();
        assert_eq!(tokens(ask(&change)), alone);
        drop(company);
    }
    let banned = 3 + u32::from(b'e') - 33;
    let only = |request: &mut Request| request.order.bias = vec![(banned, 100.0)];
    let name = engine.tokenizer().bytes(banned).to_vec();
    assert!(tokens(ask(&only)).iter().all(|token| *token == name));
    let never = |request: &mut Request| request.order.bias = vec![(banned, -100.0)];
    assert!(tokens(ask(&never)).iter().all(|token| *token != name));
    // What is told is the model's.
    let first = |generation: Generation| read_likely(generation)[0].1[0].clone();
    let with = |count| move |request: &mut Request| request.order.logprobs = Some(count);
    let told = first(ask(&with(20)));
    let biased = first(ask(&|request| {
        with(20)(request);
        only(request);
    }));
    assert_eq!(told[1..], biased[1..]);
}

#[test]
fn what_cannot_be_served_is_named() {
    let engine = engine(OPTIONS);
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = request("x", WARM, 4);
        change(&mut request);
        engine.start(request).map(drop).unwrap_err()
    };
    let field = |error| match error {
        EngineError::BadRequest { field, .. } => field,
        EngineError::Busy { .. }
        | EngineError::TenantBusy { .. }
        | EngineError::ContextTooLong { .. }
        | EngineError::Template(_)
        | EngineError::Crashed
        | EngineError::Stopping
        | EngineError::OutOfTime => panic!("{error}"),
    };
    assert_eq!(field(with(&|r| r.messages.clear())), "messages");
    assert_eq!(field(with(&|r| r.order.max_tokens = Some(0))), "max_tokens");
    assert_eq!(field(with(&|r| r.order.stop = vec![String::new()])), "stop");
    assert_eq!(field(with(&|r| r.order.logprobs = Some(21))), "top_logprobs");
    assert_eq!(field(with(&|r| r.order.sampling.temperature = f32::NAN)), "temperature");
    assert_eq!(field(with(&|r| r.order.sampling.top_p = 0.0)), "top_p");
    assert_eq!(field(with(&|r| r.order.sampling.top_k = Some(0))), "top_k");
    for length in [520, 1_000_000] {
        let error = with(&|r| r.messages[0].content = Secret::new("z".repeat(length)));
        let EngineError::ContextTooLong { prompt_tokens, limit: 512 } = error else {
            panic!("{error}")
        };
        assert!(prompt_tokens >= 512, "{length}");
    }
}

#[test]
fn a_prompt_may_fill_the_context_but_for_one_token() {
    let engine = engine(OPTIONS);
    for (length, expected) in [(511, Some(1)), (512, None)] {
        let prompt = vec![50; length];
        let tokens =
            engine.continue_tokens(&prompt, WARM, 100).ok().map(|tokens| tokens.iter().count());
        assert_eq!(tokens, expected);
    }
}

#[test]
fn a_full_queue_is_busy_and_a_reader_who_leaves_makes_room() {
    let engine = engine(EngineOptions {
        threads: 1,
        slots: 1,
        queue: 1,
        context: 512,
        ..EngineOptions::default()
    });
    let long = || request("long", Sampling { top_k: None, top_p: 1.0, ..WARM }, 400);
    let mut taken = vec![];
    let refused = loop {
        match engine.start(long()) {
            Ok(generation) => taken.push(generation),
            Err(error) => break error,
        }
        assert!(taken.len() < 50, "nobody was refused");
    };
    assert!(matches!(refused, EngineError::Busy { retry_after_s: 1.. }));
    drop(taken);
    for _ in 0..2000 {
        if let Ok(generation) = engine.start(long()) {
            assert!(read(generation).1.is_ok());
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the places never came back");
}

#[test]
fn a_slow_reader_delays_nobody() {
    let engine = engine(EngineOptions { slots: 2, ..OPTIONS });
    let slow = engine.start(request("slow", WARM, 300)).unwrap();
    for _ in 0..3 {
        assert!(read(engine.start(request("quick", WARM, 50)).unwrap()).1.is_ok());
    }
    assert!(read(slow).1.is_ok());
}

#[test]
fn keys_and_values_have_a_budget_that_all_share() {
    // What one of the longest needs, and not twice that.
    let needed = |kv_bytes| {
        let bytes = tiny::model(TensorType::Q4_0);
        let digest = Sha256::of(&bytes).0;
        let model = VerifiedModel::check(bytes, digest).unwrap();
        EmbeddedEngine::load(model, EngineOptions { kv_bytes, ..OPTIONS })
    };
    let error = needed(0).unwrap_err();
    assert_eq!(error.code(), "engine-kv-too-small");
    let LoadError::Memory { needed: longest, allowed: 0 } = error else { panic!("{error}") };
    assert!(needed(longest - 1).is_err());
    let engine = needed(longest).unwrap();
    // Each alone fits; together they take turns, and none is refused or cut short.
    let long = || engine.start(request("long", WARM, 400)).unwrap();
    let alone = read(long());
    let together: Vec<_> = (0..4).map(|_| long()).collect();
    for generation in together {
        assert_eq!(read(generation), alone);
    }
}

#[test]
fn dropping_the_engine_ends_what_runs() {
    let engine = engine(EngineOptions {
        threads: 1,
        slots: 1,
        queue: 9,
        context: 512,
        ..EngineOptions::default()
    });
    let generations: Vec<_> =
        (0..6).map(|_| engine.start(request("bye", WARM, 400)).unwrap()).collect();
    drop(engine);
    let ends: Vec<_> = generations.into_iter().map(|generation| read(generation).1).collect();
    assert!(ends.iter().all(|end| matches!(end, Ok(_) | Err(EngineError::Stopping))));
    assert!(ends.contains(&Err(EngineError::Stopping)));
}

type Change = fn(&mut Vec<u8>);

#[test]
fn models_are_loaded_as_pinned_or_not_at_all() {
    let bytes = tiny::model(TensorType::Q4_0);
    let engine = EmbeddedEngine::load(verified(TensorType::Q4_0), OPTIONS).unwrap();
    let description = engine.description();
    assert_eq!(description.weights_sha256, Sha256::of(&bytes).0);
    assert_eq!(description.template_sha256, Sha256::of(tiny::TEMPLATE.as_bytes()).0);
    assert_eq!((description.architecture.as_str(), description.context_length), ("llama", 512));

    let cases: [(Change, LoadError); 3] = [
        (
            |bytes| replace(bytes, b"\0\0\0llama", b"\0\0\0lambd"),
            unsupported("architecture", "lambd"),
        ),
        (|bytes| replace(bytes, b"smollm", b"smallm"), unsupported("pre-tokenizer", "smallm")),
        (
            |bytes| replace(bytes, b"blk.1.ffn_up.weight", b"blk.1.ffn_ux.weight"),
            LoadError::Missing { name: "blk.1.ffn_up.weight".to_owned() },
        ),
    ];
    for (change, expected) in cases {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let digest = Sha256::of(&bytes).0;
        let model = VerifiedModel::check(bytes, digest).unwrap();
        assert_eq!(EmbeddedEngine::load(model, OPTIONS).map(drop), Err(expected));
    }
}

fn unsupported(what: &'static str, name: &str) -> LoadError {
    LoadError::Unsupported { what, name: name.to_owned() }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    for (byte, to) in bytes.iter_mut().skip(at).zip(to) {
        *byte = *to;
    }
}
