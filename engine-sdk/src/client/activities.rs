//! Activities that are completed elsewhere: by whoever has the attempt's token, or knows the run and the activity's id.

use engine_core::ids::{ActivityId, RunId};
use engine_core::payload::Payload;
use engine_proto::convert::failure_to_proto;
use engine_proto::v1;
use serde::Serialize;

use super::{Client, ClientError, execution, parse_workflow_id, payload_to_proto, until_answered};
use crate::data;
use crate::error::ActivityError;

/// Names an activity for [`Client::complete_activity`] and its siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityTarget(Target);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Token(Vec<u8>),
    Id { workflow_id: String, run_id: Option<RunId>, activity_id: String },
    Standalone { activity_id: String },
}

impl ActivityTarget {
    /// One attempt, by `ctx.info().token`. Once the attempt is over, by a timeout for instance, it is refused.
    pub fn token(token: impl Into<Vec<u8>>) -> Self {
        Self(Target::Token(token.into()))
    }

    /// Whatever attempt is current, by the ids of workflow and activity; `None`: of the workflow's current run.
    pub fn id(workflow_id: impl Into<String>, run_id: Option<RunId>, activity_id: impl Into<String>) -> Self {
        Self(Target::Id { workflow_id: workflow_id.into(), run_id, activity_id: activity_id.into() })
    }
}

impl ActivityTarget {
    /// Whatever attempt of a standalone activity is current, by its id.
    pub fn standalone(activity_id: impl Into<String>) -> Self {
        Self(Target::Standalone { activity_id: activity_id.into() })
    }
}

/// Each request has its own generated type for the same choice.
macro_rules! target_to_proto {
    ($target:expr, $module:ident) => {
        match &$target.0 {
            Target::Token(token) => Ok(v1::$module::Activity::Token(token.clone())),
            Target::Id { workflow_id, run_id, activity_id } => {
                by_id(Some((workflow_id, *run_id)), activity_id).map(v1::$module::Activity::ById)
            }
            Target::Standalone { activity_id } => by_id(None, activity_id).map(v1::$module::Activity::ById),
        }
    };
}

fn by_id(workflow: Option<(&str, Option<RunId>)>, activity_id: &str) -> Result<v1::ActivityById, ClientError> {
    let activity_id = ActivityId::parse(activity_id).map_err(|error| ClientError::invalid_id("activity_id", error))?;
    let execution = match workflow {
        Some((workflow_id, run_id)) => Some(execution(&parse_workflow_id(workflow_id)?, run_id)),
        None => None,
    };
    Ok(v1::ActivityById { execution, activity_id: activity_id.as_str().to_owned() })
}

impl Client {
    /// Completes an activity. After `Ok` its result is durable. A repeat after a success is refused, because the activity is
    /// closed; so may be the repeat that the client itself makes after a lost connection.
    pub async fn complete_activity<T: Serialize + ?Sized>(
        &self,
        activity: &ActivityTarget,
        result: &T,
    ) -> Result<(), ClientError> {
        let request = v1::CompleteActivityRequest {
            namespace: self.namespace_text(),
            activity: Some(target_to_proto!(activity, complete_activity_request)?),
            result: Some(payload_to_proto(&data::encode_result(result)?)),
            identity: self.identity().to_owned(),
        };
        let service = self.transport().workers();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.complete_activity(request).await }
        });
        answer.await.map(|v1::CompleteActivityResponse {}| ())
    }

    /// Fails an activity's attempt. After `Ok` that is durable; its retry policy decides what follows.
    pub async fn fail_activity(
        &self,
        activity: &ActivityTarget,
        error: impl Into<ActivityError>,
    ) -> Result<(), ClientError> {
        let request = v1::FailActivityRequest {
            namespace: self.namespace_text(),
            activity: Some(target_to_proto!(activity, fail_activity_request)?),
            failure: Some(failure_to_proto(error.into().failure())),
            identity: self.identity().to_owned(),
        };
        let service = self.transport().workers();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.fail_activity(request).await }
        });
        answer.await.map(|v1::FailActivityResponse {}| ())
    }

    /// Tells that an attempt is alive. `details` reach the next attempt if this one fails. Answers whether the workflow asked
    /// the activity to stop.
    pub async fn heartbeat_activity<T: Serialize + ?Sized>(
        &self,
        activity: &ActivityTarget,
        details: &T,
    ) -> Result<bool, ClientError> {
        let details: Payload = data::encode(details)?;
        let request = v1::HeartbeatActivityRequest {
            namespace: self.namespace_text(),
            activity: Some(target_to_proto!(activity, heartbeat_activity_request)?),
            details: Some(payload_to_proto(&details)),
        };
        let service = self.transport().workers();
        let answer = until_answered(self.patience(), |_| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.heartbeat_activity(request).await }
        });
        Ok(answer.await?.cancel_requested)
    }
}
