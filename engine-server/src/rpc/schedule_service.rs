//! `ScheduleService`: checks requests, asks schedules, turns answers into messages.

use std::sync::Arc;

use engine_core::execution::Rejection;
use engine_core::ids::{RequestId, WorkflowId};
use engine_core::limits::{PAYLOAD_BYTES_MAX, SCHEDULE_ID_LENGTH_MAX, SCHEDULE_LISTED_TIMES_MAX, SCHEDULE_RECENT_MAX};
use engine_core::schedule::{Definition, OverlapPolicy, Schedule, ScheduleInput, SchedulePolicies, ScheduledStart};
use engine_core::time::Timestamp;
use engine_proto::convert::{self, ConvertError};
use engine_proto::v1::{self, schedule_service_server::ScheduleService};
use prost::Message;
use tonic::{Request as Call, Response, Status};

use crate::limits;
use crate::node::NodeContext;
use crate::rpc::history::detached;
use crate::rpc::status::to_status;
use crate::rpc::validate;
use crate::rpc::workflow_service;
use crate::schedule::refusal;
use crate::schedule::registry::Ask;
use crate::shard::request::ServerError;
use crate::store::{NamespaceId, ScheduleKey};

/// Times that a list gives if the call does not say how many.
const LISTED_TIMES_DEFAULT: u32 = 10;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ScheduleCalls {
    pub(crate) context: Arc<NodeContext>,
}

#[tonic::async_trait]
impl ScheduleService for ScheduleCalls {
    async fn create_schedule(
        &self,
        call: Call<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::CreateScheduleResponse>, Status> {
        self.create(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn describe_schedule(
        &self,
        call: Call<v1::DescribeScheduleRequest>,
    ) -> Result<Response<v1::DescribeScheduleResponse>, Status> {
        self.describe(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn list_schedules(
        &self,
        call: Call<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        self.list(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn update_schedule(
        &self,
        call: Call<v1::UpdateScheduleRequest>,
    ) -> Result<Response<v1::UpdateScheduleResponse>, Status> {
        self.update(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn patch_schedule(
        &self,
        call: Call<v1::PatchScheduleRequest>,
    ) -> Result<Response<v1::PatchScheduleResponse>, Status> {
        self.patch(call.into_inner()).await.map(Response::new).map_err(to_status)
    }

    async fn delete_schedule(
        &self,
        call: Call<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let request = call.into_inner();
        let delete = async {
            let key = self.key(&request.namespace, &request.schedule_id).await?;
            self.context.schedules.ask(&self.context, &key, Ask::Delete).await
        };
        let deleted = delete.await.map_err(to_status)?;
        Ok(Response::new(v1::DeleteScheduleResponse { existed: deleted.is_some() }))
    }

    async fn list_schedule_times(
        &self,
        call: Call<v1::ListScheduleTimesRequest>,
    ) -> Result<Response<v1::ListScheduleTimesResponse>, Status> {
        self.times(call.into_inner()).await.map(Response::new).map_err(to_status)
    }
}

impl ScheduleCalls {
    async fn key(&self, namespace: &str, schedule_id: &str) -> Result<ScheduleKey, ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", namespace).await?;
        let schedule_id = short_id("schedule_id", schedule_id)?;
        Ok(ScheduleKey { shard: self.context.shard_of(namespace, &schedule_id), namespace, schedule_id })
    }

    async fn ask(&self, key: &ScheduleKey, ask: Ask) -> Result<Schedule, ServerError> {
        let answer = self.context.schedules.ask(&self.context, key, ask).await?;
        answer.ok_or_else(|| ServerError::NotFound { kind: "schedule", name: key.schedule_id.clone() })
    }

    async fn create(&self, request: v1::CreateScheduleRequest) -> Result<v1::CreateScheduleResponse, ServerError> {
        let key = self.key(&request.namespace, &request.schedule_id).await?;
        let request_id = request_id(&request.request_id)?;
        let now = self.context.schedules.clock.now();
        self.check_attributes(key.namespace, request.schedule.as_ref()).await?;
        let definition = definition(&request.namespace, request.schedule, now)?;
        let created =
            Schedule::create(&key.schedule_id, definition, request.paused, request.note, request.remaining, now);
        let mut schedule = created.map_err(refusal)?;
        if request.trigger {
            schedule = schedule.decide(ScheduleInput::Trigger { overlap: None }, now).map_err(refusal)?;
        }
        let schedule = self.ask(&key, Ask::Create(Box::new(schedule), request_id)).await?;
        Ok(v1::CreateScheduleResponse { version: schedule.state().version })
    }

    async fn describe(
        &self,
        request: v1::DescribeScheduleRequest,
    ) -> Result<v1::DescribeScheduleResponse, ServerError> {
        let key = self.key(&request.namespace, &request.schedule_id).await?;
        let schedule = self.ask(&key, Ask::Describe).await?;
        let mut status = convert::schedule_status_to_proto(schedule.state());
        let next = schedule.next_times(self.context.schedules.clock.now(), SCHEDULE_RECENT_MAX);
        status.next_times = next.into_iter().map(convert::timestamp_to_proto).collect();
        Ok(v1::DescribeScheduleResponse { schedule: Some(definition_to_proto(&schedule)?), status: Some(status) })
    }

    async fn list(&self, request: v1::ListSchedulesRequest) -> Result<v1::ListSchedulesResponse, ServerError> {
        let namespace = self.context.namespaces.id(&self.context.store, "namespace", &request.namespace).await?;
        let size = validate::page_size(request.page_size, limits::LIST_PAGE_DEFAULT, limits::LIST_PAGE_MAX)?;
        let after = validate::token_of_ids(request.page_token)?;
        let rows = self.page(namespace, after, size + 1).await?;
        let has_more = rows.len() > size as usize;
        let now = self.context.schedules.clock.now();
        let mut schedules = Vec::with_capacity(rows.len());
        for row in rows.into_iter().take(size as usize) {
            schedules.push(summary(&row.key.schedule_id, &row.schedule, now)?);
        }
        let last = schedules.last().filter(|_| has_more);
        let next_page_token = last.map(|summary| summary.schedule_id.clone().into_bytes()).unwrap_or_default();
        Ok(v1::ListSchedulesResponse { schedules, next_page_token })
    }

    async fn page(
        &self,
        namespace: NamespaceId,
        after: String,
        limit: u32,
    ) -> Result<Vec<crate::store::ScheduleRow>, ServerError> {
        let store = Arc::clone(&self.context.store);
        detached(async move { store.list_schedules(namespace, &after, limit).await }).await
    }

    async fn update(&self, request: v1::UpdateScheduleRequest) -> Result<v1::UpdateScheduleResponse, ServerError> {
        let key = self.key(&request.namespace, &request.schedule_id).await?;
        self.check_attributes(key.namespace, request.schedule.as_ref()).await?;
        let input = ScheduleInput::Update {
            definition: Box::new(definition(&request.namespace, request.schedule, self.context.schedules.clock.now())?),
            remaining: request.limit.map(|limit| limit.remaining),
            version: Some(request.version).filter(|version| *version != 0),
        };
        let schedule = self.ask(&key, Ask::Change(Box::new(input), String::new())).await?;
        Ok(v1::UpdateScheduleResponse { version: schedule.state().version })
    }

    /// Whether the namespace knows the search attributes of what is to be started.
    async fn check_attributes(
        &self,
        namespace: NamespaceId,
        message: Option<&v1::Schedule>,
    ) -> Result<(), ServerError> {
        const FIELD: &str = "schedule.start";
        let Some(start) = message.and_then(|message| message.start.as_ref()) else { return Ok(()) };
        let attributes = convert::search_attributes_from_proto(start.search_attributes.clone());
        let attributes = attributes.map_err(|error| error.inside(FIELD))?;
        let checked = self.context.namespaces.check_attributes(&self.context.store, namespace, &attributes).await?;
        checked.map_err(|problem| ServerError::Invalid { field: format!("{FIELD}.search_attributes"), problem })
    }

    async fn patch(&self, request: v1::PatchScheduleRequest) -> Result<v1::PatchScheduleResponse, ServerError> {
        let key = self.key(&request.namespace, &request.schedule_id).await?;
        let request_id = request_id(&request.request_id)?;
        let input = patch(convert::required("patch", request.patch)?)?;
        let schedule = self.ask(&key, Ask::Change(Box::new(input), request_id)).await?;
        Ok(v1::PatchScheduleResponse { version: schedule.state().version })
    }

    async fn times(&self, request: v1::ListScheduleTimesRequest) -> Result<v1::ListScheduleTimesResponse, ServerError> {
        let key = self.key(&request.namespace, &request.schedule_id).await?;
        let instant = |field, at: Option<prost_types::Timestamp>| {
            at.map(|at| convert::timestamp_from_proto(field, at)).transpose()
        };
        let after = instant("after", request.after)?.unwrap_or_else(|| self.context.schedules.clock.now());
        let until = instant("until", request.until)?.unwrap_or(Timestamp::MAX);
        let limit = match request.limit {
            0 => LISTED_TIMES_DEFAULT as usize,
            limit if limit as usize <= SCHEDULE_LISTED_TIMES_MAX => limit as usize,
            limit => {
                let problem = format!("is {limit}; the limit is {SCHEDULE_LISTED_TIMES_MAX}");
                return Err(ServerError::Invalid { field: "limit".into(), problem });
            }
        };
        let schedule = self.ask(&key, Ask::Describe).await?;
        let times = schedule.timetable().next_times(after, limit).into_iter().map(|due| due.at);
        let times = times.take_while(|at| *at <= until).map(convert::timestamp_to_proto).collect();
        Ok(v1::ListScheduleTimesResponse { times })
    }
}

// ---- requests -----------------------------------------------------------------------------------------------------------

/// An identifier with room for what is added to it.
fn short_id(field: &str, text: &str) -> Result<String, ServerError> {
    convert::required_id(field, text, WorkflowId::parse)?;
    if text.len() > SCHEDULE_ID_LENGTH_MAX {
        let problem = format!("is {} bytes long; the limit is {SCHEDULE_ID_LENGTH_MAX} bytes", text.len());
        return Err(ServerError::Invalid { field: field.to_owned(), problem });
    }
    Ok(text.to_owned())
}

fn request_id(text: &str) -> Result<String, ServerError> {
    convert::optional_id("request_id", text, RequestId::parse)?;
    Ok(text.to_owned())
}

fn overlap(field: &str, number: i32) -> Result<Option<OverlapPolicy>, ServerError> {
    Ok(convert::overlap_policy_from_proto(field, number)?)
}

fn definition(namespace: &str, message: Option<v1::Schedule>, now: Timestamp) -> Result<Definition, ServerError> {
    let message = convert::required("schedule", message)?;
    let within = |error: ConvertError, field: &str| ServerError::from(error.inside(field));
    let spec = convert::schedule_spec_from_proto(message.spec.unwrap_or_default())
        .map_err(|error| within(error, "schedule.spec"))?;
    let policies = match message.policies {
        Some(policies) => {
            convert::schedule_policies_from_proto(policies).map_err(|error| within(error, "schedule.policies"))?
        }
        None => SchedulePolicies::default(),
    };
    let start = convert::required("schedule.start", message.start)?;
    Ok(Definition { spec, start: start_of(namespace, start, now)?, policies })
}

/// Checks a start as if it came now, but for what the schedule fills in.
fn start_of(
    namespace: &str,
    mut start: v1::StartWorkflowRequest,
    now: Timestamp,
) -> Result<ScheduledStart, ServerError> {
    let left_empty = [
        ("namespace", start.namespace.is_empty() || start.namespace == namespace),
        ("request_id", start.request_id.is_empty()),
        ("wait", start.wait.is_none()),
        ("cron", start.cron.is_none()),
        ("last_result", start.last_result.is_none()),
        ("last_failure", start.last_failure.is_none()),
        ("id_reuse_policy", start.id_reuse_policy == 0),
        ("id_conflict_policy", start.id_conflict_policy == 0),
    ];
    if let Some((field, _)) = left_empty.into_iter().find(|(_, is_empty)| !is_empty) {
        let problem = "must be left empty: the schedule sees to it".to_owned();
        return Err(ServerError::Invalid { field: format!("schedule.start.{field}"), problem });
    }
    let workflow_id = short_id("schedule.start.workflow_id", &start.workflow_id)?;
    start.namespace = namespace.to_owned();
    workflow_service::check_start(start.clone(), now).map_err(|error| match error {
        ServerError::Rejected(Rejection::Invalid { field, problem }) | ServerError::Invalid { field, problem } => {
            ServerError::Invalid { field: format!("schedule.start.{field}"), problem }
        }
        other => other,
    })?;
    let size = start.encoded_len();
    // Memo and input each keep to it; the row holds both.
    if size > 2 * PAYLOAD_BYTES_MAX {
        let problem = format!("is {size} bytes; the limit is {} bytes", 2 * PAYLOAD_BYTES_MAX);
        return Err(ServerError::Invalid { field: "schedule.start".into(), problem });
    }
    start.workflow_id.clear();
    Ok(ScheduledStart { workflow_id, request: start.encode_to_vec().into() })
}

fn patch(patch: v1::patch_schedule_request::Patch) -> Result<ScheduleInput, ServerError> {
    use v1::patch_schedule_request::Patch;
    Ok(match patch {
        Patch::Pause(pause) => ScheduleInput::Pause { note: pause.note },
        Patch::Unpause(unpause) => ScheduleInput::Unpause { note: unpause.note },
        Patch::Trigger(trigger) => ScheduleInput::Trigger { overlap: overlap("trigger.overlap", trigger.overlap)? },
        Patch::Backfill(backfill) => {
            let instant = |field, at| convert::timestamp_from_proto(field, convert::required(field, at)?);
            ScheduleInput::Backfill {
                from: instant("backfill.from", backfill.from)?,
                until: instant("backfill.until", backfill.until)?,
                overlap: overlap("backfill.overlap", backfill.overlap)?,
            }
        }
    })
}

// ---- answers ------------------------------------------------------------------------------------------------------------

fn corrupt(schedule_id: &str, error: impl std::fmt::Display) -> ServerError {
    ServerError::Internal(format!("schedule {schedule_id:?} cannot be read: {error}"))
}

fn start_to_proto(schedule: &Schedule) -> Result<v1::StartWorkflowRequest, ServerError> {
    let stored = &schedule.definition().start;
    let mut start = v1::StartWorkflowRequest::decode(stored.request.clone()).map_err(|e| corrupt(schedule.id(), e))?;
    start.workflow_id.clone_from(&stored.workflow_id);
    // As it was given: what the schedule fills in is its own.
    start.namespace.clear();
    Ok(start)
}

fn definition_to_proto(schedule: &Schedule) -> Result<v1::Schedule, ServerError> {
    let definition = schedule.definition();
    Ok(v1::Schedule {
        spec: Some(convert::schedule_spec_to_proto(&definition.spec)),
        start: Some(start_to_proto(schedule)?),
        policies: Some(convert::schedule_policies_to_proto(&definition.policies)),
    })
}

fn summary(schedule_id: &str, stored: &[u8], now: Timestamp) -> Result<v1::ScheduleSummary, ServerError> {
    let schedule = convert::decode_schedule(schedule_id, stored).map_err(|error| corrupt(schedule_id, error))?;
    let state = schedule.state();
    Ok(v1::ScheduleSummary {
        schedule_id: schedule_id.to_owned(),
        workflow_type: start_to_proto(&schedule)?.workflow_type,
        spec: Some(convert::schedule_spec_to_proto(&schedule.definition().spec)),
        paused: state.paused,
        note: state.note.clone(),
        next_time: schedule.next_times(now, 1).first().copied().map(convert::timestamp_to_proto),
        latest: convert::schedule_status_to_proto(state).recent.pop(),
    })
}
