//! Engines that no operator would run: one that never ends, one that breaks, and one that knows what it will say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use engine::{
    CallDelta, EchoEngine, Engine, EngineError, FinishReason, Generation, GenerationEvent,
    ModelDescription, Request, Role, Secret,
};
use tokio::sync::mpsc;

/// Says something until nobody listens, and knows how many listen.
pub(crate) struct Endless {
    description: ModelDescription,
    running: Arc<AtomicUsize>,
}

impl Endless {
    pub(crate) fn new() -> Self {
        Self { description: description(), running: Arc::default() }
    }

    /// Generations that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }
}

impl Engine for Endless {
    fn start(&self, _: Request) -> Result<Generation, EngineError> {
        let (sender, events) = mpsc::channel(1024);
        let running = Arc::clone(&self.running);
        running.fetch_add(1, SeqCst);
        std::thread::spawn(move || {
            for said in 1.. {
                let delta = GenerationEvent::Delta(Secret::new("and ".to_owned()), said, vec![]);
                if sender.blocking_send(delta).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            running.fetch_sub(1, SeqCst);
        });
        Ok(Generation { prompt_tokens: 1, events })
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

/// Breaks after so many events.
pub(crate) struct Breaking {
    description: ModelDescription,
    after: u32,
}

impl Breaking {
    pub(crate) fn after(after: u32) -> Self {
        Self { description: description(), after }
    }
}

impl Engine for Breaking {
    fn start(&self, _: Request) -> Result<Generation, EngineError> {
        let (sender, events) = mpsc::channel(64);
        for said in 1..=self.after {
            let delta = GenerationEvent::Delta(Secret::new("almost ".to_owned()), said, vec![]);
            sender.try_send(delta).unwrap();
        }
        sender.try_send(GenerationEvent::Failed(EngineError::Crashed)).unwrap();
        Ok(Generation { prompt_tokens: 1, events })
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

/// Says a word, calls functions in pieces of one character, and then says what they told it.
pub(crate) struct Calling {
    description: ModelDescription,
    calls: Vec<(&'static str, &'static str)>,
}

impl Calling {
    /// Makes these calls: functions and their arguments.
    pub(crate) fn new(calls: &[(&'static str, &'static str)]) -> Self {
        Self { description: description(), calls: calls.to_vec() }
    }
}

impl Engine for Calling {
    fn start(&self, request: Request) -> Result<Generation, EngineError> {
        let (sender, events) = mpsc::channel(1024);
        let mut counts = 1_u32..;
        let mut tell = |event: &dyn Fn(u32) -> GenerationEvent| {
            sender.try_send(event(counts.next().unwrap())).unwrap();
        };
        let told = request.messages.iter().filter(|message| message.role == Role::Tool);
        let told: Vec<&str> = told.map(|message| message.content.expose().as_str()).collect();
        let text = if told.is_empty() { "Well.".to_owned() } else { told.join(" ") };
        tell(&|said| GenerationEvent::Delta(Secret::new(text.clone()), said, vec![]));
        let mut reason = FinishReason::Stop;
        if told.is_empty() {
            reason = FinishReason::ToolCalls;
            for (index, (name, arguments)) in (0..).zip(&self.calls) {
                let call = |name: Option<&str>, arguments: String| {
                    let (name, arguments) = (name.map(str::to_owned), Secret::new(arguments));
                    CallDelta { index, name, arguments }
                };
                tell(&|said| GenerationEvent::Call(call(Some(name), String::new()), said));
                for letter in arguments.chars() {
                    tell(&|said| GenerationEvent::Call(call(None, letter.to_string()), said));
                }
            }
        }
        tell(&|completion_tokens| GenerationEvent::Finished { reason, completion_tokens });
        Ok(Generation { prompt_tokens: 1, events })
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

/// Every fleet's policy is for the echo's model.
fn description() -> ModelDescription {
    EchoEngine::new(1, Duration::ZERO).description().clone()
}
