//! What the enclaves must answer: the same engine in this process, asked before anything else runs.

use attestation::{Secret, Sha256};
use engine::{
    EmbeddedEngine, Engine as _, EngineOptions, FinishReason, GenerationEvent, Message, Order,
    Request, Role, Sampling, TensorType, VerifiedModel, tiny,
};
use serde_json::{Value, json};
use tests::{programs::MODEL, scan::Needle};

/// A question and its only right answer.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    prompt: String,
    temperature: f32,
    seed: u32,
    tokens_max: u32,
    /// The answer's text.
    pub(crate) text: String,
    /// The answer's finish reason.
    pub(crate) finish: &'static str,
    /// The answer's tokens.
    pub(crate) tokens: u32,
}

impl Known {
    /// Some questions, short and long, greedy and not.
    ///
    /// Each holds the canary.
    pub(crate) fn some(canary: &Needle) -> Vec<Self> {
        let bytes = tiny::model(TensorType::F32);
        let digest = Sha256::of(&bytes).0;
        let model = VerifiedModel::check(bytes, digest).expect("the digest is the file's");
        let options = EngineOptions {
            threads: 1,
            slots: 1,
            queue: 1,
            context: 512,
            ..EngineOptions::default()
        };
        let engine = EmbeddedEngine::load(model, options).expect("the tiny model loads");
        (0..QUESTIONS)
            .map(|number| {
                let prompt =
                    format!("question {number}: {} {}", canary.text(), "why? ".repeat(number % 9));
                let temperature = if number % 2 == 0 { 0.0 } else { 1.25 };
                let tokens_max = [3, 40, 120, 300][number % 4];
                let seed = u32::try_from(number).unwrap_or(0);
                Self::ask(&engine, prompt, temperature, seed, tokens_max)
            })
            .collect()
    }

    fn ask(
        engine: &EmbeddedEngine,
        prompt: String,
        temperature: f32,
        seed: u32,
        tokens_max: u32,
    ) -> Self {
        let sampling = Sampling { temperature, seed: seed.into(), ..Sampling::GREEDY };
        let content = Secret::new(prompt.clone());
        let request = Request::new(
            vec![Message::new(Role::User, content)],
            Order { sampling, max_tokens: Some(tokens_max), ..Order::default() },
        );
        let mut generation = engine.start(request).expect("the engine takes the question");
        let mut text = String::new();
        loop {
            match generation.events.blocking_recv() {
                Some(GenerationEvent::Delta(delta, ..)) => text.push_str(delta.expose()),
                Some(GenerationEvent::Call(call, _)) => panic!("{call:?}"),
                Some(GenerationEvent::Vector(_)) => panic!("no vector was asked for"),
                Some(GenerationEvent::Finished { reason, completion_tokens: tokens }) => {
                    let finish = if reason == FinishReason::Length { "length" } else { "stop" };
                    return Self { prompt, temperature, seed, tokens_max, text, finish, tokens };
                }
                Some(GenerationEvent::Failed(error)) => panic!("{error}"),
                None => panic!("the engine stopped"),
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str, finish: &'static str, tokens: u32) -> Self {
        let (prompt, text) = (String::new(), text.to_owned());
        Self { prompt, temperature: 0.0, seed: 0, tokens_max: 0, text, finish, tokens }
    }

    /// The question as an SDK writes it.
    pub(crate) fn body(&self, stream: bool) -> Value {
        let Self { prompt, temperature, seed, tokens_max, .. } = self;
        let mut body = json!({
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": temperature,
            "seed": seed,
            "max_tokens": tokens_max,
            "stream": stream,
        });
        if stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    /// The question as the client library takes it.
    pub(crate) fn chat(&self) -> client::Chat {
        client::Chat {
            max_tokens: Some(self.tokens_max.into()),
            temperature: Some(self.temperature.into()),
            seed: Some(self.seed.into()),
            ..client::Chat::question(MODEL, &self.prompt)
        }
    }
}

const QUESTIONS: usize = 24;
