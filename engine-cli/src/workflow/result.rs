//! `engine workflow result`, and the waiting of `engine workflow start --wait`.

use std::time::{Duration, Instant};

use engine_proto::{convert, v1};

use super::patience::Patience;
use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::listing;
use crate::output::Output;
use crate::view::time;
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
            return listing::print_outcome(&outcome, &format!("workflow {}", arguments.run.workflow_id), output);
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
