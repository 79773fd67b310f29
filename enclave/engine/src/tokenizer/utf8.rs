//! Text from bytes that come piece by piece.

use zeroize::Zeroizing;

/// Joins the bytes of tokens to text, and gives out whole characters only.
#[derive(Default)]
pub(crate) struct Utf8Stream {
    held: Zeroizing<Vec<u8>>,
}

impl Utf8Stream {
    /// Appends to `text` what `bytes` completes; bytes that can never be UTF-8 become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.held.extend(bytes);
        let mut rest = self.held.as_slice();
        loop {
            match core::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(core::str::from_utf8(valid).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        rest = after; // The start of a character: wait for more.
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(bad..).unwrap_or_default();
                }
            }
        }
        let used = self.held.len().saturating_sub(rest.len());
        drop(self.held.drain(..used));
    }

    /// Whether the last byte is of a character that is not whole.
    pub(crate) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// Ends the text: a character that was never completed becomes U+FFFD.
    pub(crate) fn finish(&mut self, text: &mut String) {
        if !self.held.is_empty() {
            self.held.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_given_out_whole() {
        let mut stream = Utf8Stream::default();
        let mut pieces = vec![];
        for byte in "é🙂".bytes().chain([0xff, b'a', 0xf0, 0x9f]) {
            let mut text = String::new();
            stream.push(&[byte], &mut text);
            pieces.push(text);
        }
        let mut text = String::new();
        stream.finish(&mut text);
        pieces.push(text);
        assert_eq!(pieces, ["", "é", "", "", "", "🙂", "\u{fffd}", "a", "", "", "\u{fffd}"]);
    }
}
