use core::fmt;

use attestation::Malformed;
use zeroize::{Zeroize, Zeroizing};

use crate::bhttp::fields::{Fields, SECTION_MAX};
use crate::varint;

/// Longest method, scheme and authority; names in DNS have 255 octets at most.
const NAME_MAX: usize = 255;
/// Longest path, as common HTTP servers have it.
const PATH_MAX: usize = 8 << 10;
/// Most informational responses before the final one. Enclaves send none.
const INFORMATIONAL_MAX: u8 = 8;
const WHAT: &str = "binary HTTP message";

/// A part of a message, as soon as it is known.
pub enum Part<'a> {
    /// Method, scheme, authority, path and headers.
    RequestHead {
        /// The four strings, in order.
        control: [String; 4],
        /// The headers.
        fields: Fields,
    },
    /// Status and headers of the final response; informational ones are read and passed over.
    ResponseHead {
        /// The status, 200 to 599.
        status: u16,
        /// The headers.
        fields: Fields,
    },
    /// Octets of the content, in order, never empty.
    Content(&'a [u8]),
}

impl fmt::Debug for Part<'_> {
    /// Shows no content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHead { fields, .. } => write!(f, "RequestHead({fields:?})"),
            Self::ResponseHead { status, fields } => {
                write!(f, "ResponseHead({status}, {fields:?})")
            }
            Self::Content(octets) => write!(f, "Content({} octets)", octets.len()),
        }
    }
}

/// Which messages a reader takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Request,
    Response,
}

/// Reads one message that arrives in any pieces.
pub struct MessageReader {
    role: Role,
    known: bool,
    state: State,
    /// An element that is incomplete so far. Only elements with a limit wait here.
    pending: Zeroizing<Vec<u8>>,
    consumed: u64,
    content_end: Option<u64>,
    message_end: Option<u64>,
    control: Control,
    fields: Fields,
    has_content: bool,
    informational: u8,
}

/// The end of a response.
#[derive(Debug)]
pub struct ResponseEnd {
    /// The trailers; empty if there were none.
    pub trailers: Fields,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Framing,
    Control,
    SectionLen(Section),
    Lines(Section, Option<u64>),
    ContentLen,
    Content(u64),
    Padding,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Section {
    Headers,
    Trailers,
}

#[derive(Debug)]
enum Control {
    None,
    Request([String; 4]),
    Status(u16),
}

/// One step of the machine: how many octets it took, or that it needs more.
enum Step {
    Took(usize),
    More,
}

impl MessageReader {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            known: false,
            state: State::Framing,
            pending: Zeroizing::new(Vec::new()),
            consumed: 0,
            content_end: None,
            message_end: None,
            control: Control::None,
            fields: Fields::new(),
            has_content: false,
            informational: 0,
        }
    }

    /// Takes the next octets; calls `each` with what they complete.
    ///
    /// # Errors
    /// Anything that RFC 9292 does not allow, and what is over a limit.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Part<'_>)) -> Result<(), Malformed> {
        if self.pending.is_empty() {
            return self.run(bytes, &mut each);
        }
        let mut joined =
            Zeroizing::new(Vec::with_capacity(self.pending.len().saturating_add(bytes.len())));
        joined.extend_from_slice(&self.pending);
        joined.extend_from_slice(bytes);
        self.pending.zeroize();
        self.run(&joined, &mut each)
    }

    /// Octets so far that precede the trailer section; all, as long as that is not reached.
    pub fn octets_before_trailers(&self) -> u64 {
        let pending = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        self.content_end.unwrap_or_else(|| self.consumed.saturating_add(pending))
    }

    /// Octets so far that precede the padding.
    pub fn octets_before_padding(&self) -> u64 {
        self.message_end.unwrap_or(self.consumed)
    }

    /// Ends the message and gives its trailers.
    ///
    /// # Errors
    /// A message that is cut anywhere but where only empty parts would follow (RFC 9292 §3.8).
    pub fn finish(mut self) -> Result<ResponseEnd, Malformed> {
        let whole = match self.state {
            State::Padding | State::SectionLen(Section::Trailers) => true,
            State::ContentLen => !self.has_content,
            State::Lines(Section::Trailers, left) => left.is_none() && self.fields.is_empty(),
            State::Framing
            | State::Control
            | State::SectionLen(Section::Headers)
            | State::Lines(Section::Headers, _)
            | State::Content(_) => false,
        };
        if !whole || !self.pending.is_empty() {
            return Err(Malformed::Truncated { what: WHAT });
        }
        Ok(ResponseEnd { trailers: core::mem::take(&mut self.fields) })
    }

    fn run(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Part<'_>)) -> Result<(), Malformed> {
        while let Step::Took(len) = self.step(bytes, each)? {
            bytes = bytes.get(len..).unwrap_or_default();
            self.consumed = self.consumed.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            self.mark();
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Notes where the content and the message end, as soon as all before is consumed.
    fn mark(&mut self) {
        match self.state {
            State::SectionLen(Section::Trailers) | State::Lines(Section::Trailers, _) => {
                self.content_end.get_or_insert(self.consumed);
            }
            State::Padding => {
                self.message_end.get_or_insert(self.consumed);
            }
            State::Framing
            | State::Control
            | State::SectionLen(Section::Headers)
            | State::Lines(Section::Headers, _)
            | State::ContentLen
            | State::Content(_) => {}
        }
    }

    fn step(&mut self, bytes: &[u8], each: &mut impl FnMut(Part<'_>)) -> Result<Step, Malformed> {
        match self.state {
            State::Framing => {
                let Some((framing, len)) = varint::read(bytes) else { return Ok(Step::More) };
                self.known = match (self.role, framing) {
                    (Role::Request, 0) | (Role::Response, 1) => true,
                    (Role::Request, 2) | (Role::Response, 3) => false,
                    _ => return Err(Malformed::invalid(WHAT, "is not of the expected kind")),
                };
                self.state = State::Control;
                Ok(Step::Took(len))
            }
            State::Control => self.control(bytes),
            State::SectionLen(section) => {
                let Some((len, took)) = varint::read(bytes) else { return Ok(Step::More) };
                if len > u64::try_from(SECTION_MAX).unwrap_or(u64::MAX) {
                    return Err(Malformed::TooLong { what: "field section", limit: SECTION_MAX });
                }
                self.state = State::Lines(section, Some(len));
                if len == 0 {
                    self.end_section(section, each)?;
                }
                Ok(Step::Took(took))
            }
            State::Lines(section, left) => self.line(bytes, section, left, each),
            State::ContentLen => {
                let Some((len, took)) = varint::read(bytes) else { return Ok(Step::More) };
                self.state = match len {
                    0 => self.section(Section::Trailers),
                    _ => State::Content(len),
                };
                Ok(Step::Took(took))
            }
            State::Content(left) => {
                let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
                let len = usize::try_from(available).unwrap_or(usize::MAX);
                let content = bytes.get(..len).unwrap_or_default();
                if content.is_empty() {
                    return Ok(Step::More);
                }
                self.has_content = true;
                each(Part::Content(content));
                self.state = match left.saturating_sub(available) {
                    0 if self.known => self.section(Section::Trailers),
                    0 => State::ContentLen,
                    left => State::Content(left),
                };
                Ok(Step::Took(len))
            }
            State::Padding => {
                if bytes.is_empty() {
                    return Ok(Step::More);
                }
                if bytes.iter().any(|octet| *octet != 0) {
                    return Err(Malformed::invalid(WHAT, "has padding that is not zero"));
                }
                Ok(Step::Took(bytes.len()))
            }
        }
    }

    fn control(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let took = match self.role {
            Role::Request => {
                let (mut strings, mut took) = ([const { String::new() }; 4], 0_usize);
                for (string, limit) in
                    strings.iter_mut().zip([NAME_MAX, NAME_MAX, NAME_MAX, PATH_MAX])
                {
                    let rest = bytes.get(took..).unwrap_or_default();
                    let Some((value, len)) = string_of(rest, "control data", limit)? else {
                        return Ok(Step::More);
                    };
                    *string = text(value, "control data")?;
                    took = took.saturating_add(len);
                }
                self.control = Control::Request(strings);
                took
            }
            Role::Response => {
                let Some((status, took)) = varint::read(bytes) else { return Ok(Step::More) };
                let status =
                    u16::try_from(status).ok().filter(|status| (100..600).contains(status));
                self.control = Control::Status(
                    status.ok_or(Malformed::invalid("status", "is not between 100 and 599"))?,
                );
                took
            }
        };
        self.state = self.section(Section::Headers);
        Ok(Step::Took(took))
    }

    fn line(
        &mut self,
        bytes: &[u8],
        section: Section,
        left: Option<u64>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<Step, Malformed> {
        let Some((name, name_len)) = string_of(bytes, "field name", SECTION_MAX)? else {
            return Self::more_or_cut(bytes, left);
        };
        if name.is_empty() {
            if self.known {
                return Err(Malformed::invalid("field name", "is empty"));
            }
            self.end_section(section, each)?;
            return Ok(Step::Took(name_len));
        }
        let rest = bytes.get(name_len..).unwrap_or_default();
        let Some((value, value_len)) = string_of(rest, "field value", SECTION_MAX)? else {
            return Self::more_or_cut(bytes, left);
        };
        self.fields.push(&text(name, "field name")?, value)?;
        let took = name_len.saturating_add(value_len);
        if let Some(left) = left {
            let len = u64::try_from(took).unwrap_or(u64::MAX);
            let left = left.checked_sub(len).ok_or(OVERRUN)?;
            self.state = State::Lines(section, Some(left));
            if left == 0 {
                self.end_section(section, each)?;
            }
        }
        Ok(Step::Took(took))
    }

    /// Waits for the rest of a line, unless the section's own length says that there is none.
    fn more_or_cut(bytes: &[u8], left: Option<u64>) -> Result<Step, Malformed> {
        let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if left.is_some_and(|left| have >= left) { Err(OVERRUN) } else { Ok(Step::More) }
    }

    fn end_section(
        &mut self,
        section: Section,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Malformed> {
        if section == Section::Trailers {
            self.state = State::Padding;
            return Ok(());
        }
        let fields = core::mem::take(&mut self.fields);
        self.state = State::ContentLen;
        match core::mem::replace(&mut self.control, Control::None) {
            Control::Request(control) => each(Part::RequestHead { control, fields }),
            Control::Status(100..200) => {
                self.informational = self.informational.saturating_add(1);
                if self.informational > INFORMATIONAL_MAX {
                    return Err(Malformed::invalid(WHAT, "has too many informational responses"));
                }
                self.state = State::Control;
            }
            Control::Status(status) => each(Part::ResponseHead { status, fields }),
            Control::None => return Err(Malformed::invalid(WHAT, "has no control data")),
        }
        Ok(())
    }

    const fn section(&self, section: Section) -> State {
        if self.known { State::SectionLen(section) } else { State::Lines(section, None) }
    }
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageReader({:?}, {:?}, {} octets)", self.role, self.state, self.consumed)
    }
}

/// Reads one response that arrives in any pieces.
#[derive(Debug)]
pub struct ResponseReader(MessageReader);

impl ResponseReader {
    /// A reader at the start of a response.
    pub fn new() -> Self {
        Self(MessageReader::new(Role::Response))
    }

    /// See [`MessageReader::push`].
    pub fn push(&mut self, bytes: &[u8], each: impl FnMut(Part<'_>)) -> Result<(), Malformed> {
        self.0.push(bytes, each)
    }

    /// See [`MessageReader::octets_before_trailers`].
    pub fn octets_before_trailers(&self) -> u64 {
        self.0.octets_before_trailers()
    }

    /// See [`MessageReader::finish`].
    pub fn finish(self) -> Result<ResponseEnd, Malformed> {
        self.0.finish()
    }
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self::new()
    }
}

const OVERRUN: Malformed = Malformed::invalid("field section", "is not as long as it says");

/// A byte string behind its length, and how much both take; nothing while it is incomplete.
fn string_of<'a>(
    bytes: &'a [u8],
    what: &'static str,
    limit: usize,
) -> Result<Option<(&'a [u8], usize)>, Malformed> {
    let Some((len, prefix)) = varint::read(bytes) else { return Ok(None) };
    let len = usize::try_from(len).ok().filter(|len| *len <= limit);
    let end = prefix.saturating_add(len.ok_or(Malformed::TooLong { what, limit })?);
    Ok(bytes.get(prefix..end).map(|value| (value, end)))
}

fn text(bytes: &[u8], what: &'static str) -> Result<String, Malformed> {
    match core::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|octet| matches!(octet, 0x21..=0x7e)) => Ok(text.to_owned()),
        _ => Err(Malformed::invalid(what, "is not visible ASCII")),
    }
}
