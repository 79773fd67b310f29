//! Several answers to one request.

use attestation::receipt::{FinishReason, Parameters, Usage};
use channel::padding::CELL_LEN;
use engine::{Candidate, EngineError, GenerationEvent, Secret, TokenLogprobs};
use serde_json::json;

use crate::support::{self, MODEL, Peer, Played, delta, start_with, user};

fn finished(reason: engine::FinishReason, completion_tokens: u32) -> GenerationEvent {
    GenerationEvent::Finished { reason, completion_tokens }
}

#[tokio::test]
async fn each_choice_is_a_generation_of_its_own_and_they_end_together() {
    use engine::FinishReason::{Length, Stop};
    for (top, stream) in [("", false), ("", true), ("padding = \"p2\"", true)] {
        let (engine, mut stage) = Played::new();
        let serving = start_with(engine, top, "").await;
        let peer = Peer::of(&serving).await;
        let more = format!(
            r#","n":3,"seed":5,"stream":{stream}{}"#,
            if stream { r#","stream_options":{"include_usage":true}"# } else { "" }
        );
        let sealed = peer.seal_chat(&user("x", &more));
        let response = support::post(&serving, sealed.body.clone()).await;
        let mut asks = Vec::new();
        let mut plays = Vec::new();
        for _ in 0..3 {
            let (ask, events) = stage.recv().await.unwrap();
            asks.push(ask);
            plays.push(events);
        }
        let seeds: Vec<u64> = asks.iter().map(|ask| ask.order.sampling.seed).collect();
        assert_eq!(seeds[0], 5, "one choice is what no choice was");
        assert!(seeds[1] != seeds[0] && seeds[2] != seeds[1] && seeds[2] != seeds[0]);
        for ask in &asks {
            assert_eq!(ask.messages[0].content.expose(), "x");
            assert_eq!(ask.order.tenant, asks[0].order.tenant);
        }
        // The last is done before the first has said a word.
        plays[2].send(delta("third", 2)).await.unwrap();
        plays[2].send(finished(Stop, 2)).await.unwrap();
        plays[0].send(delta("fir", 1)).await.unwrap();
        plays[1].send(delta("second", 4)).await.unwrap();
        plays[1].send(finished(Stop, 4)).await.unwrap();
        plays[0].send(delta("st", 2)).await.unwrap();
        plays[0].send(finished(Length, 3)).await.unwrap();
        let answer = peer.open(sealed, &support::collect(response).await);
        let usage = Usage { prompt: 7, completion: 9, cached: 0 };
        assert_eq!((answer.receipt.usage, answer.receipt.finish), (usage, FinishReason::Length));
        let parameters = Parameters {
            model: MODEL.into(),
            seed: Some(5),
            stream,
            n: Some(3),
            ..Parameters::default()
        };
        assert_eq!(answer.receipt.par_mac, answer.par_mac(&parameters));
        let (mut texts, mut ends, mut roles) = (vec![String::new(); 3], Vec::new(), 0);
        if stream {
            assert!(answer.chunks.iter().all(|len| *len == CELL_LEN));
            for chunk in answer.chunks_json() {
                let Some(choice) = chunk["choices"].get(0) else { continue };
                let at = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
                texts[at].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                roles += usize::from(choice["delta"]["role"] == "assistant");
                if let Some(end) = choice["finish_reason"].as_str() {
                    ends.push((at, end.to_owned()));
                } else {
                    assert!(
                        ends.is_empty(),
                        "ends are told last: a client holds back what follows"
                    );
                }
            }
            assert_eq!(roles, 3);
        } else {
            let body = answer.json();
            for (at, choice) in body["choices"].as_array().unwrap().iter().enumerate() {
                assert_eq!(choice["index"], at);
                texts[at].push_str(choice["message"]["content"].as_str().unwrap());
                ends.push((at, choice["finish_reason"].as_str().unwrap().to_owned()));
            }
            let counts = json!({"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16});
            assert_eq!(body["usage"], counts);
        }
        assert_eq!(texts, ["first", "second", "third"]);
        let expected = [(0, "length"), (1, "stop"), (2, "stop")];
        assert_eq!(ends, expected.map(|(at, end)| (at, end.to_owned())));
    }
}

#[tokio::test]
async fn one_that_fails_fails_all() {
    let (engine, mut stage) = Played::new();
    let serving = start_with(engine, "", "").await;
    let peer = Peer::of(&serving).await;
    let sealed = peer.seal_chat(&user("x", r#","n":2,"stream":true"#));
    let response = support::post(&serving, sealed.body.clone()).await;
    let (_, first) = stage.recv().await.unwrap();
    let (_, second) = stage.recv().await.unwrap();
    first.send(delta("half", 3)).await.unwrap();
    second.send(GenerationEvent::Failed(EngineError::Crashed)).await.unwrap();
    first.closed().await;
    let answer = peer.open(sealed, &support::collect(response).await);
    assert_eq!(answer.receipt.finish, FinishReason::Aborted);
}

#[tokio::test]
async fn a_completion_tells_likelihoods_in_the_older_shape() {
    for stream in [false, true] {
        let (engine, mut stage) = Played::new();
        let serving = start_with(engine, "", "").await;
        let peer = Peer::of(&serving).await;
        let mut request = peer
            .chat(&format!(r#"{{"model":"{MODEL}","prompt":"p","logprobs":1,"stream":{stream}}}"#));
        request.path = "/v1/completions".to_owned();
        let sealed = peer.seal(&request);
        let response = support::post(&serving, sealed.body.clone()).await;
        let (prompt, events) = stage.recv().await.unwrap();
        assert_eq!(prompt.order.logprobs, Some(1));
        let one = |octets, logprob| Candidate { octets, control: false, logprob };
        for (said, text) in [(1, "ä"), (2, "b")] {
            let entry = TokenLogprobs::new(one(text.as_bytes(), -0.5), [one(b"x", -0.25)]);
            let text = Secret::new(text.to_owned());
            events.send(GenerationEvent::Delta(text, said, vec![entry])).await.unwrap();
        }
        events.send(finished(engine::FinishReason::Stop, 2)).await.unwrap();
        let answer = peer.open(sealed, &support::collect(response).await);
        let parameters = Parameters {
            model: MODEL.into(),
            stream,
            logprobs: true,
            top_logprobs: Some(1),
            ..Parameters::default()
        };
        assert_eq!(answer.receipt.par_mac, answer.par_mac(&parameters));
        let told = |tokens: &[&str], offsets: &[u32]| {
            let top = vec![json!({"x": -0.25}); tokens.len()];
            json!({"tokens": tokens, "token_logprobs": vec![-0.5; tokens.len()],
                "top_logprobs": top, "text_offset": offsets})
        };
        if stream {
            let chunks = answer.chunks_json();
            assert_eq!(chunks[0]["choices"][0]["logprobs"], told(&["ä"], &[0]));
            assert_eq!(chunks[1]["choices"][0]["logprobs"], told(&["b"], &[1]));
        } else {
            let choice = &answer.json()["choices"][0];
            assert_eq!(choice["logprobs"], told(&["ä", "b"], &[0, 1]));
        }
    }
}
