//! Which mutant is alive. Put beside the code under test by the tool, and never part of the product.

extern crate std;

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::vec::Vec;

/// Whether the mutant of this number is alive.
pub(crate) fn m(number: usize) -> bool {
    let state = &*STATE;
    if let Some(record) = &state.record {
        record.reached(number);
    }
    state.alive == number
}

struct State {
    alive: usize,
    record: Option<Record>,
}

/// Each number once, when it is first reached, a line each.
struct Record {
    seen: Vec<AtomicBool>,
    file: Mutex<File>,
}

impl Record {
    fn reached(&self, number: usize) {
        let seen = self.seen.get(number).is_none_or(|seen| seen.swap(true, Ordering::Relaxed));
        if !seen && let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(std::format!("{number}\n").as_bytes());
        }
    }
}

static STATE: LazyLock<State> = LazyLock::new(|| {
    let alive = env::var("SCHEMATA_ALIVE").ok().and_then(|number| number.parse().ok());
    let record = env::var_os("SCHEMATA_RECORD").map(|path| Record {
        seen: (0..NUMBERS_MAX).map(|_| AtomicBool::new(false)).collect(),
        file: Mutex::new(OpenOptions::new().append(true).create(true).open(path).unwrap()),
    });
    State { alive: alive.unwrap_or(0), record }
});

const NUMBERS_MAX: usize = 1 << 16;
