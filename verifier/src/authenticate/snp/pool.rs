//! What AMD's chains may be made of: what was given and carried, and what is built in.

use super::Inputs;
use crate::anchors::{Period, intermediates};
use crate::x509::{Certificate, Crl};

/// Everything that a chain may be made of.
#[derive(Clone, Copy)]
pub(super) struct Pool<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) given: &'a [Certificate<'a>],
    pub(super) crls: &'a [Crl<'a>],
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
    crls: &[Crl<'_>],
) -> impl Iterator<Item = Period> {
    // A list without an end is never without a finding.
    let of_list = |crl: &Crl<'_>| {
        let (this_update, next_update) = crl.window();
        (this_update, next_update.unwrap_or(this_update))
    };
    let certificates = given.iter().chain(intermediates()).map(Certificate::validity);
    certificates.chain(crls.iter().map(of_list)).chain(inputs.anchors.periods().iter().copied())
}
