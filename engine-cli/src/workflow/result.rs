//! `engine workflow result`, and the waiting of `engine workflow start --wait`.

use std::time::{Duration, Instant};

use engine_proto::{convert, v1};

use super::patience::Patience;
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{failure, payload, run, time};
use crate::workflow::args::ResultArgs;

/// How long to try to reach a server that was lost, unless the command line says otherwise.
pub(super) const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// How long one call waits for the outcome.
const POLL: Duration = Duration::from_secs(20);

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &ResultArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut client = Client::connect(connection).await?;
    wait(&mut client, arguments, output).await
}

/// Waits for the run to close, prints its outcome, and says by the exit code whether it completed.
pub(super) async fn wait(client: &mut Client, arguments: &ResultArgs, output: &mut Output) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let mut patience = Patience::new(arguments.patience);
    let mut request = v1::GetWorkflowResultRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        wait: None,
    };
    let mut told = false;
    loop {
        // The first call does not wait, so that whoever watches this command is told at once that it will.
        let most = if told { POLL } else { Duration::ZERO };
        let left = arguments.timeout.map_or(most, |timeout| timeout.saturating_sub(begun.elapsed()).min(most));
        request.wait = Some(convert::duration_to_proto(left));
        let response = client.service.get_workflow_result(client::request_that_waits(request.clone(), left)).await;
        let outcome = match response {
            Ok(response) => response.into_inner(),
            Err(status) => {
                patience.failed(client, &status).await?;
                continue;
            }
        };
        patience.heard();
        // From the first answer on we wait for this run and its successors, not for whichever run is current.
        if let Some(execution) = &mut request.execution {
            execution.run_id.clone_from(&outcome.run_id);
        }
        if outcome.status() != v1::WorkflowStatus::Running {
            return print(&outcome, &arguments.run.workflow_id, output);
        }
        if let Some(timeout) = arguments.timeout.filter(|timeout| begun.elapsed() >= *timeout) {
            let waited = if timeout.is_zero() { String::new() } else { format!(" after {}", time::words(timeout)) };
            return Err(CliError::new(
                Exit::StillRunning,
                format!("workflow {} is still running{waited}", arguments.run.workflow_id),
            ));
        }
        if !told {
            eprintln!("workflow {} is running; waiting for its result", arguments.run.workflow_id);
            told = true;
        }
    }
}

fn print(outcome: &v1::GetWorkflowResultResponse, workflow_id: &str, output: &mut Output) -> Result<Exit, CliError> {
    let exit = exit(outcome.status());
    match output.format() {
        Format::Json => output.json(&run::outcome_value(outcome))?,
        Format::Text => match &outcome.result {
            Some(result) if exit == Exit::Done => {
                output.line(&payload::words(&convert::payload_from_proto(result.clone()), usize::MAX))?;
            }
            _ if exit == Exit::Done => output.line("null")?,
            _ => {
                let how = run::status(outcome.status()).to_lowercase().replace('_', " ");
                let why = run::failure_of(outcome.failure.as_ref())
                    .map(|it| format!("\n  {}", failure::lines(&it)))
                    .unwrap_or_default();
                eprintln!("workflow {workflow_id} {how}{why}");
            }
        },
    }
    Ok(exit)
}

fn exit(status: v1::WorkflowStatus) -> Exit {
    match status {
        v1::WorkflowStatus::Completed => Exit::Done,
        v1::WorkflowStatus::Failed
        | v1::WorkflowStatus::Canceled
        | v1::WorkflowStatus::Terminated
        | v1::WorkflowStatus::TimedOut => Exit::WorkflowFailed,
        // A result is that of the chain's last run, which is not continued.
        v1::WorkflowStatus::ContinuedAsNew | v1::WorkflowStatus::Running | v1::WorkflowStatus::Unspecified => {
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_completed_workflow_is_a_success() {
        assert_eq!(exit(v1::WorkflowStatus::Completed), Exit::Done);
        for status in [v1::WorkflowStatus::Failed, v1::WorkflowStatus::Canceled, v1::WorkflowStatus::TimedOut] {
            assert_eq!(exit(status), Exit::WorkflowFailed);
        }
    }
}
