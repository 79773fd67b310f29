use core::fmt;

use attestation::UnixTime;

/// A value that evidence vouches for, until a certain time.
///
/// It is born in this crate alone, at the end of [`appraise`](crate::appraise), and there is no
/// other way to make one: no public constructor, no `Deserialize`, no `Default`. Whoever holds one
/// holds proof that every check passed.
///
/// ```compile_fail
/// // There is no way to vouch for a value oneself.
/// let forged = verifier::Attested::new([0_u8; 32], attestation::UnixTime::END);
/// ```
#[derive(Clone)]
pub struct Attested<T> {
    value: T,
    not_after: UnixTime,
}

impl<T> Attested<T> {
    /// The one place where verified values are born.
    pub(crate) const fn new(value: T, not_after: UnixTime) -> Self {
        Self { value, not_after }
    }

    /// The value, if `now` is still before the end of its evidence.
    ///
    /// # Errors
    /// [`Expired`] from `not_after` on.
    pub fn at(&self, now: UnixTime) -> Result<&T, Expired> {
        if now < self.not_after {
            Ok(&self.value)
        } else {
            Err(Expired { not_after: self.not_after, now })
        }
    }

    /// The first moment at which the value no longer counts.
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

impl<T> fmt::Debug for Attested<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attested").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// An attestation was used after its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expired {
    /// When it ended.
    pub not_after: UnixTime,
    /// When it was used.
    pub now: UnixTime,
}

impl Expired {
    /// A stable name for outputs and tests.
    #[expect(clippy::unused_self, reason = "errors tell their codes alike")]
    pub const fn code(&self) -> &'static str {
        "attestation-expired"
    }
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the attestation ended {}, and now it is {}: verify again",
            self.not_after, self.now
        )
    }
}

impl core::error::Error for Expired {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_reachable_only_before_its_end() {
        let value = Attested::new(7, UnixTime::from_secs(100));
        for (now, expected) in [(0, Some(7)), (99, Some(7)), (100, None), (101, None)] {
            assert_eq!(value.at(UnixTime::from_secs(now)).ok().copied(), expected, "at {now}");
        }
        assert_eq!(value.not_after(), UnixTime::from_secs(100));
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", Attested::new("canary", UnixTime::END)).contains("canary"));
    }
}
