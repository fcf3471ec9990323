//! Instants as people write them: `2026-11-22`, `2026-11-22T09:30:00Z`, `2026-11-22 09:30:00.25+02:00`.

use crate::time::Timestamp;

/// The instant, or nothing if the text is none. Without a zone it is UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let days = days(date)?;
    let seconds_of_day = match rest {
        None => 0,
        Some(rest) => time_of_day(rest)?,
    };
    days.checked_mul(86_400_000_000)?.checked_add(seconds_of_day).map(Timestamp::from_micros)
}

/// Days from 1970-01-01.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Years that begin in March, in eras of 400 years.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Microseconds from midnight UTC.
fn time_of_day(text: &str) -> Option<i64> {
    let (clock, offset) = match text.find(['Z', 'z', '+', '-']) {
        None => (text, 0),
        Some(at) if matches!(&text[at..], "Z" | "z") => (&text[..at], 0),
        Some(at) => {
            let (hours, minutes) = text[at + 1..].split_once(':')?;
            let minutes = two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?;
            (&text[..at], if text[at..].starts_with('-') { -minutes } else { minutes })
        }
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (two_digits(parts.next()?, 23)?, two_digits(parts.next()?, 59)?);
    let second = parts.next().map_or(Some(0), |second| two_digits(second, 59))?;
    if parts.next().is_some()
        || fraction.is_empty()
        || fraction.len() > 9
        || !fraction.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let micros = number(&format!("{fraction:0<9}"))? / 1000;
    Some(((hour * 60 + minute - offset) * 60 + second) * 1_000_000 + micros)
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    number(text).filter(|value| text.len() == 2 && *value <= max)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        let seconds = |text: &str| parse(text).map(|at| at.as_micros() as f64 / 1e6);
        assert_eq!(seconds("1970-01-01"), Some(0.0));
        assert_eq!(seconds("2026-11-22"), Some(1_795_305_600.0));
        assert_eq!(seconds("2024-02-29T12:00:00Z"), Some(1_709_208_000.0));
        assert_eq!(seconds("2026-11-22T02:00:00+02:00"), Some(1_795_305_600.0));
        assert_eq!(seconds("2026-11-21 19:30-04:30"), Some(1_795_305_600.0));
        assert_eq!(seconds("2026-11-22T00:00:00.25Z"), Some(1_795_305_600.25));
        assert_eq!(seconds("1969-12-31T23:59:59Z"), Some(-1.0));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "2026-11-22T25:00",
            "2026-11-22T",
            "2026-11-22T10",
            "2026-11-22T10:00:00.",
            "2026-11-22T10:00:00+2",
            "2026-11-22-01",
            "２026-11-22",
            "2026-11-22T10:00:00.1234567890Z",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
