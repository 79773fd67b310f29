use core::fmt;

/// A value received from a peer and not yet checked by anyone.
///
/// There is no `Deref`, `AsRef` or `Debug` of the contents: the only way in is a verifier, or
/// [`inspect_untrusted`](Self::inspect_untrusted), which says what it does.
#[derive(Clone)]
pub struct Unverified<T>(T);

impl<T> Unverified<T> {
    /// Marks `value` as received from a peer.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Looks at the value without trusting it: to verify it, or to print a diagnosis.
    pub const fn inspect_untrusted(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Unverified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(..)")
    }
}
