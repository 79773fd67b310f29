//! Stop texts: what could become one is held back until it is clear that it does not.

use zeroize::Zeroizing;

/// Watches an answer for stop texts.
pub(crate) struct StopFilter {
    stops: Vec<String>,
    held: Zeroizing<String>,
}

impl StopFilter {
    /// `stops` holds no empty text.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: Zeroizing::new(String::new()) }
    }

    /// Takes more of the answer; gives out what is certain, and whether a stop text ended it.
    pub(crate) fn push(&mut self, text: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (text.to_owned(), false);
        }
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return (self.rest(), true);
        }
        let certain = self.held.len().saturating_sub(self.pending());
        let (out, held) = self.held.split_at(certain);
        let (out, held) = (out.to_owned(), Zeroizing::new(held.to_owned()));
        self.held = held;
        (out, false)
    }

    /// The answer is over: gives out what was held back.
    pub(crate) fn rest(&mut self) -> String {
        core::mem::take(&mut *self.held)
    }

    /// The length of the longest end of the held text that starts a stop text.
    fn pending(&self) -> usize {
        let starts_stop = |end: &str| self.stops.iter().any(|stop| stop.starts_with(end));
        let ends = self.held.char_indices().filter_map(|(at, _)| self.held.get(at..));
        ends.filter(|end| starts_stop(end)).map(str::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_texts_are_never_given_out_not_even_in_part() {
        let cases: [(&[&str], &[&str], &str, bool); 8] = [
            (&["END"], &["abEN", "D tail"], "ab", true),
            (&["END"], &["abE", "N", "x"], "abENx", false),
            (&["aab"], &["aa", "ab"], "a", true),
            (&["x", "yz"], &["ayz", "x"], "a", true),
            (&["é!"], &["caf", "é", "?"], "café?", false),
            (&["\n\n"], &["one\n", "\ntwo"], "one", true),
            (&[], &["a", "b"], "ab", false),
            (&["abc"], &["xab"], "xab", false),
        ];
        for (stops, pieces, expected, expected_stop) in cases {
            let mut filter = StopFilter::new(stops.iter().map(ToString::to_string).collect());
            let (mut out, mut stopped) = (String::new(), false);
            for piece in pieces {
                let (text, stop) = filter.push(piece);
                out.push_str(&text);
                if stop {
                    stopped = true;
                    break;
                }
                assert!(expected.starts_with(&out), "{out:?} came out early");
            }
            if !stopped {
                out.push_str(&filter.rest());
            }
            assert_eq!((out.as_str(), stopped), (expected, expected_stop), "{stops:?} {pieces:?}");
        }
    }
}
