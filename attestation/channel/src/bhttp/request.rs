use core::fmt;

use attestation::{Malformed, Secret};

use crate::bhttp::fields::Fields;
use crate::bhttp::reader::{MessageReader, Part, Role};
use crate::bhttp::write::{octets, section, section_len};
use crate::varint;

const REQUEST_KNOWN: usize = 0;

/// A whole request.
pub struct Request {
    /// The method, `POST` say.
    pub method: String,
    /// The scheme: `https`.
    pub scheme: String,
    /// The authority; ours is `{node_id}.veritee.invalid` and never resolved.
    pub authority: String,
    /// The path, with its query if it has one.
    pub path: String,
    /// The headers.
    pub fields: Fields,
    /// The content.
    pub content: Secret<Vec<u8>>,
    /// The trailers.
    pub trailers: Fields,
}

/// A request that was parsed.
#[derive(Debug)]
pub struct Parsed {
    /// The request.
    pub request: Request,
    /// How many octets of the input it took; the others are padding. `req_mac` covers these
    /// (`docs/protocol.md` §5.8).
    pub message_len: usize,
}

impl Request {
    /// The message of known length. Every part is present, also when it is empty, so that padding
    /// can follow.
    pub fn encode(&self) -> Secret<Vec<u8>> {
        let content = self.content.expose();
        let strings = [&self.method, &self.scheme, &self.authority, &self.path];
        let sections = [section_len(&self.fields), section_len(&self.trailers)];
        let lens = strings.iter().map(|string| string.len()).chain(sections).chain([content.len()]);
        // One allocation, so that nothing is left behind by growing; the lengths take 8 at most.
        let room = lens.fold(varint::LEN_MAX, |room, len| {
            room.saturating_add(len).saturating_add(varint::LEN_MAX)
        });
        let mut out = Vec::with_capacity(room);
        varint::write(REQUEST_KNOWN, &mut out);
        for string in strings {
            octets(string.as_bytes(), &mut out);
        }
        section(&self.fields, &mut out);
        octets(content, &mut out);
        section(&self.trailers, &mut out);
        Secret::new(out)
    }

    /// Parses all of `bytes`: one request of either form, and zeros after it.
    ///
    /// # Errors
    /// Anything that RFC 9292 does not allow, and what is over a limit.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
        let mut reader = MessageReader::new(Role::Request);
        let (mut head, mut content) = (None, Secret::new(Vec::with_capacity(bytes.len())));
        reader.push(bytes, |part| match part {
            Part::RequestHead { control, fields } => head = Some((control, fields)),
            Part::Content(octets) => content.expose_mut().extend_from_slice(octets),
            Part::ResponseHead { .. } => {}
        })?;
        let message_len = usize::try_from(reader.octets_before_padding()).unwrap_or(bytes.len());
        let trailers = reader.finish()?.trailers;
        let ([method, scheme, authority, path], fields) =
            head.ok_or(Malformed::Truncated { what: "binary HTTP message" })?;
        let request = Self { method, scheme, authority, path, fields, content, trailers };
        Ok(Parsed { request, message_len })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request(..)")
    }
}
