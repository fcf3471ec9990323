//! `engine workflow activity …`, and the same of standalone activities.

use clap::Args;
use engine_proto::{convert, v1};
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::workflow::args::{ActivityArgs, ActivityOptionArgs, ActivityVerb};

/// Names an open activity.
pub(crate) trait Which: Args {
    /// The run that asked for it; `None` if it stands alone.
    fn execution(&self) -> Option<v1::WorkflowExecution>;
    /// Its id.
    fn activity_id(&self) -> &str;
    /// The workflow that asked for it.
    fn workflow_id(&self) -> Option<&str>;
}

impl Which for ActivityArgs {
    fn execution(&self) -> Option<v1::WorkflowExecution> {
        client::execution(&self.run)
    }

    fn activity_id(&self) -> &str {
        &self.activity
    }

    fn workflow_id(&self) -> Option<&str> {
        Some(&self.run.workflow_id)
    }
}

pub(crate) async fn run(
    connection: &ConnectionArgs,
    arguments: ActivityVerb<impl Which>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    let namespace = client.namespace.clone();
    let (which, answer, done) = match arguments {
        ActivityVerb::Pause { which, reason } => {
            let request = v1::PauseActivityRequest {
                namespace,
                execution: which.execution(),
                activity_id: which.activity_id().to_owned(),
                reason,
                identity: client.identity.clone(),
            };
            (which, client.operations.pause_activity(client::request(request)).await, "paused")
        }
        ActivityVerb::Unpause { which, reset_attempts } => {
            let request = v1::UnpauseActivityRequest {
                namespace,
                execution: which.execution(),
                activity_id: which.activity_id().to_owned(),
                reset_attempts,
            };
            (which, client.operations.unpause_activity(client::request(request)).await, "unpaused")
        }
        ActivityVerb::Reset { which, keep_paused, reset_heartbeat } => {
            let request = v1::ResetActivityRequest {
                namespace,
                execution: which.execution(),
                activity_id: which.activity_id().to_owned(),
                keep_paused,
                reset_heartbeat,
            };
            (which, client.operations.reset_activity(client::request(request)).await, "reset")
        }
        ActivityVerb::Options { which, options } => {
            let request = change(namespace, &which, options);
            (which, client.operations.update_activity_options(client::request(request)).await, "changed")
        }
    };
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    let activity = which.activity_id();
    let of = which.workflow_id().map(|workflow_id| format!(" of workflow {workflow_id}")).unwrap_or_default();
    match output.format() {
        Format::Json => output.json(&json!({
            "workflow_id": which.workflow_id(),
            "run_id": answer.run_id,
            "activity_id": activity,
            "changed": answer.changed,
        }))?,
        Format::Text if answer.changed => output.line(&format!("{done} activity {activity}{of}"))?,
        Format::Text => output.line(&format!("nothing to do for activity {activity}{of}"))?,
    }
    Ok(Exit::Done)
}

fn change(namespace: String, which: &impl Which, options: ActivityOptionArgs) -> v1::UpdateActivityOptionsRequest {
    let duration = |it: Option<std::time::Duration>| it.map(convert::duration_to_proto);
    let policy = options.max_attempts.map(|maximum_attempts| engine_core::retry::RetryPolicy {
        maximum_attempts,
        ..engine_core::retry::RetryPolicy::default()
    });
    v1::UpdateActivityOptionsRequest {
        namespace,
        execution: which.execution(),
        activity_id: which.activity_id().to_owned(),
        task_queue: options.queue.unwrap_or_default(),
        timeouts: Some(v1::ActivityTimeouts {
            schedule_to_close: duration(options.schedule_to_close),
            schedule_to_start: duration(options.schedule_to_start),
            start_to_close: duration(options.start_to_close),
            heartbeat: duration(options.heartbeat),
        }),
        retry_policy: policy.as_ref().map(convert::retry_policy_to_proto),
    }
}
