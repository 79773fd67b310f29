//! What some bytes say, laid out: one form for people and for machines.
//!
//! Names and values are the same in both. Values come from whoever made the bytes: they are cut at
//! [`LEN_MAX`], and what a terminal would obey, or what cannot be seen, is named.

use core::fmt::{self, Display, Write as _};

use attestation::{Malformed, UnixTime};
use serde_json::{Map, Value};

use crate::output::shown;

/// Names and values, in their order.
#[derive(Debug, Default)]
pub(super) struct Sheet(Vec<(String, Item)>);

#[derive(Debug)]
enum Item {
    /// A value, in words for people where they differ.
    Value(Value, Option<String>),
    /// Text of several lines.
    Lines(String),
    Sheet(Sheet),
    List(Vec<Sheet>),
}

impl Sheet {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// A value as text.
    pub(super) fn row(&mut self, name: &str, value: impl Display) {
        self.put(name, Item::Value(cut(&value.to_string()).into(), None));
    }

    /// A number or a truth.
    pub(super) fn plain(&mut self, name: &str, value: impl Into<Value>) {
        self.put(name, Item::Value(value.into(), None));
    }

    /// A value, and what it means.
    pub(super) fn told(&mut self, name: &str, value: impl Into<Value>, words: impl Display) {
        self.put(name, Item::Value(value.into(), Some(cut(&words.to_string()))));
    }

    /// Octets, in hex.
    pub(super) fn octets(&mut self, name: &str, octets: &[u8]) {
        self.put(name, Item::Value(hex_of(octets).into(), None));
    }

    /// A value where there is one.
    pub(super) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.row(name, value);
        }
    }

    /// Text of several lines.
    pub(super) fn lines(&mut self, name: &str, text: &str) {
        self.put(name, Item::Lines(cut_at(text, TEXT_LEN_MAX)));
    }

    /// Several values of one name.
    pub(super) fn values(&mut self, name: &str, values: impl IntoIterator<Item = impl Display>) {
        let values: Vec<Value> =
            values.into_iter().map(|value| cut(&value.to_string()).into()).collect();
        let words = values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let words = if words.is_empty() { "none".to_owned() } else { words };
        self.put(name, Item::Value(values.into(), Some(cut(&words))));
    }

    pub(super) fn sheet(&mut self, name: &str, sheet: Self) {
        self.put(name, Item::Sheet(sheet));
    }

    pub(super) fn list(&mut self, name: &str, sheets: Vec<Self>) {
        self.put(name, Item::List(sheets));
    }

    /// A part that may not be what it should be; the rest is worth a look all the same.
    pub(super) fn part(&mut self, name: &str, part: Result<Self, Malformed>) {
        match part {
            Ok(sheet) => self.sheet(name, sheet),
            Err(error) => self.unreadable(name, &error),
        }
    }

    /// Says why there is nothing to be seen of a part.
    pub(super) fn unreadable(&mut self, name: &str, error: &Malformed) {
        self.row(name, format_args!("cannot be read: {error}"));
    }

    /// JSON of any form; what lies deeper than a page can show is left out.
    pub(super) fn json(&mut self, value: &Map<String, Value>) {
        self.json_below(value, 0);
    }

    fn json_below(&mut self, value: &Map<String, Value>, depth: usize) {
        for (name, value) in value {
            let name = &cut(name);
            match value {
                Value::Object(_) | Value::Array(_) if depth >= DEPTH_MAX => self.row(name, "…"),
                Value::Object(members) => {
                    let mut inner = Self::new();
                    inner.json_below(members, depth.saturating_add(1));
                    self.sheet(name, inner);
                }
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    let sheets = items.iter().map(|item| {
                        let mut inner = Self::new();
                        match item.as_object() {
                            Some(members) => inner.json_below(members, depth.saturating_add(1)),
                            None => inner.row("value", item),
                        }
                        inner
                    });
                    self.list(name, sheets.collect());
                }
                Value::Array(items) => {
                    let text = |item: &Value| {
                        item.as_str().map_or_else(|| item.to_string(), str::to_owned)
                    };
                    self.values(name, items.iter().map(text));
                }
                Value::String(text) => self.row(name, text),
                Value::Null | Value::Bool(_) | Value::Number(_) => self.plain(name, value.clone()),
            }
        }
    }

    fn put(&mut self, name: &str, item: Item) {
        self.0.push((name.to_owned(), item));
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        self.write(&mut out, 1).unwrap_or_default();
        out
    }

    fn write(&self, out: &mut String, depth: usize) -> fmt::Result {
        let indent = INDENT.repeat(depth);
        for (name, item) in &self.0 {
            let name = shown(name);
            match item {
                Item::Value(value, words) => {
                    let value = match (words, value) {
                        (Some(words), _) => words.clone(),
                        (None, Value::String(text)) => text.clone(),
                        (None, value) => value.to_string(),
                    };
                    let value = shown(&value);
                    writeln!(out, "{indent}{name:<NAME_LEN$} {value}")?;
                }
                Item::Lines(text) => {
                    writeln!(out, "{indent}{name}")?;
                    for line in text.lines() {
                        writeln!(out, "{indent}{INDENT}| {}", shown(line))?;
                    }
                }
                Item::Sheet(sheet) => {
                    writeln!(out, "{indent}{name}")?;
                    sheet.write(out, depth.saturating_add(1))?;
                }
                Item::List(sheets) if sheets.is_empty() => {
                    writeln!(out, "{indent}{name:<NAME_LEN$} none")?;
                }
                Item::List(sheets) => {
                    for (number, sheet) in (1_usize..).zip(sheets) {
                        writeln!(out, "{indent}{name} {number} of {}", sheets.len())?;
                        sheet.write(out, depth.saturating_add(1))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// For machines.
    pub(super) fn into_json(self) -> Value {
        let members = self.0.into_iter().map(|(name, item)| {
            let value = match item {
                Item::Value(value, _) => value,
                Item::Lines(text) => text.into(),
                Item::Sheet(sheet) => sheet.into_json(),
                Item::List(sheets) => sheets.into_iter().map(Self::into_json).collect(),
            };
            (name, value)
        });
        Value::Object(members.collect())
    }
}

/// Octets in hex, up to a length.
pub(super) fn hex_of(octets: &[u8]) -> String {
    match octets.split_at_checked(LEN_MAX) {
        Some((shown, rest)) if !rest.is_empty() => {
            format!("{}… and {} more octets", hex::encode(shown), rest.len())
        }
        Some(_) | None => hex::encode(octets),
    }
}

/// A time before which nothing of ours was made is that time.
pub(super) fn time(secs: i64) -> UnixTime {
    UnixTime::from_secs(u64::try_from(secs).unwrap_or(0))
}

fn cut(text: &str) -> String {
    cut_at(text, LEN_MAX.saturating_mul(3))
}

fn cut_at(text: &str, len_max: usize) -> String {
    if text.len() <= len_max {
        return text.to_owned();
    }
    let shown = text.get(..text.floor_char_boundary(len_max)).unwrap_or_default();
    format!("{shown}… and {} more octets", text.len().saturating_sub(shown.len()))
}

/// Most octets of one value: a signature, a modulus and a quote's chain fit; a picture does not.
const LEN_MAX: usize = 2048;
/// Longest text of several lines: a bundle's configuration fits.
const TEXT_LEN_MAX: usize = 1 << 16;
/// How deep JSON is shown.
const DEPTH_MAX: usize = 8;
const INDENT: &str = "  ";
const NAME_LEN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_and_nothing_of_them_is_obeyed() {
        let mut sheet = Sheet::new();
        sheet.row("a", "line\nnext\u{1b}[2J\u{202e}");
        sheet.octets("b", &[7; LEN_MAX + 5]);
        sheet.row("c", "é".repeat(LEN_MAX * 3));
        sheet.lines("d", "one\r\ntwo\u{9b}");
        sheet.values("e", ["x", "y"]);
        sheet.values("f", Vec::<String>::new());
        let text = sheet.text();
        assert!(text.contains("line[U+000A]next[U+001B][2J[U+202E]\n"), "{text}");
        assert!(text.contains("… and 5 more octets\n"));
        assert!(text.contains("    | one\n    | two[U+009B]\n"), "{text}");
        assert!(text.contains(" x, y\n") && text.contains(" none\n"));
        assert!(text.len() < LEN_MAX * 9, "{}", text.len());
        let json = sheet.into_json();
        assert_eq!(json["a"], "line\nnext\u{1b}[2J\u{202e}");
        assert_eq!(json["e"], serde_json::json!(["x", "y"]));
    }

    #[test]
    fn json_of_any_depth_is_shown_to_a_depth() {
        let mut value = serde_json::json!("end");
        for _ in 0..100 {
            value = serde_json::json!({ "in": value, "of": [{ "a": 1 }, 2] });
        }
        let mut sheet = Sheet::new();
        sheet.json(value.as_object().unwrap());
        let text = sheet.text();
        assert!(text.contains('…') && !text.contains("end"), "{text}");
        assert!(text.lines().count() < 200);
    }
}
