//! Tokens that are found in a text as a whole, before anything else.

use std::collections::{BTreeSet, HashMap};

use super::Controls;

/// All of them, the longest first.
#[derive(Debug)]
pub(super) struct Specials {
    all: Vec<Special>,
    /// The place of each text in `all`.
    places: HashMap<String, usize>,
    /// The lengths of the texts that start with each byte.
    lengths: HashMap<u8, BTreeSet<usize>>,
    /// The control tokens' places by their numbers.
    controls: HashMap<u32, usize>,
}

#[derive(Debug)]
pub(super) struct Special {
    pub(super) text: String,
    pub(super) id: u32,
    /// A control token (or the unknown token): recognised on demand only. Others always are.
    pub(super) control: bool,
}

/// A part of a text.
#[derive(Debug)]
pub(super) enum Piece<'t> {
    Token(u32),
    Text(&'t str),
}

impl Specials {
    pub(super) fn new(mut all: Vec<Special>) -> Self {
        all.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        let mut lengths: HashMap<u8, BTreeSet<usize>> = HashMap::new();
        for special in &all {
            if let Some(first) = special.text.bytes().next() {
                lengths.entry(first).or_default().insert(special.text.len());
            }
        }
        let places = all.iter().enumerate();
        let controls = places.clone().filter(|(_, special)| special.control);
        Self {
            places: places.map(|(place, special)| (special.text.clone(), place)).collect(),
            controls: controls.map(|(place, special)| (special.id, place)).collect(),
            lengths,
            all,
        }
    }

    /// The name of a control token.
    pub(super) fn control(&self, token: u32) -> Option<&str> {
        self.all.get(*self.controls.get(&token)?).map(|special| special.text.as_str())
    }

    /// Where control tokens' texts start in `text`.
    pub(super) fn controls_in(&self, text: &str) -> impl Iterator<Item = usize> {
        let found = self.found_in(text);
        found.filter(|(_, place)| self.is_control(*place)).map(|(at, _)| at)
    }

    /// Cuts `text`: at the longest special first, over all of the text.
    pub(super) fn cut<'t>(&self, text: &'t str, controls: Controls) -> Vec<Piece<'t>> {
        let mark = match controls {
            Controls::ParsedUnlessMarked(mark) => Some(mark),
            Controls::Inert | Controls::Parsed => None,
        };
        if text.is_empty() {
            return Vec::new();
        }
        let wanted = |place: &usize| controls != Controls::Inert || !self.is_control(*place);
        let found: BTreeSet<usize> =
            self.found_in(text).map(|(_, place)| place).filter(wanted).collect();
        let mut pieces = vec![Piece::Text(text)];
        for special in found.into_iter().filter_map(|place| self.all.get(place)) {
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                match piece {
                    Piece::Token(_) => cut.push(piece),
                    Piece::Text(text) => cut_at(text, special, mark, &mut cut),
                }
            }
            pieces = cut;
        }
        pieces
    }

    fn is_control(&self, place: usize) -> bool {
        self.all.get(place).is_some_and(|special| special.control)
    }

    /// Every occurrence, overlapping or not, with its special's place.
    fn found_in(&self, text: &str) -> impl Iterator<Item = (usize, usize)> {
        text.bytes().enumerate().flat_map(move |(at, byte)| {
            let lengths = self.lengths.get(&byte).into_iter().flatten();
            lengths.filter_map(move |length| {
                let found = text.get(at..at.saturating_add(*length))?;
                Some((at, *self.places.get(found)?))
            })
        })
    }
}

fn cut_at<'t>(text: &'t str, special: &Special, mark: Option<char>, cut: &mut Vec<Piece<'t>>) {
    let mut rest = text;
    let mut searched = 0;
    while let Some(found) = rest.get(searched..).and_then(|tail| tail.find(&special.text)) {
        let at = searched.saturating_add(found);
        let (before, tail) = rest.split_at(at);
        if special.control && mark.is_some_and(|mark| before.ends_with(mark)) {
            searched = at.saturating_add(tail.chars().next().map_or(1, char::len_utf8));
            continue;
        }
        if !before.is_empty() {
            cut.push(Piece::Text(before));
        }
        cut.push(Piece::Token(special.id));
        rest = tail.get(special.text.len()..).unwrap_or_default();
        searched = 0;
    }
    if !rest.is_empty() {
        cut.push(Piece::Text(rest));
    }
}
