//! Text around text: what is mutated keeps its lines, and where each mutant stands stays known.

use core::ops::Range;

/// A mutant: where it is in the code, and what it does there.
#[derive(Clone, Debug)]
pub struct Point {
    /// The name by which it is switched on; 0 is none.
    pub number: usize,
    /// The file, from the root of the workspace.
    pub file: String,
    /// Line and column of what it changes, both from 1.
    pub at: (usize, usize),
    /// The function that it is in.
    pub function: String,
    /// What it does.
    pub what: String,
    /// What is put around the code.
    wraps: Range<usize>,
    before: String,
    after: String,
}

impl Point {
    /// A mutant that puts `before` and `after` around the bytes `wraps`; `{m}` there is whether it is alive.
    pub fn new(
        at: (usize, usize),
        function: &str,
        what: String,
        wraps: Range<usize>,
        [before, after]: [String; 2],
    ) -> Self {
        let (file, function) = (String::new(), function.to_owned());
        Self { number: 0, file, at, function, what, wraps, before, after }
    }

    /// Stable while the code is: file, line, column and what is done.
    pub fn name(&self) -> String {
        let (line, column) = self.at;
        format!("{}:{line}:{column}\t{}\t{}", self.file, self.function, self.what)
    }
}

/// A file with its mutants in it.
#[derive(Debug, Default)]
pub struct Woven {
    /// The file's text.
    pub text: String,
    /// Which mutant's text is where.
    inserted: Vec<(Range<usize>, usize)>,
    /// Which mutant is around what.
    around: Vec<(Range<usize>, usize)>,
}

impl Woven {
    /// `source` with the mutants `points`, all of them of this file.
    pub fn of(source: &str, points: &[&Point]) -> Self {
        enum End {
            Close,
            Open,
        }
        let mut edits = Vec::new();
        for (order, point) in (0_i64..).zip(points) {
            let Range { start, end } = point.wraps;
            let width = i64::try_from(end.saturating_sub(start)).unwrap_or(i64::MAX);
            // At one place: first what closes, the innermost first; then what opens, the outermost first.
            if !point.after.is_empty() {
                edits.push((end, End::Close, (width, -order), *point));
            }
            edits.push((start, End::Open, (-width, order), *point));
        }
        edits.sort_by_key(|(at, end, order, _)| (*at, matches!(end, End::Open), *order));
        let mut woven = Self::default();
        let mut opened = std::collections::HashMap::new();
        let mut copied = 0;
        for (at, end, _, point) in edits {
            woven.text.push_str(source.get(copied..at).unwrap_or_default());
            copied = at;
            let from = woven.text.len();
            let text = if matches!(end, End::Open) { &point.before } else { &point.after };
            woven
                .text
                .push_str(&text.replace("{m}", &format!("crate::schemata::m({})", point.number)));
            let to = woven.text.len();
            woven.inserted.push((from..to, point.number));
            if matches!(end, End::Open) {
                opened.insert(point.number, from);
            }
            if (matches!(end, End::Close) || point.after.is_empty())
                && let Some(from) = opened.get(&point.number)
            {
                woven.around.push((*from..to, point.number));
            }
        }
        woven.text.push_str(source.get(copied..).unwrap_or_default());
        woven
    }

    /// The mutants that an error is to blame on, which the compiler shows at `primary` and `others`, in bytes.
    pub fn blamed(&self, primary: &[Range<usize>], others: &[Range<usize>]) -> Vec<usize> {
        let within = |inner: &Range<usize>, outer: &Range<usize>| {
            outer.start <= inner.start && inner.end <= outer.end
        };
        let numbers = |of: &mut dyn Iterator<Item = &(Range<usize>, usize)>| -> Vec<usize> {
            of.map(|(_, number)| *number).collect()
        };
        // Text of a mutant's own.
        let own = |(range, _): &&(Range<usize>, usize)| {
            primary.iter().chain(others).any(|span| within(span, range))
        };
        let blamed = numbers(&mut self.inserted.iter().filter(own));
        if !blamed.is_empty() {
            return blamed;
        }
        // The closest around what is shown.
        let around =
            |(range, _): &&(Range<usize>, usize)| primary.iter().any(|span| within(span, range));
        let closest = self.around.iter().filter(around).min_by_key(|(range, _)| range.len());
        if let Some((_, number)) = closest {
            return vec![*number];
        }
        let touched = |(range, _): &&(Range<usize>, usize)| {
            primary.iter().any(|span| range.start < span.end && span.start < range.end)
        };
        numbers(&mut self.inserted.iter().filter(touched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points;

    fn woven(source: &str) -> (Vec<Point>, Woven) {
        let mut points = points::of(source).unwrap_or_default();
        for (number, point) in (1..).zip(&mut points) {
            point.number = number;
        }
        let woven = Woven::of(source, &points.iter().collect::<Vec<_>>());
        (points, woven)
    }

    #[test]
    fn lines_stay_and_the_rest_is_code() {
        let source = "fn f(a: u8, b: &mut Vec<u8>) -> bool {\n    if a < 3 && !b.is_empty() {\n        b.push(a);\n    }\n    \
                      for x in &*b { g(x); }\n    match a { 1 => h()?, _ if a == 2 => 0, _ => a + 1 };\n    a == 1 || a == 2\n}\n";
        let (points, woven) = woven(source);
        assert_eq!(woven.text.lines().count(), source.lines().count());
        assert!(syn::parse_file(&woven.text).is_ok(), "{}", woven.text);
        let whats: Vec<_> = points.iter().map(|point| point.what.as_str()).collect();
        for what in [
            "returns true",
            "returns false",
            "a < 3 && ! b . is_empty () is true",
            "a < 3 && ! b . is_empty () is false",
            "a < 3 is true",
            "a < 3 becomes a <= 3",
            "! b . is_empty () is true",
            "without b . push (a)",
            "without for x in & * b { g (x) ; }",
            "without g (x)",
            "without the arm 1",
            "a == 2 is false",
            "a + 1 becomes a - 1",
            "a == 1 is false",
            "a == 2 is false",
        ] {
            assert!(whats.contains(&what), "{what} is none of {whats:#?}");
        }
    }

    #[test]
    fn an_error_is_blamed_on_the_closest() {
        let (points, woven) = woven("fn f(a: u8) { if a == 1 { g(); } }");
        let of =
            |what: &str| points.iter().find(|point| point.what == what).map(|point| point.number);
        let at = woven.text.find("g();").unwrap_or_default();
        let within = at..at.saturating_add(3);
        assert_eq!(woven.blamed(&[within], &[]), Vec::from_iter(of("without g ()")));
        let at = woven.text.find("a == 1").unwrap_or_default();
        let within = at..at.saturating_add(6);
        assert_eq!(woven.blamed(&[within], &[]), Vec::from_iter(of("a == 1 is false")));
    }
}
