//! Other people's software against our stack: each client asks a sealed question through the router and hears all of the answer.
//!
//! They name no binding, so the enclave's configuration allows that; what they cannot check of the receipt is checked here.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a peer that is not answered fails"
)]

mod crate_ohttp;
mod crate_ohttp_server;
mod npm_hpke;

use attestation::{Bundle, Receipt, ReceiptKey, Sha256, SignedReceipt, Statement};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;
use tests::fleet::{Fleet, Plan};

/// Every piece differs from every other, so that a misplaced one shows.
pub(crate) const PROMPT: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What a peer heard.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The status inside the seal.
    pub(crate) status: u16,
    /// The content type inside the seal.
    pub(crate) media: String,
    /// The content.
    pub(crate) content: String,
    /// The trailer `veritee-receipt`.
    pub(crate) receipt: String,
    /// `SHA256(hdr ‖ enc)` of what the peer sent.
    pub(crate) request: Sha256,
}

/// A fleet of one enclave that answers who names no binding, with the evidence that it shows to everyone.
pub(crate) async fn open_fleet() -> (Fleet, Bundle) {
    let fleet = Fleet::start(Plan { config: "allow_unbound = true", ..Plan::default() }).await;
    let bundle = bundle(&fleet).await;
    (fleet, bundle)
}

pub(crate) async fn bundle(fleet: &Fleet) -> Bundle {
    let (_, bundle) = fleet.relay.get(&format!("/v1/nodes/{}/evidence", fleet.nodes[0])).await;
    Bundle::parse(&bundle).unwrap()
}

impl Heard {
    /// Fails unless it is the whole echo of [`PROMPT`], with the enclave's receipt for this very request.
    pub(crate) fn assert_answered(&self, bundle: &Bundle) {
        assert_eq!((self.status, self.media.as_str()), (200, "text/event-stream"), "{self:?}");
        let events: Vec<&str> =
            self.content.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let (done, events) = events.split_last().unwrap();
        assert_eq!(*done, "[DONE]");
        let mut text = String::new();
        for event in events {
            let event: Value = serde_json::from_str(event).unwrap();
            text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        assert_eq!(text, PROMPT);

        let receipt = self.receipt(bundle);
        assert!(!receipt.bound, "a client that names no binding is not bound");
        assert_eq!(receipt.request, self.request);
        let statement = Statement::parse(&bundle.statement).unwrap();
        assert_eq!(receipt.binding_id, statement.binding_id());
        assert_eq!(receipt.manifest, Sha256::of(&bundle.manifest));
    }

    /// The receipt, signed by the key of the evidence.
    pub(crate) fn receipt(&self, bundle: &Bundle) -> Receipt {
        let key = ReceiptKey::parse(&bundle.receipt_key).unwrap();
        let signed = SignedReceipt::parse(&URL_SAFE_NO_PAD.decode(&self.receipt).unwrap()).unwrap();
        let message = SignedReceipt::to_be_signed(&signed.kid, &signed.payload);
        UnparsedPublicKey::new(&ED25519, key.0).verify(&message, &signed.signature).unwrap();
        Receipt::parse(&signed.payload).unwrap()
    }
}
