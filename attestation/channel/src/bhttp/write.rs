//! Writing, part by part: the caller decides which parts share a chunk.

use crate::bhttp::fields::Fields;
use crate::varint;

const RESPONSE_INDETERMINATE: usize = 3;

/// Appends the head of a response of indeterminate length.
pub fn response_head(status: u16, fields: &Fields, out: &mut Vec<u8>) {
    varint::write(RESPONSE_INDETERMINATE, out);
    varint::write(usize::from(status), out);
    trailers(fields, out);
}

/// Appends a piece of content. An empty piece would end the content, so nothing is written for it.
pub fn content_chunk(content: &[u8], out: &mut Vec<u8>) {
    if !content.is_empty() {
        octets(content, out);
    }
}

/// Appends the end of the content.
pub fn content_end(out: &mut Vec<u8>) {
    varint::write(0, out);
}

/// Appends the trailer section.
pub fn trailers(fields: &Fields, out: &mut Vec<u8>) {
    lines(fields, out);
    varint::write(0, out);
}

/// The lines of a section, without its length or its end.
pub(super) fn lines(fields: &Fields, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        octets(name.as_bytes(), out);
        octets(value, out);
    }
}

/// How long the lines of a section are.
pub(super) fn section_len(fields: &Fields) -> usize {
    fields.iter().fold(0, |sum, (name, value)| {
        let lens = varint::size(name.len()).saturating_add(varint::size(value.len()));
        sum.saturating_add(lens).saturating_add(name.len()).saturating_add(value.len())
    })
}

/// A section behind its length.
pub(super) fn section(fields: &Fields, out: &mut Vec<u8>) {
    varint::write(section_len(fields), out);
    lines(fields, out);
}

/// A byte string behind its length.
pub(super) fn octets(bytes: &[u8], out: &mut Vec<u8>) {
    varint::write(bytes.len(), out);
    out.extend_from_slice(bytes);
}
