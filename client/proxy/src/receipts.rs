//! The receipts of the latest answers, by completion id.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use client::Closing;

/// As many receipts as fit; the oldest leave first.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    kept: Mutex<VecDeque<(String, Arc<Closing>)>>,
}

impl Receipts {
    /// Keeps the receipt of the answer with `id`.
    pub(crate) fn keep(&self, id: &str, closing: &Closing) {
        if id.is_empty() || id.len() > ID_LEN_MAX {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(have, _)| have != id);
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((id.to_owned(), Arc::new(closing.clone())));
    }

    /// The receipt of the answer with `id`.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Closing>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|(have, _)| have == id).map(|(_, closing)| Arc::clone(closing))
    }
}

/// Receipts kept: under a kilobyte each, and nobody looks for one of long ago.
const KEPT_MAX: usize = 1024;

/// Longest id: an enclave's has some 40 octets.
const ID_LEN_MAX: usize = 128;
