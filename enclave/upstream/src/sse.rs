//! Server-sent events, as they come.

use zeroize::Zeroizing;

/// Reads events from octets that come in any pieces; comments and other fields than `data` are nothing.
pub(crate) struct Reader {
    line: Zeroizing<Vec<u8>>,
    data: Option<Zeroizing<Vec<u8>>>,
    after_return: bool,
}

/// An event that is longer than any may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooLong;

impl Reader {
    pub(crate) fn new() -> Self {
        Self { line: Zeroizing::default(), data: None, after_return: false }
    }

    /// Takes more octets, and gives the data of each event that they complete.
    pub(crate) fn push(
        &mut self,
        octets: &[u8],
        mut take: impl FnMut(Zeroizing<Vec<u8>>),
    ) -> Result<(), TooLong> {
        for piece in octets.split_inclusive(|octet| matches!(octet, b'\n' | b'\r')) {
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            // A line feed right after a carriage return ends no line of its own.
            if std::mem::take(&mut self.after_return) && text.is_empty() && end == Some(b'\n') {
                continue;
            }
            let held = self.data.as_ref().map_or(0, |data| data.len());
            if held.saturating_add(self.line.len()).saturating_add(text.len()) > EVENT_LEN_MAX {
                return Err(TooLong);
            }
            self.line.extend_from_slice(text);
            if let Some(end) = end {
                self.after_return = end == b'\r';
                if let Some(event) = self.end_of_line() {
                    take(event);
                }
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let rest = line.strip_prefix(b"data")?;
        let value = match rest.strip_prefix(b":") {
            Some(value) => value.strip_prefix(b" ").unwrap_or(value),
            None if rest.is_empty() => rest,
            None => return None,
        };
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(Zeroizing::new(value.to_vec())),
        }
        None
    }
}

/// Octets of an event: a client takes as many.
pub(crate) const EVENT_LEN_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], step: usize) -> Vec<String> {
        let (mut reader, mut events) = (Reader::new(), Vec::new());
        for piece in text.chunks(step) {
            reader
                .push(piece, |data| events.push(String::from_utf8(data.to_vec()).unwrap()))
                .unwrap();
        }
        events
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = b": ping\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:b\ndata: c\r\rid: 1\n\ndatax: n\n\ndata: cut";
        for step in 1..text.len() {
            assert_eq!(read(text, step), ["{\"a\":1}", "b\nc"], "{step}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut reader = Reader::new();
        let line = vec![b'x'; EVENT_LEN_MAX];
        assert_eq!(reader.push(&line, drop), Ok(()));
        assert_eq!(reader.push(b"x", drop), Err(TooLong));
        let mut reader = Reader::new();
        assert_eq!(
            (0..EVENT_LEN_MAX).try_for_each(|_| reader.push(b"data:y\n", drop)),
            Err(TooLong)
        );
    }
}
