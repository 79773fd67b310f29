//! What vendors say of their hardware, where evidence lacks it or brought it stale.
//!
//! A client fetches none of it: that takes services, caches and limits of its own, which who links
//! this crate may not want. It asks an [`Endorser`], and judges again with what that one found.

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use attestation::Endorsements;
use verifier::{Policy, Report};

use crate::error::Error;

/// Somebody who can find endorsements.
pub trait Endorser: fmt::Debug + Send + Sync {
    /// A search for what `case` lacks; `None` where nothing that could be found would help.
    fn search(&self, case: &Unendorsed<'_>) -> Option<Box<dyn Search>>;
}

/// Evidence that was not accepted.
#[derive(Clone, Copy, Debug)]
pub struct Unendorsed<'a> {
    /// The evidence, as it came.
    pub evidence: &'a [u8],
    /// The endorsements beside it.
    pub given: &'a Endorsements,
    /// What it was judged by.
    pub policy: &'a Policy,
    /// Why it was not accepted.
    pub report: &'a Report,
}

/// A search for the endorsements of one evidence.
pub trait Search: Send {
    /// Finds what answers the findings of `report` and was not looked for before.
    fn find<'a>(&'a mut self, report: &'a Report) -> Finding<'a>;

    /// Takes note of a verdict that rests on what was found.
    ///
    /// # Errors
    /// It cannot be remembered: the verdict does not count.
    fn accepted(&self, report: &Report) -> Result<(), Error>;
}

/// What [`Search::find`] comes to.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;

/// What was found, and what was not.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Everything found so far; `None` where nothing came that is new.
    pub endorsements: Option<Endorsements>,
    /// Why something was not found, each in a sentence.
    pub failures: Vec<String>,
}
