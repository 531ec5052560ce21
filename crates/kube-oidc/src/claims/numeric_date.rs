//! `NumericDate` ([RFC 7519, 2]): seconds since the epoch, with or without a fraction.
//!
//! [RFC 7519, 2]: https://www.rfc-editor.org/rfc/rfc7519#section-2

use std::{
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// A time in a token, in whole seconds; a fraction is cut off, as go-jose does it for the API
/// server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumericDate(u64);

/// The last second of the year 9999. Nothing later is a date that somebody meant.
const LAST_SECOND: u64 = 253_402_300_799;

impl NumericDate {
    pub(crate) const SEED: Seed = Seed(PhantomData);

    /// What it must be, in words.
    pub(crate) const EXPECTED: &'static str = "seconds between 1970 and 9999";

    /// The last date that is accepted.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) const LAST: Self = Self(LAST_SECOND);

    /// The date of a time, as far as it can be one.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs().min(LAST_SECOND))
    }

    pub(crate) fn seconds(self) -> u64 {
        self.0
    }

    pub(crate) fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

/// Reads a [`NumericDate`].
pub(crate) struct Seed(PhantomData<()>);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = NumericDate;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // a hint of f64 takes every number, and no other value
        deserializer.deserialize_f64(self)
    }
}

impl Visitor<'_> for Seed {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NumericDate::EXPECTED)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<NumericDate, E> {
        if seconds > LAST_SECOND {
            return Err(E::custom("a time after the year 9999"));
        }
        Ok(NumericDate(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<NumericDate, E> {
        self.visit_u64(u64::try_from(seconds).map_err(|_| E::custom("a time before 1970"))?)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the range is checked first, and the fraction is cut off on purpose"
    )]
    fn visit_f64<E: Error>(self, seconds: f64) -> Result<NumericDate, E> {
        if (0.0..=LAST_SECOND as f64).contains(&seconds) {
            Ok(NumericDate(seconds as u64))
        } else {
            Err(E::custom("a time before 1970 or after the year 9999"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<u64> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        NumericDate::SEED.deserialize(&mut deserializer).ok().map(NumericDate::seconds)
    }

    #[test]
    fn reads_what_issuers_write() {
        assert_eq!(read("1795330026"), Some(1_795_330_026));
        assert_eq!(read("1795330026.999"), Some(1_795_330_026));
        assert_eq!(read("1.795330026e9"), Some(1_795_330_026));
        assert_eq!(read("1795330026E0"), Some(1_795_330_026));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("-0.0"), Some(0));
        assert_eq!(read("253402300799"), Some(LAST_SECOND));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "-1",
            "-0.5",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "1e300",
            "-1e300",
            "\"1795330026\"",
            "null",
            "true",
            "[1795330026]",
            "{}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
