//! Tests of times: changes of the clock, intervals, exclusions, jitter, and what holds for every specification.

use proptest::prelude::*;

use super::*;
use crate::schedule::calendar::Range;

fn at(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn text(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap().to_string()
}

fn cron(expression: &str, time_zone: &str) -> ScheduleSpec {
    ScheduleSpec { crons: vec![expression.to_owned()], time_zone: time_zone.to_owned(), ..Default::default() }
}

fn times(spec: &ScheduleSpec, after: &str, limit: usize) -> Vec<String> {
    let timetable = Timetable::compile(spec, "nightly").unwrap();
    timetable.next_times(at(after), limit).into_iter().map(|due| text(due.at)).collect()
}

#[test]
fn changes_of_the_clock_lose_and_double_no_day() {
    // In Berlin, 2026-03-29 02:00 became 03:00 (at 01:00 UTC), and 2026-10-25 03:00 becomes 02:00 (at 01:00 UTC).
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        // A time that does not exist moves to the first instant after the gap.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
        // Two that do not exist are one, together with the one that they move to.
        ("0,30 2,3 29 3 *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]),
        // A time that exists twice fires the first time only.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
        // Also when the question comes in its second round.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]),
        // Every hour goes on through the gap, and through both rounds.
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
        ),
        // A gap of half an hour, in the other half of the world.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
        ),
        // A day that does not exist: Samoa left out 2011-12-30.
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]),
    ];
    for (expression, zone, after, expected) in cases {
        assert_eq!(
            times(&cron(expression, zone), after, expected.len()),
            expected,
            "{expression} in {zone} after {after}"
        );
    }
}

#[test]
fn seconds_intervals_and_exclusions_are_one_list_without_repeats() {
    let spec = ScheduleSpec {
        crons: vec!["*/20 0 * * * *".into()],
        intervals: vec![Interval { every: Duration::from_secs(30), offset: Duration::from_secs(10) }],
        excluded: vec![CalendarSpec { second: vec![Range::one(40)], ..every_minute() }],
        ..Default::default()
    };
    let expected = [
        "2026-11-22T08:00:00Z",
        "2026-11-22T08:00:10Z",
        "2026-11-22T08:00:20Z",
        "2026-11-22T08:01:10Z",
        "2026-11-22T08:02:10Z",
    ];
    assert_eq!(times(&spec, "2026-11-22T07:59:59Z", 5), expected);
}

fn every_minute() -> CalendarSpec {
    CalendarSpec { minute: vec![Range::of(0, 59)], hour: vec![Range::of(0, 23)], ..Default::default() }
}

#[test]
fn long_exclusions_are_jumped_over() {
    let always = CalendarSpec { second: vec![Range::of(0, 59)], ..every_minute() };
    let weekends = CalendarSpec { day_of_week: vec![Range::one(6), Range::one(0)], ..always.clone() };
    let spec = ScheduleSpec { calendars: vec![always.clone()], excluded: vec![weekends], ..Default::default() };
    assert_eq!(times(&spec, "2026-11-20T23:59:58Z", 2), ["2026-11-20T23:59:59Z", "2026-11-23T00:00:00Z"]);
    let nothing_left = ScheduleSpec { calendars: vec![always.clone()], excluded: vec![always], ..Default::default() };
    assert_eq!(times(&nothing_left, "2026-11-20T23:59:58Z", 2), [""; 0]);
}

#[test]
fn start_and_end_belong_to_the_times() {
    let spec = ScheduleSpec {
        start_at: Some(at("2026-11-22T09:00:00Z")),
        end_at: Some(at("2026-11-22T11:00:00Z")),
        ..cron("@hourly", "")
    };
    let expected = ["2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"];
    assert_eq!(times(&spec, "2026-01-01T00:00:00Z", 10), expected);
}

#[test]
fn what_is_missed_is_bounded_by_the_window_and_the_limit() {
    let timetable = Timetable::compile(&cron("@hourly", ""), "nightly").unwrap();
    let missed = |after: &str, window_hours: u64, limit| {
        let window = Duration::from_secs(window_hours * 3600);
        let missed = timetable.missed(at(after), at("2026-11-22T10:30:00Z"), window, limit);
        missed.into_iter().map(|due| text(due.nominal)[11..13].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(missed("2026-11-22T07:00:00Z", 24, 10), ["08", "09", "10"]);
    assert_eq!(missed("2026-11-22T07:00:00Z", 1, 10), ["10"]);
    assert_eq!(missed("2020-01-01T00:00:00Z", 24, 2), ["11", "12"], "of the day before");
    assert_eq!(missed("2026-11-22T10:00:00Z", 24, 10), [""; 0]);
}

#[test]
fn wrong_specifications_are_refused_by_field() {
    let second = Duration::from_secs(1);
    let cases = [
        (cron("0 25 * * *", ""), "crons[0].hour: has 25-25; its values go from 0 to 23"),
        (cron("@daily", "Europe/Atlantis"), "time_zone: \"Europe/Atlantis\" is no time zone"),
        (
            ScheduleSpec {
                intervals: vec![Interval { every: second / 2, offset: Duration::ZERO }],
                ..Default::default()
            },
            "intervals[0].every: is 500ms; intervals are at least a second",
        ),
        (
            ScheduleSpec { intervals: vec![Interval { every: second, offset: second }], ..Default::default() },
            "intervals[0].offset: is 1s, which is not less than the interval of 1s",
        ),
        (
            ScheduleSpec {
                start_at: Some(at("2026-11-22T09:00:00Z")),
                end_at: Some(at("2026-11-22T08:00:00Z")),
                ..Default::default()
            },
            "end_at: is before start_at",
        ),
        (
            ScheduleSpec {
                excluded: vec![CalendarSpec { year: vec![Range::one(1)], ..Default::default() }],
                ..Default::default()
            },
            "excluded[0].year: has 1-1; its values go from 1970 to 2199",
        ),
        (
            ScheduleSpec { crons: vec!["@daily".into(); SCHEDULE_TIMES_MAX + 1], ..Default::default() },
            "make several schedules",
        ),
    ];
    for (spec, expected) in cases {
        let error = Timetable::compile(&spec, "nightly").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

const ZONES: [&str; 6] =
    ["", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Santiago"];

/// Sparse and dense specifications in zones that change their clocks.
fn specs() -> impl Strategy<Value = ScheduleSpec> {
    let part = |values: u32| {
        prop_oneof![
            Just("*".to_owned()),
            (0..values).prop_map(|value| value.to_string()),
            (1..values).prop_map(|step| format!("*/{step}"))
        ]
    };
    let expression = (part(60), part(60), part(24)).prop_map(|(s, m, h)| format!("{s} {m} {h} * * *"));
    (expression, 0..ZONES.len(), 0_u64..4000, 1_u64..100_000).prop_map(|(expression, zone, jitter, every)| {
        ScheduleSpec {
            crons: vec![expression],
            intervals: vec![Interval { every: Duration::from_secs(every), offset: Duration::ZERO }],
            jitter: Duration::from_secs(jitter),
            time_zone: ZONES[zone].to_owned(),
            ..Default::default()
        }
    })
}

/// The years 2020 to 2030, in microseconds.
fn instants() -> impl Strategy<Value = Timestamp> {
    (1_577_836_800_000_000_i64..1_893_456_000_000_000).prop_map(Timestamp::from_micros)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn times_increase_and_are_put_off_no_further_than_the_next(spec in specs(), from in instants()) {
        let timetable = Timetable::compile(&spec, "nightly").unwrap();
        let found = timetable.next_times(from, 40);
        prop_assert_eq!(found.len(), 40);
        prop_assert!(found[0].at > from);
        for pair in found.windows(2) {
            prop_assert!(pair[0].nominal < pair[1].nominal && pair[0].at < pair[1].at, "{:?}", pair);
            prop_assert!(pair[0].at >= pair[0].nominal && pair[0].at < pair[1].nominal, "{:?}", pair);
            prop_assert!(pair[0].at.since(pair[0].nominal) <= spec.jitter);
        }
        // Asked from anywhere in between, the rest is the same.
        let middle = found[20].at;
        prop_assert_eq!(&timetable.next_times(middle, 19)[..], &found[21..]);
    }

    #[test]
    fn a_daily_time_comes_once_on_each_local_day(zone in 0..ZONES.len(), hour in 0_u8..24, minute in 0_u8..60, from in instants()) {
        let spec = cron(&format!("{minute} {hour} * * *"), ZONES[zone]);
        let timetable = Timetable::compile(&spec, "nightly").unwrap();
        let days = timetable.next_times(from, 400);
        let local = |due: &Due| timetable.zone.wall_clock(due.nominal).unwrap();
        for pair in days.windows(2) {
            let (one, next) = (local(&pair[0]).date(), local(&pair[1]).date());
            prop_assert_eq!(one.tomorrow().unwrap(), next, "{:?}", pair);
        }
    }

    #[test]
    fn what_was_missed_is_what_was_to_come(spec in specs(), from in instants(), hours in 1_u64..48) {
        let timetable = Timetable::compile(&spec, "nightly").unwrap();
        let now = from + Duration::from_secs(hours * 3600);
        let missed = timetable.missed(from, now, Duration::from_secs(1 << 32), 50);
        let coming: Vec<Due> = std::iter::successors(timetable.next(from), |due| timetable.next(due.nominal))
            .take_while(|due| due.at <= now).take(50).collect();
        prop_assert_eq!(missed, coming);
    }
}
