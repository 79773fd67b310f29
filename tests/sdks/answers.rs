//! What an SDK gets where everything is as it should be.

use std::{sync::Arc, time::Duration};

use engine::{EchoEngine, EmbeddedEngine, EngineOptions, VerifiedModel};
use serde_json::{Value, json};
use tests::fleet::{Fleet, MODEL, Plan};

use crate::{Local, PROMPT, Sdk, chat, with};

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_streamed_and_whole_with_their_counts() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let prompt = u32::try_from(PROMPT.len()).unwrap();
    let usage = json!([prompt, 8, prompt + 8]);
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let whole = sdk.chat(PROMPT, json!({})).await;
        assert_whole(&whole, PROMPT);
        assert_eq!(whole["usage"], usage);

        let counted = json!({"stream": true, "stream_options": {"include_usage": true}});
        let counted = sdk.chat(PROMPT, counted).await;
        assert_whole(&counted, PROMPT);
        assert_eq!((&counted["usage"], &counted["events"]), (&usage, &json!(8)));
        let plain = sdk.chat(PROMPT, json!({"stream": true})).await;
        assert_whole(&plain, PROMPT);
        assert_eq!((&plain["usage"], &plain["events"]), (&Value::Null, &json!(8)));

        let cut = sdk.chat(PROMPT, json!({"max_completion_tokens": 2})).await;
        assert_eq!((&cut["finish"], &cut["usage"][1]), (&json!("length"), &json!(2)));

        for answer in [whole, counted] {
            let path = format!("/receipts/{}", answer["id"].as_str().unwrap());
            let receipt = sdk.call(json!({"do": "get", "path": path})).await;
            assert_eq!(receipt["claims"]["finish_reason"], "stop", "{receipt}");
            assert_eq!(receipt["claims"]["usage"]["completion"], 8);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_itself_says_who_answered() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        for (stream, media) in [(false, "application/json"), (true, "text/event-stream")] {
            let expected = json!({
                "x-veritee-node": fleet.nodes[0].to_string(),
                "x-veritee-verdict": "accepted-untrusted-anchors",
                "content-type": media,
                "cache-control": "no-store",
            });
            let params = chat(PROMPT, json!({"stream": stream}));
            if !stream {
                let raw = sdk.call(json!({"do": "raw", "params": params})).await;
                assert_whole(&raw, PROMPT);
                assert_eq!((&raw["headers"], &raw["status"]), (&expected, &json!(200)));
            }
            let lines = sdk.call(json!({"do": "lines", "params": params})).await;
            assert_eq!((&lines["headers"], &lines["status"]), (&expected, &json!(200)));
            let lines = lines["lines"].as_array().unwrap();
            assert_eq!(stream, lines.len() > 8, "{lines:?}");
            assert_eq!(stream, lines.last().unwrap() == "data: [DONE]");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_and_sign_comes_back_as_it_went() {
    let long = "ä漢🦀".repeat(4_000);
    let texts = [
        "naïve — café — ß",
        "e\u{301}a\u{308}\u{323} क्षि",
        "עברית مع العربية \u{202e}abc\u{202c}",
        "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇨🇭",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u{10ffff}\u{fffd}\u{feff}",
        "\u{0}\u{1}\u{7f}\u{85}\u{2028}\u{2029}\r\n\t\"\\/",
        "data: [DONE]\n\ndata: {}\n\n: x\r\r",
        &long,
    ];
    // Every scalar value is an event of its own; the long text comes in larger pieces.
    let engine = Arc::new(EchoEngine::new(200, Duration::ZERO));
    let fleet = Fleet::start(Plan { engine, ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        for text in texts {
            for stream in [false, true] {
                let seen = sdk.chat(text, json!({"stream": stream})).await;
                assert_whole(&seen, text);
            }
        }
    }
}

/// A model of octets: each of these signs is two to four tokens, and none is told in halves.
#[tokio::test(flavor = "multi_thread")]
async fn signs_that_are_several_tokens_are_whole_in_every_event() {
    let fleet = Fleet::start(Plan { engine: tiny(), ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    let said = "naïve 漢字 🦀👩‍👧 שלום";
    let schema = json!({"name": "said", "schema": {"const": said}});
    let form = json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let text = json!(said).to_string();
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let whole = sdk.chat("Say it.", form.clone()).await;
        assert_whole(&whole, &text);
        assert_eq!(whole["usage"][1], json!(text.len()), "a token is an octet");
        let streamed = sdk.chat("Say it.", with(form.clone(), json!({"stream": true}))).await;
        assert_whole(&streamed, &text);
        assert_eq!(streamed["events"], json!(text.chars().count()), "an event is a whole sign");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_calls_at_once_get_each_its_own_answer() {
    let fleet = Fleet::start(Plan::default().with_echo(4, Duration::from_millis(5))).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let prompt = |at: usize| format!("{at} {}", "x".repeat(at * 7));
        let calls: Vec<Value> =
            (0..32).map(|at| chat(&prompt(at), json!({"stream": at % 2 == 0}))).collect();
        let seen = sdk.call(json!({"do": "many", "calls": calls})).await;
        let seen = seen.as_array().unwrap();
        assert_eq!(seen.len(), 32);
        seen.iter().enumerate().for_each(|(at, seen)| assert_whole(seen, &prompt(at)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_api_continues_a_text() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let prompt = u32::try_from(PROMPT.len()).unwrap();
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let counted = json!({"stream": true, "stream_options": {"include_usage": true}});
        for more in [json!({}), counted, json!({"stream": true})] {
            let plain = more["stream"] == true && more["stream_options"].is_null();
            let params = with(json!({"model": MODEL, "prompt": PROMPT}), more);
            let seen = sdk.call(json!({"do": "completion", "params": params})).await;
            assert_whole(&seen, PROMPT);
            let usage = json!([prompt, 8, prompt + 8]);
            assert_eq!(seen["usage"], if plain { Value::Null } else { usage }, "{params}");
            assert!(seen["id"].as_str().unwrap().starts_with("cmpl-"), "{seen}");
            let path = format!("/receipts/{}", seen["id"].as_str().unwrap());
            let receipt = sdk.call(json!({"do": "get", "path": path})).await;
            assert_eq!(receipt["claims"]["usage"]["completion"], 8, "{receipt}");
        }
        let params = json!({"model": MODEL, "prompt": PROMPT, "max_tokens": 2});
        let cut = sdk.call(json!({"do": "completion", "params": params})).await;
        assert_eq!((&cut["finish"], &cut["usage"][1]), (&json!("length"), &json!(2)));
        let params = json!({"model": MODEL, "prompt": ["one", "two"]});
        let several = sdk.call(json!({"do": "completion", "params": params})).await;
        let error = &several["error"];
        assert_eq!(
            (&error["class"], &error["param"]),
            (&json!("BadRequestError"), &json!("prompt[1]"))
        );
    }
}

/// A model of a few kilobytes: nothing of an echo.
pub(crate) fn tiny() -> Arc<EmbeddedEngine> {
    let bytes = engine::tiny::model(engine::TensorType::Q8_0);
    let digest = attestation::Sha256::of(&bytes).0;
    let model = VerifiedModel::check(bytes, digest).unwrap();
    let options =
        EngineOptions { threads: 1, slots: 4, queue: 64, context: 512, ..EngineOptions::default() };
    Arc::new(EmbeddedEngine::load(model, options).unwrap())
}

/// The entries of `choice.logprobs.content`, of all events together.
fn likelihoods(seen: &Value) -> Vec<Value> {
    assert!(seen["error"].is_null(), "{seen}");
    let parts = seen["logprobs"].as_array().unwrap().iter();
    parts.flat_map(|part| part["content"].as_array().unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_likely_each_token_was_is_told_streamed_and_whole() {
    for config in ["", "padding = \"p2\""] {
        let fleet = Fleet::start(Plan { engine: tiny(), config, ..Plan::default() }).await;
        let proxy = Local::before(&fleet).await;
        let mut all = Vec::new();
        for sdk in Sdk::ALL {
            let mut sdk = sdk.at(&proxy);
            let asked = |more| with(json!({"seed": 7, "max_tokens": 24, "logprobs": true}), more);
            for top in [0_u64, 20] {
                let ask = |more: Value| asked(with(json!({"top_logprobs": top}), more));
                let whole = sdk.chat("Hello", ask(json!({}))).await;
                let entries = likelihoods(&whole);
                assert_eq!(whole["logprobs"].as_array().unwrap().len(), 1);
                assert_entries(&entries, top, &whole["text"]);
                let streamed = sdk.chat("Hello", ask(json!({"stream": true}))).await;
                assert_eq!(streamed["text"], whole["text"]);
                assert_eq!(likelihoods(&streamed), entries);
                all.push((top, entries));
            }
            // What a stop text swallows is not told either.
            let text = all[0].1.iter().map(|entry| entry["token"].as_str().unwrap());
            let stop = text.filter(|token| token.is_ascii() && token.len() == 1).nth(1).unwrap();
            for stream in [false, true] {
                let more = asked(json!({"stop": stop, "stream": stream}));
                let stopped = sdk.chat("Hello", more).await;
                let entries = likelihoods(&stopped);
                assert_entries(&entries, 0, &stopped["text"]);
                assert_eq!(entries, all[0].1[..entries.len()]);
                assert!(entries.iter().all(|entry| entry["token"] != *stop));
            }
            let quiet = sdk.chat("Hello", json!({"seed": 7, "max_tokens": 4})).await;
            assert_eq!(quiet["logprobs"], json!([]));
        }
        assert_eq!(all[..2], all[2..], "two SDKs see the same");
    }
}

/// Fails unless the entries are of `text`, octet by octet, with so many alternatives in order.
fn assert_entries(entries: &[Value], top: u64, text: &Value) {
    let octets = |one: &Value| serde_json::from_value::<Vec<u8>>(one["bytes"].clone()).unwrap();
    let said: Vec<u8> = entries.iter().flat_map(octets).collect();
    assert_eq!(json!(String::from_utf8_lossy(&said)), *text);
    for entry in entries {
        assert_eq!(json!(String::from_utf8_lossy(&octets(entry))), entry["token"]);
        let others = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(u64::try_from(others.len()).unwrap(), top);
        let likely: Vec<f64> =
            others.iter().map(|other| other["logprob"].as_f64().unwrap()).collect();
        assert!(likely.is_sorted_by(|a, b| a >= b), "{likely:?}");
        let own = entry["logprob"].as_f64().unwrap();
        assert!((-9999.0..0.0).contains(&own) && likely.first().is_none_or(|first| *first >= own));
    }
}

/// The numbers, the bytes and the stop texts are a model's.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_the_same_however_it_is_asked() {
    let engine = tiny();
    let fleet = Fleet::start(Plan { engine, ..Plan::default() }).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        let asked = |more| with(json!({"seed": 7, "max_tokens": 60}), more);
        let whole = sdk.chat("Hello", asked(json!({}))).await;
        assert!(whole["error"].is_null(), "{whole}");
        let text = whole["text"].as_str().unwrap().to_owned();
        // Tokens are bytes here, so that letters come in parts; most are of no letter at all.
        assert!(!text.is_ascii(), "{text:?}");
        let streamed = json!({"stream": true, "stream_options": {"include_usage": true}});
        let streamed = sdk.chat("Hello", asked(streamed)).await;
        for member in ["text", "finish", "usage"] {
            assert_eq!(streamed[member], whole[member], "{member}");
        }
        let other = sdk.chat("Hello", json!({"seed": 8, "max_tokens": 60})).await;
        assert_ne!(other["text"], whole["text"], "a seed decides");

        let letters: Vec<char> = text.chars().collect();
        let stop: String = letters[letters.len() / 2..][..3].iter().collect();
        let before = &text[..text.find(&stop).unwrap()];
        for stream in [false, true] {
            let more = asked(json!({"stop": [stop], "stream": stream}));
            let stopped = sdk.chat("Hello", more).await;
            let seen = (stopped["text"].as_str().unwrap(), &stopped["finish"]);
            assert_eq!(seen, (before, &json!("stop")), "{stop:?}");
        }

        let params = asked(json!({"model": MODEL, "prompt": "Hello", "stream": true}));
        let continued = sdk.call(json!({"do": "completion", "params": params})).await;
        assert!(continued["error"].is_null() && continued["events"] != 0, "{continued}");
        assert_ne!(continued["text"], whole["text"], "a text has no template around it");
        let long = "long ".repeat(2_000);
        for (call, param) in [
            (json!({"do": "chat", "params": chat(&long, json!({}))}), "messages"),
            (json!({"do": "completion", "params": {"model": MODEL, "prompt": long}}), "prompt"),
        ] {
            let error = sdk.call(call).await["error"].clone();
            let seen = (&error["status"], &error["code"], &error["param"]);
            let code = json!("context_length_exceeded");
            assert_eq!(seen, (&json!(400), &code, &json!(param)), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_looked_up() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    for sdk in Sdk::ALL {
        let mut sdk = sdk.at(&proxy);
        assert_eq!(sdk.call(json!({"do": "models"})).await, json!([MODEL]));
        assert_eq!(sdk.call(json!({"do": "model", "name": MODEL})).await, MODEL);
        let other = sdk.call(json!({"do": "model", "name": "other"})).await;
        assert_eq!(
            (&other["error"]["class"], &other["error"]["code"]),
            (&json!("NotFoundError"), &json!("model-not-allowed"))
        );
    }
}

/// Fails unless `seen` is the whole answer `text`.
fn assert_whole(seen: &Value, text: &str) {
    assert!(seen["error"].is_null(), "{seen}");
    assert_eq!((&seen["text"], &seen["finish"]), (&json!(text), &json!("stop")));
    assert!(seen["id"].as_str().is_some_and(|id| id.len() > 8), "{seen}");
}
