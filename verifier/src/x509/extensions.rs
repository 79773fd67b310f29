//! The extensions of certificates, lists and entries (RFC 5280 §4.2), looked through where they lie.

use super::der::{BOOLEAN, OBJECT, OCTET_STRING, SEQUENCE, element, optional};

/// A list of extensions whose form was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions<'a>(&'a [u8]);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// The OID, contents octets.
    pub(crate) oid: &'a [u8],
    pub(crate) critical: bool,
    /// What the OCTET STRING holds.
    pub(crate) value: &'a [u8],
}

/// An extension's value, or why there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extension<'a> {
    /// It is there, once.
    Once(&'a [u8]),
    /// It is not there.
    Missing,
    /// It is there more than once.
    Repeated,
}

impl<'a> Extensions<'a> {
    /// Checks the form of a list, contents octets.
    pub(super) fn parse(list: &'a [u8]) -> Option<Self> {
        let mut rest = list;
        for _ in 0..ITEMS_MAX {
            if rest.is_empty() {
                break;
            }
            (_, rest) = item(rest)?;
        }
        rest.is_empty().then_some(Self(list))
    }

    /// All of them, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Item<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (item, after) = item(rest)?;
            rest = after;
            Some(item)
        })
    }

    /// The contents of the one with this OID (its DER contents octets).
    pub(super) fn get(self, oid: &[u8]) -> Extension<'a> {
        let mut found = self.iter().filter(|item| item.oid == oid);
        match (found.next(), found.next()) {
            (None, _) => Extension::Missing,
            (Some(item), None) => Extension::Once(item.value),
            (Some(_), Some(_)) => Extension::Repeated,
        }
    }

    /// Whether none is there twice.
    pub(crate) fn are_unique(self) -> bool {
        let again = |(n, item): (usize, Item<'_>)| {
            self.iter().skip(n.saturating_add(1)).any(|other| other.oid == item.oid)
        };
        !self.iter().enumerate().any(again)
    }

    /// Whether whoever understands none of them understands the rest: none is critical, or twice there.
    pub(super) fn are_harmless(self) -> bool {
        self.are_unique() && !self.iter().any(|item| item.critical)
    }
}

fn item(list: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (extension, rest) = element(list, SEQUENCE)?;
    let (oid, fields) = element(extension, OBJECT)?;
    let (critical, fields) = optional(fields, BOOLEAN)?;
    let (value, []) = element(fields, OCTET_STRING)? else { return None };
    let critical = match critical {
        // Some authorities spell the default out, which DER does not have.
        None | Some([0]) => false,
        Some([0xff]) => true,
        Some(_) => return None,
    };
    Some((Item { oid, critical, value }, rest))
}

/// Most extensions: vendors' certificates have under twenty.
const ITEMS_MAX: usize = 32;
