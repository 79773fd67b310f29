use engine::{Role, Sampling};

use super::*;
use crate::openai::object::NAME_CHARS_MAX;

fn parse(more: &str) -> Result<ChatRequest, ApiError> {
    let json = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    ChatRequest::parse(json.as_bytes())
}

#[test]
fn defaults_are_openai_s() {
    let request = parse("").unwrap();
    let ChatRequest { order, asked, .. } = request;
    assert_eq!(order.sampling, Sampling { temperature: 1.0, ..Sampling::GREEDY });
    assert!(asked.seed.is_none() && order.max_tokens.is_none() && order.bias.is_empty());
    assert_eq!((asked.choices, asked.delivery), (1, Delivery::Whole));
    assert_eq!(asked.parameters, Parameters { model: "m".into(), ..Parameters::default() });
}

#[test]
fn what_is_given_is_taken() {
    let request = parse(
        r#","temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"frequency_penalty":-2,"presence_penalty":1.5,"n":3,"logit_bias":{"7":-100,"0":2.5},"seed":-2,"max_completion_tokens":9,"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}"#,
    )
    .unwrap();
    let seed = u64::MAX.wrapping_sub(1);
    let expected = Sampling {
        temperature: 0.5,
        top_p: 0.25,
        top_k: Some(7),
        min_p: 0.125,
        frequency_penalty: -2.0,
        presence_penalty: 1.5,
        seed,
    };
    let ChatRequest { order, asked, .. } = request;
    assert_eq!(order.sampling, expected);
    assert_eq!(order.bias, [(7, -100.0), (0, 2.5)]);
    assert_eq!((asked.choices, asked.delivery), (3, Delivery::Stream(Usage::Included)));
    assert_eq!((asked.seed, order.max_tokens), (Some(seed), Some(9)));
    let parameters = Parameters {
        model: "m".into(),
        temperature: Some(0.5),
        top_p: Some(0.25),
        top_k: Some(7),
        min_p: Some(0.125),
        frequency_penalty: Some(-2.0),
        presence_penalty: Some(1.5),
        n: Some(3),
        seed: Some(-2),
        max_tokens: Some(9),
        stop: vec!["a".into(), "b".into()],
        stream: true,
        ..Parameters::default()
    };
    assert_eq!(asked.parameters, parameters);
    assert_eq!(parse(r#","stop":"a""#).unwrap().asked.parameters.stop, ["a"]);
    assert_eq!(parse(r#","max_tokens":99999999999"#).unwrap().order.max_tokens, Some(u32::MAX));
}

#[test]
fn values_that_change_nothing_are_taken() {
    for more in [
        r#","n":null,"logprobs":false,"top_logprobs":null,"logit_bias":{},"presence_penalty":null"#,
        r#","min_p":null,"tools":[ ],"tool_choice":"none","parallel_tool_calls":true"#,
        r#","response_format":{ "type": "text" },"service_tier":"auto","store":false,"metadata":{}"#,
        r#","modalities":["text"],"user":"someone","safety_identifier":"x","prompt_cache_key":"k""#,
        r#","temperature":null,"stop":null,"stream":null,"seed":null,"tools":null,"audio":null"#,
    ] {
        let request = parse(more).unwrap();
        assert_eq!(request.asked.parameters, parse("").unwrap().asked.parameters, "{more}");
    }
}

#[test]
fn log_probabilities_are_asked_for_and_committed_to() {
    for (more, wanted, top) in [
        ("", None, None),
        (r#","logprobs":null"#, None, None),
        (r#","logprobs":false"#, None, None),
        (r#","logprobs":true"#, Some(0), None),
        (r#","logprobs":true,"top_logprobs":null"#, Some(0), None),
        (r#","logprobs":true,"top_logprobs":0"#, Some(0), Some(0)),
        (r#","logprobs":true,"top_logprobs":20"#, Some(20), Some(20)),
    ] {
        let request = parse(more).unwrap();
        let Parameters { logprobs, top_logprobs, .. } = request.asked.parameters;
        assert_eq!(
            (request.order.logprobs, logprobs, top_logprobs),
            (wanted, wanted.is_some(), top),
            "{more}"
        );
    }
    for (more, code, param) in [
        (r#","logprobs":1"#, "invalid_type", "logprobs"),
        (r#","logprobs":"true""#, "invalid_type", "logprobs"),
        (r#","top_logprobs":0"#, "invalid_value", "top_logprobs"),
        (r#","top_logprobs":1"#, "invalid_value", "top_logprobs"),
        (r#","logprobs":false,"top_logprobs":1"#, "invalid_value", "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":21"#, "invalid_value", "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":-1"#, "invalid_value", "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":4294967296"#, "invalid_value", "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":1.5"#, "invalid_type", "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":true"#, "invalid_type", "top_logprobs"),
    ] {
        let error = parse(more).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{more}");
    }
}

#[test]
fn a_long_value_is_refused_without_being_built() {
    // As values a hundred times as large as its text.
    let maps = vec![r#"{"a":0}"#; 1000].join(",");
    let blank = " ".repeat(1000);
    for value in [format!("[{maps}]"), format!("[{blank}]")] {
        let error = parse(&format!(",\"functions\":{value}")).unwrap_err();
        assert_eq!(
            (error.code(), error.param()),
            (Some("unsupported_parameter"), Some("functions"))
        );
    }
    assert!(parse(&format!(",\"functions\":[{}]", " ".repeat(100))).is_ok());
}

#[test]
fn every_unsupported_field_is_refused_by_its_name() {
    for (field, value) in [
        ("audio", "{}"),
        ("function_call", "\"auto\""),
        ("functions", "[{}]"),
        ("metadata", "{\"a\":\"b\"}"),
        ("modalities", "[\"text\",\"audio\"]"),
        ("moderation", "{}"),
        ("prediction", "{}"),
        ("prompt_cache_retention", "\"24h\""),
        ("reasoning_effort", "\"high\""),
        ("service_tier", "\"flex\""),
        ("store", "true"),
        ("verbosity", "\"low\""),
        ("web_search_options", "{}"),
    ] {
        let error = parse(&format!(",\"{field}\":{value}")).unwrap_err();
        let seen = (error.status, error.code(), error.param());
        assert_eq!(seen, (400, Some("unsupported_parameter"), Some(field)));
    }
    assert_eq!(UNSUPPORTED.len(), 13, "a new field needs a row above");
    // Of other servers: nobody thinks that it was heard.
    let error = parse(",\"repetition_penalty\":1.1").unwrap_err();
    let seen = (error.status, error.code(), error.param());
    assert_eq!(seen, (400, Some("unknown_parameter"), Some("repetition_penalty")));
}

#[test]
fn the_users_page_names_every_field() {
    let page = include_str!("../../../../docs/api.md");
    let refused = UNSUPPORTED.iter().chain(&COMPLETION_UNSUPPORTED).map(|(field, _)| field);
    for field in SUPPORTED.iter().chain(&COMPLETION_SUPPORTED).chain(&IGNORED).chain(refused) {
        assert!(page.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn every_bad_value_is_refused_by_its_field() {
    for (more, code, param) in [
        (r#","temperature":2.1"#, "invalid_value", "temperature"),
        (r#","temperature":-0.1"#, "invalid_value", "temperature"),
        (r#","temperature":"1""#, "invalid_type", "temperature"),
        (r#","top_p":1.5"#, "invalid_value", "top_p"),
        (r#","top_k":0"#, "invalid_value", "top_k"),
        (r#","top_k":-1"#, "invalid_type", "top_k"),
        (r#","seed":1.5"#, "invalid_type", "seed"),
        (r#","min_p":1.1"#, "invalid_value", "min_p"),
        (r#","frequency_penalty":2.1"#, "invalid_value", "frequency_penalty"),
        (r#","frequency_penalty":"1""#, "invalid_type", "frequency_penalty"),
        (r#","presence_penalty":-2.1"#, "invalid_value", "presence_penalty"),
        (r#","n":0"#, "invalid_value", "n"),
        (r#","n":9"#, "invalid_value", "n"),
        (r#","n":4294967297"#, "invalid_value", "n"),
        (r#","logit_bias":[]"#, "invalid_type", "logit_bias"),
        (r#","logit_bias":{"1":"2"}"#, "invalid_type", "logit_bias"),
        (r#","logit_bias":{"1":100.5}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"one":1}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"+1":1}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"":1}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"4294967296":1}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"1":1,"1":1}"#, "invalid_value", "logit_bias"),
        (r#","logit_bias":{"1":1,"01":1}"#, "invalid_value", "logit_bias"),
        (r#","max_tokens":0"#, "invalid_value", "max_tokens"),
        (r#","max_tokens":-1"#, "invalid_type", "max_tokens"),
        (r#","max_tokens":1,"max_completion_tokens":2"#, "invalid_value", "max_tokens"),
        (r#","stop":["a","b","c","d","e"]"#, "invalid_value", "stop"),
        (r#","stop":"""#, "invalid_value", "stop"),
        (r#","stop":[1]"#, "invalid_type", "stop"),
        (r#","stream":1"#, "invalid_type", "stream"),
        (r#","stream_options":{"include_usage":true}"#, "invalid_value", "stream_options"),
        (r#","stream":true,"stream_options":{"x":1}"#, "invalid_type", "stream_options"),
    ] {
        let error = parse(more).unwrap_err();
        assert_eq!(
            (error.status, error.code(), error.param()),
            (400, Some(code), Some(param)),
            "{more}"
        );
    }
    let biases = |count: u32| {
        let all: Vec<String> = (0..count).map(|token| format!("\"{token}\":1")).collect();
        parse(&format!(",\"logit_bias\":{{{}}}", all.join(",")))
    };
    assert_eq!(biases(300).unwrap().order.bias.len(), 300);
    assert_eq!(biases(301).unwrap_err().param(), Some("logit_bias"));
    let error = parse(&format!(",\"{}\":1", "k".repeat(500))).unwrap_err();
    assert_eq!(error.param().map(str::len), Some(NAME_CHARS_MAX));
}

#[test]
fn messages_are_read_strictly() {
    let parse = |messages: &str| {
        ChatRequest::parse(format!(r#"{{"model":"m","messages":{messages}}}"#).as_bytes())
    };
    for (messages, code, param) in [
        ("[]", "invalid_value", "messages"),
        ("null", "missing_required_parameter", "messages"),
        ("{}", "invalid_type", "messages"),
        ("[1]", "invalid_type", "messages[0]"),
        (r#"[{"content":"x"}]"#, "missing_required_parameter", "messages[0].role"),
        (r#"[{"role":"user"}]"#, "missing_required_parameter", "messages[0].content"),
        (
            r#"[{"role":"user","content":null}]"#,
            "missing_required_parameter",
            "messages[0].content",
        ),
        (r#"[{"role":"user","content":1}]"#, "invalid_type", "messages[0].content"),
        (r#"[{"role":"robot","content":"x"}]"#, "invalid_value", "messages[0].role"),
        (r#"[{"role":"function","content":"x"}]"#, "unsupported_parameter", "messages[0].role"),
        (
            r#"[{"role":"tool","content":"x"}]"#,
            "missing_required_parameter",
            "messages[0].tool_call_id",
        ),
        (
            r#"[{"role":"tool","content":"x","tool_call_id":"c"}]"#,
            "invalid_value",
            "messages[0].tool_call_id",
        ),
        (
            r#"[{"role":"user","content":"x","tool_calls":[{}]}]"#,
            "unsupported_parameter",
            "messages[0].tool_calls",
        ),
        (
            r#"[{"role":"user","content":"x","name":"n"}]"#,
            "unsupported_parameter",
            "messages[0].name",
        ),
        (r#"[{"role":"user","content":"x","odd":1}]"#, "unknown_parameter", "messages[0].odd"),
        (
            r#"[{"role":"assistant","content":"x","tool_calls":[{}]}]"#,
            "missing_required_parameter",
            "messages[0].tool_calls[0].type",
        ),
        (
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#,
            "unsupported_parameter",
            "messages[0].content[0].type",
        ),
        (
            r#"[{"role":"user","content":[{"text":"x"}]}]"#,
            "missing_required_parameter",
            "messages[0].content[0].type",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text"}]}]"#,
            "missing_required_parameter",
            "messages[0].content[0].text",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text","text":"x","odd":1}]}]"#,
            "unknown_parameter",
            "messages[0].content[0].odd",
        ),
        (
            r#"[{"role":"user","content":"x"},{"role":"x","content":"x"}]"#,
            "invalid_value",
            "messages[1].role",
        ),
    ] {
        let error = parse(messages).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{messages}");
    }
    let whole = parse(
        r#"[{"role":"developer","content":"s"},{"role":"assistant","content":"a","tool_calls":[],"refusal":null},{"role":"user","content":[{"type":"text","text":"x\u00e4"},{"type":"text","text":"y"}]}]"#,
    )
    .unwrap();
    let said: Vec<_> =
        whole.messages.iter().map(|m| (m.role, m.content.expose().as_str())).collect();
    assert_eq!(said, [(Role::System, "s"), (Role::Assistant, "a"), (Role::User, "xäy")]);
}

#[test]
fn calls_and_their_results_are_read() {
    let said = |arguments: &str, id: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        let json = format!(
            r#"{{"model":"m","messages":[{{"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[{{"id":"c1","type":"function","function":{{"name":"f","arguments":{arguments}}}}}]}},{{"role":"tool","tool_call_id":"{id}","content":"r"}}]}}"#
        );
        ChatRequest::parse(json.as_bytes())
    };
    let request = said(r#"{"a":1}"#, "c1").unwrap();
    let [call, result] = request.messages.as_slice() else { panic!() };
    assert_eq!((call.content.expose().as_str(), call.calls.len()), ("", 1));
    assert_eq!((call.calls[0].id.as_str(), call.calls[0].name.as_str()), ("c1", "f"));
    assert_eq!(call.calls[0].arguments.expose(), r#"{"a":1}"#);
    assert_eq!((result.role, result.answers.as_deref()), (Role::Tool, Some("c1")));
    for (arguments, id, param) in [
        ("", "c1", "messages[0].tool_calls[0].function.arguments"),
        ("[]", "c1", "messages[0].tool_calls[0].function.arguments"),
        ("{}", "c2", "messages[1].tool_call_id"),
    ] {
        let error = said(arguments, id).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some("invalid_value"), Some(param)));
    }
}

#[test]
fn tools_are_read_strictly() {
    use engine::ToolChoice;
    const TOOL: &str = r#"{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{"type": "object"}}}"#;
    let given = parse(&format!(
        r#","tools":[{TOOL},{{"type":"function","function":{{"name":"g"}}}}],"parallel_tool_calls":false"#
    ));
    let tools = given.unwrap().tools;
    assert_eq!((tools.choice, tools.parallel), (ToolChoice::Auto, false));
    let [f, g] = tools.offered.as_slice() else { panic!() };
    assert_eq!((f.name.as_str(), f.parameters.expose().as_str()), ("f", r#"{"type": "object"}"#));
    assert_eq!(f.description.as_ref().map(|d| d.expose().as_str()), Some("d"));
    assert!(g.description.is_none() && g.parameters.expose().contains("additionalProperties"));
    let choice = |choice: &str| parse(&format!(r#","tools":[{TOOL}],"tool_choice":{choice}"#));
    for (given, expected) in [
        ("null", ToolChoice::Auto),
        (r#""auto""#, ToolChoice::Auto),
        (r#""none""#, ToolChoice::None),
        (r#""required""#, ToolChoice::Required),
        (r#"{"type":"function","function":{"name":"f"}}"#, ToolChoice::Named("f".to_owned())),
    ] {
        let tools = choice(given).unwrap().tools;
        assert_eq!((tools.choice, tools.parallel), (expected, true), "{given}");
    }
    for (given, code, param) in [
        (r#""any""#, "invalid_value", "tool_choice"),
        ("1", "invalid_type", "tool_choice"),
        (r#"{"type":"allowed_tools"}"#, "unsupported_parameter", "tool_choice.type"),
        (r#"{"type":"function"}"#, "missing_required_parameter", "tool_choice.function"),
        (
            r#"{"type":"function","function":{"name":"h"}}"#,
            "invalid_value",
            "tool_choice.function.name",
        ),
    ] {
        let error = choice(given).map(drop).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{given}");
    }
    for (more, code, param) in [
        (r#","tools":1"#.to_owned(), "invalid_type", "tools"),
        (r#","tools":[1]"#.to_owned(), "invalid_type", "tools[0]"),
        (r#","tools":[{}]"#.to_owned(), "missing_required_parameter", "tools[0].type"),
        (r#","tools":[{"type":"custom"}]"#.to_owned(), "unsupported_parameter", "tools[0].type"),
        (
            r#","tools":[{"type":"function"}]"#.to_owned(),
            "missing_required_parameter",
            "tools[0].function",
        ),
        (
            r#","tools":[{"type":"function","function":{"name":"a.b"}}]"#.to_owned(),
            "invalid_value",
            "tools[0].function.name",
        ),
        (format!(r#","tools":[{TOOL},{TOOL}]"#), "invalid_value", "tools[1].function.name"),
        (format!(r#","tools":[{}]"#, vec![TOOL; 129].join(",")), "invalid_value", "tools"),
        (r#","tool_choice":"auto""#.to_owned(), "invalid_value", "tool_choice"),
        (r#","parallel_tool_calls":1"#.to_owned(), "invalid_type", "parallel_tool_calls"),
    ] {
        let error = parse(&more).map(drop).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{more}");
    }
}

#[test]
fn formats_are_read_strictly() {
    use engine::Format;
    let format = |format: &str| {
        parse(&format!(",\"response_format\":{format}")).map(|request| request.order.format)
    };
    assert!(matches!(format(r#"{ "type" : "text" }"#), Ok(Format::Text)));
    assert!(matches!(format("null"), Ok(Format::Text)));
    assert!(matches!(format(r#"{"type":"json_object","json_schema":null}"#), Ok(Format::Object)));
    for strict in ["true", "false", "null"] {
        let given = format(&format!(
            r#"{{"type":"json_schema","json_schema":{{"name":"a-b_9","description":"d","strict":{strict},"schema":{{"type": "null"}}}}}}"#
        ));
        let Ok(Format::Schema(schema)) = given else { panic!("{given:?}") };
        assert_eq!(schema.expose(), r#"{"type": "null"}"#);
    }
    for (given, code, param) in [
        ("1", "invalid_type", "response_format"),
        ("{}", "missing_required_parameter", "response_format.type"),
        (r#"{"type":"xml"}"#, "invalid_value", "response_format.type"),
        (r#"{"type":"text","odd":1}"#, "unknown_parameter", "response_format.odd"),
        (r#"{"type":"text","json_schema":{}}"#, "invalid_value", "response_format.json_schema"),
        (r#"{"type":"json_schema"}"#, "missing_required_parameter", "response_format.json_schema"),
        (
            r#"{"type":"json_schema","json_schema":1}"#,
            "invalid_type",
            "response_format.json_schema",
        ),
        (
            r#"{"type":"json_schema","json_schema":{"schema":{}}}"#,
            "missing_required_parameter",
            "response_format.json_schema.name",
        ),
        (
            r#"{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}"#,
            "invalid_value",
            "response_format.json_schema.name",
        ),
        (
            r#"{"type":"json_schema","json_schema":{"name":"a"}}"#,
            "missing_required_parameter",
            "response_format.json_schema.schema",
        ),
        (
            r#"{"type":"json_schema","json_schema":{"name":"a","schema":{},"strict":1}}"#,
            "invalid_type",
            "response_format.json_schema.strict",
        ),
        (
            r#"{"type":"json_schema","json_schema":{"name":"a","schema":{},"odd":1}}"#,
            "unknown_parameter",
            "response_format.json_schema.odd",
        ),
    ] {
        let error = format(given).map(drop).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{given}");
    }
}

#[test]
fn a_completion_is_read_as_strictly() {
    let parse = |more: &str| {
        CompletionRequest::parse(format!(r#"{{"model":"m","prompt":"hi"{more}}}"#).as_bytes())
    };
    let plain = parse("").unwrap();
    assert_eq!((plain.prompt.expose().as_str(), plain.order.max_tokens), ("hi", Some(16)));
    let default = Parameters { model: "m".into(), ..Parameters::default() };
    assert_eq!(plain.asked.parameters, default);
    let neutral = r#","n":null,"best_of":1,"echo":false,"logprobs":null,"suffix":"","user":"u""#;
    assert_eq!(parse(neutral).unwrap().asked.parameters, default);
    let given = parse(r#","max_tokens":7,"seed":1,"stop":"x","stream":true"#).unwrap();
    assert_eq!((given.order.max_tokens, given.asked.seed), (Some(7), Some(1)));
    assert_eq!(given.asked.delivery, Delivery::Stream(Usage::Omitted));
    assert_eq!(given.asked.parameters.max_tokens, Some(7));
    for count in [0, 5] {
        let given = parse(&format!(r#","logprobs":{count},"n":2"#)).unwrap();
        let Parameters { logprobs, top_logprobs, n, .. } = given.asked.parameters;
        assert_eq!((logprobs, top_logprobs, n), (true, Some(count.into()), Some(2)));
        assert_eq!((given.order.logprobs, given.asked.choices), (Some(count), 2));
    }
    for (more, code, param) in [
        (r#","best_of":2"#, "unsupported_parameter", "best_of"),
        (r#","echo":true"#, "unsupported_parameter", "echo"),
        (r#","suffix":"x""#, "unsupported_parameter", "suffix"),
        (r#","logprobs":6"#, "invalid_value", "logprobs"),
        (r#","logprobs":-1"#, "invalid_value", "logprobs"),
        (r#","logprobs":true"#, "invalid_type", "logprobs"),
        (r#","top_logprobs":1"#, "unknown_parameter", "top_logprobs"),
        (r#","n":9"#, "invalid_value", "n"),
        (r#","max_tokens":0"#, "invalid_value", "max_tokens"),
        (r#","temperature":3"#, "invalid_value", "temperature"),
        (r#","repetition_penalty":1.1"#, "unknown_parameter", "repetition_penalty"),
        (r#","messages":[]"#, "unknown_parameter", "messages"),
        (r#","max_completion_tokens":1"#, "unknown_parameter", "max_completion_tokens"),
    ] {
        let error = parse(more).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{more}");
    }
    for (prompt, code, param) in [
        ("[]", "invalid_value", "prompt"),
        ("null", "missing_required_parameter", "prompt"),
        ("1", "invalid_type", "prompt"),
        ("[1,2]", "unsupported_parameter", "prompt[1]"),
        ("[1]", "invalid_type", "prompt"),
        (r#"["a","b"]"#, "unsupported_parameter", "prompt[1]"),
    ] {
        let json = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
        let error = CompletionRequest::parse(json.as_bytes()).unwrap_err();
        assert_eq!((error.code(), error.param()), (Some(code), Some(param)), "{prompt}");
    }
    let one = CompletionRequest::parse(br#"{"model":"m","prompt":["one"]}"#).unwrap();
    assert_eq!(one.prompt.expose(), "one");
    assert!(!format!("{one:?}").contains("one"));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for json in [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{\"a\":1}x",
        r#"{"model":"m","model":"m","messages":[]}"#,
        r#"{"model":"m","mo\u0064el":"m","messages":[]}"#,
    ] {
        let error = ChatRequest::parse(json.as_bytes()).unwrap_err();
        assert_eq!((error.status, error.param()), (400, None), "{json:.60}");
    }
    assert!(ChatRequest::parse(&[b'{', 0xff, b'}']).is_err());
    // Depth costs no stack.
    for field in ["messages", "tools", "stop", "odd"] {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"model":"m","{field}":{open}{close}}}"#);
        assert_eq!(ChatRequest::parse(deep.as_bytes()).unwrap_err().status, 400, "{field}");
    }
}

#[test]
fn debug_shows_no_content() {
    let request = ChatRequest::parse(
        br#"{"model":"m","messages":[{"role":"user","content":"canary"}],"stop":"canary"}"#,
    );
    assert!(!format!("{:?}", request.unwrap()).contains("canary"));
}
