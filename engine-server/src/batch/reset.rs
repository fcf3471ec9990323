//! How one run of a batch goes on from an earlier point, once.
//!
//! The request id of a reset is a function of the batch and the run. The run that the reset begins carries it, so that a repeat after a crash finds
//! what was done: in the latest run of the workflow id, or, if that went on since, in the run that followed directly.

use std::sync::Arc;

use engine_core::execution::{Rejection, Reset, ResetPoint};
use engine_core::filter::{Column, Comparison, Condition, Filter, Order, OrderKey, Value};
use engine_core::ids::{RequestId, RunId};
use engine_proto::v1;

use super::actor::Pause;
use super::operation::target_of;
use crate::node::NodeContext;
use crate::rpc::history::detached;
use crate::rpc::reset;
use crate::shard::request::ServerError;
use crate::store::{ExecutionRow, Search};

/// The resets of a batch.
#[derive(Debug)]
pub(super) struct Resets {
    /// Of each run, but for the request id.
    reset: Reset,
    /// With the run's id behind it, the request id.
    prefix: String,
}

impl Resets {
    /// `batch` names the batch like no other. `Err` says why it cannot be done.
    pub(super) fn new(message: &v1::BatchReset, reason: String, identity: String, batch: &str) -> Result<Self, String> {
        let point = match message.point() {
            v1::BatchResetPoint::Unspecified => return Err("it is stored without a point to go back to".to_owned()),
            v1::BatchResetPoint::FirstWorkflowTask => ResetPoint::FirstWorkflowTask,
            v1::BatchResetPoint::LastWorkflowTask => ResetPoint::LastWorkflowTask,
            v1::BatchResetPoint::FailedActivity => ResetPoint::FailedActivity { activity_id: None, result: None },
        };
        let reset = Reset {
            point,
            excludes_signals: message.exclude_signals,
            excludes_updates: message.exclude_updates,
            reason,
            identity,
            request_id: None,
        };
        Ok(Self { reset, prefix: format!("{batch}/") })
    }

    /// Resets one run, unless that was done. Tries again what the server cannot do now.
    pub(super) async fn carry_out(&self, context: &Arc<NodeContext>, row: ExecutionRow) -> Result<(), String> {
        let request_id = RequestId::from_trusted(format!("{}{}", self.prefix, row.key.run_id));
        let reset = Reset { request_id: Some(request_id.clone()), ..self.reset.clone() };
        let stopping = context.stopping();
        let mut pause = Pause::default();
        loop {
            let Err(error) = reset::carry_out(context, &target_of(&row), &reset).await else { return Ok(()) };
            match error {
                ServerError::Unavailable { .. }
                | ServerError::Exhausted { .. }
                | ServerError::Rejected(Rejection::Exhausted(_)) => {}
                // It is not the latest run, perhaps because what this batch began went on already.
                ServerError::Refused(problem) => match followed(context, &row, &request_id).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => return Err(problem),
                    Err(_) => {}
                },
                error => return Err(error.to_string()),
            }
            pause.wait(&stopping).await;
        }
    }

    /// Whether a reset of this batch began the run.
    pub(super) fn has_begun(&self, row: &ExecutionRow) -> bool {
        self.is_request_id(&row.request_id)
    }

    fn is_request_id(&self, request_id: &str) -> bool {
        let base = request_id.strip_prefix(&self.prefix);
        base.is_some_and(|base| RunId::parse(base).is_ok())
    }
}

/// Whether the run that came next under the workflow id was begun by this request.
async fn followed(context: &NodeContext, row: &ExecutionRow, request_id: &RequestId) -> Result<bool, ServerError> {
    let of_workflow =
        Condition::Compare(Column::WorkflowId, Comparison::Equal, Value::Text(row.key.workflow_id.clone()));
    let search = Search {
        namespace: row.key.namespace,
        filter: Filter {
            condition: Some(of_workflow),
            order: Order { column: Column::StartTime, descending: false },
            group_by: None,
        },
        after: Some((OrderKey::Run, row.key.run_id)),
        limit: 1,
    };
    let store = Arc::clone(&context.store);
    let next = detached(async move { store.search(&search).await }).await?;
    Ok(next.first().is_some_and(|next| next.request_id == request_id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_knows_the_runs_that_it_began_from_those_of_others() {
        let message = v1::BatchReset { point: v1::BatchResetPoint::LastWorkflowTask.into(), ..Default::default() };
        let resets = Resets::new(&message, String::new(), String::new(), "batch/7.000000001/b").unwrap();
        let run_id = RunId::from_parts(engine_core::time::Timestamp::from_micros(7_000_000), [3; 10]);
        assert!(resets.is_request_id(&format!("batch/7.000000001/b/{run_id}")));
        for other in ["", "r1", "batch/7.000000001/b/", "batch/7.000000001/b"] {
            assert!(!resets.is_request_id(other), "{other}");
        }
        assert!(!resets.is_request_id(&format!("batch/7.000000001/b/c/{run_id}")), "the batch b/c");
        assert!(!resets.is_request_id(&format!("batch/8.000000001/b/{run_id}")), "another batch with its id");
    }
}
