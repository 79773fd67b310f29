//! What AMD's chains may be made of: what was given and carried, and what is built in.

use super::super::revocation::{List, Lists};
use super::Inputs;
use crate::anchors::{Period, intermediates};
use crate::x509::Certificate;

/// Everything that a chain may be made of.
#[derive(Clone, Copy)]
pub(super) struct Pool<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) given: &'a [Certificate<'a>],
    pub(super) lists: &'a Lists<'a>,
}

/// The intermediates that are built in and were not given.
pub(super) fn built_in<'a>(
    given: &'a [Certificate<'a>],
) -> impl Iterator<Item = &'a Certificate<'a>> + Clone {
    let is_new = |built_in: &&Certificate<'_>| !given.iter().any(|have| have.der == built_in.der);
    intermediates().iter().filter(is_new)
}

/// From when to when each thing is good that a chain may be made of.
pub(super) fn periods(
    inputs: Inputs<'_>,
    given: &[Certificate<'_>],
    lists: &Lists<'_>,
) -> impl Iterator<Item = Period> {
    let certificates = given.iter().chain(intermediates()).map(Certificate::validity);
    certificates
        .chain(lists.iter().map(List::period))
        .chain(inputs.anchors.periods().iter().copied())
}
