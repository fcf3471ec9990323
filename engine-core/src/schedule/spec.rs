//! When a schedule starts workflows: what users write, and the same ready to be searched.

use std::time::Duration;

use super::calendar::{Calendar, CalendarSpec};
use super::cron::{self, Cron};
use super::zone::Zone;
use crate::ids::mix;
use crate::limits::{DURATION_MAX, SCHEDULE_EXCLUSIONS_MAX, SCHEDULE_TIMES_MAX};
use crate::time::Timestamp;

/// What is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSpec {
    /// The field's path in the specification, such as `crons[1].hour`.
    pub field: String,
    /// What is wrong with it; reads on from the field's name.
    pub problem: String,
}

impl InvalidSpec {
    pub(super) fn new(field: impl Into<String>, problem: String) -> Self {
        Self { field: field.into(), problem }
    }

    fn inside(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }
}

impl std::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for InvalidSpec {}

/// Every `every`, counted from the Unix epoch plus `offset`: so the times do not depend on when the schedule was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// At least a second.
    pub every: Duration,
    /// Less than `every`.
    pub offset: Duration,
}

/// The times of a schedule: those of all its calendars, cron expressions and intervals together, each once, without those that match
/// `excluded`. Times are in whole seconds, but for intervals that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// By fields.
    pub calendars: Vec<CalendarSpec>,
    /// By cron expressions; see [`crate::schedule`] for their fields.
    pub crons: Vec<String>,
    /// By distance.
    pub intervals: Vec<Interval>,
    /// Times that match one of these are left out.
    pub excluded: Vec<CalendarSpec>,
    /// No time before this.
    pub start_at: Option<Timestamp>,
    /// No time after this.
    pub end_at: Option<Timestamp>,
    /// Each time is put off by a part of this that is a function of the schedule's id and the time; never past the time that follows.
    pub jitter: Duration,
    /// Name in the IANA database, by which calendars and cron expressions are read. Empty: UTC.
    pub time_zone: String,
}

/// One time of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// What the specification says: the name of the time.
    pub nominal: Timestamp,
    /// With jitter: when it happens.
    pub at: Timestamp,
}

/// A [`ScheduleSpec`], checked and ready to search.
#[derive(Debug, Clone)]
pub struct Timetable {
    calendars: Vec<Calendar>,
    intervals: Vec<Interval>,
    excluded: Vec<Calendar>,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    jitter: Duration,
    zone: Zone,
    seed: u64,
}

const MICROSECOND: Duration = Duration::from_micros(1);

impl Timetable {
    /// Checks `spec`. `id` is the schedule's, from which its jitter is drawn.
    pub fn compile(spec: &ScheduleSpec, id: &str) -> Result<Timetable, InvalidSpec> {
        let sources = spec.calendars.len() + spec.crons.len() + spec.intervals.len() + spec.excluded.len();
        if sources > SCHEDULE_TIMES_MAX {
            let problem = format!(
                "has {sources} calendars, cron expressions and intervals; the limit is {SCHEDULE_TIMES_MAX}: make several schedules"
            );
            return Err(InvalidSpec::new("", problem));
        }
        let compile_all = |name: &str, specs: &[CalendarSpec]| {
            let each = specs.iter().enumerate();
            each.map(|(index, spec)| Calendar::compile(spec).map_err(|error| error.inside(&format!("{name}[{index}]"))))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut calendars = compile_all("calendars", &spec.calendars)?;
        let mut intervals = Vec::new();
        for (index, interval) in spec.intervals.iter().enumerate() {
            check_interval(*interval).map_err(|error| error.inside(&format!("intervals[{index}]")))?;
            intervals.push(*interval);
        }
        for (index, text) in spec.crons.iter().enumerate() {
            let mut add = || {
                match cron::parse(text)? {
                    Cron::Calendars(specs) => {
                        for spec in &specs {
                            calendars.push(Calendar::compile(spec)?);
                        }
                    }
                    Cron::Interval(interval) => {
                        check_interval(interval)?;
                        intervals.push(interval);
                    }
                }
                Ok(())
            };
            add().map_err(|error: InvalidSpec| error.inside(&format!("crons[{index}]")))?;
        }
        if spec.jitter > DURATION_MAX {
            return Err(InvalidSpec::new("jitter", "is more than 100 years".to_owned()));
        }
        if let (Some(start), Some(end)) = (spec.start_at, spec.end_at)
            && start > end
        {
            return Err(InvalidSpec::new("end_at", "is before start_at".to_owned()));
        }
        let seed = id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Ok(Timetable {
            calendars,
            intervals,
            excluded: compile_all("excluded", &spec.excluded)?,
            start_at: spec.start_at,
            end_at: spec.end_at,
            jitter: spec.jitter,
            zone: Zone::named(&spec.time_zone)?,
            seed: mix(seed),
        })
    }

    /// The first time whose name is after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Due> {
        let nominal = self.next_nominal(after)?;
        Some(Due { nominal, at: self.jittered(nominal) })
    }

    /// The next times that happen after `after`, at most `limit`.
    pub fn next_times(&self, after: Timestamp, limit: usize) -> Vec<Due> {
        // A time before it may have been put off until after it.
        let mut dues = std::iter::successors(self.next(after - self.jitter), |due| self.next(due.nominal));
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(due) = dues.next()
        {
            if due.at > after {
                found.push(due);
            }
        }
        found
    }

    /// The times named after `after` that have happened by `now` and are not older than `window`, at most `limit`.
    pub fn missed(&self, after: Timestamp, now: Timestamp, window: Duration, limit: usize) -> Vec<Due> {
        let oldest = now - window;
        let first = self.next(after.max(oldest - self.jitter - MICROSECOND));
        std::iter::successors(first, |due| self.next(due.nominal))
            .take_while(|due| due.at <= now)
            .filter(|due| due.at >= oldest)
            .take(limit)
            .collect()
    }

    /// How far a time may be put off.
    pub fn jitter(&self) -> Duration {
        self.jitter
    }

    fn next_nominal(&self, after: Timestamp) -> Option<Timestamp> {
        let mut after = match self.start_at {
            Some(start) => after.max(start - MICROSECOND),
            None => after,
        };
        for _ in 0..SCHEDULE_EXCLUSIONS_MAX {
            let by_calendar = self.calendars.iter().filter_map(|calendar| self.zone.next_after(calendar, after));
            let by_interval = self.intervals.iter().filter_map(|interval| next_of_interval(*interval, after));
            let candidate = by_calendar.chain(by_interval).min()?;
            if self.end_at.is_some_and(|end| candidate > end) {
                return None;
            }
            match self.excluded_until(candidate) {
                None => return Some(candidate),
                Some(later) => after = later - MICROSECOND,
            }
        }
        None
    }

    /// An instant after `at` before which everything is excluded, if `at` is.
    fn excluded_until(&self, at: Timestamp) -> Option<Timestamp> {
        let time = self.zone.wall_clock(at)?;
        let calendar = self.excluded.iter().find(|calendar| calendar.matches(time))?;
        let until = calendar.matches_until(time).and_then(|time| self.zone.instant_of(time));
        // In an hour that exists twice, its first round may end later than `at` shows.
        Some(until.unwrap_or(Timestamp::MAX).max(at + MICROSECOND))
    }

    fn jittered(&self, nominal: Timestamp) -> Timestamp {
        if self.jitter.is_zero() {
            return nominal;
        }
        let room = self.next_nominal(nominal).map_or(self.jitter, |next| next.since(nominal).min(self.jitter));
        let room = u64::try_from(room.as_micros()).unwrap_or(u64::MAX).max(1);
        nominal + Duration::from_micros(mix(self.seed ^ nominal.as_micros().cast_unsigned()) % room)
    }
}

fn check_interval(interval: Interval) -> Result<(), InvalidSpec> {
    let Interval { every, offset } = interval;
    if every < Duration::from_secs(1) {
        return Err(InvalidSpec::new("every", format!("is {every:?}; intervals are at least a second")));
    }
    if every > DURATION_MAX {
        return Err(InvalidSpec::new("every", "is more than 100 years".to_owned()));
    }
    if offset >= every {
        return Err(InvalidSpec::new(
            "offset",
            format!("is {offset:?}, which is not less than the interval of {every:?}"),
        ));
    }
    Ok(())
}

fn next_of_interval(interval: Interval, after: Timestamp) -> Option<Timestamp> {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).expect("checked against 100 years");
    let (every, offset) = (micros(interval.every), micros(interval.offset));
    let past = after.as_micros().checked_sub(offset)?;
    let next = past.div_euclid(every).checked_add(1)?.checked_mul(every)?.checked_add(offset)?;
    Some(Timestamp::from_micros(next))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
