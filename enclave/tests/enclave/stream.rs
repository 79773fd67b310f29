//! Answers: their `OpenAI` shapes, their padding, their receipts.

use std::sync::Arc;
use std::time::Duration;

use attestation::receipt::{FinishReason, Parameters, Usage};
use attestation::{Sha256, UnixTime};
use channel::padding::{CELL_LEN, FINAL_LEN};
use engine::{Candidate, EchoEngine, EngineError, GenerationEvent, Secret, TokenLogprobs};
use serde_json::json;

use crate::support::{self, MODEL, NOW, Peer, Played, delta, start, start_with, user};

#[tokio::test]
async fn whole_answer_has_openai_s_shape_and_its_receipt_commits_to_it() {
    let serving = start(3).await;
    let peer = Peer::of(&serving).await;
    let answer = peer.ask(&serving, &user("hello", r#","temperature":0,"seed":5"#)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields.only("content-type").unwrap(), Some(&b"application/json"[..]));
    let body = answer.json();
    let id = body["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("chatcmpl-") && id.len() == 9 + 24);
    // The weights', as the manifest pins them.
    let weights = Sha256::of(b"veritee echo weights").to_string();
    let fingerprint = format!("fp_{}", &weights[..16]);
    assert_eq!(
        body,
        json!({
            "id": id, "object": "chat.completion", "created": NOW, "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": null},
                         "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
            "system_fingerprint": fingerprint,
        })
    );
    let receipt = &answer.receipt;
    assert_eq!(receipt.usage, Usage { prompt: 5, completion: 3, cached: 0 });
    assert_eq!(receipt.finish, FinishReason::Stop);
    assert!(receipt.bound);
    assert_eq!(receipt.started, UnixTime::from_secs(NOW));
    let parameters = Parameters {
        model: MODEL.to_owned(),
        temperature: Some(0.0),
        seed: Some(5),
        ..Parameters::default()
    };
    assert_eq!(receipt.par_mac, answer.par_mac(&parameters));
    assert_eq!(answer.trailers.only("veritee-status").unwrap(), Some(&b"stop"[..]));
}

#[tokio::test]
async fn every_answer_is_chained_to_the_one_before() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let first = peer.ask(&serving, &user("a", "")).await;
    let second = peer.ask(&serving, &user("b", r#","stream":true"#)).await;
    let error = peer.ask(&serving, "{").await;
    assert_eq!([first.receipt.seq, second.receipt.seq, error.receipt.seq], [0, 1, 2]);
    assert_eq!(second.receipt.previous, first.signed.digest());
    assert_eq!(error.receipt.previous, second.signed.digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_at_the_same_time_make_one_chain() {
    let pace = Duration::from_millis(1);
    let serving = start_with(Arc::new(EchoEngine::new(20, pace)), "", "").await;
    let asked = (0..40).map(|n| {
        let serving = serving.clone();
        tokio::spawn(async move {
            let peer = Peer::of(&serving).await;
            let text = format!("answer number {n}");
            let more = if n % 2 == 0 { r#","stream":true"# } else { "" };
            let answer = peer.ask(&serving, &user(&text, more)).await;
            assert!(n % 2 == 0 || answer.json()["choices"][0]["message"]["content"] == *text);
            (answer.receipt.seq, answer.receipt.previous, answer.signed.digest())
        })
    });
    let mut receipts = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        receipts.push(answer.await.unwrap());
    }
    receipts.sort_unstable();
    for (expected, pair) in (0..).zip(receipts.windows(2)) {
        assert_eq!((pair[0].0, pair[1].1), (expected, pair[0].2));
    }
}

#[tokio::test]
async fn stream_has_openai_s_shape() {
    let serving = start(2).await;
    let peer = Peer::of(&serving).await;
    let more = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let answer = peer.ask(&serving, &user("ab", more)).await;
    assert_eq!(answer.fields.only("content-type").unwrap(), Some(&b"text/event-stream"[..]));
    let chunks = answer.chunks_json();
    let choices: Vec<_> = chunks.iter().map(|chunk| chunk["choices"].clone()).collect();
    let choice = |delta, finish| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    assert_eq!(
        choices,
        [
            choice(json!({"role": "assistant", "content": ""}), json!(null)),
            choice(json!({"content": "a"}), json!(null)),
            choice(json!({"content": "b"}), json!(null)),
            choice(json!({}), json!("stop")),
            json!([]),
        ]
    );
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert_eq!(chunk["created"], NOW);
        assert_eq!(chunk["model"], MODEL);
        assert!(chunk.as_object().unwrap().contains_key("usage"));
    }
    assert!(chunks[..4].iter().all(|chunk| chunk["usage"].is_null()));
    let usage = json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4});
    assert_eq!(chunks[4]["usage"], usage);
    assert!(
        answer.receipt.par_mac
            == answer.par_mac(&Parameters {
                model: MODEL.to_owned(),
                stream: true,
                ..Parameters::default()
            })
    );

    let plain = peer.ask(&serving, &user("ab", r#","stream":true"#)).await;
    assert!(plain.chunks_json().iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(plain.chunks_json().len(), 4);
}

#[tokio::test]
async fn max_tokens_ends_with_length() {
    let serving = start(4).await;
    let peer = Peer::of(&serving).await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer = peer.ask(&serving, &user("abcd", &format!(",\"{name}\":2"))).await;
        let body = answer.json();
        assert_eq!(body["choices"][0]["finish_reason"], "length");
        assert_eq!(body["choices"][0]["message"]["content"], "ab");
        assert_eq!(answer.receipt.finish, FinishReason::Length);
    }
}

#[tokio::test]
async fn p1_cells_have_one_size_whatever_is_said() {
    let serving = start(50).await;
    let peer = Peer::of(&serving).await;
    for text in ["a".repeat(50), "\u{1F600}".repeat(50)] {
        let answer = peer.ask(&serving, &user(&text, r#","stream":true"#)).await;
        // Head, role, fifty pieces, finish and [DONE]: a cell each.
        assert_eq!(answer.chunks, vec![CELL_LEN; 1 + 1 + 50 + 1 + 1]);
        assert_eq!(answer.last, FINAL_LEN);
    }
    // A piece larger than a cell takes several.
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let answer = peer.ask(&serving, &user(&"a".repeat(2000), r#","stream":true"#)).await;
    assert!(answer.chunks.iter().all(|len| *len == CELL_LEN) && answer.chunks.len() > 6);
    assert_eq!(answer.chunks_json()[1]["choices"][0]["delta"]["content"], "a".repeat(2000));
}

#[tokio::test]
async fn whole_answers_and_errors_come_in_few_sizes() {
    let serving = start(1).await;
    let peer = Peer::of(&serving).await;
    let mut sizes = Vec::new();
    for text in ["", "a", &"a".repeat(3000)] {
        sizes.push(peer.ask(&serving, &user(text, "")).await.chunks);
    }
    sizes.push(peer.ask(&serving, "{").await.chunks);
    sizes.push(peer.ask(&serving, &user("x", r#","tools":[1]"#)).await.chunks);
    assert!(sizes.iter().all(|chunks| *chunks == [CELL_LEN, 4096]), "{sizes:?}");
    let large = peer.ask(&serving, &user(&"a".repeat(4000), "")).await.chunks;
    assert_eq!(large, [CELL_LEN, 16_384]);
}

#[tokio::test]
async fn p2_sends_one_cell_per_tick_from_the_first_token_on() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "padding = \"p2\"", "").await;
    let peer = Peer::of(&serving).await;
    tokio::time::pause();
    let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
    let response = support::post(&serving, sealed.body.clone()).await;
    let play = tokio::spawn(async move {
        let (_, events) = stage.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        for n in 1..=30 {
            events.send(delta("word ", n)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Silence does not show: cells keep coming.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let reason = engine::FinishReason::Stop;
        events.send(GenerationEvent::Finished { reason, completion_tokens: 30 }).await.unwrap();
        begun
    });
    let octets = support::collect(response).await;
    let begun = play.await.unwrap();
    let ticks = begun.elapsed().as_millis() / 40;
    let answer = peer.open(sealed, &octets);
    assert!(answer.chunks.iter().all(|len| *len == CELL_LEN));
    let cells = u128::try_from(answer.chunks.len() - 1).unwrap();
    assert!(cells.abs_diff(ticks) <= 2, "{cells} cells in {ticks} ticks");
    let text: String = answer
        .chunks_json()
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "word ".repeat(30));
    assert!(answer.events().len() < 30, "text between ticks is coalesced");
    assert_eq!(answer.receipt.usage.completion, 30);
}

/// A delta of one token beside so many others, two of which are no text.
fn likely(text: &str, said: u32, others: usize) -> GenerationEvent {
    let one = |octets, logprob| Candidate { octets, control: false, logprob };
    let end = Candidate { control: true, ..one(b"<|end|>", -9999.0) };
    let names: Vec<String> = (2..others).map(|n| format!("other{n}")).collect();
    let middle = names.iter().map(|name| one(name.as_bytes(), -1.5));
    let all = [one(b"\xe2\x82", -0.5)].into_iter().chain(middle).chain([end]);
    let entry = TokenLogprobs::new(one(text.as_bytes(), -0.25), all);
    GenerationEvent::Delta(Secret::new(text.to_owned()), said, vec![entry])
}

/// What a choice has of that.
fn told(text: &str, others: usize) -> serde_json::Value {
    let named = (2..others).map(|n| {
        let name = format!("other{n}");
        json!({"token": name, "logprob": -1.5, "bytes": name.as_bytes()})
    });
    let first = json!({"token": "\u{fffd}", "logprob": -0.5, "bytes": [0xe2, 0x82]});
    let end = json!({"token": "<|end|>", "logprob": -9999.0, "bytes": null});
    let all: Vec<_> = [first].into_iter().chain(named).chain([end]).collect();
    json!({"token": text, "logprob": -0.25, "bytes": text.as_bytes(), "top_logprobs": all})
}

#[tokio::test]
async fn likelihoods_go_with_their_text_in_cells_as_ever() {
    for (top, stream) in [("", false), ("", true), ("padding = \"p2\"", true)] {
        let (engine, mut stage) = Played::new();
        let serving = start_with(engine, top, "").await;
        let peer = Peer::of(&serving).await;
        tokio::time::pause();
        let more = format!(r#","logprobs":true,"top_logprobs":20,"stream":{stream}"#);
        let sealed = peer.seal_chat(&user("x", &more));
        let response = support::post(&serving, sealed.body.clone()).await;
        let (ask, events) = stage.recv().await.unwrap();
        assert_eq!(ask.order.logprobs, Some(20));
        for said in 1..=40 {
            events.send(likely("word ", said, 20)).await.unwrap();
        }
        let reason = engine::FinishReason::Stop;
        events.send(GenerationEvent::Finished { reason, completion_tokens: 40 }).await.unwrap();
        let answer = peer.open(sealed, &support::collect(response).await);
        tokio::time::resume();
        assert_eq!(
            answer.receipt.par_mac,
            answer.par_mac(&Parameters {
                model: MODEL.to_owned(),
                stream,
                logprobs: true,
                top_logprobs: Some(20),
                ..Parameters::default()
            })
        );
        let entry = told("word ", 20);
        if !stream {
            let choice = &answer.json()["choices"][0];
            assert_eq!(choice["message"]["content"], "word ".repeat(40));
            let logprobs = json!({"content": vec![entry; 40], "refusal": null});
            assert_eq!(choice["logprobs"], logprobs);
            continue;
        }
        assert!(answer.chunks.iter().all(|len| *len == CELL_LEN));
        let chunks = answer.chunks_json();
        let (first, last) = (&chunks[0]["choices"][0], &chunks[chunks.len() - 1]["choices"][0]);
        assert_eq!((&first["logprobs"], &last["logprobs"]), (&json!(null), &json!(null)));
        let texts = &chunks[1..chunks.len() - 1];
        let mut words = 0;
        for chunk in texts {
            let choice = &chunk["choices"][0];
            let content = choice["logprobs"]["content"].as_array().unwrap();
            assert_eq!(choice["delta"]["content"], "word ".repeat(content.len()));
            assert_eq!(choice["logprobs"]["refusal"], json!(null));
            assert!(content.iter().all(|one| *one == entry) && content.len() <= 16);
            words += content.len();
        }
        assert_eq!(words, 40);
        if top.is_empty() {
            assert_eq!(texts.len(), 40);
            // Head, role, forty events of four cells each, finish and [DONE].
            assert_eq!(answer.chunks.len(), 1 + 1 + 40 * 4 + 1 + 1);
        } else {
            assert_eq!(texts.len(), 3, "what comes at once is coalesced, within bounds");
        }
    }
}

#[tokio::test]
async fn who_asks_for_no_likelihoods_is_told_none() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
    let response = support::post(&serving, sealed.body.clone()).await;
    let (ask, events) = stage.recv().await.unwrap();
    assert_eq!(ask.order.logprobs, None);
    // Whatever an engine says.
    events.send(likely("word", 1, 20)).await.unwrap();
    let reason = engine::FinishReason::Stop;
    events.send(GenerationEvent::Finished { reason, completion_tokens: 1 }).await.unwrap();
    let answer = peer.open(sealed, &support::collect(response).await);
    let chunks = answer.chunks_json();
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "word");
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["logprobs"].is_null()));
}

#[tokio::test]
async fn failure_in_the_middle_is_told_and_receipted_as_aborted() {
    for (top, crash) in [("", true), ("padding = \"p2\"", true), ("", false)] {
        let (engine, mut stage) = Played::new();
        let serving = start_with(engine, top, "").await;
        let peer = Peer::of(&serving).await;
        let sealed = peer.seal_chat(&user("x", r#","stream":true"#));
        let response = support::post(&serving, sealed.body.clone()).await;
        let (_, events) = stage.recv().await.unwrap();
        events.send(delta("half", 1)).await.unwrap();
        if crash {
            events.send(GenerationEvent::Failed(EngineError::Crashed)).await.unwrap();
        }
        drop(events);
        let answer = peer.open(sealed, &support::collect(response).await);
        let events = answer.events();
        assert_eq!(events.len(), 3, "role, text, error and no [DONE]: {events:?}");
        let error: serde_json::Value = serde_json::from_str(&events[2]).unwrap();
        assert_eq!(error["error"]["code"], "internal_error");
        assert_eq!(answer.receipt.finish, FinishReason::Aborted);
        assert_eq!(answer.trailers.only("veritee-status").unwrap(), Some(&b"aborted"[..]));
    }
}

#[tokio::test]
async fn engine_s_refusals_become_sealed_openai_errors() {
    for (error, status, code) in [
        (EngineError::Busy { retry_after_s: 7 }, 503, "engine_busy"),
        (EngineError::TenantBusy { retry_after_s: 7 }, 429, "rate_limit_exceeded"),
        (EngineError::Stopping, 503, "engine_stopping"),
        (
            EngineError::ContextTooLong { prompt_tokens: 9, limit: 8 },
            400,
            "context_length_exceeded",
        ),
        (EngineError::Crashed, 500, "internal_error"),
    ] {
        let (engine, _stage) = Played::new();
        engine.refuse(error);
        let serving = start_with(engine, "", "").await;
        let peer = Peer::of(&serving).await;
        for more in ["", r#","stream":true"#] {
            let answer = peer.ask(&serving, &user("x", more)).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.json()["error"]["code"], code);
            assert_eq!(answer.receipt.finish, FinishReason::Error);
            let retry = answer.fields.only("retry-after").unwrap();
            let expected = match code {
                "engine_busy" | "rate_limit_exceeded" => Some(&b"7"[..]),
                "engine_stopping" => Some(&b"1"[..]),
                _ => None,
            };
            assert_eq!(retry, expected);
        }
    }
}

#[tokio::test]
async fn request_reaches_the_engine_as_asked() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    let json = format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"developer","content":"d"}},{{"role":"user","content":[{{"type":"text","text":"a"}},{{"type":"text","text":"b"}}]}}],"temperature":0.5,"top_p":0.25,"top_k":3,"seed":-1,"max_tokens":9,"stop":["s"]}}"#
    );
    let sealed = peer.seal_chat(&json);
    let _response = support::post(&serving, sealed.body).await;
    let (ask, _events) = stage.recv().await.unwrap();
    let said: Vec<_> = ask.messages.iter().map(|m| (m.role, m.content.expose().as_str())).collect();
    assert_eq!(said, [(engine::Role::System, "d"), (engine::Role::User, "ab")]);
    let sampling = engine::Sampling {
        temperature: 0.5,
        top_p: 0.25,
        top_k: Some(3),
        seed: u64::MAX,
        ..engine::Sampling::GREEDY
    };
    let order = ask.order;
    assert_eq!(order.sampling, sampling);
    assert_eq!((order.max_tokens, order.stop), (Some(9), vec!["s".to_owned()]));
    assert_eq!(order.tenant, [0xab; 32]);

    // Without a seed, two requests draw two.
    let mut seeds = Vec::new();
    for _ in 0..2 {
        let sealed = peer.seal_chat(&user("x", ""));
        let _response = support::post(&serving, sealed.body).await;
        let (ask, _events) = stage.recv().await.unwrap();
        seeds.push(ask.order.sampling.seed);
    }
    assert_ne!(seeds[0], seeds[1]);
}

#[tokio::test]
async fn models_are_listed_under_all_names() {
    let serving = start_with(Arc::new(EchoEngine::new(1, Duration::ZERO)), "", "").await;
    let peer = Peer::of(&serving).await;
    let mut request = peer.chat("");
    request.method = "GET".to_owned();
    request.path = "/v1/models".to_owned();
    let sealed = peer.seal(&request);
    let response = support::post(&serving, sealed.body.clone()).await;
    let answer = peer.open(sealed, &support::collect(response).await);
    let body = answer.json();
    assert_eq!(body["object"], "list");
    let ids: Vec<_> = body["data"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, [MODEL, "alias"]);
    assert_eq!(answer.receipt.finish, FinishReason::None);
    assert_eq!(answer.receipt.par_mac, answer.par_mac(&Parameters::default()));
}
