//! The memory of Intel's evaluation numbers: the highest that was seen in authentic documents, by
//! platform family and series, so that nobody can bring back an older one unnoticed, not even once the
//! cache is gone.
//!
//! A file that cannot be read is an error with a remedy: treating it as empty would let whoever damages
//! it roll back what it guards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::item::Item;
use crate::store::{OsDisk, Store, read_plain};

/// A memory in a folder of its own.
#[derive(Clone, Debug)]
pub struct Marks {
    folder: PathBuf,
}

/// A memory that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MarksUnusable {
    path: PathBuf,
    why: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    schema: u32,
    numbers: BTreeMap<String, u64>,
}

impl Marks {
    /// A memory in `folder`, which is made when there is something to remember.
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("evaluation-numbers.json")
    }

    /// Everything that is remembered, by the item's name.
    ///
    /// # Errors
    /// A memory that cannot be read.
    pub fn all(&self) -> Result<BTreeMap<String, u64>, MarksUnusable> {
        Ok(self.read()?.numbers)
    }

    /// The lowest number that is still taken for `item`.
    ///
    /// # Errors
    /// A memory that cannot be read.
    pub fn floor(&self, item: &Item) -> Result<Option<u64>, MarksUnusable> {
        Ok(self.read()?.numbers.get(&item.name()).copied())
    }

    /// Remembers `number`, which an authentic document of `item` has. Never lowers anything.
    ///
    /// # Errors
    /// A memory that cannot be read or written.
    pub fn raise(&self, item: &Item, number: u64) -> Result<(), MarksUnusable> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| self.unusable(error))?;
        // Two programs may learn something at once: the later must not forget what the earlier wrote.
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.folder.join("evaluation-numbers.lock"))
            .map_err(|error| self.unusable(error))?;
        lock.lock().map_err(|error| self.unusable(error))?;
        let mut numbers = self.read()?;
        let mark = numbers.numbers.entry(item.name()).or_insert(0);
        if number <= *mark {
            return Ok(());
        }
        *mark = number;
        let text = serde_json::to_vec_pretty(&numbers).map_err(|error| self.unusable(error))?;
        Store::with_disk(self.folder.clone(), Arc::new(OsDisk))
            .put(&self.path(), &text)
            .map_err(|error| self.unusable(error))
    }

    fn read(&self) -> Result<Numbers, MarksUnusable> {
        let text = match read_plain(&self.path(), LEN_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Numbers { schema: SCHEMA, numbers: BTreeMap::new() });
            }
            Err(error) => return Err(self.unusable(error)),
        };
        let numbers: Numbers =
            serde_json::from_slice(&text).map_err(|error| self.unusable(error))?;
        if numbers.schema == SCHEMA {
            Ok(numbers)
        } else {
            Err(self.unusable("has a schema that this version does not know"))
        }
    }

    fn unusable(&self, why: impl fmt::Display) -> MarksUnusable {
        MarksUnusable { path: self.path(), why: why.to_string() }
    }
}

impl fmt::Display for MarksUnusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used: {}; repair or remove the file", self.path.display(), self.why)
    }
}

impl std::error::Error for MarksUnusable {}

const SCHEMA: u32 = 1;

/// Longest file: a number for each platform family that was ever seen.
const LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::Update;

    fn marks(name: &str) -> Marks {
        let folder =
            std::env::temp_dir().join(format!("veritee-marks-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        Marks::in_folder(folder)
    }

    const ITEM: Item = Item::IntelTcbInfo { fmspc: [1; 6], update: Update::Standard };
    const EARLY: Item = Item::IntelTcbInfo { fmspc: [1; 6], update: Update::Early };

    #[test]
    fn marks_rise_and_never_fall() {
        let marks = marks("rise");
        assert_eq!(marks.floor(&ITEM).unwrap(), None);
        marks.raise(&ITEM, 18).unwrap();
        marks.raise(&ITEM, 17).unwrap();
        assert_eq!(marks.floor(&ITEM).unwrap(), Some(18));
        assert_eq!(marks.floor(&EARLY).unwrap(), None, "each series has its own");
        marks.raise(&EARLY, 19).unwrap();
        assert_eq!(marks.floor(&ITEM).unwrap(), Some(18));
        assert_eq!(marks.all().unwrap().len(), 2);
        fs::remove_dir_all(&marks.folder).unwrap();
    }

    #[test]
    fn a_damaged_memory_is_an_error_not_an_empty_one() {
        let marks = marks("damaged");
        marks.raise(&ITEM, 18).unwrap();
        for damage in ["", "{", "{\"schema\":2,\"numbers\":{}}", "{\"schema\":1}"] {
            fs::write(marks.path(), damage).unwrap();
            assert!(marks.floor(&ITEM).is_err(), "{damage:?}");
            assert!(marks.raise(&ITEM, 20).unwrap_err().to_string().contains("remove the file"));
        }
        fs::remove_dir_all(&marks.folder).unwrap();
    }
}
