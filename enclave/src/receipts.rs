//! The chain of receipts of one boot (`docs/protocol.md` §5.8).

use std::sync::{Mutex, PoisonError};

use attestation::binding::BindingId;
use attestation::digest::Mac;
use attestation::receipt::{FinishReason, Parameters, Usage};
use attestation::{Digest, Receipt, Sha256, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channel::Blinds;

use crate::keys::ReceiptSigner;

/// Signs receipts, each of which holds its place and the hash of the one before.
#[derive(Debug)]
pub(crate) struct Receipts {
    signer: ReceiptSigner,
    manifest: Sha256,
    chain: Mutex<Chain>,
}

#[derive(Debug)]
struct Chain {
    seq: u64,
    previous: Sha256,
}

/// What is known of an answer before it ends.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) binding: BindingId,
    pub(crate) request: Sha256,
    pub(crate) req_mac: Sha256,
    pub(crate) par_mac: Sha256,
    pub(crate) bound: bool,
    pub(crate) started: UnixTime,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) finish: FinishReason,
    pub(crate) usage: Usage,
    pub(crate) res_mac: Sha256,
    pub(crate) ended: UnixTime,
}

impl Receipts {
    pub(crate) fn new(signer: ReceiptSigner, manifest: Sha256) -> Self {
        Self { signer, manifest, chain: Mutex::new(Chain { seq: 0, previous: Digest([0; 32]) }) }
    }

    /// Signs the next receipt: base64 of its exact bytes. None if the crypto library refuses.
    pub(crate) fn sign(&self, draft: &Draft, end: &End) -> Option<String> {
        let Draft { binding, request, req_mac, par_mac, bound, started } = *draft;
        let End { finish, usage, res_mac, ended } = *end;
        // The chain is replaced as a whole, so a poisoned lock is as good as any.
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let receipt = Receipt {
            binding_id: binding,
            request,
            req_mac,
            res_mac,
            manifest: self.manifest,
            usage,
            finish,
            started,
            ended,
            bound,
            par_mac,
            seq: chain.seq,
            previous: chain.previous,
        };
        let signed = self.signer.sign(receipt.encode())?;
        *chain = Chain { seq: chain.seq.saturating_add(1), previous: signed.digest() };
        Some(URL_SAFE_NO_PAD.encode(signed.encode()))
    }
}

/// The commitment to what was asked for; to [`Parameters::default`] where a request was not read so
/// far that it had any.
pub(crate) fn par_mac(blinds: &Blinds, parameters: &Parameters) -> Sha256 {
    let mut mac = Mac::new(&blinds.parameters);
    mac.update(&parameters.encode());
    mac.finish()
}

/// The commitment to the request's octets before its padding.
pub(crate) fn req_mac(blinds: &Blinds, message: &[u8]) -> Sha256 {
    let mut mac = Mac::new(&blinds.request);
    mac.update(message);
    mac.finish()
}

#[cfg(test)]
mod tests {
    use attestation::SignedReceipt;

    use super::*;

    #[test]
    fn receipts_are_chained() {
        let receipts = Receipts::new(ReceiptSigner::generate().unwrap(), Digest([7; 32]));
        let zero = Digest([0; 32]);
        let now = UnixTime::from_secs(1);
        let draft = Draft {
            binding: BindingId(zero),
            request: zero,
            req_mac: zero,
            par_mac: zero,
            bound: true,
            started: now,
        };
        let usage = Usage::default();
        let end = End { finish: FinishReason::Stop, usage, res_mac: zero, ended: now };
        let mut previous = zero;
        for seq in 0..3 {
            let bytes = URL_SAFE_NO_PAD.decode(receipts.sign(&draft, &end).unwrap()).unwrap();
            let signed = SignedReceipt::parse(&bytes).unwrap();
            let receipt = Receipt::parse(&signed.payload).unwrap();
            assert_eq!((receipt.seq, receipt.previous), (seq, previous));
            assert_eq!(receipt.manifest, Digest([7; 32]));
            previous = signed.digest();
        }
    }
}
