//! The crate `ohttp`, which speaks AES-128-GCM, with its own HPKE and Binary HTTP.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use attestation::{Sha256, receipt::FinishReason};
use channel::HEADER_LEN;
use futures_util::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Cursor};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use tests::{
    fleet::{Fleet, MODEL, Plan},
    relay::Exchange,
};

use crate::{Heard, PROMPT, bundle, open_fleet};

#[tokio::test(flavor = "multi_thread")]
async fn its_client_is_answered_through_the_router() {
    let (fleet, bundle) = open_fleet().await;
    ask(&fleet, &bundle.ohttp_keys).await.assert_answered(&bundle);
}

/// What `allow_unbound` is for: without it, a client that names no binding hears why, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn its_client_is_refused_where_a_binding_must_be_named() {
    let fleet = Fleet::start(Plan::default()).await;
    let bundle = bundle(&fleet).await;
    let heard = ask(&fleet, &bundle.ohttp_keys).await;
    assert!((400..500).contains(&heard.status), "{heard:?}");
    assert!(!heard.content.contains(PROMPT), "{heard:?}");
    assert_eq!(heard.receipt(&bundle).finish, FinishReason::Error);
}

/// Asks for an echo of [`PROMPT`] with the exact configuration that the evidence carries.
async fn ask(fleet: &Fleet, ohttp_keys: &[u8]) -> Heard {
    let node = fleet.nodes[0];
    let mut message = bhttp::Message::request(
        b"POST".to_vec(),
        b"https".to_vec(),
        format!("{node}.veritee.invalid").into_bytes(),
        b"/v1/chat/completions".to_vec(),
    );
    message.put_header("content-type", "application/json");
    let question = json!({
        "model": MODEL, "stream": true, "messages": [{"role": "user", "content": PROMPT}],
    });
    message.write_content(question.to_string().into_bytes());
    let mut plain = Vec::new();
    message.write_bhttp(bhttp::Mode::IndeterminateLength, &mut plain).unwrap();

    let client = ohttp::ClientRequest::from_encoded_config_list(ohttp_keys).unwrap();
    let sink = Sink::default();
    let mut request = client.encapsulate_stream(sink.clone()).unwrap();
    request.write_all(&plain).await.unwrap();
    request.close().await.unwrap();
    let sealed = sink.take();

    let media = HeaderValue::from_static(channel::names::MEDIA_REQUEST);
    let sent = Exchange {
        asked: (Method::POST, format!("/v1/nodes/{node}/ohttp")),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, media)]),
        request: sealed.clone().into(),
        status: StatusCode::OK,
        response: bytes::Bytes::new(),
    };
    let (status, body) = fleet.relay.send_again(&sent).await;
    assert_eq!(status, StatusCode::OK);

    let mut response = request.response(Cursor::new(body)).unwrap();
    let mut answered = Vec::new();
    response.read_to_end(&mut answered).await.unwrap();
    let message = bhttp::Message::read_bhttp(&mut io::Cursor::new(answered)).unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    Heard {
        status: message.control().status().unwrap().code(),
        media: text(message.header().get(b"content-type")),
        content: text(Some(message.content())),
        receipt: text(message.trailer().get(b"veritee-receipt")),
        request: Sha256::of(&sealed[..HEADER_LEN]),
    }
}

/// Where that crate writes to: it does not give its sink back.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// What was written.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
