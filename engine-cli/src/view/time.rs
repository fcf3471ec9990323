//! Instants and durations.

use std::time::Duration;

use engine_core::time::Timestamp;

/// The instant, UTC, as RFC 3339 with microseconds: for programs.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(instant) => format!("{instant:.6}"),
        // Beyond the calendar's years, as `Timestamp::MAX` is.
        Err(_) => format!("{}us", at.as_micros()),
    }
}

/// The instant, UTC, for people.
pub(crate) fn date_time(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(instant) => instant.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string(),
        Err(_) => "never".to_owned(),
    }
}

/// The time from `start` to `at`, for columns: `+0.012s`, `+1m02.500s`, `+2h03m04s`, `+14d03h`.
pub(crate) fn since(start: Timestamp, at: Timestamp) -> String {
    let micros = at.as_micros().saturating_sub(start.as_micros());
    let sign = if micros < 0 { '-' } else { '+' };
    let millis = micros.unsigned_abs() / 1000;
    let (seconds, minutes, hours, days) = (millis / 1000, millis / 60_000, millis / 3_600_000, millis / 86_400_000);
    let fraction = millis % 1000;
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{seconds}.{fraction:03}s"),
        (0, 0, _) => format!("{sign}{minutes}m{:02}.{fraction:03}s", seconds % 60),
        (0, _, _) => format!("{sign}{hours}h{:02}m{:02}s", minutes % 60, seconds % 60),
        _ => format!("{sign}{days}d{:02}h", hours % 24),
    }
}

/// A duration for people, to the millisecond: `30s`, `1m 2s`, `14days`.
pub(crate) fn words(duration: Duration) -> String {
    let rounded = match duration.as_secs() {
        0 => duration,
        1..60 => Duration::from_millis(u64::try_from(duration.as_millis()).expect("under a minute")),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(rounded).to_string()
}

/// How long ago `at` was, for people.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let age = now.since(at);
    if age < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", words(whole_seconds(age))) }
}

/// How long `at` is still to come, for people.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.since(now);
    if left < Duration::from_secs(1) { "due now".to_owned() } else { format!("in {}", words(whole_seconds(left))) }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// A duration for programs: seconds with as many decimals as it has, and an `s`: `10s`, `1.5s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match duration.subsec_nanos() {
        0 => format!("{whole}s"),
        nanos => format!("{whole}.{}s", format!("{nanos:09}").trim_end_matches('0')),
    }
}

/// Now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

    #[test]
    fn instants_for_programs_keep_every_microsecond() {
        assert_eq!(rfc3339(START), "2023-11-14T22:13:20.123456Z");
        assert_eq!(rfc3339(Timestamp::EPOCH), "1970-01-01T00:00:00.000000Z");
        assert_eq!(date_time(START), "2023-11-14 22:13:20.123Z");
        assert_eq!(date_time(Timestamp::MAX), "never");
    }

    #[test]
    fn offsets_grow_coarser_with_distance() {
        let after = |millis| since(START, START + Duration::from_millis(millis));
        assert_eq!(after(12), "+0.012s");
        assert_eq!(after(62_500), "+1m02.500s");
        assert_eq!(after(7_384_000), "+2h03m04s");
        assert_eq!(after(14 * 86_400_000 + 3 * 3_600_000), "+14d03h");
        assert_eq!(since(START + Duration::from_secs(1), START), "-1.000s");
    }

    #[test]
    fn durations_for_people_and_for_programs() {
        assert_eq!(words(Duration::from_secs(62)), "1m 2s");
        assert_eq!(words(Duration::from_nanos(1_500_000_001)), "1s 500ms");
        assert_eq!(words(Duration::from_secs(14 * 86_400)), "14days");
        assert_eq!(seconds(Duration::from_secs(10)), "10s");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5s");
        assert_eq!(seconds(Duration::from_nanos(1)), "0.000000001s");
        assert_eq!(ago(START, START + Duration::from_millis(200_700)), "3m 20s ago");
        assert_eq!(until(START, START), "due now");
    }
}
