//! Standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::failure::Failure;

/// Where results and remarks go.
#[derive(Debug)]
pub(crate) struct Out {
    notes: Notes,
}

/// Where remarks go.
#[derive(Clone, Copy, Debug)]
enum Notes {
    /// Standard error: what is on standard output is the result alone.
    Apart,
    /// Standard output: the remarks are part of the show, in their order.
    Along,
}

impl Out {
    /// The process's own.
    pub(crate) const fn standard() -> Self {
        Self { notes: Notes::Apart }
    }

    /// Both on standard output.
    pub(crate) const fn together() -> Self {
        Self { notes: Notes::Along }
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.text(format_args!("{text}\n"))
    }

    /// Lines of the result, for people.
    pub(crate) fn text(&self, text: impl Display) -> Result<(), Failure> {
        self.write(&shown_lines(&text.to_string()))
    }

    /// What a model says, in whichever script, as it comes.
    pub(crate) fn prose(&self, text: &str) -> Result<(), Failure> {
        self.write(&printable(text))
    }

    /// A line of JSON, for programs: it says the same, and is fit for a terminal.
    pub(crate) fn json(&self, value: impl Display) -> Result<(), Failure> {
        let mut out = plain_json(&value.to_string());
        out.push('\n');
        self.write(&out)
    }

    #[expect(clippy::unused_self, reason = "only who has an `Out` writes")]
    fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
            let message = format!("cannot write to standard output: {error}");
            Failure::unavailable("output-closed", message, "keep the reader of the output open")
        })
    }

    /// A line about what is being done.
    pub(crate) fn note(&self, text: impl Display) {
        let text = shown_lines(&text.to_string());
        // Where nobody reads nobody wants to know.
        drop(match self.notes {
            Notes::Apart => writeln!(io::stderr().lock(), "{text}"),
            Notes::Along => writeln!(io::stdout().lock(), "{text}"),
        });
    }
}

/// A value for people: what a terminal would obey, and what cannot be seen, is named, so that two values that differ also look
/// different, and nothing is shown in another order than it stands.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            out.push_str(&named(char));
        } else {
            out.push(char);
        }
    }
    out
}

/// The name of a character that is not shown.
pub(crate) fn named(char: char) -> String {
    format!("[U+{:04X}]", u32::from(char))
}

/// Characters that command, that change how others are shown, or that are not shown (Unicode UTS #39 §5.4, UAX #9).
pub(crate) fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Lines of ours that quote somebody else: as [`shown`], and lines stay lines.
pub(crate) fn shown_lines(text: &str) -> String {
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| line.split('\t').map(shown).collect::<Vec<_>>().join("\t"))
        .collect();
    lines.join("\n")
}

/// JSON that says the same and is fit for a terminal: outside ASCII it has text alone, where a character and its escape are
/// the same (RFC 8259 §7), and below it only escapes.
pub(crate) fn plain_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if is_hidden(char) && !matches!(char, '\n' | '\t') {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                out.push_str("\\u");
                out.push_str(&hex::encode(unit.to_be_bytes()));
            }
        } else {
            out.push(char);
        }
    }
    out
}

/// What a model says: its script may need characters that [`shown`] names, such as joiners; a terminal obeys none of them.
/// What it would obey is named as everywhere.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && !matches!(char, '\n' | '\t') {
            out.push_str(&named(char));
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model's script keeps its joiners; nobody's text commands a terminal, and nothing vanishes.
    #[test]
    fn what_a_terminal_would_obey_is_named_in_every_text() {
        let text = "a\u{1b}[2J\u{9b}31m\tb\nc\u{200d}d";
        assert_eq!(printable(text), "a[U+001B][2J[U+009B]31m\tb\nc\u{200d}d");
        assert_eq!(shown_lines(text), "a[U+001B][2J[U+009B]31m\tb\nc[U+200D]d");
        assert_eq!(printable("\u{202e}é漢🔒"), "\u{202e}é漢🔒");
    }
}
