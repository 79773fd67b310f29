//! Server-sent events, as they come out of an opened response.

use attestation::{Malformed, Secret};

/// Collects lines into the `data` of events. Comments, which are padding, are dropped.
#[derive(Debug)]
pub(crate) struct EventReader {
    line: Secret<Vec<u8>>,
    data: Secret<Vec<u8>>,
    has_data: bool,
}

impl EventReader {
    pub(crate) const fn new() -> Self {
        Self { line: Secret::new(Vec::new()), data: Secret::new(Vec::new()), has_data: false }
    }

    /// Takes octets in any pieces; calls `each` with the data of every event that they complete.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Malformed> {
        for piece in bytes.split_inclusive(|octet| *octet == b'\n') {
            let (part, ends) =
                piece.strip_suffix(b"\n").map_or((piece, false), |part| (part, true));
            let line = self.line.expose_mut();
            // Padding comments need not be kept to be passed over.
            if line.first() != Some(&b':') {
                if line.len().saturating_add(part.len()) > EVENT_LEN_MAX {
                    return Err(Malformed::TooLong { what: WHAT, limit: EVENT_LEN_MAX });
                }
                line.extend_from_slice(part);
            }
            if ends {
                self.line_ended(&mut each)?;
            }
        }
        Ok(())
    }

    /// Whether everything so far belongs to a complete event.
    pub(crate) fn is_between_events(&self) -> bool {
        self.line.expose().is_empty() && !self.has_data
    }

    fn line_ended(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), Malformed> {
        let line = self.line.expose_mut();
        let (data, text) = (self.data.expose_mut(), line.strip_suffix(b"\r").unwrap_or(line));
        // JSON allows it between its parts; other readers of what we pass on end a line there.
        if text.contains(&b'\r') {
            return Err(Malformed::invalid(WHAT, "has a carriage return within a line"));
        }
        match text {
            [] => {
                if self.has_data {
                    each(data);
                }
                data.clear();
                self.has_data = false;
            }
            [b':', ..] => {}
            _ => {
                let value = text
                    .strip_prefix(b"data:")
                    .ok_or(Malformed::invalid(WHAT, "has a field that is not data"))?;
                if self.has_data {
                    return Err(Malformed::invalid(WHAT, "has data in several lines"));
                }
                data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
                self.has_data = true;
            }
        }
        line.clear();
        Ok(())
    }
}

const WHAT: &str = "event stream";

/// Longest event: a delta is a few hundred octets, one with log probabilities a few thousand.
const EVENT_LEN_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<(Vec<String>, bool), Malformed> {
        let mut reader = EventReader::new();
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece, |data| events.push(String::from_utf8(data.to_vec()).unwrap()))?;
        }
        Ok((events, reader.is_between_events()))
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let text = b"data: one\n\n:    \ndata:two\r\n\r\n: pad\n\ndata: [DONE]\n\n:";
        let expected = vec!["one".to_owned(), "two".to_owned(), "[DONE]".to_owned()];
        assert_eq!(read(&[text]).unwrap().0, expected);
        for at in 0..text.len() {
            let (a, b) = text.split_at(at);
            assert_eq!(read(&[a, b]).unwrap().0, expected, "cut at {at}");
        }
    }

    #[test]
    fn an_unfinished_event_is_noticed() {
        assert!(read(&[b"data: one\n\n"]).unwrap().1);
        for text in [&b"data: one\n"[..], b"data: one", b"data: a\n\nd"] {
            assert!(!read(&[text]).unwrap().1);
        }
    }

    #[test]
    fn what_no_enclave_sends_is_refused() {
        for text in [
            &b"event: x\n"[..],
            b"id: 1\n",
            b"data: a\ndata: b\n",
            b"{}\n",
            b"data: {}\rdata: [DONE]\r\r\n",
            b"data: {}\r\r\n",
            b": pad\rdata: {}\n",
            b"\xef\xbb\xbfdata: {}\n",
        ] {
            assert!(read(&[text]).is_err(), "{text:?}");
        }
        assert!(read(&[&vec![b'd'; EVENT_LEN_MAX + 1]]).is_err());
        assert!(read(&[b":", &vec![b' '; EVENT_LEN_MAX + 1], b"\n"]).is_ok());
    }
}
