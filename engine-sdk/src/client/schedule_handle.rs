//! One schedule: where it stands, its times, pause, trigger, backfill; and lists of schedules.

use std::collections::VecDeque;

use engine_core::event::CloseStatus;
use engine_core::ids::RunId;
use engine_core::schedule::{Counters, OverlapPolicy, SchedulePolicies, ScheduleSpec};
use engine_core::time::Timestamp;
use engine_proto::convert::{self, ConvertError};
use engine_proto::v1;
use futures::{Stream, stream};
use v1::patch_schedule_request::Patch;

use super::{Client, ClientError, new_request_id, until_answered};

/// A schedule, by its id. Made by [`Client::schedule`] and [`super::ScheduleBuilder::create`]. Cheap to clone.
///
/// Calls that find the engine away are made again; those that change something carry an id, so that they take effect once.
#[derive(Debug, Clone)]
pub struct ScheduleHandle {
    pub(super) client: Client,
    pub(super) schedule_id: String,
}

/// How one start of a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScheduleStartOutcome {
    /// Its run, or one that continues it, is open; or its end is not known yet.
    Running,
    /// It closed.
    Closed {
        /// How.
        status: CloseStatus,
        /// The message of its failure; empty if it has none.
        message: String,
    },
    /// It is not to be found any more.
    Gone,
    /// It was refused.
    Refused {
        /// Why.
        problem: String,
    },
}

/// One of the latest starts of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleStart {
    /// The time that it was for.
    pub nominal: Timestamp,
    /// When it was made.
    pub at: Timestamp,
    /// Its workflow id.
    pub workflow_id: String,
    /// Its run, unless it was refused.
    pub run_id: Option<RunId>,
    /// How it stands.
    pub outcome: ScheduleStartOutcome,
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleDescription {
    /// Its version: the conflict token for [`super::ScheduleBuilder::version`].
    pub version: u64,
    /// The type of the workflow that it starts.
    pub workflow_type: String,
    /// What the workflow ids begin with.
    pub workflow_id: String,
    /// When.
    pub spec: ScheduleSpec,
    /// How.
    pub policies: SchedulePolicies,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub updated_at: Timestamp,
    /// Whether its times pass without a start.
    pub paused: bool,
    /// Why, for people.
    pub note: String,
    /// How many more starts it makes by itself. `None`: no limit.
    pub remaining: Option<u64>,
    /// The next times at which it acts by itself, at most 10.
    pub next_times: Vec<Timestamp>,
    /// Its latest starts, at most 10, latest last.
    pub recent: Vec<ScheduleStart>,
    /// Workflow ids of the open runs that it started, at most 500.
    pub running: Vec<String>,
    /// How many starts wait for a run to end, or are on their way.
    pub waiting: u64,
    /// How many backfills are not done.
    pub backfills: u64,
    /// What became of its times.
    pub counters: Counters,
}

/// A schedule in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleSummary {
    /// Its id.
    pub schedule_id: String,
    /// The type of the workflow that it starts.
    pub workflow_type: String,
    /// When.
    pub spec: ScheduleSpec,
    /// Whether its times pass without a start.
    pub paused: bool,
    /// Why, for people.
    pub note: String,
    /// The next time at which it acts by itself.
    pub next_time: Option<Timestamp>,
    /// Its latest start.
    pub latest: Option<ScheduleStart>,
}

impl ScheduleHandle {
    /// Its id.
    pub fn schedule_id(&self) -> &str {
        &self.schedule_id
    }

    /// Tells where it stands.
    pub async fn describe(&self) -> Result<ScheduleDescription, ClientError> {
        let request = v1::DescribeScheduleRequest {
            namespace: self.client.namespace_text(),
            schedule_id: self.schedule_id.clone(),
        };
        let service = self.client.transport().schedules();
        let described = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.describe_schedule(request).await }
        });
        Ok(description(described.await?)?)
    }

    /// Its times after `after`, at most `limit` (1000 at most), with no regard to pause and limit of starts.
    pub async fn times(&self, after: Timestamp, limit: u32) -> Result<Vec<Timestamp>, ClientError> {
        let request = v1::ListScheduleTimesRequest {
            namespace: self.client.namespace_text(),
            schedule_id: self.schedule_id.clone(),
            after: Some(convert::timestamp_to_proto(after)),
            until: None,
            limit,
        };
        let service = self.client.transport().schedules();
        let listed = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_schedule_times(request).await }
        });
        let times = listed.await?.times.into_iter();
        Ok(times.map(|at| convert::timestamp_from_proto("times", at)).collect::<Result<_, _>>()?)
    }

    /// Lets its times pass from now on, and what waits go. `note` says why, for people.
    pub async fn pause(&self, note: impl Into<String>) -> Result<(), ClientError> {
        self.patch(Patch::Pause(v1::PauseSchedule { note: note.into() })).await
    }

    /// Goes on from now on. What came during the pause is not caught up with: [`ScheduleHandle::backfill`] does that.
    pub async fn unpause(&self, note: impl Into<String>) -> Result<(), ClientError> {
        self.patch(Patch::Unpause(v1::UnpauseSchedule { note: note.into() })).await
    }

    /// Starts once, now, by the schedule's overlap policy; while it is paused too.
    pub async fn trigger(&self) -> Result<(), ClientError> {
        self.patch(Patch::Trigger(v1::TriggerSchedule { overlap: 0 })).await
    }

    /// Starts once, now; while it is paused too.
    pub async fn trigger_with(&self, overlap: OverlapPolicy) -> Result<(), ClientError> {
        let overlap = convert::overlap_policy_to_proto(overlap).into();
        self.patch(Patch::Trigger(v1::TriggerSchedule { overlap })).await
    }

    /// Starts for each of its times from `from` to `until`, which is not in the future; while it is paused too. With
    /// [`OverlapPolicy::BufferAll`] one after the other, with [`OverlapPolicy::AllowAll`] side by side.
    pub async fn backfill(&self, from: Timestamp, until: Timestamp, overlap: OverlapPolicy) -> Result<(), ClientError> {
        let backfill = v1::BackfillSchedule {
            from: Some(convert::timestamp_to_proto(from)),
            until: Some(convert::timestamp_to_proto(until)),
            overlap: convert::overlap_policy_to_proto(overlap).into(),
        };
        self.patch(Patch::Backfill(backfill)).await
    }

    /// Deletes it. Runs that it started go on. Whether there was one.
    pub async fn delete(&self) -> Result<bool, ClientError> {
        let request = v1::DeleteScheduleRequest {
            namespace: self.client.namespace_text(),
            schedule_id: self.schedule_id.clone(),
        };
        let service = self.client.transport().schedules();
        let deleted = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.delete_schedule(request).await }
        });
        Ok(deleted.await?.existed)
    }

    async fn patch(&self, patch: Patch) -> Result<(), ClientError> {
        let request = v1::PatchScheduleRequest {
            namespace: self.client.namespace_text(),
            schedule_id: self.schedule_id.clone(),
            request_id: new_request_id(),
            patch: Some(patch),
        };
        let service = self.client.transport().schedules();
        let patched = until_answered(self.client.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.patch_schedule(request).await }
        });
        patched.await.map(drop)
    }
}

/// Where a list stands.
struct Position {
    schedules: VecDeque<v1::ScheduleSummary>,
    page_token: Vec<u8>,
    is_last_page: bool,
}

impl Client {
    /// The schedule with this id. Asks the server nothing.
    pub fn schedule(&self, schedule_id: impl Into<String>) -> ScheduleHandle {
        ScheduleHandle { client: self.clone(), schedule_id: schedule_id.into() }
    }

    /// Lists schedules by id, page by page as the stream is read.
    pub fn schedules(&self) -> impl Stream<Item = Result<ScheduleSummary, ClientError>> + Send + use<> {
        let client = self.clone();
        let begin = Position { schedules: VecDeque::new(), page_token: Vec::new(), is_last_page: false };
        stream::try_unfold(begin, move |mut position| {
            let client = client.clone();
            async move {
                while position.schedules.is_empty() && !position.is_last_page {
                    position = client.schedule_page(position.page_token).await?;
                }
                match position.schedules.pop_front() {
                    Some(found) => Ok(Some((summary(found)?, position))),
                    None => Ok(None),
                }
            }
        })
    }

    async fn schedule_page(&self, page_token: Vec<u8>) -> Result<Position, ClientError> {
        let request = v1::ListSchedulesRequest { namespace: self.namespace_text(), page_size: 0, page_token };
        let service = self.transport().schedules();
        let page = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_schedules(request).await }
        });
        let page = page.await?;
        let is_last_page = page.next_page_token.is_empty();
        Ok(Position { schedules: page.schedules.into(), page_token: page.next_page_token, is_last_page })
    }
}

// ---- answers ------------------------------------------------------------------------------------------------------------

fn instant(field: &str, at: Option<prost_types::Timestamp>) -> Result<Timestamp, ConvertError> {
    convert::timestamp_from_proto(field, convert::required(field, at)?)
}

fn start(message: v1::ScheduleStart) -> Result<ScheduleStart, ConvertError> {
    let status = message.status();
    let outcome = if message.refused {
        ScheduleStartOutcome::Refused { problem: message.problem }
    } else if status == v1::WorkflowStatus::Unspecified {
        ScheduleStartOutcome::Gone
    } else {
        match convert::close_status_from_proto("status", message.status)? {
            None => ScheduleStartOutcome::Running,
            Some(status) => ScheduleStartOutcome::Closed { status, message: message.problem },
        }
    };
    Ok(ScheduleStart {
        nominal: instant("nominal", message.nominal)?,
        at: instant("at", message.at)?,
        workflow_id: message.workflow_id,
        run_id: convert::optional_run_id("run_id", &message.run_id)?,
        outcome,
    })
}

fn description(message: v1::DescribeScheduleResponse) -> Result<ScheduleDescription, ConvertError> {
    let schedule = convert::required("schedule", message.schedule)?;
    let status = convert::required("status", message.status)?;
    let starts = convert::required("schedule.start", schedule.start)?;
    let counters = status.counters.unwrap_or_default();
    let next_times = status.next_times.into_iter().map(|at| convert::timestamp_from_proto("next_times", at));
    Ok(ScheduleDescription {
        version: status.version,
        workflow_type: starts.workflow_type,
        workflow_id: starts.workflow_id,
        spec: convert::schedule_spec_from_proto(schedule.spec.unwrap_or_default())?,
        policies: convert::schedule_policies_from_proto(schedule.policies.unwrap_or_default())?,
        created_at: instant("created_at", status.created_at)?,
        updated_at: instant("updated_at", status.updated_at)?,
        paused: status.paused,
        note: status.note,
        remaining: status.remaining,
        next_times: next_times.collect::<Result<_, _>>()?,
        recent: status.recent.into_iter().map(start).collect::<Result<_, _>>()?,
        running: status.running.into_iter().map(|run| run.workflow_id).collect(),
        waiting: status.waiting,
        backfills: status.backfills,
        counters: Counters {
            started: counters.started,
            refused: counters.refused,
            skipped: counters.skipped,
            dropped: counters.dropped,
            missed: counters.missed,
        },
    })
}

fn summary(message: v1::ScheduleSummary) -> Result<ScheduleSummary, ConvertError> {
    Ok(ScheduleSummary {
        schedule_id: message.schedule_id,
        workflow_type: message.workflow_type,
        spec: convert::schedule_spec_from_proto(message.spec.unwrap_or_default())?,
        paused: message.paused,
        note: message.note,
        next_time: message.next_time.map(|at| convert::timestamp_from_proto("next_time", at)).transpose()?,
        latest: message.latest.map(start).transpose()?,
    })
}
