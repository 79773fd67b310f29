//! Receipts: what an enclave signs about one finished answer (`docs/protocol.md` §5.8).
//!
//! A receipt is a `COSE_Sign1` (RFC 9052 §4.2) over a map in deterministic CBOR. Its three
//! commitments are keyed by blinds that only the client and the enclave can derive, so a receipt
//! can be shown to others without showing the prompt, and each commitment opened on its own.

use ciborium::value::Value;

use crate::binding::BindingId;
use crate::bytes::Malformed;
use crate::cbor;
use crate::digest::{Digest, Sha256};
use crate::labels;
use crate::time::UnixTime;

/// How a generation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishReason {
    /// The model ended its answer, or a stop string was met.
    Stop,
    /// The limit of tokens was met.
    Length,
    /// The answer broke off: what was sent is not whole.
    Aborted,
    /// The request was answered with an error.
    Error,
    /// Something other than a generation: a list of models, say.
    None,
}

impl FinishReason {
    const ALL: [Self; 5] = [Self::Stop, Self::Length, Self::Aborted, Self::Error, Self::None];

    /// The name in receipts, which for a finished answer is the `OpenAI` API's too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Aborted => "aborted",
            Self::Error => "error",
            Self::None => "none",
        }
    }
}

/// Counted tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens of the answer.
    pub completion: u32,
    /// Tokens of the prompt that a cache supplied.
    pub cached: u32,
}

/// The claims of a receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The epoch whose key opened the request.
    pub binding_id: BindingId,
    /// SHA-256 of the request's header and encapsulated key.
    pub request: Sha256,
    /// Commitment to the request's octets before padding.
    pub req_mac: Sha256,
    /// Commitment to the response's octets before the trailer section.
    pub res_mac: Sha256,
    /// Digest of the model manifest.
    pub manifest: Sha256,
    /// Tokens counted.
    pub usage: Usage,
    /// How the answer ended.
    pub finish: FinishReason,
    /// When the enclave, by the host's clock, began to act.
    pub started: UnixTime,
    /// When it ended.
    pub ended: UnixTime,
    /// Whether the client named the binding that it verified.
    pub bound: bool,
    /// Commitment to the sampling parameters.
    pub par_mac: Sha256,
    /// Position in the enclave's chain of receipts.
    pub seq: u64,
    /// Hash of the receipt before it; of the first, zeros.
    pub previous: Sha256,
}

/// Longest receipt: its claims have a fixed size, under 600 bytes with the signature.
pub const LEN_MAX: usize = 1024;
/// COSE algorithm Ed25519 (RFC 9864 §2.2).
const ALG_ED25519: i64 = -19;
/// CBOR tag of a `COSE_Sign1` (RFC 9052 §2).
const TAG_SIGN1: u64 = 18;

impl Receipt {
    /// The payload: the claims in deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            binding_id,
            request,
            req_mac,
            res_mac,
            manifest,
            usage,
            finish,
            started,
            ended,
            bound,
            par_mac,
            seq,
            previous,
        } = self;
        let digest = |digest: &Sha256| cbor::bytes(digest.as_bytes());
        let usage = cbor::map([
            (cbor::text("prompt"), cbor::uint(usage.prompt.into())),
            (cbor::text("completion"), cbor::uint(usage.completion.into())),
            (cbor::text("cached"), cbor::uint(usage.cached.into())),
        ]);
        let claims = [
            cbor::text(labels::RECEIPT),
            digest(&binding_id.0),
            digest(request),
            digest(req_mac),
            digest(res_mac),
            digest(manifest),
            usage,
            cbor::text(finish.as_str()),
            cbor::array([cbor::uint(started.as_secs()), cbor::uint(ended.as_secs())]),
            cbor::text(if *bound { "bound" } else { "unbound" }),
            digest(par_mac),
            cbor::uint(*seq),
            digest(previous),
        ];
        cbor::encode(&cbor::map((1..).map(cbor::int).zip(claims)))
    }

    /// Parses exactly what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Any other bytes.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let receipt = Self::from_value(cbor::decode(WHAT, payload)?).ok_or(BAD)?;
        if receipt.encode() == payload { Ok(receipt) } else { Err(BAD) }
    }

    fn from_value(value: Value) -> Option<Self> {
        let mut claims = value.into_map().ok()?.into_iter().map(|(_, claim)| claim);
        let mut next = || claims.next();
        let _label = next()?;
        let binding_id = BindingId(digest(next()?)?);
        let request = digest(next()?)?;
        let (to_request, to_response) = (digest(next()?)?, digest(next()?)?);
        let manifest = digest(next()?)?;
        let mut usage = [0; 3];
        for (slot, (_, count)) in usage.iter_mut().zip(next()?.into_map().ok()?) {
            *slot = uint(count)?.try_into().ok()?;
        }
        // The order of the map: by encoded key, so the shorter names come first.
        let [cached, prompt, completion] = usage;
        let finish = next()?.into_text().ok()?;
        let finish = FinishReason::ALL.into_iter().find(|reason| reason.as_str() == finish)?;
        let times: [Value; 2] = next()?.into_array().ok()?.try_into().ok()?;
        let [started, ended] = times.map(uint);
        let bound = next()?.into_text().ok()? == "bound";
        let par_mac = digest(next()?)?;
        let seq = uint(next()?)?;
        let previous = digest(next()?)?;
        Some(Self {
            binding_id,
            request,
            req_mac: to_request,
            res_mac: to_response,
            manifest,
            usage: Usage { prompt, completion, cached },
            finish,
            started: UnixTime::from_secs(started?),
            ended: UnixTime::from_secs(ended?),
            bound,
            par_mac,
            seq,
            previous,
        })
    }
}

/// A receipt with its signature: a tagged `COSE_Sign1`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedReceipt {
    /// Thumbprint of the key that signed.
    pub kid: Sha256,
    /// The claims' exact bytes.
    pub payload: Vec<u8>,
    /// Ed25519 signature.
    pub signature: [u8; 64],
}

impl SignedReceipt {
    /// The bytes that are signed: the `Sig_structure` of RFC 9052 §4.4.
    pub fn to_be_signed(kid: &Sha256, payload: &[u8]) -> Vec<u8> {
        cbor::encode(&cbor::array([
            cbor::text("Signature1"),
            cbor::bytes(&protected(kid)),
            cbor::bytes(&[]),
            cbor::bytes(payload),
        ]))
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let Self { kid, payload, signature } = self;
        let body = cbor::array([
            cbor::bytes(&protected(kid)),
            cbor::map([]),
            cbor::bytes(payload),
            cbor::bytes(signature),
        ]);
        cbor::encode(&Value::Tag(TAG_SIGN1, Box::new(body)))
    }

    /// Parses exactly what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// Over [`LEN_MAX`], or any other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed::TooLong { what: WHAT, limit: LEN_MAX });
        }
        let signed = Self::from_value(cbor::decode(WHAT, bytes)?).ok_or(BAD)?;
        if signed.encode() == bytes { Ok(signed) } else { Err(BAD) }
    }

    /// The hash that the next receipt of the chain carries.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.encode())
    }

    fn from_value(value: Value) -> Option<Self> {
        let (_, body) = value.into_tag().ok()?;
        let [protected, _, payload, signature]: [Value; 4] =
            body.into_array().ok()?.try_into().ok()?;
        let protected = cbor::decode(WHAT, &protected.into_bytes().ok()?).ok()?;
        let (_, kid) = protected.into_map().ok()?.pop()?;
        Some(Self {
            kid: digest(kid)?,
            payload: payload.into_bytes().ok()?,
            signature: signature.into_bytes().ok()?.try_into().ok()?,
        })
    }
}

/// The sampling parameters as the client asked for them, which `par_mac` commits to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The model's name.
    pub model: String,
    /// `temperature`, where given.
    pub temperature: Option<f64>,
    /// `top_p`, where given.
    pub top_p: Option<f64>,
    /// `top_k`, where given.
    pub top_k: Option<u64>,
    /// `seed`, where given.
    pub seed: Option<i64>,
    /// `max_tokens` or `max_completion_tokens`, where given.
    pub max_tokens: Option<u64>,
    /// `stop`, as a list.
    pub stop: Vec<String>,
    /// `stream`.
    pub stream: bool,
    /// `logprobs`.
    pub logprobs: bool,
    /// `top_logprobs`, where given; of a completion, `logprobs`.
    pub top_logprobs: Option<u64>,
    /// `min_p`, where given.
    pub min_p: Option<f64>,
    /// `frequency_penalty`, where given.
    pub frequency_penalty: Option<f64>,
    /// `presence_penalty`, where given.
    pub presence_penalty: Option<f64>,
    /// `n`, where given.
    pub n: Option<u64>,
}

impl Parameters {
    /// Deterministic CBOR; what was not asked for is null. From `logprobs` on they are members only
    /// where they were asked for (`docs/protocol.md` §5.8).
    pub fn encode(&self) -> Vec<u8> {
        fn or_null<T>(value: Option<T>, to_cbor: impl Fn(T) -> Value) -> Value {
            value.map_or(Value::Null, to_cbor)
        }
        let Self { model, temperature, top_p, top_k, seed, max_tokens, stop, stream, .. } = self;
        let logprobs = self.logprobs.then_some((cbor::text("logprobs"), Value::Bool(true)));
        let top = self.top_logprobs.map(|top| (cbor::text("top_logprobs"), cbor::uint(top)));
        let float = |name, value: Option<f64>| value.map(|v| (cbor::text(name), Value::Float(v)));
        let later = [
            float("min_p", self.min_p),
            float("frequency_penalty", self.frequency_penalty),
            float("presence_penalty", self.presence_penalty),
            self.n.map(|n| (cbor::text("n"), cbor::uint(n))),
        ];
        let always = [
            (cbor::text("model"), cbor::text(model)),
            (cbor::text("temperature"), or_null(*temperature, Value::Float)),
            (cbor::text("top_p"), or_null(*top_p, Value::Float)),
            (cbor::text("top_k"), or_null(*top_k, cbor::uint)),
            (cbor::text("seed"), or_null(*seed, cbor::int)),
            (cbor::text("max_tokens"), or_null(*max_tokens, cbor::uint)),
            (cbor::text("stop"), Value::Array(stop.iter().map(|s| cbor::text(s)).collect())),
            (cbor::text("stream"), Value::Bool(*stream)),
        ];
        cbor::encode(&cbor::map(
            always.into_iter().chain(logprobs).chain(top).chain(later.into_iter().flatten()),
        ))
    }
}

const WHAT: &str = "receipt";
const BAD: Malformed = Malformed::invalid(WHAT, "is not a Veritee receipt");

fn protected(kid: &Sha256) -> Vec<u8> {
    cbor::encode(&cbor::map([
        (cbor::int(1), cbor::int(ALG_ED25519)),
        (cbor::int(4), cbor::bytes(kid.as_bytes())),
    ]))
}

fn digest(value: Value) -> Option<Sha256> {
    value.into_bytes().ok()?.try_into().ok().map(Digest)
}

fn uint(value: Value) -> Option<u64> {
    value.into_integer().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            binding_id: BindingId(Digest([1; 32])),
            request: Digest([2; 32]),
            req_mac: Digest([3; 32]),
            res_mac: Digest([4; 32]),
            manifest: Digest([5; 32]),
            usage: Usage { prompt: 300, completion: 20, cached: 1 },
            finish: FinishReason::Length,
            started: UnixTime::from_secs(1_800_000_000),
            ended: UnixTime::from_secs(1_800_000_001),
            bound: true,
            par_mac: Digest([6; 32]),
            seq: 7,
            previous: Digest([8; 32]),
        }
    }

    #[test]
    fn receipt_round_trips_and_no_octet_can_change_its_meaning_unnoticed() {
        let payload = receipt().encode();
        assert_eq!(Receipt::parse(&payload), Ok(receipt()));
        for at in 0..payload.len() {
            assert!(Receipt::parse(&payload[..at]).is_err(), "cut at {at}");
            let mut other = payload.clone();
            other[at] ^= 1;
            assert_ne!(Receipt::parse(&other), Ok(receipt()), "octet {at}");
        }
    }

    #[test]
    fn signed_receipt_round_trips() {
        let signed =
            SignedReceipt { kid: Digest([9; 32]), payload: receipt().encode(), signature: [7; 64] };
        let bytes = signed.encode();
        assert!(bytes.len() < LEN_MAX && bytes.starts_with(&[0xd2, 0x84]));
        assert_eq!(SignedReceipt::parse(&bytes), Ok(signed));
        for at in 0..bytes.len() {
            assert!(SignedReceipt::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(SignedReceipt::parse(&[bytes, vec![0]].concat()).is_err());
    }

    /// The octets come from `docs/protocol.md` §5.8 and an encoder that shares no code with ours.
    #[test]
    fn the_wire_is_that_of_the_protocol() {
        let payload = receipt().encode();
        assert_eq!(
            (payload.len(), Sha256::of(&payload).to_string().as_str()),
            (327, "cc829f60991d900dda05953bcdf6b2c9ba127459e551c40411123e266e2caee0")
        );
        let kid = Digest([9; 32]);
        assert_eq!(
            Sha256::of(&SignedReceipt::to_be_signed(&kid, &payload)).to_string(),
            "1fc317e061a40a87704fe0ecdcfe2ced2e1f4399fa3c4d4ce661fadab52e0752"
        );
        let signed = SignedReceipt { kid, payload, signature: [7; 64] };
        assert_eq!(
            (signed.encode().len(), signed.digest().to_string().as_str()),
            (439, "2befef848bca0c520684ebb74258a214dc0f1a7a7ddaa407001f382114bdc060")
        );
        let parameters = Parameters {
            model: "m".into(),
            temperature: Some(0.7),
            top_p: Some(0.5),
            top_k: Some(40),
            seed: Some(-1),
            max_tokens: Some(256),
            stop: vec!["x".into()],
            stream: true,
            ..Parameters::default()
        };
        assert_eq!(
            hex::encode(parameters.encode()),
            "a86473656564206473746f70816178656d6f64656c616d65746f705f6b182865746f705f70f93800\
             6673747265616df56a6d61785f746f6b656e731901006b74656d7065726174757265fb3fe6666666666666"
        );
    }

    #[test]
    fn every_parameter_is_committed() {
        let base = Parameters::default();
        let others = [
            Parameters { model: "m".into(), ..base.clone() },
            Parameters { temperature: Some(0.7), ..base.clone() },
            Parameters { top_p: Some(0.7), ..base.clone() },
            Parameters { top_k: Some(1), ..base.clone() },
            Parameters { seed: Some(-1), ..base.clone() },
            Parameters { max_tokens: Some(1), ..base.clone() },
            Parameters { stop: vec!["x".into()], ..base.clone() },
            Parameters { stream: true, ..base.clone() },
            Parameters { logprobs: true, ..base.clone() },
            Parameters { logprobs: true, top_logprobs: Some(0), ..base.clone() },
            Parameters { logprobs: true, top_logprobs: Some(1), ..base.clone() },
            Parameters { min_p: Some(0.0), ..base.clone() },
            Parameters { frequency_penalty: Some(0.5), ..base.clone() },
            Parameters { presence_penalty: Some(0.5), ..base.clone() },
            Parameters { n: Some(1), ..base.clone() },
        ];
        let mut encoded: Vec<Vec<u8>> = others.iter().map(Parameters::encode).collect();
        encoded.push(base.encode());
        encoded.sort();
        encoded.dedup();
        assert_eq!(encoded.len(), others.len() + 1);
    }
}
