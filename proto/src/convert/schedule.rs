//! Schedules: definitions, where they stand, and the record that is stored of one.

use engine_core::limits::CATCH_UP_WINDOW_DEFAULT;
use engine_core::schedule::{
    Backfill, CalendarSpec, Counters, Definition, Ended, Interval, OverlapPolicy, Planned, Range, Recent, Running,
    Schedule, SchedulePolicies, ScheduleSpec, ScheduleState, ScheduledStart, StartOutcome, Stop,
};
use engine_core::time::Timestamp;
use prost::Message as _;

use super::ConvertError;
use super::error::Inside as _;
use super::field::{optional_run_id, required, run_id};
use super::status::{close_status_from_proto, close_status_to_proto};
use super::time::{duration_to_proto, optional_duration_from_proto, timestamp_from_proto, timestamp_to_proto};
use crate::v1;

// ---- times --------------------------------------------------------------------------------------------------------------

fn range_from_proto(message: v1::CalendarRange) -> Range {
    let v1::CalendarRange { start, end, step } = message;
    Range { start, end: if end == 0 { start } else { end }, step: step.max(1) }
}

fn range_to_proto(range: &Range) -> v1::CalendarRange {
    v1::CalendarRange { start: range.start, end: range.end, step: range.step }
}

fn calendar_from_proto(message: v1::CalendarSpec) -> CalendarSpec {
    let ranges = |ranges: Vec<v1::CalendarRange>| ranges.into_iter().map(range_from_proto).collect();
    CalendarSpec {
        second: ranges(message.second),
        minute: ranges(message.minute),
        hour: ranges(message.hour),
        day_of_month: ranges(message.day_of_month),
        month: ranges(message.month),
        day_of_week: ranges(message.day_of_week),
        year: ranges(message.year),
        comment: message.comment,
    }
}

/// A calendar as it is sent.
pub fn calendar_to_proto(calendar: &CalendarSpec) -> v1::CalendarSpec {
    let ranges = |ranges: &[Range]| ranges.iter().map(range_to_proto).collect();
    v1::CalendarSpec {
        second: ranges(&calendar.second),
        minute: ranges(&calendar.minute),
        hour: ranges(&calendar.hour),
        day_of_month: ranges(&calendar.day_of_month),
        month: ranges(&calendar.month),
        day_of_week: ranges(&calendar.day_of_week),
        year: ranges(&calendar.year),
        comment: calendar.comment.clone(),
    }
}

fn interval_from_proto(field: &str, message: v1::IntervalSpec) -> Result<Interval, ConvertError> {
    let every = optional_duration_from_proto("every", message.every).inside(field)?;
    let every = required("every", every).inside(field)?;
    let offset = optional_duration_from_proto("offset", message.offset).inside(field)?.unwrap_or_default();
    Ok(Interval { every, offset })
}

fn optional_timestamp(field: &str, at: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, ConvertError> {
    at.map(|at| timestamp_from_proto(field, at)).transpose()
}

fn required_timestamp(field: &str, at: Option<prost_types::Timestamp>) -> Result<Timestamp, ConvertError> {
    timestamp_from_proto(field, required(field, at)?)
}

/// Times from a message. Their rules are for the core to check.
pub fn schedule_spec_from_proto(message: v1::ScheduleSpec) -> Result<ScheduleSpec, ConvertError> {
    let intervals = message.intervals.into_iter().enumerate();
    let intervals = intervals.map(|(index, interval)| interval_from_proto(&format!("intervals[{index}]"), interval));
    Ok(ScheduleSpec {
        calendars: message.calendars.into_iter().map(calendar_from_proto).collect(),
        crons: message.crons,
        intervals: intervals.collect::<Result<_, _>>()?,
        excluded: message.excluded.into_iter().map(calendar_from_proto).collect(),
        start_at: optional_timestamp("start_at", message.start_at)?,
        end_at: optional_timestamp("end_at", message.end_at)?,
        jitter: optional_duration_from_proto("jitter", message.jitter)?.unwrap_or_default(),
        time_zone: message.time_zone,
    })
}

/// Times as a message.
pub fn schedule_spec_to_proto(spec: &ScheduleSpec) -> v1::ScheduleSpec {
    let interval = |interval: &Interval| v1::IntervalSpec {
        every: Some(duration_to_proto(interval.every)),
        offset: (!interval.offset.is_zero()).then(|| duration_to_proto(interval.offset)),
    };
    v1::ScheduleSpec {
        calendars: spec.calendars.iter().map(calendar_to_proto).collect(),
        crons: spec.crons.clone(),
        intervals: spec.intervals.iter().map(interval).collect(),
        excluded: spec.excluded.iter().map(calendar_to_proto).collect(),
        start_at: spec.start_at.map(timestamp_to_proto),
        end_at: spec.end_at.map(timestamp_to_proto),
        jitter: (!spec.jitter.is_zero()).then(|| duration_to_proto(spec.jitter)),
        time_zone: spec.time_zone.clone(),
    }
}

// ---- policies -----------------------------------------------------------------------------------------------------------

/// An overlap policy; `None` if it is left out.
pub fn overlap_policy_from_proto(field: &str, number: i32) -> Result<Option<OverlapPolicy>, ConvertError> {
    let policy = v1::OverlapPolicy::try_from(number)
        .map_err(|_| ConvertError::new(field, format_args!("has the unknown value {number}")))?;
    Ok(match policy {
        v1::OverlapPolicy::Unspecified => None,
        v1::OverlapPolicy::Skip => Some(OverlapPolicy::Skip),
        v1::OverlapPolicy::BufferOne => Some(OverlapPolicy::BufferOne),
        v1::OverlapPolicy::BufferAll => Some(OverlapPolicy::BufferAll),
        v1::OverlapPolicy::CancelOther => Some(OverlapPolicy::CancelOther),
        v1::OverlapPolicy::TerminateOther => Some(OverlapPolicy::TerminateOther),
        v1::OverlapPolicy::AllowAll => Some(OverlapPolicy::AllowAll),
    })
}

/// An overlap policy as an enum value.
pub fn overlap_policy_to_proto(policy: OverlapPolicy) -> v1::OverlapPolicy {
    match policy {
        OverlapPolicy::Skip => v1::OverlapPolicy::Skip,
        OverlapPolicy::BufferOne => v1::OverlapPolicy::BufferOne,
        OverlapPolicy::BufferAll => v1::OverlapPolicy::BufferAll,
        OverlapPolicy::CancelOther => v1::OverlapPolicy::CancelOther,
        OverlapPolicy::TerminateOther => v1::OverlapPolicy::TerminateOther,
        OverlapPolicy::AllowAll => v1::OverlapPolicy::AllowAll,
    }
}

/// Policies from a message, with the defaults for what it leaves out.
pub fn schedule_policies_from_proto(message: v1::SchedulePolicies) -> Result<SchedulePolicies, ConvertError> {
    Ok(SchedulePolicies {
        overlap: overlap_policy_from_proto("overlap", message.overlap)?.unwrap_or_default(),
        catch_up_window: optional_duration_from_proto("catch_up_window", message.catch_up_window)?
            .unwrap_or(CATCH_UP_WINDOW_DEFAULT),
        pause_on_failure: message.pause_on_failure,
    })
}

/// Policies as a message.
pub fn schedule_policies_to_proto(policies: &SchedulePolicies) -> v1::SchedulePolicies {
    v1::SchedulePolicies {
        overlap: overlap_policy_to_proto(policies.overlap).into(),
        catch_up_window: Some(duration_to_proto(policies.catch_up_window)),
        pause_on_failure: policies.pause_on_failure,
    }
}

// ---- where it stands ----------------------------------------------------------------------------------------------------

fn recent_to_proto(recent: &Recent) -> v1::ScheduleStart {
    let (status, problem, refused) = match &recent.outcome {
        None => (v1::WorkflowStatus::Running, String::new(), false),
        Some(StartOutcome::Closed { status, message }) => {
            (close_status_to_proto(Some(*status)), message.clone(), false)
        }
        Some(StartOutcome::Gone) => (v1::WorkflowStatus::Unspecified, String::new(), false),
        Some(StartOutcome::Refused { problem }) => (v1::WorkflowStatus::Unspecified, problem.clone(), true),
    };
    v1::ScheduleStart {
        number: recent.number,
        nominal: Some(timestamp_to_proto(recent.nominal)),
        at: Some(timestamp_to_proto(recent.at)),
        workflow_id: recent.workflow_id.clone(),
        run_id: recent.run_id.map(|run_id| run_id.to_string()).unwrap_or_default(),
        status: status.into(),
        problem,
        refused,
    }
}

fn recent_from_proto(message: v1::ScheduleStart) -> Result<Recent, ConvertError> {
    let outcome = if message.refused {
        Some(StartOutcome::Refused { problem: message.problem })
    } else if message.status == i32::from(v1::WorkflowStatus::Unspecified) {
        Some(StartOutcome::Gone)
    } else {
        let closed = close_status_from_proto("status", message.status)?;
        closed.map(|status| StartOutcome::Closed { status, message: message.problem })
    };
    Ok(Recent {
        number: message.number,
        nominal: required_timestamp("nominal", message.nominal)?,
        at: required_timestamp("at", message.at)?,
        workflow_id: message.workflow_id,
        run_id: optional_run_id("run_id", &message.run_id)?,
        outcome,
    })
}

/// Where a schedule stands, without its next times: those are for whoever knows what time it is.
pub fn schedule_status_to_proto(state: &ScheduleState) -> v1::ScheduleStatus {
    let Counters { started, refused, skipped, dropped, missed } = state.counters;
    let run = |running: &Running| v1::ScheduleRun {
        number: running.number,
        workflow_id: running.workflow_id.clone(),
        run_id: running.run_id.to_string(),
        stopping: running.wanted.is_some(),
    };
    v1::ScheduleStatus {
        version: state.version,
        created_at: Some(timestamp_to_proto(state.created_at)),
        updated_at: Some(timestamp_to_proto(state.updated_at)),
        paused: state.paused,
        note: state.note.clone(),
        remaining: state.remaining,
        next_times: Vec::new(),
        recent: state.recent.iter().map(recent_to_proto).collect(),
        running: state.running.iter().map(run).collect(),
        waiting: (state.waiting.len() + state.starting.len()) as u64,
        backfills: state.backfills.len() as u64,
        counters: Some(v1::ScheduleCounters { started, refused, skipped, dropped, missed }),
    }
}

// ---- what is stored -----------------------------------------------------------------------------------------------------

fn planned_to_proto(planned: &Planned) -> v1::StoredStart {
    v1::StoredStart {
        number: planned.number,
        nominal: Some(timestamp_to_proto(planned.nominal)),
        overlap: overlap_policy_to_proto(planned.overlap).into(),
        manual: planned.manual,
    }
}

fn planned_from_proto(message: v1::StoredStart) -> Result<Planned, ConvertError> {
    Ok(Planned {
        number: message.number,
        nominal: required_timestamp("nominal", message.nominal)?,
        overlap: required("overlap", overlap_policy_from_proto("overlap", message.overlap)?)?,
        manual: message.manual,
    })
}

fn stop_to_number(stop: Option<Stop>) -> u32 {
    match stop {
        None => 0,
        Some(Stop::Cancel) => 1,
        Some(Stop::Terminate) => 2,
    }
}

fn stop_from_number(number: u32) -> Result<Option<Stop>, ConvertError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Stop::Cancel)),
        2 => Ok(Some(Stop::Terminate)),
        other => Err(ConvertError::new("stops", format_args!("has the unknown value {other}"))),
    }
}

fn ended_to_proto(ended: &Ended) -> v1::ScheduleRun {
    v1::ScheduleRun {
        workflow_id: ended.workflow_id.clone(),
        run_id: ended.run_id.to_string(),
        ..v1::ScheduleRun::default()
    }
}

fn ended_from_proto(message: v1::ScheduleRun) -> Result<Ended, ConvertError> {
    Ok(Ended { run_id: run_id("run_id", &message.run_id)?, workflow_id: message.workflow_id })
}

/// A schedule as it is stored.
pub fn encode_schedule(schedule: &Schedule) -> Vec<u8> {
    let (definition, state) = (schedule.definition(), schedule.state());
    let stop = |running: &Running| v1::StoredStop {
        wanted: stop_to_number(running.wanted),
        sent: stop_to_number(running.sent),
    };
    let backfill = |backfill: &Backfill| v1::StoredBackfill {
        after: Some(timestamp_to_proto(backfill.after)),
        until: Some(timestamp_to_proto(backfill.until)),
        overlap: overlap_policy_to_proto(backfill.overlap).into(),
    };
    v1::StoredSchedule {
        spec: Some(schedule_spec_to_proto(&definition.spec)),
        workflow_id: definition.start.workflow_id.clone(),
        start: definition.start.request.to_vec(),
        policies: Some(schedule_policies_to_proto(&definition.policies)),
        status: Some(schedule_status_to_proto(state)),
        done_until: Some(timestamp_to_proto(state.done_until)),
        next_number: state.next_number,
        waiting: state.waiting.iter().map(planned_to_proto).collect(),
        starting: state.starting.iter().map(planned_to_proto).collect(),
        stops: state.running.iter().map(stop).collect(),
        backfills: state.backfills.iter().map(backfill).collect(),
        request_ids: state.request_ids.iter().cloned().collect(),
        last_completed: state.last_completed.as_ref().map(ended_to_proto),
        last_failed: state.last_failed.as_ref().map(ended_to_proto),
    }
    .encode_to_vec()
}

/// A schedule that was stored. Fails on what [`encode_schedule`] cannot have written.
pub fn decode_schedule(id: &str, stored: &[u8]) -> Result<Schedule, ConvertError> {
    let message = v1::StoredSchedule::decode(stored).map_err(|error| ConvertError::new("schedule", error))?;
    let definition = Definition {
        spec: schedule_spec_from_proto(required("spec", message.spec)?).inside("spec")?,
        start: ScheduledStart { workflow_id: message.workflow_id, request: message.start.into() },
        policies: schedule_policies_from_proto(required("policies", message.policies)?).inside("policies")?,
    };
    let status = required("status", message.status)?;
    let counters = status.counters.unwrap_or_default();
    let mut running = Vec::with_capacity(status.running.len());
    for (index, run) in status.running.into_iter().enumerate() {
        let stop = message.stops.get(index).copied().unwrap_or_default();
        running.push(Running {
            number: run.number,
            workflow_id: run.workflow_id,
            run_id: run_id("run_id", &run.run_id).inside("running")?,
            wanted: stop_from_number(stop.wanted)?,
            sent: stop_from_number(stop.sent)?,
        });
    }
    let backfill = |stored: v1::StoredBackfill| {
        Ok(Backfill {
            after: required_timestamp("after", stored.after)?,
            until: required_timestamp("until", stored.until)?,
            overlap: required("overlap", overlap_policy_from_proto("overlap", stored.overlap)?)?,
        })
    };
    let state = ScheduleState {
        version: status.version,
        created_at: required_timestamp("created_at", status.created_at)?,
        updated_at: required_timestamp("updated_at", status.updated_at)?,
        paused: status.paused,
        note: status.note,
        remaining: status.remaining,
        done_until: required_timestamp("done_until", message.done_until)?,
        next_number: message.next_number,
        waiting: message.waiting.into_iter().map(planned_from_proto).collect::<Result<_, _>>().inside("waiting")?,
        starting: message.starting.into_iter().map(planned_from_proto).collect::<Result<_, _>>().inside("starting")?,
        running,
        backfills: message
            .backfills
            .into_iter()
            .map(backfill)
            .collect::<Result<_, ConvertError>>()
            .inside("backfills")?,
        recent: status.recent.into_iter().map(recent_from_proto).collect::<Result<_, _>>().inside("recent")?,
        counters: Counters {
            started: counters.started,
            refused: counters.refused,
            skipped: counters.skipped,
            dropped: counters.dropped,
            missed: counters.missed,
        },
        request_ids: message.request_ids.into(),
        last_completed: message.last_completed.map(ended_from_proto).transpose().inside("last_completed")?,
        last_failed: message.last_failed.map(ended_from_proto).transpose().inside("last_failed")?,
    };
    Schedule::restore(id, definition, state).map_err(|error| ConvertError::new("schedule", error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine_core::event::CloseStatus;
    use engine_core::ids::RunId;
    use engine_core::schedule::ScheduleInput;

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Something in every field.
    fn definition() -> Definition {
        let calendar = CalendarSpec {
            second: vec![Range::one(0)],
            minute: vec![Range { start: 1, end: 59, step: 7 }],
            hour: vec![Range::of(8, 17)],
            day_of_month: vec![Range::one(1)],
            month: vec![Range::of(1, 6), Range::one(12)],
            day_of_week: vec![Range::of(1, 5)],
            year: vec![Range::of(2026, 2030)],
            comment: "office hours".into(),
        };
        let spec = ScheduleSpec {
            calendars: vec![calendar.clone()],
            crons: vec!["@daily".into()],
            intervals: vec![Interval { every: seconds(86_400), offset: seconds(5) }],
            excluded: vec![calendar],
            start_at: Some(AT),
            end_at: Some(AT + seconds(1_000_000)),
            jitter: seconds(3),
            time_zone: "Europe/Berlin".into(),
        };
        let policies = SchedulePolicies {
            overlap: OverlapPolicy::BufferAll,
            catch_up_window: seconds(100),
            pause_on_failure: true,
        };
        let start = ScheduledStart { workflow_id: "report".into(), request: vec![1, 2, 3].into() };
        Definition { spec, start, policies }
    }

    #[test]
    fn a_schedule_survives_being_stored_at_every_step_of_its_life() {
        let mut schedule =
            Schedule::create("nightly", definition(), false, "a note".into(), Some(7), AT).expect("a valid schedule");
        schedule.remember("request");
        let run_id = RunId::from_parts(AT, [3; 10]);
        let closed = |status| StartOutcome::Closed { status, message: "boom".into() };
        let trigger = |overlap| ScheduleInput::Trigger { overlap: Some(overlap) };
        let inputs = [
            ScheduleInput::Tick,
            trigger(OverlapPolicy::AllowAll),
            ScheduleInput::Started { number: 1, run_id },
            trigger(OverlapPolicy::AllowAll),
            ScheduleInput::Refused { number: 2, problem: "no".into() },
            trigger(OverlapPolicy::TerminateOther),
            ScheduleInput::StopSent { number: 1, stop: Stop::Cancel },
            ScheduleInput::Backfill { from: AT, until: AT + seconds(9), overlap: Some(OverlapPolicy::BufferAll) },
            ScheduleInput::Closed { number: 1, outcome: StartOutcome::Gone },
            ScheduleInput::Started { number: 3, run_id },
            ScheduleInput::Closed { number: 3, outcome: closed(CloseStatus::Failed) },
            ScheduleInput::Unpause { note: "again".into() },
            trigger(OverlapPolicy::AllowAll),
            ScheduleInput::Started { number: 4, run_id },
            ScheduleInput::Closed { number: 4, outcome: closed(CloseStatus::Completed) },
        ];
        for (step, input) in inputs.into_iter().enumerate() {
            schedule = schedule.decide(input, AT + seconds(10 * step as u64)).expect("accepted");
            let decoded = decode_schedule("nightly", &encode_schedule(&schedule)).expect("what was encoded");
            assert!(decoded == schedule, "step {step}: {decoded:?} is not {schedule:?}");
        }
        assert_eq!(schedule.state().counters.started, 3);
        assert_eq!(schedule.state().recent.len(), 4);
    }

    #[test]
    fn what_a_message_leaves_out_has_its_default() {
        let policies = schedule_policies_from_proto(v1::SchedulePolicies::default()).expect("defaults");
        assert_eq!(policies, SchedulePolicies::default());
        let range = range_from_proto(v1::CalendarRange { start: 5, end: 0, step: 0 });
        assert_eq!(range, Range::one(5));
        assert_eq!(schedule_spec_from_proto(v1::ScheduleSpec::default()), Ok(ScheduleSpec::default()));
    }

    #[test]
    fn wrong_fields_are_named() {
        let spec = v1::ScheduleSpec { intervals: vec![v1::IntervalSpec::default()], ..Default::default() };
        assert_eq!(schedule_spec_from_proto(spec).unwrap_err().to_string(), "intervals[0].every: must be set");
        let error = overlap_policy_from_proto("overlap", 77).unwrap_err();
        assert_eq!(error.to_string(), "overlap: has the unknown value 77");
        assert!(decode_schedule("nightly", b"\xff").is_err());
    }
}
