//! The least that could serve the same engine: a prompt in, events out, over plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use attestation::Secret;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use enclave::openai::{Completion, Form, Tokens};
use engine::{EchoEngine, Engine as _, Generation, GenerationEvent, Message, Order, Role};
use futures_util::stream;
use serde_json::Value;
use tests::fleet::MODEL;
use tokio::net::TcpListener;

use crate::harness::Failed;

/// Where it answers.
pub(crate) const PATH: &str = "/v1/chat/completions";

/// Serves until the runtime ends.
pub(crate) async fn serve(engine: Arc<EchoEngine>) -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Events are small and must leave when they are made. Where that is refused they leave later.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().route(PATH, post(answer)).with_state(engine);
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(address)
}

async fn answer(State(engine): State<Arc<EchoEngine>>, body: Bytes) -> Response<Body> {
    let started = read(&body).and_then(|request| engine.start(request).ok());
    let Some(generation) = started else {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    let completion = Completion::new(Form::Chat, [7; 12], super::moment(), MODEL, "fp_peer");
    let completion = completion.with_usage();
    let said = Said { completion, generation, next: Next::Role };
    let body = stream::unfold(said, |mut said| async move {
        let event = said.event().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), said))
    });
    let mut response = Response::new(Body::from_stream(body));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// As little of the API as the question takes.
fn read(body: &[u8]) -> Option<engine::Request> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let said = body.get("messages")?.get(0)?.get("content")?.as_str()?;
    Some(engine::Request::new(
        vec![Message::new(Role::User, Secret::new(said.to_owned()))],
        Order::default(),
    ))
}

/// An answer in the saying.
struct Said {
    completion: Completion,
    generation: Generation,
    next: Next,
}

enum Next {
    Role,
    Text,
    Usage(u32),
    Done,
    Nothing,
}

impl Said {
    async fn event(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self.next {
            Next::Role => {
                self.completion.role_event(0, &mut out);
                self.next = Next::Text;
            }
            Next::Text => match self.generation.events.recv().await? {
                GenerationEvent::Delta(text, ..) => {
                    self.completion.delta_event(text.expose(), &mut out);
                }
                GenerationEvent::Finished { completion_tokens, .. } => {
                    self.completion.finish_event(0, "stop", &mut out);
                    self.next = Next::Usage(completion_tokens);
                }
                GenerationEvent::Call(..)
                | GenerationEvent::Vector(_)
                | GenerationEvent::Failed(_) => return None,
            },
            Next::Usage(completed) => {
                let tokens = Tokens::new(self.generation.prompt_tokens, completed);
                self.completion.usage_event(tokens, &mut out);
                self.next = Next::Done;
            }
            Next::Done => {
                out.extend_from_slice(b"data: [DONE]\n\n");
                self.next = Next::Nothing;
            }
            Next::Nothing => return None,
        }
        Some(out)
    }
}
