//! `engine workflow query`.

use engine_proto::{convert, v1};
use serde_json::json;

use crate::args::ConnectionArgs;
use crate::client::{self, Client};
use crate::error::{CliError, Exit};
use crate::output::{Format, Output};
use crate::view::{failure, json, payload, run};
use crate::workflow::args::QueryArgs;

pub(super) async fn run(
    connection: &ConnectionArgs,
    arguments: &QueryArgs,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let input = payload::read_inputs(&arguments.input)?;
    let mut client = Client::connect(connection).await?;
    let request = v1::QueryWorkflowRequest {
        namespace: client.namespace.clone(),
        execution: client::execution(&arguments.run),
        query_name: arguments.name.clone(),
        input,
        wait: Some(convert::duration_to_proto(arguments.timeout)),
    };
    let response = client.service.query_workflow(client::request_that_waits(request, arguments.timeout)).await;
    let answer = response.map_err(|status| client.error(&status))?.into_inner();
    let result = answer.result.map(convert::payload_from_proto);
    let error = run::failure_of(answer.failure.as_ref());
    if output.format() == Format::Json {
        output.json(&json!({
            "run_id": answer.run_id,
            "result": json::optional_payload(result.as_ref()),
            "failure": error.as_ref().map(json::failure),
        }))?;
    } else if error.is_none() {
        let text = result.as_ref().map_or_else(|| "null".to_owned(), |it| payload::words(it, usize::MAX));
        output.line(&text)?;
    }
    match error {
        None => Ok(Exit::Done),
        Some(_) if output.format() == Format::Json => Ok(Exit::Failed),
        Some(error) => {
            let why = failure::lines(&error);
            Err(CliError::new(Exit::Failed, format!("query {:?} was answered with an error: {why}", arguments.name)))
        }
    }
}
