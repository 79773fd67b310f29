//! Tokenizers and chat templates against llama.cpp's; `tests/record.py` says how they were recorded.
//!
//! The vocabularies and templates are other people's, and are read from llama.cpp's source, which
//! `make peers` unpacks into `target/peers`, and from the models in `target/model`. Where one is absent
//! the test says so; the modules' own tests carry cases of their own.
#![expect(clippy::print_stderr, reason = "says what it could not test")]

use std::path::PathBuf;

use attestation::{Secret, Sha256};
use serde::Deserialize;

use crate::api::{EngineError, Message, Role, TemplateFault};
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::template::ChatTemplate;
use crate::tiny::{self, Writer};
use crate::tokenizer::{Controls, Tokenizer};
use crate::tools::Tools;

#[derive(Deserialize)]
struct Tokens {
    model_sha256: String,
    texts: Vec<Text>,
}

#[expect(clippy::struct_field_names, reason = "as the recording names them")]
#[derive(Deserialize)]
struct Text {
    text: String,
    parsed: Vec<u32>,
    plain: Vec<u32>,
}

#[derive(Deserialize)]
struct Templates {
    renderings: Vec<Rendering>,
}

#[derive(Deserialize)]
struct Rendering {
    template: String,
    template_sha256: String,
    messages: Vec<(String, String)>,
    /// None: the template refused.
    prompt: Option<String>,
}

/// One text is excepted: Qwen's and Gemma's vocabularies have `</s>` as an ordinary token, which llama.cpp takes for a
/// control token because other families end their texts with it.
#[test]
fn texts_become_the_tokens_of_llama_cpp() {
    let mut differences = Vec::new();
    for (name, file) in [
        ("gpt-2", source("models/ggml-vocab-gpt-2.gguf")),
        ("llama-bpe", source("models/ggml-vocab-llama-bpe.gguf")),
        ("llama-spm", source("models/ggml-vocab-llama-spm.gguf")),
        ("qwen2", source("models/ggml-vocab-qwen2.gguf")),
        ("falcon", source("models/ggml-vocab-falcon.gguf")),
        ("smollm2", model("SmolLM2-135M-Instruct.Q4_1.gguf")),
        ("gemma3", model("gemma-3-270m-q4_k_m.gguf")),
    ] {
        let recorded: Tokens = recording(&format!("tokens-{name}"));
        assert!(recorded.texts.len() > 25);
        let Some(file) = present(file) else { continue };
        assert_eq!(Sha256::of(&file).to_string(), recorded.model_sha256, "{name}");
        let tokenizer = Tokenizer::read(&Gguf::parse(&file).unwrap()).unwrap();
        for Text { text, parsed, plain } in &recorded.texts {
            for (controls, expected) in [(Controls::Parsed, parsed), (Controls::Inert, plain)] {
                let tokens = tokenizer.encode(text, controls);
                let excepted = ["qwen2", "gemma3"].contains(&name) && text.contains("</s>");
                if *tokens != *expected && !excepted {
                    differences
                        .push(format!("{name} {controls:?} {text:?}: {tokens:?} for {expected:?}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Where a template refuses to be given a system message, so do we; llama.cpp gives it to the user instead.
#[test]
fn templates_render_as_llama_cpp_renders_them() {
    let model = tiny::family("qwen2").unwrap();
    let tokenizer = Tokenizer::read(&Gguf::parse(&model).unwrap()).unwrap();
    let recorded: Templates = recording("templates");
    assert!(recorded.renderings.len() > 25);
    let mut differences = Vec::new();
    for Rendering { template, template_sha256, messages, prompt } in &recorded.renderings {
        let Some(text) = present(source(&format!("models/templates/{template}"))) else { continue };
        assert_eq!(Sha256::of(&text).to_string(), *template_sha256, "{template}");
        let mut writer = Writer::new();
        writer.text(CHAT_TEMPLATE, core::str::from_utf8(&text).unwrap());
        let file = writer.finish();
        let compiled = ChatTemplate::read(&Gguf::parse(&file).unwrap(), &tokenizer).unwrap();
        let messages: Vec<Message> = messages
            .iter()
            .map(|(role, content)| {
                Message::new(Role::parse(role).unwrap(), Secret::new(content.clone()))
            })
            .collect();
        let rendered = compiled.render(&tokenizer, &messages, &Tools::default());
        if template == "google-gemma-2-2b-it.jinja"
            && messages.iter().any(|message| message.role == Role::System)
        {
            let refused = rendered.map(drop);
            assert_eq!(refused, Err(EngineError::Template(TemplateFault::Refused)));
            continue;
        }
        let ours = rendered.as_ref().ok().map(crate::template::Prompt::plain);
        if ours.as_ref().map(Secret::expose) != prompt.as_ref() {
            let ours = rendered.map(|prompt| prompt.plain().expose().clone());
            differences.push(format!("{template}: {ours:?} for {prompt:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn recording<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "its callers made it for this")]
fn present(file: PathBuf) -> Option<Vec<u8>> {
    let read = std::fs::read(&file).ok();
    if read.is_none() {
        eprintln!("not compared with llama.cpp: {} is absent", file.display());
    }
    read
}

fn source(path: &str) -> PathBuf {
    target("peers/llama.cpp").join(path)
}

fn model(file: &str) -> PathBuf {
    target("model").join(file)
}

/// Where `make` puts what it fetches; the engine's own sources ask no environment, tests or not.
fn target(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path)
}
