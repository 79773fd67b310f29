//! Canonical XML 1.1 (W3C, 2 May 2008), without comments, of a document or a part of it.
//!
//! Of that specification only what [`Document`] admits is needed: there are no comments,
//! processing instructions, entities or attributes of the prefix `xml`. Different documents have
//! different canonical forms: whatever would end an attribute or a text is written as a reference,
//! and nothing else is.

use crate::xml::{Document, Element, Id, Node};

/// The canonical form of `apex` and what it contains, without `left_out` and what that contains.
///
/// Where `apex` is not the root, the namespaces in scope around it are written with it, as §2.3
/// has it for a document subset.
pub(crate) fn canonical(document: &Document, apex: Id, left_out: Option<Id>) -> Vec<u8> {
    let mut out = String::new();
    let mut work = vec![Step::Enter(apex)];
    while let Some(step) = work.pop() {
        match step {
            Step::Enter(id) if Some(id) == left_out => {}
            Step::Enter(id) => {
                let element = document.element(id);
                start_tag(document, id, id == apex, &mut out);
                work.push(Step::Leave(id));
                work.extend(element.children.iter().rev().map(|node| match node {
                    Node::Element(child) => Step::Enter(*child),
                    Node::Text(text) => Step::Text(text),
                }));
            }
            Step::Leave(id) => {
                out.push_str("</");
                qualified(&document.element(id).prefix, &document.element(id).local, &mut out);
                out.push('>');
            }
            Step::Text(text) => {
                escape(text, &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")], &mut out);
            }
        }
    }
    out.into_bytes()
}

/// What is to be written next.
enum Step<'a> {
    Enter(Id),
    Leave(Id),
    Text(&'a str),
}

fn start_tag(document: &Document, id: Id, is_apex: bool, out: &mut String) {
    let element = document.element(id);
    out.push('<');
    qualified(&element.prefix, &element.local, out);
    for (prefix, namespace) in namespaces(document, id, is_apex) {
        out.push_str(" xmlns");
        if !prefix.is_empty() {
            out.push(':');
            out.push_str(prefix);
        }
        value(namespace, out);
    }
    let mut attributes: Vec<_> = element.attributes.iter().collect();
    // §2.3: by namespace, then by name; those in none come first.
    attributes.sort_unstable_by_key(|attribute| attribute.name());
    for attribute in attributes {
        out.push(' ');
        qualified(&attribute.prefix, &attribute.local, out);
        value(&attribute.value, out);
    }
    out.push('>');
}

/// The declarations that a start tag has in canonical form, by prefix: at the apex all that are in
/// scope, further in those that change something.
fn namespaces(document: &Document, id: Id, is_apex: bool) -> Vec<(&str, &str)> {
    let declaring: Vec<&Element> =
        if is_apex { document.ancestors(id).collect() } else { vec![document.element(id)] };
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (prefix, namespace) in declaring.into_iter().flat_map(|element| &element.declared) {
        let around = || {
            let parent = document.element(id).parent?;
            document.resolve(parent, prefix)
        };
        let known = found.iter().any(|(found, _)| found == prefix);
        if !known && (is_apex || around() != Some(namespace)) {
            found.push((prefix, namespace));
        }
    }
    found.sort_unstable();
    found
}

fn qualified(prefix: &str, local: &str, out: &mut String) {
    if !prefix.is_empty() {
        out.push_str(prefix);
        out.push(':');
    }
    out.push_str(local);
}

fn value(value: &str, out: &mut String) {
    out.push_str("=\"");
    escape(value, &[('&', "&amp;"), ('<', "&lt;"), ('"', "&quot;")], out);
    out.push('"');
}

fn escape(text: &str, references: &[(char, &str)], out: &mut String) {
    for c in text.chars() {
        match references.iter().find(|(escaped, _)| *escaped == c) {
            Some((_, reference)) => out.push_str(reference),
            None => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let document = Document::parse(text.as_bytes()).unwrap();
        String::from_utf8(canonical(&document, document.root(), None)).unwrap()
    }

    /// The examples of the specification's §3, as far as they need no DTD, entity or comment.
    #[test]
    fn the_specifications_examples_come_out() {
        for (what, text, expected) in [
            (
                "white space is kept in content (§3.2)",
                "<doc>\n   <clean>   </clean>\n   <dirty>   A   B   </dirty>\n   <mixed>\n      A\n \
                 <clean>   </clean>\n  </mixed>\n</doc>",
                "<doc>\n   <clean>   </clean>\n   <dirty>   A   B   </dirty>\n   <mixed>\n      A\n \
                 <clean>   </clean>\n  </mixed>\n</doc>",
            ),
            (
                "tags (§3.3)",
                "<doc><e1   /><e2   ></e2><e3   name = \"elem3\"   id=\"elem3\"   />\
                 <e5 a:attr=\"out\" b:attr=\"sorted\" attr2=\"all\" attr=\"I'm\" \
                 xmlns:b=\"http://www.ietf.org\" xmlns:a=\"http://www.w3.org\" \
                 xmlns=\"http://example.org\"/></doc>",
                "<doc><e1></e1><e2></e2><e3 id=\"elem3\" name=\"elem3\"></e3>\
                 <e5 xmlns=\"http://example.org\" xmlns:a=\"http://www.w3.org\" \
                 xmlns:b=\"http://www.ietf.org\" attr=\"I'm\" attr2=\"all\" b:attr=\"sorted\" \
                 a:attr=\"out\"></e5></doc>",
            ),
            (
                "what was declared around is not declared again (§2.3)",
                "<a xmlns='u' xmlns:p='v'><b xmlns='u'><p:c xmlns:p='v' xmlns='w'/></b></a>",
                "<a xmlns=\"u\" xmlns:p=\"v\"><b><p:c xmlns=\"w\"></p:c></b></a>",
            ),
            ("quotes and signs (§1.1)", "<a b='\"'>\"'>></a>", "<a b=\"&quot;\">\"'&gt;&gt;</a>"),
            ("around the root", "<?xml version='1.0'?>\n<a/>\n", "<a></a>"),
        ] {
            assert_eq!(of(text), expected, "{what}");
        }
    }

    #[test]
    fn a_part_carries_what_is_declared_around_it() {
        let text = "<a xmlns='u' xmlns:p='v' xmlns:q='w'><b xmlns:p='x' c='1'><d/>t</b></a>";
        let document = Document::parse(text.as_bytes()).unwrap();
        let (b, _) = document.all().nth(1).unwrap();
        assert_eq!(
            canonical(&document, b, None),
            b"<b xmlns=\"u\" xmlns:p=\"x\" xmlns:q=\"w\" c=\"1\"><d></d>t</b>"
        );
        assert_eq!(
            canonical(&document, document.root(), Some(b)),
            b"<a xmlns=\"u\" xmlns:p=\"v\" xmlns:q=\"w\"></a>"
        );
    }
}
