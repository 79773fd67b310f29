//! What vLLM and `SGLang` were seen to say, by their members, their order, their nulls and their counts.
//!
//! Neither runs where these tests do. Each script is cut down from a recording that its users published,
//! named at it; ids, names and texts are ours. Where no recording was found, that is said.

use serde_json::{Value, json};
use upstream::{Failure, Finish, Kind, Reply, Tokens};

use crate::{Server, all, question, streamed};

/// One call of vLLM's, whose arguments come in pieces: the spec `streaming tool_calls - vllm capture` of
/// `g0t4/ask-openai.nvim`, April 2025; the event of counts as in [`VLLM_COUNTED`].
const VLLM_CALL: &[&str] = &[
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"id":"chatcmpl-tool-0b","type":"function","index":0,"function":{"name":"run"}}]},"logprobs":null,"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"command\": \""}}]},"logprobs":null,"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"ls\"}"}}]},"logprobs":null,"finish_reason":null}]}"#,
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"tool_calls","stop_reason":null}]}"#,
    r#"{"id":"chatcmpl-0a","object":"chat.completion.chunk","created":1744513664,"model":"m","choices":[],"usage":{"prompt_tokens":46,"total_tokens":72,"completion_tokens":26}}"#,
    "[DONE]",
];

/// Text of vLLM's with counts in every event: `spec/lib/completions/endpoints/vllm_spec.rb` of
/// `discourse/discourse-ai`, November 2024; `token_ids` and `prompt_token_ids` as vllm-omni's pull request
/// 2313 shows them for `continuous_usage_stats`, May 2026.
const VLLM_COUNTED: &[&str] = &[
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1731295402,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":46,"total_tokens":46,"completion_tokens":0},"prompt_token_ids":null}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1731295402,"model":"m","choices":[{"index":0,"delta":{"content":"Good"},"logprobs":null,"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":46,"total_tokens":47,"completion_tokens":1}}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1731295402,"model":"m","choices":[{"index":0,"delta":{"content":" day"},"logprobs":null,"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":46,"total_tokens":49,"completion_tokens":3}}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1731295402,"model":"m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}],"usage":{"prompt_tokens":46,"total_tokens":50,"completion_tokens":4}}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1731295402,"model":"m","choices":[],"usage":{"prompt_tokens":46,"total_tokens":50,"completion_tokens":4}}"#,
    "[DONE]",
];

/// Two calls of `SGLang`'s after thoughts and text: `SglangProviderStreamingTest.php` of `SugarCraft` Crush,
/// captured live in August 2026; the event of counts as in a recording of December 2025 in the test
/// `TestChatCompletionMerger`, and in near.ai's documentation (`reasoning_tokens`).
const SGLANG_CALLS: &[&str] = &[
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195762,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":null,"role":"assistant","content":""},"logprobs":null,"finish_reason":null,"matched_stop":null}]}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195762,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"Two"},"logprobs":null,"finish_reason":null,"matched_stop":null}]}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195763,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":"I","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195764,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":"call_0b","index":0,"type":"function","function":{"name":"get_weather","arguments":""}}]},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195764,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":null,"index":0,"type":"function","function":{"name":null,"arguments":"{\"city\": \"Oslo\"}"}}]},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195764,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":"call_0c","index":1,"type":"function","function":{"name":"get_weather","arguments":""}}]},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195765,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":null,"index":1,"type":"function","function":{"name":null,"arguments":"{\"city\": \"Rome\"}"}}]},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195765,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":null},"logprobs":null,"finish_reason":"tool_calls","matched_stop":1}]}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1787195765,"model":"m","choices":[],"usage":{"prompt_tokens":31,"total_tokens":46,"completion_tokens":15,"prompt_tokens_details":null,"reasoning_tokens":4}}"#,
    "[DONE]",
];

/// Text of a server of `SGLang`'s kind whose events say `""` while they go on: a provider's documentation of
/// September 2025 (`matched_stop` of a token's number; no counts, which are ours).
const SGLANG_EMPTY: &[&str] = &[
    r#"{"id":"0a","object":"chat.completion.chunk","created":1757739515,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"","matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1757739515,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":"moon"},"logprobs":null,"finish_reason":"","matched_stop":null}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1757739517,"model":"m","choices":[{"index":0,"delta":{"role":null,"content":""},"logprobs":null,"finish_reason":"stop","matched_stop":166101}],"usage":null}"#,
    r#"{"id":"0a","object":"chat.completion.chunk","created":1757739517,"model":"m","choices":[],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}}"#,
    "[DONE]",
];

/// Likelihoods: no recording of their lines was found. The members are those that an SDK printed of vLLM's
/// (`BerriAI/litellm` issue 4898, July 2024), in the order of vLLM's protocol definition.
const VLLM_LIKELY: &[&str] = &[
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1721976759,"model":"m","choices":[{"index":0,"delta":{"content":"icopter"},"logprobs":{"content":[{"token":"icopter","logprob":-0.009614944458007812,"bytes":[105,99,111,112,116,101,114],"top_logprobs":[{"token":"icopter","logprob":-0.009614944458007812,"bytes":[105,99,111,112,116,101,114]},{"token":"ix","logprob":-5.509614944458008,"bytes":[105,120]}]}]},"finish_reason":null}]}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1721976759,"model":"m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"length","stop_reason":null}]}"#,
    r#"{"id":"chat-0a","object":"chat.completion.chunk","created":1721976759,"model":"m","choices":[],"usage":{"prompt_tokens":4,"total_tokens":5,"completion_tokens":1}}"#,
    "[DONE]",
];

/// The members of an event that are passed on as they came.
fn passed(event: &Value) -> Value {
    let mut event = event.clone();
    let members = event.as_object_mut().unwrap();
    for name in ["id", "model", "created", "system_fingerprint", "usage"] {
        members.remove(name);
    }
    event
}

#[tokio::test]
async fn recorded_streams_pass_with_their_calls_thoughts_and_likelihoods() {
    let tokens = |prompt, completion| Tokens { prompt, completion, cached: 0 };
    for (script, finish, counted) in [
        (VLLM_CALL, Finish::Stop, tokens(46, 26)),
        (VLLM_COUNTED, Finish::Stop, tokens(46, 4)),
        (SGLANG_CALLS, Finish::Stop, tokens(31, 15)),
        (SGLANG_EMPTY, Finish::Stop, tokens(5, 1)),
        (VLLM_LIKELY, Finish::Length, tokens(4, 1)),
    ] {
        let recorded: Vec<Value> = script
            .iter()
            .filter(|event| **event != "[DONE]")
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        let (counts, events) = recorded.split_last().unwrap();
        for asked in [false, true] {
            let options = json!({"stream_options": {"include_usage": asked}});
            let (said, ended) = streamed(options, script).await.unwrap();
            let end = ended.end().unwrap();
            assert_eq!((end.finish, end.tokens), (finish, counted));
            assert_eq!(said.len(), events.len() + usize::from(asked));
            for (said, recorded) in said.iter().zip(events) {
                assert_eq!(passed(said), passed(recorded));
                assert_eq!((&said["id"], &said["model"]), (&json!("ours"), &json!("asked")));
                assert!(said.get("usage").is_none(), "{said}");
            }
            if asked {
                assert_eq!(said.last().unwrap()["usage"], counts["usage"]);
            }
        }
    }
}

#[tokio::test]
async fn what_was_said_before_a_recorded_stream_breaks_is_counted() {
    for (script, cut, counted) in [
        (VLLM_COUNTED, 3, Tokens { prompt: 46, completion: 3, cached: 0 }),
        // Without counts, an event that says something says a token at least.
        (SGLANG_CALLS, 5, Tokens { prompt: 0, completion: 4, cached: 0 }),
        (VLLM_LIKELY, 1, Tokens { prompt: 0, completion: 1, cached: 0 }),
    ] {
        let (server, upstream) = Server::new(Kind::Sglang).await;
        server.well(&upstream).await;
        let say = async { server.next().await.events(&script[..cut]).await };
        let ask = upstream.ask(question(&json!({"stream": true}), 1));
        let (reply, ()) = tokio::join!(ask, say);
        let Ok(Reply::Events(mut events)) = reply else { panic!("no stream") };
        assert_eq!(events.tokens(), Tokens::default());
        assert_eq!(all(&mut events).await, Err(Failure::Broken));
        assert_eq!(events.tokens(), counted);
    }
}

/// A refusal of `SGLang`'s that comes with a status of 200: `BerriAI/litellm` issue 25492, April 2026. The
/// bodies with a status: vLLM's and `SGLang`'s, as their users quote them in 2024 to 2026.
#[tokio::test]
async fn recorded_refusals_keep_their_meaning() {
    let late = r#"{"error": {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 196608 tokens. You requested a total of 204830 tokens: 172830 tokens from the input messages and 32000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.", "type": "BadRequestError", "param": null, "code": 400}}"#;
    assert_eq!(streamed(json!({}), &[late, "[DONE]"]).await.err(), Some(Failure::TooLong));
    let other = late.replace("maximum context length", "x");
    let none = Failure::Refused { param: None };
    assert_eq!(streamed(json!({}), &[&other, "[DONE]"]).await.err(), Some(none));
    // Of another status, and of none: made up.
    let busy = Failure::Busy { status: 503, retry_after: 1 };
    for (code, failure) in [("503", busy), ("500", Failure::Broken), ("null", Failure::Broken)] {
        let event = other.replace("\"code\": 400", &format!("\"code\": {code}"));
        assert_eq!(streamed(json!({}), &[&event, "[DONE]"]).await.err(), Some(failure));
    }
    for body in [
        r#"{"object":"error","message":"This model's maximum context length is 32768 tokens. However, you requested 34000 tokens (32000 in the messages, 2000 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
        r#"{"object":"error","message":"The input (12345 tokens) is longer than the model's context length (8192 tokens).","type":"BadRequestError","param":null,"code":400}"#,
        r#"{"object":"error","message":"Input length (700001 tokens) exceeds the maximum allowed length (536826 tokens). Use a shorter input or enable --allow-auto-truncate.","type":"BadRequestError","param":null,"code":400}"#,
    ] {
        assert_eq!(refused(body).await, Failure::TooLong, "{body}");
    }
    let named = r#"{"error":{"message":"max_tokens=8192 cannot be greater than max_model_len=max_total_tokens=4096. Please request fewer output tokens. (parameter=max_tokens, value=8192)","type":"BadRequestError","param":"max_tokens","code":400}}"#;
    assert_eq!(refused(named).await, Failure::Refused { param: Some("max_tokens".to_owned()) });
}

async fn refused(body: &str) -> Failure {
    let (server, upstream) = Server::new(Kind::Vllm).await;
    server.well(&upstream).await;
    let say = async { server.next().await.say(400, "application/json", body).await };
    let (reply, ()) = tokio::join!(upstream.ask(question(&json!({}), 1)), say);
    reply.unwrap_err()
}
