//! Moments: when certificates have to be valid, and when a result was made.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::DateTime;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no date and time, expected RFC 3339 as in 2026-02-03T15:04:05Z")]
pub struct TimestampError(pub String);

impl Timestamp {
    /// The clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// RFC 3339 with whole seconds: `Z`, or an offset from UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| TimestampError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    const LENGTH: usize = "2026-02-03T15:04:05".len();
    let (local, zone) = text.split_at_checked(LENGTH)?;
    let local = format!("{}Z", local.to_ascii_uppercase());
    let seconds = local.parse::<DateTime>().ok()?.unix_duration().as_secs();
    match zone {
        "Z" | "z" => Some(Timestamp(seconds)),
        _ => {
            let (sign, offset) = zone.split_at_checked(1)?;
            let (hours, minutes) = offset.split_once(':')?;
            let two = |word: &str, below: u64| {
                let digits = word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_digit());
                word.parse::<u64>().ok().filter(|number| digits && *number < below)
            };
            let offset =
                two(hours, 24)?.checked_mul(3600)?.checked_add(two(minutes, 60)?.checked_mul(60)?)?;
            match sign {
                "+" => seconds.checked_sub(offset).map(Timestamp),
                "-" => seconds.checked_add(offset).map(Timestamp),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Witness: `date -u -d 2026-02-03T15:04:05+01:30 +%s`, GNU coreutils 9.1.
    #[test]
    fn offsets_from_utc_count() {
        assert_eq!("2026-02-03T15:04:05+01:30".parse(), Ok(Timestamp(1_770_125_645)));
        assert_eq!("2026-02-03T13:34:05Z".parse(), Ok(Timestamp(1_770_125_645)));
        assert_eq!(Timestamp(1_770_125_645).to_string(), "2026-02-03T13:34:05Z");
    }

    #[test]
    fn other_texts_are_no_moments() {
        for text in
            ["", "2026", "2026-02-30T00:00:00Z", "2026-02-03T15:04:05", "2026-02-03T15:04:05+1:0", "é"]
        {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
