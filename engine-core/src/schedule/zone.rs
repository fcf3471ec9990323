//! Time zones: from wall-clock times to instants.
//!
//! What happens when the clock is changed:
//!
//! | the calendar names | times that do not exist | times that exist twice |
//! |---|---|---|
//! | some hours of the day | move to the first instant after the gap | fire once, the first time |
//! | every hour of the day | are left out | fire each time |
//!
//! So `30 2 * * *` fires once on every day of the year, and `*/5 * * * *` every five minutes, whatever the clock does. Two times that
//! move to the same instant fire once.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as JiffTimestamp};

use super::calendar::Calendar;
use super::spec::InvalidSpec;
use crate::time::Timestamp;

/// A time zone of the IANA database that is compiled into the program.
#[derive(Clone)]
pub(super) struct Zone {
    zone: TimeZone,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.zone.iana_name().unwrap_or("UTC"))
    }
}

impl Zone {
    /// The time zone of this name; UTC for the empty one.
    pub(super) fn named(name: &str) -> Result<Zone, InvalidSpec> {
        if name.is_empty() || name == "UTC" {
            return Ok(Zone { zone: TimeZone::UTC });
        }
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| {
            let problem = format!("{name:?} is no time zone; names look like \"Europe/Berlin\" or \"UTC\"");
            InvalidSpec::new("time_zone", problem)
        })?;
        Ok(Zone { zone })
    }

    /// The first instant after `after` that the calendar names.
    pub(super) fn next_after(&self, calendar: &Calendar, after: Timestamp) -> Option<Timestamp> {
        let after = whole_second(after)?;
        if calendar.is_every_hour() { self.next_in_time(calendar, after) } else { self.next_by_date(calendar, after) }
    }

    /// What the clock on the wall shows.
    pub(super) fn wall_clock(&self, at: Timestamp) -> Option<DateTime> {
        Some(self.zone.to_datetime(whole_second(at)?))
    }

    /// The first instant at which the clock on the wall shows this, or jumps over it.
    pub(super) fn instant_of(&self, time: DateTime) -> Option<Timestamp> {
        Some(timestamp(self.first_instant(time)?))
    }

    /// For calendars of some hours. A later time of the day never gives an earlier instant, so the search is by wall clock.
    fn next_by_date(&self, calendar: &Calendar, after: JiffTimestamp) -> Option<Timestamp> {
        let second = SignedDuration::from_secs(1);
        let mut from = self.zone.to_datetime(after).checked_add(second).ok()?;
        loop {
            let time = calendar.at_or_after(from)?;
            let at = self.first_instant(time)?;
            if at > after {
                return Some(timestamp(at));
            }
            // An hour that exists twice is in its second round.
            from = time.checked_add(second).ok()?;
        }
    }

    /// For calendars of every hour: between two changes of the clock, wall clock and time go side by side.
    fn next_in_time(&self, calendar: &Calendar, after: JiffTimestamp) -> Option<Timestamp> {
        let mut from = after.checked_add(SignedDuration::from_secs(1)).ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let time = calendar.at_or_after(offset.to_datetime(from))?;
            let at = offset.to_timestamp(time).ok()?;
            match self.zone.following(from).next().map(|change| change.timestamp()) {
                Some(change) if change <= at => from = change,
                _ => return Some(timestamp(at)),
            }
        }
    }

    fn first_instant(&self, time: DateTime) -> Option<JiffTimestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(time).ok()
            }
            AmbiguousOffset::Gap { before, .. } => {
                // As if the clock had not been changed: at or after the change.
                let late = before.to_timestamp(time).ok()?;
                let just_after = late.checked_add(SignedDuration::from_secs(1)).ok()?;
                self.zone.preceding(just_after).next().map(|change| change.timestamp())
            }
        }
    }
}

fn whole_second(at: Timestamp) -> Option<JiffTimestamp> {
    JiffTimestamp::from_second(at.as_micros().div_euclid(1_000_000)).ok()
}

fn timestamp(at: JiffTimestamp) -> Timestamp {
    Timestamp::from_micros(at.as_microsecond())
}
