//! Cron expressions, read into calendars.
//!
//! | fields | meaning |
//! |---|---|
//! | 5 | minute, hour, day of month, month, day of week |
//! | 6 | second before them |
//! | 7 | second before them, year after them |
//!
//! Each field is `*` or a list of `value`, `from-to`, `*/step`, `from-to/step`, `from/step` (to the last value). Months and
//! days of the week have names of three letters; Sunday is 0 and 7. `?` is `*`. `@yearly`, `@monthly`, `@weekly`, `@daily`, `@hourly`
//! and `@every 90s` are short for others. If both days are restricted, a time matches if one of them does, as everywhere.
//!
//! Written here rather than taken from a crate: the rule about changes of the clock is ours (see `zone`), one search serves calendars and
//! cron, and a wrong field is told by its name.

use std::time::Duration;

use super::calendar::{CalendarSpec, DAY_OF_MONTH, DAY_OF_WEEK, FieldRule, HOUR, MINUTE, MONTH, Range, SECOND, YEAR};
use super::spec::{Interval, InvalidSpec};
use crate::limits::ID_LENGTH_MAX;

/// What an expression means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cron {
    /// Times that match one of these.
    Calendars(Vec<CalendarSpec>),
    /// `@every`.
    Interval(Interval),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

pub(super) fn parse(text: &str) -> Result<Cron, InvalidSpec> {
    let wrong = |problem: String| InvalidSpec::new("", problem);
    if text.len() > ID_LENGTH_MAX {
        return Err(wrong(format!("is {} bytes long; the limit is {ID_LENGTH_MAX} bytes", text.len())));
    }
    let text = text.trim();
    if let Some(interval) = text.strip_prefix("@every") {
        return every(interval.trim()).map(Cron::Interval);
    }
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => {
            let problem = format!(
                "has the unknown word {other:?}; there are @yearly, @monthly, @weekly, @daily, @hourly and @every 90s"
            );
            return Err(wrong(problem));
        }
        other => other,
    };
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let (second, rest, year) = match fields.as_slice() {
        rest @ [_, _, _, _, _] => ("0", rest, "*"),
        [second, rest @ ..] if rest.len() == 5 => (*second, rest, "*"),
        [second, rest @ .., year] if rest.len() == 5 => (*second, rest, *year),
        fields => {
            let problem = format!(
                "has {} fields; it takes 5 (minute hour day-of-month month day-of-week), 6 with the second before them, \
                 or 7 with the year after them",
                fields.len()
            );
            return Err(wrong(problem));
        }
    };
    let both = CalendarSpec {
        second: field(SECOND, second)?,
        minute: field(MINUTE, rest[0])?,
        hour: field(HOUR, rest[1])?,
        day_of_month: field(DAY_OF_MONTH, rest[2])?,
        month: field(MONTH, rest[3])?,
        day_of_week: field(DAY_OF_WEEK, rest[4])?,
        year: field(YEAR, year)?,
        comment: String::new(),
    };
    // The rule of cron from the start: a field that begins with a star does not restrict.
    let is_free = |text: &str| text.starts_with(['*', '?']);
    if is_free(rest[2]) || is_free(rest[4]) {
        return Ok(Cron::Calendars(vec![both]));
    }
    let by_day = CalendarSpec { day_of_week: Vec::new(), ..both.clone() };
    let by_weekday = CalendarSpec { day_of_month: Vec::new(), ..both };
    Ok(Cron::Calendars(vec![by_day, by_weekday]))
}

/// Reads a calendar as people write it on a line: fields by name, in any order, with the values of cron expressions, as in
/// `hour=9-17 minute=0,30 day-of-week=mon-fri`. Fields that are not named are empty, which means 0 for the time of day and any for the
/// date.
pub fn parse_calendar(text: &str) -> Result<CalendarSpec, InvalidSpec> {
    if text.len() > ID_LENGTH_MAX {
        let problem = format!("is {} bytes long; the limit is {ID_LENGTH_MAX} bytes", text.len());
        return Err(InvalidSpec::new("calendar", problem));
    }
    let mut calendar = CalendarSpec::default();
    for word in text.split_ascii_whitespace() {
        let wrong = |problem: String| InvalidSpec::new("calendar", problem);
        let (name, values) = word
            .split_once('=')
            .ok_or_else(|| wrong(format!("has {word:?}, which is not of the form FIELD=VALUES, such as hour=9-17")))?;
        let (rule, ranges) = match name.replace('-', "_").as_str() {
            "second" => (SECOND, &mut calendar.second),
            "minute" => (MINUTE, &mut calendar.minute),
            "hour" => (HOUR, &mut calendar.hour),
            "day_of_month" => (DAY_OF_MONTH, &mut calendar.day_of_month),
            "month" => (MONTH, &mut calendar.month),
            "day_of_week" => (DAY_OF_WEEK, &mut calendar.day_of_week),
            "year" => (YEAR, &mut calendar.year),
            _ => {
                let problem = format!(
                    "has the unknown field {name:?}; there are second, minute, hour, day-of-month, month, day-of-week and year"
                );
                return Err(wrong(problem));
            }
        };
        if !ranges.is_empty() {
            return Err(wrong(format!("names {name} twice; write several values as in {name}=1,2")));
        }
        *ranges = field(rule, values)?;
    }
    if calendar == CalendarSpec::default() {
        return Err(InvalidSpec::new("calendar", "names no field; midnight of each day is hour=0".to_owned()));
    }
    Ok(calendar)
}

fn field(rule: FieldRule, text: &str) -> Result<Vec<Range>, InvalidSpec> {
    text.split(',').map(|part| range(rule, part)).collect()
}

fn range(rule: FieldRule, part: &str) -> Result<Range, InvalidSpec> {
    let wrong = |problem: String| InvalidSpec::new(rule.name, problem);
    let (values, step) = match part.split_once('/') {
        Some((values, step)) => {
            let step = step.parse().map_err(|_| wrong(format!("has the step {step:?}, which is not a number")))?;
            (values, Some(step))
        }
        None => (part, None),
    };
    let (start, end) = match values.split_once('-') {
        _ if values == "*" || values == "?" => (rule.first, rule.last),
        Some((start, end)) => (value(rule, start)?, value(rule, end)?),
        None => {
            let start = value(rule, values)?;
            (start, if step.is_some() { rule.last } else { start })
        }
    };
    // Saturday to Sunday is no contradiction.
    let end = if rule.name == DAY_OF_WEEK.name && end == 0 && start > 0 { 7 } else { end };
    Ok(Range { start, end, step: step.unwrap_or(1) })
}

fn value(rule: FieldRule, text: &str) -> Result<u32, InvalidSpec> {
    let named = |names: &[&str], first: u32| {
        let index = names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
        Some(u32::try_from(index).expect("there are few") + first)
    };
    let name = match rule.name {
        "month" => named(&MONTHS, 1),
        "day_of_week" => named(&DAYS, 0),
        _ => None,
    };
    name.or_else(|| text.parse().ok()).ok_or_else(|| {
        let mut problem = format!("has {text:?}, which is not a number");
        if rule.name == "month" || rule.name == "day_of_week" {
            problem.push_str(" and no name of three letters");
        }
        InvalidSpec::new(rule.name, problem)
    })
}

/// `90s`, `1h30m`, `2d/1h`: an interval, and the phase after a slash.
fn every(text: &str) -> Result<Interval, InvalidSpec> {
    let (every, offset) = match text.split_once('/') {
        Some((every, offset)) => (every, duration(offset)?),
        None => (text, Duration::ZERO),
    };
    Ok(Interval { every: duration(every)?, offset })
}

fn duration(text: &str) -> Result<Duration, InvalidSpec> {
    let wrong = || {
        InvalidSpec::new("", format!("has {text:?} after @every, which is not a duration such as 90s, 5m, 1h30m or 2d"))
    };
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return Err(wrong()),
        };
        let part = Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::calendar::ranges_text;

    /// `second|minute|hour|day|month|weekday|year` of each calendar.
    fn read(text: &str) -> String {
        match parse(text) {
            Ok(Cron::Calendars(calendars)) => {
                let texts = calendars.iter().map(|c| {
                    let fields = [&c.second, &c.minute, &c.hour, &c.day_of_month, &c.month, &c.day_of_week, &c.year];
                    fields.map(|ranges| ranges_text(ranges)).join("|")
                });
                texts.collect::<Vec<_>>().join(" or ")
            }
            Ok(Cron::Interval(interval)) => {
                format!("every {}s from {}s", interval.every.as_secs(), interval.offset.as_secs())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn expressions_of_five_six_and_seven_fields_are_read() {
        let cases = [
            ("30 9 * * 1-5", "0|30|9|1-31|1-12|1-5|1970-2199"),
            ("*/10 30 9 * * MON-fri", "0-59/10|30|9|1-31|1-12|1-5|1970-2199"),
            ("0 0 12 1 1 ? 2030", "0|0|12|1|1|0-7|2030"),
            ("5/20 0 1,15 * *", "0|5-59/20|0|1,15|1-12|0-7|1970-2199"),
            ("0 0 * jan,JUL sat-sun", "0|0|0|1-31|1,7|6-7|1970-2199"),
            ("0 0 1 * mon", "0|0|0|1|1-12||1970-2199 or 0|0|0||1-12|1|1970-2199"),
            ("@hourly", "0|0|0-23|1-31|1-12|0-7|1970-2199"),
            ("@every 90s", "every 90s from 0s"),
            ("@every 1h30m/5m", "every 5400s from 300s"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_the_field() {
        let cases = [
            ("* * *", "has 3 fields; it takes 5"),
            ("x * * * *", "minute: has \"x\", which is not a number"),
            ("* * * foo *", "month: has \"foo\", which is not a number and no name of three letters"),
            ("*/x * * * *", "minute: has the step \"x\""),
            ("@sometimes", "has the unknown word \"@sometimes\""),
            ("@every", "which is not a duration"),
            ("@every 5x", "which is not a duration"),
            ("@every 99999999999999999999s", "which is not a duration"),
        ];
        for (text, expected) in cases {
            assert!(read(text).contains(expected), "{text}: {}", read(text));
        }
    }

    #[test]
    fn a_calendar_on_a_line_names_its_fields_in_any_order() {
        let read = |text| parse_calendar(text).expect("it is a calendar");
        let written = read("day-of-week=mon-fri hour=9-17/2 minute=0,30");
        assert_eq!(written.day_of_week, [Range::of(1, 5)]);
        assert_eq!(written.hour, [Range { start: 9, end: 17, step: 2 }]);
        assert_eq!(written.minute, [Range::one(0), Range::one(30)]);
        assert!(written.second.is_empty() && written.month.is_empty() && written.year.is_empty());
        assert_eq!(read("month=dec year=2026").month, [Range::one(12)]);
    }

    #[test]
    fn a_calendar_on_a_line_that_cannot_be_read_says_which_field() {
        for (text, expected) in [
            ("", "names no field"),
            ("hour", "which is not of the form FIELD=VALUES"),
            ("our=9", "has the unknown field \"our\""),
            ("hour=9 hour=10", "names hour twice"),
            ("hour=nine", "hour: has \"nine\", which is not a number"),
        ] {
            let wrong = parse_calendar(text).expect_err("it is no calendar").to_string();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }
}
