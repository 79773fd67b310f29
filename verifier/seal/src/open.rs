use core::fmt;

use attestation::digest::Mac;
use attestation::{Malformed, Sha256};
use channel::bhttp::{Part, ResponseReader};
use channel::chunks::{BYTES_MAX, Misframed};
use channel::{Blinds, Fields, ReplyKeys, ResponseOpener};

/// What opens the response to one sealed request, once.
#[derive(Debug)]
pub struct PendingResponse {
    pub(crate) reply: ReplyKeys,
    pub(crate) blinds: Blinds,
    pub(crate) request: Sha256,
    pub(crate) req_mac: Sha256,
}

impl PendingResponse {
    /// Starts to open the response.
    pub fn open(self) -> OpenStream {
        let Self { reply, blinds, request, req_mac } = self;
        let inside =
            Inside { reader: ResponseReader::new(), mac: Mac::new(&blinds.response), covered: 0 };
        let opener = reply.into_opener(BYTES_MAX);
        OpenStream { opener, inside, blinds, request, req_mac, broken: None }
    }
}

/// A piece of a response whose chunks have authenticated so far.
#[non_exhaustive]
pub enum Event {
    /// The head.
    Head {
        /// The status, 200 to 599.
        status: u16,
        /// The headers.
        fields: Fields,
    },
    /// Octets of the content, in order, never empty.
    Content(Vec<u8>),
}

impl fmt::Debug for Event {
    /// Shows no content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { status, fields } => write!(f, "Head({status}, {fields:?})"),
            Self::Content(octets) => write!(f, "Content({} octets)", octets.len()),
        }
    }
}

/// A response that is arriving.
///
/// Every event is what the enclave sent in that position. Whether it sent more is known only from
/// [`finish`](Self::finish), so nothing counts as complete before.
#[derive(Debug)]
pub struct OpenStream {
    opener: ResponseOpener,
    inside: Inside,
    blinds: Blinds,
    request: Sha256,
    req_mac: Sha256,
    broken: Option<Broken>,
}

impl OpenStream {
    /// Takes octets of the outer body, however they are cut, and appends what they complete.
    ///
    /// # Errors
    /// Once an error is given, every further call gives it again. What was appended before stands.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Broken> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        let Self { opener, inside, .. } = self;
        let mut message = Ok(());
        let chunks = opener.push(bytes, |plain| {
            if message.is_ok() {
                message = inside.absorb(plain, events);
            }
        });
        // A message that is broken comes before a chunk that is.
        let result = message.and_then(|()| chunks.map_err(Broken::Chunks));
        self.broken = result.clone().err();
        result
    }

    /// Ends the response, whose octets have all been pushed.
    ///
    /// # Errors
    /// Anything but a whole, authentic response to the request.
    pub fn finish(self) -> Result<Finished, Broken> {
        let Self { opener, mut inside, blinds, request, req_mac, broken } = self;
        if let Some(why) = broken {
            return Err(why);
        }
        let mut events = Vec::new();
        let last = opener.finish().map_err(Broken::Chunks)?;
        inside.absorb(&last, &mut events)?;
        let Inside { reader, mac, .. } = inside;
        let trailers = reader.finish().map_err(Broken::Message)?.trailers;
        let transcript = Transcript { request, req_mac, res_mac: mac.finish(), blinds };
        Ok(Finished { events, trailers, transcript })
    }
}

/// The Binary HTTP inside the chunks, and the commitment to it.
#[derive(Debug)]
struct Inside {
    reader: ResponseReader,
    mac: Mac,
    /// Octets that the MAC covers so far.
    covered: u64,
}

impl Inside {
    fn absorb(&mut self, plain: &[u8], events: &mut Vec<Event>) -> Result<(), Broken> {
        let read = self.reader.push(plain, |part| match part {
            Part::ResponseHead { status, fields } => events.push(Event::Head { status, fields }),
            Part::Content(octets) => events.push(Event::Content(octets.to_vec())),
            // The reader was made for a response.
            Part::RequestHead { .. } => {}
        });
        read.map_err(Broken::Message)?;
        let covered = self.reader.octets_before_trailers();
        let new = usize::try_from(covered.saturating_sub(self.covered)).unwrap_or(usize::MAX);
        self.mac.update(plain.get(..new).unwrap_or(plain));
        self.covered = covered;
        Ok(())
    }
}

/// A response that is whole and authentic.
#[derive(Debug)]
pub struct Finished {
    /// What the final chunk held besides trailers. Our enclave puts nothing there.
    pub events: Vec<Event>,
    /// The trailers, the receipt among them.
    pub trailers: Fields,
    /// What the receipt must agree with.
    pub transcript: Transcript,
}

/// What this client sent and received, as a receipt commits to it (`docs/protocol.md` §5.8).
#[derive(Debug)]
pub struct Transcript {
    /// `SHA256(hdr ‖ enc)`, claim 3.
    pub request: Sha256,
    /// The commitment to the request, claim 4.
    pub req_mac: Sha256,
    /// The commitment to the response, claim 5.
    pub res_mac: Sha256,
    /// What opens the commitments to a third person, one at a time.
    pub blinds: Blinds,
}

impl Transcript {
    /// The commitment to the sampling parameters, claim 11, given their deterministic CBOR.
    pub fn par_mac(&self, parameters: &[u8]) -> Sha256 {
        self.blinds.parameters_mac(parameters)
    }
}

/// Why a response is not the enclave's answer to this request, whole.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Broken {
    /// The chunks are cut, changed, moved, left out or someone else's.
    Chunks(channel::Broken),
    /// The chunks are authentic, and no HTTP response.
    Message(Malformed),
}

impl Broken {
    /// A stable name for outputs and tests.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Chunks(channel::Broken::Framing(Misframed::Truncated)) => "response-truncated",
            Self::Chunks(channel::Broken::Framing(_)) => "response-framing",
            Self::Chunks(_) => "response-not-authentic",
            Self::Message(_) => "response-malformed",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunks(why) => why.fmt(f),
            Self::Message(why) => write!(f, "the response is broken: {why}"),
        }
    }
}

impl core::error::Error for Broken {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Chunks(why) => Some(why),
            Self::Message(why) => Some(why),
        }
    }
}
