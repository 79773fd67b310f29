//! What the tests share: a platform that signs with zeros, engines, a client, and a transcript.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use attestation::digest::Mac;
use attestation::receipt::{Parameters, SignedReceipt};
use attestation::snp::{REPORT_LEN, offset};
use attestation::{
    Bundle, CpuEvidence, Endorsements, Receipt, ReceiptKey, ReportData, SealingKey, Secret, Sha256,
    Statement, UnixTime, labels,
};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use base64::Engine as _;
use channel::bhttp::{Part, ResponseReader};
use channel::chunks::{write_final_mark, write_len};
use channel::names::MEDIA_REQUEST;
use channel::{Blinds, Exports, Fields, ReplyKeys, RequestHeader, Suite, TAG_LEN, names};
use collect::{CollectError, PlatformEvidence};
use enclave::{Boot, Clock, Config, Serving};
use engine::{
    EchoEngine, Engine, EngineError, Generation, GenerationEvent, ModelDescription, Request as Ask,
};
use hpke::aead::{Aead, AeadCtxS, AesGcm128, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeS, Serializable, setup_sender};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

/// The name of the model that every test serves.
pub(crate) const MODEL: &str = "echo-1";

/// A platform that signs everything at once, with a signature of zeros.
#[expect(clippy::unnecessary_wraps, reason = "it is an attester")]
pub(crate) fn platform(report_data: &ReportData) -> Result<PlatformEvidence, CollectError> {
    let mut report = vec![0; REPORT_LEN];
    report[offset::VERSION] = 2;
    report[offset::REPORT_DATA..][..64].copy_from_slice(&report_data.0);
    let endorsements = Endorsements::new();
    Ok(PlatformEvidence { cpu: CpuEvidence::sev_snp(report), event_log: None, endorsements })
}

/// A configuration for `engine`, with `top` before the tables and `end` after them.
pub(crate) fn config(engine: &dyn Engine, top: &str, end: &str) -> Config {
    let sha256 = hex::encode(engine.description().weights_sha256);
    let text = format!(
        "{top}\n[platform]\nkind = \"socket\"\npath = \"unused\"\n[model]\npath = \"unused\"\nsha256 = \"{sha256}\"\nnames = [\"{MODEL}\", \"alias\"]\n{end}\n"
    );
    Config::parse(&text).unwrap()
}

/// The wall clock of every test.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An enclave with an engine and the rest of its configuration.
pub(crate) async fn start_with(engine: Arc<dyn Engine>, top: &str, end: &str) -> Serving {
    let config = config(engine.as_ref(), top, end);
    let clock = Clock::new(|| UnixTime::from_secs(NOW));
    let keyed = Boot::new(config, clock).make_keys(Box::new(platform), None).unwrap();
    keyed.load(engine).unwrap().attest().await.unwrap()
}

/// An enclave that echoes in so many pieces, at once.
pub(crate) async fn start(pieces: u32) -> Serving {
    start_with(Arc::new(EchoEngine::new(pieces, Duration::ZERO)), "", "").await
}

/// The bundle that an enclave shows to everyone.
pub(crate) async fn bundle(serving: &Serving) -> Bundle {
    let response = get(serving, "/v1/evidence").await;
    assert_eq!(response.status(), StatusCode::OK);
    Bundle::parse(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// What an enclave answers to a challenge.
pub(crate) async fn challenge(serving: &Serving, body: impl Into<Body>) -> Response<Body> {
    let request = Request::post("/v1/evidence").header("content-type", "application/json");
    serving.router().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

pub(crate) async fn get(serving: &Serving, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    serving.router().oneshot(request).await.unwrap()
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a client learns from a bundle, unverified: these tests are about the enclave.
pub(crate) struct Peer {
    pub(crate) key: SealingKey,
    pub(crate) receipts: ReceiptKey,
    pub(crate) statement: Statement,
    pub(crate) manifest: Sha256,
}

impl Peer {
    pub(crate) async fn of(serving: &Serving) -> Self {
        let bundle = bundle(serving).await;
        Self {
            key: SealingKey::parse(&bundle.ohttp_keys).unwrap(),
            receipts: ReceiptKey::parse(&bundle.receipt_key).unwrap(),
            statement: Statement::parse(&bundle.statement).unwrap(),
            manifest: Sha256::of(&bundle.manifest),
        }
    }

    /// A well-formed inner request for a chat completion.
    pub(crate) fn chat(&self, json: &str) -> channel::Request {
        let fields = Fields::new()
            .with("content-type", "application/json")
            .and_then(|fields| fields.with(names::BINDING, self.statement.binding_id().to_string()))
            .and_then(|fields| fields.with(names::TENANT, "ab".repeat(32)))
            .unwrap();
        channel::Request {
            method: "POST".to_owned(),
            scheme: "https".to_owned(),
            authority: format!("{}.veritee.invalid", self.statement.node_id),
            path: "/v1/chat/completions".to_owned(),
            fields,
            content: Secret::new(json.as_bytes().to_vec()),
            trailers: Fields::new(),
        }
    }

    /// Seals a chat completion.
    pub(crate) fn seal_chat(&self, json: &str) -> Sealed {
        self.seal(&self.chat(json))
    }

    /// Seals a request as our client does: padded to a kilobyte, in one chunk.
    pub(crate) fn seal(&self, request: &channel::Request) -> Sealed {
        let message = request.encode().expose().clone();
        let mut padded = message.clone();
        padded.resize(message.len().next_power_of_two().max(1024), 0);
        let mut sealed = seal(&self.key, Suite::XWingAes256Gcm, &padded);
        sealed.message = message;
        sealed
    }

    /// Seals, sends, opens and checks the receipt of a chat completion.
    pub(crate) async fn ask(&self, serving: &Serving, json: &str) -> Answer {
        let sealed = self.seal_chat(json);
        let response = post(serving, sealed.body.clone()).await;
        assert_eq!(response.status(), StatusCode::OK);
        self.open(sealed, &collect(response).await)
    }

    /// Opens an answer and checks that its receipt is about this exchange.
    pub(crate) fn open(&self, sealed: Sealed, octets: &[u8]) -> Answer {
        let Sealed { header, reply, blinds, message, .. } = sealed;
        let answer = open(reply, &blinds, octets);
        let receipt = &answer.receipt;
        assert_eq!(receipt.binding_id, self.statement.binding_id());
        assert_eq!(receipt.request, header.digest());
        assert_eq!(receipt.manifest, self.manifest);
        assert_eq!(receipt.req_mac, mac(&blinds.request, &message));
        let signed = &answer.signed;
        assert_eq!(signed.kid, self.receipts.thumbprint());
        let to_be_signed = SignedReceipt::to_be_signed(&signed.kid, &signed.payload);
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.receipts.0)
            .verify(&to_be_signed, &signed.signature)
            .expect("the receipt is signed by the bound key");
        Answer { par_blind: Some(blinds.parameters), ..answer }
    }
}

/// A sealed request, and what opens its answer.
pub(crate) struct Sealed {
    pub(crate) header: RequestHeader,
    pub(crate) body: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) reply: ReplyKeys,
    pub(crate) blinds: Blinds,
}

/// Seals `plaintext` in chunks of 16 KiB at most.
pub(crate) fn seal(key: &SealingKey, suite: Suite, plaintext: &[u8]) -> Sealed {
    match suite {
        Suite::XWingAes256Gcm => seal_with::<AesGcm256>(key, suite, plaintext),
        Suite::XWingAes128Gcm => seal_with::<AesGcm128>(key, suite, plaintext),
    }
}

fn seal_with<A: Aead>(key: &SealingKey, suite: Suite, plaintext: &[u8]) -> Sealed {
    let public = <XWing as Kem>::PublicKey::from_bytes(key.public()).unwrap();
    let info = RequestHeader::info(key.key_id(), suite);
    let (enc, mut context): (_, AeadCtxS<A, HkdfSha256, XWing>) =
        setup_sender(&OpModeS::Base, &public, &info).unwrap();
    let enc = Box::new(enc.to_bytes().as_slice().try_into().unwrap());
    let header = RequestHeader::new(key.key_id(), suite, enc);
    let mut body = header.encode();
    let mut rest = plaintext;
    while rest.len() > 1 << 14 {
        let (chunk, after) = rest.split_at(1 << 14);
        write_len(chunk.len() + TAG_LEN, &mut body);
        body.extend(context.seal(chunk, b"").unwrap());
        rest = after;
    }
    write_final_mark(&mut body);
    body.extend(context.seal(rest, labels::OHTTP_FINAL).unwrap());
    let exports = Exports::derive(suite, |label, out| context.export(label, out)).unwrap();
    let (reply, blinds) = ReplyKeys::new(&header, exports);
    Sealed { header, body, message: plaintext.to_vec(), reply, blinds }
}

pub(crate) fn sealed_request(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/v1/ohttp").header("content-type", MEDIA_REQUEST);
    request.body(body.into()).unwrap()
}

pub(crate) async fn post(serving: &Serving, body: impl Into<Body>) -> Response<Body> {
    serving.router().oneshot(sealed_request(body)).await.unwrap()
}

pub(crate) async fn collect(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// An opened answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) content: Vec<u8>,
    /// Plaintext octets of every chunk but the final one.
    pub(crate) chunks: Vec<usize>,
    pub(crate) last: usize,
    pub(crate) trailers: Fields,
    pub(crate) signed: SignedReceipt,
    pub(crate) receipt: Receipt,
    par_blind: Option<Secret<[u8; 32]>>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content).unwrap()
    }

    /// The data of the stream's events.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.content).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(str::to_owned).collect()
    }

    pub(crate) fn chunks_json(&self) -> Vec<serde_json::Value> {
        let events = self.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }

    /// `par_mac` as the client computes it.
    pub(crate) fn par_mac(&self, parameters: &Parameters) -> Sha256 {
        mac(self.par_blind.as_ref().unwrap(), &parameters.encode())
    }
}

/// Opens an answer; checks `res_mac`, and that the final chunk came.
#[expect(clippy::match_wildcard_for_single_variants, reason = "the parts may become more")]
pub(crate) fn open(reply: ReplyKeys, blinds: &Blinds, octets: &[u8]) -> Answer {
    let mut opener = reply.into_opener(1 << 30);
    let (mut plain, mut chunks) = (Vec::new(), Vec::new());
    opener
        .push(octets, |chunk| {
            chunks.push(chunk.len());
            plain.extend_from_slice(chunk);
        })
        .unwrap();
    let last = opener.finish().unwrap();
    plain.extend_from_slice(&last);
    let mut reader = ResponseReader::new();
    let (mut head, mut content) = (None, Vec::new());
    reader
        .push(&plain, |part| match part {
            Part::ResponseHead { status, fields } => head = Some((status, fields)),
            Part::Content(octets) => content.extend_from_slice(octets),
            _ => {}
        })
        .unwrap();
    let covered = usize::try_from(reader.octets_before_trailers()).unwrap();
    let trailers = reader.finish().unwrap().trailers;
    let (status, fields) = head.unwrap();
    let receipt = trailers.only(names::RECEIPT).unwrap().expect("a receipt in the trailer");
    let receipt = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(receipt).unwrap();
    let signed = SignedReceipt::parse(&receipt).unwrap();
    let receipt = Receipt::parse(&signed.payload).unwrap();
    assert_eq!(receipt.res_mac, mac(&blinds.response, &plain[..covered]), "res_mac");
    Answer {
        status,
        fields,
        content,
        chunks,
        last: last.len(),
        trailers,
        signed,
        receipt,
        par_blind: None,
    }
}

fn mac(key: &Secret<[u8; 32]>, octets: &[u8]) -> Sha256 {
    let mut mac = Mac::new(key);
    mac.update(octets);
    mac.finish()
}

/// A chat completion of one user message, with more fields.
pub(crate) fn user(text: &str, more: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":{text}}}]{more}}}"#)
}

/// An engine whose generations the test plays.
pub(crate) struct Played {
    description: ModelDescription,
    started: mpsc::UnboundedSender<(Ask, mpsc::Sender<GenerationEvent>)>,
    refusal: Mutex<Option<EngineError>>,
}

/// Where the test finds what was started.
pub(crate) type Stage = mpsc::UnboundedReceiver<(Ask, mpsc::Sender<GenerationEvent>)>;

impl Played {
    pub(crate) fn new() -> (Arc<Self>, Stage) {
        let (started, stage) = mpsc::unbounded_channel();
        let description = EchoEngine::new(1, Duration::ZERO).description().clone();
        (Arc::new(Self { description, started, refusal: Mutex::new(None) }), stage)
    }

    pub(crate) fn refuse(&self, error: EngineError) {
        *self.refusal.lock().unwrap() = Some(error);
    }
}

impl Engine for Played {
    fn start(&self, request: Ask) -> Result<Generation, EngineError> {
        if let Some(error) = *self.refusal.lock().unwrap() {
            return Err(error);
        }
        let (sender, events) = mpsc::channel(4096);
        self.started.send((request, sender)).unwrap();
        Ok(Generation { prompt_tokens: 7, events })
    }

    /// On the stage a text is a conversation of one message.
    fn complete(&self, completion: engine::Completion) -> Result<Generation, EngineError> {
        let engine::Completion { prompt, order } = completion;
        let messages = vec![engine::Message::new(engine::Role::User, prompt)];
        self.start(Ask::new(messages, order))
    }

    fn description(&self) -> &ModelDescription {
        &self.description
    }
}

pub(crate) fn delta(text: &str, tokens: u32) -> GenerationEvent {
    GenerationEvent::Delta(Secret::new(text.to_owned()), tokens, vec![])
}
