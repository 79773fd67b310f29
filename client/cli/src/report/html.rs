//! Text that becomes part of a page, and never markup.

use std::fmt;

use crate::output::{is_hidden, named};

/// A value in a page: whatever it holds, a browser shows it and obeys none of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' | '\t' => fmt::Write::write_char(f, char),
            char if is_hidden(char) => f.write_str(&named(char)),
            char => fmt::Write::write_char(f, char),
        })
    }
}

/// An argument as a POSIX shell takes it.
pub(crate) fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_stays_text_and_what_cannot_be_seen_is_named() {
        for (value, expected) in [
            ("plain", "plain"),
            ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"),
            ("a\u{202e}b\u{0}c\u{200b}d", "a[U+202E]b[U+0000]c[U+200B]d"),
            ("line\nline\ttab\rreturn", "line\nline\ttab[U+000D]return"),
            ("é漢🔒", "é漢🔒"),
        ] {
            assert_eq!(Escaped(value).to_string(), expected);
        }
    }

    #[test]
    fn a_shell_gets_every_argument_whole() {
        for (argument, expected) in [
            ("report.bin", "report.bin"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", "'it'\\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("a\nb", "'a\nb'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quoted(argument), expected);
        }
    }
}
