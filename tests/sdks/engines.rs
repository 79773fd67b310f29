//! Engines that no operator would run: one that never ends, and one that breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use engine::{
    EchoEngine, Engine, EngineError, Generation, GenerationEvent, ModelDescription, Request, Secret,
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

/// Every fleet's policy is for the echo's model.
fn description() -> ModelDescription {
    EchoEngine::new(1, Duration::ZERO).description().clone()
}
