//! The small part of XML that RIMs are written in, as a flat tree.
//!
//! What would let one text be read in two ways is refused, not interpreted: document types,
//! entities and character references, processing instructions, comments, CDATA sections, carriage
//! returns, control characters, names that are not ASCII, attributes of the prefix `xml`, prefixes
//! that are undeclared, attributes that are there twice. No real RIM has any of them. quick-xml
//! tells the tokens apart; everything is read without recursion, and bounded.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::Malformed;

/// A document: its elements in the order of their start tags, the root first.
#[derive(Debug)]
pub(crate) struct Document {
    elements: Vec<Element>,
}

/// An element. Two are the same where their ids are.
#[derive(Debug)]
pub(crate) struct Element {
    /// The prefix as written; empty where there is none.
    pub(crate) prefix: String,
    pub(crate) local: String,
    /// What its namespace is called; empty where it is in none.
    pub(crate) namespace: String,
    /// What this start tag declares: prefix (empty: the default) and name.
    pub(crate) declared: Vec<(String, String)>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) children: Vec<Node>,
    pub(crate) parent: Option<Id>,
}

/// An attribute that declares no namespace.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) prefix: String,
    pub(crate) local: String,
    /// Empty for an attribute without a prefix.
    pub(crate) namespace: String,
    pub(crate) value: String,
}

/// What an element contains.
#[derive(Debug)]
pub(crate) enum Node {
    Element(Id),
    Text(String),
}

/// Which element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Id(usize);

impl Document {
    /// Reads one document, to the last byte.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LEN_MAX {
            return Err(Malformed("is longer than any RIM"));
        }
        let text = core::str::from_utf8(bytes).map_err(|_| Malformed("is not UTF-8"))?;
        // quick-xml passes over a mark of the order of octets, and UTF-8 needs none.
        let plain = |c: char| matches!(c, '\t' | '\n') || !(c.is_control() || c == '\u{feff}');
        if !text.chars().all(plain) {
            return Err(Malformed("has a carriage return or another control character"));
        }
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut document = Self { elements: Vec::new() };
        let mut open: Option<Id> = None;
        let mut first = true;
        loop {
            let event = reader.read_event().map_err(|_| Malformed("is not well-formed XML"))?;
            match event {
                Event::Start(start) => open = Some(document.start(&start, open)?),
                Event::End(_) => {
                    let closed = open.ok_or(Malformed("closes what was never opened"))?;
                    open = document.element(closed).parent;
                }
                Event::Text(text) => document.text(&text.into_inner(), open)?,
                Event::Decl(declaration) if first => {
                    let version = declaration.version().is_ok_and(|version| version == "1.0");
                    let encoding = match declaration.encoding() {
                        None => true,
                        Some(Ok(encoding)) => encoding.eq_ignore_ascii_case("utf-8"),
                        Some(Err(_)) => false,
                    };
                    if !version || !encoding {
                        return Err(Malformed("is not XML 1.0 in UTF-8"));
                    }
                }
                Event::Eof => break,
                Event::Comment(_) => return Err(Malformed("has a comment")),
                Event::DocType(_) => return Err(Malformed("has a document type")),
                Event::GeneralRef(_) => return Err(Malformed("has a reference")),
                Event::CData(_) => return Err(Malformed("has a CDATA section")),
                Event::PI(_) | Event::Decl(_) => {
                    return Err(Malformed("has a processing instruction"));
                }
                Event::Empty(_) => return Err(Malformed("has an element that was not expanded")),
            }
            first = false;
        }
        if open.is_some() || document.elements.is_empty() {
            return Err(Malformed("is not one element"));
        }
        Ok(document)
    }

    /// The root.
    #[expect(clippy::unused_self, reason = "an id is of a document")]
    pub(crate) const fn root(&self) -> Id {
        Id(0)
    }

    /// The element with this id.
    #[expect(clippy::indexing_slicing, reason = "ids come from `start` of the same document alone")]
    pub(crate) fn element(&self, id: Id) -> &Element {
        &self.elements[id.0]
    }

    /// Every element, in document order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Id, &Element)> {
        self.elements.iter().enumerate().map(|(index, element)| (Id(index), element))
    }

    /// The elements in `id`, which may hold white space and nothing else beside them.
    pub(crate) fn elements_in(&self, id: Id) -> Result<Vec<Id>, Malformed> {
        let mut found = Vec::new();
        for node in &self.element(id).children {
            match node {
                Node::Element(child) => found.push(*child),
                Node::Text(text) if text.trim_ascii().is_empty() => {}
                Node::Text(_) => return Err(Malformed("has text where none belongs")),
            }
        }
        Ok(found)
    }

    /// The text in `id`, which must hold no element.
    pub(crate) fn text_in(&self, id: Id) -> Result<String, Malformed> {
        let mut all = String::new();
        for node in &self.element(id).children {
            match node {
                Node::Text(text) => all.push_str(text),
                Node::Element(_) => return Err(Malformed("has an element where text belongs")),
            }
        }
        Ok(all)
    }

    /// `id` and the elements around it, inside out.
    pub(crate) fn ancestors(&self, id: Id) -> impl Iterator<Item = &Element> {
        core::iter::successors(Some(self.element(id)), |element| {
            element.parent.map(|parent| self.element(parent))
        })
    }

    /// What `prefix` stands for at `id`.
    pub(crate) fn resolve(&self, id: Id, prefix: &str) -> Option<&str> {
        self.ancestors(id).find_map(|element| element.declares(prefix))
    }

    fn start(&mut self, start: &BytesStart<'_>, parent: Option<Id>) -> Result<Id, Malformed> {
        if parent.is_none() && !self.elements.is_empty() {
            return Err(Malformed("has more than one root"));
        }
        let depth = parent.map_or(0, |parent| self.ancestors(parent).count());
        if depth >= DEPTH_MAX || self.elements.len() >= ELEMENTS_MAX {
            return Err(Malformed("has more elements, or deeper ones, than any RIM"));
        }
        let id = Id(self.elements.len());
        let (prefix, local) = name(start.name().0)?;
        let mut element = Element {
            prefix,
            local,
            namespace: String::new(),
            declared: Vec::new(),
            attributes: Vec::new(),
            children: Vec::new(),
            parent,
        };
        for (count, attribute) in start.attributes().enumerate() {
            if count >= ATTRIBUTES_MAX {
                return Err(Malformed("has more attributes than any RIM"));
            }
            let attribute =
                attribute.map_err(|_| Malformed("has an attribute twice, or badly written"))?;
            let value = attribute.value.as_ref();
            if value.contains(['&', '<', '\t', '\n']) {
                return Err(Malformed("has an attribute that cannot be taken as it is written"));
            }
            element.attribute(attribute.key.0, value)?;
        }
        self.elements.push(element);
        self.name_spaces(id)?;
        if let Some(Id(parent)) = parent
            && let Some(parent) = self.elements.get_mut(parent)
        {
            parent.children.push(Node::Element(id));
        }
        Ok(id)
    }

    /// Resolves the prefixes of a start tag that was read.
    fn name_spaces(&mut self, id: Id) -> Result<(), Malformed> {
        const UNDECLARED: Malformed = Malformed("has a prefix that was never declared");
        let element = self.element(id);
        let namespace = match self.resolve(id, &element.prefix) {
            Some(namespace) => namespace.to_owned(),
            None if element.prefix.is_empty() => String::new(),
            None => return Err(UNDECLARED),
        };
        let mut of_attributes = Vec::new();
        for attribute in &element.attributes {
            // A default namespace is not that of attributes (XML Namespaces §6.2).
            of_attributes.push(match attribute.prefix.as_str() {
                "" => String::new(),
                prefix => self.resolve(id, prefix).ok_or(UNDECLARED)?.to_owned(),
            });
        }
        let Some(element) = self.elements.get_mut(id.0) else { return Err(UNDECLARED) };
        element.namespace = namespace;
        for (attribute, namespace) in element.attributes.iter_mut().zip(of_attributes) {
            attribute.namespace = namespace;
        }
        // Two prefixes may stand for one namespace.
        let mut names: Vec<_> = element.attributes.iter().map(Attribute::name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Malformed("has an attribute twice"));
        }
        Ok(())
    }

    fn text(&mut self, text: &str, open: Option<Id>) -> Result<(), Malformed> {
        // XML 1.0 §2.4: neither may stand in text, nor `]]>`.
        if text.contains(['&', '<']) || text.contains("]]>") {
            return Err(Malformed("has text that cannot be taken as it is written"));
        }
        match open.and_then(|Id(open)| self.elements.get_mut(open)) {
            Some(element) => element.children.push(Node::Text(text.to_owned())),
            None if text.trim_ascii().is_empty() => {}
            None => return Err(Malformed("has text outside its root")),
        }
        Ok(())
    }
}

impl Element {
    /// Whether this is the element of that namespace and name.
    pub(crate) fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }

    /// The value of the attribute without a namespace.
    pub(crate) fn value(&self, local: &str) -> Option<&str> {
        self.value_in("", local)
    }

    /// The value of the attribute of that namespace.
    pub(crate) fn value_in(&self, namespace: &str, local: &str) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|it| it.name() == (namespace, local));
        found.next().map(|attribute| attribute.value.as_str())
    }

    /// What this start tag declares `prefix` to be.
    pub(crate) fn declares(&self, prefix: &str) -> Option<&str> {
        let mut found = self.declared.iter().filter(|(declared, _)| declared == prefix);
        found.next().map(|(_, namespace)| namespace.as_str())
    }

    fn attribute(&mut self, key: &str, value: &str) -> Result<(), Malformed> {
        let (prefix, local) = name(key)?;
        let declared = match (prefix.as_str(), local.as_str()) {
            ("", "xmlns") => Some(String::new()),
            ("xmlns", "xml" | "xmlns") | ("xml", _) => {
                return Err(Malformed("uses a reserved prefix"));
            }
            ("xmlns", _) => Some(local.clone()),
            _ => None,
        };
        if let Some(declared) = declared {
            if value.is_empty() || [XML, XMLNS].contains(&value) {
                return Err(Malformed("declares a namespace that may not be declared"));
            }
            self.declared.push((declared, value.to_owned()));
        } else {
            let value = value.to_owned();
            self.attributes.push(Attribute { prefix, local, namespace: String::new(), value });
        }
        Ok(())
    }
}

impl Attribute {
    /// Its namespace and name.
    pub(crate) fn name(&self) -> (&str, &str) {
        (&self.namespace, &self.local)
    }
}

/// Prefix and local part of a name, in ASCII (XML Namespaces §4).
fn name(name: &str) -> Result<(String, String), Malformed> {
    let (prefix, local) = match name.split_once(':') {
        Some((prefix, local)) if is_part(prefix) => (prefix, local),
        Some(_) => return Err(BAD_NAME),
        None => ("", name),
    };
    if !is_part(local) {
        return Err(BAD_NAME);
    }
    Ok((prefix.to_owned(), local.to_owned()))
}

fn is_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

const BAD_NAME: Malformed = Malformed("has a name that is none, or not in ASCII");

/// Octets of a document. Real ones have 26 thousand.
pub const LEN_MAX: usize = 256 << 10;
/// Elements around an element. Real ones have five.
const DEPTH_MAX: usize = 16;
/// Elements of a document: 254 measurements and what is around them.
const ELEMENTS_MAX: usize = 512;
/// Attributes of an element. Real ones have thirteen.
const ATTRIBUTES_MAX: usize = 32;

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let good = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a b='1'>x<c/> </a>\n";
        assert!(Document::parse(good.as_bytes()).is_ok());
        for (bad, why) in [
            ("<!DOCTYPE a [<!ENTITY e 'x'>]><a/>", "document type"),
            ("<!DOCTYPE a><a/>", "document type"),
            ("<a>&lt;</a>", "reference"),
            ("<a>&#65;</a>", "reference"),
            ("<a>&e;</a>", "reference"),
            ("<a>x<!-- y -->z</a>", "comment"),
            ("<!-- y --><a/>", "comment"),
            ("<a/><!-- y -->", "comment"),
            ("<a><![CDATA[x]]></a>", "CDATA"),
            ("<a><?php x?></a>", "processing instruction"),
            ("<?x y?><a/>", "processing instruction"),
            ("<a/><?xml version='1.0'?>", "processing instruction"),
            ("<?xml version='1.1'?><a/>", "XML 1.0"),
            ("<?xml version='1.0' encoding='UTF-16'?><a/>", "XML 1.0"),
            ("<a>x\r\n</a>", "control character"),
            ("<a>\u{0}</a>", "control character"),
            ("<a>\u{85}</a>", "control character"),
            ("<a b='1' b='2'/>", "twice"),
            ("<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", "twice"),
            ("<a xmlns:p='u' xmlns:p='v'/>", "twice"),
            ("<a xmlns='u' xmlns='v'/>", "twice"),
            ("<a b=1/>", "badly written"),
            ("<a b/>", "badly written"),
            ("<a b='&amp;'/>", "as it is written"),
            ("<a b='<'/>", "as it is written"),
            ("<a b='\n'/>", "as it is written"),
            ("<a b='\t'/>", "as it is written"),
            ("<a>]]></a>", "as it is written"),
            ("<p:a/>", "never declared"),
            ("<a p:b='1'/>", "never declared"),
            ("<a xml:lang='en'/>", "reserved"),
            ("<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", "reserved"),
            ("<a xmlns:xmlns='u'/>", "reserved"),
            ("<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", "may not be declared"),
            ("<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", "may not be declared"),
            ("<a xmlns:p=''/>", "may not be declared"),
            ("<a xmlns='u'><b xmlns=''/></a>", "may not be declared"),
            ("<a:b:c xmlns:a='u'/>", "name"),
            ("<:a/>", "name"),
            ("<a:/>", "name"),
            ("<é/>", "name"),
            ("<a é='1'/>", "name"),
            ("<1a/>", "name"),
            ("<a/><b/>", "more than one root"),
            ("<a/>x", "outside"),
            ("x<a/>", "outside"),
            ("<a>", "not one element"),
            ("", "not one element"),
            ("<a></b>", "well-formed"),
            ("</a>", "well-formed"),
            ("<a", "well-formed"),
            ("<a><b></a></b>", "well-formed"),
        ] {
            match Document::parse(bad.as_bytes()) {
                Err(Malformed(said)) => assert!(said.contains(why), "{bad}: {said}"),
                Ok(document) => panic!("{bad}: {document:?}"),
            }
        }
        assert!(Document::parse(b"<a>\xff</a>").is_err());
        assert!(Document::parse(b"\xef\xbb\xbf<a/>").is_err(), "a mark of the order of octets");
    }

    #[test]
    fn everything_is_bounded() {
        let deep = |depth: usize| {
            Document::parse(format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth)).as_bytes())
        };
        assert!(deep(DEPTH_MAX).is_ok());
        assert!(deep(DEPTH_MAX + 1).is_err());
        // Far deeper than any stack.
        assert!(deep(30_000).is_err());
        let wide =
            |count: usize| Document::parse(format!("<a>{}</a>", "<b/>".repeat(count)).as_bytes());
        assert!(wide(ELEMENTS_MAX - 1).is_ok());
        assert!(wide(ELEMENTS_MAX).is_err());
        let attributes = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!("a{n}='1'")).collect();
            let all = all.join(" ");
            Document::parse(format!("<a {all}/>").as_bytes())
        };
        assert!(attributes(ATTRIBUTES_MAX).is_ok());
        assert!(attributes(ATTRIBUTES_MAX + 1).is_err());
        let long =
            |len: usize| Document::parse(format!("<a>{}</a>", "x".repeat(len - 7)).as_bytes());
        assert!(long(LEN_MAX).is_ok());
        assert!(long(LEN_MAX + 1).is_err());
    }

    #[test]
    fn prefixes_mean_what_the_nearest_declaration_says() {
        let text = "<p:a xmlns:p='u' xmlns='d' b='0' p:b='1'><p:c xmlns:p='v'/><e/></p:a>";
        let document = Document::parse(text.as_bytes()).unwrap();
        let names: Vec<_> = document
            .all()
            .map(|(_, element)| (element.namespace.as_str(), element.local.as_str()))
            .collect();
        assert_eq!(names, [("u", "a"), ("v", "c"), ("d", "e")]);
        let root = document.element(document.root());
        assert_eq!((root.value("b"), root.value_in("u", "b")), (Some("0"), Some("1")));
    }
}
