//! The answer to a request for vectors.

use std::sync::Arc;

use attestation::Secret;
use attestation::receipt::{FinishReason, Usage};
use engine::{Embedding, Engine, EngineError, Generation, GenerationEvent};
use tokio::time::{Instant, sleep_until};

use crate::event::Outcome;
use crate::line::{Line, Stopped};
use crate::openai::{ApiError, EmbeddingRequest, Embeddings};
use crate::pipe::{Gone, Sender};

/// Answers with a vector for each text.
pub(crate) async fn answer(
    line: Line<'_>,
    engine: &Arc<dyn Engine>,
    request: EmbeddingRequest,
    tenant: [u8; 32],
    deadline: Instant,
) -> Result<Outcome, Stopped> {
    let EmbeddingRequest { model, inputs, encoding } = request;
    let (count, engine) = (inputs.len(), Arc::clone(engine));
    // Counting long texts takes a while.
    let start = move || engine.embed(Embedding { inputs, tenant });
    let begun = tokio::task::spawn_blocking(start).await;
    let mut generation = match begun.unwrap_or(Err(EngineError::Crashed)) {
        Ok(generation) => generation,
        Err(error) => return line.error(&ApiError::from(error).with_text_in("input")).await,
    };
    let read = tokio::select! {
        biased;
        () = sleep_until(deadline) => Err(EngineError::OutOfTime),
        read = read(&mut generation, line.sender()) => read?,
    };
    match read {
        Ok(vectors) if vectors.len() == count => {
            let usage = Usage { prompt: generation.prompt_tokens, ..Usage::default() };
            let json = Embeddings { model: &model, vectors: &vectors, encoding, usage }.json();
            line.whole(200, json.expose(), FinishReason::None, usage).await
        }
        Ok(_) => line.error(&ApiError::internal()).await,
        Err(error) => line.error(&error.into()).await,
    }
}

/// The vectors, once there are all. The client's leaving ends the wait, and with it the work.
async fn read(
    generation: &mut Generation,
    sender: &Sender,
) -> Result<Result<Vec<Secret<Vec<f32>>>, EngineError>, Gone> {
    let mut vectors = Vec::new();
    loop {
        let event = tokio::select! {
            biased;
            () = sender.gone() => return Err(Gone),
            event = generation.events.recv() => event,
        };
        match event {
            Some(GenerationEvent::Vector(vector)) => vectors.push(vector),
            Some(GenerationEvent::Finished { .. }) => return Ok(Ok(vectors)),
            Some(GenerationEvent::Failed(error)) => return Ok(Err(error)),
            // An engine that ends without a word, or speaks where it is to count, has crashed.
            Some(GenerationEvent::Delta(..) | GenerationEvent::Call(..)) | None => {
                return Ok(Err(EngineError::Crashed));
            }
        }
    }
}
