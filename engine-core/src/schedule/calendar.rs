//! Calendars: the wall-clock times that match a set of values for each field.
//!
//! A [`CalendarSpec`] is what users write; a `Calendar` is the same as bit sets, in which the next matching time is found field by
//! field, whatever the distance.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime, Time};

use super::spec::InvalidSpec;
use crate::limits::CALENDAR_RANGES_MAX;

/// The years that calendars know. Long enough for every purpose, short enough to be searched.
pub(super) const YEARS: std::ops::RangeInclusive<u32> = 1970..=2199;

/// Values of one field: from `start` to `end`, each `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// First value.
    pub start: u32,
    /// Last value, not below `start`.
    pub end: u32,
    /// Distance of the values, from 1.
    pub step: u32,
}

impl Range {
    /// One value.
    pub const fn one(value: u32) -> Self {
        Self { start: value, end: value, step: 1 }
    }

    /// All values from `start` to `end`.
    pub const fn of(start: u32, end: u32) -> Self {
        Self { start, end, step: 1 }
    }

    fn contains(self, value: u32) -> bool {
        (self.start..=self.end).contains(&value) && (value - self.start).is_multiple_of(self.step)
    }
}

/// Wall-clock times: those at which every field matches. An empty field of the time of day is 0, an empty field of the date is every
/// value. So the empty calendar is midnight of each day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalendarSpec {
    /// 0 to 59.
    pub second: Vec<Range>,
    /// 0 to 59.
    pub minute: Vec<Range>,
    /// 0 to 23.
    pub hour: Vec<Range>,
    /// 1 to 31. Months that do not have the day are skipped.
    pub day_of_month: Vec<Range>,
    /// 1 to 12.
    pub month: Vec<Range>,
    /// 0 (Sunday) to 6, and 7 for Sunday too.
    pub day_of_week: Vec<Range>,
    /// 1970 to 2199.
    pub year: Vec<Range>,
    /// For people.
    pub comment: String,
}

/// Which values a field may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldRule {
    pub(super) name: &'static str,
    pub(super) first: u32,
    pub(super) last: u32,
}

pub(super) const SECOND: FieldRule = FieldRule { name: "second", first: 0, last: 59 };
pub(super) const MINUTE: FieldRule = FieldRule { name: "minute", first: 0, last: 59 };
pub(super) const HOUR: FieldRule = FieldRule { name: "hour", first: 0, last: 23 };
pub(super) const DAY_OF_MONTH: FieldRule = FieldRule { name: "day_of_month", first: 1, last: 31 };
pub(super) const MONTH: FieldRule = FieldRule { name: "month", first: 1, last: 12 };
pub(super) const DAY_OF_WEEK: FieldRule = FieldRule { name: "day_of_week", first: 0, last: 7 };
pub(super) const YEAR: FieldRule = FieldRule { name: "year", first: *YEARS.start(), last: *YEARS.end() };

impl FieldRule {
    /// The range of all its values.
    pub(super) fn all(self) -> Range {
        Range::of(self.first, self.last)
    }

    fn check(self, ranges: &[Range]) -> Result<(), InvalidSpec> {
        let wrong = |problem: String| Err(InvalidSpec::new(self.name, problem));
        if ranges.len() > CALENDAR_RANGES_MAX {
            return wrong(format!("has {} ranges; the limit is {CALENDAR_RANGES_MAX}", ranges.len()));
        }
        for range in ranges {
            let Range { start, end, step } = *range;
            if start < self.first || end > self.last {
                return wrong(format!("has {start}-{end}; its values go from {} to {}", self.first, self.last));
            }
            if start > end {
                return wrong(format!("has {start}-{end}, which ends before it begins"));
            }
            if step == 0 {
                return wrong(format!("has {start}-{end}/0; steps are at least 1"));
            }
        }
        Ok(())
    }

    fn set(self, ranges: &[Range], empty: Range) -> Result<Set, InvalidSpec> {
        self.check(ranges)?;
        let ranges = if ranges.is_empty() { std::slice::from_ref(&empty) } else { ranges };
        Ok(Set::of((self.first..=self.last).filter(|value| ranges.iter().any(|range| range.contains(*value)))))
    }
}

/// Small numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn of(values: impl Iterator<Item = u32>) -> Self {
        Self(values.fold(0, |set, value| set | (1 << value)))
    }

    fn at_or_after(self, value: u32) -> Option<u32> {
        let rest = self.0.checked_shr(value).unwrap_or(0);
        (rest != 0).then(|| rest.trailing_zeros() + value)
    }

    fn first(self) -> u32 {
        self.0.trailing_zeros()
    }

    fn has(self, value: u32) -> bool {
        self.at_or_after(value) == Some(value)
    }
}

/// A [`CalendarSpec`], checked and ready to search.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    seconds: Set,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    years: Vec<Range>,
}

impl Calendar {
    pub(super) fn compile(spec: &CalendarSpec) -> Result<Calendar, InvalidSpec> {
        YEAR.check(&spec.year)?;
        let mut weekdays = DAY_OF_WEEK.set(&spec.day_of_week, DAY_OF_WEEK.all())?;
        if weekdays.has(7) {
            weekdays = Set((weekdays.0 | 1) & 0x7f);
        }
        let calendar = Calendar {
            seconds: SECOND.set(&spec.second, Range::one(0))?,
            minutes: MINUTE.set(&spec.minute, Range::one(0))?,
            hours: HOUR.set(&spec.hour, Range::one(0))?,
            days: DAY_OF_MONTH.set(&spec.day_of_month, DAY_OF_MONTH.all())?,
            months: MONTH.set(&spec.month, MONTH.all())?,
            weekdays,
            years: if spec.year.is_empty() { vec![YEAR.all()] } else { spec.year.clone() },
        };
        let first = Date::new(*YEARS.start() as i16, 1, 1).expect("a valid date");
        if calendar.date_at_or_after(first).is_none() {
            return Err(InvalidSpec::new("", "matches no date that exists".to_owned()));
        }
        Ok(calendar)
    }

    /// Whether it names each hour of the day: such a calendar goes on through changes of the clock.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours == Set::of(0..24)
    }

    pub(super) fn matches(&self, at: DateTime) -> bool {
        self.at_or_after(at) == Some(at)
    }

    /// The first matching time that is not before `from`, which is in whole seconds.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        if self.has_date(from.date())
            && let Some(time) = self.time_at_or_after(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let date = self.date_at_or_after(from.date().tomorrow().ok()?)?;
        Some(date.to_datetime(time_of(self.hours.first(), self.minutes.first(), self.seconds.first())))
    }

    /// A time after `at`, which matches, before which every time matches too.
    pub(super) fn matches_until(&self, at: DateTime) -> Option<DateTime> {
        let full = Set::of(0..60);
        if self.seconds != full {
            return at.checked_add(jiff::SignedDuration::from_secs(1)).ok();
        }
        if self.minutes != full {
            let minute = at.date().to_datetime(time_of(number(at.hour()), number(at.minute()), 0));
            return minute.checked_add(jiff::SignedDuration::from_mins(1)).ok();
        }
        if !self.is_every_hour() {
            let hour = at.date().to_datetime(time_of(number(at.hour()), 0, 0));
            return hour.checked_add(jiff::SignedDuration::from_hours(1)).ok();
        }
        Some(at.date().tomorrow().ok()?.to_datetime(Time::midnight()))
    }

    fn has_date(&self, date: Date) -> bool {
        let year = u32::try_from(date.year()).unwrap_or(0);
        self.years.iter().any(|range| range.contains(year))
            && self.months.has(number(date.month()))
            && self.days.has(number(date.day()))
            && self.weekdays.has(number(date.weekday().to_sunday_zero_offset()))
    }

    fn date_at_or_after(&self, from: Date) -> Option<Date> {
        let from_year = u32::try_from(from.year()).unwrap_or(0);
        let years = from_year.max(*YEARS.start())..=*YEARS.end();
        for year in years.filter(|year| self.years.iter().any(|range| range.contains(*year))) {
            let start = if year == from_year { number(from.month()) } else { 1 };
            let mut months = self.months.at_or_after(start);
            while let Some(month) = months {
                let start = if (year, month) == (from_year, number(from.month())) { number(from.day()) } else { 1 };
                let mut days = self.days.at_or_after(start);
                // A day that the month does not have ends it.
                while let Some(date) = days.and_then(|day| Date::new(year as i16, month as i8, day as i8).ok()) {
                    if self.weekdays.has(number(date.weekday().to_sunday_zero_offset())) {
                        return Some(date);
                    }
                    days = self.days.at_or_after(number(date.day()) + 1);
                }
                months = self.months.at_or_after(month + 1);
            }
        }
        None
    }

    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (number(from.hour()), number(from.minute()), number(from.second()));
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.at_or_after(second)
            {
                return Some(time_of(hour, minute, second));
            }
            if let Some(minute) = self.minutes.at_or_after(minute + 1) {
                return Some(time_of(hour, minute, self.seconds.first()));
            }
        }
        let hour = self.hours.at_or_after(hour + 1)?;
        Some(time_of(hour, self.minutes.first(), self.seconds.first()))
    }
}

fn number(field: i8) -> u32 {
    u32::try_from(field).expect("fields of dates and times are not negative")
}

fn time_of(hour: u32, minute: u32, second: u32) -> Time {
    Time::new(hour as i8, minute as i8, second as i8, 0).expect("the sets hold valid values only")
}

/// Ranges as people write them: `1-5,10-30/5`.
pub fn ranges_text(ranges: &[Range]) -> String {
    let mut text = String::new();
    for Range { start, end, step } in ranges {
        if !text.is_empty() {
            text.push(',');
        }
        let written = match (start == end, *step) {
            (true, _) => write!(text, "{start}"),
            (false, 1) => write!(text, "{start}-{end}"),
            (false, step) => write!(text, "{start}-{end}/{step}"),
        };
        written.expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(spec: &CalendarSpec, from: &str) -> String {
        let from: DateTime = from.parse().unwrap();
        let calendar = Calendar::compile(spec).unwrap();
        calendar.at_or_after(from).map_or("never".to_owned(), |at| at.to_string())
    }

    #[test]
    fn the_next_time_is_found_field_by_field() {
        let one = |value| vec![Range::one(value)];
        let noon = CalendarSpec { hour: one(12), ..Default::default() };
        let leap_day = CalendarSpec { month: one(2), day_of_month: one(29), ..Default::default() };
        let friday_13 = CalendarSpec { day_of_month: one(13), day_of_week: one(5), ..Default::default() };
        let last_second = CalendarSpec { second: one(59), minute: one(59), hour: one(23), ..Default::default() };
        let in_2100 = CalendarSpec { year: one(2100), ..Default::default() };
        let quarters = CalendarSpec {
            minute: vec![Range { start: 0, end: 59, step: 15 }],
            hour: vec![Range::of(9, 17)],
            ..Default::default()
        };
        let cases = [
            (&noon, "2026-11-22T11:59:59", "2026-11-22T12:00:00"),
            (&noon, "2026-11-22T12:00:00", "2026-11-22T12:00:00"),
            (&noon, "2026-11-22T12:00:01", "2026-11-23T12:00:00"),
            (&leap_day, "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
            (&leap_day, "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
            (&friday_13, "2026-11-22T00:00:00", "2027-08-13T00:00:00"),
            (&last_second, "2026-12-31T23:59:59", "2026-12-31T23:59:59"),
            (&in_2100, "2026-12-31T23:59:59", "2100-01-01T00:00:00"),
            (&in_2100, "2101-01-01T00:00:00", "never"),
            (&quarters, "2026-11-22T17:45:01", "2026-11-23T09:00:00"),
            (&quarters, "2026-11-22T09:15:01", "2026-11-22T09:30:00"),
        ];
        for (spec, from, expected) in cases {
            assert_eq!(next(spec, from), expected, "{spec:?} from {from}");
        }
    }

    #[test]
    fn a_field_out_of_its_values_is_named() {
        let refused = |spec: CalendarSpec| Calendar::compile(&spec).unwrap_err().to_string();
        let error = refused(CalendarSpec { hour: vec![Range::one(24)], ..Default::default() });
        assert_eq!(error, "hour: has 24-24; its values go from 0 to 23");
        let error = refused(CalendarSpec { minute: vec![Range::of(5, 3)], ..Default::default() });
        assert_eq!(error, "minute: has 5-3, which ends before it begins");
        let error = refused(CalendarSpec { second: vec![Range { start: 0, end: 5, step: 0 }], ..Default::default() });
        assert_eq!(error, "second: has 0-5/0; steps are at least 1");
        let february_30 =
            CalendarSpec { month: vec![Range::one(2)], day_of_month: vec![Range::one(30)], ..Default::default() };
        assert_eq!(refused(february_30), "matches no date that exists");
    }

    #[test]
    fn sunday_is_0_and_7() {
        for sunday in [0, 7] {
            let spec = CalendarSpec { day_of_week: vec![Range::one(sunday)], ..Default::default() };
            assert_eq!(next(&spec, "2026-11-23T00:00:00"), "2026-11-29T00:00:00");
        }
    }
}
