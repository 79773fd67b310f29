//! Text that becomes part of a page, and never markup.

use std::fmt;

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
            // What cannot be seen is named, so that two values that differ also look different, and
            // nothing of the page is shown in another order than it stands.
            char if char.is_control() || is_invisible(char) => {
                write!(f, "[U+{:04X}]", u32::from(char))
            }
            char => fmt::Write::write_char(f, char),
        })
    }
}

/// Characters that change how others are shown, or that are not shown (Unicode UTS #39 §5.4, UAX #9).
const fn is_invisible(char: char) -> bool {
    matches!(
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
