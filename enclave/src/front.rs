//! Answers that another engine's server gives: sealed, counted and receipted as our own are.

use attestation::Secret;
use attestation::receipt::{FinishReason, Usage};
use channel::Cadence;
use upstream::{End, Events, Failure, Finish, Names, Question, Reply, Route, Upstream};
use zeroize::Zeroizing;

use crate::answer::{fill_cells, tick, ticking};
use crate::config::Padding;
use crate::event::Outcome;
use crate::keys::random;
use crate::line::{Line, Room, Stopped};
use crate::openai::{self, ApiError, Asked, Delivery};

/// Asks the server what the client asked, and passes its answer on.
pub(crate) async fn answer(
    line: Line<'_>,
    upstream: &Upstream,
    route: Route,
    asked: Asked,
    body: Secret<Vec<u8>>,
    tenant: [u8; 32],
) -> Result<Outcome, Stopped> {
    let Asked { seed: _, choices, delivery, parameters } = asked;
    let prefix = if route == Route::Chat { "chatcmpl" } else { "cmpl" };
    let names = Names {
        id: format!("{prefix}-{}", hex::encode(random::<12>())),
        model: parameters.model,
        created: line.started().as_secs(),
        fingerprint: line.state().fingerprint.clone(),
    };
    let stream = delivery != Delivery::Whole;
    let usage = delivery == Delivery::Stream(openai::Usage::Included);
    let question = Question { route, body, tenant, stream, usage, choices, names };
    let reply = tokio::select! {
        biased;
        // What is dropped with this closes the connection, and the server stops.
        () = line.sender().gone() => return Err(Stopped::Gone),
        reply = upstream.ask(question) => reply,
    };
    match reply {
        Ok(Reply::Whole(whole)) => {
            let (finish, usage) = receipted(whole.end);
            line.whole(200, &whole.json, finish, usage).await
        }
        Ok(Reply::Events(events)) => match line.state().config.padding {
            Padding::P1 => stream_events(line, *events).await,
            Padding::P2 => paced(line, *events).await,
        },
        Err(failure) => {
            let error = ApiError::from(failure);
            let error =
                if route == Route::Completions { error.with_text_in("prompt") } else { error };
            line.error(&error).await
        }
    }
}

/// P1: every event in cells of its own.
async fn stream_events(line: Line<'_>, mut events: Events) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let ended = loop {
        let next = tokio::select! {
            biased;
            () = open.sender().gone() => return Err(Stopped::Gone),
            next = events.next() => next,
        };
        match next {
            Ok(Some(data)) => {
                let mut event = framed(&data);
                fill_cells(&mut event);
                if open.event(&mut event).await? == Room::Full {
                    break Err(Failure::Broken);
                }
            }
            Ok(None) => break events.end().ok_or(Failure::Broken),
            Err(failure) => break Err(failure),
        }
    };
    let (mut last, finish, usage) = last(ended, &events);
    drop(events);
    open.event(&mut last).await?;
    open.finish(finish, usage).await
}

/// P2: a cell at each tick. The server is read from only when there is nothing left to say.
async fn paced(line: Line<'_>, mut events: Events) -> Result<Outcome, Stopped> {
    let mut open = line.open(200, "text/event-stream").await?;
    let mut cadence = Zeroizing::new(Cadence::new());
    let mut cell = Zeroizing::new(Vec::new());
    let mut ticks = None;
    let mut ended: Option<(FinishReason, Usage)> = None;
    loop {
        let next = tokio::select! {
            biased;
            () = tick(ticks.as_mut()) => None,
            next = events.next(), if ended.is_none() && cadence.is_empty() => Some(next),
            () = open.sender().gone() => return Err(Stopped::Gone),
        };
        let over = match next {
            None => {
                // Nothing here is text alone, which could be cut to fit.
                cadence.tick(|_, _| (), &mut cell);
                let full = open.cell(&cell).await? == Room::Full;
                if let Some((finish, usage)) = ended.take_if(|_| full || cadence.is_empty()) {
                    return open.finish(finish, usage).await;
                }
                full.then_some(Err(Failure::Broken))
            }
            Some(Ok(Some(data))) => {
                cadence.push_event(&framed(&data));
                None
            }
            Some(Ok(None)) => Some(events.end().ok_or(Failure::Broken)),
            Some(Err(failure)) => Some(Err(failure)),
        };
        ticks.get_or_insert_with(ticking);
        if let Some(over) = over {
            let (event, finish, usage) = last(over, &events);
            cadence.push_event(&event);
            ended = Some((finish, usage));
        }
    }
}

/// The event that says how a stream ends, and what the receipt says.
fn last(ended: Result<End, Failure>, events: &Events) -> (Zeroizing<Vec<u8>>, FinishReason, Usage) {
    match ended {
        Ok(end) => {
            let (finish, usage) = receipted(end);
            (Zeroizing::new(openai::DONE.to_vec()), finish, usage)
        }
        Err(failure) => {
            let mut event = Zeroizing::new(Vec::new());
            openai::error_event(&failure.into(), &mut event);
            (event, FinishReason::Aborted, counted(events.tokens()))
        }
    }
}

fn framed(data: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([b"data: ", data, b"\n\n"].concat())
}

const fn receipted(end: End) -> (FinishReason, Usage) {
    let finish = match end.finish {
        Finish::Stop => FinishReason::Stop,
        Finish::Length => FinishReason::Length,
    };
    (finish, counted(end.tokens))
}

const fn counted(tokens: upstream::Tokens) -> Usage {
    let upstream::Tokens { prompt, completion, cached } = tokens;
    Usage { prompt, completion, cached }
}
