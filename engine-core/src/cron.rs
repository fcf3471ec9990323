//! Cron of a workflow: when a run closes, the next run of its chain begins at the next of the named times.
//!
//! A cron is the small sister of a schedule ([`crate::schedule`]): no row of its own, no overlap, no backfill. The run that closes makes
//! the one that follows, so there is never more than one, and each knows what the one before returned.

use crate::schedule::{InvalidSpec, ScheduleSpec, Timetable};
use crate::time::Timestamp;

/// The times at which runs of a chain begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// An expression with 5, 6 or 7 fields, or a word such as `@daily`, as in a schedule's specification.
    pub expression: String,
    /// Name in the IANA database, by which the expression is read. Empty: UTC.
    pub time_zone: String,
}

impl Cron {
    /// Its first time after `after`; `None` if there is none, or if the expression cannot be read.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        Some(self.timetable().ok()?.next(after)?.nominal)
    }

    /// Checks that the expression and the time zone can be read. The field of the error is the one of the cron.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.timetable().map(drop).map_err(|mut error| {
            error.field = error.field.replace("crons[0]", "expression");
            error
        })
    }

    fn timetable(&self) -> Result<Timetable, InvalidSpec> {
        let spec = ScheduleSpec {
            crons: vec![self.expression.clone()],
            time_zone: self.time_zone.clone(),
            ..ScheduleSpec::default()
        };
        Timetable::compile(&spec, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str, time_zone: &str) -> Cron {
        Cron { expression: expression.to_owned(), time_zone: time_zone.to_owned() }
    }

    fn instant(text: &str) -> Timestamp {
        let parsed: jiff::Timestamp = text.parse().expect("it is an instant");
        Timestamp::from_micros(parsed.as_microsecond())
    }

    #[test]
    fn the_next_time_is_read_in_its_time_zone() {
        let nightly = cron("30 2 * * *", "Europe/Berlin");
        let next = nightly.next_after(instant("2026-11-22T12:00:00Z"));
        assert_eq!(next, Some(instant("2026-11-23T01:30:00Z")));
        assert_eq!(
            nightly.next_after(next.expect("there is one")),
            Some(instant("2026-11-24T01:30:00Z")),
            "after, not at"
        );
        assert_eq!(cron("0 0 0 1 1 * 2000", "").next_after(instant("2026-11-22T12:00:00Z")), None);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_field() {
        let wrong = |cron: Cron| cron.check().expect_err("it is wrong").to_string();
        assert_eq!(wrong(cron("61 * * * *", "")), "expression.minute: has 61-61; its values go from 0 to 59");
        assert!(wrong(cron("* * * * *", "Mars/Base")).starts_with("time_zone: "));
        cron("@hourly", "").check().expect("it is right");
    }
}
