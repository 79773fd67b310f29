use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime};

use crate::bytes::Malformed;

/// Seconds since the Unix epoch, always supplied by the caller.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(u64);

/// 9999-12-31T23:59:59Z: the end of time in X.509 and RFC 3339 alike.
const END: u64 = 253_402_300_799;

impl UnixTime {
    /// The last instant that RFC 3339 can write.
    pub const END: Self = Self(END);

    /// A point in time, from seconds since the epoch; later than [`END`](Self::END) becomes it.
    pub const fn from_secs(secs: u64) -> Self {
        Self(if secs > END { END } else { secs })
    }

    /// A moment of UTC, by year, month and day and by hour, minute and second; none where there is no such
    /// moment, or it is before 1970.
    pub fn from_utc(
        (year, month, day): (u16, u8, u8),
        (hour, minute, second): (u8, u8, u8),
    ) -> Option<Self> {
        let month = Month::try_from(month).ok()?;
        let date = Date::from_calendar_date(i32::from(year), month, day).ok()?;
        let moment = date.with_hms(hour, minute, second).ok()?.assume_utc();
        u64::try_from(moment.unix_timestamp()).ok().map(Self::from_secs)
    }

    /// Seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This time plus `span`, stopping at the end of time.
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self::from_secs(self.0.saturating_add(span.as_secs()))
    }

    /// This time minus `span`, stopping at the epoch.
    #[must_use]
    pub const fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }
}

impl FromStr for UnixTime {
    type Err = Malformed;

    /// Parses RFC 3339; fractions of a second are dropped, times before 1970 refused.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bad = Malformed::invalid("time", "is not an RFC 3339 date and time");
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| bad.clone())?;
        u64::try_from(parsed.unix_timestamp()).map(Self::from_secs).map_err(|_| bad)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = i64::try_from(self.0)
            .ok()
            .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
            .and_then(|time| time.format(&Rfc3339).ok());
        f.write_str(text.as_deref().unwrap_or("9999-12-31T23:59:59Z"))
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_round_trips() {
        for text in ["1970-01-01T00:00:00Z", "2026-11-23T04:42:00Z", "9999-12-31T23:59:59Z"] {
            assert_eq!(text.parse::<UnixTime>().unwrap().to_string(), text);
        }
        assert!("2026-11-23".parse::<UnixTime>().is_err());
        assert!("1969-12-31T23:59:59Z".parse::<UnixTime>().is_err());
    }

    #[test]
    fn the_calendar_says_the_same() {
        let parsed = |text: &str| text.parse::<UnixTime>().ok();
        for (date, clock, text) in [
            ((1970, 1, 1), (0, 0, 0), "1970-01-01T00:00:00Z"),
            ((2028, 2, 29), (23, 59, 59), "2028-02-29T23:59:59Z"),
            ((9999, 12, 31), (23, 59, 59), "9999-12-31T23:59:59Z"),
        ] {
            assert!(parsed(text).is_some());
            assert_eq!(UnixTime::from_utc(date, clock), parsed(text));
        }
        for (date, clock) in [
            ((1969, 12, 31), (23, 59, 59)),
            ((2027, 2, 29), (0, 0, 0)),
            ((2027, 0, 1), (0, 0, 0)),
            ((2027, 13, 1), (0, 0, 0)),
            ((2027, 1, 0), (0, 0, 0)),
            ((2027, 1, 1), (24, 0, 0)),
            ((2027, 1, 1), (0, 60, 0)),
            ((2027, 1, 1), (0, 0, 60)),
        ] {
            assert_eq!(UnixTime::from_utc(date, clock), None, "{date:?} {clock:?}");
        }
    }
}
