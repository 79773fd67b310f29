//! Looks for secrets where they must not be: in memory, files, cores and recorded traffic, in every form that software gives text.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// A text to look for, under a name that may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Needle {
    name: String,
    text: String,
}

/// Looks for several needles at once, in all forms.
pub struct Scanner {
    automaton: AhoCorasick,
    /// Needle and form of each pattern.
    patterns: Vec<(String, &'static str)>,
    longest: usize,
}

/// What was found: needles by name, and their forms.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Found(BTreeSet<(String, &'static str)>);

/// What was found in a process, and how much of it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What was found.
    pub found: Found,
    /// How many octets were read.
    pub octets: usize,
}

impl Needle {
    /// A fresh one, unlike everything else on the machine.
    pub fn random(name: &str) -> Self {
        loop {
            let mut octets = [0; 36];
            getrandom::fill(&mut octets).expect("the system has randomness");
            let text = octets.iter().map(|octet| LETTERS[usize::from(*octet & 63)]);
            let needle = Self::new(name, &text.map(char::from).collect::<String>());
            // A canary whose forms are all different shows that all of them are looked for.
            let forms: BTreeSet<Vec<u8>> =
                needle.forms().into_iter().map(|(_, octets)| octets).collect();
            if forms.len() == FORMS {
                return needle;
            }
        }
    }

    /// A text that came up by itself: long enough, and of enough different characters, not to come up twice.
    pub fn new(name: &str, text: &str) -> Self {
        let different: BTreeSet<char> = text.chars().collect();
        assert!(text.len() >= 24 && different.len() >= 10, "{name} is too short or too dull");
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every form of it that is looked for, by name.
    pub fn forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let octets = self.text.as_bytes();
        let each = |write: fn(&u8) -> String| octets.iter().map(write).collect::<Vec<_>>();
        let lower = |unit: u16| format!("\\u{unit:04x}");
        let upper = |unit: u16| format!("\\u{unit:04X}");
        let escaped =
            |write: fn(u16) -> String| self.text.encode_utf16().map(write).collect::<String>();
        let mut forms = vec![
            ("text", octets.to_vec()),
            ("hex", each(|octet| format!("{octet:02x}")).concat().into_bytes()),
            ("upper-case hex", each(|octet| format!("{octet:02X}")).concat().into_bytes()),
            ("list of numbers", each(u8::to_string).join(", ").into_bytes()),
            ("escaped JSON", escaped(lower).into_bytes()),
            ("escaped JSON, upper case", escaped(upper).into_bytes()),
            (
                "UTF-16, little end first",
                self.text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            ),
            (
                "UTF-16, big end first",
                self.text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            ),
        ];
        for (alphabet, names) in [
            (&alphabet::STANDARD, ["base64 at 0", "base64 at 1", "base64 at 2"]),
            (&alphabet::URL_SAFE, ["base64url at 0", "base64url at 1", "base64url at 2"]),
        ] {
            let codec = GeneralPurpose::new(alphabet, GeneralPurposeConfig::new());
            for (shift, name) in names.into_iter().enumerate() {
                forms.push((name, core_of_base64(&codec, octets, shift)));
            }
        }
        forms
    }
}

/// What base64 makes of `octets` wherever they stand behind `shift` (mod 3) others: without the letters that neighbours have a say in.
fn core_of_base64(codec: &GeneralPurpose, octets: &[u8], shift: usize) -> Vec<u8> {
    let placed = [&vec![0; shift], octets].concat();
    let whole = placed.chunks_exact(3).len().saturating_mul(4);
    let encoded = codec.encode(&placed).into_bytes();
    // The first letters hold bits of what stands before; the last group, if it is not full, bits of what comes after.
    let begin = [0, 2, 3][shift];
    encoded.get(begin..whole).unwrap_or_default().to_vec()
}

impl Scanner {
    /// A scanner for these needles.
    pub fn new(needles: &[Needle]) -> Self {
        let (mut patterns, mut octets) = (Vec::new(), Vec::new());
        for needle in needles {
            for (form, pattern) in needle.forms() {
                patterns.push((needle.name.clone(), form));
                octets.push(pattern);
            }
        }
        let longest = octets.iter().map(Vec::len).max().unwrap_or(1);
        let automaton = AhoCorasick::new(octets).expect("a few hundred patterns fit");
        Self { automaton, patterns, longest }
    }

    /// Looks through octets.
    pub fn octets(&self, octets: &[u8]) -> Found {
        let found = self.automaton.find_overlapping_iter(octets);
        Found(found.map(|hit| self.patterns[hit.pattern().as_usize()].clone()).collect())
    }

    /// Looks through several recordings.
    pub fn recordings(&self, recordings: &[Vec<u8>]) -> Found {
        recordings.iter().fold(Found::default(), |found, octets| found.and(self.octets(octets)))
    }

    /// Looks through a file of any length.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file(&self, path: &Path) -> io::Result<Found> {
        let file = fs::File::open(path)?;
        let (mut found, mut at) = (Found::default(), 0);
        self.read(|buffer, offset| file.read_at(buffer, offset), &mut at, u64::MAX, &mut found)?;
        Ok(found)
    }

    /// Looks through every file below a folder, but those that `is_known` names; with each hit comes its file.
    pub fn folder(&self, folder: &Path, is_known: &dyn Fn(&Path) -> bool) -> Vec<(PathBuf, Found)> {
        let mut hits = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            let kind = kind.expect("a file that was just listed has a kind");
            if kind.is_dir() {
                hits.extend(self.folder(&path, is_known));
            } else if kind.is_file() && !is_known(&path) {
                let found =
                    self.file(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
                if !found.is_empty() {
                    hits.push((path, found));
                }
            }
        }
        hits
    }

    /// Looks through the files that a process has open, also those that no folder lists any more.
    pub fn open_files(&self, id: u32) -> Found {
        let mut found = Found::default();
        for entry in fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten() {
            let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
            if is_file && let Ok(hits) = self.file(&entry.path()) {
                found = found.and(hits);
            }
        }
        found
    }

    /// Looks through all memory of a process that it may have written.
    ///
    /// What is mapped from a file and cannot be written is that file, which was there before.
    pub fn memory(&self, id: u32) -> Memory {
        let refused = |why: io::Error| -> ! {
            panic!(
                "the memory of process {id} cannot be read ({why}): run this test as root, or with CAP_SYS_PTRACE; \
                 programs that keep their memory to themselves are closed to others of the same user"
            )
        };
        let maps =
            fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_else(|why| refused(why));
        let memory = fs::File::open(format!("/proc/{id}/mem")).unwrap_or_else(|why| refused(why));
        let mut whole = Memory::default();
        for line in maps.lines() {
            let Some((begin, end)) = written(line) else { continue };
            let mut at = begin;
            // Mappings go while one looks: what is not there holds nothing.
            drop(self.read(
                |buffer, offset| memory.read_at(buffer, offset),
                &mut at,
                end,
                &mut whole.found,
            ));
            let octets = usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX);
            whole.octets = whole.octets.saturating_add(octets);
        }
        assert!(
            whole.octets > 1 << 16,
            "process {id} has more memory than {} octets",
            whole.octets
        );
        whole
    }

    /// Reads piece by piece from `at` to `end`, with enough overlap that no needle falls between two pieces.
    fn read(
        &self,
        read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
        at: &mut u64,
        end: u64,
        found: &mut Found,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut kept = 0_usize;
        while *at < end {
            let left = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
            let until = kept.saturating_add(left).min(PIECE);
            let length = read(&mut buffer[kept..until], *at)?;
            if length == 0 {
                break;
            }
            *at = at.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            let filled = kept.saturating_add(length);
            found.0.extend(self.octets(&buffer[..filled]).0);
            kept = self.longest.min(filled);
            buffer.copy_within(filled.saturating_sub(kept)..filled, 0);
        }
        Ok(())
    }
}

/// The range of a line of `/proc/PID/maps`, if the process can have written there.
fn written(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let path = fields.nth(3).unwrap_or_default();
    if !rights.starts_with('r')
        || path.starts_with("[v")
        || (path.starts_with('/') && !rights.contains('w'))
    {
        return None;
    }
    let (begin, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(begin)?, number(end)?))
}

impl Found {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this needle was, in this form.
    pub fn has(&self, needle: &Needle, form: &str) -> bool {
        self.0.iter().any(|(name, found)| *name == needle.name && *found == form)
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Needle({})", self.name)
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scanner({} patterns)", self.patterns.len())
    }
}

/// Letters of canaries: JSON leaves them as they are, and base64 writes some of them with the letters in which its alphabets differ.
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567~?>_";

/// How many forms a needle has.
const FORMS: usize = 14;

/// How much is looked at at once.
const PIECE: usize = 1 << 20;
