//! The opening half: a key pair, and the requests that are opened with it.

use core::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use attestation::keys::XWING_PUBLIC_LEN;
use attestation::{SealingKey, Secret, Sha256, labels};
use hpke::aead::{Aead, AeadCtxR, AeadTag, AesGcm128, AesGcm256};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, Serializable, setup_receiver};

use crate::chunks::{AAD, Deframer};
use crate::header::RequestHeader;
use crate::refused::Refused;
use crate::replay::ReplaySet;
use crate::reply::ReplyKeys;
use crate::schedule::{Blinds, Exports};
use crate::stack;
use crate::suite::{Suite, TAG_LEN};

type PrivateKey = <XWing as Kem>::PrivateKey;
type ReceiverContext<A> = AeadCtxR<A, HkdfSha256, XWing>;

/// The most plaintext octets that a request may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Octets of plaintext, padding included.
    pub bytes_max: usize,
}

impl Default for Limit {
    /// 2 MiB (`docs/protocol.md` §5.4).
    fn default() -> Self {
        Self { bytes_max: 2 << 20 }
    }
}

/// The X-Wing key pair of one epoch, with the requests that it has accepted.
///
/// The private key never leaves it, and is zeroised by [`retire`](Self::retire) whoever else still
/// holds the recipient; requests that were begun before keep contexts of their own.
pub struct Recipient {
    public: SealingKey,
    private: RwLock<Option<PrivateKey>>,
    replay: Arc<ReplaySet>,
}

impl Recipient {
    /// Makes a key pair from the system's randomness; it will accept `requests_max` requests.
    pub fn generate(key_id: u8, requests_max: usize) -> Self {
        Self::from_pair(key_id, requests_max, XWing::gen_keypair())
    }

    /// The public half.
    pub const fn public(&self) -> &SealingKey {
        &self.public
    }

    /// Whether the key has accepted as many requests as it may, and so has ended.
    pub fn is_full(&self) -> bool {
        self.replay.is_full()
    }

    /// Whether the key has accepted nearly as many requests as it may: it is time for the next one.
    pub fn is_nearly_full(&self) -> bool {
        self.replay.is_nearly_full()
    }

    /// Zeroises the private key: no request is begun after this.
    pub fn retire(&self) {
        // PrivateKey zeroises itself when dropped. It has to be dropped where it lies: moved out, it
        // would leave its octets behind.
        *self.private.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks the request up in the replay set, then decapsulates (about 0.2 ms of processor time).
    ///
    /// # Errors
    /// [`Refused::UnknownKey`] for another key's header, [`Refused::Replayed`],
    /// [`Refused::ReplaySetFull`], [`Refused::KeyRetired`], [`Refused::Unauthentic`].
    pub fn begin(&self, header: &RequestHeader, limit: Limit) -> Result<RequestOpener, Refused> {
        if header.key_id() != self.public.key_id() {
            return Err(Refused::UnknownKey);
        }
        let replay_key = header.replay_key();
        self.replay.look_up(&replay_key)?;
        let context = {
            let private = self.private.read().unwrap_or_else(PoisonError::into_inner);
            Context::new(private.as_ref().ok_or(Refused::KeyRetired)?, header)?
        };
        Ok(RequestOpener {
            header: header.clone(),
            replay_key,
            context,
            replay: Arc::clone(&self.replay),
            deframer: Deframer::new(limit.bytes_max),
            plaintext: Secret::new(Vec::new()),
            refused: None,
        })
    }

    fn from_pair(
        key_id: u8,
        requests_max: usize,
        (private, public): (PrivateKey, <XWing as Kem>::PublicKey),
    ) -> Self {
        let mut bytes = [0; XWING_PUBLIC_LEN];
        bytes.copy_from_slice(&public.to_bytes());
        Self {
            public: SealingKey::new(key_id, &bytes),
            private: RwLock::new(Some(private)),
            replay: Arc::new(ReplaySet::new(requests_max)),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({:?}, {:?})", self.public, self.replay)
    }
}

/// A request whose chunks are arriving.
pub struct RequestOpener {
    header: RequestHeader,
    replay_key: Sha256,
    context: Context,
    replay: Arc<ReplaySet>,
    deframer: Deframer,
    plaintext: Secret<Vec<u8>>,
    refused: Option<Refused>,
}

impl RequestOpener {
    /// Takes the next octets after the header, however they are cut.
    ///
    /// # Errors
    /// Once an error is given, every further call gives it again.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        let Self { context, deframer, plaintext, .. } = self;
        let result = deframer.push(bytes, |chunk| {
            let plain = context.open(AAD, chunk)?;
            plaintext.append(plain);
            Ok(())
        });
        self.refused = result.err();
        result
    }

    /// How many octets it holds, for a budget over all requests.
    pub fn buffered(&self) -> usize {
        self.plaintext.expose().len().saturating_add(self.deframer.buffered())
    }

    /// Ends the request: authenticates the final chunk, then enters the request into the replay set.
    ///
    /// Only what it gives back may be acted on.
    ///
    /// # Errors
    /// A request that is not whole and authentic, and one that another copy has overtaken.
    pub fn finish(self) -> Result<Opened, Refused> {
        let Self { header, replay_key, mut context, replay, deframer, mut plaintext, refused } =
            self;
        if let Some(why) = refused {
            return Err(why);
        }
        let mut last = deframer.finish()?;
        plaintext.append(context.open(labels::OHTTP_FINAL, &mut last)?);
        let exports = context.exports(header.suite())?;
        let (reply, blinds) = ReplyKeys::new(&header, exports);
        replay.insert(replay_key)?;
        Ok(Opened { request_digest: header.digest(), plaintext, reply, blinds })
    }
}

impl fmt::Debug for RequestOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestOpener({:?}, {} octets)", self.header, self.buffered())
    }
}

/// A request that is whole, authentic and new.
#[derive(Debug)]
pub struct Opened {
    /// `SHA256(hdr ‖ enc)`, claim 3 of the receipt (`docs/protocol.md` §5.8).
    pub request_digest: Sha256,
    /// The Binary HTTP message and its padding.
    pub plaintext: Secret<Vec<u8>>,
    /// What the response is sealed with.
    pub reply: ReplyKeys,
    /// What the commitments of the receipt are made with.
    pub blinds: Blinds,
}

/// HPKE's receiving context, in either suite.
enum Context {
    Aes256(Box<ReceiverContext<AesGcm256>>),
    Aes128(Box<ReceiverContext<AesGcm128>>),
}

impl Context {
    fn new(private: &PrivateKey, header: &RequestHeader) -> Result<Self, Refused> {
        Ok(match header.suite() {
            Suite::XWingAes256Gcm => Self::Aes256(Box::new(receive(private, header)?)),
            Suite::XWingAes128Gcm => Self::Aes128(Box::new(receive(private, header)?)),
        })
    }

    fn open<'a>(&mut self, aad: &[u8], chunk: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        stack::wiped(|| match self {
            Self::Aes256(context) => open_in_place(context, aad, chunk),
            Self::Aes128(context) => open_in_place(context, aad, chunk),
        })
    }

    fn exports(&self, suite: Suite) -> Result<Exports, Refused> {
        match self {
            Self::Aes256(context) => {
                Exports::derive(suite, |label, out| context.export(label, out))
            }
            Self::Aes128(context) => {
                Exports::derive(suite, |label, out| context.export(label, out))
            }
        }
        .map_err(|_| Refused::Unauthentic)
    }
}

fn receive<A: Aead>(
    private: &PrivateKey,
    header: &RequestHeader,
) -> Result<ReceiverContext<A>, Refused> {
    let enc = <XWing as Kem>::EncappedKey::from_bytes(header.enc().as_slice());
    let info = RequestHeader::info(header.key_id(), header.suite());
    enc.and_then(|enc| setup_receiver(&OpModeR::Base, private, &enc, &info))
        .map_err(|_| Refused::Unauthentic)
}

fn open_in_place<'a, A: Aead>(
    context: &mut ReceiverContext<A>,
    aad: &[u8],
    chunk: &'a mut [u8],
) -> Result<&'a [u8], Refused> {
    let len = chunk.len().checked_sub(TAG_LEN).ok_or(Refused::Unauthentic)?;
    let (body, tag) = chunk.split_at_mut_checked(len).ok_or(Refused::Unauthentic)?;
    AeadTag::from_bytes(tag)
        .and_then(|tag| context.open_inout_detached(InOutBuf::from(&mut *body), aad, &tag))
        .map(|()| &*body)
        .map_err(|_| Refused::Unauthentic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HEADER_LEN;

    /// A vector that `tests/vectors/generate.py` made from the primitives, without this crate.
    struct Vector(&'static str);

    impl Vector {
        fn get(&self, name: &str) -> Vec<u8> {
            let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
            hex::decode(lines.find(|(key, _)| *key == name).unwrap().1).unwrap()
        }

        fn recipient(&self, key_id: u8) -> Recipient {
            let private = PrivateKey::from_bytes(&self.get("seed")).unwrap();
            let public = XWing::sk_to_pk(&private);
            Recipient::from_pair(key_id, 10, (private, public))
        }
    }

    fn open(to: &Recipient, request: &[u8]) -> Result<Opened, Refused> {
        let (header, chunks) = request.split_at(HEADER_LEN);
        let mut opener = to.begin(&RequestHeader::parse(header)?, Limit::default())?;
        opener.push(chunks)?;
        opener.finish()
    }

    const VECTORS: [Vector; 2] = [
        Vector(include_str!("../tests/vectors/aes256gcm.txt")),
        Vector(include_str!("../tests/vectors/aes128gcm.txt")),
    ];

    #[test]
    fn known_answers_in_both_directions() {
        for vector in VECTORS {
            let (to, request) = (vector.recipient(0x2a), vector.get("request"));
            assert_eq!(to.public().public().as_slice(), vector.get("public"));
            let header = RequestHeader::parse(&request[..HEADER_LEN]).unwrap();
            assert_eq!(header.replay_key().as_bytes().as_slice(), vector.get("replay_key"));

            let opened = open(&to, &request).unwrap();
            assert_eq!(*opened.plaintext.expose(), vector.get("question"));
            assert_eq!(opened.request_digest.as_bytes().as_slice(), vector.get("request_digest"));
            assert_eq!(opened.blinds.request.expose().as_slice(), vector.get("blind_req"));
            assert_eq!(opened.blinds.response.expose().as_slice(), vector.get("blind_res"));
            assert_eq!(opened.blinds.parameters.expose().as_slice(), vector.get("blind_par"));

            let entropy = vector.get("entropy").try_into().unwrap();
            let (mut sealer, mut out) = opened.reply.into_sealer(&entropy);
            sealer.seal(b"an", &mut out).unwrap();
            sealer.seal(b"answer", &mut out).unwrap();
            sealer.seal_final(b"", &mut out).unwrap();
            assert_eq!(out, vector.get("response"));
        }
    }

    #[test]
    fn the_key_id_is_bound_to_the_request() {
        // The same key pair under the id that the router would like the request to have.
        for vector in VECTORS {
            let mut request = vector.get("request");
            request[0] = 0x2b;
            let refused = open(&vector.recipient(0x2b), &request).unwrap_err();
            assert_eq!(refused, Refused::Unauthentic);
        }
    }

    /// The private key's octets in the memory that the recipient takes.
    #[cfg(target_os = "linux")]
    fn holds(to: &Recipient, seed: &[u8]) -> bool {
        use std::os::unix::fs::FileExt as _;
        let whole = std::fs::File::open("/proc/self/mem").unwrap();
        let holds = |start: usize, len: usize| {
            let mut memory = vec![0; len];
            whole.read_exact_at(&mut memory, u64::try_from(start).unwrap()).unwrap();
            memory.windows(seed.len()).any(|window| window == seed)
        };
        holds(core::ptr::from_ref(to).addr(), size_of_val(to))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_retired_key_is_overwritten_where_it_lay() {
        let vector = &VECTORS[0];
        let to = vector.recipient(0x2a);
        let seed = vector.get("seed");
        assert!(holds(&to, &seed), "the search finds what is there");
        to.retire();
        assert!(!holds(&to, &seed));
        assert_eq!(open(&to, &vector.get("request")).unwrap_err(), Refused::KeyRetired);
    }
}
