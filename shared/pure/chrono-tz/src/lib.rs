//! Time zones by their IANA names for `regorus`, in place of the crate `chrono-tz`: the part of its interface that is used.
//!
//! That crate has every zone's changes as a table of structures with pointers. Two thirds of what the loader had to relocate at each start of the
//! command line were these, and a seventh of its file. Here they are jiff's, in the form of RFC 9636 (`TZif`), and are read when a policy names a zone.

use std::fmt;
use std::str::FromStr;

use chrono::offset::LocalResult;
use chrono::{FixedOffset, NaiveDate, NaiveDateTime, Offset, TimeZone};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use thiserror::Error;

/// A time zone of the IANA database.
#[derive(Debug, Clone)]
pub struct Tz(jiff::tz::TimeZone);

/// There is no such zone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no name of the IANA time zone database, as \"Europe/Berlin\" is; case matters")]
pub struct ParseError(String);

impl FromStr for Tz {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        let unknown = || ParseError(name.chars().take(64).collect());
        let zone = TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| unknown())?;
        // The database itself takes them in any case.
        if zone.iana_name() != Some(name) {
            return Err(unknown());
        }
        Ok(Self(zone))
    }
}

/// How far a zone is from UTC at some moment.
#[derive(Debug, Clone)]
pub struct TzOffset {
    zone: Tz,
    fixed: FixedOffset,
}

impl Offset for TzOffset {
    fn fix(&self) -> FixedOffset {
        self.fixed
    }
}

impl fmt::Display for TzOffset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fixed.fmt(formatter)
    }
}

impl Tz {
    /// Outside of the years that jiff knows (-9999 to 9999) it is UTC; nanoseconds in 64 bits, which policies count in, do not get there.
    fn at(&self, seconds: i64) -> FixedOffset {
        let east = Timestamp::from_second(seconds)
            .ok()
            .and_then(|at| FixedOffset::east_opt(self.0.to_offset(at).seconds()));
        east.unwrap_or_else(|| chrono::Utc.fix())
    }

    fn offset(&self, fixed: FixedOffset) -> TzOffset {
        TzOffset {
            zone: self.clone(),
            fixed,
        }
    }
}

impl TimeZone for Tz {
    type Offset = TzOffset;

    fn from_offset(offset: &TzOffset) -> Self {
        offset.zone.clone()
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> LocalResult<TzOffset> {
        self.offset_from_local_datetime(&local.and_time(chrono::NaiveTime::MIN))
    }

    /// A local time is one where its offset, taken from it, gives a moment with this very offset: none in the hour that is left out in spring, two in
    /// the one that comes twice in autumn.
    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> LocalResult<TzOffset> {
        const DAY: i64 = 24 * 60 * 60;
        let local = local.and_utc().timestamp();
        let holds = |fixed: &FixedOffset| {
            let moment = local.saturating_sub(i64::from(fixed.local_minus_utc()));
            self.at(moment) == *fixed
        };
        let (before, after) = (
            self.at(local.saturating_sub(DAY)),
            self.at(local.saturating_add(DAY)),
        );
        match (holds(&before), holds(&after)) {
            (true, true) if before == after => LocalResult::Single(self.offset(before)),
            (true, true) => LocalResult::Ambiguous(self.offset(before), self.offset(after)),
            (true, false) => LocalResult::Single(self.offset(before)),
            (false, true) => LocalResult::Single(self.offset(after)),
            (false, false) => LocalResult::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> TzOffset {
        self.offset_from_utc_datetime(&utc.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> TzOffset {
        self.offset(self.at(utc.and_utc().timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Tz {
        name.parse().unwrap()
    }

    #[test]
    fn a_moment_has_the_offset_of_its_zone() {
        // Seconds after 1970 and east of Greenwich, as `TZ=... date -d @...` has them.
        for (name, at, east) in [
            ("Europe/Berlin", 1_767_225_600, 3600),
            ("Europe/Berlin", 1_782_864_000, 7200),
            ("America/New_York", 1_782_864_000, -14_400),
            ("America/New_York", 1_762_063_199, -14_400),
            ("America/New_York", 1_762_063_200, -18_000),
            ("Asia/Kolkata", 0, 19_800),
            ("Australia/Lord_Howe", 1_767_225_600, 39_600),
            ("Pacific/Kiritimati", 1_767_225_600, 50_400),
            ("Etc/GMT+12", 0, -43_200),
            ("UTC", 0, 0),
        ] {
            let fixed = zone(name).timestamp_opt(at, 0).unwrap().offset().fix();
            assert_eq!(fixed.local_minus_utc(), east, "{name} at {at}");
        }
    }

    #[test]
    fn an_hour_is_left_out_and_one_comes_twice() {
        let berlin = zone("Europe/Berlin");
        let local = |day, hour, minute| {
            let (month, day) = day;
            berlin.with_ymd_and_hms(2026, month, day, hour, minute, 0)
        };
        assert!(matches!(local((3, 29), 2, 30), LocalResult::None));
        assert!(matches!(local((3, 29), 3, 0), LocalResult::Single(_)));
        let LocalResult::Ambiguous(first, second) = local((10, 25), 2, 30) else {
            panic!("it comes twice");
        };
        assert_eq!((second - first).num_seconds(), 3600);
        assert!(matches!(local((10, 25), 3, 0), LocalResult::Single(_)));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "europe/berlin",
            "Europe/Nowhere",
            "../etc/passwd",
            "CET\0",
        ] {
            assert!(name.parse::<Tz>().is_err(), "{name}");
        }
        let long = "x".repeat(1000).parse::<Tz>().unwrap_err();
        assert!(long.to_string().len() < 200);
    }
}
