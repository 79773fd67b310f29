//! Receipts (`docs/protocol.md` §5.8): signed by the attested key, about this very exchange.
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod outcome;
mod world;

use attestation::receipt::{FinishReason, Receipt, SignedReceipt, Usage};
use attestation::snp::Product;
use attestation::{Digest, Sha256, UnixTime, Unverified};
use ring::signature::Ed25519KeyPair;
use verifier::receipt::{Transcript, verify};
use verifier::{Attested, AttestedKeys};
use world::{NOW, World};

/// One thing that is changed.
type Change<'a> = &'a dyn Fn(&mut Receipt);

fn keys() -> AttestedKeys {
    World::new(Product::Genoa).judge().unwrap().into_keys().unwrap()
}

fn transcript(keys: &AttestedKeys) -> Transcript {
    Transcript {
        binding_id: keys.binding_id(),
        request: Digest([1; 32]),
        req_mac: Digest([2; 32]),
        res_mac: Digest([3; 32]),
        par_mac: Digest([4; 32]),
        manifest: *keys.manifest_digest(),
    }
}

fn receipt(transcript: &Transcript) -> Receipt {
    Receipt {
        binding_id: transcript.binding_id,
        request: transcript.request,
        req_mac: transcript.req_mac,
        res_mac: transcript.res_mac,
        par_mac: transcript.par_mac,
        manifest: transcript.manifest,
        usage: Usage { prompt: 7, completion: 5, cached: 0 },
        finish: FinishReason::Stop,
        started: NOW,
        ended: NOW,
        bound: true,
        seq: 0,
        previous: Digest([0; 32]),
    }
}

/// Signs with the key that the world's evidence vouches for, or with another.
fn sign(receipt: &Receipt, kid: Sha256, seed: u8) -> Vec<u8> {
    let payload = receipt.encode();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let signature = pair.sign(&SignedReceipt::to_be_signed(&kid, &payload));
    let signature = signature.as_ref().try_into().unwrap();
    SignedReceipt { kid, payload, signature }.encode()
}

fn kid(keys: &AttestedKeys) -> Sha256 {
    keys.receipts().at(NOW).unwrap().thumbprint()
}

#[test]
fn a_receipt_about_this_exchange_is_verified() {
    let keys = keys();
    let transcript = transcript(&keys);
    let claims = receipt(&transcript);
    let wire = sign(&claims, kid(&keys), 9);
    let digest = Sha256::of(&wire);
    let verified = verify(&Unverified::new(wire), keys.receipts(), &transcript, NOW).unwrap();
    assert_eq!(verified.receipt(), &claims);
    assert_eq!(verified.digest(), digest);
}

#[test]
fn a_receipt_about_anything_else_is_refused() {
    let keys = keys();
    let transcript = transcript(&keys);
    let other = Digest([0xee; 32]);
    let changes: [(&str, Change<'_>); 7] = [
        ("receipt-mismatch", &|r| r.binding_id.0 = other),
        ("receipt-mismatch", &|r| r.request = other),
        ("receipt-mismatch", &|r| r.req_mac = other),
        ("receipt-mismatch", &|r| r.res_mac = other),
        ("receipt-mismatch", &|r| r.par_mac = other),
        ("receipt-mismatch", &|r| r.manifest = other),
        ("receipt-unbound", &|r| r.bound = false),
    ];
    for (code, change) in changes {
        let mut claims = receipt(&transcript);
        change(&mut claims);
        let wire = Unverified::new(sign(&claims, kid(&keys), 9));
        let refused = verify(&wire, keys.receipts(), &transcript, NOW).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
}

#[test]
fn a_receipt_of_another_key_is_refused() {
    let keys = keys();
    let transcript = transcript(&keys);
    let claims = receipt(&transcript);
    let cases = [
        ("receipt-signature-invalid", sign(&claims, kid(&keys), 8)),
        ("receipt-other-key", sign(&claims, Digest([1; 32]), 9)),
    ];
    for (code, wire) in cases {
        let refused =
            verify(&Unverified::new(wire), keys.receipts(), &transcript, NOW).unwrap_err();
        assert_eq!(refused.code(), code);
    }
}

#[test]
fn no_bit_of_a_receipt_can_change() {
    let keys = keys();
    let transcript = transcript(&keys);
    let wire = sign(&receipt(&transcript), kid(&keys), 9);
    for at in 0..wire.len() {
        let mut other = wire.clone();
        other[at] ^= 1;
        assert!(
            verify(&Unverified::new(other), keys.receipts(), &transcript, NOW).is_err(),
            "byte {at}"
        );
        let cut = Unverified::new(wire[..at].to_vec());
        assert!(verify(&cut, keys.receipts(), &transcript, NOW).is_err(), "cut at {at}");
    }
}

#[test]
fn the_key_must_have_been_good_when_the_request_was_sealed() {
    let keys = keys();
    let transcript = transcript(&keys);
    let wire = || Unverified::new(sign(&receipt(&transcript), kid(&keys), 9));
    let end = Attested::not_after(keys.receipts());
    let last = UnixTime::from_secs(end.as_secs() - 1);
    assert!(verify(&wire(), keys.receipts(), &transcript, last).is_ok());
    let refused = verify(&wire(), keys.receipts(), &transcript, end).unwrap_err();
    assert_eq!(refused.code(), "receipt-key-expired");
}
