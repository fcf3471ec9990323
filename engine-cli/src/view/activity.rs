//! Standalone activities: lists and descriptions.

use engine_core::time::Timestamp;
use engine_proto::{convert, v1};
use serde_json::{Map, Value, json};

use super::run::{activity_state, activity_value, failure_of, instant, instant_value, paused_words, status};
use super::{failure, json, payload, search, table, text, time};

/// Activities as a table.
pub(crate) fn list(activities: &[v1::ActivitySummary], now: Timestamp, width: Option<u16>) -> String {
    let row = |activity: &v1::ActivitySummary| {
        let started = instant(activity.start_time);
        let took = match (started, instant(activity.close_time)) {
            (Some(started), Some(closed)) => time::since(started, closed).trim_start_matches('+').to_owned(),
            _ => "open".to_owned(),
        };
        vec![
            text::one_line(&activity.activity_id, text::SHORT),
            activity.run_id.clone(),
            text::one_line(&activity.activity_type, text::SHORT),
            standing(activity),
            started.map(|at| time::ago(at, now)).unwrap_or_default(),
            took,
        ]
    };
    let columns = table::Columns {
        header: &["ACTIVITY ID", "RUN ID", "TYPE", "STATUS", "STARTED", "TOOK"],
        right: &[],
        wrapping: &[0, 2, 4],
    };
    table::table(columns, activities.iter().map(row).collect(), width)
}

/// The status of an activity, and whether it is paused.
fn standing(activity: &v1::ActivitySummary) -> String {
    let paused = if activity.paused { " (paused)" } else { "" };
    format!("{}{paused}", status(activity.status()))
}

/// An activity in a list, for programs.
pub(crate) fn summary_value(activity: &v1::ActivitySummary) -> Value {
    json!({
        "activity_id": activity.activity_id,
        "run_id": activity.run_id,
        "activity_type": activity.activity_type,
        "task_queue": activity.task_queue,
        "status": status(activity.status()),
        "paused": activity.paused,
        "start_time": instant_value(activity.start_time),
        "close_time": instant_value(activity.close_time),
        "search_attributes": convert::search_attributes_from_proto(activity.search_attributes.clone())
            .ok()
            .map(|attributes| search::attributes(&attributes)),
    })
}

/// How an activity ended, for programs.
pub(crate) fn outcome_value(outcome: &v1::ActivityOutcome) -> Value {
    let result = outcome.result.clone().map(convert::payload_from_proto);
    json!({
        "run_id": outcome.run_id,
        "status": status(outcome.status()),
        "result": json::optional_payload(result.as_ref()),
        "failure": failure_of(outcome.failure.as_ref()).as_ref().map(json::failure),
    })
}

/// An activity's state for people: what it is, and where it stands or how it ended.
pub(crate) fn describe(activity: &v1::DescribeActivityResponse, now: Timestamp) -> String {
    let summary = activity.summary.clone().unwrap_or_default();
    let at = |message| match instant(message) {
        Some(at) => format!("{} ({})", time::date_time(at), time::ago(at, now)),
        None => String::new(),
    };
    let mut rows = vec![
        ("Activity id", text::one_line(&summary.activity_id, usize::MAX)),
        ("Run id", summary.run_id.clone()),
        ("Type", text::one_line(&summary.activity_type, usize::MAX)),
        ("Queue", text::one_line(&summary.task_queue, usize::MAX)),
        ("Status", standing(&summary)),
        ("Started", at(summary.start_time)),
    ];
    if summary.close_time.is_some() {
        rows.push(("Ended", at(summary.close_time)));
    }
    let input = convert::payloads_from_proto(activity.input.clone());
    if !input.is_empty() {
        rows.push(("Input", payload::list_words(&input, text::SHORT)));
    }
    if !activity.continued_from_run_id.is_empty() {
        rows.push(("Repeats", format!("run {}", activity.continued_from_run_id)));
    }
    if let Some(pending) = &activity.pending {
        let most = match pending.maximum_attempts {
            0 => String::new(),
            most => format!(" of {most}"),
        };
        rows.push(("Attempt", format!("{}{most}: {}", pending.attempt, activity_state(pending, now))));
        if let Some(paused) = &pending.paused {
            rows.push(("Paused", paused_words(paused, now)));
        }
        if let Some(last) = failure_of(pending.last_failure.as_ref()) {
            rows.push(("Last failure", failure::one_line_words(&last, text::SHORT)));
        }
    }
    if activity.last_attempt > 0 {
        let worker = text::one_line(&activity.last_worker_identity, text::SHORT);
        rows.push(("Attempts", format!("{}, the last at {worker}", activity.last_attempt)));
    }
    if activity.cancel_requested {
        rows.push(("Cancel", "was requested".to_owned()));
    }
    let mut sections = vec![table::facts(&rows)];
    if let Some(outcome) = &activity.outcome {
        let result = outcome.result.clone().map(convert::payload_from_proto);
        if let Some(result) = result.filter(|_| outcome.status() == v1::WorkflowStatus::Completed) {
            sections.push(format!("Result\n  {}", payload::words(&result, text::SHORT)));
        }
        if let Some(why) = failure_of(outcome.failure.as_ref()) {
            let how = status(outcome.status()).to_lowercase().replace('_', " ");
            sections.push(format!("Why it {how}\n  {}", failure::lines(&why).replace('\n', "\n  ")));
        }
    }
    sections.extend(shown(activity, &summary));
    sections.join("\n\n")
}

/// What people are told of it.
fn shown(activity: &v1::DescribeActivityResponse, summary: &v1::ActivitySummary) -> Option<String> {
    let mut lines: Vec<String> =
        [&activity.text_summary, &activity.details].map(|text| text::one_line(text, text::SHORT)).into();
    let attributes = convert::search_attributes_from_proto(summary.search_attributes.clone()).unwrap_or_default();
    for (name, value) in &attributes {
        lines.push(format!("{name} = {}", text::one_line(&search::words(value), text::SHORT)));
    }
    for (key, value) in &activity.memo {
        let value = payload::words(&convert::payload_from_proto(value.clone()), text::SHORT);
        lines.push(format!("memo {} = {value}", text::one_line(key, text::SHORT)));
    }
    lines.retain(|line| !line.is_empty());
    (!lines.is_empty()).then(|| format!("About\n  {}", lines.join("\n  ")))
}

/// An activity's state for programs.
pub(crate) fn describe_value(activity: &v1::DescribeActivityResponse) -> Value {
    let input = convert::payloads_from_proto(activity.input.clone());
    let timeouts = convert::activity_timeouts_from_proto(activity.timeouts.unwrap_or_default());
    let retry_policy = convert::retry_policy_from_proto(activity.retry_policy.clone().unwrap_or_default());
    let memo = activity.memo.iter().map(|(key, value)| {
        let value = payload::value(&convert::payload_from_proto(value.clone()));
        (key.clone(), value)
    });
    json!({
        "activity": activity.summary.as_ref().map(summary_value),
        "input": input.iter().map(payload::value).collect::<Vec<_>>(),
        "timeouts": timeouts.ok().as_ref().map(json::timeouts),
        "retry_policy": retry_policy.ok().as_ref().map(json::retry_policy),
        "pending": activity.pending.as_ref().map(activity_value),
        "outcome": activity.outcome.as_ref().map(outcome_value),
        "last_attempt": activity.last_attempt,
        "last_worker_identity": activity.last_worker_identity,
        "cancel_requested": activity.cancel_requested,
        "continued_from_run_id":
            (!activity.continued_from_run_id.is_empty()).then_some(&activity.continued_from_run_id),
        "memo": memo.collect::<Map<_, _>>(),
        "summary": activity.text_summary,
        "details": activity.details,
        "identity": activity.identity,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine_core::failure::Failure;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_200_000_000);

    fn earlier(seconds: u64) -> Option<prost_types::Timestamp> {
        Some(convert::timestamp_to_proto(NOW - Duration::from_secs(seconds)))
    }

    fn failed() -> v1::DescribeActivityResponse {
        let failure = Some(convert::failure_to_proto(&Failure::application("Busy", "no paper")));
        let outcome = v1::ActivityOutcome { status: v1::WorkflowStatus::Failed.into(), failure, ..Default::default() };
        v1::DescribeActivityResponse {
            summary: Some(v1::ActivitySummary {
                activity_id: "page-1".into(),
                run_id: "018bcfe5-687b-7101-8101-010101010101".into(),
                activity_type: "print".into(),
                task_queue: "printer".into(),
                status: v1::WorkflowStatus::Failed.into(),
                start_time: earlier(200),
                close_time: earlier(140),
                ..Default::default()
            }),
            outcome: Some(outcome),
            last_attempt: 2,
            last_worker_identity: "w1".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_list_is_one_line_for_each_activity() {
        let expected = "\
ACTIVITY ID  RUN ID                                TYPE   STATUS  STARTED     TOOK
page-1       018bcfe5-687b-7101-8101-010101010101  print  FAILED  3m 20s ago  1m00.000s";
        assert_eq!(list(&[failed().summary.unwrap()], NOW, None), expected);
    }

    #[test]
    fn a_dead_letter_is_described_with_its_reason() {
        let words = describe(&failed(), NOW);
        assert!(words.contains("Attempts     2, the last at w1"), "{words}");
        assert!(words.ends_with("Why it failed\n  Busy: no paper"), "{words}");
        let value = describe_value(&failed());
        assert_eq!(value["activity"]["status"], "FAILED");
        assert_eq!(value["outcome"]["failure"]["message"], "no paper");
        assert_eq!(value["pending"], Value::Null);
    }
}
